"""Bodies of KServe V2: several inputs and outputs, JSON and bytes, keys twice, lengths that lie."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from serving_models import make_results, open_small, small_app

from serialization.graph.signature import Signature, Tensor
from serialization.serving.limits import Settings
from serialization.serving.requests import RequestError
from serialization.serving.wire.protocol import ServedModel
from serialization.serving.wire.v2_bodies import LENGTH_HEADER, InferForm, read_length
from serialization.tensorflow import np

SERVED = ServedModel("m", "1", None, "tensorflow_graphdef")
A = {"name": "a", "shape": [1, 3], "datatype": "FP32"}
B = {"name": "b", "shape": [1], "datatype": "INT32"}
JSON = {"binary_data": False}
SIGNATURE = open_small("two")[1]
RESULTS = make_results(
    {"sum": np.array([[1, 2, 3], [4, 5, 6]], np.float32), "positive": np.array([True, False])}, SIGNATURE.outputs
)


@pytest.fixture(scope="module")
def form() -> InferForm:
    return InferForm(SERVED, SIGNATURE, Settings(max_rows=8))


def body_of(**more: Any) -> dict[str, Any]:
    return {"inputs": [{**A, "data": [1, 2, 3]}, {**B, "data": [4]}], **more}


def in_bytes(size_a: int = 12, size_b: int = 4, data: bytes | None = None, **more: Any) -> tuple[int, bytes]:
    """The length of the JSON and the body of a request with both inputs as bytes."""
    inputs = [
        {**A, "parameters": {"binary_data_size": size_a}},
        {**B, "parameters": {"binary_data_size": size_b}},
    ]
    head = json.dumps({"inputs": inputs, **more}).encode()
    return len(head), head + (struct.pack("<3fi", 1, 2, 3, 4) if data is None else data)


def refusal(form: InferForm, body: bytes | dict[str, Any], length: object = None) -> str:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(RequestError) as refused:
        form.decode(None if length is None else read_length(str(length)), text)
    assert refused.value.status == 400
    return str(refused.value)


def test_json_and_bytes_give_the_same_values(form: InferForm) -> None:
    nested = body_of()
    nested["inputs"][0]["data"] = [[1, 2, 3]]
    mixed_length, mixed = in_bytes()
    mixed_head = json.loads(mixed[:mixed_length])
    mixed_head["inputs"][1] = {**B, "data": [4]}
    text = json.dumps(mixed_head).encode()
    for length, body in (
        (None, json.dumps(body_of()).encode()),
        (None, json.dumps(nested).encode()),
        in_bytes(),
        in_bytes(),  # again: what the JSON says is known
        (len(text), text + struct.pack("<3f", 1, 2, 3)),
        (len(json.dumps(body_of())), json.dumps(body_of()).encode()),
    ):
        values, _ = form.decode(length, body)
        assert {key: np.array(value).tolist() for key, value in values.items()} == {"a": [[1, 2, 3]], "b": [4]}


@pytest.mark.parametrize(
    ("more", "names"),
    [
        ({}, ["sum", "positive"]),
        ({"outputs": []}, ["sum", "positive"]),
        ({"outputs": [{"name": "positive"}]}, ["positive"]),
        (
            {"outputs": [{"name": "positive", "parameters": {"binary_data": False}}, {"name": "sum"}]},
            ["positive", "sum"],
        ),
    ],
)
def test_answers_in_json(form: InferForm, more: dict[str, Any], names: list[str]) -> None:
    _, encode = form.decode(None, json.dumps(body_of(id="mine", **more)).encode())
    headers, text = encode(RESULTS, slice(1, 2))
    answer = json.loads(text)
    assert headers == [("Content-Type", "application/json")]
    outputs = answer.pop("outputs")
    assert answer == {"model_name": "m", "model_version": "1", "id": "mine"}
    data = {
        "sum": {"name": "sum", "datatype": "FP32", "shape": [1, 3], "data": [4, 5, 6]},
        "positive": {"name": "positive", "datatype": "BOOL", "shape": [1], "data": [False]},
    }
    assert outputs == [data[name] for name in names]


def test_answers_in_bytes(form: InferForm) -> None:
    for more in (
        {"parameters": {"binary_data_output": True}},
        {"outputs": [{"name": key, "parameters": {"binary_data": True}} for key in ("sum", "positive")]},
    ):
        _, encode = form.decode(*in_bytes(**more))
        headers, body = encode(RESULTS, None)
        assert dict(headers)["Content-Type"] == "application/octet-stream"
        length = int(dict(headers)[LENGTH_HEADER])
        outputs = json.loads(body[:length])["outputs"]
        assert [output["parameters"]["binary_data_size"] for output in outputs] == [24, 2]
        assert body[length:] == struct.pack("<6f2?", 1, 2, 3, 4, 5, 6, True, False)
    _, encode = form.decode(
        *in_bytes(
            parameters={"binary_data_output": True}, outputs=[{"name": "sum", "parameters": {"binary_data": False}}]
        )
    )
    assert json.loads(encode(RESULTS, None)[1])["outputs"][0]["data"] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "the body is empty; expected a JSON object"),
        (b"{", "the body is not JSON: "),
        (b"[]", "the body: expected an object, got a list"),
        (b"{}", "the body: missing key 'inputs'"),
        ({"inputs": 1}, "inputs: expected a list, got a number"),
        ({"inputs": [{**A, "shape": [1, 3.5]}]}, "inputs[0].shape[1]: expected a whole number, got 3.5"),
        ({"inputs": [{**A, "shape": True}]}, "inputs[0].shape: expected a list, got true or false"),
        (body_of(id=5), "id: expected a string, got a number"),
        ({"inputs": [{**A, "data": [1, 2, 3]}]}, "missing input 'b'"),
        ({"inputs": [{**A, "data": [1, 2, 3]}] * 2}, "the input 'a' is there twice"),
        ({"inputs": [{**A, "name": "z\n"}]}, "unknown input 'z?'; expected 'a' and 'b'"),
        ({"inputs": [A]}, "a: expected data or the parameter binary_data_size, got none"),
        ({"inputs": [{**A, "data": [1, 2]}]}, "a.data: expected 3 values"),
        ({"inputs": [{**A, "data": "AAAA"}]}, "a.data: expected a list, got a string"),
        ({"inputs": [{**A, "datatype": "FP64", "data": [1, 2]}]}, "a: expected the datatype FP32, got FP64"),
        (
            {"inputs": [{**A, "data": [1, 2, 3], "parameters": {"binary_data_size": 12}}]},
            "a: expected data or the parameter binary_data_size, got both",
        ),
        ({"inputs": [{**A, "parameters": {"binary_data_size": -1}}]}, "a.binary_data_size: expected 0 or more, got -1"),
        (
            {"inputs": [{**A, "parameters": {"binary_data_size": "12"}}]},
            "a.binary_data_size: expected a whole number, got a string",
        ),
        ({"inputs": [5]}, "inputs[0]: expected an object, got a number"),
        ({"inputs": [{"name": "a", "shape": [1], "data": [1]}]}, "inputs[0]: missing key 'datatype'"),
        ({"inputs": [{**A, "name": None}]}, "inputs[0].name: expected a string, got null"),
        ({"inputs": [{**A, "parameters": [], "data": [1]}]}, "inputs[0].parameters: expected an object, got a list"),
        (body_of(outputs=["sum"]), "outputs[0]: expected an object, got a string"),
        (body_of(parameters=1), "parameters: expected an object, got a number"),
        ({"inputs": [{**A, "parameters": {"shared_memory_region": "r"}}]}, "a: the parameter shared_memory_region is"),
        (body_of(outputs=[{"name": "z"}]), "unknown output 'z'; expected 'sum' and 'positive'"),
        (body_of(outputs=[{"name": "sum"}] * 2), "the output 'sum' is there twice"),
        (
            body_of(outputs=[{"name": "sum", "parameters": {"binary_data": 1}}]),
            "sum.binary_data: expected true or false, got a number",
        ),
        (body_of(outputs=[{"name": "sum", "parameters": {"classification": 1}}]), "sum: the parameter classification"),
        (
            body_of(parameters={"binary_data_output": "yes"}),
            "parameters.binary_data_output: expected true or false, got a string",
        ),
        (
            json.dumps(body_of()).replace('"data": [4]', '"data": [NaN]').encode(),
            "b.data[0]: expected a whole number, got NaN",
        ),
        (
            json.dumps(body_of()).replace('"data": [4]', '"data": [4], "data": [5]').encode(),
            "the body: the key 'data' is",
        ),
        (
            json.dumps(body_of(id="a")).replace('"id"', '"id": "b", "id"').encode(),
            "the body: the key 'id' is there twice",
        ),
        (b'{"inputs": [], "more": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "the body: nested too deep"),
    ],
)
def test_a_body_that_does_not_fit_is_refused(form: InferForm, body: bytes | dict[str, Any], error: str) -> None:
    assert refusal(form, body).startswith(error)


@pytest.mark.parametrize(
    ("length", "body", "error"),
    [
        ("x", b"{}", f"{LENGTH_HEADER}: expected a whole number, got 'x'"),
        ("-1", b"{}", f"{LENGTH_HEADER}: expected a whole number, got '-1'"),
        ("9" * 5000, b"{}", f"{LENGTH_HEADER}: expected a whole number, got '999"),
        ("3", b"{}", f"{LENGTH_HEADER}: 3, but the body has 2 bytes"),
        ("0", b"{}", "the body is empty; expected a JSON object"),
        ("1", b"{}", "the body is not JSON: "),
        (*in_bytes(size_a=16), "a: expected 12 bytes for the shape [1, 3], got 16"),
        (*in_bytes(size_b=8), "b: binary_data_size is 8, but 4 bytes are left in the body"),
        (*in_bytes(size_a=2**70), "a: binary_data_size is 1,180,591,620,717,411,303,424, but 16 bytes are left"),
        (*in_bytes(data=b""), "a: binary_data_size is 12, but 0 bytes are left in the body"),
        (*in_bytes(data=struct.pack("<3fi", 1, 2, 3, 4) + b"x"), "the body goes on for 1 byte after its tensors"),
        (*in_bytes(data=struct.pack("<3fi", 1, float("nan"), 3, 4)), "a[0][1]: expected a number, got NaN or Infinity"),
    ],
)
def test_lengths_that_lie_are_refused(form: InferForm, length: object, body: bytes, error: str) -> None:
    assert refusal(form, body, length).startswith(error)
    assert refusal(form, body, length).startswith(error), "the same when the JSON is known"


def test_bytes_without_the_header(form: InferForm) -> None:
    assert refusal(form, in_bytes()[1]).startswith(f"tensors as bytes need the header {LENGTH_HEADER}: ")


def test_inputs_that_feed_one_tensor_must_be_equal() -> None:
    inputs = tuple(Tensor(key, "x:0", "int32", (None,)) for key in ("a", "b"))
    form = InferForm(SERVED, Signature(inputs, (Tensor("y", "y:0", "int32", (None,)),)), Settings(max_rows=8))
    given = [{"name": key, "shape": [1], "datatype": "INT32", "data": [1]} for key in ("a", "b")]
    assert form.decode(None, json.dumps({"inputs": given}).encode())[0].keys() == {"a", "b"}
    given[1]["data"] = [2]
    assert refusal(form, {"inputs": given}) == "b: expected the values of a; both feed one tensor"


def test_strings_that_are_no_text_come_out_as_base64_or_bytes() -> None:
    client = small_app("bytes", model_name="m").test_client()
    body = {"inputs": [{"name": "data", "shape": [1], "datatype": "BYTES", "data": [{"b64": "/wA="}]}]}
    answer = client.post("/v2/models/m/infer", json={**body, "outputs": [{"name": "same_bytes"}]})
    assert answer.get_json()["outputs"][0]["data"] == [{"b64": "/wA="}]
    outputs = [{"name": "same_bytes", "parameters": {"binary_data": True}}]
    answer = client.post("/v2/models/m/infer", json={**body, "outputs": outputs})
    assert answer.data.endswith(b"}\2\0\0\0\xff\0")
