"""Values of `--feed` are converted, or the error names the value, its place and what was expected."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from serialization.errors import UserError
from serialization.graph.signature import Signature, Tensor
from serialization.run import given_feeds
from serialization.run.given_feeds import convert_value, parse_feed, read_feeds, read_rows, share_feeds
from serialization.run.json_values import MisfitError
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


def test_values_that_are_to_show_something_are_not_empty() -> None:
    wanted = Signature((tensor(),), ())
    assert read_rows(wanted, [parse_feed("[[1, 2]]")])["x"].tolist() == [[1.0, 2.0]]
    with pytest.raises(UserError, match=r"^--calibrate x: an array without a value, which shows nothing; give it"):
        read_rows(wanted, [parse_feed("[]")], "--calibrate")
    with pytest.raises(UserError, match=r"^--calibrate x\[0\]: expected 2 values, got 1$"):
        read_rows(wanted, [parse_feed("[[1]]")], "--calibrate")


def test_json_follows_the_rules_of_json_values() -> None:
    assert convert_value(tensor(), [[1, 2.5]]).tolist() == [[1.0, 2.5]]
    assert error("[[1, 2], [1, null]]") == "--feed x[1][1]: expected a number, got null"
    assert error("x=1e999") == "--feed x: expected the shape [None, 2], got a number"
    assert error("[[NaN, 1]]") == "--feed x[0][0]: expected a number, got NaN"


@pytest.mark.parametrize(
    ("dtype", "array", "message"),
    [
        ("float32", np.zeros((1, 3)), "x: expected the shape [None, 2], got [1, 3]"),
        ("float32", np.zeros((1, 2), bool), "x: expected float32, got bool"),
        ("float32", np.array([["a", "b"]]), "x: expected float32, got <U1"),
        ("float32", np.array([[1, 1e39]]), "x[0][1]: 1e+39 is beyond the range of float32"),
        ("int32", np.array([[1.0, 2.0]]), "x: expected int32, got float64"),
        ("int32", np.array([[1, 2**40]]), f"x[0][1]: {2**40} is beyond the range of int32"),
        ("uint8", np.array([[1, -1]]), "x[0][1]: -1 is beyond the range of uint8"),
        ("bool", np.array([[1, 0]]), "x: expected bool, got int64"),
        ("string", np.array([[1, 0]]), "x: expected strings, got int64"),
    ],
)
def test_arrays_of_wrong_shape_or_dtype_are_refused(dtype: str, array: Any, message: str) -> None:
    with pytest.raises(MisfitError) as caught:
        convert_value(tensor(dtype), array)
    assert str(caught.value) == message


def test_arrays_are_converted_to_the_dtype() -> None:
    assert convert_value(tensor("float32"), np.array([[1, 2]], np.uint8)).dtype == np.float32
    assert convert_value(tensor("int32"), np.array([[1, 2]], np.int64)).dtype == np.int32
    assert convert_value(tensor("float32"), np.array([[np.inf, np.nan]])).tolist()[0][0] == np.inf
    assert convert_value(tensor("string"), np.array([["ä", "b"]])).tolist() == [["ä".encode(), b"b"]]
    assert convert_value(tensor("string"), np.array([[b"a", b"b"]])).tolist() == [[b"a", b"b"]]
    half = np.array([[1.5, 2]], tf.bfloat16.as_numpy_dtype)
    assert convert_value(tensor("bfloat16"), half.view("V2")).tolist() == [[1.5, 2.0]]
    assert convert_value(tensor("complex64"), np.array([[1j, 2]])).dtype == np.complex64


def test_values_are_read_from_npy_npz_and_json_files(tmp_path: Path) -> None:
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
def test_files_of_other_formats_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "values").write_bytes(content)
    found = error(f"@{tmp_path}/values")
    assert found.startswith(f"{tmp_path}/values {message}")
    (tmp_path / "values.json").write_bytes(b"[1,")
    assert error(f"@{tmp_path}/values.json").startswith(f"{tmp_path}/values.json is not JSON: Expecting value: line 1")


def test_what_never_ends_is_not_read() -> None:
    signature = Signature((Tensor("x", "x:0", "float32", None),), ())
    with pytest.raises(UserError, match=r"^/dev/zero is no plain file; "):
        read_feeds(signature, [parse_feed("x=@/dev/zero")])


def test_unknown_repeated_and_missing_names_are_refused() -> None:
    assert error("y=[[1,2]]") == "--feed y: no such input; the inputs are x"
    assert error("x=[[1,2]]", "x:0=[[3,4]]") == "--feed x:0: given twice; give each input one value"
    two = (tensor(key="x"), tensor("int32", (None,), "n"))
    assert error("x=[[1,2]]", inputs=two) == "--feed gives no value for n:0 int32 [None]"
    many = tuple(tensor(key=f"feature_{number}") for number in range(30))
    assert error("featur_7=[[1,2]]", inputs=many) == (
        "--feed featur_7: no such input; the inputs are feature_7, feature_27, feature_17 and 27 more"
    )
    assert error("zzz=[[1,2]]", inputs=many).endswith("feature_8, feature_9 and 20 more")


def test_sizes_are_looked_at_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small .npz may unpack to gigabytes, and a file may be mostly holes."""
    with (
        zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("x.npy", "w") as file,
    ):
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40, 2)})
    with (tmp_path / "holes.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (1 << 32, 2)})
        file.truncate(file.tell() + (1 << 35))
    with (tmp_path / "holes.json").open("wb") as file:
        file.truncate(1 << 35)
    monkeypatch.setattr(given_feeds, "find_available_memory", lambda: 8 << 30)
    assert error(f"@{tmp_path}/bomb.npz") == "--feed x: 8.8 TB are too much here; feed at most 2.15 GB"
    assert error(f"@{tmp_path}/holes.npy") == "--feed x: 34.4 GB are too much here; feed at most 2.15 GB"
    assert error(f"@{tmp_path}/holes.json") == (
        f"{tmp_path}/holes.json has 34.4 GB, too much here; save at most 2.15 GB"
    )
    for name, shape in (("bomb.npz", [1 << 40, 2]), ("holes.npy", [1 << 32, 2])):
        message = error(f"@{tmp_path}/{name}", inputs=(tensor(shape=(None, 3)),))
        assert message == f"--feed x: expected the shape [None, 3], got {shape}"


def test_feeds_are_shared_by_several_signatures() -> None:
    signatures = [
        Signature((tensor(key="x"), tensor(key="y")), ()),
        Signature((tensor(key="x"),), ()),
        Signature((), ()),
    ]
    feeds = [parse_feed(text) for text in ("x=1", "y:0=2", "3", "wrong=4")]
    shared = share_feeds(feeds, signatures)
    assert [[feed.name for feed in one] for one in shared] == [
        ["x", "y:0", None, "wrong"],
        ["x", None, "wrong"],
        [None, "wrong"],
    ]
