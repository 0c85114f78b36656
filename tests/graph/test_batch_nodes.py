"""Nodes that say sizes by the batch size of what is fed."""

from __future__ import annotations

import pytest
from edited_models import build, placeholder, run

from serialization.formats import dtypes
from serialization.graph.batch_nodes import BatchNodes
from serialization.tensorflow import np


@pytest.mark.parametrize("dtype", [dtypes.INT32, dtypes.INT64])
def test_sizes_follow_the_batch(dtype: int) -> None:
    graph_def = build(lambda: placeholder(4, 3))
    graph_def.node[0].attr["shape"].shape.dim[0].size = -1
    nodes = BatchNodes(graph_def, "x:0", dtypes.FLOAT)
    names = [nodes.add_shape("y", [4, 7], 0, 1, dtype), nodes.add_shape("y", [7, 8], 1, 2, dtype)]
    names.append(nodes.add_sizes("y", [4, 7], dtype))
    assert len(set(names)) == 3
    assert sum(node.op == "Shape" for node in graph_def.node) == 1
    first, second, fixed = run(graph_def, {"x": np.zeros([5, 3], "f")}, *names)
    assert (first.tolist(), second.tolist(), fixed.tolist()) == ([5, 7], [7, 10], [4, 7])
    assert first.dtype == fixed.dtype == {3: np.int32, 9: np.int64}[dtype]


def test_a_constant_may_wait_for_a_node_and_nothing_else() -> None:
    graph_def = build(lambda: placeholder(4, 3))
    nodes = BatchNodes(graph_def, "x:0", dtypes.FLOAT)
    assert nodes.bind_constant(name := nodes.add_sizes("y", [1], dtypes.INT32), "x")
    assert list(next(node for node in graph_def.node if node.name == name).input) == ["^x"]
    assert not nodes.bind_constant(nodes.add_batch("y", 1, dtypes.INT32), "x")
