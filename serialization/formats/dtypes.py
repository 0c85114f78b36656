"""dtypes by their numbers in protobufs: TensorFlow's names and sizes, without TensorFlow."""

from __future__ import annotations

import re

# tensorflow/core/framework/types.proto
_NAMES = {
    1: "float32",
    2: "float64",
    3: "int32",
    4: "uint8",
    5: "int16",
    6: "int8",
    7: "string",
    8: "complex64",
    9: "int64",
    10: "bool",
    11: "qint8",
    12: "quint8",
    13: "qint32",
    14: "bfloat16",
    15: "qint16",
    16: "quint16",
    17: "uint16",
    18: "complex128",
    19: "float16",
    20: "resource",
    21: "variant",
    22: "uint32",
    23: "uint64",
    24: "float8_e5m2",
    25: "float8_e4m3fn",
    29: "int4",
    30: "uint4",
}
_REF = 100  # DT_FLOAT_REF is 101

FLOAT, STRING, BOOL, RESOURCE, VARIANT, INT32, INT64 = 1, 7, 10, 20, 21, 3, 9


def get_dtype_name(number: int) -> str:
    """`float32` for DT_FLOAT and for DT_FLOAT_REF; `unknown` for DT_INVALID and numbers newer than this table."""
    return _NAMES.get(get_base_dtype(number), "unknown")


def get_base_dtype(number: int) -> int:
    """The number of the dtype behind a reference to it."""
    return number - _REF if number > _REF else number


def get_dtype_number(name: str) -> int:
    """The number of the dtype with this name; 0, which is DT_INVALID, for an unknown one."""
    return next((number for number, known in _NAMES.items() if known == name), 0)


def get_dtype_size(number: int) -> int:
    """The bytes that one value of a dtype takes in memory; for a string, those of an empty one."""
    name = get_dtype_name(number)
    bits = re.search(r"\d+", name.removesuffix("_e5m2").removesuffix("_e4m3fn"))
    return 24 if name == "string" else max(1, int(bits[0]) // 8) if bits else 1
