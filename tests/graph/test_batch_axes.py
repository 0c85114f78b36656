"""Where the batch is in a tensor, by the order of its elements."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from serialization.graph.batch_axes import BatchAxis, find_batch_axis, find_stride


@pytest.mark.parametrize(
    ("shape", "grown", "stride"),
    [
        ([4, 6, 8], {0: BatchAxis(0)}, 48),
        ([24, 8], {0: BatchAxis(0, 1, 6)}, 48),  # [batch * steps, 8]
        ([24, 8], {0: BatchAxis(0, 6, 1)}, 8),  # [steps * batch, 8]
        ([6, 4], {1: BatchAxis(1)}, 1),
        ([4, None], {0: BatchAxis(0)}, -1),
        ([6, 4, None], {1: BatchAxis(1)}, None),
        ([4, 8], {0: None}, None),
        ([4, 4], {0: BatchAxis(0), 1: BatchAxis(1)}, None),
        ([4, 8], {}, None),
    ],
)
def test_stride(shape: Sequence[int | None], grown: dict[int, BatchAxis | None], stride: int | None) -> None:
    assert find_stride(shape, grown) == stride


@pytest.mark.parametrize(
    ("shape", "stride", "size", "asked", "found"),
    [
        ([4, 48], 48, 4, None, BatchAxis(0)),
        ([24, 8], 48, 4, None, BatchAxis(0, 1, 6)),
        ([24, 8], 8, 4, None, BatchAxis(0, 6, 1)),
        ([6, 4, 8], 8, 4, None, BatchAxis(1)),
        ([4, 4], 1, 4, None, BatchAxis(1)),
        ([2, 96], 48, 4, None, None),  # two rows in one
        ([1, 48], 48, 1, None, BatchAxis(0)),
        ([1, 1, 48], 48, 1, [1, -1, 48], BatchAxis(1)),
        ([48], 48, 1, None, BatchAxis(0, 1, 48)),
        ([8, None], -1, 4, None, BatchAxis(0, 1, 2)),
        ([None, 8], -1, 4, None, None),
        ([6, None], -1, 4, None, None),
        ([4, 48], None, 4, None, None),
    ],
)
def test_axis(
    shape: Sequence[int | None], stride: int | None, size: int, asked: list[int] | None, found: BatchAxis | None
) -> None:
    assert find_batch_axis(shape, stride, size, asked) == found
