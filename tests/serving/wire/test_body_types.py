"""Every dtype that can be served, at every rank: the identity answers the values it is sent, as JSON and as .npy."""

from __future__ import annotations

import io
import json
from typing import Any

import msgspec
import pytest
from openapi_spec_validator import validate
from serving_models import PREDICT, make_identity, post

from serialization.errors import UserError
from serialization.graph.signature import Tensor
from serialization.run.generated_feeds import get_portable_dtype
from serialization.run.json_values import MisfitError
from serialization.serving.wire.body_types import choose_array_maker, is_regular, make_body_decoder
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
    status, answer = post(client, json.dumps(body))
    if dtype == "string":
        assert (status, answer) == (200, {"y": body["x"]})
        assert post(client, b"", "application/x-npy")[0] == 415
        return
    array = np.array(body["x"], get_portable_dtype(dtype))
    assert status == 200
    assert np.array(answer["y"], array.dtype).tolist() == array.tolist()
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


def tensor(dtype: str = "float32", *sizes: int | None, key: str = "k") -> Tensor:
    return Tensor(key, "x:0", dtype, sizes)


def decode(body: str, *inputs: Tensor, max_rows: int = 3, ranks: tuple[int, ...] | None = None) -> Any:
    wanted = ranks or tuple(len(one.shape or ()) for one in inputs)
    return make_body_decoder(inputs, max_rows, wanted).decode(body)


@pytest.mark.parametrize("key", ["b", "", "field1", "class", "a[0]", "ü"])
def test_several_inputs_are_fields_whatever_their_keys(key: str) -> None:
    body = json.dumps({"x": {"a": [1], key: [2]}})
    value = decode(body, tensor("int8", None, key="a"), tensor("int8", None, key=key)).field0
    assert (value.field0, value.field1) == ([1], [2])


@pytest.mark.parametrize(
    ("taken", "body"),
    [
        (tensor("float32", None, 2), "[[1, 2.5], [0, -0.0]]"),
        (tensor("float32"), "1"),
        (tensor("bool", None), "[true]"),
        (tensor("uint8", None), "[0, 255]"),
        (tensor("int64", None), "[-9223372036854775808, 9223372036854775807]"),
        (tensor("uint64", None), "[18446744073709551616]"),  # which the array maker refuses
        (tensor("string", None), '["a", {"b64": "/w=="}]'),
        (tensor("float32", None, None), "[[1], [2, 3]]"),  # and these
        (tensor("float32", None, 0), "[[], []]"),
    ],
)
def test_values_of_the_dtype_are_let_through(taken: Tensor, body: str) -> None:
    assert decode(f'{{"x": {body}}}', taken) is not None


@pytest.mark.parametrize(
    ("refused", "body"),
    [
        (tensor("float32", None, 2), "[[1, 2, 3]]"),
        (tensor("float32", None, 2), "[1, 2]"),
        (tensor("float32", None), "[]"),
        (tensor("float32", None), "[1, 2, 3, 4]"),
        (tensor("float32", None), "[null]"),
        (tensor("float32", None), '["1"]'),
        (tensor("float32", None), "[true]"),
        (tensor("float32", None), "[1e39]"),
        (tensor("float32", None), "[NaN]"),
        (tensor("uint8", None), "[256]"),
        (tensor("uint8", None), "[-1]"),
        (tensor("int32", None), "[1.5]"),
        (tensor("bool", None), "[1]"),
        (tensor("string", None), "[1]"),
        (tensor("string", None), '[{"b64": "?"}]'),
        (tensor("string", None), '[{"b64": "", "more": 1}]'),
    ],
)
def test_other_values_are_refused(refused: Tensor, body: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(f'{{"x": {body}}}', refused)


@pytest.mark.parametrize("body", ['{"x": [1], "z": 1}', "{}", "[]", '{"x": {"k": [1]}}'])
def test_the_object_has_the_wanted_keys_alone(body: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(body, tensor("float32", None))


def test_a_rank_that_the_signature_leaves_open_is_that_of_the_body() -> None:
    free = Tensor("k", "x:0", "float32", None)
    assert decode('{"x": [[1], [2, 3]]}', free, ranks=(2,)).field0 == [[1.0], [2.0, 3.0]]
    assert decode('{"x": 1}', free, ranks=(0,)).field0 == 1.0


@pytest.mark.parametrize(
    ("described", "regular"),
    [
        (tensor("float32", None, 2), True),
        (tensor("float32"), True),
        (tensor("float32", None, None), False),
        (tensor("string", None), False),
        (tensor("uint64", None), False),
        (Tensor("k", "x:0", "float32", None), False),
    ],
)
def test_lists_are_regular_where_the_decoder_checks_their_lengths(described: Tensor, regular: bool) -> None:
    assert is_regular(described) == regular


@pytest.mark.parametrize(
    ("made", "value", "shape"),
    [
        (tensor("float32"), 1.5, ()),
        (tensor("int8", None), [1, 2], (2,)),
        (tensor("float16", None, 2), [[1, 2]], (1, 2)),
        (tensor("uint8", None, 2, 2, 1), [[[[1], [2]], [[3], [4]]]], (1, 2, 2, 1)),
        (tensor("bool", None, 1, 2), [[[True, False]]], (1, 1, 2)),
        (tensor("float32", None, 0), [[], []], (2, 0)),
        (tensor("float32", None, 0, 3), [[], []], (2, 0, 3)),
        (tensor("float32", None, None), [[1, 2], [3, 4]], (2, 2)),
        (tensor("uint64", None), [2**64 - 1], (1,)),
        (Tensor("k", "x:0", "int32", None), [[[7]]], (1, 1, 1)),
    ],
)
def test_an_array_has_the_dtype_and_the_shape_of_the_lists(made: Tensor, value: Any, shape: tuple[int, ...]) -> None:
    array = choose_array_maker(made)(value)
    assert (array.dtype.name, array.shape) == (made.dtype, shape)
    assert array.tolist() == (value if 0 not in shape else np.empty(shape).tolist())


def test_strings_become_bytes() -> None:
    texts = decode('{"x": [["ü", {"b64": "/w=="}]]}', tensor("string", None, 2)).field0
    array = choose_array_maker(tensor("string", None, 2))(texts)
    assert (array.dtype, array.tolist()) == (np.dtype(object), [["ü".encode(), b"\xff"]])


def test_values_that_the_decoder_cannot_check_are_refused_when_the_array_is_made() -> None:
    with pytest.raises(MisfitError, match=r"^x\[1\]: expected 1 value as in x\[0\], got 2$"):
        choose_array_maker(tensor("float32", None, None))([[1.0], [2.0, 3.0]])
    with pytest.raises(OverflowError):
        choose_array_maker(tensor("uint64", None))([2**64])
