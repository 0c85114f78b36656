"""The index of a GraphDef."""

from __future__ import annotations

import pytest
from handmade_graphs import graph

from serialization.graph.graph_index import GraphIndex, prune_graph

LOOP = graph(
    ("x", "Placeholder", []),
    ("enter", "Enter", ["x"]),
    ("merge", "Merge", ["enter", "next"]),
    ("switch", "Switch", ["merge", "x:1"]),
    ("next", "NextIteration", ["switch:1"]),
    ("exit", "Exit", ["switch", "^log"]),
    ("log", "Print", ["x"]),
    ("twice", "Mul", ["exit", "exit"]),
)


def test_consumers_take_data_and_are_named_once() -> None:
    index = GraphIndex(LOOP)
    assert list(index.consumers("x")) == ["enter", "switch", "log"]
    assert list(index.consumers("exit")) == ["twice"]
    assert list(index.consumers("log")) == []
    assert list(index.consumers("nowhere")) == []


def test_producers_are_listed_for_each_data_edge() -> None:
    index = GraphIndex(LOOP)
    assert index.producers(index.nodes["switch"]) == ["merge", "x"]
    assert index.producers(index.nodes["exit"]) == ["switch"]
    assert index.producer("switch:1").op == "Switch"
    assert index.producer("^log").op == "Print"
    assert index.producer("nowhere:0") is None


def test_the_order_puts_each_node_behind_what_it_needs_but_for_the_edge_that_closes_a_loop() -> None:
    order = GraphIndex(LOOP).order
    assert sorted(order) == sorted(node.name for node in LOOP.node)
    edges = [(edge.removeprefix("^").partition(":")[0], node.name) for node in LOOP.node for edge in node.input]
    back = [edge for edge in edges if order.index(edge[0]) > order.index(edge[1])]
    assert len(back) == 1
    assert set(back) <= {("enter", "merge"), ("next", "merge"), ("merge", "switch"), ("switch", "next")}


def test_upstream_and_downstream_follow_data_through_a_loop() -> None:
    index = GraphIndex(LOOP)
    assert index.upstream("exit") == {"exit", "switch", "merge", "enter", "next", "x"}
    assert index.downstream(["next"]) == {"next", "merge", "switch", "exit", "twice"}


def test_reachable_follows_control_edges_and_stops() -> None:
    index = GraphIndex(LOOP)
    assert list(index.reachable(["twice:0"], {"switch"})) == ["twice", "exit", "log", "x", "switch"]
    assert list(index.reachable(["nowhere"])) == []


@pytest.mark.parametrize(
    ("edge", "through", "found"),
    [
        ("exit", {"Exit", "Switch"}, "merge"),
        ("switch:1", {"Exit"}, "switch:1"),
        ("next", {"NextIteration", "Switch"}, "merge"),
        ("exit", {"Exit", "Switch", "Merge", "Enter"}, "x"),
    ],
)
def test_trace_back_goes_through_nodes_of_the_given_ops(edge: str, through: set[str], found: str) -> None:
    assert GraphIndex(LOOP).trace_back(edge, through) == found


def test_trace_back_ends_in_a_circle() -> None:
    index = GraphIndex(graph(("a", "Identity", ["b"]), ("b", "Identity", ["a"])))
    assert index.trace_back("a", {"Identity"}) == "a"


def test_called_functions_are_found_through_other_functions() -> None:
    graph_def = graph(
        ("x", "Placeholder", []),
        ("y", "F", ["x"]),
        F=[("inner", "G", ["arg"])],
        G=[("deep", "Neg", ["arg"])],
        H=[("other", "Neg", ["arg"])],
        D=[("gradient", "K", ["arg"])],
        K=[("more", "Neg", ["arg"])],
    )
    graph_def.library.gradient.add(function_name="G", gradient_func="D")
    graph_def.library.gradient.add(function_name="H", gradient_func="D")
    index = GraphIndex(graph_def)
    assert list(index.called_functions(graph_def.node)) == ["F", "G"]
    assert list(index.body("F")) == ["inner"]
    assert list(index.body("")) == ["x", "y"]
    pruned = prune_graph(index, ["y"])
    assert [function.signature.name for function in pruned.library.function] == ["F", "G", "D", "K"]
    assert [gradient.function_name for gradient in pruned.library.gradient] == ["G"]
    assert len(prune_graph(index, ["x"]).library.function) == 0


def test_pruning_keeps_the_order_of_the_nodes() -> None:
    pruned = prune_graph(GraphIndex(LOOP), ["exit"])
    assert [node.name for node in pruned.node] == ["x", "enter", "merge", "switch", "next", "exit", "log"]
    assert len(LOOP.node) == 8
