"""Which axes of a graph grow with the batch, and how they hold it."""

from __future__ import annotations

from edited_models import attention, build, look_at, loop

from serialization.graph.batch_axes import BatchAxis
from serialization.graph.batch_look import OTHER_SIZE, hide_other_size
from serialization.tensorflow import tf, tf1


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
    assert look.axes["y:0"] == {0: BatchAxis(0, outer=2)}
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


def test_a_loop_is_entered_with_a_size_that_is_computed() -> None:
    look = look_at(build(lambda: loop(4)))
    node = next(node for node in look.index.graph_def.node if node.op == "MatMul")
    (frame,) = look.frames[node.name]
    assert look.change(node, 1, look.nodes.add_batch("new", 1, 3))
    (entered,) = (one for one in look.take_new_nodes() if one.op == "Enter")
    assert (list(node.input)[1], entered.attr["frame_name"].s.decode()) == (entered.name, frame)


def test_what_loops_carry_has_the_shape_of_the_first_step() -> None:
    look = look_at(build(lambda: loop(4)))
    states = {look.old.get_shape(name) for name in look.carried}
    assert states == {(), (4, 8)}


def test_messages_do_not_show_the_other_size() -> None:
    said = hide_other_size(f"Dimensions must be equal, but are {6 * OTHER_SIZE} and 48, [{OTHER_SIZE},0]")
    assert said == "Dimensions must be equal, but are 6 times any size and 48, [any size,0]"
