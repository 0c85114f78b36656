"""A list takes the place of a TensorArray, where it does the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import exported_models
import pytest

from serialization.graph.tensor_arrays import raise_tensor_arrays
from serialization.tensorflow import np, tf, tf1

ROWS = np.arange(40, dtype=np.float32).reshape(2, 5, 4)


def build(function: Callable[[], object]) -> Any:
    tf1.disable_control_flow_v2()
    with tf1.Graph().as_default() as graph:
        function()
    tf1.enable_control_flow_v2()
    return graph.as_graph_def()


def evaluate(graph_def: Any) -> Any:
    with tf1.Graph().as_default() as graph, tf1.Session(graph=graph) as session:
        tf1.import_graph_def(graph_def, name="")
        return session.run("y:0", {"x:0": ROWS} if any(node.name == "x" for node in graph_def.node) else {})


def read_in_another_order() -> None:
    array = tf.TensorArray(tf.float32, 3).unstack(tf.constant([1.0, 2.0, 3.0]))
    tf.add(array.gather([2, 0]), tf.cast(array.size(), tf.float32), name="y")


def in_a_branch() -> None:
    array = tf.TensorArray(tf.float32, 2).write(0, 1.0).write(1, 5.0)
    tf.identity(tf1.cond(tf.constant(value=True), lambda: array.read(1), lambda: array.read(0)), name="y")


@pytest.mark.parametrize("function", [exported_models.dynamic_rnn, read_in_another_order, in_a_branch])
def test_a_list_gives_the_same(function: Callable[[], object]) -> None:
    graph_def = build(function)
    lists = raise_tensor_arrays(graph_def)
    assert not [node.op for node in lists.node if node.op.startswith("TensorArray")]
    assert [node.op for node in lists.node if node.op.startswith("TensorList")]
    np.testing.assert_array_equal(evaluate(lists), evaluate(graph_def))


def grown_from_nothing() -> None:
    tf.identity(tf.TensorArray(tf.float32, 0, dynamic_size=True).write(0, 1.0).read(0), name="y")


def concatenated() -> None:
    tf.identity(tf.TensorArray(tf.float32, 1).write(0, [1.0]).concat(), name="y")


def scattered() -> None:
    tf.identity(tf.TensorArray(tf.float32, 2).scatter([1, 0], tf.constant([1.0, 2.0])).stack(), name="y")


def flow_as_a_number() -> None:
    tf.add(tf.TensorArray(tf.float32, 1).write(0, 1.0).flow, 1.0, name="y")


@pytest.mark.parametrize("function", [grown_from_nothing, concatenated, scattered, flow_as_a_number])
def test_a_graph_stays_where_a_list_does_something_else(function: Callable[[], object]) -> None:
    graph_def = build(function)
    assert raise_tensor_arrays(graph_def) is graph_def


def test_a_graph_without_arrays_stays() -> None:
    graph_def = build(exported_models.two_outputs)
    assert raise_tensor_arrays(graph_def) is graph_def
