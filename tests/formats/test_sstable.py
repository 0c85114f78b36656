"""SSTables are read to their end; a damaged block is reported."""

from __future__ import annotations

import contextlib
import re
import struct
from pathlib import Path

import graphs
import pytest
from conftest import Run
from sstables import make_block, make_entry, make_sstable, make_table, seal

from serialization.formats.sstable import check_sstable, compute_crc32c, mask_crc32c, read_sstable, unmask_crc32c
from serialization.formats.wire import DamagedError, write_varint
from serialization.tensorflow import tf, tf1


@pytest.mark.parametrize("at", [0.8, 0.95])
def test_a_damaged_later_block_of_the_first_format_is_reported(run: Run, tmp_path: Path, at: float) -> None:
    def build() -> None:
        x = tf1.placeholder(tf.float32, [None, 100], name="x")
        for number in range(10):
            x = x @ tf1.get_variable(f"w{number}", [100, 100], use_resource=False)

    prefix = graphs.save(tmp_path, build, write_version=1)
    data = bytearray(prefix.read_bytes())
    data[int(at * len(data))] ^= 1
    prefix.write_bytes(data)
    found = r"the checksum of a block differs, number \d of \d"
    line = rf"{prefix} is damaged or no part of a checkpoint; {found}; copy it here again\n"
    for words in (
        ("checkpoint_restore", "--checkpoint", prefix),
        ("checkpoint_restore", "--checkpoint", prefix, "--tensor", "w1"),
        ("freezemodel_save", "--checkpoint", prefix, "--frozen-model", tmp_path / "m.pb", "--no-verify"),
    ):
        done = run(*words)
        assert (done.status, re.fullmatch(f"error: {line}", done.stderr) is not None) == (1, True), done.stderr
    assert not (tmp_path / "m.pb").exists()
    assert re.search(line, run("model_inspect", prefix).stdout)


PAIRS = [(b"", b"header"), (b"a", b""), (b"ab", b"1"), (b"b\0\xff", b"2" * 300)]


def test_pairs_of_all_blocks_come_in_their_order() -> None:
    data = make_sstable(seal(make_block(PAIRS[:2])), seal(make_block([])), seal(make_block(PAIRS[2:])))
    assert list(read_sstable(data)) == PAIRS
    assert list(read_sstable(make_sstable())) == []
    check_sstable(data)


def test_keys_share_the_beginning_of_the_key_before() -> None:
    entries = make_entry(0, b"layer/w", b"1") + make_entry(6, b"b", b"2") + make_entry(0, b"x", b"3")
    data = make_sstable(seal(entries + struct.pack("<II", 0, 1)))
    assert list(read_sstable(data)) == [(b"layer/w", b"1"), (b"layer/b", b"2"), (b"x", b"3")]


# The format is https://github.com/google/snappy/blob/main/format_description.txt.
SNAPPY = {
    "a literal": (bytes([4 << 2]) + b"abcde", b"abcde"),
    "a literal whose length takes one byte": (bytes([60 << 2, 99]) + b"x" * 100, b"x" * 100),
    "a literal whose length takes two bytes": (bytes([61 << 2, 255, 1]) + b"x" * 512, b"x" * 512),
    "a copy with an offset of 11 bits": (bytes([2 << 2]) + b"abc" + bytes([0b001, 3]), b"abcabca"),
    "a copy with an offset of two bytes": (bytes([2 << 2]) + b"abc" + bytes([2 << 2 | 2, 3, 0]), b"abcabc"),
    "a copy with an offset of four bytes": (bytes([2 << 2]) + b"abc" + bytes([2 << 2 | 3, 2, 0, 0, 0]), b"abcbcb"),
    "a copy that overlaps what it writes": (bytes([0]) + b"a" + bytes([63 << 2 | 2, 1, 0]), b"a" * 65),
}


@pytest.mark.parametrize("name", SNAPPY)
def test_blocks_compressed_with_snappy_are_read(name: str) -> None:
    compressed, value = SNAPPY[name]
    head = write_varint(0) + write_varint(1) + write_varint(len(value)) + b"k"  # the entry up to its value
    end = struct.pack("<II", 0, 1)
    stream = bytes([len(head) - 1 << 2]) + head + compressed + bytes([len(end) - 1 << 2]) + end
    block = write_varint(len(head) + len(value) + len(end)) + stream
    assert list(read_sstable(make_sstable(seal(block, 1)))) == [(b"k", value)]


def with_entry(entry: bytes) -> bytes:
    return make_sstable(seal(entry + struct.pack("<II", 0, 1)))


WHOLE = make_table(PAIRS)
DAMAGED = {
    "empty": (b"", "no magic number at its end"),
    "too short for a footer": (WHOLE[-20:], "no magic number at its end"),
    "cut off": (WHOLE[:-1], "no magic number at its end"),
    "its beginning is missing": (WHOLE[300:], "a block lies beyond its end"),
    "a changed byte": (WHOLE[:9] + b"?" + WHOLE[10:], "the checksum of a block differs"),
    "an endless number in the footer": (WHOLE[:-48] + b"\xff" * 40 + WHOLE[-8:], "a number is cut off"),
    "an unknown compression": (make_sstable(seal(make_block(PAIRS), 4)), "a block is compressed in an unknown way"),
    "a key that shares more than there is": (with_entry(make_entry(3, b"k", b"v")), "an entry lies beyond its block"),
    "a value beyond the block": (with_entry(b"\0\1\x7fkv"), "an entry lies beyond its block"),
    "an entry that is cut off": (with_entry(b"\x80"), "an entry lies beyond its block"),
    "no restarts": (make_sstable(seal(b"")), "the restarts of a block lie beyond it"),
    "more restarts than the block holds": (
        make_sstable(seal(struct.pack("<I", 2))),
        "the restarts of a block lie beyond it",
    ),
    "a compressed block that is longer than it says": (
        make_sstable(seal(b"\x01\x04ab", 1)),
        "a compressed block has another length than recorded",
    ),
    "a compressed block that is shorter than it says": (
        make_sstable(seal(b"\x09\x04ab", 1)),
        "a compressed block has another length than recorded",
    ),
    "a copy of what is not there": (
        make_sstable(seal(b"\x09\x04ab\x01\x03", 1)),
        "a compressed block refers to bytes before its start",
    ),
    "a copy of nothing": (
        make_sstable(seal(b"\x09\x04ab\x01\x00", 1)),
        "a compressed block refers to bytes before its start",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_table_is_refused_with_the_reason(name: str) -> None:
    data, message = DAMAGED[name]
    with pytest.raises(DamagedError, match=f"^{message}$"):
        list(read_sstable(data))


def test_a_table_that_is_damaged_anywhere_is_refused_or_reads_the_same() -> None:
    """The checksums do not cover the footer, where a changed byte may go unnoticed."""
    for position in range(len(WHOLE)):
        changed = bytearray(WHOLE)
        changed[position] ^= 0x40
        with contextlib.suppress(DamagedError):
            assert list(read_sstable(bytes(changed))) == PAIRS


def test_every_block_is_checked() -> None:
    first, second = seal(make_block(PAIRS[:2])), seal(make_block(PAIRS[2:]))
    check_sstable(make_sstable(first, second))
    with pytest.raises(DamagedError, match=r"^the checksum of a block differs, number 2 of 2$"):
        check_sstable(make_sstable(first, second[:-1] + b"?"))


@pytest.mark.parametrize(
    ("data", "checksum"), [(b"", 0), (b"123456789", 0xE3069283), (bytes(32), 0x8A9136AA), (b"\xff" * 32, 0x62A8AB43)]
)
def test_checksums_are_those_of_the_standard(data: bytes, checksum: int) -> None:
    """The values are of RFC 3720, B.4."""
    assert compute_crc32c(data) == compute_crc32c(data[5:], compute_crc32c(data[:5])) == checksum
    assert mask_crc32c(checksum) != checksum
    assert unmask_crc32c(mask_crc32c(checksum)) == checksum
