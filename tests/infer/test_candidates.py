"""Inputs and outputs are inferred from the GraphDef alone, each with the reason."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import graphs
import pytest
import typical_graphs

from serialization.graph import graph_def, tensors
from serialization.graph.graph_index import GraphIndex
from serialization.infer import candidates, data_edges, training_graphs
from serialization.infer.candidates import infer_candidates
from serialization.tensorflow import tf, tf1


def infer(build: Callable[[], Any]) -> candidates.Inferred:
    with tf1.Graph().as_default() as built:
        build()
    return infer_candidates(GraphIndex(built.as_graph_def(add_shapes=True)))


def found(build: Callable[[], Any]) -> tuple[list[str], list[str]]:
    result = infer(build)
    return [str(c.tensor) for c in result.inputs], [str(c.tensor) for c in result.outputs]


def test_labels_loss_training_and_summaries_are_left_out() -> None:
    assert found(graphs.classifier) == (["x:0 float32 [None, 4]"], ["logits:0 float32 [None, 3]"])
    result = infer(graphs.classifier)
    assert [c.why for c in result.outputs] == ["the last tensor before the labels"]
    assert [(c.tensor.key, c.role) for c in result.others] == [("labels", "label")]


def test_tensors_that_nothing_consumes_come_first() -> None:
    def build() -> None:
        graphs.classifier()
        tf.nn.softmax(tf1.get_default_graph().get_tensor_by_name("logits:0"), name="scores")

    assert found(build)[1] == ["scores:0 float32 [None, 3]"]


def test_switches_are_no_features() -> None:
    result = infer(graphs.batch_norm)
    assert {c.tensor.key: c.role for c in result.inputs} == {"x": "feature", "is_training": "switch"}
    assert [c.tensor.key for c in result.outputs] == ["y"]


def test_the_tensor_that_a_loss_compares_with_the_input_is_the_output() -> None:
    def autoencoder() -> None:
        x = tf1.placeholder(tf.float32, [None, 8], name="x")
        narrow = tf.tanh(x @ tf1.get_variable("down", [8, 2]))
        wide = tf.identity(narrow @ tf1.get_variable("up", [2, 8]), name="restored")
        tf1.train.GradientDescentOptimizer(0.1).minimize(tf.sqrt(tf.reduce_mean(tf.square(x - wide))))

    inputs, outputs = found(autoencoder)
    assert inputs == ["x:0 float32 [None, 8]"]
    assert outputs == ["restored:0 float32 [None, 8]"]


def test_a_placeholder_with_a_default_is_no_input() -> None:
    def build() -> None:
        x = tf1.placeholder(tf.float32, [2], name="x")
        tf.multiply(x, tf1.placeholder_with_default(2.0, [], name="factor"), name="y")

    assert found(build) == (["x:0 float32 [2]"], ["y:0 float32 [2]"])


def test_the_unused_results_of_a_split_are_outputs() -> None:
    def build() -> None:
        first, *_ = tf.split(tf1.placeholder(tf.float32, [6], name="x"), 3, name="parts")
        tf.negative(first, name="y")

    assert found(build)[1] == ["parts:1 float32 [2]", "parts:2 float32 [2]", "y:0 float32 [2]"]


def test_an_iterator_is_the_input_if_there_is_no_placeholder() -> None:
    def build() -> None:
        rows = tf1.data.make_one_shot_iterator(tf.data.Dataset.from_tensors(([1.0, 2.0], 3)).repeat()).get_next()
        tf.multiply(rows[0], tf1.get_variable("w", [2]), name="y")

    result = infer(build)
    assert [(c.tensor.name, c.role, c.why) for c in result.inputs] == [
        ("IteratorGetNext:0", "feature", "comes out of IteratorGetNext, is combined with the weights")
    ]


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


def test_two_generators_are_ambiguous() -> None:
    def build() -> None:
        first, second = (tf1.placeholder(tf.float32, [None, 8], name=name) for name in ("horses", "zebras"))
        dense, mean = typical_graphs.dense, tf.reduce_mean
        made, undone = tf.tanh(dense(first, 8, "there"), name="zebra"), tf.tanh(dense(second, 8, "back"), name="horse")
        again = dense(made, 8, "back"), dense(undone, 8, "there")
        judged = [mean(dense(x, 1, "judge_1")) - mean(dense(y, 1, "judge_1")) for x, y in ((second, made),)]
        judged += [mean(dense(x, 1, "judge_2")) - mean(dense(y, 1, "judge_2")) for x, y in ((first, undone),)]
        cycle = mean(tf.abs(first - again[0])) + mean(tf.abs(second - again[1]))
        typical_graphs.train(cycle - judged[0] - judged[1], "there|back")
        typical_graphs.train(judged[0] + judged[1], "judge")

    result = infer(build)
    assert {str(candidate.tensor) for candidate in result.rivals} == {
        "horse:0 float32 [None, 8]",
        "zebra:0 float32 [None, 8]",
    }


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


def test_outputs_of_two_networks_are_ambiguous() -> None:
    def build() -> None:
        for name in ("a", "b"):
            x = tf1.placeholder(tf.float32, [None, 2], name=f"x_{name}")
            logits = x @ tf1.get_variable(f"w_{name}", [2, 2])
            labels = tf1.placeholder(tf.float32, [None, 2], name=f"labels_{name}")
            loss = tf.reduce_mean(tf.square(tf.identity(logits, name=f"y_{name}") - labels))
            tf1.train.GradientDescentOptimizer(0.1).minimize(loss)

    assert sorted(c.tensor.key for c in infer(build).rivals) == ["y_a", "y_b"]


def test_inference_does_not_start_tensorflow() -> None:
    for module in (candidates, training_graphs, data_edges, graph_def, tensors):
        source = Path(str(module.__file__)).read_text()
        imported = [n.module for n in ast.walk(ast.parse(source)) if isinstance(n, ast.ImportFrom)]
        assert "serialization.tensorflow" not in imported
