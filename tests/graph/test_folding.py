"""What a constant decides is folded: numbers and branches, with the bits of a run."""

from __future__ import annotations

from typing import Any

import pytest
from edited_models import build, run

from serialization.errors import UserError
from serialization.graph.folding import fold_constants, join_equal_branches
from serialization.graph.graph_def import change_op
from serialization.graph.graph_index import GraphIndex
from serialization.tensorflow import np, tf, tf1


def numbers() -> None:
    x, k = tf1.placeholder(tf.float32, [None, 3], name="x"), tf.constant(0.3, name="k")
    tf.multiply(x, tf.exp(k * 2) / 7, name="y")


def branches(taken: bool) -> Any:
    def make() -> None:
        x, k = tf1.placeholder(tf.float32, [None, 3], name="x"), tf.constant(taken, name="k")
        y = tf1.cond(k, lambda: tf.exp(x), lambda: tf1.random_uniform([3]) + x)
        tf.identity(y, name="y")

    return build(make)


def ops(graph_def: Any) -> list[str]:
    return sorted(node.op for node in graph_def.node)


def test_numbers_are_computed() -> None:
    graph_def = build(numbers)
    (expected,) = run(graph_def, {"x": np.ones([2, 3], "f")}, "y")
    folded = fold_constants(graph_def, ["k"], ["y:0", "x:0"])
    assert ops(folded) == ["Const", "Mul", "Placeholder"]
    np.testing.assert_array_equal(run(folded, {"x": np.ones([2, 3], "f")}, "y")[0], expected)


def test_other_constants_stay() -> None:
    folded = fold_constants(build(numbers), [], ["y:0", "x:0"])
    assert ops(folded) == ops(build(numbers))


@pytest.mark.parametrize(("taken", "left"), [(True, {"Exp"}), (False, {"RandomUniform"})])
def test_a_branch_that_is_never_taken_goes(taken: bool, left: set[str]) -> None:
    folded = fold_constants(branches(taken), ["k"], ["y:0", "x:0"])
    found = set(ops(folded))
    assert left <= found
    assert not found & ({"Exp", "RandomUniform", "Switch", "Merge"} - left)
    (value,) = run(folded, {"x": np.zeros([1, 3], "f")}, "y")
    assert (value == 1).all() == taken


def test_the_number_of_the_branch_is_folded_too() -> None:
    def make() -> None:
        x, k = tf1.placeholder(tf.float32, [3], name="x"), tf.constant(True, name="k")
        no, yes = tf.raw_ops.Switch(data=x, pred=k)
        merged = tf.raw_ops.Merge(inputs=[tf.exp(no), tf.tanh(yes)])
        tf.identity(merged.value_index, name="which")
        tf.identity(merged.output, name="y")

    folded = fold_constants(build(make), ["k"], ["y:0", "which:0", "x:0"])
    value, which = run(folded, {"x": np.ones([3], "f")}, "y", "which")
    assert (which, np.allclose(value, np.tanh(1))) == (1, True)
    assert "Merge" not in ops(folded)


def test_an_output_in_a_branch_that_is_never_taken_is_named() -> None:
    def make() -> None:
        x, k = tf1.placeholder(tf.float32, [3], name="x"), tf.constant(True, name="k")
        tf.identity(tf.raw_ops.Switch(data=x, pred=k)[0], name="y")

    with pytest.raises(UserError, match="with the pinned value the graph does not compute y:0; name other --outputs"):
        fold_constants(build(make), ["k"], ["y:0", "x:0"])


def test_loops_and_texts_and_large_results_are_left() -> None:
    def make() -> None:
        k = tf.constant(3.0, name="k")
        _, looped = tf1.while_loop(lambda i, _: i < 3, lambda i, v: (i + 1, v * k), [0, tf.constant(1.0)])
        tf.add(tf.fill([1_000_000], k), looped, name="y")
        tf.strings.join([tf.strings.as_string(k), "!"], name="text")

    graph_def = build(make)
    folded = fold_constants(graph_def, ["k"], ["y:0", "text:0"])
    assert {"While", "Enter", "Fill", "StringJoin"} & set(ops(folded)) == {"Enter", "Fill", "StringJoin"}
    assert folded.ByteSize() < 10_000
    value, text = run(folded, {}, "y", "text")
    assert (value[0], text[:2]) == (30, b"3.")


def test_a_value_that_the_graph_does_not_take_is_said() -> None:
    def make() -> None:
        ends = tf1.placeholder_with_default(tf.constant([2], name="k"), [1], name="ends")
        tf.reshape(tf.constant([1.0, 2.0, 3.0]), ends, name="y")

    graph_def = build(make)
    node = next(node for node in graph_def.node if node.name == "ends")
    change_op(node, "Identity", node.input, T=3)
    with pytest.raises(UserError, match="the graph does not take the pinned value"):
        fold_constants(graph_def, ["k"], ["y:0"])


def test_a_choice_between_the_same_is_none() -> None:
    def make() -> None:
        x, on = tf1.placeholder(tf.float32, [3], name="x"), tf1.placeholder(tf.bool, [], name="on")
        tf.identity(tf1.cond(on, lambda: tf.identity(x), lambda: tf.identity(x)), name="y")
        tf.identity(tf1.cond(on, lambda: tf.identity(x), lambda: x + 1), name="z")

    same = join_equal_branches(build(make), ["y:0", "x:0"])
    assert "on" not in GraphIndex(same).nodes
    other = join_equal_branches(build(make), ["z:0", "x:0"])
    assert "on" in GraphIndex(other).nodes
