"""Reads what an ONNX file says about itself, by the places of its fields, without the onnx package.

Format: onnx/onnx.proto, https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
"""

from __future__ import annotations

import math
import mmap
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from serialization.formats.exported import ExportedModel, ExportedSignature, ExportedTensor
from serialization.formats.wire import DamagedError, Field, iterate_fields, read_varint

_CHUNK = 1 << 24  # bytes that are read at once
_LONGEST_ENTRY = 4200  # bytes; a path has 4096
_LOCATION = re.compile(rb"\x0a\x08location\x12")  # of TensorProto.external_data: a key, and the tag of its value
_MOST_AXES = 64  # of a damaged tensor any number
_Data = bytes | mmap.mmap
# ModelProto, GraphProto, NodeProto, AttributeProto, TensorProto, ValueInfoProto and below: the fields that are read.
_PRODUCER, _PRODUCER_VERSION, _GRAPH, _OPSETS, _METADATA = 2, 3, 7, 8, 14
_NODE, _INITIALIZER, _INPUT, _OUTPUT = 1, 5, 11, 12
_OP, _ATTRIBUTE, _NODE_DOMAIN, _TENSOR, _INNER, _INNERS, _EXTERNAL = 4, 5, 7, 5, 6, 11, 13
_DTYPES = (
    *("unknown", "float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "string", "bool", "float16"),
    *("float64", "uint32", "uint64", "complex64", "complex128", "bfloat16"),
)


def read_onnx_file(data: _Data) -> ExportedModel:
    """What the ModelProto in these bytes holds. Raises DamagedError."""
    model = _read(data, 0, len(data))
    opsets = [_read(data, field.begin, field.end) for field in model.get(_OPSETS, ())]
    pairs = [_read(data, field.begin, field.end) for field in model.get(_METADATA, ())]
    if _GRAPH not in model:
        raise DamagedError("it has no graph")
    ops: Counter[str] = Counter()
    inputs: list[ExportedTensor] = []
    outputs: list[ExportedTensor] = []
    defaults: set[str] = set()
    beside: dict[str, None] = {}
    count = parameters = 0
    waiting = [(model[_GRAPH][-1], True)]
    while waiting:
        place, is_outer = waiting.pop()
        graph = _read(data, place.begin, place.end)
        for field in graph.get(_INITIALIZER, ()):
            tensor = _read(data, field.begin, field.end)
            count += 1
            parameters += math.prod(islice(_numbers(data, tensor.get(1, ())), _MOST_AXES))
            beside |= _list_files(data, tensor)
            if is_outer:
                defaults.add(_text(data, tensor.get(8, ())))
        for field in graph.get(_NODE, ()):
            node = _read(data, field.begin, field.end)
            domain = _text(data, node.get(_NODE_DOMAIN, ()))
            ops[f"{domain}.{_text(data, node.get(_OP, ()))}".removeprefix(".")] += 1
            for attribute in node.get(_ATTRIBUTE, ()):
                inner = _read(data, attribute.begin, attribute.end)
                waiting += [(graph, False) for graph in (*inner.get(_INNER, ()), *inner.get(_INNERS, ()))]
                for field in inner.get(_TENSOR, ()):
                    beside |= _list_files(data, _read(data, field.begin, field.end))
        if is_outer:
            inputs += [_tensor(data, field) for field in graph.get(_INPUT, ())]
            outputs += [_tensor(data, field) for field in graph.get(_OUTPUT, ())]
    producer = f"{_text(data, model.get(_PRODUCER, ()))} {_text(data, model.get(_PRODUCER_VERSION, ()))}".strip()
    return ExportedModel(
        producer,
        {_text(data, opset.get(1, ())) or "ai.onnx": _number(data, opset.get(2, ())) for opset in opsets},
        (ExportedSignature("", tuple(inputs), tuple(outputs)),),
        dict(ops.most_common()),
        {_text(data, pair.get(1, ())): _text(data, pair.get(2, ())) for pair in pairs},
        count,
        parameters,
        tuple(tensor.name for tensor in inputs if tensor.name in defaults),
        tuple(beside),
    )


def find_external_files(model: Path) -> tuple[Path, ...]:
    """The files below the model's folder that its bytes name as the place of constants, wherever these stand in it.

    The file is read, not mapped: to look at a mapped file that becomes shorter meanwhile ends the process.
    """
    found: dict[str, None] = {}
    before = b""
    with model.open("rb") as file:
        while chunk := file.read(_CHUNK):
            data = before + chunk
            for begin in (match.end() for match in _LOCATION.finditer(data)):
                with suppress(DamagedError, UnicodeDecodeError):
                    length, begin = read_varint(data, begin, len(data))
                    if length <= len(data) - begin:  # else the next chunk has the rest
                        found[data[begin : begin + length].decode()] = None
            before = data[-_LONGEST_ENTRY:]
    names = (Path(name) for name in found if name and "\0" not in name)
    return tuple(model.parent / name for name in names if not name.is_absolute() and ".." not in name.parts)


def _list_files(data: _Data, tensor: dict[int, list[Field]]) -> dict[str, None]:
    """The file that holds the numbers of a TensorProto, if it is another one."""
    entries = [_read(data, field.begin, field.end) for field in tensor.get(_EXTERNAL, ())]
    pairs = {_text(data, entry.get(1, ())): _text(data, entry.get(2, ())) for entry in entries}
    return {pairs["location"]: None} if "location" in pairs else {}


def _read(data: _Data, begin: int, end: int) -> dict[int, list[Field]]:
    """The fields of a message by their numbers."""
    found: dict[int, list[Field]] = {}
    for field in iterate_fields(data, begin, end):
        if field.end > end:
            raise DamagedError("a field is cut off")
        found.setdefault(field.number, []).append(field)
    return found


def _text(data: _Data, fields: list[Field] | tuple[()]) -> str:
    return data[fields[-1].begin : fields[-1].end].decode(errors="replace") if fields else ""


def _number(data: _Data, fields: list[Field] | tuple[()]) -> int:
    return next(reversed(list(_numbers(data, fields))), 0)


def _numbers(data: _Data, fields: list[Field] | tuple[()]) -> Iterator[int]:
    """The whole numbers of a repeated field, packed or not."""
    for field in fields:
        position = field.begin
        while position < field.end:
            number, position = read_varint(data, position, field.end)
            yield number


def _tensor(data: _Data, place: Field) -> ExportedTensor:
    """Name, dtype and shape of a ValueInfoProto; of what is no tensor the name alone."""
    value = _read(data, place.begin, place.end)
    name = _text(data, value.get(1, ()))
    kinds = [_read(data, field.begin, field.end) for field in value.get(2, ())]
    tensors = [_read(data, field.begin, field.end) for kind in kinds for field in kind.get(1, ())]
    if not tensors:
        return ExportedTensor(name, name, "unknown", None)
    number = _number(data, tensors[-1].get(1, ()))
    dtype = _DTYPES[number] if number < len(_DTYPES) else "unknown"
    shapes = tensors[-1].get(2, ())
    if not shapes:
        return ExportedTensor(name, name, dtype, None)
    dims = [_read(data, field.begin, field.end) for field in _read(data, shapes[-1].begin, shapes[-1].end).get(1, ())]
    return ExportedTensor(name, name, dtype, tuple(_number(data, dim[1]) if 1 in dim else None for dim in dims))
