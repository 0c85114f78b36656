"""Requests and answers as .npy files."""

from __future__ import annotations

import io
import json
import math
import os
from typing import Any

import pytest
from conftest import Clients
from serving_models import PREDICT, make_identity, post

from serialization.formats.numpy_dtypes import get_numpy_dtype
from serialization.graph.signature import Signature, Tensor
from serialization.serving.requests import RequestError
from serialization.serving.wire.npy_format import NpyFormat
from serialization.tensorflow import np


def npy(array: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array, **options)
    return file.getvalue()


def npy_with_shape(shape: str) -> bytes:
    """The header of a .npy file with this text as its shape."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': %s}\n" % shape.encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


def test_npy_is_decoded_and_encoded(clients: Clients) -> None:
    client = clients("log")
    array = np.array([[1, 2], [3, 4]], np.float32)
    for given in (array, np.asfortranarray(array), array.astype(">f4")):
        answer = client.post(PREDICT, data=npy(given), content_type="application/x-npy")
        assert np.allclose(json.loads(answer.data)["y"], np.log(array))
        accept = {"Accept": "application/x-npy"}
        answer = client.post(PREDICT, data=npy(given), content_type="application/octet-stream", headers=accept)
        assert answer.content_type == "application/x-npy"
        assert np.allclose(np.load(io.BytesIO(answer.data)), np.log(array))


@pytest.mark.parametrize(
    ("accept", "given"),
    [
        ("application/x-npy, */*", "application/x-npy"),
        ("application/x-npy, application/json;q=0.5", "application/x-npy"),
        ("application/x-npy;q=0.5, application/json", "application/json"),
        ("application/x-npy;q=0, */*", "application/json"),
        ("application/x-npy;q=0", "application/json"),
        ("application/*", "application/json"),
        ("text/html", "application/json"),
        (";;q=application/x-npy", "application/json"),
    ],
)
def test_npy_is_sent_if_the_client_prefers_it(clients: Clients, accept: str, given: str) -> None:
    answer = clients("log").post(PREDICT, json={"x": [[1, 2]]}, headers={"Accept": accept})
    assert (answer.status_code, answer.content_type) == (200, given)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "the body is not a whole .npy file of version 1 or 2"),
        (b"not numpy at all", "the body is not a whole .npy file of version 1 or 2"),
        (npy(np.zeros((2, 2), np.float32))[:-1], "x: expected 16 bytes of numbers, got 15"),
        (npy(np.zeros((2, 2), np.float32)) + b"\0", "x: expected 16 bytes of numbers, got 17"),
        (npy(np.zeros((2, 2))), "x: expected float32, got float64"),
        (npy(np.zeros((2, 3), np.float32)), "x: expected the shape [None, 2], got [2, 3]"),
        (npy(np.zeros(2, np.float32)), "x: expected the shape [None, 2], got [2]"),
        (npy(np.zeros((0, 2), np.float32)), "x: expected 1 to 4096 rows, got 0"),
        (npy(np.array([[1, np.nan]], np.float32)), "x[0][1]: expected a number, got NaN or Infinity"),
        (npy(np.array([[object()]]), allow_pickle=True), "x: expected float32, got object"),
        (npy(np.zeros((1, 2), [("a", "f4")])), "x: expected float32, got [('a', '<f4')]"),
        (npy_with_shape("(-1, 2)"), "x: the header has no valid shape"),
        (npy_with_shape("(True, 2)") + bytes(8), "x: the header has no valid shape"),
        (npy_with_shape("(0x" + "f" * 5000 + ", 2)"), "x: the header has no valid shape"),
        (
            npy_with_shape("(2**3, 2)"),
            "the body is not a whole .npy file of version 1 or 2",
        ),
        (
            b"\x93NUMPY\x01\x00\x02\x00{\n",
            "the body is not a whole .npy file of version 1 or 2",
        ),
        (b"\x93NUMPY\x09\x00", "the body is not a whole .npy file of version 1 or 2"),
    ],
)
def test_wrong_npy_bodies_are_refused(clients: Clients, body: bytes, error: str) -> None:
    status, answer = post(clients("log"), body, "application/x-npy")
    assert status == 400
    assert answer["error"].startswith(error)


@pytest.mark.parametrize("shape", [(1,) * 65, (1, 0, 2**62), (1, 2**40, 2**40, 0)])
def test_npy_of_an_impossible_shape_is_refused(clients: Clients, shape: tuple[int, ...]) -> None:
    status, answer = post(
        clients("any rank"), npy_with_shape(str(shape)) + bytes(4) * math.prod(shape), "application/x-npy"
    )
    assert (status, answer["error"][:26]) == (400, "x: no array has the shape ")


def test_npy_is_never_unpickled(clients: Clients, tmp_path: Any) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, (str(tmp_path / "trapped"),))

    body = npy(np.array([[Trap(), Trap()]], object), allow_pickle=True)
    assert post(clients("log"), body, "application/x-npy")[0] == 400
    assert not (tmp_path / "trapped").exists()


@pytest.mark.parametrize(
    ("dtype", "portable", "beyond"),
    [
        ("bfloat16", "float32", 3.4e38),
        ("float8_e5m2", "float32", 62_000),
        ("float8_e4m3fn", "float32", -470),
        ("int4", "int8", 8),
        ("uint4", "int8", -1),
    ],
)
def test_short_dtypes_travel_in_a_dtype_that_numpy_has(dtype: str, portable: str, beyond: float) -> None:
    client = make_identity(dtype, [None])
    values = [0, 1, 7]
    headers = {"Accept": "application/x-npy"}
    # numpy.save writes most short dtypes as bytes without a name.
    raw = np.array(values, get_numpy_dtype(dtype))
    for body in (npy(np.array(values, portable)), npy(raw.view(f"V{raw.itemsize}"))):
        answer = client.post(PREDICT, data=body, content_type="application/x-npy", headers=headers)
        array = np.load(io.BytesIO(answer.data))
        assert (answer.status_code, array.dtype.name, array.tolist()) == (200, portable, values)
    assert post(client, json.dumps({"x": values})) == (200, {"y": values})
    status, answer = post(client, npy(np.array([0, beyond], portable)), "application/x-npy")
    assert (status, answer) == (400, {"error": f"x[1]: the number is beyond the range of {dtype}"})
    refusal = {"error": f"x: expected {portable}, got float64; numpy's astype() converts"}
    assert post(client, npy(np.array(values, "float64")), "application/x-npy") == (400, refusal)


def test_npy_is_refused_for_several_inputs_or_outputs(clients: Clients) -> None:
    assert post(clients("two"), npy(np.zeros((1, 3), np.float32)), "application/x-npy")[0] == 415
    body = '{"x": {"a": [[1, 2, 3]], "b": [1]}}'
    assert post(clients("two"), body, Accept="application/x-npy")[0] == 406


def wire(dtype: str, *sizes: int | None, output: str = "float32") -> NpyFormat:
    sides = ((Tensor("in", "x:0", dtype, sizes),), (Tensor("out", "y:0", output, (None,)),))
    return NpyFormat(Signature(*sides), 100)


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 0), (1, 2, 3)])
def test_an_array_is_read_from_each_form_of_a_file(
    version: tuple[int, int], order: Any, shape: tuple[int, ...]
) -> None:
    array = np.arange(np.prod(shape, dtype=int), dtype="<i4").reshape(shape).copy(order)
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version)
    (read,) = wire("int32", *shape).decode(file.getvalue()).values()
    assert (read.dtype.name, read.shape, read.tolist()) == ("int32", shape, array.tolist())
    assert read.flags.c_contiguous


def test_numbers_in_rows_are_not_copied() -> None:
    body = npy(np.ones((4, 2), "<f4"))
    (read,) = wire("float32", None, 2).decode(body).values()
    assert not read.flags.owndata
    assert not read.flags.writeable


@pytest.mark.parametrize("rows", [None, slice(1, 3), slice(0, 0)])
def test_the_rows_of_the_answer_are_written(rows: slice | None) -> None:
    array = np.arange(8, dtype="f4").reshape(4, 2)
    written = np.load(io.BytesIO(wire("float32").encode({"out": array}, rows)))
    assert written.tolist() == array[rows if rows is not None else slice(None)].tolist()


def test_texts_are_neither_taken_nor_given() -> None:
    with pytest.raises(RequestError, match=r"which this model does not take; send JSON$"):
        wire("string", None).decode(npy(np.zeros(1)))
    with pytest.raises(RequestError, match=r"which this model does not give; accept JSON$"):
        wire("float32", output="string").encode({"out": np.array([b"a"], object)}, None)
