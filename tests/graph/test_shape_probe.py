"""Shapes by TensorFlow's inference, piece by piece, and the order of the pieces."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pytest
from edited_models import attention, build, loop, placeholder, weights

from serialization.graph.graph_index import GraphIndex
from serialization.graph.shape_probe import ShapeProbe, find_loop_nodes, find_named_node, order_pieces
from serialization.tensorflow import tf


@pytest.mark.parametrize("make", [attention, loop])
def test_pieces_follow_what_they_need(make: Any) -> None:
    index = GraphIndex(build(lambda: make(4)))
    pieces = list(order_pieces(index))
    assert sorted(node.name for node in chain(*pieces)) == sorted(index.nodes)
    seen: set[str] = set()
    for piece in pieces:
        seen |= {node.name for node in piece}
        assert all(set(index.producers(node)) <= seen for node in piece)
    assert any(len(piece) > 1 for piece in pieces) == (make is loop)
    assert bool(find_loop_nodes(index)) == (make is loop)


def test_nodes_of_a_loop_are_those_of_its_frame() -> None:
    index = GraphIndex(build(lambda: loop(4)))
    found = {index.nodes[name].op for name in find_loop_nodes(index)}
    assert {"TensorArrayReadV3", "MatMul", "Merge", "NextIteration"} <= found
    assert not found & {"Exit", "Enter", "TensorArrayGatherV3", "Placeholder"}


def test_shapes_and_sizes() -> None:
    def make() -> None:
        x = placeholder(4, 6)
        tf.reshape(x, tf.stack([tf.raw_ops.Shape(input=x)[0] * 2, 3]), name="y")

    index = GraphIndex(build(make))
    sizes = next(node for node in index.graph_def.node if node.name == "y").input[1]
    for batch in (4, 10):
        probe = ShapeProbe({"x:0": (1, [batch, 6])})
        assert probe.get_shape("y") is None
        for piece in order_pieces(index):
            probe.add(piece)
        assert probe.get_shape("y:0") == (batch * 2, 3)
        assert probe.read_sizes(sizes) == (batch * 2, 3)
        assert probe.get_shape("x") == (batch, 6)


def test_a_size_of_minus_one_in_a_computed_shape_is_unknown() -> None:
    def make() -> None:
        rows = tf.raw_ops.Shape(input=placeholder(4, 6))[:1]
        tf.reshape(weights(8, 3), tf.concat([rows, [-1]], 0), name="y")

    index = GraphIndex(build(make))
    probe = ShapeProbe({"x:0": (1, [4, 6])})
    for piece in order_pieces(index):
        probe.add(piece)
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
