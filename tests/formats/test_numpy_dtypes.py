"""numpy's dtypes and their limits are those that TensorFlow knows."""

from __future__ import annotations

import pytest

from serialization.formats import protos
from serialization.formats.dtypes import get_dtype_name
from serialization.formats.numpy_dtypes import get_limits, get_numpy_dtype
from serialization.tensorflow import np, tf

NAMES = [name for n in protos.DataType.values() if 0 < n < 100 and (name := get_dtype_name(n)) != "unknown"]
HANDLES = {"resource", "variant"}  # which are no values


@pytest.mark.parametrize("name", sorted(set(NAMES) - HANDLES))
def test_the_dtype_is_that_of_tensorflow(name: str) -> None:
    assert get_numpy_dtype(name) == np.dtype(tf.as_dtype(name).as_numpy_dtype)


@pytest.mark.parametrize("name", NAMES)
def test_the_limits_are_those_of_tensorflow(name: str) -> None:
    dtype = tf.as_dtype(name)
    kind, *limits = get_limits(name)
    kinds = {"bool": dtype.is_bool, "int": dtype.is_integer, "float": dtype.is_floating, "string": dtype == tf.string}
    assert kind == next((known for known, holds in kinds.items() if holds), "")
    if kind in ("int", "float"):
        number = {"int": int, "float": float}[kind]
        assert limits == [number(dtype.min), number(dtype.max)]


def test_an_unknown_dtype_holds_nothing() -> None:
    assert get_limits("unknown")[0] == ""
