"""Nodes that say sizes by the batch size of what is fed."""

from __future__ import annotations

from typing import Any

import pytest
from edited_models import build, placeholder, run

from serialization.formats import dtypes
from serialization.graph.batch_axes import BatchAxis
from serialization.graph.batch_nodes import BatchNodes
from serialization.graph.batch_rows import split_rows
from serialization.tensorflow import np


@pytest.mark.parametrize("dtype", [dtypes.INT32, dtypes.INT64])
def test_sizes_follow_the_batch(dtype: int) -> None:
    graph_def = build(lambda: placeholder(4, 3))
    graph_def.node[0].attr["shape"].shape.dim[0].size = -1
    nodes = BatchNodes(graph_def, "x:0", dtypes.FLOAT, BatchAxis(0))
    names = [nodes.add_shape("y", [4, 7], 0, 1, dtype), nodes.add_shape("y", [7, 8], 1, 2, dtype)]
    names.append(nodes.add_sizes("y", [4, 7], dtype))
    assert len(set(names)) == 3
    assert sum(node.op == "Shape" for node in graph_def.node) == 1
    first, second, fixed = run(graph_def, {"x": np.zeros([5, 3], "f")}, *names)
    assert (first.tolist(), second.tolist(), fixed.tolist()) == ([5, 7], [7, 10], [4, 7])
    assert first.dtype == fixed.dtype == {3: np.int32, 9: np.int64}[dtype]


def test_a_constant_may_wait_for_a_node_and_nothing_else() -> None:
    graph_def = build(lambda: placeholder(4, 3))
    nodes = BatchNodes(graph_def, "x:0", dtypes.FLOAT, BatchAxis(0))
    assert nodes.bind_constant(name := nodes.add_sizes("y", [1], dtypes.INT32), "x")
    assert list(next(node for node in graph_def.node if node.name == name).input) == ["^x"]
    assert not nodes.bind_constant(nodes.add_batch("y", 1, dtypes.INT32), "x")


def test_a_batch_that_is_a_part_of_another_axis() -> None:
    graph_def = build(lambda: placeholder(2, 6))
    graph_def.node[0].attr["shape"].shape.dim[1].size = -1
    name = BatchNodes(graph_def, "x:0", dtypes.FLOAT, BatchAxis(1, inner=3)).add_batch("y", 1, dtypes.INT32)
    assert run(graph_def, {"x": np.zeros([2, 15], "f")}, name)[0] == 5


@pytest.mark.parametrize("how", [BatchAxis(0), BatchAxis(1, inner=2), BatchAxis(0, outer=3), BatchAxis(1, 2, 2)])
@pytest.mark.parametrize("counts", [False, True])
def test_rows_go_on(how: BatchAxis, counts: bool) -> None:
    """Of four rows those of five are made, alike or counting up."""

    def make(size: int) -> Any:
        row = np.arange(how.outer * how.inner).reshape(how.outer, 1, how.inner)
        rows = (row + counts * 7 * np.arange(size).reshape(1, size, 1)).reshape(-1).astype("i")
        return np.stack([rows, rows], 1) if how.axis == 0 else np.stack([rows, rows])

    rows = split_rows(make(4), how, 4)
    assert rows is not None
    graph_def = build(lambda: placeholder(5, 1))
    name = BatchNodes(graph_def, "x:0", dtypes.FLOAT, BatchAxis(0)).add_rows("y", rows, dtypes.INT32)
    np.testing.assert_array_equal(run(graph_def, {"x": np.zeros([5, 1], "f")}, name)[0], make(5))
