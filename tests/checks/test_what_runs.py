"""Ops that a run reaches are found: behind edges, in functions, and not behind what is fed."""

from __future__ import annotations

from pathlib import Path

from handmade_graphs import X, Y, call, graph, ops, scan


def test_ops_behind_data_edges_control_edges_and_functions_are_found() -> None:
    evil = [("write", "WriteFile", ["arg", "arg"])]
    for op in (
        "PartitionedCall",
        "StatefulPartitionedCall",
        "MapDataset",
        "OneShotIterator",
        "While",
        "SymbolicGradient",
    ):
        graph_def = call(graph(X, ("call", op, ["x"]), ("y", "Identity", ["call"]), F=evil), "call", "F")
        assert [(f.op, f.function) for f in scan(graph_def, ["y:0"])] == [("WriteFile", "F")], op
    by_name = graph(X, ("y", "F", ["x"]), F=evil)
    assert ops(scan(by_name, ["y"])) == ["WriteFile"]


def test_ops_behind_lists_of_functions_and_nested_functions_are_found() -> None:
    graph_def = graph(X, ("y", "Case", ["x"]), F=[], G=[("inner", "MapDefun", ["arg"])], H=[("r", "ReadFile", ["arg"])])
    node = graph_def.node[1]
    for name in ("F", "G"):
        node.attr["branches"].list.func.add(name=name)
    inner = graph_def.library.function[1].node_def[0]
    inner.attr["outer"].func.name = "F"
    inner.attr["outer"].func.attr["nested"].func.name = "H"
    assert [(f.op, f.function) for f in scan(graph_def, ["y"])] == [("ReadFile", "H")]


def test_ops_in_gradients_and_other_implementations_are_found() -> None:
    graph_def = graph(X, ("y", "F", ["x"]), F=[], G=[("w", "WriteFile", ["arg"])], H=[("r", "ReadFile", ["arg"])])
    graph_def.library.gradient.add(function_name="F", gradient_func="G")
    for function in (graph_def.library.function[0], graph_def.library.function[2]):
        function.attr["api_implements"].s = b"lstm"
    assert ops(scan(graph_def, ["y"])) == ["WriteFile", "ReadFile"]


def test_ops_behind_fed_tensors_are_not_found() -> None:
    graph_def = graph(
        ("dataset", "TFRecordDatasetV2", []), ("next", "IteratorGetNext", ["dataset"]), ("y", "Neg", ["next"])
    )
    assert ops(scan(graph_def, ["y"])) == ["TFRecordDatasetV2"]
    assert scan(graph_def, ["y"], ["next"]) == []
    assert ops(scan(graph_def, ["y"], ["next:1"])) == ["TFRecordDatasetV2"]
    graph_def.node[2].input.append("^next")  # an op that is waited for runs, whatever is fed for its output
    assert ops(scan(graph_def, ["y"], ["next"])) == ["TFRecordDatasetV2"]


def test_without_outputs_every_node_counts() -> None:
    assert ops(scan(graph(X, Y, ("w", "WriteFile", ["x", "x"])))) == ["WriteFile"]


def test_the_scan_ends_for_a_cycle_and_for_a_long_chain(tmp_path: Path) -> None:
    loop = graph(("a", "Identity", ["b"]), ("b", "Identity", ["a"]), ("y", "ReadFile", ["a"]))
    assert ops(scan(loop, ["y"])) == ["ReadFile"]
    chain = [("n0", "Const", []), *((f"n{i}", "Identity", [f"n{i - 1}"]) for i in range(1, 20_000))]
    assert ops(scan(graph(*chain, ("y", "ReadFile", ["n19999"])), ["y"])) == ["ReadFile"]
    calling = graph(("y", "F", []), F=[("f", "F", ["arg"]), ("r", "ReadFile", ["arg"])])
    assert ops(scan(calling, ["y"])) == ["ReadFile"]
