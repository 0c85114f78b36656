"""Every dtype that can be served, at every rank: the identity answers the values it is sent, as JSON and as .npy."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from openapi_spec_validator import validate
from serving_models import PREDICT, make_identity, post

from serialization.errors import UserError
from serialization.run.generated_feeds import get_portable_dtype
from serialization.tensorflow import np, tf

WHOLE = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
FLOATS = ["half", "bfloat16", "float32", "float64"]
SHAPES: list[list[int | None] | None] = [[], [3], [None], [2, 2], [None, 2], [None, 0], [None, None, 1, 2], None]


def list_limits(dtype: str) -> list[Any]:
    """The least and the most of a dtype, and a value between."""
    if dtype == "string":
        return ["", 'ü\0"', {"b64": "/w=="}]
    if dtype == "bool":
        return [True, False]
    limits = tf.as_dtype(dtype)
    whole = dtype in WHOLE
    return [int(limits.min), int(limits.max), 1] if whole else [float(limits.min), float(limits.max), 0.5]


def fill(shape: list[int | None] | None, values: list[Any]) -> Any:
    """Nested lists of this shape, two rows, with the values in turn."""
    sizes = [2 if size is None else size for size in ([None, 2] if shape is None else shape)]
    flat = np.empty(len(values), object)
    flat[:] = values
    return np.resize(flat, sizes).tolist()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [*WHOLE, *FLOATS, "bool", "string"])
def test_values_come_back_unchanged(dtype: str, shape: list[int | None] | None) -> None:
    client = make_identity(dtype, shape)
    document = client.get("/openapi.json").get_json()
    validate(document)
    example = document["paths"][PREDICT]["post"]["requestBody"]["content"]["application/json"]["example"]
    assert post(client, json.dumps(example))[0] == 200
    body = {"x": fill(shape, list_limits(dtype))}
    assert post(client, json.dumps(body)) == (200, {"y": body["x"]})
    if dtype == "string":
        assert post(client, b"", "application/x-npy")[0] == 415
        return
    array = np.array(body["x"], get_portable_dtype(dtype))
    file = io.BytesIO()
    np.save(file, array)
    headers = {"Accept": "application/x-npy"}
    answer = client.post(PREDICT, data=file.getvalue(), content_type="application/x-npy", headers=headers)
    assert (answer.status_code, answer.data) == (200, file.getvalue())


@pytest.mark.parametrize("dtype", [*WHOLE, *FLOATS])
def test_numbers_beyond_a_dtype_are_refused(dtype: str) -> None:
    client = make_identity(dtype, [None])
    least, most, _ = list_limits(dtype)
    beyond = [2 * least - 1, 2 * most + 1] if dtype in WHOLE else ["-1e309", "1e309"]
    if dtype in ("half", "bfloat16", "float32"):
        beyond += [2 * least, 2 * most]
    for value in beyond:
        status, answer = post(client, f'{{"x": [0, {value}]}}')
        assert status == 400
        assert f"beyond the range of {tf.as_dtype(dtype).name}" in answer["error"]
    assert post(client, '{"x": [true]}')[0] == 400
    assert post(client, '{"x": [0.5]}')[0] == (400 if dtype in WHOLE else 200)


@pytest.mark.parametrize("dtype", ["complex64", "complex128", "qint8", "quint8", "qint32", "resource", "variant"])
def test_a_dtype_without_json_values_is_one_line(dtype: str) -> None:
    with pytest.raises(UserError, match=f"JSON has no {dtype}; name other tensors"):
        make_identity(dtype, [None])


@pytest.mark.parametrize("rows", [0, 1, 4096, 4097])
def test_up_to_4096_rows_are_accepted(rows: int) -> None:
    status, answer = post(make_identity("float32", [None, 2]), json.dumps({"x": [[1, 2]] * rows}))
    if 1 <= rows <= 4096:
        assert (status, answer) == (200, {"y": [[1, 2]] * rows})
    else:
        assert (status, answer["error"]) == (400, f"x: expected 1 to 4096 rows, got {rows}")
