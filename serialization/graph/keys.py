"""Names inputs and outputs by their keys, so that a GraphDef, which records no signature, still tells the keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from serialization.formats import protos
from serialization.formats.dtypes import get_dtype_number
from serialization.graph.graph_def import get_node_name, get_output_index
from serialization.graph.op_sets import ALL_PLACEHOLDERS
from serialization.graph.signature import Signature

_NODE_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")


def name_by_keys(graph_def: Any, signature: Signature) -> tuple[Any, Signature]:
    """A copy of the GraphDef and the signature by its names; each placeholder and each output has the name of its key.

    A key stays a key alone where it is no name of a node or another node has it.
    """
    result = protos.GraphDef()
    result.CopyFrom(graph_def)
    nodes = {node.name: node for node in result.node}
    taken = set(nodes)

    def is_free(key: str) -> bool:
        return key not in taken and _NODE_NAME.fullmatch(key) is not None

    renamed = {}
    for tensor in signature.inputs:
        name = get_node_name(tensor.name)
        if nodes[name].op in ALL_PLACEHOLDERS and name not in renamed and is_free(tensor.key):
            renamed[name] = tensor.key
            taken.add(tensor.key)
    for node in result.node:
        _rename(node, renamed)
    outputs = []
    for tensor in signature.outputs:
        edge = _rename_edge(tensor.name, renamed)
        if is_free(tensor.key):
            node = result.node.add(name=tensor.key, op="Identity", input=[edge])
            node.attr["T"].type = get_dtype_number(tensor.dtype)
            taken.add(tensor.key)
            edge = f"{tensor.key}:0"
        outputs.append(replace(tensor, name=edge))
    inputs = tuple(replace(tensor, name=_rename_edge(tensor.name, renamed)) for tensor in signature.inputs)
    return result, Signature(inputs, tuple(outputs))


def _rename(node: Any, renamed: Mapping[str, str]) -> None:
    node.name = renamed.get(node.name, node.name)
    node.input[:] = [_rename_edge(edge, renamed) for edge in node.input]
    if "_class" in node.attr:  # nodes that are to be on the device of another one
        places = [place.decode().removeprefix("loc:@") for place in node.attr["_class"].list.s]
        node.attr["_class"].list.s[:] = [f"loc:@{renamed.get(place, place)}".encode() for place in places]


def _rename_edge(edge: str, renamed: Mapping[str, str]) -> str:
    name, index = get_node_name(edge), get_output_index(edge)
    if name not in renamed:
        return edge
    return f"^{renamed[name]}" if edge.startswith("^") else f"{renamed[name]}:{index}"
