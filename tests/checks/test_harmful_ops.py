"""Each harmful op is known, and found if an output needs it."""

from __future__ import annotations

import pytest
from handmade_graphs import X, graph, scan

from serialization.checks import harmful_ops
from serialization.graph.known_ops import load_known_ops


def test_every_op_of_the_table_is_registered() -> None:
    elsewhere = {"TRTEngineOp", "LMDBReader", "ExperimentalSqlDataset"}  # registered in other builds of TensorFlow
    assert set(harmful_ops.EFFECTS) - set(load_known_ops()) <= elsewhere


@pytest.mark.parametrize(
    "op", sorted({"PrintV2", *harmful_ops.EFFECTS} - {"XlaCallModule", "FixedUnigramCandidateSampler"})
)
def test_each_op_is_found_if_an_output_needs_it(op: str) -> None:
    graph_def = graph(X, ("bad", op, ["x", "x"]), ("y", "Identity", ["x", "^bad"]))
    node = graph_def.node[1]
    if op == "PrintV2":
        node.attr["output_stream"].s = b"file:///tmp/x"
    node.attr["debug_urls"].list.s.append(b"file:///tmp/x")
    node.attr["descriptor_source"].s = b"/etc/passwd"
    found = scan(graph_def, ["y"])
    assert [(f.effect, f.op, f.node) for f in found] == [(harmful_ops.EFFECTS[op], op, "bad")]
    assert scan(graph_def, ["x"]) == []
