"""Follows the batch through the axes of tensors, by the order of their elements.

An axis that holds the batch has outer * batch * inner elements: of [batch * heads, ...] the inner factor is the number
of heads. The stride is the number of elements from one row of the batch to the next. Rearranging a tensor changes
neither the order of its elements nor the stride.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

_UNKNOWN = -1  # the stride of the slowest axis, where sizes behind it are unknown


class BatchAxis(NamedTuple):
    """The axis of a tensor that holds the batch: its size is outer * batch * inner, the slowest factor first."""

    axis: int
    outer: int = 1
    inner: int = 1

    @property
    def times(self) -> int:
        """How many batches long the axis is."""
        return self.outer * self.inner


def find_stride(shape: Sequence[int | None], grown: Mapping[int, BatchAxis | None]) -> int | None:
    """How many elements of a tensor lie between two rows of the batch; -1 if it is the slowest axis, None if unknown.

    `grown` are the axes that grow with the batch, with the way they hold it where that is known.
    """
    if len(grown) != 1:
        return None
    axis, how = next(iter(grown.items()))
    if how is None:
        return None
    if None in shape[axis + 1 :]:
        return _UNKNOWN if axis == 0 and how.outer == 1 else None
    return math.prod(size or 0 for size in shape[axis + 1 :]) * how.inner


def find_batch_axis(
    shape: Sequence[int | None], stride: int | None, size: int, asked: Sequence[int] | None = None
) -> BatchAxis | None:
    """The axis of a tensor that holds a batch of `size` rows, from their stride; None if no axis alone holds it.

    `asked` are the sizes as the graph asks for them: of several axes that may be meant, -1 is the likeliest.
    """
    if stride == _UNKNOWN:
        first = next((axis for axis, length in enumerate(shape) if length != 1), 0) if size > 1 else 0
        length = shape[first] if shape else None
        return BatchAxis(first, 1, length // size) if length and length % size == 0 else None
    found = []
    for axis in range(len(shape)):
        if not stride or None in shape[axis:]:
            continue
        inner = math.prod(length or 0 for length in shape[axis + 1 :])
        span = inner * (shape[axis] or 0)
        if span and stride % inner == 0 and span % (stride * size) == 0:
            found.append(BatchAxis(axis, span // (stride * size), stride // inner))
    exact = [place for place in found if place.times == 1]
    free = [place for place in found if asked and asked[place.axis] == -1]
    return next(iter([*(place for place in exact if place in free), *exact, *free, *found]), None)
