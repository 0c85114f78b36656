"""Tells the kind of a file from its bytes, without TensorFlow: a part of a model, or what other programs write.

A binary protobuf does not record its type: any GraphDef parses as a SavedModel without MetaGraphDefs. So the kind is
told from the place of the first NodeDef: field 1 of a GraphDef, 2.1 of a MetaGraphDef, 2.2.1 of a SavedModel.
"""

from __future__ import annotations

import mmap
import os
import re
import weakref
from collections.abc import Iterator
from contextlib import suppress
from enum import Enum
from pathlib import Path

from serialization.console import show_path
from serialization.errors import UserError
from serialization.formats import hdf5, keras_files, sstable, wire
from serialization.formats.foreign_files import Foreign, detect_foreign, detect_foreign_text
from serialization.formats.wire import iterate_fields

_HEAD = 65536


class Kind(Enum):
    """The kinds of TensorFlow's and Keras's files; the value is the name of the kind in errors."""

    GRAPH = "a frozen model (a GraphDef)"
    META_GRAPH = "the graph of a checkpoint (a MetaGraphDef)"
    SAVED_MODEL = "a SavedModel"
    TABLE = "a checkpoint's index, or a checkpoint in TensorFlow's first format"
    DATA = "a data file of a checkpoint"
    STATE = "a folder's `checkpoint` file"
    KERAS = "a Keras model"
    KERAS_LAYERS = "the layers of a Keras model without its weights (JSON)"
    KERAS_WEIGHTS = "weights without a model, as Keras writes them (HDF5)"
    EMPTY = "empty"
    UNKNOWN = "a file of an unknown kind"


_TEXT = {  # the fields that the text form of a message can begin with
    Kind.GRAPH: ("node", "library", "versions", "version"),
    Kind.META_GRAPH: ("meta_info_def", "graph_def", "saver_def", "collection_def", "signature_def", "asset_file_def"),
    Kind.SAVED_MODEL: ("saved_model_schema_version", "meta_graphs"),
    Kind.STATE: ("model_checkpoint_path", "all_model_checkpoint_paths"),
}
_BINARY = {Kind.GRAPH: (1,), Kind.META_GRAPH: (2, 1), Kind.SAVED_MODEL: (2, 2, 1)}  # fields down to the first NodeDef


def require_plain_file(path: Path) -> None:
    """Raise UserError if at the path is a folder, or a pipe, a socket or a device: reading one may never end."""
    if path.is_dir():
        raise UserError(f"{show_path(path)} is a folder; name a file in it")
    if path.exists() and not path.is_file():
        raise UserError(f"{show_path(path)} is no plain file; put its content into a file, and name that")


class ModelFile:
    """A file, opened once: its kind, told from its bytes, and all of them, mapped into memory.

    `stamp` is its size in bytes and the time of its last write in nanoseconds. Raises OSError if it cannot be read, and
    UserError if it is no plain file.
    """

    def __init__(self, path: Path) -> None:
        require_plain_file(path)
        self.path = path
        self.data: bytes | mmap.mmap = b""
        with path.open("rb") as opened:
            status = os.fstat(opened.fileno())
            self.stamp = (status.st_size, status.st_mtime_ns)
            if status.st_size:
                self.data = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
            self._descriptor = os.dup(opened.fileno())
        weakref.finalize(self, os.close, self._descriptor)
        self.kind = _kind_of(self.data, path.name)
        _opened[str(path)] = self

    @property
    def is_text(self) -> bool:
        """Whether it is in the text form of a protobuf."""
        return _is_text(self.data[:4096])

    def read(self) -> bytearray | None:
        """All bytes; None if the file no longer is what was opened. See read_into."""
        content = bytearray(len(self.data))
        return content if self.read_into(memoryview(content), 0) else None

    def read_into(self, buffer: memoryview, offset: int) -> bool:
        """Fill the buffer with the bytes from `offset` on; whether the file still is what was opened.

        The bytes do not pass through the mapping, whose pages would count as memory of this process.
        """
        done = 0
        while done < len(buffer) and (count := os.preadv(self._descriptor, [buffer[done:]], offset + done)):
            done += count
        status = os.fstat(self._descriptor)
        return done == len(buffer) and (status.st_size, status.st_mtime_ns) == self.stamp


_opened = weakref.WeakValueDictionary[str, ModelFile]()


def reopen_file(path: Path) -> ModelFile:
    """The file as it is open already in this process, unless it has changed since; else newly opened."""
    known = _opened.get(str(path))
    if known is not None:
        status = path.stat()
        known = known if (status.st_size, status.st_mtime_ns) == known.stamp else None
    return known or ModelFile(path)


def detect_kind(file: Path) -> Kind | Foreign:
    """The kind of a file. Raises OSError if it cannot be read."""
    return reopen_file(file).kind


def _kind_of(data: bytes | mmap.mmap, name: str) -> Kind | Foreign:
    head = data[:_HEAD]
    if not head.strip():
        return Kind.EMPTY
    if data[-8:] == sstable.MAGIC:
        return Kind.TABLE
    text = head.decode(errors="replace") if _is_text(head) else ""
    if not text and re.fullmatch(r".*\.data-\d{5}-of-\d{5}", name):
        return Kind.DATA  # it holds bare numbers, so only the name tells
    if kind := _of_keras(data, text) or detect_foreign(data, head):
        return kind
    if text:
        return _by_text(text) or detect_foreign_text(text)
    return next((kind for kind, path in _BINARY.items() if _holds_node(data, 0, len(data), path)), Kind.UNKNOWN)


def _of_keras(data: bytes | mmap.mmap, text: str) -> Kind | None:
    if text:
        return Kind.KERAS_LAYERS if keras_files.holds_layers(text) else None
    if data[:8] == hdf5.MAGIC or data[:4] == b"PK\x03\x04":
        if keras_files.holds_model(data):
            return Kind.KERAS
        return Kind.KERAS_WEIGHTS if data[:8] == hdf5.MAGIC else None
    return None


def _is_text(head: bytes) -> bool:
    """Whether bytes look like text: no control characters other than white space."""
    return re.search(rb"[\x00-\x08\x0e-\x1f]", head) is None


def _by_text(head: str) -> Kind | None:
    first = re.match(r"(?:\s+|#[^\n]*\n)*(\w+)", head.removeprefix("\ufeff"))
    return next((kind for kind, fields in _TEXT.items() if first and first[1] in fields), None)


def _holds_node(data: bytes | mmap.mmap, start: int, end: int, path: tuple[int, ...]) -> bool:
    """Whether the first message at this path of field numbers looks like a NodeDef."""
    if not path:
        strings: dict[int, bytes] = {}
        for field, begin, stop in _messages(data, start, end):
            strings.setdefault(field, data[begin : min(stop, begin + 200)])
            if {1, 2} <= strings.keys():
                break
        op = strings.get(2, b"")
        return bool(strings.get(1)) and re.fullmatch(rb"[A-Za-z_][A-Za-z0-9_.>/\-]*", op) is not None
    for field, begin, stop in _messages(data, start, end):
        if field == path[0]:
            return _holds_node(data, begin, stop, path[1:])
    return False


def _messages(data: bytes | mmap.mmap, start: int, end: int) -> Iterator[tuple[int, int, int]]:
    """The number, start and end of each length-delimited field of a message, up to the first byte that is no field.

    A field that is cut off ends with the file.
    """
    with suppress(wire.DamagedError):
        for field in iterate_fields(data, start, end):
            if field.wire == 2:
                yield field.number, field.begin, min(field.end, end)
