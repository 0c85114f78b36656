"""Tells the files of Keras from their bytes, and reads what they say of the model, without Keras and without HDF5.

A .keras file is a zip archive of metadata.json, config.json and model.weights.h5. An .h5 file holds the same JSON in
attributes of its root, beside the weights. The JSON is the tree of the layers; the weights alone are no model.
"""

from __future__ import annotations

import io
import json
import mmap
import stat
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from serialization.formats import hdf5
from serialization.formats.wire import DamagedError

CONFIG, METADATA = "config.json", "metadata.json"
_UNREADABLE = (zipfile.BadZipFile, ValueError, OSError, NotImplementedError)  # by zipfile, of a damaged archive
_LONGEST = 64 << 20  # bytes of JSON
# The bytes that a file may unpack to: weights hardly get smaller when they are packed.
_MOST, _MOST_TIMES = 64 << 20, 20


@dataclass(frozen=True)
class KerasModel:
    """The layers of a model, as `config`, and the version of Keras that wrote them, which may be unknown: ""."""

    config: dict[str, Any]
    version: str

    @property
    def major(self) -> int:
        """2 or 3: the Keras that reads it. Where no version is recorded, the form of the layers tells."""
        if self.version:
            return 3 if self.version.split(".")[0].isdecimal() and int(self.version.split(".")[0]) >= 3 else 2
        configs = [config["config"] for config in iterate_objects(self.config)]
        return 2 if any("batch_input_shape" in config for config in configs) or not self.config.get("module") else 3


def holds_model(data: bytes | mmap.mmap) -> bool:
    """Whether a zip archive or an HDF5 file holds the layers of a model of Keras."""
    if data[:8] == hdf5.MAGIC:
        return hdf5.read_attribute(data, "model_config") is not None
    with suppress(*_UNREADABLE):
        return {CONFIG, METADATA} <= set(_open_archive(data).namelist())
    return METADATA.encode() in data[:64]  # the first entry, as Keras writes it, of an archive that is cut off


def holds_layers(head: str) -> bool:
    """Whether a text, of which `head` is the beginning, is the JSON of a model's layers: config.json, to_json()."""
    return head.lstrip("\ufeff \t\r\n").startswith("{") and '"class_name"' in head and '"config"' in head


def read_model(data: bytes | mmap.mmap, metadata: bytes = b"") -> KerasModel:
    """The layers and the version in a zip archive, an HDF5 file, or in JSON beside which `metadata` may lie.

    Raises DamagedError, also for an archive that would unpack to far more than it is, or to other places.
    """
    if data[:8] == hdf5.MAGIC:
        text = (hdf5.read_attribute(data, "model_config") or "").encode()
        return KerasModel(parse_json(text, "its model_config"), hdf5.read_attribute(data, "keras_version") or "")
    if data[:2] == b"PK":
        archive = open_archive(data)
        text, metadata = (_read_member(archive, name) for name in (CONFIG, METADATA))
        return KerasModel(parse_json(text, CONFIG), str(parse_json(metadata, METADATA).get("keras_version", "")))
    config = parse_json(bytes(data), "the JSON")
    version = parse_json(metadata, METADATA).get("keras_version", "") if metadata else config.get("keras_version", "")
    return KerasModel(config, str(version))


def open_archive(data: bytes | mmap.mmap) -> zipfile.ZipFile:
    """The zip archive, checked. Raises DamagedError for names that lead elsewhere, links, doubles, and for sizes."""
    try:
        archive = _open_archive(data)
    except _UNREADABLE as error:
        raise DamagedError(f"the archive cannot be read: {error}") from None
    members = archive.infolist()
    names = [member.filename for member in members]
    for member in members:
        parts = member.filename.replace("\\", "/").split("/")
        mode = member.external_attr >> 16
        if parts[0] == "" or ".." in parts or ":" in parts[0]:
            raise DamagedError(f"its entry {member.filename!r} would be unpacked elsewhere")
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise DamagedError(f"its entry {member.filename!r} is a link or a device")
        if member.flag_bits & 1:
            raise DamagedError(f"its entry {member.filename!r} is encrypted")
    if double := next((name for name in names if names.count(name) > 1), "") if len(names) < 10_000 else names[0]:
        raise DamagedError(f"it has several entries {double!r}")
    require_modest_size(sum(member.file_size for member in members), len(data))
    return archive


def require_modest_size(unpacked: int, packed: int) -> None:
    """Raise DamagedError if a file of `packed` bytes would become far more than that in memory."""
    if unpacked > _MOST + _MOST_TIMES * packed:
        raise DamagedError(f"its {packed:,} bytes would become {unpacked:,}")


def iterate_objects(config: Any) -> Iterator[dict[str, Any]]:
    """Each object in a tree of layers: a dict with the name of its class, `class_name`, and its `config`."""
    open_nodes = [config]
    while open_nodes:
        node = open_nodes.pop()
        if isinstance(node, dict):
            if isinstance(node.get("class_name"), str) and "config" in node:
                yield node
            open_nodes += reversed(node.values())
        elif isinstance(node, list):
            open_nodes += reversed(node)


def parse_json(text: bytes, name: str) -> dict[str, Any]:
    """The object that is in a JSON text, `name` in errors, without what is for training. Raises DamagedError."""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"{name} is no JSON: {error}") from None
    if not isinstance(parsed, dict):
        raise DamagedError(f"{name} is no JSON object")
    parsed.pop("compile_config", None)  # of training: its losses may be classes that inference needs not
    return parsed


class _Mapped(io.RawIOBase):
    """Bytes in memory as a file that can be sought in; an mmap cannot say so before Python 3.13."""

    def __init__(self, data: bytes | mmap.mmap) -> None:
        self._data, self._position = data, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._data)}[whence]
        if start + offset < 0:
            raise ValueError(f"no position {start + offset}")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        part = self._data[self._position : self._position + len(buffer)]
        buffer[: len(part)] = part
        self._position += len(part)
        return len(part)


def _open_archive(data: bytes | mmap.mmap) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BufferedReader(_Mapped(data)))


def _read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    try:
        if archive.getinfo(name).file_size > _LONGEST:
            raise DamagedError(f"{name} is over {_LONGEST:,} bytes")
        return archive.read(name)
    except (*_UNREADABLE, KeyError, EOFError) as error:
        raise DamagedError(f"{name} cannot be read: {error}") from None
    except Exception as error:  # zlib.error, lzma.LZMAError
        if type(error).__module__ not in ("zlib", "lzma", "_lzma"):
            raise
        raise DamagedError(f"{name} cannot be read: {error}") from None
