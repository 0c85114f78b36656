"""Tensors of KServe V2: all datatypes as JSON and as bytes; shapes and sizes that lie are refused."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest

from serialization.graph.signature import Tensor
from serialization.serving.requests import RequestError
from serialization.serving.wire.v2_tensors import TensorReader, TensorWriter, name_datatype
from serialization.tensorflow import np, tf

DATATYPES: dict[str, tuple[str, list[Any]]] = {
    "bool": ("BOOL", [True, False]),
    "uint8": ("UINT8", [0, 255]),
    "uint16": ("UINT16", [0, 2**16 - 1]),
    "uint32": ("UINT32", [0, 2**32 - 1]),
    "uint64": ("UINT64", [0, 2**64 - 1]),
    "int8": ("INT8", [-128, 127]),
    "int16": ("INT16", [-(2**15), 2**15 - 1]),
    "int32": ("INT32", [-(2**31), 2**31 - 1]),
    "int64": ("INT64", [-(2**63), 2**63 - 1]),
    "float16": ("FP16", [0.5, -65504.0]),
    "bfloat16": ("BF16", [0.5, -3.0]),
    "float32": ("FP32", [0.5, -3.0e38]),
    "float64": ("FP64", [0.1, -1.7e308]),
    "string": ("BYTES", ["aé", ""]),
}


def make_reader(dtype: str = "float32", shape: tuple[int | None, ...] | None = (None, 2)) -> TensorReader:
    return TensorReader(Tensor("x", "x:0", dtype, shape), 8, nonfinite=False)


@pytest.mark.parametrize("dtype", DATATYPES)
def test_all_datatypes_by_all_ways(dtype: str) -> None:
    """A value goes in as JSON the fast way, by the rules, and as bytes; and comes out as JSON and as bytes."""
    name, values = DATATYPES[dtype]
    tensor = Tensor("x", "x:0", dtype, (None, 2))
    assert name_datatype(tensor) == name
    reader, writer = make_reader(dtype), TensorWriter(tensor)
    by_rules = reader.read(values, [1, 2])
    assert by_rules.dtype == (object if dtype == "string" else tf.as_dtype(dtype).as_numpy_dtype)
    assert writer.datatype == name
    listed = writer.list_values(by_rules)
    assert listed == pytest.approx(values, rel=1e-6) if dtype == "float32" else listed == values
    data = writer.write_bytes(by_rules)
    found = reader.read_bytes(memoryview(data), [1, 2])
    assert found.dtype == by_rules.dtype
    assert np.array_equal(found, by_rules)

    quick = reader.read_quickly(json.dumps(values).encode(), [1, 2])
    if dtype == "uint64":  # beyond what msgspec takes for a whole number may be left to the rules
        assert quick is None or np.array_equal(quick, by_rules)
    else:
        assert np.array_equal(np.array(quick, by_rules.dtype), by_rules)
    long = reader.read_quickly(json.dumps(values * 100).encode(), [8, 25]) if dtype != "string" else None
    assert long is None or np.array_equal(long.ravel(), np.tile(by_rules.ravel(), 100))


def test_data_is_flat_or_nested() -> None:
    reader = make_reader()
    for value in ([1, 2, 3, 4], [[1, 2], [3, 4]]):
        assert reader.read(value, [2, 2]).tolist() == [[1, 2], [3, 4]]
    assert make_reader(shape=()).read([5], []).tolist() == make_reader(shape=()).read(5, []).tolist() == 5
    assert make_reader("string", None).read([{"b64": "/w=="}], [1]).tolist() == [b"\xff"]


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ([1, 2, 3], "x.data: expected 4 values"),
        ([[1, 2, 3, 4]], "x.data: expected 4 values"),
        ([[1], [2], [3], [4]], "x.data: expected 4 values"),
        ([[1, 2], [3]], "x.data[1]: expected 2 values as in x.data[0], got 1"),
        ([1, 2, 3, "4"], "x.data[3]: expected a number, got a string"),
        ([[1, 2], [3, True]], "x.data[1][1]: expected a number, got true or false"),
        ([1, 2, 3, 1e39], "x.data[3]: the number is beyond the range of float32"),
        ({"a": 1}, "x.data: expected a list, got an object"),
        (None, "x.data: expected a list, got null"),
    ],
)
def test_data_that_does_not_fit_is_refused(value: Any, error: str) -> None:
    with pytest.raises(RequestError) as refused:
        make_reader().read(value, [2, 2])
    assert str(refused.value).startswith(error)


@pytest.mark.parametrize(
    ("dtype", "data", "shape", "error"),
    [
        ("float32", b"\0" * 15, [2, 2], "x: expected 16 bytes for the shape [2, 2], got 15"),
        ("float32", b"", [2**62, 2**62], "x: expected 85,070,591,730,234,615,865,843,651,857,942,052,864 bytes"),
        ("float32", struct.pack("<4f", 1, 2, 3, float("inf")), [2, 2], "x[1][1]: expected a number, got NaN or"),
        ("bool", b"\0\1\2\1", [2, 2], "x: expected bytes of 0 or 1"),
        ("string", b"\1\0\0\0a", [1, 2], "x: expected 2 strings for the shape [1, 2], got 1"),
        ("string", b"\1\0\0\0a" * 3, [1, 2], "x: expected 2 strings for the shape [1, 2], got 3"),
        ("string", b"\2\0\0\0a", [1, 1], "x: string 0 ends after the 5 bytes of the tensor"),
        ("string", b"\xff\xff\xff\xffa", [1, 1], "x: string 0 ends after the 5 bytes of the tensor"),
        ("string", b"\0\0\0\0\0\0", [1, 2], "x: string 1 ends after the 6 bytes of the tensor"),
        ("string", b"", [2**40, 2**40], "x: expected 1208925819614629174706176 strings for the shape"),
        ("float32", b"", [1, 0, 2**62, 2**62], "x: no array has the shape"),
        ("float32", b"\0" * 4, [1] * 100, "x: no array has the shape"),
    ],
)
def test_bytes_that_do_not_fit_are_refused(dtype: str, data: bytes, shape: list[int], error: str) -> None:
    with pytest.raises(RequestError) as refused:
        make_reader(dtype, None).read_bytes(memoryview(data), shape)
    assert str(refused.value).startswith(error)


def test_datatype_and_shape_are_those_of_the_model() -> None:
    reader = make_reader()
    reader.require_fits("FP32", (8, 2))
    for datatype, shape, error in (
        ("FP64", (1, 2), "x: expected the datatype FP32, got FP64"),
        ("FP32", (-1, 2), "x: expected sizes of 0 or more, got [-1, 2]"),
        ("FP32", (1,) * 100_000, "x: expected at most 64 dimensions, got 100,000"),
        ("FP32", (9, 2), "x: expected 1 to 8 rows, got 9"),
        ("FP32", (1, 3), "x: expected the shape [None, 2], got [1, 3]"),
    ):
        with pytest.raises(RequestError) as refused:
            reader.require_fits(datatype, shape)
        assert str(refused.value) == error
    with pytest.raises(RequestError, match="the protocol has no datatype for float8_e5m2; use /api/predict"):
        name_datatype(Tensor("x", "x:0", "float8_e5m2", (None,)))


def test_texts_that_are_not_flat_lists_that_fit_are_left_to_the_rules() -> None:
    reader = make_reader()
    assert reader.read_quickly(b"[1, 2]", [1, 2]) == [[1.0, 2.0]]
    assert reader.read_quickly(b"[1]", [1, 2]) is None
    long = b"[" + b"1.5," * 99 + b"1.5]"
    assert reader.read_quickly(long, [50, 2]).shape == (50, 2)
    assert reader.read_quickly(long, [51, 2]) is None
    assert reader.read_quickly(b"[[" + b"1.5,1.5],[" * 49 + b"1.5,1.5]]", [50, 2]) is None
