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

from serialization.graph.signature import Tensor
from serialization.run.generated_feeds import get_numpy_dtype
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


def make_decoder(tensor: Tensor, max_rows: int) -> Callable[[bytes], NDArray[Any] | None] | None:
    """A function that makes the array of a body with only this input, or returns None to leave the body to others.

    There is none for an input that is not a list of numbers, that has an open size beside the rows, or a size of zero.
    """
    if not tensor.shape or None in tensor.shape[1:] or 0 in tensor.shape:
        return None
    dtype, rule = get_numpy_dtype(tensor.dtype), find_rule(tensor.dtype)
    if rule is None or dtype.kind not in _BUFFERS:
        return None
    name, wide = _BUFFERS[dtype.kind]
    rows, *sizes = (size or 0 for size in tensor.shape)
    allowed = (rows,) if rows else range(1, max_rows + 1)
    least, most = rule.least, rule.most
    before, row, after = b'{"%s":[' % INPUT.encode(), b"", b"]}"
    for size in reversed(sizes):
        row = b"[" + b",".join([row] * size) + b"]"

    def decode(body: bytes) -> NDArray[Any] | None:
        signs = body.translate(None, _IN_NUMBERS_AND_SPACE)
        count = (len(signs) - len(before + after) + 1) // (len(row) + 1)
        if count not in allowed or signs != before + b",".join([row] * count) + after:
            return None
        if dtype.kind == "f" and b"-0" in body and _MINUS_ZERO.search(body):
            return None
        try:
            document: Any = simdjson.Parser().parse(body)
            values = np.frombuffer(document[INPUT].as_buffer(of_type=name), wide)
        except (ValueError, TypeError, KeyError, RuntimeError):
            return None
        if len(values) != count * math.prod(sizes) or values.min() < least or values.max() > most:
            return None
        return values.astype(dtype).reshape(count, *sizes)

    return decode
