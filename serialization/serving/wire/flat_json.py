"""Decodes `{"x": [[[[0],[1],...]]]}` into an array at once, without a Python object for each number.

simdjson reads the numbers. This decoder accepts only bodies that the decoder of nested lists accepts too, and makes the
same array, bit for bit. It leaves all other bodies to that decoder, which finds the fault and its place.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import simdjson

from serialization.formats.numpy_dtypes import get_numpy_dtype
from serialization.graph.signature import Tensor
from serialization.run.json_values import find_rule
from serialization.serving.requests import INPUT
from serialization.tensorflow import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LONG = 200  # bytes; this decoder is faster for longer bodies

_IN_NUMBERS_AND_SPACE = b"0123456789+-.eE \t\r\n"
# simdjson's type of buffer and its dtype, by numpy's kind of the tensor's dtype.
_BUFFERS = {"f": ("d", "float64"), "i": ("i", "int64"), "u": ("u", "uint64")}
_MINUS_ZERO = re.compile(rb"-0(?![.0-9])")  # simdjson reads it as an integer, which loses the sign


def make_decoder(tensor: Tensor, max_rows: int, key: str = INPUT) -> Callable[[bytes], NDArray[Any] | None] | None:
    """A function that makes the array of a body with only this input, or returns None to leave the body to others.

    The body is an object whose only key is `key`.

    There is none for an input that is not a list of numbers, that has an open size beside the rows, or a size of zero.
    """
    if not tensor.shape or None in tensor.shape[1:] or 0 in tensor.shape:
        return None
    read = _make_reader(tensor)
    if read is None:
        return None
    rows, *sizes = (size or 0 for size in tensor.shape)
    allowed = (rows,) if rows else range(1, max_rows + 1)
    before, row, after = b'{"%s":[' % key.encode(), b"", b"]}"
    for size in reversed(sizes):
        row = b"[" + b",".join([row] * size) + b"]"

    def decode(body: bytes) -> NDArray[Any] | None:
        signs = body.translate(None, _IN_NUMBERS_AND_SPACE)
        count = (len(signs) - len(before + after) + 1) // (len(row) + 1)
        if count not in allowed or signs != before + b",".join([row] * count) + after:
            return None
        values = read(body, count * math.prod(sizes), key)
        return None if values is None else values.reshape(count, *sizes)

    return decode


def make_flat_decoder(tensor: Tensor) -> Callable[[bytes, int], NDArray[Any] | None] | None:
    """A function that makes the array of a list of so many numbers, or returns None to leave it to others."""
    read = _make_reader(tensor)
    if read is None:
        return None

    def decode(text: bytes, count: int) -> NDArray[Any] | None:
        if text.translate(None, _IN_NUMBERS_AND_SPACE) != b"[" + b"," * (count - 1) + b"]":
            return None
        return read(text, count, None)

    return decode


def _make_reader(tensor: Tensor) -> Callable[[bytes, int, str | None], NDArray[Any] | None] | None:
    """A function that reads so many numbers, as they come in a JSON text or below a key of it, into a flat array.

    It returns None for other values, and numbers beyond the dtype. There is none for a dtype that simdjson has no
    numbers of.
    """
    dtype, rule = get_numpy_dtype(tensor.dtype), find_rule(tensor.dtype)
    if rule is None or dtype.kind not in _BUFFERS:
        return None
    name, wide = _BUFFERS[dtype.kind]

    def read(text: bytes, count: int, key: str | None) -> NDArray[Any] | None:
        if dtype.kind == "f" and b"-0" in text and _MINUS_ZERO.search(text):
            return None
        try:
            document: Any = simdjson.Parser().parse(text)
            values = np.frombuffer((document if key is None else document[key]).as_buffer(of_type=name), wide)
        except (ValueError, TypeError, KeyError, RuntimeError):
            return None
        if len(values) != count or values.min() < rule.least or values.max() > rule.most:
            return None
        return values.astype(dtype)

    return read
