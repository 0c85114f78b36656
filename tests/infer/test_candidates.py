"""Inputs and outputs are inferred from the GraphDef alone, each with the reason."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import graphs
import pytest
import typical_graphs
from typical_graphs import infer

from serialization.formats.dtypes import HANDLE_DTYPES
from serialization.graph import graph_def, tensors
from serialization.graph.graph_index import GraphIndex, prune_graph
from serialization.infer import candidates, data_edges, training_graphs
from serialization.infer.candidates import infer_candidates
from serialization.tensorflow import tf, tf1


def test_switches_are_no_features() -> None:
    result = infer(graphs.batch_norm)
    assert {c.tensor.key: c.role for c in result.inputs} == {"x": "feature", "is_training": "switch"}
    assert [c.tensor.key for c in result.outputs] == ["y"]


@pytest.fixture
def first_control_flow() -> Iterator[None]:
    """Loops and conditions as TensorFlow 1 wrote them: Enter, Exit, Switch, Merge."""
    tf1.disable_control_flow_v2()
    yield
    tf1.enable_control_flow_v2()


@pytest.mark.parametrize("name", typical_graphs.GRAPHS)
def test_typical_graphs_have_the_outputs_that_a_person_would_name(name: str, first_control_flow: None) -> None:
    build, inputs, outputs = typical_graphs.GRAPHS[name]
    result = infer(build)
    assert {candidate.tensor.key for candidate in result.outputs} == outputs
    assert {candidate.tensor.key for candidate in result.inputs} == inputs
    assert result.rivals == ()


def test_outputs_of_different_inputs_are_all_outputs() -> None:
    def preprocessing() -> None:
        fare, tips, day = (tf1.placeholder(tf.float32, [None], name=name) for name in ("fare", "tips", "day"))
        tf.divide(fare - tf.constant([1.0]), tf.constant([2.0]), name="scaled")
        tf.greater(tips, fare * 0.2, name="generous")
        tf.cast(day, tf.int64, name="weekday")

    assert {candidate.tensor.key for candidate in infer(preprocessing).outputs} == {"scaled", "generous", "weekday"}


def test_a_frozen_graph_that_ends_in_an_update_has_it_as_output() -> None:
    with tf1.Graph().as_default() as graph:
        variable = tf1.get_variable("v", [4], use_resource=False)
        updated = tf1.scatter_nd_update(variable, tf.constant([[1]]), tf.constant([2.0]))
    graph_def = tf1.graph_util.extract_sub_graph(graph.as_graph_def(), [updated.op.name])
    for node in graph_def.node:
        node.op = "Const" if node.op == "VariableV2" else node.op
    assert [candidate.tensor.key for candidate in infer_candidates(GraphIndex(graph_def)).outputs] == [updated.op.name]


def test_inference_does_not_start_tensorflow() -> None:
    for module in (candidates, training_graphs, data_edges, graph_def, tensors):
        source = Path(str(module.__file__)).read_text()
        imported = [n.module for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ImportFrom)]
        assert "serialization.tensorflow" not in imported


def a_branch_that_trains() -> None:
    """A tf.cond of TensorFlow 2, which hands what its gradient needs out as lists and optional values."""
    x, on = tf1.placeholder(tf.float32, [None, 4], name="x"), tf1.placeholder(tf.bool, [], name="on")
    weights, labels = tf1.get_variable("w", [4, 3]), tf1.placeholder(tf.int32, [None], name="labels")
    scores = tf.cond(on, lambda: tf.tanh(x @ weights) * 2, lambda: tf.tanh(x @ weights))
    loss = tf1.losses.sparse_softmax_cross_entropy(labels, scores)
    tf1.train.GradientDescentOptimizer(0.1).minimize(loss)


def a_list_of_tensors() -> None:
    x = tf1.placeholder(tf.float32, [5, 4], name="x")
    made = tf.raw_ops.TensorListFromTensor(tensor=x @ tf.constant([[1.0], [2], [3], [4]]), element_shape=[1])
    tf.identity(made)
    _, last = tf.raw_ops.TensorListPopBack(input_handle=made, element_shape=[1], element_dtype=tf.float32)
    tf.identity(last, name="last")


@pytest.mark.parametrize("only_branches", [False, True])
def test_what_a_branch_hands_to_its_gradient_is_no_output(only_branches: bool) -> None:
    with tf1.Graph().as_default() as graph:
        a_branch_that_trains()
    graph_def = graph.as_graph_def()
    if only_branches:
        graph_def = prune_graph(GraphIndex(graph_def), ["cond"])
    found = infer_candidates(GraphIndex(graph_def))
    assert [candidate.tensor.name for candidate in found.outputs] == ["cond:0"]


def test_a_list_of_tensors_is_no_output() -> None:
    found = infer(a_list_of_tensors)
    assert [candidate.tensor.key for candidate in found.outputs] == ["last"]
    assert not [c for c in (*found.others, *found.rivals) if c.tensor.dtype in HANDLE_DTYPES]
