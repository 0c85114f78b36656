"""SSTables made by hand, block by block, as LevelDB and TensorFlow write them."""

from __future__ import annotations

import struct
from collections.abc import Iterable

import google_crc32c

from serialization.formats.sstable import MAGIC, mask_crc32c
from serialization.formats.wire import write_varint

Pairs = Iterable[tuple[bytes, bytes]]


def make_block(pairs: Pairs) -> bytes:
    """A block, none of whose keys shares its beginning with the one before."""
    entries = b"".join(make_entry(0, key, value) for key, value in pairs)
    return entries + struct.pack("<II", 0, 1)  # one restart, at 0


def make_entry(shared: int, rest: bytes, value: bytes) -> bytes:
    """An entry whose key is the first `shared` bytes of the key before it, and the rest."""
    return write_varint(shared) + write_varint(len(rest)) + write_varint(len(value)) + rest + value


def seal(block: bytes, compression: int = 0) -> bytes:
    """A block with what follows it in the file: how it is compressed (0: not, 1: Snappy), and its checksum."""
    sealed = block + bytes([compression])
    return sealed + struct.pack("<I", mask_crc32c(google_crc32c.value(sealed)))


def make_sstable(*sealed: bytes) -> bytes:
    """A table of these sealed blocks. A reader that looks for a key finds those of the last block alone."""
    handles, offset = [], 0
    for number, block in enumerate(sealed):
        last = b"\xff" if number == len(sealed) - 1 else b"%d" % number  # no key of the block is behind it
        handles.append((last, write_varint(offset) + write_varint(len(block) - 5)))
        offset += len(block)
    index = seal(make_block(handles))
    footer = write_varint(0) + write_varint(0) + write_varint(offset) + write_varint(len(index) - 5)
    return b"".join(sealed) + index + footer.ljust(40, b"\0") + MAGIC


def make_table(pairs: Pairs) -> bytes:
    """A table of one block."""
    return make_sstable(seal(make_block(pairs)))
