"""Decodes and encodes the tensors of the Open Inference Protocol (KServe V2): as JSON, or as bytes behind the JSON.

    {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1.0, 2.0]}
    {"name": "x", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}   and 8 bytes

Sources: inference_rest.md of kserve/open-inference-protocol, and extension_binary_data.md of triton-inference-server.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from serialization.formats.numpy_dtypes import get_numpy_dtype
from serialization.graph.signature import Tensor
from serialization.run.json_values import MisfitError, convert_json, make_object, measure_shape, name_json_type
from serialization.serving.requests import RequestError
from serialization.serving.wire import flat_json
from serialization.serving.wire.body_types import is_regular, make_value_type
from serialization.serving.wire.json_format import choose_lister
from serialization.serving.wire.plain_tensors import PlainReader
from serialization.serving.wire.tensor_rules import require_shape, reshape
from serialization.tensorflow import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DATATYPES = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "bfloat16": "BF16",
    "float32": "FP32",
    "float64": "FP64",
    "string": "BYTES",
}
_MOST_DIMENSIONS = 64  # of an array of numpy
_LENGTH = struct.Struct("<I")  # before each value of BYTES


def name_datatype(tensor: Tensor) -> str:
    """The protocol's name for the tensor's dtype. Raises RequestError for one that it has none for."""
    if tensor.dtype not in _DATATYPES:
        raise RequestError(501, f"{tensor.key}: the protocol has no datatype for {tensor.dtype}; use /api/predict")
    return _DATATYPES[tensor.dtype]


class TensorReader:
    """Makes the array of an input from its JSON or its bytes. Raises RequestError for what does not fit."""

    def __init__(self, tensor: Tensor, max_rows: int, *, nonfinite: bool) -> None:
        self.tensor = tensor
        self._max_rows = max_rows
        self._takes_nonfinite = nonfinite
        self._dtype = get_numpy_dtype(tensor.dtype)
        self._decode = msgspec.json.Decoder(list[make_value_type(tensor)]).decode  # type: ignore[misc]
        self._decode_long = flat_json.make_flat_decoder(tensor)
        self.require_fits = lru_cache(64)(self._require_fits)  # few different shapes are in use
        self.plain = PlainReader(tensor, nonfinite=nonfinite)
        self.read_bytes = self._read_strings if tensor.dtype == "string" else self.plain.read_bytes
        self._strings = tensor.dtype == "string"
        self._may_be_list = is_regular(tensor) and len(tensor.shape or ()) == 2

    def _require_fits(self, datatype: str, shape: tuple[int, ...]) -> None:
        """Raise RequestError for another datatype or shape."""
        name, expected = self.tensor.key, name_datatype(self.tensor)
        if datatype != expected:
            raise RequestError(400, f"{name}: expected the datatype {expected}, got {datatype[:100]}")
        if len(shape) > _MOST_DIMENSIONS:
            raise RequestError(400, f"{name}: expected at most {_MOST_DIMENSIONS} dimensions, got {len(shape):,}")
        if any(size < 0 for size in shape):
            raise RequestError(400, f"{name}: expected sizes of 0 or more, got {list(shape)}")
        require_shape(self.tensor, shape, self._max_rows, name)

    def read_quickly(self, text: bytes, shape: Sequence[int]) -> Any:
        """The array of a flat list in JSON, or nested lists that make it; None for a text that is left to `read`."""
        count = math.prod(shape)
        if len(text) > flat_json.LONG and self._decode_long is not None:
            array = self._decode_long(text, count)
            return None if array is None else reshape(array, shape, self.tensor.key)
        values = self._decode(text)
        if (
            self._strings and b"{" in text
        ):  # only strings are objects; msgspec keeps the last of a key that is there twice
            json.loads(text, object_pairs_hook=make_object)
        if len(values) != count:
            return None
        if self._may_be_list and shape[0] == 1:
            return [values]
        return reshape(self._make_array(values), shape, self.tensor.key)

    def read(self, value: Any, shape: Sequence[int]) -> NDArray[Any]:
        """The array of a JSON value: a list that is flat, or nested as the shape is."""
        place = f"{self.tensor.key}.data"
        try:
            if shape and not isinstance(value, list):
                raise MisfitError(f"{place}: expected a list, got {name_json_type(value)}")
            found = measure_shape(value, None, place)
            count = math.prod(shape)
            if found not in ((count,), tuple(shape)):
                raise MisfitError(
                    f"{place}: expected {count} values for the shape {list(shape)}, got the shape {list(found)}"
                )
            array = convert_json(replace(self.tensor, shape=found), value, place, nonfinite=self._takes_nonfinite)
        except MisfitError as misfit:
            raise RequestError(400, str(misfit)) from None
        return reshape(array, shape, self.tensor.key)

    def _read_strings(self, data: bytes | memoryview, shape: Sequence[int]) -> NDArray[Any]:
        """The array of strings that each have their length before them."""
        return self.plain.read_values(_split_strings(memoryview(data), self.tensor.key), shape)

    def _make_array(self, values: Sequence[Any]) -> NDArray[Any]:
        if self.tensor.dtype != "string":
            return np.array(values, self._dtype)
        array = np.empty(len(values), object)
        array[:] = [v if isinstance(v, bytes) else v.encode() if isinstance(v, str) else v.b64 for v in values]
        return array


class TensorWriter:
    """Writes an output as JSON, or as bytes."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.datatype = _DATATYPES.get(tensor.dtype, "")
        self._list = choose_lister(tensor)
        self.write_head = lru_cache(64)(self._write_head)  # few different shapes are in use

    def _write_head(self, shape: tuple[int, ...], size: int | None = None) -> bytes:
        """The JSON of an output of this shape, up to its values, or with the number of their bytes; without its end."""
        head: dict[str, Any] = {"name": self.tensor.key, "datatype": self.datatype, "shape": shape}
        if size is not None:
            head["parameters"] = {"binary_data_size": size}
        return msgspec.json.encode(head)[:-1] + (b',"data":' if size is None else b"")

    def list_values(self, array: NDArray[Any]) -> list[Any]:
        """The values in row-major order."""
        values: list[Any] = self._list(array.ravel())
        return values

    def write_bytes(self, array: NDArray[Any]) -> bytes:
        if self.tensor.dtype != "string":
            return array.tobytes()
        return b"".join([part for value in array.ravel() for part in (_LENGTH.pack(len(value)), value)])


def _split_strings(data: memoryview, name: str) -> list[bytes]:
    values: list[bytes] = []
    start = 0
    while start < len(data):
        end = start + _LENGTH.size
        if end <= len(data):
            end += _LENGTH.unpack_from(data, start)[0]
        if end > len(data):
            raise RequestError(400, f"{name}: string {len(values)} ends after the {len(data):,} bytes of the tensor")
        values.append(data[start + _LENGTH.size : end].tobytes())
        start = end
    return values
