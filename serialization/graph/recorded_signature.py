"""Records a signature in the nodes of a frozen graph, which has no other place for it, and reads it again.

A node of an input or an output has the attribute `_serialization_signature`, a list of strings, each of the form
`VERSION:ROLE:PLACE:INDEX:KEY`, such as `1:input:0:0:x` and `1:output:1:0:scores`. VERSION is 1. ROLE is `input`,
`optional` or `output`; of an optional input the signature gives the default value, which is that of the node, a
PlaceholderWithDefault. PLACE counts the inputs, and the outputs, from 0. INDEX is that of the node's output. KEY may
hold colons. Beside it, the attribute `_serialization_outputs` is the number of outputs that were recorded.

TensorFlow keeps attributes whose names begin with `_`, and ignores them.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from serialization.console import make_printable
from serialization.errors import UserError
from serialization.graph.graph_def import get_node_name, get_output_index
from serialization.graph.graph_index import GraphIndex
from serialization.graph.op_registry import count_nameable_outputs
from serialization.graph.signature import Signature, Tensor
from serialization.graph.tensors import describe_tensor

RECORD, COUNT = "_serialization_signature", "_serialization_outputs"
_VERSION = "1"
_INPUT, _OPTIONAL, _OUTPUT = "input", "optional", "output"
_MOST_TENSORS, _LONGEST_KEY = 10_000, 1_000  # more is no signature


class _UnreadableError(Exception):
    """The reason why a record is ignored."""


def record_signature(graph_def: Any, signature: Signature) -> None:
    """Write the signature to the nodes of a GraphDef, in place of what was recorded there.

    Raises UserError for a signature that is too large.
    """
    remove_record(graph_def)
    tensors = (*signature.inputs, *signature.outputs)
    longest = max((len(tensor.key) for tensor in tensors), default=0)
    if len(tensors) > _MOST_TENSORS or longest > _LONGEST_KEY:
        raise UserError(
            f"the signature is too large for a frozen graph; it has {len(tensors):,} tensors, and keys of up to "
            f"{longest:,} characters; name fewer, or shorter ones, with --inputs and --outputs"
        )
    nodes = {node.name: node for node in graph_def.node}
    for role, side in ((_INPUT, signature.inputs), (_OUTPUT, signature.outputs)):
        for place, tensor in enumerate(side):
            node = nodes[get_node_name(tensor.name)]
            optional = role == _INPUT and tensor.default is not None and node.op == "PlaceholderWithDefault"
            fields = (_VERSION, _OPTIONAL if optional else role, place, get_output_index(tensor.name), tensor.key)
            node.attr[RECORD].list.s.append(":".join(map(str, fields)).encode())
            node.attr[COUNT].i = len(signature.outputs)


def remove_record(graph_def: Any) -> None:
    """Remove what was recorded: it does not hold for another part of the graph."""
    for node in graph_def.node:
        node.attr.pop(RECORD, None)
        node.attr.pop(COUNT, None)


def count_lost_outputs(graph_def: Any) -> int:
    """How many of the outputs that were recorded in a graph it has no more."""
    nodes = [node for node in graph_def.node if RECORD in node.attr]
    fields = [(entry.split(b":")[1:3] or [b""]) for node in nodes for entry in node.attr[RECORD].list.s]
    outputs = [place for role, *places in fields if role == _OUTPUT.encode() for place in places]
    places = {int(place) for place in outputs if re.fullmatch(rb"\d{1,9}", place)}
    recorded = [node.attr[COUNT].i for node in nodes if COUNT in node.attr] or [1] * bool(nodes)
    known: int = max([0, *recorded, *(place + 1 for place in places)])
    return known - len(places)


def read_recorded_signature(index: GraphIndex) -> tuple[Signature | None, list[str]]:
    """The signature that a graph's nodes record, or None; and a line on why a record is ignored, if one is.

    Of a graph that was cut elsewhere, the tensors that are left.
    """
    sides: dict[str, dict[int, Tensor]] = {_INPUT: {}, _OUTPUT: {}}
    try:
        entries = [(node, entry) for node in index.graph_def.node if RECORD in node.attr for entry in _entries(node)]
        if len(entries) > _MOST_TENSORS:
            raise _UnreadableError(f"it has {len(entries):,} tensors")
        for node, entry in entries:
            role, place, tensor = _read_entry(index, node, entry)
            if sides[role].setdefault(place, tensor) is not tensor:
                raise _UnreadableError(f"it has two tensors at place {place} of the {role}s")
        signature = Signature(*(tuple(side[place] for place in sorted(side)) for side in sides.values()))
        for tensors in (signature.inputs, signature.outputs):
            _require_different(tensors)
        if entries and not signature.outputs:
            raise _UnreadableError("the graph has none of its outputs")
    except _UnreadableError as reason:
        return None, [f"ignored the signature that the graph's nodes record: {make_printable(str(reason), 300)}"]
    return (signature if entries else None), []


def order_as_recorded(index: GraphIndex, signature: Signature) -> Signature:
    """The same inputs and outputs in the order that the graph's nodes record, if they record these."""
    recorded, _ = read_recorded_signature(index)
    known = (recorded.inputs, recorded.outputs) if recorded is not None else ((), ())
    sides = []
    for side, order in zip((signature.inputs, signature.outputs), known, strict=True):
        places = {(tensor.key, tensor.name): place for place, tensor in enumerate(order)}
        same = places.keys() == {(tensor.key, tensor.name) for tensor in side}
        sides.append(tuple(sorted(side, key=lambda t: places[t.key, t.name])) if same else side)
    return replace(signature, inputs=sides[0], outputs=sides[1])


def _entries(node: Any) -> Iterable[bytes]:
    found: Iterable[bytes] = node.attr[RECORD].list.s
    if not found:
        raise _UnreadableError(f"on {node.name} it is no list of strings")
    return found


def _read_entry(index: GraphIndex, node: Any, entry: bytes) -> tuple[str, int, Tensor]:
    """The role, the place and the tensor of one string."""
    text = entry.decode("utf-8", "replace")
    shown = f"{text[:60]!r} on {node.name}"
    version, *fields = text.split(":", 4)
    if version.isdecimal() and version != _VERSION:
        raise _UnreadableError(f"{shown} is of version {version}, and this reads version {_VERSION}")
    if version != _VERSION or len(fields) != 4 or "\ufffd" in text:
        raise _UnreadableError(f"{shown} is not of its form")
    role, place, number, key = fields
    optional = role == _OPTIONAL
    role = _INPUT if optional else role
    # str.isdecimal takes digits of other scripts too, and int any number of them.
    whole = all(number.isascii() and number.isdecimal() and len(number) < 10 for number in (place, number))
    if role not in (_INPUT, _OUTPUT) or not whole or len(key) > _LONGEST_KEY:
        raise _UnreadableError(f"{shown} is not of its form")
    if int(number) >= count_nameable_outputs(node):
        raise _UnreadableError(f"{shown}: the node has no output {number}")
    tensor = replace(describe_tensor(index.nodes, f"{node.name}:{int(number)}"), key=key)
    return role, int(place), replace(tensor, default=_read_default(index, node)) if optional else tensor


def _read_default(index: GraphIndex, node: Any) -> bytes:
    """The serialized TensorProto that a PlaceholderWithDefault hands on where it is not fed."""
    value = index.producer(node.input[0]) if node.op == "PlaceholderWithDefault" and node.input else None
    if value is None or value.op != "Const" or "value" not in value.attr:
        raise _UnreadableError(f"{node.name} has no constant as its default")
    default: bytes = value.attr["value"].tensor.SerializeToString(deterministic=True)
    return default


def _require_different(tensors: Iterable[Tensor]) -> None:
    twice = next((key for key, count in Counter(tensor.key for tensor in tensors).items() if count > 1), None)
    if twice is not None:
        raise _UnreadableError(f"two tensors have the key {twice[:60]!r}")
