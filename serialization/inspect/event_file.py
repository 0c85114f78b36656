"""Writes a graph as an event file for TensorBoard.

An event file is a TFRecord file of Event messages: for each record its length, the masked CRC-32C of the length, the
record, and the masked CRC-32C of the record (https://www.tensorflow.org/tutorials/load_data/tfrecord).
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

from serialization.formats import protos
from serialization.formats.sstable import compute_crc32c, mask_crc32c
from serialization.graph.graph_def import iterate_nodes

_SHOWN = 1024  # bytes; the values of larger constants are left out


def write_event_file(file: Path, graph_def: Any) -> None:
    """Write the graph. The values of large constants are left out, because TensorBoard does not show them."""
    slim = protos.GraphDef()
    slim.CopyFrom(graph_def)
    for node in iterate_nodes(slim):
        if node.op == "Const" and node.attr["value"].ByteSize() > _SHOWN:
            tensor = node.attr["value"].tensor
            slimmed = protos.TensorProto(dtype=tensor.dtype, tensor_shape=tensor.tensor_shape)
            node.attr["value"].tensor.CopyFrom(slimmed)
    with file.open("wb") as opened:
        opened.write(_record(protos.Event(file_version="brain.Event:2").SerializeToString()))
        opened.write(_record(protos.Event(graph_def=slim.SerializeToString()).SerializeToString()))


def _record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return b"".join(
        (
            length,
            struct.pack("<I", mask_crc32c(compute_crc32c(length))),
            data,
            struct.pack("<I", mask_crc32c(compute_crc32c(data))),
        )
    )
