"""A long body of many short lists, as images are, decoded as one flat list: `{"x": [[[[0],[1],...]]]}` as `[0,1,...]`.

To make a list of every pixel takes longer than all the rest. Taken is only what the decoder of nested lists takes, with
the same array for it, bit for bit. The rest is left to that decoder, which says what is wrong with it and where.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from serialization import feeds
from serialization.serving.places import INPUT
from serialization.signature import Tensor
from serialization.tensorflow import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

LONG = 2500  # bytes of a body from which this way is the faster one
_SHORT = 64  # bytes to the end of the first list; each byte is looked at three times more, and that saves one list

_KEY = f'"{INPUT}"'.encode()
_OPEN, _CLOSE, _COMMA, _ZERO = b"[],0"
# The object becomes the list. What else is no number and no comma becomes space, so that no two numbers join.
_FLATTEN = bytes.maketrans(b'{}[]":' + INPUT.encode(), b"[]" + b" " * 5)


def make_decoder(tensor: Tensor, number: Any, max_rows: int) -> Callable[[bytes], NDArray[Any] | None] | None:
    """What makes the array of a body with only this input, of values of the type `number`, or None to leave that body.

    None for an input that is no list of lists, whose size is open in more than the number of rows, or zero.
    """
    if tensor.shape is None or len(tensor.shape) < 2 or None in tensor.shape[1:] or 0 in tensor.shape:
        return None
    rows, *sizes = (size or 0 for size in tensor.shape)
    allowed = (rows,) if rows else range(1, max_rows + 1)
    dtype, numbers = feeds.numpy_dtype(tensor.dtype), math.prod(sizes)
    decoder = msgspec.json.Decoder(list[number])

    def decode(body: bytes) -> NDArray[Any] | None:
        if body.find(b"]", 0, _SHORT) < 0 or _lacks_a_value(body):
            return None
        try:
            values = decoder.decode(body.translate(_FLATTEN))
            count = len(values) // numbers
            if count not in allowed or not _is_nested(body, (count, *sizes)):
                return None
            return np.fromiter(values, dtype, len(values)).reshape(count, *sizes)
        except (msgspec.DecodeError, OverflowError):
            return None

    return decode


def _lacks_a_value(body: bytes) -> bool:
    """Whether a comma or the end of a list follows something else than a number or a list.

    As many numbers as there should be are then where they should be: one that is not, say before a list, would lack
    where it should be. Space before a comma is not usual, and counts as lacking.
    """
    signs = np.frombuffer(body, np.uint8)
    before, sign = signs[:-1], signs[1:]
    ends = (sign == _COMMA) | (sign == _CLOSE)
    return bool((ends & ((before < _ZERO) | (before == _OPEN))).any())


def _is_nested(body: bytes, shape: Sequence[int]) -> bool:
    """Whether the body has the brackets and commas of nested lists of this shape, in an object with the one key."""
    lists = b""
    for size in reversed(shape):
        lists = b"[" + b",".join([lists] * size) + b"]"
    return _KEY in body and body.translate(None, b"0123456789+-.eE \t\r\n") == b"{" + _KEY + b":" + lists + b"}"
