"""dtypes by their numbers in protobufs: TensorFlow's names and sizes, without TensorFlow."""

from __future__ import annotations

import re
from functools import cache

from serialization.formats import protos

_REF = 100  # DT_FLOAT_REF is 101
_OTHER_NAMES = {"invalid": "unknown", "half": "float16", "float": "float32", "double": "float64"}

FLOAT, DOUBLE, STRING, BOOL, RESOURCE, VARIANT, INT32, INT64 = 1, 2, 7, 10, 20, 21, 3, 9
HANDLE_DTYPES = ("resource", "variant")  # handles of things in a session: no run takes or gives their values


@cache
def _load_names() -> dict[int, str]:
    """TensorFlow's name of each dtype, as the enum of the installed TensorFlow lists them."""
    enum = {number: label.removeprefix("DT_").lower() for label, number in protos.DataType.items() if number < _REF}
    return {number: _OTHER_NAMES.get(name, name) for number, name in enum.items()}


def get_dtype_name(number: int) -> str:
    """`float32` for DT_FLOAT and for DT_FLOAT_REF; `unknown` for DT_INVALID and for numbers of a newer TensorFlow."""
    return _load_names().get(get_base_dtype(number), "unknown")


def get_base_dtype(number: int) -> int:
    """The number of the dtype behind a reference to it."""
    return number - _REF if number > _REF else number


def get_dtype_number(name: str) -> int:
    """The number of the dtype with this name, 0 (DT_INVALID) for `unknown`. Raises StopIteration for other names."""
    return next(number for number, known in _load_names().items() if known == name)


def get_dtype_size(number: int) -> int:
    """The bytes that one value of a dtype takes in memory; for a string, those of an empty one."""
    return get_named_size(get_dtype_name(number))


def get_named_size(name: str) -> int:
    """The same by the dtype's name, without TensorFlow's protobufs."""
    bits = re.search(r"\d+", name)
    return 24 if name == "string" else max(1, int(bits[0]) // 8) if bits else 1
