"""The bytes of protobufs and tables: whole numbers of any length, and where the fields of a message lie.

Format: https://protobuf.dev/programming-guides/encoding/. TensorFlow's tables write their numbers in the same way.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from typing import NamedTuple


class DamagedError(ValueError):
    """The bytes are not what they should be: changed, cut off, or of another kind."""


class Field(NamedTuple):
    """A field of a message: it lies at `start`, and what is inside it from `begin` to `end`; `wire` is its type."""

    number: int
    wire: int
    start: int
    begin: int
    end: int


def read_varint(data: bytes | mmap.mmap, position: int, end: int) -> tuple[int, int]:
    """The number at a position, and where it ends. Raises DamagedError if that is not before `end`."""
    number = 0
    for shift in range(0, 70, 7):
        if position >= end:
            break
        byte = data[position]
        position += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, position
    raise DamagedError("a number is cut off")


def write_varint(number: int) -> bytes:
    result = bytearray()
    while number > 0x7F:
        result.append(number & 0x7F | 0x80)
        number >>= 7
    result.append(number)
    return bytes(result)


def iterate_fields(data: bytes | mmap.mmap, position: int, end: int) -> Iterator[Field]:
    """The fields of the message between two positions; the last may claim to reach beyond `end`.

    Raises DamagedError at the first byte that belongs to none.
    """
    while position < end:
        start = position
        tag, begin = read_varint(data, start, end)
        wire = tag & 7
        if tag >> 3 == 0:
            raise DamagedError("a field has the number 0")
        if wire == 0:
            _, position = read_varint(data, begin, end)
        elif wire == 2:
            length, begin = read_varint(data, begin, end)
            position = begin + length
        elif wire in (1, 5):
            position = begin + (8 if wire == 1 else 4)
        else:
            raise DamagedError(f"unknown wire type {wire}")
        yield Field(tag >> 3, wire, start, begin, position)
