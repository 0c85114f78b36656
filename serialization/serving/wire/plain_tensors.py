"""Makes the array of an input from plain values in row-major order, beside which a message has dtype and shape.

The values are the bytes of little-endian numbers, or a list of numbers or strings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from serialization.formats.numpy_dtypes import get_limits, get_numpy_dtype
from serialization.graph.signature import Tensor
from serialization.serving.requests import RequestError
from serialization.serving.wire.tensor_rules import require_numbers, reshape
from serialization.tensorflow import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FEW = 64  # numbers that Python adds up faster than numpy looks at them


class PlainReader:
    """Raises RequestError for values that do not fit. The shape is one that the input takes."""

    def __init__(self, tensor: Tensor, *, nonfinite: bool) -> None:
        self.tensor = tensor
        self.dtype = get_numpy_dtype(tensor.dtype)
        self._takes_nonfinite = nonfinite
        self._floating = get_limits(tensor.dtype)[0] == "float"

    def read_bytes(self, data: bytes | memoryview, shape: Sequence[int]) -> NDArray[Any]:
        """The array of little-endian numbers; it shares their memory."""
        name, count = self.tensor.key, math.prod(shape)
        size = count * self.dtype.itemsize
        if len(data) != size:
            raise RequestError(400, f"{name}: expected {size:,} bytes for the shape {list(shape)}, got {len(data):,}")
        if self.tensor.dtype == "bool" and bytes(data).strip(b"\0\1"):
            raise RequestError(400, f"{name}: expected bytes of 0 or 1")
        try:
            array: NDArray[Any] = np.ndarray(shape, self.dtype, data)
        except ValueError:  # too many dimensions, or an empty one beside one too long
            raise RequestError(400, f"{name}: no array has the shape {list(shape)}") from None
        if self._floating and not _seem_finite(array):
            require_numbers(self.tensor, array, name, nonfinite=self._takes_nonfinite)
        return array

    def read_values(self, values: Sequence[bytes] | NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
        """The array of strings, or of numbers that may be of a wider dtype."""
        name, count = self.tensor.key, math.prod(shape)
        if len(values) != count:
            what = "strings" if self.tensor.dtype == "string" else "values"
            raise RequestError(400, f"{name}: expected {count} {what} for the shape {list(shape)}, got {len(values)}")
        if isinstance(values, np.ndarray):
            array = reshape(values, shape, name)
            require_numbers(self.tensor, array, name, nonfinite=self._takes_nonfinite)
            return array.astype(self.dtype, copy=False)
        array = np.empty(count, object)
        array[:] = values
        return reshape(array, shape, name)


def _seem_finite(array: NDArray[Any]) -> bool:
    """Whether all numbers are finite; a sum of a few may be too large, though they are."""
    if array.size <= _FEW:
        return math.isfinite(sum(array.ravel().tolist()))
    return bool(np.isfinite(array).all())
