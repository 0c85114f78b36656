"""Finds the decimal number with the fewest digits that gives back the same float32: 0.96, not 0.9599999785423279.

msgspec writes Python's floats, which are float64, with as many digits as a float64 needs. So each float32 becomes the
float64 that is nearest to its shortest decimal number. numpy finds these (`str`) one after the other, in 1.6 us each;
this is ten times as fast, and leaves to `str` what it cannot decide.

A float32 has 6 digits for sure, and 9 at most. With S = 10**k for 9 or 10 digits, each whole number n for which n / S
rounds to the float gives it back. The one with the most zeros at its end is the shortest.
"""

from __future__ import annotations

import math
from functools import cache
from typing import TYPE_CHECKING, Any

from serialization.tensorflow import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FEW = 24  # so many numbers take `str` less time than numpy's functions take to start
_STEPS = (10.0, 100.0, 1000.0, 10_000.0)  # of n; 10 digits less 4 are the 6 that each float has
_SLACK = 1 + 1e-9  # the middle of two floats counts, whichever way its distance is rounded
_EXACT = 22  # 10**22 is the last power of ten that a float64 holds exactly


def shorten_floats(array: NDArray[Any]) -> NDArray[Any]:
    """Float64 numbers of the same shape, whose shortest decimal form is that of these float32 numbers."""
    values = array.ravel()
    if values.size <= _FEW:
        return np.array([float(str(value)) for value in values], np.float64).reshape(array.shape)
    exponents = (values.view(np.uint32) >> 23) & 0xFF
    fast, up, down = _list_scales()
    with np.errstate(all="ignore"):
        short = _find_shortest(values, values.astype(np.float64), fast[exponents], 1.0)
        other = np.flatnonzero(short.astype(np.float32) != values)
        if other.size:
            rest, at = values[other], exponents[other]
            found = _find_shortest(rest, rest.astype(np.longdouble), up[at], down[at])
            near = found.astype(np.float64)
            # Rounded from a quotient that is itself rounded: not sure if that is close to the middle of two float64.
            off = np.abs(found - near) - np.spacing(np.abs(near)) / 2
            sure = np.abs(off) > np.abs(found) * np.finfo(np.longdouble).eps * 8
            sure &= near.astype(np.float32) == rest
            sure |= (finite := np.isfinite(rest)) ^ True
            near[~finite] = rest[~finite]
            near[~sure] = [float(str(value)) for value in rest[~sure]]
            short[other] = near
    return short.reshape(array.shape)


def _find_shortest(values: NDArray[Any], wide: NDArray[Any], up: NDArray[Any], down: Any) -> NDArray[Any]:
    """The shortest decimal numbers, as numbers of the dtype of `wide`; NaN where the scale, up / down, is NaN."""
    scaled = wide * up / down
    half = np.abs(np.spacing(values) * (up / 2) / down)
    whole = np.rint(scaled)
    for step in _STEPS:
        rounded = np.rint(scaled / step) * step
        np.copyto(whole, rounded, where=np.abs(rounded - scaled) <= half * _SLACK)
    return np.asarray(whole / up * down)


@cache
def _list_scales() -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """The scales by the exponent's bits in a float32: for float64, NaN where they are not exact; for longdouble, as
    one to multiply by and one to divide by.
    """
    digits = [8 - math.floor(math.log10(2.0) * (bits - 127)) for bits in range(256)]
    exact = [10.0**k if 0 <= k <= _EXACT else math.nan for k in digits]
    exact[0] = 1.0  # of zero; the numbers close to it are found to be others
    up, down = ([np.longdouble(10) ** max(0, sign * k) for k in digits] for sign in (1, -1))
    return np.array(exact), np.array(up, np.longdouble), np.array(down, np.longdouble)
