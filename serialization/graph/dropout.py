"""Finds the dropout layers of a graph without functions, and switches them off.

A layer computes `x * scale * mask`, or has 0 where the mask says so. The mask compares a uniform random number u with a
rate, or is floor(keep + u). So it keeps a number with the probability `keep`, and the scale is 1 / keep: on average a
layer hands its input on. TensorFlow and Keras have written it in many ways:

    x / keep * floor(keep + u)                        TensorFlow up to 1.13
    x * (1 / (1 - rate)) * cast(u >= rate)            up to 2.9
    where(u >= rate, x * (1 / (1 - rate)), 0)         since then, and Keras with u from a stateless random op
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from serialization.formats import protos
from serialization.graph.graph_def import change_op, find_free_name, get_node_name, list_data_edges
from serialization.graph.graph_index import GraphIndex
from serialization.graph.op_sets import ENTERS, IDENTITIES, STATELESS_UNIFORMS
from serialization.graph.scalars import compute_number

_UNIFORM = STATELESS_UNIFORMS | {"RandomUniform", "StatefulUniform"}
_TRIED = (0.25, 0.5)  # for a rate that is fed
_CLOSE = 1e-2  # float16 has three digits
_SHIFTS = frozenset({"Add", "AddV2", "Sub", "Mul", "RealDiv", "Div"})
_CASTS = IDENTITIES | {"Cast"}
_SCALES = frozenset({"Mul", "RealDiv", "Div"})
_COMPARED = frozenset({"GreaterEqual", "Greater", "Less", "LessEqual"})


class Slot(NamedTuple):
    """An input of a node, by the node's name and the number of the input."""

    node: str
    number: int


@dataclass(frozen=True)
class DropoutLayer:
    """A dropout layer: its node `random` draws the numbers, its node `result` gives `data`, an edge, or 0 in its place.

    `mask` is where the mask is taken; with `drops` it says what is dropped. `scales` are where the scale is taken.
    `keep` is the probability to keep a number, None if it is fed.
    """

    random: str
    result: str
    data: str
    mask: Slot
    drops: bool
    scales: tuple[Slot, ...]
    keep: float | None


class _Line(NamedTuple):
    """A tensor that is `slope * u + offset`, by pairs of numbers for the two rates that are tried."""

    name: str
    slope: tuple[float, ...]
    offset: tuple[float, ...]


def find_dropout(index: GraphIndex, outputs: Iterable[str]) -> list[DropoutLayer]:
    """The dropout layers that outputs depend on, in the order of the graph; a mask that is used twice makes two."""
    needed = index.reachable(outputs)
    found = []
    for node in index.graph_def.node:
        if node.name in needed and node.op in _UNIFORM:
            found += [layer for layer in _find_layers(index, node.name) if layer.result in needed]
    return found


def remove_dropout(graph_def: Any, layers: Iterable[DropoutLayer]) -> None:
    """Make an identity of each layer, in place: its result is its input, as where nothing is dropped."""
    nodes = {node.name: node for node in graph_def.node}
    for layer in layers:
        node = nodes[layer.result]
        change_op(node, "Identity", [layer.data, *(e for e in node.input if e.startswith("^"))], T=_dtype(node))


def keep_everything(graph_def: Any, layers: Sequence[DropoutLayer]) -> Any:
    """A copy of the GraphDef in which each layer computes as ever, with a mask that keeps all and a scale of 1."""
    result = protos.GraphDef()
    result.CopyFrom(graph_def)
    nodes = {node.name: node for node in result.node}
    for layer in layers:
        slots = [(layer.mask, "ZerosLike" if layer.drops else "OnesLike"), *((s, "OnesLike") for s in layer.scales)]
        for slot, op in slots:
            node = nodes[slot.node]
            name = find_free_name(f"{slot.node}/kept", nodes, slot.number)
            nodes[name] = result.node.add(name=name, op=op, input=[node.input[slot.number]])
            is_bool = slot == layer.mask and node.op in ("Select", "SelectV2")
            nodes[name].attr["T"].type = 10 if is_bool else _dtype(node)
            node.input[slot.number] = name
    return result


def _dtype(node: Any) -> int:
    return int(node.attr["T"].type)


def _find_layers(index: GraphIndex, random: str) -> Iterator[DropoutLayer]:
    """The layers that take their mask from the numbers of a random op."""
    for mask, keep, drops in _find_masks(index, random):
        yield from _find_uses(index, random, mask, keep, drops=drops)


def _numbers(index: GraphIndex, edge: str) -> tuple[float, ...] | None:
    """The number on an edge for each rate that is tried; None if it is none of one."""
    values = [compute_number(index, edge, fed) for fed in _TRIED]
    known = tuple(value for value in values if value is not None)
    return known if len(known) == len(values) else None


def _users(index: GraphIndex, name: str) -> Iterator[tuple[Any, int]]:
    """The nodes that take the first output of a node, each with the number of the input."""
    for user in map(index.nodes.__getitem__, index.consumers(name)):
        for number, edge in enumerate(list_data_edges(user)):
            if edge in (name, f"{name}:0"):
                yield user, number


def _find_masks(index: GraphIndex, random: str) -> Iterator[tuple[str, tuple[float, ...], bool]]:
    """The masks made of a random op: the node, the probability that it is 1 or true, and whether that means to drop.

    A comparison may be used either way: it comes with both.
    """
    waiting, seen = [_Line(random, (1.0,) * len(_TRIED), (0.0,) * len(_TRIED))], {random}
    while waiting:
        line = waiting.pop()
        for user, number in _users(index, line.name):
            data = list_data_edges(user)
            other = _numbers(index, data[1 - number]) if len(data) == 2 else None
            if user.op == "Floor" and all(abs(slope - 1) < _CLOSE for slope in line.slope):
                yield user.name, line.offset, False
            elif user.op in _COMPARED and other is not None and all(slope > 0 for slope in line.slope):
                below = [(o - b) / a for o, a, b in zip(other, line.slope, line.offset, strict=True)]  # P(line < other)
                greater = (user.op in ("GreaterEqual", "Greater")) == (number == 0)
                true = tuple(1 - p if greater else p for p in below)
                yield user.name, true, False
                yield user.name, tuple(1 - p for p in true), True
            elif user.name not in seen and (moved := _move(line, user, number, other)):
                seen.add(user.name)
                waiting.append(moved)


def _move(line: _Line, user: Any, number: int, other: tuple[float, ...] | None) -> _Line | None:
    """The result of an op on a line, if it is a line too."""
    if user.op in _CASTS | ENTERS:
        return line._replace(name=user.name)
    if other is None or user.op not in _SHIFTS:
        return None
    pairs = list(zip(line.slope, line.offset, other, strict=True))
    if user.op in ("Add", "AddV2"):
        made = [(a, b + o) for a, b, o in pairs]
    elif user.op == "Sub":
        made = [(a, b - o) if number == 0 else (-a, o - b) for a, b, o in pairs]
    elif user.op == "Mul":
        made = [(a * o, b * o) for a, b, o in pairs]
    elif number == 0 and all(other):
        made = [(a / o, b / o) for a, b, o in pairs]
    else:
        return None
    return _Line(user.name, tuple(a for a, _ in made), tuple(b for _, b in made))


def _find_uses(
    index: GraphIndex, random: str, mask: str, keep: tuple[float, ...], *, drops: bool
) -> Iterator[DropoutLayer]:
    """The layers that apply a mask. `keep` is the probability to keep a number, for each rate that is tried."""
    if not all(0 < share <= 1 + _CLOSE for share in keep):
        return
    how = (index, random, keep)
    waiting: list[tuple[str, tuple[float, ...], tuple[Slot, ...]]] = [(mask, (1.0,) * len(keep), ())]
    while waiting:
        name, scale, scales = waiting.pop()
        for user, number in _users(index, name):
            data = list_data_edges(user)
            if user.op in _CASTS:
                waiting.append((user.name, scale, scales))
            elif user.op in ("Select", "SelectV2") and number == 0:
                kept, dropped = (data[2], data[1]) if drops else (data[1], data[2])
                if _is_zero(index, dropped):
                    yield from _make_layer(*how, user.name, kept, Slot(user.name, 0), drops, scale, scales)
            elif user.op in _SCALES and not drops:
                other = _numbers(index, data[1 - number])
                if other is not None and (user.op == "Mul" or number == 0):
                    factor = other if user.op == "Mul" else _invert(other)
                    slot = Slot(user.name, 1 - number)
                    waiting.append((user.name, _multiply(scale, factor), (*scales, slot)))
                elif other is None and user.op == "Mul":
                    slot = Slot(user.name, number)
                    yield from _make_layer(*how, user.name, data[1 - number], slot, drops, scale, scales)


def _make_layer(
    index: GraphIndex,
    random: str,
    keep: tuple[float, ...],
    applied: str,
    data: str,
    mask: Slot,
    drops: bool,
    scale: tuple[float, ...],
    scales: tuple[Slot, ...],
) -> Iterator[DropoutLayer]:
    """The layer whose mask is applied at a node, if what is kept is scaled by 1 / keep before, in or behind it."""
    fixed = keep[0] if len(set(keep)) == 1 else None
    result = DropoutLayer(random, applied, data, mask, drops, scales, fixed)
    if _is_whole(keep, scale):
        yield result
        return
    before = index.producer(data)
    if before is not None and (part := _read_scale(index, before)) and _is_whole(keep, _multiply(scale, part[1])):
        source, _, slot = part
        yield DropoutLayer(random, applied, source, mask, drops, (*scales, slot), fixed)
        return
    for after, _ in _users(index, applied):
        part = _read_scale(index, after)
        if part and get_node_name(part[0]) == applied and _is_whole(keep, _multiply(scale, part[1])):
            yield DropoutLayer(random, after.name, data, mask, drops, (*scales, part[2]), fixed)


def _read_scale(index: GraphIndex, node: Any) -> tuple[str, tuple[float, ...], Slot] | None:
    """Of a node that scales by a number: the edge that it scales, the factors, and where it takes them."""
    data = list_data_edges(node)
    if node.op not in _SCALES or len(data) != 2:
        return None
    for number in (1, 0) if node.op == "Mul" else (1,):
        factor = _numbers(index, data[number])
        if factor is not None:
            return data[1 - number], factor if node.op == "Mul" else _invert(factor), Slot(node.name, number)
    return None


def _is_whole(keep: tuple[float, ...], scale: tuple[float, ...]) -> bool:
    """Whether numbers have their own size on average."""
    return all(abs(share * factor - 1) < _CLOSE for share, factor in zip(keep, scale, strict=True))


def _multiply(one: tuple[float, ...], other: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(a * b for a, b in zip(one, other, strict=True))


def _invert(numbers: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(1 / number if number else 0.0 for number in numbers)


def _is_zero(index: GraphIndex, edge: str) -> bool:
    node = index.producer(edge)
    return compute_number(index, edge) == 0 or (node is not None and node.op == "ZerosLike")
