"""Copies the values of a checkpoint's variables as bytes from its data files, one stored slice after the other.

A data file holds a tensor of numbers in the same bytes as memory and as a TensorProto's tensor_content. So the bytes
can be copied from one file to another, a piece at a time, while their checksum is compared with the index's. TensorFlow
reads the rest: strings, and slices that are not stored as exactly that slice.
"""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from serialization.console import make_printable, show_path
from serialization.errors import UserError
from serialization.formats import dtypes
from serialization.formats.checkpoint_index import Checkpoint, Extent, Place, encode_slice_key
from serialization.formats.dtypes import get_dtype_size
from serialization.formats.sstable import compute_crc32c

_PIECE = 1 << 20  # bytes
_EXTENT = r"(?:-|\d{1,18},\d{1,18})"
_SPEC = re.compile(rf"((?:\d{{1,18}} )+)({_EXTENT}(?::{_EXTENT})*)")
_ALL = -1  # the length of an extent that is all of its axis


@dataclass(frozen=True)
class StoredValue:
    """A variable's value in data files: the bytes of all its `places`, in order. `dtype` is TensorFlow's number."""

    name: str
    dtype: int
    shape: tuple[int, ...]
    places: tuple[Place, ...]

    @property
    def nbytes(self) -> int:
        return sum(place.size for place in self.places)

    def pieces(self) -> Iterator[bytes]:
        """The bytes of the tensor in row-major order. Raises UserError if they are not the saved ones."""
        for place in self.places:
            left, checksum = place.size, 0
            with place.file.open("rb", buffering=0) as file:
                file.seek(place.offset)
                while left:
                    piece = file.read(min(left, _PIECE))
                    if not piece:
                        raise UserError(f"{show_path(place.file)} has been cut short; copy it here again")
                    checksum = compute_crc32c(piece, checksum)
                    left -= len(piece)
                    yield piece
            if checksum != place.checksum:
                raise UserError(
                    f"{show_path(place.file)} is damaged; the checksum of {make_printable(self.name)} differs from "
                    "its index's; copy it here again"
                )


def find_stored_value(held: Checkpoint, name: str, spec: str, dtype: int, shape: tuple[int, ...]) -> StoredValue | None:
    """A variable's value, or with a `spec` ("10 4 0,5:-") that slice of it, of the given `shape`.

    None where the value cannot be copied as bytes, or is not stored as exactly that slice.
    """
    if sys.byteorder != "little" or dtype in (dtypes.STRING, dtypes.RESOURCE, dtypes.VARIANT):
        return None
    keys = [encode_slice_key(name, parse_slice_spec(spec)[1])] if spec else _keys(held, name)
    if not keys or not all(key in held.places for key in keys):
        return None
    stored = StoredValue(name, dtype, shape, tuple(held.places[key] for key in keys))
    return stored if stored.nbytes == math.prod(shape) * get_dtype_size(dtype) else None


def is_slice_spec(text: str) -> bool:
    """Whether `parse_slice_spec` can read a text: as many extents as sizes."""
    match = _SPEC.fullmatch(text)
    return match is not None and match[1].count(" ") == match[2].count(":") + 1


def parse_slice_spec(spec: str) -> tuple[tuple[int, ...], tuple[Extent, ...]]:
    """The variable's shape, and start and length on each axis, of a slice as RestoreV2 takes it: "10 4 0,5:-"."""
    *sizes, parts = spec.split()
    extents = tuple((0, _ALL) if part == "-" else _extent(part) for part in parts.split(":"))
    return tuple(int(size) for size in sizes), extents


def format_slice_spec(shape: Sequence[int], extents: Sequence[Extent]) -> str:
    """The text of a slice that `parse_slice_spec` reads."""
    parts = ("-" if length == _ALL else f"{start},{length}" for start, length in extents)
    return "".join(f"{size} " for size in shape) + ":".join(parts)


def _extent(part: str) -> Extent:
    start, _, length = part.partition(",")
    return int(start), int(length)


def _keys(held: Checkpoint, name: str) -> list[bytes]:
    """The keys whose bytes in order are the whole variable; none if it is cut along another axis than the first."""
    parts = sorted(held.parts.get(name, ()))
    if not parts:
        return [name.encode()]
    shape = next(variable.shape for variable in held.variables if variable.name == name)
    end = 0
    for (start, length), *others in parts:
        whole = all(extent in ((0, _ALL), (0, size)) for extent, size in zip(others, shape[1:], strict=True))
        if start != end or not whole:
            return []
        end = shape[0] if length == _ALL else start + length
    return [encode_slice_key(name, part) for part in parts] if end == shape[0] else []
