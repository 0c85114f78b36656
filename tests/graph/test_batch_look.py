"""Which axes of a graph grow with the batch, and how they hold it."""

from __future__ import annotations

from typing import Any

import pytest
from edited_models import attention, build, loop, sign

from serialization.errors import UserError
from serialization.graph.batch_axes import BatchAxis
from serialization.graph.batch_look import OTHER_SIZE, BatchLook, hide_other_size
from serialization.tensorflow import tf, tf1


def look_at(graph_def: Any) -> BatchLook:
    fed = {tensor.name: tensor for tensor in sign(graph_def).inputs}
    look = BatchLook(graph_def, fed, list(fed), 4)
    look.old.add(graph_def.node)
    return look


def test_axes_that_grow() -> None:
    def make() -> None:
        x = tf1.placeholder(tf.float32, [4, 6], name="x")
        tf.transpose(x, name="turned")
        tf.identity(tf.concat([x, x], 0), name="y")

    look = look_at(build(make))
    look.new.add(look.index.graph_def.node)
    for node in look.index.graph_def.node:
        look.note_axes(node)
    assert look.axes["x:0"] == {0: BatchAxis(0)}
    assert look.axes["turned:0"] == {1: BatchAxis(1)}
    assert look.axes["y:0"] == {0: None}  # two batches, in an order that nothing tells
    assert look.new.get_shape("y") == (2 * OTHER_SIZE, 6)
    assert look.get_old_size("y:0", 0) == 8


def test_sizes_and_changes() -> None:
    look = look_at(build(lambda: attention(4)))
    first = next(node for node in look.index.graph_def.node if node.op == "Reshape")
    assert look.read_sizes(first.input[1]) == [24, 8]
    assert look.read_sizes(first.input[0]) is None
    assert look.change(first, 1, look.nodes.add_sizes("new", [-1, 8], look.get_dtype(first.input[1])))
    assert look.read_sizes(first.input[1]) is None  # not known before the new nodes are taken
    assert [node.name for node in look.take_new_nodes()] == ["new/sizes"]
    assert (look.read_sizes(first.input[1]), look.changed) == ([-1, 8], [first.name])
    assert look.take_new_nodes() == []


def test_in_a_loop_the_batch_size_cannot_be_taken() -> None:
    look = look_at(build(lambda: loop(4)))
    node = next(node for node in look.index.graph_def.node if node.name in look.in_loops and len(node.input) > 1)
    with pytest.raises(UserError, match="holds the size 4: it is in a loop"):
        look.change(node, 1, look.nodes.add_batch("new", 1, 3))


def test_messages_do_not_show_the_other_size() -> None:
    said = hide_other_size(f"Dimensions must be equal, but are {6 * OTHER_SIZE} and 48, [{OTHER_SIZE},0]")
    assert said == "Dimensions must be equal, but are 6 times any size and 48, [any size,0]"
