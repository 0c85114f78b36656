"""Reads the object graph of a TensorFlow 2 checkpoint: the names and roles of its variables.

The checkpoint's keys are paths through Python objects. Its TrackableObjectGraph has each variable's own name, and the
slots: variables that an optimizer keeps for another variable.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serialization.console import show_path
from serialization.errors import UserError
from serialization.formats import protos
from serialization.formats.checkpoint_index import OBJECT_GRAPH, Checkpoint
from serialization.formats.sstable import compute_crc32c, unmask_crc32c
from serialization.formats.wire import DamagedError, read_varint


@dataclass(frozen=True)
class ObjectVariable:
    """A variable in the object graph: its `role` is "variable", "optimizer slot" or "optimizer".

    For a slot, `slot` is its name ("m") and `owner` the full name, or else the key, of the variable that it belongs to.
    """

    full_name: str
    role: str = "variable"
    slot: str = ""
    owner: str = ""


def read_object_graph(held: Checkpoint) -> dict[str, ObjectVariable]:
    """The variables in the checkpoint's object graph, by key; empty if there is none. Raises DamagedError."""
    from google.protobuf.message import DecodeError

    if not held.object_graph or OBJECT_GRAPH.encode() not in held.places:
        return {}
    try:
        graph = protos.TrackableObjectGraph.FromString(_read_string(held))
    except (OSError, DecodeError):
        raise DamagedError("its object graph cannot be read") from None
    optimizers = _below_optimizers(graph)
    found = {}
    for number, node in enumerate(graph.nodes):
        for attribute in node.attributes:
            role = "optimizer" if number in optimizers else "variable"
            found[attribute.checkpoint_key] = ObjectVariable(attribute.full_name, role)
    for node in graph.nodes:
        for slot in node.slot_variables:
            owner = _attribute(graph, slot.original_variable_node_id)
            kept = _attribute(graph, slot.slot_variable_node_id)
            if owner is not None and kept is not None:
                of = owner.full_name or owner.checkpoint_key
                found[kept.checkpoint_key] = ObjectVariable(kept.full_name, "optimizer slot", slot.slot_name, of)
    return found


def find_variable_keys(held: Checkpoint) -> dict[str, str]:
    """The key of each variable by its name: in an object checkpoint by its own, which it has in a graph too.

    TensorFlow's Saver.restore takes these names as well. A name that several variables have stands for none of them;
    these are found by their keys. Raises UserError where the object graph is damaged.
    """
    try:
        known = read_object_graph(held)
    except DamagedError as damage:
        raise UserError(f"{show_path(held.prefix)} is damaged; {damage}; copy it here again") from None
    copies = find_copies(held, known)
    named = [v.name for v in held.variables if v.name in known and v.name not in copies]
    times = Counter([*(v.name for v in held.variables), *(known[key].full_name for key in named)])
    names = {key: known[key].full_name for key in named if times[known[key].full_name] == 1}
    return {names.get(v.name) or v.name: v.name for v in held.variables}


def find_copies(held: Checkpoint, known: Mapping[str, ObjectVariable]) -> dict[str, str]:
    """The keys of variables that are there twice, each with the key that counts: of the same name, with the same value.

    Keras 3 exports each variable in two lists of objects. `known` are the variables of the object graph.
    """
    first: dict[tuple[object, ...], str] = {}
    copies = {}
    for variable in held.variables:
        key, place = variable.name, held.places.get(variable.name.encode())
        if place is not None and key in known and known[key].full_name:
            same = (known[key].full_name, variable.dtype, variable.shape, place.checksum)
            if first.setdefault(same, key) != key:
                copies[key] = first[same]
    return copies


def _read_string(held: Checkpoint) -> bytes:
    """The tensor's only string. Stored are its length, the length's checksum, and its bytes.

    Format: WriteStringTensor in tensorflow/core/util/tensor_bundle/tensor_bundle.cc.
    """
    place = held.places[OBJECT_GRAPH.encode()]
    with place.file.open("rb") as file:
        file.seek(place.offset)
        data = file.read(place.size)
    length, position = read_varint(data, 0, len(data))
    stored = unmask_crc32c(int.from_bytes(data[position : position + 4], "little"))
    # The checksum is that of the length as four bytes, or as eight if four are too few.
    width = 4 if length < 1 << 32 else 8
    if position + 4 + length != len(data) or compute_crc32c(length.to_bytes(width, "little")) != stored:
        raise DamagedError("its object graph has another length than recorded")
    return data[position + 4 :]


def _below_optimizers(graph: Any) -> set[int]:
    """The numbers of the objects that only optimizers refer to."""
    rest, optimizers = _reach(graph, skip="optimizer"), _reach(graph)
    return optimizers - rest


def _reach(graph: Any, skip: str = "") -> set[int]:
    found: set[int] = set()
    waiting = [0] if graph.nodes else []
    while waiting:
        number = waiting.pop()
        if number in found or not 0 <= number < len(graph.nodes):
            continue
        found.add(number)
        for child in graph.nodes[number].children:
            if not skip or skip not in child.local_name.lower():
                waiting.append(child.node_id)
    return found


def _attribute(graph: Any, number: int) -> Any:
    nodes = graph.nodes
    return nodes[number].attributes[0] if 0 <= number < len(nodes) and nodes[number].attributes else None
