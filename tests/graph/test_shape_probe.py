"""Shapes by TensorFlow's inference, piece by piece, and the order of the pieces."""

from __future__ import annotations

from typing import Any

import pytest
from edited_models import attention, build, loop, placeholder, weights

from serialization.graph.graph_def import get_node_name
from serialization.graph.graph_index import GraphIndex
from serialization.graph.shape_probe import (
    ShapeProbe,
    find_carried,
    find_frames,
    find_named_node,
    find_unsteady,
    order_nodes,
)
from serialization.tensorflow import tf, tf1


@pytest.mark.parametrize("make", [attention, loop])
def test_nodes_follow_what_they_need(make: Any) -> None:
    index = GraphIndex(build(lambda: make(4)))
    carried = find_carried(index)
    order = order_nodes(index, carried)
    assert sorted(order) == sorted(index.nodes)
    seen: set[str] = set()
    for name in order:
        needed = [get_node_name(carried[name][0])] if name in carried else index.producers(index.nodes[name])
        assert set(needed) <= seen
        seen.add(name)
    assert bool(carried) == bool(find_frames(index, order)) == (make is loop)


def test_nodes_of_a_loop_are_those_of_its_frame() -> None:
    index = GraphIndex(build(lambda: loop(4)))
    found = {index.nodes[name].op for name in find_frames(index, order_nodes(index, find_carried(index)))}
    assert {"TensorArrayReadV3", "MatMul", "Merge", "NextIteration"} <= found
    assert not found & {"Enter", "TensorArrayGatherV3", "Placeholder"}


def test_what_a_step_changes_is_unknown() -> None:
    def make() -> None:
        x = placeholder(4, 1)
        shapes = [tf.TensorShape([]), tf.TensorShape([4, None])]
        _, y = tf1.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, tf.concat([y, x], 1)), [0, x], shapes)
        tf.identity(y, name="y")

    index = GraphIndex(build(make))
    carried = find_carried(index)
    order = [index.nodes[name] for name in order_nodes(index, carried)]
    probe = ShapeProbe({"x:0": (1, [4, 1])}, carried)
    probe.add(order)
    unsteady = find_unsteady(probe, carried)
    assert list(unsteady.values()) == [{1}]
    probe = ShapeProbe({"x:0": (1, [4, 1])}, carried, unsteady)
    probe.add(order)
    assert probe.get_shape("y") == (4, None)


def test_other_shapes_are_tried() -> None:
    index = GraphIndex(build(lambda: tf.add(placeholder(4, 6), weights(4, 6), name="y")))
    probe = ShapeProbe({"x:0": (1, [5, 6])})
    probe.add(node for node in index.graph_def.node if node.name != "y")
    assert not probe.fits(index.nodes["y"], {})
    assert probe.fits(index.nodes["y"], {1: (5, 6)})


def test_shapes_and_sizes() -> None:
    def make() -> None:
        x = placeholder(4, 6)
        tf.reshape(x, tf.stack([tf.raw_ops.Shape(input=x)[0] * 2, 3]), name="y")

    index = GraphIndex(build(make))
    sizes = next(node for node in index.graph_def.node if node.name == "y").input[1]
    for batch in (4, 10):
        probe = ShapeProbe({"x:0": (1, [batch, 6])})
        assert probe.get_shape("y") is None
        probe.add(index.nodes[name] for name in order_nodes(index, {}))
        assert probe.get_shape("y:0") == (batch * 2, 3)
        assert probe.read_sizes(sizes) == (batch * 2, 3)
        assert probe.get_shape("x") == (batch, 6)


def test_a_size_of_minus_one_in_a_computed_shape_is_unknown() -> None:
    def make() -> None:
        rows = tf.raw_ops.Shape(input=placeholder(4, 6))[:1]
        tf.reshape(weights(8, 3), tf.concat([rows, [-1]], 0), name="y")

    index = GraphIndex(build(make))
    probe = ShapeProbe({"x:0": (1, [4, 6])})
    probe.add(index.nodes[name] for name in order_nodes(index, {}))
    assert probe.read_sizes(index.nodes["y"].input[1]) == (4, None)


def test_what_does_not_fit_is_named_and_not_added() -> None:
    index = GraphIndex(build(lambda: tf.reshape(placeholder(4, 6), [2, 12], name="y")))
    probe = ShapeProbe({"x:0": (1, [5, 6])})
    with pytest.raises(ValueError, match="Cannot reshape") as failure:
        probe.add(index.graph_def.node)
    assert find_named_node(str(failure.value)) == "y"
    assert probe.get_shape("y") is None


def test_a_message_without_a_node_names_none() -> None:
    assert find_named_node("something is wrong") is None
    assert find_named_node("Detected at node 'a/b' defined at") == "a/b"
