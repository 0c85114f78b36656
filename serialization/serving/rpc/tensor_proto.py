"""Reads and writes TensorFlow's TensorProto: a dtype, a shape, and the values as bytes or in the dtype's own list.

Source: tensor.proto and types.proto of tensorflow/core/framework. On the wire a packed list of float, double or bool
has the bytes of the array. So these are cut out of a message, and written into one, without a Python object for each.
Answers have the lists, as TensorFlow Serving's have: clients in many languages read `float_val`, and tf.make_ndarray
takes either. For float32 that costs no more than tensor_content, which has the same bytes under another number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError

from serialization.formats import protos
from serialization.formats.dtypes import get_dtype_name, get_dtype_number
from serialization.formats.wire import DamagedError, cut_fields, read_varint, write_varint
from serialization.graph.signature import Tensor
from serialization.serving.limits import Settings
from serialization.serving.requests import RequestError
from serialization.serving.wire.plain_tensors import PlainReader
from serialization.serving.wire.tensor_rules import require_shape
from serialization.tensorflow import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_CONTENT = 4  # the number of tensor_content
_LONG = 1000  # bytes of a message; in a shorter one protobuf finds the list sooner, though number by number
# The list of each dtype, and its number. A dtype that is not here has int_val.
_LISTS = {
    "float32": ("float_val", 5),
    "float64": ("double_val", 6),
    "string": ("string_val", 8),
    "int64": ("int64_val", 10),
    "bool": ("bool_val", 11),
    "float16": ("half_val", 13),
    "bfloat16": ("half_val", 13),
    "uint32": ("uint32_val", 16),
    "uint64": ("uint64_val", 17),
    "float8_e5m2": ("float8_val", 18),
    "float8_e4m3fn": ("float8_val", 18),
}
_AS_BYTES = ("float32", "float64", "bool", "float8_e5m2", "float8_e4m3fn")  # whose list has the bytes of the array
_LESS_THAN_A_BYTE = ("int4", "uint4", "int2", "uint2")


class TensorProtoReader:
    """Makes the array of an input. Raises RequestError for a message that does not fit."""

    def __init__(self, tensor: Tensor, settings: Settings) -> None:
        self._tensor = tensor
        self._number = get_dtype_number(tensor.dtype)
        self._list, list_number = _LISTS.get(tensor.dtype, ("int_val", 7))
        self._as_bytes = tensor.dtype in _AS_BYTES
        self._cut = {_CONTENT, list_number}
        self._max_rows = settings.max_rows
        self._most_bytes = settings.max_body_mb * 1_000_000
        self._plain = PlainReader(tensor, nonfinite=settings.nonfinite_inputs == "allow")

    def read(self, data: bytes) -> NDArray[Any]:
        """The array, which shares the memory of the message where it can."""
        key = self._tensor.key
        proto, content, given = self._parse(data)
        if proto.dtype != self._number:
            found = get_dtype_name(proto.dtype)
            raise RequestError(400, f"{key}: expected the dtype {self._tensor.dtype}, got {found} ({proto.dtype})")
        shape = self._read_shape(proto.tensor_shape)
        if len(content):
            if len(given):
                raise RequestError(400, f"{key}: expected tensor_content or {self._list}, got both")
            return self._read_content(content, shape)
        if self._as_bytes:
            return self._plain.read_bytes(self._complete(given, self._plain.dtype.itemsize, shape), shape)
        if self._tensor.dtype == "string":
            return self._plain.read_values(self._complete(list(given), 1, shape), shape)
        numbers = np.array(given)
        if self._list == "half_val":
            numbers = self._read_halves(numbers)
        return self._plain.read_values(self._complete(numbers, 1, shape), shape)

    def _parse(self, data: bytes) -> tuple[Any, Any, Any]:
        """The TensorProto, its content, and its list: as bytes if it has those of the array."""
        try:
            if self._as_bytes and len(data) > _LONG:
                rest, cuts = cut_fields(memoryview(data), self._cut)
                proto = protos.TensorProto.FromString(rest)
                if not len(getattr(proto, self._list)):  # it is not written one value after the other
                    content = cuts.pop(_CONTENT, [b""])[-1]  # of a field that is there twice the last counts
                    parts: Sequence[Any] = next(iter(cuts.values()), [])
                    return proto, content, parts[0] if len(parts) == 1 else b"".join(parts)
            proto = protos.TensorProto.FromString(data)
        except (DecodeError, DamagedError):
            raise RequestError(400, f"{self._tensor.key}: the bytes are no TensorProto") from None
        given = getattr(proto, self._list)
        if self._as_bytes and not isinstance(given, bytes):
            given = np.array(given, self._plain.dtype).tobytes()
        return proto, proto.tensor_content, given

    def _read_shape(self, given: Any) -> list[int]:
        key = self._tensor.key
        shape = [dim.size for dim in given.dim]
        if given.unknown_rank or any(size < 0 for size in shape):
            found = "an unknown rank" if given.unknown_rank else shape
            raise RequestError(400, f"{key}: expected sizes of 0 or more, got {found}")
        require_shape(self._tensor, shape, self._max_rows, key)
        return shape

    def _read_content(self, content: bytes | memoryview, shape: Sequence[int]) -> NDArray[Any]:
        if self._tensor.dtype == "string":
            return self._plain.read_values(
                _split_strings(memoryview(content), math.prod(shape), self._tensor.key), shape
            )
        if self._tensor.dtype in _LESS_THAN_A_BYTE:
            raise RequestError(
                400, f"{self._tensor.key}: expected int_val for {self._tensor.dtype}, got tensor_content"
            )
        return self._plain.read_bytes(content, shape)

    def _complete(self, values: Any, unit: int, shape: Sequence[int]) -> Any:
        """As many values as the shape has: all, or one that stands for all, as tf.make_tensor_proto writes it.

        `unit` is the length of one.
        """
        key, count = self._tensor.key, math.prod(shape)
        if len(values) == count * unit:
            return values
        if len(values) != unit or not count:
            found = f"{len(values) // unit} in {self._list}"
            raise RequestError(400, f"{key}: expected {count} values for the shape {list(shape)}, got {found}")
        size = count * self._plain.dtype.itemsize
        if size > self._most_bytes:
            raise RequestError(413, f"{key}: one value for {size:,} bytes; at most {self._most_bytes:,} are accepted")
        if isinstance(values, np.ndarray):
            return np.repeat(values, count)
        return (values if isinstance(values, list) else bytes(values)) * count

    def _read_halves(self, bits: NDArray[Any]) -> NDArray[Any]:
        if ((bits < 0) | (bits > 0xFFFF)).any():
            raise RequestError(400, f"{self._tensor.key}: half_val has a value that is not of 16 bits")
        return bits.astype(np.uint16).view(self._plain.dtype)


class TensorProtoWriter:
    """Writes the TensorProto of an output."""

    def __init__(self, tensor: Tensor) -> None:
        self._dtype = tensor.dtype
        self._list, number = _LISTS.get(tensor.dtype, ("int_val", 7))
        self._tag = write_varint(number << 3 | 2)
        self._head = lru_cache(64)(self._write_head)  # few different shapes are in use

    def write(self, array: NDArray[Any]) -> bytes:
        head = self._head(array.shape)
        if self._dtype in _AS_BYTES:
            data = array.tobytes()
            return b"".join([head, self._tag, write_varint(len(data)), data]) if data else head
        values = array.ravel()
        if self._list == "half_val":
            values = values.view(np.uint16)
        proto = protos.TensorProto(**{self._list: values.tolist()})
        return head + bytes(proto.SerializeToString())

    def _write_head(self, shape: tuple[int, ...]) -> bytes:
        proto = protos.TensorProto(dtype=get_dtype_number(self._dtype))
        for size in shape:
            proto.tensor_shape.dim.add(size=size)
        if not shape:
            proto.tensor_shape.SetInParent()
        return bytes(proto.SerializeToString())


def _split_strings(content: memoryview, count: int, key: str) -> list[bytes]:
    """The strings of a tensor_content: all their lengths as varints, then all their bytes."""
    ends: list[int] = []
    position = 0
    try:
        for _ in range(min(count, len(content) + 1)):
            length, position = read_varint(content, position, len(content))
            ends.append(length + (ends[-1] if ends else 0))
    except DamagedError:
        raise RequestError(400, f"{key}: tensor_content has fewer than {count} lengths of strings") from None
    if ends and ends[-1] != len(content) - position:
        found = f"{len(content) - position:,} bytes of strings; their lengths add up to {ends[-1]:,}"
        raise RequestError(400, f"{key}: tensor_content has {found}")
    return [content[position + start : position + end].tobytes() for start, end in zip([0, *ends], ends, strict=False)]
