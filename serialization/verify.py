"""Run the source and the result of a conversion on the same feeds, and compare bit for bit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from serialization import cli
from serialization.predictor import Predictor
from serialization.tensorflow import np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def compare(source: Predictor, result: Predictor, feeds: Iterable[Mapping[str, NDArray[Any]]]) -> str:
    """Say on how many rows both gave the same bits. Raises cli.Error at the first output that differs."""
    rows = 0
    for feed in feeds:
        expected, actual = source(feed), result(feed)
        for tensor in source.signature.outputs:
            _require_same(tensor.key, expected[tensor.key], actual[tensor.key])
        rows += max((len(value) for value in feed.values() if value.ndim), default=1)
    keys = ", ".join(tensor.key for tensor in source.signature.outputs)
    return f"{keys}: the same bits as the source, on {rows:,} rows"


def _require_same(key: str, expected: NDArray[Any], actual: NDArray[Any]) -> None:
    want, got = (f"{value.dtype}{list(value.shape)}" for value in (expected, actual))
    if want != got:
        raise cli.Error(f"the result differs from its source: {key} is {got}, not {want}; nothing was written")
    # Bytes, for a NaN does not equal itself and 0.0 equals -0.0; but strings are objects, whose bytes are addresses.
    strings = expected.dtype == object
    if not (np.array_equal(expected, actual) if strings else expected.tobytes() == actual.tobytes()):
        how = ""
        if np.issubdtype(expected.dtype, np.number):
            how = f" by up to {np.nanmax(np.abs(expected.astype(np.complex128) - actual.astype(np.complex128))):.3g}"
        raise cli.Error(f"the result differs from its source: {key} is off{how}; nothing was written")
