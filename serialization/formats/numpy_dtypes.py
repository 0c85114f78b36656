"""numpy's dtypes for TensorFlow's names, and the numbers that each holds, without TensorFlow.

Short numbers such as bfloat16 are those of ml_dtypes, which TensorFlow uses too.
"""

from __future__ import annotations

from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from serialization.tensorflow import np, tf

if TYPE_CHECKING:
    Limits = tuple[str, float, float]

_SHORT = ("bfloat16", "float8_", "float4_", "int4", "uint4", "int2", "uint2")  # what their names begin with


@lru_cache
def get_numpy_dtype(name: str) -> np.dtype[Any]:
    """The numpy dtype for TensorFlow's name; for bfloat16 and other short numbers an extension of numpy."""
    known: Any = object if name == "string" else name
    if name.startswith(_SHORT):
        known = getattr(import_module("ml_dtypes"), name)
    elif name.startswith(("q", "resource", "variant")):  # none of numpy's
        known = tf.as_dtype(name).as_numpy_dtype
    dtype: np.dtype[Any] = np.dtype(known)
    return dtype


@lru_cache
def get_limits(name: str) -> Limits:
    """The kind of a dtype, "bool", "int", "float" or "string", and its least and greatest number.

    The kind is empty for a dtype of other values, such as complex64 and qint8, and for an unknown one.
    """
    if name in ("bool", "string"):
        return name, 0, 1
    if not name.startswith(("int", "uint", "float", "bfloat")):
        return "", 0, 0
    dtype = get_numpy_dtype(name)
    source: Any = np if dtype.isbuiltin == 1 else import_module("ml_dtypes")
    if "float" in name:
        most = float(source.finfo(dtype).max)
        return "float", -most, most
    found = source.iinfo(dtype)
    return "int", int(found.min), int(found.max)
