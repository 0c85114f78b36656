"""The record that an exporter leaves in a file for another runtime: facts for which the format has no place.

It is JSON, in the metadata of the file, by the name RECORD. Beside the signature, in the terms of its source, it holds
what the graph showed about its rows. Tools change files and keep their metadata: quantizing at run time, say, makes
rows depend on each other. So the record has a checksum of all other bytes of the file, and does not hold for others.
"""

from __future__ import annotations

import io
import mmap
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from serialization.graph.row_facts import RowFacts
from serialization.graph.signature import Signature, Tensor
from serialization.tensorflow import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

RECORD = "serialization"
_OPEN = "00000000"  # the checksum of a file that is not yet sealed


class _Entry(msgspec.Struct, omit_defaults=True):
    key: str
    name: str  # in the file
    dtype: str
    shape: tuple[int | None, ...] | None
    default: bytes | None = None  # a .npy file


class Record(msgspec.Struct, omit_defaults=True):
    """The fields of a record. `difference` has the absolute and the relative one that was allowed to the source.

    It is empty where nothing was compared, or where a difference was measured alone. `labels` are the names of the
    classes.
    """

    version: Literal[1]
    signature: str  # its key
    inputs: tuple[_Entry, ...]
    outputs: tuple[_Entry, ...]
    rows_are_independent: bool
    time_is_bounded: bool
    difference: dict[str, float] = {}
    labels: tuple[str, ...] = ()
    checksum: str = ""

    def read_signature(self) -> Signature:
        """The signature, whose tensors have their names in the file."""
        inputs, outputs = (
            tuple(Tensor(t.key, t.name, t.dtype, t.shape, t.default) for t in side)
            for side in (self.inputs, self.outputs)
        )
        return Signature(inputs, outputs, key=self.signature)

    def read_row_facts(self) -> RowFacts:
        return RowFacts(self.rows_are_independent, self.time_is_bounded)


def make_record(
    signature: Signature,
    facts: RowFacts,
    defaults: Mapping[str, NDArray[Any]],
    difference: Mapping[str, float] | None,
    labels: Sequence[str],
) -> bytes:
    """The record of a file that is to be sealed. `defaults` are the values of optional inputs, by key."""
    inputs, outputs = (
        tuple(_Entry(t.key, t.name, t.dtype, t.shape, _write_npy(defaults.get(t.key))) for t in side)
        for side in (signature.inputs, signature.outputs)
    )
    record = Record(
        *(1, signature.key, inputs, outputs, facts.independent, facts.bounded),
        difference=dict(difference or {}),
        labels=tuple(labels),
        checksum=_OPEN,
    )
    return msgspec.json.encode(record)


def name_in_file(signature: Signature, names: Mapping[str, str], outputs: Sequence[str]) -> Signature:
    """The signature with other names of tensors: those of inputs by the old ones, those of outputs in order."""
    return replace(
        signature,
        inputs=tuple(replace(tensor, name=names[tensor.name]) for tensor in signature.inputs),
        outputs=tuple(replace(t, name=name) for t, name in zip(signature.outputs, outputs, strict=True)),
    )


def seal_record(path: Path, record: bytes) -> None:
    """Write the checksum of the file into the record that it holds."""
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        begin = data.find(record)
        assert begin >= 0, "the exporter has lost its record"
        at = data.rfind(_OPEN.encode(), begin, begin + len(record))
        data[at : at + len(_OPEN)] = _sum_up(data, begin, begin + len(record)).encode()


def read_record(data: bytes | mmap.mmap, text: str) -> Record:
    """The record in the bytes of a file, whose metadata has this text. Raises ValueError if it does not hold for it."""
    record = msgspec.json.decode(text, type=Record)
    begin = data.find(text.encode())
    if begin < 0 or record.checksum != _sum_up(data, begin, begin + len(text.encode())):
        raise ValueError("the file was changed after its export")
    return record


def _sum_up(data: bytes | mmap.mmap, begin: int, end: int) -> str:
    """The CRC-32 of the bytes outside of a part."""
    with memoryview(data) as view:
        return f"{zlib.crc32(view[end:], zlib.crc32(view[:begin])):08x}"


def _write_npy(value: NDArray[Any] | None) -> bytes | None:
    if value is None:
        return None
    file = io.BytesIO()
    np.save(file, value.astype("S") if value.dtype == object else value, allow_pickle=False)
    return file.getvalue()
