"""KServe V2's calls, without a connection: health, metadata, and tensors as raw bytes or as lists."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from rpc_calls import INFER, ask, infer_request, raw_field
from serving_models import make_app, small_app

from serialization.graph.signature import Signature, make_signature
from serialization.run.predictor import open_session
from serialization.serving.limits import Settings
from serialization.serving.rpc.inference_service import messages
from serialization.tensorflow import np, tf, tf1

SERVICE = INFER.removesuffix("ModelInfer")
LISTS = {
    "BOOL": ("bool", "bool_contents", [True, False]),
    "INT8": ("int8", "int_contents", [-128, 127]),
    "INT16": ("int16", "int_contents", [-(2**15), 2**15 - 1]),
    "INT32": ("int32", "int_contents", [-(2**31), 2**31 - 1]),
    "INT64": ("int64", "int64_contents", [-(2**63), 2**63 - 1]),
    "UINT8": ("uint8", "uint_contents", [0, 255]),
    "UINT16": ("uint16", "uint_contents", [0, 2**16 - 1]),
    "UINT32": ("uint32", "uint_contents", [0, 2**32 - 1]),
    "UINT64": ("uint64", "uint64_contents", [0, 2**64 - 1]),
    "FP32": ("float32", "fp32_contents", [0.5, -(2.0**100)]),
    "FP64": ("float64", "fp64_contents", [0.1, -1.7e308]),
    "BYTES": ("string", "bytes_contents", [b"a\xff", b""]),
}


def identity_app(*dtypes: str, **settings: Any) -> Flask:
    def load() -> tuple[Any, Signature]:
        with tf1.Graph().as_default() as graph:
            for dtype in dtypes:
                tf.identity(tf1.placeholder(dtype, [None, 2], name=dtype), name=f"{dtype}_out")
        return open_session(graph), make_signature(graph, ",".join(dtypes), ",".join(f"{d}_out" for d in dtypes))

    return make_app("identity", load, Settings(**{"model_name": "m", "max_rows": 8, **settings}))


@pytest.fixture(scope="module")
def every() -> Flask:
    return identity_app(*(dtype for dtype, _, _ in LISTS.values()))


@pytest.fixture(scope="module")
def floats() -> Flask:
    return identity_app("float32")


@pytest.fixture(scope="module")
def halves() -> Flask:
    return identity_app("float16", "float32")


def every_request(*outputs: str) -> Any:
    request = messages.ModelInferRequest(model_name="m", id="mine")
    for datatype, (dtype, field, values) in LISTS.items():
        given = request.inputs.add(name=dtype, datatype=datatype, shape=[1, 2])
        getattr(given.contents, field).extend(values)
    for name in outputs:
        request.outputs.add(name=name)
    return request


def test_lists_are_answered_with_lists(every: Flask) -> None:
    status, body = ask(every, INFER, every_request().SerializeToString())
    assert status == 200, body
    response = messages.ModelInferResponse.FromString(body)
    assert (response.model_name, response.model_version, response.id) == ("m", "1", "mine")
    assert not response.raw_output_contents
    found = {output.datatype: output for output in response.outputs}
    for datatype, (dtype, field, values) in LISTS.items():
        output = found[datatype]
        contents = messages.InferTensorContents.FromString(output.contents)
        assert (output.name, list(output.shape)) == (f"{dtype}_out", [1, 2])
        assert list(getattr(contents, field)) == values
        assert [used.name for used, _ in contents.ListFields()] == [field]


def test_raw_bytes_are_answered_with_raw_bytes(every: Flask) -> None:
    request = every_request("bool_out", "string_out")
    parts = []
    for given in request.inputs:
        dtype, _, values = LISTS[given.datatype]
        given.ClearField("contents")
        parts.append(b"\2\0\0\0a\xff\0\0\0\0" if dtype == "string" else np.array(values, dtype).tobytes())
    status, body = ask(every, INFER, request.SerializeToString() + b"".join(map(raw_field, parts)))
    assert status == 200, body
    response = messages.ModelInferResponse.FromString(body)
    assert [output.name for output in response.outputs] == ["bool_out", "string_out"]
    assert list(response.raw_output_contents) == [b"\1\0", b"\2\0\0\0a\xff\0\0\0\0"]
    assert not any(output.contents for output in response.outputs)


def test_halves_are_raw(halves: Flask) -> None:
    request = messages.ModelInferRequest(model_name="m", model_version="1")
    request.inputs.add(name="float16", datatype="FP16", shape=[1, 2])
    request.inputs.add(name="float32", datatype="FP32", shape=[1, 2]).contents.fp32_contents.extend([1, 2])
    error = b"float16: FP16 has no list in contents; send raw_input_contents"
    assert ask(halves, INFER, request.SerializeToString()) == (400, error)
    request.inputs[1].ClearField("contents")
    halfs, singles = np.array([[0.5, 2]], np.float16).tobytes(), np.array([[1, 2]], np.float32).tobytes()
    status, body = ask(halves, INFER, request.SerializeToString() + raw_field(halfs) + raw_field(singles))
    assert (status, list(messages.ModelInferResponse.FromString(body).raw_output_contents)) == (200, [halfs, singles])


def test_an_output_without_a_list_makes_the_answer_raw() -> None:
    def load() -> tuple[Any, Signature]:
        with tf1.Graph().as_default() as graph:
            x = tf1.placeholder(tf.float32, [None], name="x")
            tf.cast(x, tf.bfloat16, name="y")
        return open_session(graph), make_signature(graph, "x", "y,x")

    app = make_app("cast", load, Settings(model_name="m"))
    status, body = ask(app, INFER, infer_request("x", [1.0], raw=False))
    assert status == 200, body
    found = messages.ModelInferResponse.FromString(body).raw_output_contents
    assert list(found) == [b"\x80\x3f", b"\0\0\x80\x3f"]


RAW = infer_request("float32", [[1, 2]], raw=True)
LISTED = infer_request("float32", [[1, 2]], raw=False)


def changed(change: str, value: Any = None) -> bytes:
    request = messages.ModelInferRequest.FromString(LISTED)
    given = request.inputs[0]
    if change == "parameter":
        request.parameters[value].int64_param = 1
    elif change == "output parameter":
        request.outputs.add(name="float32_out").parameters[value].int64_param = 1
    elif change == "outputs":
        for name in value:
            request.outputs.add(name=name)
    elif change == "twice":
        request.inputs.append(given)
    elif change == "other list":
        given.contents.ClearField("fp32_contents")
        given.contents.int_contents.extend([1, 2])
    elif change == "values":
        given.contents.ClearField("fp32_contents")
        given.contents.fp32_contents.extend(value)
    elif change == "shape":
        del given.shape[:]
        given.shape.extend(value)
    else:
        target = given if change in ("name", "datatype") else request
        setattr(target, change, value)
    return bytes(request.SerializeToString())


@pytest.mark.parametrize(
    ("message", "status", "error"),
    [
        (RAW, 200, ""),
        (LISTED, 200, ""),
        (changed("parameter", "priority"), 200, ""),
        (RAW + raw_field(b""), 400, "raw_input_contents: expected 1, one for each input, got 2"),
        (LISTED + raw_field(b"12345678"), 400, "float32: expected contents or raw_input_contents, got both"),
        (
            infer_request("float32", [[1, np.nan]], raw=True),
            400,
            "float32[0][1]: expected a number, got NaN or Infinity",
        ),
        (
            infer_request("float32", [[1, np.inf]], raw=False),
            400,
            "float32[0][1]: expected a number, got NaN or Infini",
        ),
        (changed("values", [1]), 400, "float32: expected 2 values for the shape [1, 2], got 1"),
        (changed("values", [1, 2, 3]), 400, "float32: expected 2 values for the shape [1, 2], got 3"),
        (changed("other list"), 400, "float32: expected fp32_contents for FP32, got int_contents"),
        (changed("values", []), 400, "float32: expected 2 values for the shape [1, 2], got 0"),
        (changed("twice"), 400, "the input 'float32' is there twice"),
        (changed("name", "z"), 400, "unknown input 'z'; expected 'float32'"),
        (changed("datatype", "FP99"), 400, "float32: expected the datatype FP32, got FP99"),
        (changed("datatype", ""), 400, "float32: expected the datatype FP32, got "),
        (changed("shape", [-1, 2]), 400, "float32: expected sizes of 0 or more, got [-1, 2]"),
        (changed("shape", [2**62, 2]), 400, "float32: expected 1 to 8 rows, got 4611686018427387904"),
        (changed("shape", [9, 2]), 400, "float32: expected 1 to 8 rows, got 9"),
        (changed("shape", [0, 2]), 400, "float32: expected 1 to 8 rows, got 0"),
        (changed("shape", [2]), 400, "float32: expected the shape [None, 2], got [2]"),
        (changed("outputs", ["z"]), 400, "unknown output 'z'; expected 'float32_out'"),
        (changed("outputs", ["float32_out"] * 2), 400, "the output 'float32_out' is there twice"),
        (
            changed("parameter", "shared_memory_region"),
            400,
            "parameters: the parameter shared_memory_region is not sup",
        ),
        (changed("output parameter", "classification"), 400, "float32_out: the parameter classification is not suppor"),
        (changed("model_name", "z"), 404, "no model z; the model here is m"),
        (changed("model_version", "2"), 404, "no version 2 of the model m; the version here is 1"),
        (b"", 404, "no model without a name; the model here is m"),
        (b"\xff\xff", 400, "the message is damaged"),
        (b"\x2a\x01\xff", 400, "the message is damaged"),
        (RAW[:-1], 400, "the message is damaged"),
    ],
)
def test_what_is_taken_and_what_is_refused(floats: Flask, message: bytes, status: int, error: str) -> None:
    found, body = ask(floats, INFER, message)
    assert found == status, body
    assert status == 200 or body.decode().startswith(error), body
    assert status == 200 or b"\n" not in body


@pytest.mark.parametrize(
    ("lengths", "error"),
    [
        (b"\1\0\0\0a", "string: expected 2 strings for the shape [1, 2], got 1"),
        (b"\xff\xff\xff\xffa", "string: string 0 ends after the 5 bytes of the tensor"),
        (b"\1\0\0\0a\2\0", "string: string 1 ends after the 7 bytes of the tensor"),
    ],
)
def test_lengths_of_strings_that_lie(lengths: bytes, error: str) -> None:
    request = messages.ModelInferRequest(model_name="m")
    request.inputs.add(name="string", datatype="BYTES", shape=[1, 2])
    found = ask(identity_app("string"), INFER, request.SerializeToString() + raw_field(lengths))
    assert found == (400, error.encode())


def test_integers_beyond_the_datatype() -> None:
    request = messages.ModelInferRequest(model_name="m")
    request.inputs.add(name="int8", datatype="INT8", shape=[1, 2]).contents.int_contents.extend([127, 128])
    found = ask(identity_app("int8"), INFER, request.SerializeToString())
    assert found == (400, b"int8[0][1]: the number is beyond the range of int8")


def test_a_missing_input(halves: Flask) -> None:
    assert ask(halves, INFER, LISTED) == (400, b"missing input 'float16'")


def test_health_and_metadata(floats: Flask) -> None:
    def flag(name: str, message: Any = None) -> bool:
        status, body = ask(floats, SERVICE + name, message.SerializeToString() if message else b"")
        assert status == 200
        return bool(messages.Flag.FromString(body).live)

    assert flag("ServerLive")
    assert flag("ServerReady")
    assert flag("ModelReady", messages.ModelRequest(name="m"))
    assert flag("ModelReady", messages.ModelRequest(name="m", version="1"))
    assert not flag("ModelReady", messages.ModelRequest(name="m", version="2"))
    assert not flag("ModelReady", messages.ModelRequest(name="z"))
    server = messages.ServerMetadataResponse.FromString(ask(floats, f"{SERVICE}ServerMetadata", b"")[1])
    assert server.name == "serialization"
    status, body = ask(floats, f"{SERVICE}ModelMetadata", messages.ModelRequest(name="m").SerializeToString())
    model = messages.ModelMetadataResponse.FromString(body)
    assert (status, model.name, list(model.versions), model.platform) == (200, "m", ["1"], "tensorflow_graphdef")
    assert [(t.name, t.datatype, list(t.shape)) for t in model.inputs] == [("float32", "FP32", [-1, 2])]
    assert [(t.name, t.datatype, list(t.shape)) for t in model.outputs] == [("float32_out", "FP32", [-1, 2])]
    status, body = ask(floats, f"{SERVICE}ModelMetadata", messages.ModelRequest(name="z").SerializeToString())
    assert (status, body) == (404, b"no model z; the model here is m")
    status, body = ask(floats, f"{SERVICE}ModelReady", b"\xff")
    assert (status, body[:22]) == (400, b"the message is damaged")


def test_a_server_that_ends_is_live_and_not_ready() -> None:
    app = small_app("two", model_name="m")
    app.config["SERVING"].draining = True
    request = messages.ModelRequest(name="m").SerializeToString()
    found = [ask(app, SERVICE + name, request) for name in ("ServerLive", "ServerReady", "ModelReady")]
    assert found == [(200, b"\x08\1"), (200, b""), (200, b"")]


def test_methods_and_dtypes_that_are_not_here(floats: Flask) -> None:
    status, body = ask(floats, f"{SERVICE}ModelStreamInfer", b"")
    assert status == 501
    assert body.startswith(f"{SERVICE}ModelStreamInfer is not answered here; these are: ServerLive, ".encode())
    status, body = ask(identity_app("float8_e5m2"), INFER, LISTED)
    assert (status, body[:70]) == (501, b"float8_e5m2: the protocol has no datatype for float8_e5m2; use /api/pr"[:70])
