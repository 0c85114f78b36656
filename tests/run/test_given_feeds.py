"""What `--feed` gives fits, or it is said which value does not, where it stands, and what was expected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from serialization.errors import UserError
from serialization.graph.signature import Signature, Tensor
from serialization.run.given_feeds import convert_value, parse_feed, read_feeds
from serialization.run.nested_lists import MisfitError
from serialization.tensorflow import np, tf


def tensor(dtype: str = "float32", shape: tuple[int | None, ...] | None = (None, 2), key: str = "x") -> Tensor:
    return Tensor(key, f"{key}:0", dtype, shape)


def values(*texts: str, inputs: tuple[Tensor, ...] = (tensor(),)) -> dict[str, Any]:
    found = read_feeds(Signature(inputs, ()), [parse_feed(text) for text in texts])
    return {key: array.tolist() for key, array in found.items()}


def error(*texts: str, inputs: tuple[Tensor, ...] = (tensor(),)) -> str:
    with pytest.raises(UserError) as caught:
        read_feeds(Signature(inputs, ()), [parse_feed(text) for text in texts])
    return str(caught.value)


@pytest.mark.parametrize(
    ("dtype", "shape", "value", "expected"),
    [
        ("float32", (None, 2), [[1, 2.5]], [[1.0, 2.5]]),
        ("float32", (None, 2), [], []),
        ("float64", (), 3, 3.0),
        ("int32", None, [[1], [-2]], [[1], [-2]]),
        ("int64", (2,), [2**63 - 1, -(2**63)], [2**63 - 1, -(2**63)]),
        ("uint64", (), 2**64 - 1, 2**64 - 1),
        ("bool", (None,), [True, False], [True, False]),
        ("string", (None,), ["a", {"b64": "/w=="}, ""], [b"a", b"\xff", b""]),
        ("string", (), "Grüße", "Grüße".encode()),
        ("bfloat16", (None,), [1.5], [1.5]),
        ("float32", (2, None), [[1], [2]], [[1.0], [2.0]]),
    ],
)
def test_values_that_fit(dtype: str, shape: tuple[int | None, ...] | None, value: Any, expected: Any) -> None:
    array = convert_value(tensor(dtype, shape), value)
    assert array.tolist() == expected
    assert array.dtype == (object if dtype == "string" else tf.as_dtype(dtype).as_numpy_dtype)


def test_infinity_is_meant_where_it_is_written() -> None:
    assert values("[[Infinity, 1]]") == {"x": [[float("inf"), 1.0]]}
    assert str(values("[[NaN, 1]]")) == "{'x': [[nan, 1.0]]}"


@pytest.mark.parametrize(
    ("dtype", "shape", "value", "message"),
    [
        ("float32", (None, 3), [[0] * 3] * 3 + [[0, 0, "9"]], "x[3][2]: expected a number, got a string"),
        ("float32", (None, 2), [[1, 2], [1, None]], "x[1][1]: expected a number, got null"),
        ("float32", (None, 2), [[1, 2], [True, 2]], "x[1][0]: expected a number, got true or false"),
        ("float32", (None, 2), [[1, 2], [1, 1e39]], "x[1][1]: 1e+39 is beyond what float32 holds"),
        ("float32", (None, 2), [[1, -(10**400)]], f"x[0][1]: -1{'0' * 400} is beyond what float32 holds"),
        ("float16", (None,), [65505], "x[0]: 65505 is beyond what float16 holds"),
        ("float32", (None, 2), [[1, 2], [3]], "x[1]: expected 2 values, got 1"),
        ("float32", (None, None), [[1, 2], [3]], "x[1]: expected 2 values as in x[0], got 1"),
        ("float32", None, [[[1], [2]], [[1], [2, 3]]], "x[1][1]: expected 1 values as in x[0][0], got 2"),
        ("float32", (None, 2), [[1, 2], 3], "x[1]: expected a list, got a number"),
        ("float32", (None, 2), [1, 2], "x: expected the shape [None, 2], got [2]"),
        ("float32", (None, 2), 7, "x: expected the shape [None, 2], got []"),
        ("float32", (None, 2), [[[1], [2]]], "x[0][0]: expected a number, got a list"),
        ("float32", (3, 2), [[1, 2]], "x: expected 3 values, got 1"),
        ("float32", (), [5], "x: expected a number, got a list"),
        ("float32", (None, 2), {"a": 1}, "x: expected the shape [None, 2], got []"),
        ("int32", (None,), [1, 2.0], "x[1]: expected a whole number, got a number"),
        ("int32", (None,), [2**31], "x[0]: 2147483648 is beyond what int32 holds"),
        ("uint8", (None,), [0, -1], "x[1]: -1 is beyond what uint8 holds"),
        ("bool", (None,), [True, 1], "x[1]: expected true or false, got a number"),
        ("string", (None,), ["a", 1], "x[1]: expected a string, got a number"),
        ("string", (None,), [{"b64": "?"}], 'x[0]: expected a string, or {"b64": its bytes in base64}'),
        ("complex64", (None,), [1], "x: JSON has no values of complex64; give @file.npy"),
    ],
)
def test_values_that_do_not_fit(dtype: str, shape: Any, value: Any, message: str) -> None:
    with pytest.raises(MisfitError) as caught:
        convert_value(tensor(dtype, shape), value)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("dtype", "array", "message"),
    [
        ("float32", np.zeros((1, 3)), "x: expected the shape [None, 2], got [1, 3]"),
        ("float32", np.zeros((1, 2), bool), "x: expected float32, got bool"),
        ("float32", np.array([["a", "b"]]), "x: expected float32, got <U1"),
        ("float32", np.array([[1, 1e39]]), "x[0][1]: 1e+39 is beyond what float32 holds"),
        ("int32", np.array([[1.0, 2.0]]), "x: expected int32, got float64"),
        ("int32", np.array([[1, 2**40]]), f"x[0][1]: {2**40} is beyond what int32 holds"),
        ("uint8", np.array([[1, -1]]), "x[0][1]: -1 is beyond what uint8 holds"),
        ("bool", np.array([[1, 0]]), "x: expected bool, got int64"),
        ("string", np.array([[1, 0]]), "x: expected strings, got int64"),
    ],
)
def test_arrays_that_do_not_fit(dtype: str, array: Any, message: str) -> None:
    with pytest.raises(MisfitError) as caught:
        convert_value(tensor(dtype), array)
    assert str(caught.value) == message


def test_arrays_that_fit() -> None:
    assert convert_value(tensor("float32"), np.array([[1, 2]], np.uint8)).dtype == np.float32
    assert convert_value(tensor("int32"), np.array([[1, 2]], np.int64)).dtype == np.int32
    assert convert_value(tensor("float32"), np.array([[np.inf, np.nan]])).tolist()[0][0] == np.inf
    assert convert_value(tensor("string"), np.array([["ä", "b"]])).tolist() == [["ä".encode(), b"b"]]
    assert convert_value(tensor("string"), np.array([[b"a", b"b"]])).tolist() == [[b"a", b"b"]]
    half = np.array([[1.5, 2]], tf.bfloat16.as_numpy_dtype)
    assert convert_value(tensor("bfloat16"), half.view("V2")).tolist() == [[1.5, 2.0]]
    assert convert_value(tensor("complex64"), np.array([[1j, 2]])).dtype == np.complex64


def test_files(tmp_path: Path) -> None:
    two = (tensor(key="x"), tensor("int32", (None,), "n"))
    np.savez(tmp_path / "both.npz", x=np.ones((1, 2)), n=np.array([3]))
    (tmp_path / "both.json").write_text('{"x": [[1, 1]], "n": [3]}')
    np.save(tmp_path / "n.npy", np.array([3]))
    expected = {"x": [[1.0, 1.0]], "n": [3]}
    assert values(f"@{tmp_path}/both.npz", inputs=two) == expected
    assert values(f"@{tmp_path}/both.json", inputs=two) == expected
    assert values('{"x": [[1, 1]], "n": [3]}', inputs=two) == expected
    assert values(f"x=@{tmp_path}/both.npz", f"n:0=@{tmp_path}/n.npy", inputs=two) == expected
    assert error(f"y=@{tmp_path}/both.npz", inputs=two) == (f"{tmp_path}/both.npz holds no array called y; it has x, n")
    assert error(f"@{tmp_path}/n.npy", inputs=two) == (
        "--feed: say which input this value is for, KEY=VALUE; the inputs are x, n"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1,2\n3,4\n", "is not .npy, .npz or JSON; save the values as one of these"),
        (b"\xff\xfe", "is not .npy, .npz or JSON; save the values as one of these"),
        (b"", "is not .npy, .npz or JSON; save the values as one of these"),
        (b"PK\x03\x04 no archive", "cannot be read; File is not a zip file; save it again"),
        (
            b"\x93NUMPY\x01\x00\x46\x00{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999,)}  \n",
            "cannot be read; ",
        ),
    ],
)
def test_files_that_are_something_else(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "values").write_bytes(content)
    found = error(f"@{tmp_path}/values")
    assert found.startswith(f"{tmp_path}/values {message}")
    (tmp_path / "values.json").write_bytes(b"[1,")
    assert error(f"@{tmp_path}/values.json").startswith(f"{tmp_path}/values.json is not JSON: Expecting value: line 1")


def test_names() -> None:
    assert error("y=[[1,2]]") == "--feed y: no such input; the inputs are x"
    assert error("x=[[1,2]]", "x:0=[[3,4]]") == "--feed x:0: given twice; give each input one value"
    two = (tensor(key="x"), tensor("int32", (None,), "n"))
    assert error("x=[[1,2]]", inputs=two) == "--feed gives no value for n:0 int32 [None]"
    many = tuple(tensor(key=f"feature_{number}") for number in range(30))
    assert error("featur_7=[[1,2]]", inputs=many) == (
        "--feed featur_7: no such input; the nearest are feature_7, feature_27, feature_17"
    )
    assert error("zzz=[[1,2]]", inputs=many).endswith("feature_8, feature_9 and 20 more")
