"""The wire format of protobufs: varints, and the places of a message's fields.

Format: https://protobuf.dev/programming-guides/encoding/. SSTables have the same varints.
"""

from __future__ import annotations

import mmap
from collections.abc import Container, Iterator
from typing import NamedTuple


class DamagedError(ValueError):
    """The bytes are damaged: changed, cut off, or of another format."""


class Field(NamedTuple):
    """A field of a message: its tag is at `start`, its value from `begin` to `end`; `wire` is its wire type."""

    number: int
    wire: int
    start: int
    begin: int
    end: int


def read_varint(data: bytes | memoryview | mmap.mmap, position: int, end: int) -> tuple[int, int]:
    """The varint at a position, and the position after it. Raises DamagedError if it reaches beyond `end`."""
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
    """The varint of a number that is not negative."""
    result = bytearray()
    while number > 0x7F:
        result.append(number & 0x7F | 0x80)
        number >>= 7
    result.append(number)
    return bytes(result)


def iterate_fields(data: bytes | memoryview | mmap.mmap, position: int, end: int) -> Iterator[Field]:
    """The fields of the message between two positions. The last one's `end` may lie beyond `end`, if it is cut off.

    Raises DamagedError at the first byte that is no field.
    """
    if end > len(data):
        raise DamagedError("a message is cut off")
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


def cut_fields(data: memoryview, numbers: Container[int]) -> tuple[bytes, dict[int, list[memoryview]]]:
    """A message without those of its fields of these numbers that have a length, and these fields by number.

    What is cut out is not copied, so large values can be taken before a protobuf class parses the rest. Raises
    DamagedError where the message is cut off.
    """
    rest: list[memoryview] = []
    cuts: dict[int, list[memoryview]] = {}
    start = 0  # where the bytes to keep begin
    for field in iterate_fields(data, 0, len(data)):
        if field.end > len(data):
            raise DamagedError("a field is cut off")
        if field.wire == 2 and field.number in numbers:
            rest.append(data[start : field.start])
            cuts.setdefault(field.number, []).append(data[field.begin : field.end])
            start = field.end
    rest.append(data[start:])
    return b"".join(rest), cuts
