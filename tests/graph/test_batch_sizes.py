"""Graphs of a fixed batch size take any: at other sizes each row has the values that it has in the old batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from edited_models import (
    FREED,
    build,
    centred,
    in_a_fixed_loop,
    joined_rows,
    mean_of_all,
    one_by_one,
    padded_rows,
    pairs_of_rows,
    run,
    sign,
    some_rows,
    squeezed,
    turned_rows,
    two_outputs,
)

from serialization.errors import UserError
from serialization.graph.batch_axes import BatchAxis
from serialization.graph.batch_sizes import FreeBatch, free_batch_size
from serialization.run.generated_feeds import generate_feed
from serialization.tensorflow import np


def free(graph_def: Any, size: int, outputs: str = "y") -> FreeBatch:
    """The freed graph, its placeholders of any first size."""
    signature = sign(graph_def, outputs)
    names = [tensor.name for tensor in signature.outputs]
    batched = {tensor.name: BatchAxis(0) for tensor in signature.inputs}
    found = free_batch_size(graph_def, signature.inputs, batched, size, names)
    for node in found.graph_def.node:
        if node.op == "Placeholder":
            node.attr["shape"].shape.dim[0].size = -1
    return found


@pytest.mark.parametrize("size", [4, 1])
@pytest.mark.parametrize("make", FREED, ids=lambda make: make.__name__)
def test_rows_are_those_of_the_old_batch(make: Callable[[int], None], size: int) -> None:
    graph_def = build(lambda: make(size))
    outputs = "y,mean" if make is two_outputs else "y"
    found = free(graph_def, size, outputs)
    feeds = {key: value % 2 for key, value in generate_feed(sign(graph_def))[0].items()}
    wanted = run(graph_def, feeds, *outputs.split(","))
    for count in (size, 1, 2, 3):
        rows = np.arange(count) % size
        got = run(found.graph_def, {key: value[rows] for key, value in feeds.items()}, *outputs.split(","))
        for name, before, after in zip(outputs.split(","), wanted, got, strict=True):
            axis = found.axes[f"{name}:0"].axis
            np.testing.assert_allclose(np.take(before, rows, axis), after, rtol=1e-5, atol=1e-5)
    assert found.changed or not (size > 1 or make in (two_outputs,))


def test_the_nodes_that_held_the_size_are_told() -> None:
    assert free(build(lambda: two_outputs(4)), 4, "y,mean").changed == ("Reshape",)
    assert free(build(lambda: mean_of_all(4)), 4).changed == ()


def test_axes_that_a_squeeze_takes_are_named() -> None:
    found = free(build(lambda: squeezed(4)), 4)
    assert (found.axes, found.changed) == ({"y:0": BatchAxis(0)}, ("y",))
    assert run(found.graph_def, {"x": np.ones([1, 1, 1, 6], "f")}, "y")[0].shape == (1, 6)
    with pytest.raises(UserError, match=r"y \(Identity\) holds the size 1: it takes the axis of the only row away"):
        free(build(lambda: squeezed(1)), 1)


def test_an_output_without_rows_has_no_axis() -> None:
    assert free(build(lambda: mean_of_all(4)), 4).axes == {}
    assert free(build(lambda: centred(4)), 4).axes == {"y:0": BatchAxis(0)}


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (one_by_one, r"unstack \(Unpack\) holds the size 4: Dimension must be 4 but is any size; keep the size"),
        (pairs_of_rows, r"y \(Reshape\) holds the size 4: it makes \[2, 12\] of \[4, 6\], where no axis holds it"),
        (joined_rows, r"y \(ConcatV2\) holds the size 4: it makes \[8, 6\] of \[4, 6\], where no axis holds it"),
        (some_rows, r"y \(StridedSlice\) holds the size 4: it makes \[3, 3\] of \[4, 6\], where no axis holds it"),
        (turned_rows, r"y \(GatherV2\) holds the size 4: it makes \[4, 6\] of \[4, 6\], where no axis holds it"),
        (padded_rows, r"y \(Pad\) holds the size 4: it makes \[6, 6\] of \[4, 6\], where no axis holds it"),
        (in_a_fixed_loop, r"while/strided_slice \(StridedSlice\) holds the size 4: it makes \[6\] of \[4, 6\]"),
    ],
)
def test_the_node_that_holds_the_size_is_named(make: Callable[[int], None], said: str) -> None:
    with pytest.raises(UserError, match=f"^the batch size cannot be changed; {said}"):
        free(build(lambda: make(4)), 4)
