"""Nested lists that stand for a tensor: their shape and values, and the place of what does not fit: `x[3][2]`."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from typing import Any

from serialization.graph.signature import show_shape

_NAMES = {
    float: "a number",
    int: "a number",
    str: "a string",
    bool: "true or false",
    type(None): "null",
    list: "a list",
    dict: "an object",
}


class MisfitError(ValueError):
    """`PLACE: expected WHAT, got WHAT`."""


def format_place(name: str, position: int, shape: Sequence[int]) -> str:
    """`x[3][2]` for the position in the flat values of this shape."""
    indices = []
    for size in reversed(shape):
        position, index = divmod(position, size)
        indices.append(index)
    return name + "".join(f"[{index}]" for index in reversed(indices))


def name_json_type(value: Any) -> str:
    """What a JSON value is, as people call it."""
    return _NAMES.get(type(value), type(value).__name__)


def measure_shape(value: Any, wanted: Sequence[int | None] | None, name: str) -> tuple[int, ...]:
    """The shape of nested lists. Raises MisfitError where it is not the `wanted` one, or where they are ragged."""
    shape: list[int] = []
    level = [value]
    while level and (isinstance(level[0], list) if wanted is None else len(shape) < len(wanted)):
        lists = [isinstance(part, list) for part in level]
        if not any(lists):
            raise MisfitError(f"{name}: expected the shape {show_shape(wanted)}, got {shape}")
        if not all(lists):
            odd = lists.index(False)
            raise MisfitError(f"{format_place(name, odd, shape)}: expected a list, got {name_json_type(level[odd])}")
        given = wanted[len(shape)] if wanted is not None else None
        size = len(level[0]) if given is None else given
        odd = next((i for i, part in enumerate(level) if len(part) != size), -1)
        if odd >= 0:
            like = f" as in {format_place(name, 0, shape)}" if given is None else ""
            place = format_place(name, odd, shape)
            raise MisfitError(f"{place}: expected {size} values{like}, got {len(level[odd])}")
        shape.append(size)
        level = [item for part in level for item in part]
    # Below an empty list nothing tells the sizes.
    return (*shape, *(size or 0 for size in (wanted or ())[len(shape) :]))


def flatten_lists(value: Any, rank: int) -> Iterator[Any]:
    """The innermost values of lists nested `rank` deep."""
    if rank == 0:
        yield value
    else:
        for part in value:
            yield from flatten_lists(part, rank - 1)


def read_json(text: str) -> Any:
    """A JSON value; ValueError also for what json is silent about: keys that are there twice, infinity."""

    def number(digits: str) -> float:
        value = float(digits)
        if math.isinf(value):
            raise ValueError(f"{digits} is beyond what any number holds")
        return value

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in items]
        if len(set(keys)) < len(keys):
            raise ValueError(f"a key is there twice in {', '.join(keys)}")
        return dict(items)

    return json.loads(text, parse_float=number, object_pairs_hook=pairs)
