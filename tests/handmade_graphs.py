"""GraphDefs made by hand, node by node, and what the safety scan finds in them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from serialization.checks import harm
from serialization.formats import protos
from serialization.graph.graph_index import GraphIndex


def graph(*nodes: tuple[str, str, list[str]], **functions: list[tuple[str, str, list[str]]]) -> Any:
    """A GraphDef of (name, op, inputs); each of `functions` is a FunctionDef with the argument `arg` and such nodes."""
    result = protos.GraphDef()
    for name, op, inputs in nodes:
        result.node.add(name=name, op=op, input=inputs)
    for name, body in functions.items():
        function = result.library.function.add()
        function.signature.name = name
        function.signature.input_arg.add(name="arg", type=7)
        for node, op, inputs in body:
            function.node_def.add(name=node, op=op, input=inputs)
    return result


def set_string(graph_def: Any, name: str, value: str) -> Any:
    """Give a Const its value, or a PrintV2 its output_stream."""
    for node in [*graph_def.node, *(n for f in graph_def.library.function for n in f.node_def)]:
        if node.name == name:
            if node.op == "Const":
                node.attr["value"].tensor.dtype = 7
                node.attr["value"].tensor.string_val.append(value.encode())
            else:
                node.attr["output_stream"].s = value.encode()
    return graph_def


def call(graph_def: Any, name: str, function: str) -> Any:
    """Make a node call a function by attribute."""
    next(node for node in graph_def.node if node.name == name).attr["f"].func.name = function
    return graph_def


def scan(graph_def: Any, *arguments: Any, **named: Any) -> list[harm.Finding]:
    return harm.scan_graph(GraphIndex(graph_def), *arguments, **named)


def ops(findings: Iterable[harm.Finding]) -> list[str]:
    return [finding.op for finding in findings]


Node = tuple[str, str, list[str]]

X: Node = ("x", "Placeholder", [])

Y: Node = ("y", "Identity", ["x"])
