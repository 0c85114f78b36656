"""Names of nodes, edges and tensors; lists of a graph's nodes."""

from __future__ import annotations

from typing import Any

import pytest
from handmade_graphs import Node, X, call, graph

from serialization.formats import protos
from serialization.graph.graph_def import (
    find_called_functions,
    get_node_name,
    get_output_index,
    get_tensor_name,
    iterate_nodes,
    list_data_edges,
    list_training_nodes,
    list_variable_nodes,
    may_be_cut_off,
)


@pytest.mark.parametrize(
    ("edge", "node", "index", "tensor"),
    [
        ("x", "x", 0, "x:0"),
        ("x:0", "x", 0, "x:0"),
        ("scope/x:12", "scope/x", 12, "scope/x:12"),
    ],
)
def test_the_parts_of_an_edge(edge: str, node: str, index: int, tensor: str) -> None:
    assert (get_node_name(edge), get_output_index(edge), get_tensor_name(edge)) == (node, index, tensor)


def test_a_control_edge_has_a_node_and_carries_no_value() -> None:
    assert get_node_name("^x") == "x"
    assert list_data_edges(protos.NodeDef(input=["a", "b:1", "^c", "a"])) == ["a", "b:1", "a"]


@pytest.mark.parametrize(
    ("fields", "may_be"),
    [
        ({}, False),
        ({"node": [{"name": "x"}]}, True),
        ({"node": [{"name": "x"}], "versions": {}}, False),
        ({"node": [{"name": "x"}], "library": {}}, False),
    ],
)
def test_a_graph_that_ends_with_a_node_may_be_cut_off(fields: dict[str, Any], may_be: bool) -> None:
    assert may_be_cut_off(protos.GraphDef(**fields)) == may_be


def test_functions_are_called_as_an_op_and_in_attributes() -> None:
    node = call(graph(("y", "F", [])), "y", "G").node[0]
    node.attr["branches"].list.func.add(name="H")
    node.attr["other"].func.name = "away"
    assert sorted(find_called_functions(node, {"F", "G", "H", "never"})) == ["F", "G", "H"]
    assert list(find_called_functions(node, ())) == []


def test_nodes_are_those_of_the_graph_and_of_its_functions() -> None:
    held: list[Node] = [("v", "VarHandleOp", []), ("old", "VariableV2", []), ("check", "VarIsInitializedOp", ["v"])]
    graph_def = graph(
        X,
        *held,
        F=[("read", "ReadVariableOp", ["arg"]), ("train", "ResourceApplyAdam", ["arg"])],
        G=[("set", "Assign", [])],
    )
    assert [node.name for node in iterate_nodes(graph_def)] == ["x", "v", "old", "check", "read", "train", "set"]
    assert list_variable_nodes(graph_def) == ["v", "old", "check", "read"]
    assert list_training_nodes(graph_def) == ["train", "set"]
