"""Bodies of KServe V2 that differ from an earlier one in their data alone: the same answer as in a new server."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from serving_models import make_results

from serialization.graph.signature import Signature, Tensor
from serialization.serving.limits import Settings
from serialization.serving.requests import RequestError
from serialization.serving.wire.protocol import ServedModel
from serialization.serving.wire.v2_bodies import InferForm
from serialization.tensorflow import np

SERVED = ServedModel("m", "1", None, "tensorflow_graphdef")
NUMBERS = {"name": "x", "shape": [1, 2], "datatype": "FP32"}
RESULTS = make_results({"y": np.array([[1, 2]], np.float32)}, [Tensor("y", "y:0", "float32", (None, 2))])
STRINGS = {"name": "x", "shape": [1, 2], "datatype": "BYTES"}


def make_form(dtype: str) -> InferForm:
    x = Tensor("x", "x:0", dtype, (None, 2))
    return InferForm(SERVED, Signature((x,), (Tensor("y", "y:0", dtype, (None, 2)),)), Settings())


def outcome(form: InferForm, body: bytes) -> Any:
    """The values, and the answer to them, or the refusal."""
    try:
        values, encode = form.decode(None, body)
    except RequestError as error:
        return error.status, str(error)
    value = np.array(values["x"])
    return value.tolist(), encode(RESULTS, None)


def count_decoded(form: InferForm, monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The bodies whose JSON is decoded as a whole from now on."""
    decoded: list[bytes] = []
    whole = form._decode_quickly

    def decode(body: bytes) -> Any:
        decoded.append(body)
        return whole(body)

    monkeypatch.setattr(form, "_decode_quickly", decode)
    return decoded


@pytest.mark.parametrize(
    "write",
    [
        lambda data: {"inputs": [{**NUMBERS, "data": data}]},
        lambda data: {"inputs": [{"data": data, **NUMBERS}]},
        lambda data: {"inputs": [{**NUMBERS, "data": data}], "outputs": [{"name": "y"}]},
        lambda data: {"parameters": {"binary_data_output": True}, "inputs": [{**NUMBERS, "data": data}]},
    ],
    ids=["data last", "data first", "outputs", "binary output"],
)
def test_only_the_data_of_the_second_body_is_decoded(write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    form = make_form("float32")
    for make in (json.dumps, lambda value: msgspec.json.encode(value).decode()):
        form.decode(None, make(write([1, 2])).encode())
        decoded = count_decoded(form, monkeypatch)
        for data in ([3, 4], [-0.0, 1e-30], [0.1, 123456]):
            body = make(write(data)).encode()
            assert outcome(form, body) == outcome(make_form("float32"), body)
        assert decoded == []


FIRST = json.dumps({"inputs": [{**NUMBERS, "data": [1, 2]}]})


@pytest.mark.parametrize(
    "data",
    [
        "[3]",
        "[3, 4, 5]",
        "[[3, 4]]",
        "[3, 1e39]",
        "[3, null]",
        "[3, NaN]",
        "[3, 4",
        "3, 4]",
        "",
        "[]",
        '["a", "b"]',
        "[3, 4], [5, 6]",
        '[3, 4], "data": [5, 6]',
        '[3, 4], "shape": [2, 1]',
        '[3, 4]}, {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [5, 6]',
        '[3, 4]}], "inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [5, 6]',
        "[3, 4" + "]" * 300,
        "[" + "3," * 300 + "4]",
        "\n\t [ 3 ,\r 4 ] ",
    ],
)
def test_data_that_do_not_fit_are_answered_as_in_a_new_server(data: str) -> None:
    form = make_form("float32")
    form.decode(None, FIRST.encode())
    body = FIRST.replace("[1, 2]}]", data + "}]").encode()
    assert body != FIRST.encode()
    assert outcome(form, body) == outcome(make_form("float32"), body)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        # A key that ends with "data": its value is no data.
        ('{"parameters": {"\\"data": [1, 2]}, "inputs": [%s, "data": [1, 2]}]}', "[9, 9]"),
        # The same text as the data's, before the data.
        ('{"parameters": {"data": [1, 2]}, "inputs": [%s, "data": [1, 2]}]}', "[9, 9]"),
        ('{"inputs": [%s, "data": [1, 2]}], "parameters": {"data": [1, 2]}}', "[9, 9]"),
    ],
)
def test_a_key_that_looks_like_the_data_is_told_from_it(first: str, second: str) -> None:
    form = make_form("float32")
    first = first.replace("%s", json.dumps(NUMBERS)[:-1])
    form.decode(None, first.encode())
    for body in (first.replace("[1, 2]", second, 1), first[::-1].replace("]2 ,1[", "]9 ,9[", 1)[::-1]):
        assert outcome(form, body.encode()) == outcome(make_form("float32"), body.encode())


def test_strings_may_hold_the_text_that_surrounds_them() -> None:
    form = make_form("string")
    first = json.dumps({"inputs": [{**STRINGS, "data": ["a", "b"]}]})
    for data in (["a", "b"], ["]}]}", '"data":'], ['{"b64": "aGk="}', "\\"], ["[0.20261130]", ""]):
        body = first.replace('["a", "b"]', json.dumps(data)).encode()
        values, _ = form.decode(None, body)
        assert np.array(values["x"]).tolist() == [[text.encode() for text in data]]


def test_ids_are_given_back_and_not_kept() -> None:
    form = make_form("float32")
    for i in range(200):
        body = json.dumps({"id": f"request {i}", "inputs": [{**NUMBERS, "data": [i, 2]}]}).encode()
        values, encode = form.decode(None, body)
        assert np.array(values["x"]).tolist() == [[i, 2]]
        assert json.loads(encode(RESULTS, None)[1])["id"] == f"request {i}"
    assert not form._known_bodies._known


def test_at_most_64_texts_are_kept_and_long_ones_are_not() -> None:
    form = make_form("float32")
    for i in range(200):
        blanks = " " * i
        form.decode(None, json.dumps({"inputs": [{**NUMBERS, "data": [1, 2]}]}).replace("{", "{" + blanks, 1).encode())
        assert len(form._known_bodies._known) <= 64
    known = len(form._known_bodies._known)
    form.decode(None, json.dumps({"inputs": [{**NUMBERS, "data": [1, 2]}]}).replace("{", "{" + " " * 2000, 1).encode())
    assert len(form._known_bodies._known) == known


def test_a_string_with_a_key_twice_is_refused_in_any_body() -> None:
    form = make_form("string")
    first = json.dumps({"inputs": [{**STRINGS, "data": [{"b64": "YQ=="}, {"b64": "Yg=="}]}]})
    twice = first.replace('{"b64": "YQ=="}', '{"b64": "YQ==", "b64": "Yw=="}').encode()
    refused = outcome(make_form("string"), twice)
    assert refused[0] == 400
    assert "b64" in refused[1]
    form.decode(None, first.encode())
    assert outcome(form, twice) == refused
