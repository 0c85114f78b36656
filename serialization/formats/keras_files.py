"""Tells the files of Keras from their bytes, and reads what they say of the model, without Keras and without HDF5.

A .keras file is a zip archive of metadata.json, config.json and model.weights.h5. An .h5 file holds the same JSON in
attributes of its root, beside the weights. The JSON is the tree of the layers; the weights alone are no model.
"""

from __future__ import annotations

import json
import mmap
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from serialization.formats import archives, hdf5
from serialization.formats.wire import DamagedError

CONFIG, METADATA = "config.json", "metadata.json"
_LONGEST = 64 << 20  # bytes of JSON


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
    with suppress(*archives.UNREADABLE):
        return {CONFIG, METADATA} <= set(archives.open_zip(data).namelist())
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
    with archives.explain_damage("the archive"):
        archive = archives.open_zip(data)
        archives.require_safe_zip(archive, len(data))
    return archive


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


def _read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    with archives.explain_damage(name):
        if name not in archive.namelist():
            raise DamagedError(f"{name} is missing")
        if archive.getinfo(name).file_size > _LONGEST:
            raise DamagedError(f"{name} is over {_LONGEST:,} bytes")
        return archive.read(name)
