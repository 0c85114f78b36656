"""Arrays of plain values: the bytes of numbers, or a list, beside which a message has the shape."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from serialization.graph.signature import Tensor
from serialization.serving.requests import RequestError
from serialization.serving.wire.plain_tensors import PlainReader
from serialization.tensorflow import np


def make_reader(dtype: str = "float32", *, nonfinite: bool = False) -> PlainReader:
    return PlainReader(Tensor("x", "x:0", dtype, None), nonfinite=nonfinite)


def test_bytes_are_read_where_they_lie() -> None:
    data = struct.pack("<4f", 1, 2, 3, 4)
    array = make_reader().read_bytes(memoryview(data), [2, 2])
    assert array.tolist() == [[1, 2], [3, 4]]
    assert np.shares_memory(array, np.frombuffer(data, np.uint8))
    assert make_reader("bfloat16").read_bytes(b"\x80\x3f", []).astype(float) == 1.0
    assert make_reader("bool").read_bytes(b"\0\1", [2]).tolist() == [False, True]


def test_lists_become_the_tensors_dtype() -> None:
    assert make_reader("int8").read_values(np.array([-128, 127], np.int32), [1, 2]).dtype == np.int8
    strings = make_reader("string").read_values([b"a", b"\xff", b"", b"bc"], [2, 2])
    assert strings.tolist() == [[b"a", b"\xff"], [b"", b"bc"]]


@pytest.mark.parametrize(
    ("dtype", "given", "shape", "error"),
    [
        ("float32", b"\0" * 7, [2], "x: expected 8 bytes for the shape [2], got 7"),
        ("float32", b"\0\0\xc0\x7f", [1], "x[0]: expected a number, got NaN or Infinity"),
        ("bool", b"\2", [1], "x: expected bytes of 0 or 1"),
        ("float64", b"", [0, 2**62, 2**62], "x: no array has the shape"),
        ("int32", np.array([1, 2]), [3], "x: expected 3 values for the shape [3], got 2"),
        ("uint8", np.array([0, 256]), [2], "x[1]: the number is beyond the range of uint8"),
        ("uint8", np.array([-1]), [1, 1], "x[0][0]: the number is beyond the range of uint8"),
        ("float32", np.array([np.inf]), [1], "x[0]: expected a number, got NaN or Infinity"),
        ("string", [b"a"], [2], "x: expected 2 strings for the shape [2], got 1"),
        ("string", [b"a"], [1] * 100, "x: no array has the shape"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(dtype: str, given: Any, shape: list[int], error: str) -> None:
    reader = make_reader(dtype)
    with pytest.raises(RequestError) as refused:
        (reader.read_bytes if isinstance(given, bytes) else reader.read_values)(given, shape)
    assert str(refused.value).startswith(error)
    assert refused.value.status == 400


@pytest.mark.parametrize("count", [2, 100])
def test_numbers_are_finite_though_their_sum_is_not(count: int) -> None:
    """And an Infinity of each sign, whose sum is neither."""
    reader = make_reader("float64")
    largest = np.full(count, np.finfo(np.float64).max)
    assert reader.read_bytes(largest.tobytes(), [count]).tolist() == largest.tolist()
    for bad in (np.nan, np.inf, -np.inf):
        array = np.array([*np.zeros(count - 2), bad, -bad])
        with pytest.raises(RequestError, match=rf"^x\[{count - 2}\]: expected a number, got NaN or Infinity"):
            reader.read_bytes(array.tobytes(), [count])


def test_nan_is_taken_where_it_is_allowed() -> None:
    reader = make_reader(nonfinite=True)
    assert np.isnan(reader.read_bytes(b"\0\0\xc0\x7f", [1])).all()
    assert np.isinf(reader.read_values(np.array([np.inf]), [1])).all()
