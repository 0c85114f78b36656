"""Each rule changes the node that holds a size, and no other. tests/graph/test_batch_sizes.py runs what they make."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from edited_models import build, look_at, placeholder, weights

from serialization.graph.batch_rules import BATCH_RULES
from serialization.tensorflow import tf


def follow(make: Callable[[Any], Any]) -> tuple[Any, list[str]]:
    """The node y after the rule for its op, and the nodes that were changed."""
    graph_def = build(lambda: make(placeholder(4, 6)))
    look = look_at(graph_def)
    node = next(node for node in graph_def.node if node.name == "y")
    before = [other for other in graph_def.node if other.name != "y"]
    look.new.add(before)
    for other in before:
        look.note_axes(other)
    assert BATCH_RULES[node.op](look, node) == bool(look.changed)
    look.take_new_nodes()
    return look, look.changed


@pytest.mark.parametrize(
    ("make", "sizes"),
    [
        (lambda x: tf.reshape(x, [4, 2, 3], name="y"), [-1, 2, 3]),
        (lambda x: tf.reshape(x, [4, -1], name="y"), [-1, 6]),
        (lambda x: tf.reshape(x, [8, 3], name="y"), [-1, 3]),
        (lambda x: tf.reshape(x, [1, 4, 6], name="y"), [1, -1, 6]),
        (lambda x: tf.slice(x, [0, 1], [4, 2], name="y"), [-1, 2]),
    ],
)
def test_sizes_that_follow(make: Callable[[Any], Any], sizes: list[int]) -> None:
    look, changed = follow(make)
    assert changed == ["y"]
    assert look.read_sizes(look.index.nodes["y"].input[-1]) == sizes


@pytest.mark.parametrize(
    "make",
    [
        lambda x: tf.reshape(x, [-1, 3, 2], name="y"),
        lambda x: tf.reshape(x, tf.concat([tf.raw_ops.Shape(input=x)[:1], [2, 3]], 0), name="y"),
        lambda x: tf.reshape(weights(4, 6), [4, 2, 3], name="y"),
        lambda x: tf.slice(x, [1, 0], [2, 6], name="y"),
        lambda x: tf.strided_slice(x, [0], [2], [1], name="y"),
        lambda x: tf.strided_slice(x, [1], [4], [1], name="y"),
        lambda x: tf.ensure_shape(x, [None, 6], name="y"),
    ],
)
def test_other_sizes_stay(make: Callable[[Any], Any]) -> None:
    assert follow(make)[1] == []


def test_a_slice_up_to_the_batch_has_no_end() -> None:
    look, changed = follow(lambda x: tf.strided_slice(x, [0, 1], [4, 3], [1, 1], name="y"))
    assert (changed, look.index.nodes["y"].attr["end_mask"].i) == (["y"], 1)


def test_an_ensured_shape_is_of_any_size() -> None:
    look, changed = follow(lambda x: tf.ensure_shape(x, [4, 6], name="y"))
    assert [dim.size for dim in look.index.nodes["y"].attr["shape"].shape.dim] == [-1, 6]
    assert changed == ["y"]
