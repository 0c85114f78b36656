"""Reads from the headers of PNG and JPEG files what has to be known before their pixels are decoded.

PNG: chunks, each its length, its name, its content and a checksum, up to the pixels (PNG, third edition, section 5.3).
JPEG: segments, each a marker, its length and its content, up to the frame header (ITU-T T.81, annex B). A camera writes
how it was held as a tag of TIFF into a segment APP1 (Exif 2.3, sections 4.5 and 4.6.4) or a chunk eXIf.
"""

from __future__ import annotations

import itertools
import re
import struct
from collections.abc import Iterator

_PNG = b"\x89PNG\r\n\x1a\n"
_JPEG = b"\xff\xd8\xff"
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers of JPEG's frame headers
_SCAN = b"\xff\xda"  # the marker of a scan; pixels hold no such bytes, for a zero follows each 0xFF of theirs
_APP1 = 0xE1
_MARKER = re.compile(rb"\xff{1,1000}([^\xff])", re.DOTALL)  # more than one byte 0xFF may precede a marker
_MOST_PARTS = 10_000  # before the pixels; files of cameras have some hundred at most
_EXIF = b"Exif\0\0"
_ORIENTATION, _SHORT = 0x0112, 3  # a tag of TIFF, and the type of its value


def is_image(data: bytes) -> bool:
    """Whether the data begins as a PNG or JPEG file does."""
    return data.startswith((_PNG, _JPEG))


def measure_image(data: bytes) -> tuple[int, int]:
    """Width and height of a PNG or JPEG file, as its pixels lie. Raises ValueError for any other file."""
    if data.startswith(_PNG) and data[12:16] == b"IHDR" and len(data) >= 24:
        return int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")
    for marker, content in _list_segments(data):
        if marker in _FRAMES and len(content) >= 5:
            return int.from_bytes(content[3:5], "big"), int.from_bytes(content[1:3], "big")
    if not data:
        raise ValueError("it is empty")
    raise ValueError("its header is damaged" if data.startswith((_PNG, _JPEG)) else "its first bytes are of neither")


def count_scans(data: bytes) -> int:
    """The number of scans of a JPEG file, or a few more; 0 for another file. Each takes a pass over all pixels."""
    return data.count(_SCAN) if data.startswith(_JPEG) else 0


def read_orientation(data: bytes) -> int:
    """How the pixels of a PNG or JPEG file lie: 1 to 8, as Exif numbers it; 1, upright, if the file does not say.

    1 to 4 are upright, mirrored sideways, upside down, and mirrored upside down; 5 to 8 are the same once the rows have
    become columns.
    """
    for marker, content in _list_segments(data):
        if marker == _APP1 and content.startswith(_EXIF):
            return _find_orientation(content[len(_EXIF) :])
    for name, content in _list_chunks(data):
        if name == b"eXIf":
            return _find_orientation(content)
    return 1


def _list_segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The segments of a JPEG file, up to and with the frame header; the last one may be cut off."""
    at = 2 if data.startswith(_JPEG) else len(data)
    for _ in range(_MOST_PARTS):
        found = _MARKER.match(data, at)
        if found is None:
            return
        marker, start = found[1][0], found.end()
        at = start + max(2, int.from_bytes(data[start : start + 2], "big"))
        yield marker, data[start + 2 : at]
        if marker in _FRAMES:
            return


def _list_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a PNG file, up to its pixels."""
    at = len(_PNG) if data.startswith(_PNG) else len(data)
    for _ in range(_MOST_PARTS):
        length, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        if name in (b"IDAT", b""):
            return
        yield name, data[at + 8 : at + 8 + length]
        at += 12 + length


def _find_orientation(tiff: bytes) -> int:
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 8:
        return 1
    (first,) = struct.unpack_from(f"{order}I", tiff, 4)
    (count,) = struct.unpack_from(f"{order}H", tiff[first : first + 2].ljust(2, b"\0"))
    for at in itertools.islice(range(first + 2, len(tiff) - 11, 12), count):
        tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, at)
        if tag == _ORIENTATION and kind == _SHORT and 1 <= value <= 8:
            return int(value)
    return 1
