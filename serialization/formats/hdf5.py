"""Reads the text attributes of an HDF5 file's root from its bytes, without the library: so that only its kind is told.

Format: https://docs.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html, attribute messages of version 1 and 3, whose
value is a string of fixed length, or of free length in a global heap. h5py writes one of these.
"""

from __future__ import annotations

import mmap

MAGIC = b"\x89HDF\r\n\x1a\n"
_SEARCHED = 1 << 20  # bytes from the beginning, where the attributes of the root are
_FIXED, _FREE = 3, 9  # classes of datatypes
_HEAP_HEADER = 16  # of a global heap, and of each object in it


def read_attribute(data: bytes | mmap.mmap, name: str) -> str | None:
    """The text of the first attribute of this name; None if there is none, or none that is a text."""
    wanted = name.encode() + b"\0"
    position = data.find(wanted, 0, _SEARCHED)
    while position >= 0:
        text = _read_value(data, position, len(wanted))
        if text is not None:
            return text.partition(b"\0")[0].decode(errors="replace")
        position = data.find(wanted, position + 1, _SEARCHED)
    return None


def _read_value(data: bytes | mmap.mmap, position: int, size: int) -> bytes | None:
    """The value of the attribute whose name, of `size` bytes, is at a position; None if no attribute is there."""
    for version, header in ((1, 8), (3, 9)):
        start = position - header
        if start < 0 or data[start] != version or _number(data, start + 2, 2) != size:
            continue
        lengths = [size, _number(data, start + 4, 2), _number(data, start + 6, 2)]  # of name, datatype and dataspace
        if version == 1:
            lengths = [-(-length // 8) * 8 for length in lengths]
        kind, value = position + lengths[0], position + sum(lengths)
        if data[kind : kind + 1] and data[kind] & 15 == _FIXED:
            return data[value : value + _number(data, kind + 4, 4)]
        if data[kind : kind + 1] and data[kind] & 15 == _FREE:
            heap, index = _number(data, value + 4, 8), _number(data, value + 12, 4)
            return _read_heap(data, heap, index)
    return None


def _read_heap(data: bytes | mmap.mmap, heap: int, index: int) -> bytes | None:
    """The object of this index in the global heap at a position."""
    if data[heap : heap + 4] != b"GCOL":
        return None
    position, end = heap + _HEAP_HEADER, min(len(data), heap + _number(data, heap + 8, 8))
    while position + _HEAP_HEADER <= end:
        size = _number(data, position + 8, 8)
        begin = position + _HEAP_HEADER
        if _number(data, position, 2) == index:
            return data[begin : begin + size] if begin + size <= end else None
        if index == 0 or _number(data, position, 2) == 0:  # the free rest of the heap
            return None
        position = begin + -(-size // 8) * 8
    return None


def _number(data: bytes | mmap.mmap, position: int, size: int) -> int:
    return int.from_bytes(data[position : position + size], "little")
