"""An output without rows: a summary of all rows passes, and a node that takes some of them is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from edited_models import build, look_at, placeholder, weights

from serialization.errors import UserError
from serialization.graph.lost_rows import require_rows
from serialization.tensorflow import tf


def require(make: Callable[[Any], Any]) -> None:
    graph_def = build(lambda: tf.identity(make(placeholder(4, 6)), name="y"))
    look = look_at(graph_def)
    look.new.add(graph_def.node)
    for node in graph_def.node:
        look.note_axes(node)
    require_rows(look, ["y:0"])


@pytest.mark.parametrize(
    "make",
    [
        lambda x: tf.nn.relu(x),
        lambda x: tf.reduce_mean(x, 0) * 2,
        lambda x: tf.matmul(x, x, transpose_a=True),
        lambda x: tf.argmax(x, 0),
        lambda x: tf.zeros(tf.raw_ops.Shape(input=x)[1:]),
        lambda x: tf.reduce_sum(tf.where(x > 0)),  # of a size that a run alone shows
        lambda _: weights(4, 6),
    ],
)
def test_rows_and_summaries_pass(make: Callable[[Any], Any]) -> None:
    require(make)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda x: x[0], r"strided_slice \(StridedSlice\) holds the size 4: it makes \[6\] of \[4, 6\], where no axis"),
        (
            lambda x: tf.reduce_sum(tf.nn.relu(x[:3])),
            r"\(StridedSlice\) .* it makes \[3, 6\] of \[4, 6\]",
        ),
        (lambda x: tf.nn.top_k(tf.transpose(x), 3)[0], r"TopKV2 \(TopKV2\) .* it makes \[6, 3\] of \[6, 4\]"),
    ],
)
def test_a_node_that_takes_some_rows_is_named(make: Callable[[Any], Any], said: str) -> None:
    with pytest.raises(UserError, match=said):
        require(make)
