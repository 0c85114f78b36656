"""Decodes and encodes tensors as .npy files, numpy's own format: a header, and the bytes of the numbers.

Format: numpy.lib.format. Pickled objects, which could run code, are never read.
"""

from __future__ import annotations

import io
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from serialization.formats.numpy_dtypes import get_numpy_dtype
from serialization.graph.signature import Signature
from serialization.run.generated_feeds import get_portable_dtype
from serialization.serving.requests import INPUT, RequestError
from serialization.serving.wire.tensor_rules import require_numbers, require_shape, reshape
from serialization.tensorflow import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

ANY_BYTES = "application/octet-stream"
CONTENT_TYPES = ("application/x-npy", ANY_BYTES)


class NpyFormat:
    """Decodes a single input and encodes a single output. Raises RequestError for a body that does not fit."""

    def __init__(self, signature: Signature, max_rows: int, nonfinite_inputs: str = "error") -> None:
        self._takes_nonfinite = nonfinite_inputs == "allow"
        self._tensor = signature.inputs[0]
        self._max_rows = max_rows
        self._only_input = len(signature.inputs) == 1 and self._tensor.dtype != "string"
        self._dtype = get_numpy_dtype(self._tensor.dtype)
        self._portable = get_portable_dtype(self._tensor.dtype)
        only_output = len(signature.outputs) == 1 and signature.outputs[0].dtype != "string"
        self._output = signature.outputs[0] if only_output else None

    def decode(self, body: bytes) -> dict[str, NDArray[Any]]:
        """The array of a request's body, by input key; it shares the body's memory if it can."""
        if not self._only_input:
            raise RequestError(415, "a .npy body holds one array of numbers, which this model does not take; send JSON")
        shape, fortran_order, dtype, offset = _read_header(body)
        if self._dtype != self._portable and dtype == np.dtype(("V", self._dtype.itemsize)):
            dtype = self._dtype  # numpy.save writes bfloat16 and other short dtypes as bytes without a name
        if dtype.hasobject or dtype.fields is not None or not self._takes(dtype):
            raise RequestError(400, f"{INPUT}: expected {self._portable}, got {dtype}; numpy's astype() converts")
        require_shape(self._tensor, shape, self._max_rows, INPUT)
        count = math.prod(shape)
        if len(body) - offset != count * dtype.itemsize:
            message = f"{INPUT}: expected {count * dtype.itemsize:,} bytes of numbers, got {len(body) - offset:,}"
            raise RequestError(400, message)
        array = np.frombuffer(body, dtype, count, offset)
        array = reshape(array, shape[::-1], INPUT).T if fortran_order else reshape(array, shape, INPUT)
        require_numbers(self._tensor, array, INPUT, nonfinite=self._takes_nonfinite)
        return {self._tensor.key: np.asarray(array, self._dtype, order="C")}

    def encode(self, results: Mapping[str, Any], rows: slice | None) -> bytes:
        """The .npy file of the only output: these rows, or all if `rows` is None; in a dtype that numpy.load reads."""
        if self._output is None:
            raise RequestError(
                406, "a .npy body holds one array of numbers, which this model does not give; accept JSON"
            )
        file = io.BytesIO()
        array = np.asarray(results[self._output.key]).astype(get_portable_dtype(self._output.dtype), copy=False)
        np.lib.format.write_array(file, array if rows is None else array[rows], allow_pickle=False)
        return file.getvalue()

    def _takes(self, dtype: np.dtype[Any]) -> bool:
        return any(np.can_cast(dtype, known, "equiv") for known in (self._dtype, self._portable))


def _read_header(body: bytes) -> tuple[tuple[int, ...], bool, Any, int]:
    """Shape, whether the numbers are in Fortran's order, dtype, and the offset of the numbers."""
    try:
        size = 10 + int.from_bytes(body[8:10], "little")
        if body[6:8] == b"\x02\x00":
            size = 12 + int.from_bytes(body[8:12], "little")
        shape, fortran_order, dtype = _parse_header(body[:size])
    except Exception:  # numpy's parser of a hostile header may raise anything
        raise RequestError(
            400, "the body is not a whole .npy file of version 1 or 2; with curl, send it by --data-binary"
        ) from None
    if any(type(size) is not int or not 0 <= size < 2**63 for size in shape):  # numpy lets True pass
        raise RequestError(400, f"{INPUT}: the header has no valid shape")
    return shape, fortran_order, dtype, size


@lru_cache(64)
def _parse_header(header: bytes) -> tuple[tuple[int, ...], bool, Any]:
    """Shape, order and dtype by numpy, whose parser takes as long as the rest of a small request."""
    file = io.BytesIO(header)
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, fortran_order, dtype = read[version](file)
    return shape, fortran_order, dtype


@lru_cache(64)  # parsing a header takes longer than a small model runs, and few different headers are in use
def prefers_npy(accept: str) -> bool:
    """Whether a client with this header `Accept` prefers a .npy file to JSON."""
    best = parse_accept_header(accept, MIMEAccept).best_match(("application/json", *CONTENT_TYPES), "application/json")
    return best != "application/json"
