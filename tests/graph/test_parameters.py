"""graph/parameters.py: which constants were variables, with which names, and which of them are trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import graphs
import pytest
import typical_graphs

from serialization.formats import protos
from serialization.graph.graph_index import GraphIndex
from serialization.graph.parameters import find_parameters, may_be_trained
from serialization.graph.signature import Signature, Tensor
from serialization.tensorflow import np, tf, tf1


def find(graph_def: Any, inputs: str, outputs: str) -> dict[str, bool]:
    """The parameters by name, and whether they are trained."""
    sides = ((Tensor(name, f"{name}:0", "float32", None) for name in side.split()) for side in (inputs, outputs))
    return {one.name: one.trainable for one in find_parameters(GraphIndex(graph_def), Signature(*map(tuple, sides)))}


def fold(graph_def: Any) -> Any:
    """The GraphDef with each read op and its constant folded into one, as Grappler does, under the read op's name."""
    nodes = {node.name: node for node in graph_def.node}
    folded = protos.GraphDef(versions=graph_def.versions)
    reads = {n: node for n, node in nodes.items() if node.op == "Identity" and nodes[node.input[0]].op == "Const"}
    gone = {node.input[0] for node in reads.values()}
    for name, node in nodes.items():
        if name not in gone:
            copy = folded.node.add()
            copy.CopyFrom(nodes[node.input[0]] if name in reads else node)
            copy.name = name
    return folded


@pytest.mark.parametrize("resource", [True, False])
def test_each_variable_has_its_name_again(resource: bool) -> None:
    frozen = graphs.freeze(lambda: graphs.classifier(resource=resource), ["logits"])
    wanted = {"dense/kernel": True, "dense/bias": True}
    assert find(frozen, "x", "logits") == wanted
    if not resource:  # a resource variable's read op is called by the op that uses it, not by the variable
        assert find(fold(frozen), "x", "logits") == wanted


def norm(x: Any) -> Any:
    def get(name: str, trainable: bool = True) -> Any:
        return tf1.get_variable(name, [3], initializer=tf1.ones_initializer(), trainable=trainable)

    scale, offset, mean, variance = (get(n, n[0] != "m") for n in ("gamma", "beta", "mean_of_it", "moving_variance"))
    return tf1.nn.fused_batch_norm(x, scale, offset, mean, variance, is_training=False)[0]


def test_statistics_are_not_trained() -> None:
    def build() -> None:
        x = tf1.placeholder(tf.float32, [None, 4, 4, 3], name="x")
        tf.identity(norm(x), name="y")

    wanted = {"gamma": True, "beta": True, "mean_of_it": False, "moving_variance": False}
    assert find(graphs.freeze(build, ["y"]), "x", "y") == wanted


def test_numbers_of_the_program_were_no_variables() -> None:
    def build() -> None:
        x = tf1.placeholder(tf.float32, [None, 3], name="x")
        means = tf.constant([1.0, 2.0, 3.0], name="means")
        y = (x - [103.9, 116.8, 123.7]) * 0.017 - means
        tf.reshape(tf.nn.bias_add(y, tf.constant([1.0, 2.0, 3.0], name="given")), [-1, 3], name="y")

    # A frozen graph cannot tell a constant that is added by its program from a bias; the literals of Python it can.
    assert set(find(graphs.freeze(build, ["y"]), "x", "y")) == {"means", "given"}


def test_what_passes_on_a_parameter() -> None:
    def build() -> None:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        half = tf.constant(np.ones((8, 2), np.float16), name="half")
        first, second = tf.split(tf.cast(half, tf.float32), 2)
        tf.matmul(x, tf.concat([first, second], 1), name="y")

    assert find(graphs.freeze(build, ["y"]), "x", "y") == {"half": True}


def test_what_is_an_output_or_empty_or_waits_is_none() -> None:
    def build() -> None:
        x = tf1.placeholder(tf.float32, [None, 3], name="x")
        with tf.control_dependencies([x]):
            waits = tf.constant(np.ones((3, 3), "f"), name="waits")
        kept = tf.constant(np.ones((3, 3), "f"), name="kept")
        empty = tf.constant(np.ones((3, 0), "f"), name="empty")
        tf.concat([x @ waits @ kept, x @ empty], 1, name="y")

    assert find(graphs.freeze(build, ["y", "kept"]), "x", "y kept") == {}


def test_a_name_that_an_op_has_is_left_alone() -> None:
    def build() -> None:
        x = tf1.placeholder(tf.float32, [None, 3], name="x")
        weights = tf.constant(np.ones((3, 3), "f"), name="dense/MatMul/ReadVariableOp")
        tf.matmul(x, weights, name="dense/MatMul")

    assert find(graphs.freeze(build, ["dense/MatMul"]), "x", "dense/MatMul") == {"dense/MatMul/ReadVariableOp": True}


@pytest.mark.parametrize("build", [typical_graphs.slim_classifier, typical_graphs.q_learning, typical_graphs.siamese])
def test_typical_graphs(build: Callable[[], None]) -> None:
    _, inputs, outputs = typical_graphs.GRAPHS[build.__name__]
    with tf1.Graph().as_default() as graph:
        build()
        needed = GraphIndex(graph.as_graph_def()).reachable(outputs)
        wanted = {v.op.name: True for v in tf1.trainable_variables() if v.op.name in needed}
    frozen = graphs.freeze(build, [name.removesuffix(":0") for name in outputs])
    names = [" ".join(name.removesuffix(":0") for name in side) for side in (inputs, outputs)]
    assert find(frozen, *names) == wanted


def test_counters_and_averages_are_not_trained() -> None:
    assert not may_be_trained("global_step", tf.int64.as_datatype_enum)
    for name in ("w/ExponentialMovingAverage", "bn/moving_mean_1", "norm/running_var", "running_sum"):
        assert not may_be_trained(name, tf.float32.as_datatype_enum)
    assert may_be_trained("moving/kernel", tf.bfloat16.as_datatype_enum)
