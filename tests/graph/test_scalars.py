"""Numbers that constants of a graph give, such as the rates of dropout layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from edited_models import build

from serialization.graph.graph_index import GraphIndex
from serialization.graph.scalars import compute_number
from serialization.tensorflow import tf, tf1


def fed() -> Any:
    return tf1.placeholder(tf.float32, [], name="fed")


def constant() -> Any:
    return tf.constant(4.0)


@pytest.mark.parametrize(
    ("make", "number"),
    [
        (lambda: tf.constant(0.5), 0.5),
        (lambda: tf.constant([[3]]), 3),
        (lambda: tf.cast(constant(), tf.float64), 4),
        (lambda: 1 - tf.identity(constant()), -3),
        (lambda: 2 / constant() * 3 + 1, 2.5),
        (lambda: tf.raw_ops.RealDiv(x=1.0, y=0.0), float("inf")),
        (lambda: tf.maximum(-constant(), tf.minimum(constant(), 1.0)), 1),
        (lambda: tf.constant([1.0, 2.0]), None),
        (lambda: tf.constant("a"), None),
        (lambda: tf.exp(constant()), None),
        (fed, None),
        (lambda: tf1.random_uniform([]), None),
    ],
)
def test_numbers(make: Callable[[], Any], number: float | None) -> None:
    assert compute_number(GraphIndex(build(lambda: tf.identity(make(), name="y"))), "y") == number


def test_a_placeholder_of_one_number_holds_what_is_fed() -> None:
    index = GraphIndex(build(lambda: tf.identity(1 - fed(), name="y")))
    assert compute_number(index, "y", fed=0.25) == 0.75
    rows = GraphIndex(build(lambda: tf1.placeholder(tf.float32, [None], name="y")))
    assert compute_number(rows, "y", fed=0.25) is None
