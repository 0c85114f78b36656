"""Tells files that are no part of a TensorFlow model from their bytes, and says what to do with each.

Nothing is unpacked or unpickled: a pickle runs what its maker wants.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Mapping
from contextlib import suppress
from enum import Enum

from serialization.formats import wire
from serialization.formats.archives import UNREADABLE, is_tar, open_zip
from serialization.formats.sstable import compute_crc32c, unmask_crc32c
from serialization.formats.wire import iterate_fields


class Foreign(Enum):
    """The kinds of files that other programs write; the value is the name of the kind in errors."""

    LFS = "a pointer of Git LFS, not the file itself"
    ONNX = "an ONNX model"
    TFLITE = "a TensorFlow Lite model"
    TORCH = "a PyTorch file"
    TORCH_LEGACY = "a PyTorch file of before version 1.6"
    SAFETENSORS = "weights without a model (safetensors)"
    NPY = "an array of numpy (.npy)"
    NPZ = "arrays of numpy (.npz)"
    PICKLE = "a pickle"
    RECORDS = "a file of records, such as tf.train.Example (TFRecord)"
    EVENTS = "an event file of TensorBoard"
    ARCHIVE = "an archive"
    IMAGE = "an image"
    PROGRAM = "a program or a library of one"
    HTML = "a web page"
    XML = "XML"
    JSON = "JSON"
    TEXT = "a text file"

    @property
    def advice(self) -> str:
        """The next step for a user who gives such a file as a model."""
        return _ADVICE[self]


_TORCH = "load it with PyTorch, torch.onnx.export the model, and make a SavedModel of that with onnx2tf"
_ARRAYS = "it holds numbers and no graph; --feed @FILE takes it as the values of inputs"
_ADVICE = {
    Foreign.LFS: "fetch the file with `git lfs pull`",
    Foreign.ONNX: "freezemodel_serve.py --onnx serves it, model_inspect.py shows it, and onnx2tf makes a SavedModel of "
    "it, which the scripts take with --saved-model",
    Foreign.TFLITE: "freezemodel_serve.py --tflite serves it, and model_inspect.py shows it; name the model that it "
    "was converted from",
    Foreign.TORCH: _TORCH,
    Foreign.TORCH_LEGACY: _TORCH,
    Foreign.SAFETENSORS: "load it into the model with the library that wrote it, and save the model as a SavedModel",
    Foreign.NPY: _ARRAYS,
    Foreign.NPZ: _ARRAYS,
    Foreign.PICKLE: "opening it runs the code that it holds, so nothing here opens it; if you trust it, load it with "
    "the program that wrote it, and save the model as a SavedModel",
    Foreign.RECORDS: "it holds data and no model; name the model",
    Foreign.EVENTS: "`tensorboard --logdir` shows it; name the model",
    Foreign.ARCHIVE: "unpack it first",
    Foreign.IMAGE: "savedmodel_pretrained.py --image takes it; name the model",
    Foreign.PROGRAM: "--op-library takes a library of ops; name the model",
    Foreign.HTML: "the download went wrong; fetch the file itself",
    Foreign.XML: "name the model's own file",
    Foreign.JSON: "name the binary file beside it",
    Foreign.TEXT: "it holds no model; name the model's own file",
}
_MAGIC = {
    b"version https://git-lfs": Foreign.LFS,
    # The pickle of PyTorch's magic number, 0x1950a86a20f9469cfc6c: torch/serialization.py.
    b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.": Foreign.TORCH_LEGACY,
    b"\x93NUMPY": Foreign.NPY,
    b"\x89PNG": Foreign.IMAGE,
    b"\xff\xd8\xff": Foreign.IMAGE,  # JPEG
    b"GIF8": Foreign.IMAGE,
    b"\x7fELF": Foreign.PROGRAM,
    b"\x1f\x8b": Foreign.ARCHIVE,  # gzip
    b"PK\x05\x06": Foreign.ARCHIVE,  # an empty zip
    b"BZh": Foreign.ARCHIVE,
    b"\xfd7zXZ": Foreign.ARCHIVE,
    b"7z\xbc\xaf\x27\x1c": Foreign.ARCHIVE,
    b"Rar!\x1a\x07": Foreign.ARCHIVE,
    b"\x28\xb5\x2f\xfd": Foreign.ARCHIVE,  # zstd
}
# The fields of a ModelProto and of its graph, each with its wire type: onnx/onnx.proto.
_ONNX_MODEL = {1: 0, 5: 0, **dict.fromkeys((2, 3, 4, 6, 7, 8, 14, 20, 25, 26), 2)}
_ONNX_GRAPH = dict.fromkeys((1, 2, 5, 10, 11, 12, 13, 14, 15, 16), 2)
# A pickle of protocol 2 to 5 begins with its number, an older one with a mark, a list, a dict or the name of a class.
_PICKLE = re.compile(rb"\x80[\x02-\x05][\x95\]}()\x8cXKJGcq]|\(?[dlt]p?\d+\n|c[\w.]+\n[\w.]+\n|\]q|}q")


def detect_foreign(data: bytes | mmap.mmap, head: bytes) -> Foreign | None:
    """The kind of a file by its bytes, of which `head` are the first; None if it is none of these kinds."""
    known = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)
    if known is not None:
        return known
    if head.startswith(b"PK\x03\x04"):
        return _detect_archive(data)
    if head[257:262] == b"ustar" or is_tar(head):  # the magic, and the oldest form, which has none
        return Foreign.ARCHIVE
    if head[4:8] == b"TFL3":
        return Foreign.TFLITE
    if head[8:9] == b"{" and 0 < int.from_bytes(head[:8], "little") <= len(data) - 8:
        return Foreign.SAFETENSORS
    if len(head) >= 12 and compute_crc32c(head[:8]) == unmask_crc32c(int.from_bytes(head[8:12], "little")):
        return Foreign.EVENTS if b"brain.Event:" in head[:64] else Foreign.RECORDS
    if _PICKLE.match(head) and data[-1:] == b".":
        return Foreign.PICKLE
    return Foreign.ONNX if _is_onnx(data) else None


def detect_foreign_text(head: str) -> Foreign:
    """The kind of a text that is none of TensorFlow's."""
    text = head.removeprefix("\ufeff").lstrip().lower()
    if text.startswith(("{", "[")):
        return Foreign.JSON
    if text.startswith(("<!doctype html", "<html")) or (text.startswith("<?xml") and "<html" in text):
        return Foreign.HTML
    return Foreign.XML if text.startswith("<") else Foreign.TEXT


def _detect_archive(data: bytes | mmap.mmap) -> Foreign:
    """The kind of a zip file by the names in it."""
    with suppress(*UNREADABLE):
        names = open_zip(data).namelist()
        if any(name.endswith("/data.pkl") for name in names):
            return Foreign.TORCH
        if names and all(name.endswith(".npy") for name in names):
            return Foreign.NPZ
    return Foreign.ARCHIVE


def _is_onnx(data: bytes | mmap.mmap) -> bool:
    """Whether it is a ModelProto: of no other fields than such a message has, with a version and a graph."""
    found = {}
    with suppress(wire.DamagedError):
        for field in iterate_fields(data, 0, len(data)):
            if _ONNX_MODEL.get(field.number) != field.wire:
                return False
            found[field.number] = field
        graph = found.get(7)
        return graph is not None and 1 in found and _is_of_fields(data, graph.begin, graph.end, _ONNX_GRAPH)
    return False


def _is_of_fields(data: bytes | mmap.mmap, begin: int, end: int, fields: Mapping[int, int]) -> bool:
    """Whether a message has no other fields than these, by their numbers and wire types."""
    return all(fields.get(field.number) == field.wire for field in iterate_fields(data, begin, end))
