"""Reads what a LiteRT (TensorFlow Lite) file says about itself: a FlatBuffer, without LiteRT.

A table of a FlatBuffer begins with the distance to its vtable, which holds the place of each field.
Formats: https://flatbuffers.dev/internals/, tensorflow/compiler/mlir/lite/schema/schema.fbs.
"""

from __future__ import annotations

import importlib.util
import math
import mmap
import re
import struct
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import TypeVar

from serialization.formats.exported import ExportedModel, ExportedSignature, ExportedTensor
from serialization.formats.wire import DamagedError

_Data = bytes | mmap.mmap
_Item = TypeVar("_Item")
_PARTS = 2_000_000  # entries that are read of all lists: in a damaged file many tables may share a long one
_LONGEST = 1000  # bytes that are read of a name
_REMARK = 1 << 20  # and of a remark in the metadata
_DTYPES = (
    *("float32", "float16", "int32", "uint8", "int64", "string", "bool", "int16", "complex64", "int8", "float64"),
    *("complex128", "uint64", "resource", "variant", "uint32", "uint16", "int4", "bfloat16"),
)
_CUSTOM = 32  # BuiltinOperator.CUSTOM
# The numbers of the fields that are read.
_VERSION, _OPCODES, _SUBGRAPHS, _BUFFERS, _METADATA, _SIGNATURES = 0, 1, 2, 4, 6, 7


class _Table:
    """A table at a position of the file. Every place that it names is checked before it is read."""

    def __init__(self, data: _Data, position: int, left: list[int]) -> None:
        self._data, self._position, self._left = data, position, left
        self._vtable = position - _read(data, "<i", position)
        self._size = _read(data, "<H", self._vtable)

    def _place(self, field: int) -> int:
        """Where the field's value is; 0 if it has none."""
        slot = 4 + 2 * field
        offset = _read(self._data, "<H", self._vtable + slot) if slot + 2 <= self._size else 0
        return self._position + offset if offset else 0

    def number(self, field: int, form: str = "<I") -> int:
        place = self._place(field)
        return _read(self._data, form, place) if place else 0

    def text(self, field: int) -> str:
        place = self._place(field)
        if not place:
            return ""
        start = place + _read(self._data, "<I", place)
        length = _read(self._data, "<I", start)
        if start + 4 + length > len(self._data):
            raise DamagedError("a name is cut off")
        return self._data[start + 4 : start + 4 + min(length, _LONGEST)].decode(errors="replace")

    def remark(self, field: int) -> str:
        """A vector of bytes, if it is text; else nothing."""
        places = self._places(field, 1)
        if len(places) > _REMARK:
            return ""
        try:
            text = bytes(self._data[places.start : places.stop]).rstrip(b"\0").decode()
        except UnicodeDecodeError:
            return ""
        return text if text.isprintable() else ""

    def numbers(self, field: int) -> list[int]:
        """A vector of int32."""
        return [_read(self._data, "<i", place) for place in self._places(field, 4)]

    def count(self, field: int) -> int:
        place = self._place(field)
        return _read(self._data, "<I", place + _read(self._data, "<I", place)) if place else 0

    def tables(self, field: int) -> Iterator[_Table]:
        for place in self._places(field, 4):
            yield _Table(self._data, place + _read(self._data, "<I", place), self._left)

    def _places(self, field: int, width: int) -> range:
        place = self._place(field)
        if not place:
            return range(0)
        start = place + _read(self._data, "<I", place)
        count = _read(self._data, "<I", start)
        self._left[0] -= count
        if start + 4 + count * width > len(self._data) or self._left[0] < 0:
            raise DamagedError("a list is cut off")
        return range(start + 4, start + 4 + count * width, width)


def read_tflite_file(data: _Data) -> ExportedModel:
    """What the model in these bytes holds. Raises DamagedError."""
    model = _Table(data, _read(data, "<I", 0), [_PARTS])
    opcodes = [_name_op(opcode) for opcode in model.tables(_OPCODES)]
    graphs = [list(graph.tables(0)) for graph in model.tables(_SUBGRAPHS)]
    if not graphs:
        raise DamagedError("it has no graph")
    ops: Counter[str] = Counter()
    parameters = constants = 0
    filled = [buffer.count(0) or buffer.number(2, "<Q") for buffer in model.tables(_BUFFERS)]
    for graph, tensors in zip(model.tables(_SUBGRAPHS), graphs, strict=True):
        for operator in graph.tables(3):
            ops[_choose(opcodes, operator.number(0))] += 1
        for tensor in tensors:
            if _choose(filled, tensor.number(2)):
                constants += 1
                parameters += math.prod(tensor.numbers(0)[:64])
    signatures = tuple(_read_signature(graphs, signature) for signature in model.tables(_SIGNATURES))
    if not signatures:
        first = next(model.tables(_SUBGRAPHS))
        sides = [[_describe("", _choose(graphs[0], at)) for at in first.numbers(side)] for side in (1, 2)]
        signatures = (ExportedSignature("", tuple(sides[0]), tuple(sides[1])),)
    versions = {"schema": model.number(_VERSION)}
    buffers = list(model.tables(_BUFFERS))
    metadata = {entry.text(0): _choose(buffers, entry.number(1)).remark(0) for entry in model.tables(_METADATA)}
    return ExportedModel(model.text(3), versions, signatures, dict(ops.most_common()), metadata, constants, parameters)


def _read_signature(graphs: list[list[_Table]], signature: _Table) -> ExportedSignature:
    tensors = _choose(graphs, signature.number(4))
    sides = [
        tuple(_describe(entry.text(0), _choose(tensors, entry.number(1))) for entry in signature.tables(side))
        for side in (0, 1)
    ]
    return ExportedSignature(signature.text(2), *sides)


def _describe(key: str, tensor: _Table) -> ExportedTensor:
    """A tensor's shape has 1 in the place of any size; its shape_signature, where there is one, has -1."""
    sizes = tensor.numbers(7) or tensor.numbers(0)
    number = tensor.number(1, "<B")
    dtype = _DTYPES[number] if number < len(_DTYPES) else "unknown"
    name = tensor.text(3)
    return ExportedTensor(key or name, name, dtype, tuple(None if size < 0 else size for size in sizes))


def _name_op(opcode: _Table) -> str:
    """Old files have the op's number in a byte, newer ones in an int32 as well."""
    number = max(opcode.number(0, "<B"), opcode.number(3, "<i"))
    return opcode.text(1) if number == _CUSTOM else _load_op_names().get(number, f"op {number}")


@cache
def _load_op_names() -> dict[int, str]:
    """The names of LiteRT's built-in ops by their numbers, from the text of an installed reader of such files.

    That is TensorFlow's own, or the one of ai-edge-litert.
    """
    packages = {"tensorflow": "lite/python/schema_py_generated.py", "ai_edge_litert": "schema_py_generated.py"}
    found = (
        Path(place) / name
        for package, name in packages.items()
        if (spec := importlib.util.find_spec(package)) is not None
        for place in spec.submodule_search_locations or ()
    )
    file = next((file for file in found if file.is_file()), None)
    if file is None:
        raise ModuleNotFoundError("No module named 'tensorflow'", name="tensorflow")
    text = file.read_text()
    body = text.partition("class BuiltinOperator(object):\n")[2].partition("\nclass ")[0]
    return {int(number): name for name, number in re.findall(r"^    ([A-Z0-9_]+) = (\d+)$", body, re.MULTILINE)}


def _choose(items: Sequence[_Item], index: int) -> _Item:
    if not 0 <= index < len(items):
        raise DamagedError("it names a part that it does not have")
    return items[index]


def _read(data: _Data, form: str, position: int) -> int:
    if not 0 <= position <= len(data) - struct.calcsize(form):
        raise DamagedError("it points beyond its end")
    value: int = struct.unpack_from(form, data, position)[0]
    return value
