"""Constants that have rows, and those that have none."""

from __future__ import annotations

from edited_models import build, loop, placeholder, weights

from serialization.graph.batch_axes import BatchAxis
from serialization.graph.batch_rows import compute_constant, list_axes, split_rows
from serialization.graph.graph_index import GraphIndex
from serialization.tensorflow import np, tf


def test_rows_that_are_alike_or_count_up() -> None:
    alike = split_rows(np.ones([4, 3], "f"), BatchAxis(0), 4)
    assert alike is not None
    assert (alike.step, alike.first.tolist()) == (None, [[[[1.0, 1.0, 1.0]]]])
    counted = split_rows(np.array([1, 4, 7]), BatchAxis(0), 3)
    assert counted is not None
    assert counted.step is not None
    assert (counted.first.item(), counted.step.item()) == (1, 3)
    assert split_rows(np.array([1, 4, 8]), BatchAxis(0), 3) is None
    assert split_rows(np.array([1.0, 4.0, 7.0]), BatchAxis(0), 3) is None  # a weight may look so


def test_the_ways_that_others_have_come_first() -> None:
    known = [BatchAxis(1, 2, 3)]
    assert list(list_axes([24, 5], 4, known)) == [BatchAxis(0, 2, 3), BatchAxis(0, 1, 6), BatchAxis(0, 6, 1)]


def test_constants_are_computed_and_nothing_else() -> None:
    def make() -> None:
        x = placeholder(4, 6)
        tf.one_hot(tf.tile(tf.constant([1]), [4]), 3, name="rows")
        tf.add(x, 1.0, name="sum")
        tf.raw_ops.RandomUniform(shape=[4], dtype=tf.float32, name="random")
        tf.identity(weights(2, 2), name="kept")

    index = GraphIndex(build(make))
    rows = compute_constant(index, "rows")
    assert rows is not None
    np.testing.assert_array_equal(rows, [[0, 1, 0]] * 4)
    assert compute_constant(index, "kept:0") is not None
    assert [compute_constant(index, name) for name in ("sum", "random", "not_there")] == [None] * 3


def test_what_changes_in_a_loop_is_no_constant() -> None:
    index = GraphIndex(build(lambda: loop(4)))
    kernel = next(node for node in index.graph_def.node if node.op == "MatMul").input[1]
    state = next(node for node in index.graph_def.node if node.op == "Tanh").input[0]
    assert compute_constant(index, kernel) is not None
    assert compute_constant(index, state) is None
