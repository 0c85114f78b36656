"""Reads SSTables, which checkpoints consist of: sorted pairs of keys and values, as LevelDB writes them.

Format: https://github.com/google/leveldb/blob/main/doc/table_format.md. TensorFlow's own reader needs its runtime, and
its error for a damaged file names neither the file nor the reason.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator

from serialization.formats.wire import DamagedError, read_varint

MAGIC = bytes.fromhex("57fb808b247547db")  # the last eight bytes of every table
_FOOTER = 48


def read_sstable(data: bytes | mmap.mmap) -> Iterator[tuple[bytes, bytes]]:
    """The pairs of a table in the order of their keys, decoded one at a time. Raises DamagedError."""
    if len(data) < _FOOTER or data[-len(MAGIC) :] != MAGIC:
        raise DamagedError("no magic number at its end")
    footer = len(data) - _FOOTER
    (*_, offset, size), _ = _numbers(data, footer, 4)
    for _, handle in _read_block(data, offset, size):
        (offset, size), _ = _numbers(handle, 0, 2)
        yield from _read_block(data, offset, size)


def check_sstable(data: bytes | mmap.mmap) -> None:
    """Compare the checksum of each block of a table, however large. Raises DamagedError."""
    (*_, offset, size), _ = _numbers(data[-_FOOTER:], 0, 4)
    handles = [_numbers(handle, 0, 2)[0] for _, handle in _read_block(data, offset, size)]
    for number, (offset, size) in enumerate(handles, 1):
        try:
            _check_block(data, offset, size)
        except DamagedError as error:
            raise DamagedError(f"{error}, number {number} of {len(handles)}") from None


def _check_block(data: bytes | mmap.mmap, offset: int, size: int) -> None:
    end = offset + size
    if end + 5 > len(data):
        raise DamagedError("a block lies beyond its end")
    if compute_crc32c(data[offset : end + 1]) != unmask_crc32c(int.from_bytes(data[end + 1 : end + 5], "little")):
        raise DamagedError("the checksum of a block differs")


def _read_block(data: bytes | mmap.mmap, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    _check_block(data, offset, size)
    end = offset + size
    block = data[offset:end]
    if data[end] == 1:
        block = _unsnappy(block)
    elif data[end] != 0:
        raise DamagedError("a block is compressed in an unknown way")
    restarts = int.from_bytes(block[-4:], "little")
    end = len(block) - 4 * (restarts + 1)
    if end < 0:
        raise DamagedError("the restarts of a block lie beyond it")
    position, key = 0, b""
    while position < end:
        (shared, unshared, length), position = _numbers(block, position, 3)
        if shared > len(key) or position + unshared + length > end:
            raise DamagedError("an entry lies beyond its block")
        key = key[:shared] + block[position : position + unshared]
        position += unshared
        yield key, block[position : position + length]
        position += length


def _numbers(data: bytes | mmap.mmap, position: int, count: int) -> tuple[list[int], int]:
    """The next `count` numbers, and the position after them."""
    numbers = []
    for _ in range(count):
        number, position = read_varint(data, position, len(data))
        numbers.append(number)
    return numbers, position


def _unsnappy(data: bytes) -> bytes:
    """Decompress a block. Format: https://github.com/google/snappy/blob/main/format_description.txt."""
    size, position = read_varint(data, 0, len(data))
    out = bytearray()
    while position < len(data) and len(out) < size:
        tag = data[position]
        position += 1
        if tag & 3 == 0:  # a literal
            length = tag >> 2
            if length >= 60:
                extra = length - 59
                length = int.from_bytes(data[position : position + extra], "little")
                position += extra
            out += data[position : position + length + 1]
            position += length + 1
            continue
        wide = (1, 2, 4)[(tag & 3) - 1]
        offset = int.from_bytes(data[position : position + wide], "little")
        position += wide
        length = (tag >> 2) + 1
        if wide == 1:
            offset |= (tag >> 5) << 8
            length = ((tag >> 2) & 7) + 4
        if not 0 < offset <= len(out):
            raise DamagedError("a compressed block refers to bytes before its start")
        while length > 0:  # a copy may overlap what it writes
            piece = out[-offset:][:length]
            out += piece
            length -= len(piece)
    if len(out) != size:
        raise DamagedError("a compressed block has another length than recorded")
    return bytes(out)


def compute_crc32c(data: bytes, before: int = 0) -> int:
    """The CRC-32C (Castagnoli) of `data`, continued from the checksum `before` of the bytes before it."""
    import google_crc32c  # here, so that `--help` works without it

    return int(google_crc32c.extend(before, data))


def mask_crc32c(checksum: int) -> int:
    """The form in which LevelDB's tables and TensorFlow's records store a checksum."""
    return (((checksum >> 15) | (checksum << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def unmask_crc32c(stored: int) -> int:
    """The checksum behind its stored form, which `mask_crc32c` makes."""
    rotated = (stored - 0xA282EAD8) & 0xFFFFFFFF
    return ((rotated >> 17) | (rotated << 15)) & 0xFFFFFFFF
