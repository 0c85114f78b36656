"""The float64 whose digits are the fewest that give back a float32: 0.96, not 0.9599999785423279.

msgspec writes Python's floats, which are float64, with as many digits as a float64 needs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import orjson

from serialization.tensorflow import np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def shorten_floats(array: NDArray[np.float32]) -> Any:
    """Nested lists of these numbers; one number for an array of rank 0."""
    whole = np.ascontiguousarray(array)  # of rank 1, if the array has rank 0
    text = orjson.dumps(whole, option=orjson.OPT_SERIALIZE_NUMPY)
    lists = orjson.loads(text)
    if b"null" in text:  # NaN or Infinity, for which orjson has one word
        numbers = np.array(lists, np.float64)
        with np.errstate(invalid="ignore"):  # of a signalling NaN
            np.copyto(numbers, whole, where=~np.isfinite(whole))
        lists = numbers.tolist()
    return lists if array.shape else lists[0]
