"""Files that other programs write, each under a name that does not tell its kind."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

from serialization.formats import protos
from serialization.formats.foreign_files import Foreign
from serialization.inspect.event_file import write_event_file
from serialization.tensorflow import np, tf


class Trap:
    """Its pickle makes a file when it is opened."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


def write_foreign_files(folder: Path) -> None:
    """A file of each kind under a name that does not tell it, written by its own library where that is at hand."""
    np.save(folder / "array.npy", np.ones(3))
    np.savez(folder / "arrays.npz", x=np.ones(3))
    np.savez_compressed(folder / "packed.npz", x=np.ones(3))
    for protocol in range(6):
        content = pickle.dumps({"weights": [1.0], "trap": Trap(folder / "sprung")}, protocol)
        (folder / f"pickle{protocol}").write_bytes(content)
    with tf.io.TFRecordWriter(str(folder / "records")) as records:
        records.write(tf.train.Example().SerializeToString())
    write_event_file(folder / "event", protos.GraphDef())
    with zipfile.ZipFile(folder / "torch", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Trap(folder / "sprung")))
        archive.writestr("archive/data/0", bytes(4))
    with zipfile.ZipFile(folder / "zip", "w") as archive:
        archive.writestr("model.txt", "")
    header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    graph = b"\x0a\x0e\x0a\x01x\x12\x01y\x22\x04Relu\x0a\x00"
    contents = {
        "torch_legacy": pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2),
        "safetensors": struct.pack("<Q", len(header)) + header + bytes(4),
        "onnx": b"\x08\x08\x12\x07pytorch\x3a" + bytes([len(graph)]) + graph + b"\x42\x02\x10\x11",
        "onnx_of_another_order": b"\x42\x02\x10\x11\x3a" + bytes([len(graph)]) + graph + b"\x08\x08",
        "png": tf.io.encode_png(np.zeros((2, 2, 3), np.uint8)).numpy(),
        "jpeg": tf.io.encode_jpeg(np.zeros((2, 2, 3), np.uint8)).numpy(),
        "library": b"\x7fELF\x02\x01\x01" + bytes(57),
        "empty_zip": b"PK\x05\x06" + bytes(18),
        "tflite": b"\x1c\0\0\0TFL3" + bytes(100),
        "lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
        "gzip": b"\x1f\x8b\x08\0" + bytes(100),
        "tar": bytes(257) + b"ustar" + bytes(100),
        "html": b"\xef\xbb\xbf\n<!DOCTYPE html>\n<html>",
        "xhtml": b'<?xml version="1.0"?>\n<html>',
        "xml": b'<?xml version="1.0"?>\n<net name="model" version="11">',
        "json": b'{"modelTopology": {}}',
        "text": "übermäßig\n".encode(),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)


KINDS = {
    "array.npy": Foreign.NPY,
    "arrays.npz": Foreign.NPZ,
    "packed.npz": Foreign.NPZ,
    **{f"pickle{protocol}": Foreign.PICKLE for protocol in range(6)},
    "records": Foreign.RECORDS,
    "event": Foreign.EVENTS,
    "torch": Foreign.TORCH,
    "torch_legacy": Foreign.TORCH_LEGACY,
    "safetensors": Foreign.SAFETENSORS,
    "onnx": Foreign.ONNX,
    "onnx_of_another_order": Foreign.ONNX,
    "png": Foreign.IMAGE,
    "jpeg": Foreign.IMAGE,
    "library": Foreign.PROGRAM,
    "empty_zip": Foreign.ARCHIVE,
    "tflite": Foreign.TFLITE,
    "lfs": Foreign.LFS,
    "zip": Foreign.ARCHIVE,
    "gzip": Foreign.ARCHIVE,
    "tar": Foreign.ARCHIVE,
    "html": Foreign.HTML,
    "xhtml": Foreign.HTML,
    "xml": Foreign.XML,
    "json": Foreign.JSON,
    "text": Foreign.TEXT,
}
