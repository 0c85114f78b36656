"""Compares the arrays of two models: the same bits, the same but for rounding, or how far apart they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from serialization.tensorflow import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SLICE = 1 << 24  # bytes
_ROUNDING = 1e-5  # the most that is put down to rounding, relative to the largest number
RELATIVE, ABSOLUTE = 1e-3, 1e-4  # the most that another runtime may differ: the sum of both, and rounding


@dataclass(frozen=True)
class Tolerance:
    """Which numbers are taken for the source's, and the words for it; `{}` in them is the relative difference.

    `accepts` gets the source's array and the result's, of the same dtype and shape. `cause` says in an error why others
    may differ, `advice` what to do if they are near.
    """

    accepts: Callable[[NDArray[Any], NDArray[Any]], bool]
    words: str
    cause: str = ""
    advice: str = ""


def has_same_bits(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether two arrays of the same dtype and shape hold the same bits."""
    if a.dtype == object:  # strings, whose bytes are addresses
        return bool(np.array_equal(a, b))
    # Bytes, since a NaN does not equal itself and 0.0 equals -0.0; in slices, since a variable may hold gigabytes.
    one, other = (np.ascontiguousarray(value).reshape(-1).view(np.uint8) for value in (a, b))
    starts = range(0, one.size, _SLICE)
    return one.size == other.size and all(np.array_equal(one[s : s + _SLICE], other[s : s + _SLICE]) for s in starts)


def is_alike(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether two arrays have the same dtype and shape."""
    return a.dtype == b.dtype and a.shape == b.shape


def find_problem(key: str, expected: NDArray[Any], actual: NDArray[Any], *, shape_only: bool) -> str:
    """How the output `key` differs, for an error; empty if it has the same bits, or with `shape_only` the same form."""
    want, got = (f"{value.dtype}{list(value.shape)}" for value in (expected, actual))
    if want != got:
        return (
            ""
            if shape_only and expected.dtype == actual.dtype and expected.ndim == actual.ndim
            else f"{key} is {got}, not {want}"
        )
    if shape_only or has_same_bits(expected, actual):
        return ""
    how = f" by up to {measure_gap(expected, actual):.3g}" if np.issubdtype(expected.dtype, np.number) else ""
    return f"{key} is off{how}"


def measure_gap(a: NDArray[Any], b: NDArray[Any]) -> float:
    """The greatest difference between two numbers at one place; infinite for other shapes, and for strings."""
    if a.shape != b.shape or a.dtype == object:
        return float("inf")
    if a.dtype == np.bool_:
        return float(np.any(a != b))
    with np.errstate(all="ignore"):
        # Equal infinities are no difference, nor are NaNs in the same places.
        gap = np.abs(a.astype(np.complex128) - b.astype(np.complex128))
        gap = np.where(
            (a == b) | (np.isnan(gap) & np.isnan(a) & np.isnan(b)) if a.dtype.kind in "fc" else (a == b), 0, gap
        )
    return float("inf") if np.isnan(gap).any() else float(np.max(gap, initial=0.0))


def find_largest(value: NDArray[Any]) -> float:
    """The largest finite number; 0 if there is none."""
    return float(np.max(np.abs(value), initial=0.0, where=np.isfinite(value)))


def is_rounded(expected: NDArray[Any], actual: NDArray[Any]) -> bool:
    """Whether two arrays of one dtype and shape differ by no more than what is put down to rounding."""
    return measure_gap(expected, actual) <= _ROUNDING * max(find_largest(expected), 1e-30)


def is_close(expected: NDArray[Any], actual: NDArray[Any]) -> bool:
    """Whether two arrays of one dtype and shape are equal as far as two runtimes compute alike.

    A number near 0 may be what is left of large ones, so it may be off by the rounding of the largest number. NaN and
    the infinities have to be in the same places; whole numbers, bools and strings have to be equal.
    """
    if expected.dtype.kind not in "fc":
        return has_same_bits(expected, actual)
    absolute = ABSOLUTE + _ROUNDING * find_largest(expected)
    return bool(np.allclose(actual, expected, rtol=RELATIVE, atol=absolute, equal_nan=True))


def _is_rounded_float(expected: NDArray[Any], actual: NDArray[Any]) -> bool:
    return expected.dtype.kind in "fc" and is_rounded(expected, actual)


BATCHES = Tolerance(
    _is_rounded_float,
    "{:.2g} of its largest number, as batches of other sizes are rounded",
    "its rows depend on each other, or on their number",
)
XLA = Tolerance(_is_rounded_float, "which XLA compiles and so rounds")
KERAS = Tolerance(_is_rounded_float, "which Keras rounds otherwise outside of a graph")
OPTIMIZED = Tolerance(_is_rounded_float, "which TensorFlow 2 optimizes in another function, and so rounds otherwise")
OTHER_RUNTIME = Tolerance(is_close, "{:.2g} of its largest number")
