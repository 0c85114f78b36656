"""TensorFlow Serving's calls, without a connection: predictions, classes, values, metadata and states."""

from __future__ import annotations

from typing import Any

import pytest
from flask import Flask
from rpc_calls import PREDICT, ask, make_environ, make_tensor, predict_request, read_response, services_of
from serving_models import make_app, open_small, small_app

from serialization.formats import protos
from serialization.graph.signature import Signature, Tensor
from serialization.run.predictor import Predictor, open_session
from serialization.serving.limits import Settings
from serialization.serving.rpc.prediction_service import messages
from serialization.tensorflow import np, tf, tf1

SERVICE = PREDICT.removesuffix("Predict")
STATUS = "/tensorflow.serving.ModelService/GetModelStatus"


@pytest.fixture(scope="module")
def two() -> Flask:
    return small_app("two", model_name="m", model_label="stable", max_rows=8)


A, B = make_tensor([[1, 2, 3]]), make_tensor([2], "int32", int_val=[2])


def test_several_inputs_and_outputs(two: Flask) -> None:
    status, body = ask(two, PREDICT, predict_request({"a": A, "b": B}, signature="serving_default"))
    assert status == 200, body
    found = read_response(body)
    assert {key: value.tolist() for key, value in found.items()} == {"sum": [[3, 4, 5]], "positive": [True]}
    spec = messages.PredictResponse.FromString(body).model_spec
    assert (spec.name, spec.version.value, spec.signature_name) == ("m", 1, "serving_default")


def test_an_output_filter_chooses(two: Flask) -> None:
    body = ask(two, PREDICT, predict_request({"a": A, "b": B}, outputs=["positive"]))[1]
    assert list(read_response(body)) == ["positive"]
    status, body = ask(two, PREDICT, predict_request({"a": A, "b": B}, outputs=["sum", "z"]))
    assert (status, body) == (400, b"unknown output 'z'; expected 'sum' and 'positive'")


@pytest.mark.parametrize(
    ("inputs", "error"),
    [
        ({"a": A}, "missing input 'b'"),
        ({}, "missing input 'a'"),
        ({"a": A, "b": B, "c": B}, "unknown input 'c'; expected 'a' and 'b'"),
        ({"a": B, "b": B}, "a: expected the dtype float32, got int32 (3)"),
        (
            {"a": A, "b": make_tensor([2], "int32", int_val=[2, 3])},
            "b: expected 1 values for the shape [1], got 2 in int",
        ),
        ({"a": A, "b": b"\xff"}, "b: the bytes are no TensorProto"),
    ],
)
def test_inputs_that_do_not_fit(two: Flask, inputs: dict[str, Any], error: str) -> None:
    status, body = ask(two, PREDICT, predict_request(inputs))
    assert (status, body.decode().startswith(error)) == (400, True), body


def make_spec(**fields: Any) -> Any:
    spec = messages.ModelSpec(name="m", **{k: v for k, v in fields.items() if k != "version"})
    if "version" in fields:
        spec.version.value = fields["version"]
    return spec


@pytest.mark.parametrize(
    ("fields", "status", "error"),
    [
        ({}, 200, ""),
        ({"version": 1}, 200, ""),
        ({"version_label": "stable"}, 200, ""),
        ({"version": 2}, 404, "Servable not found for request: Specific(m, 2)"),
        ({"version": 0}, 404, "Servable not found for request: Specific(m, 0)"),
        ({"version_label": "new"}, 400, "Unrecognized servable version label: new"),
        ({"version_label": ""}, 400, "Unrecognized servable version label: "),
        ({"signature_name": "none"}, 412, 'Serving signature key "none" not found.'),
    ],
)
def test_models_versions_labels_and_signatures(two: Flask, fields: dict[str, Any], status: int, error: str) -> None:
    given = {"a": A.SerializeToString(), "b": B.SerializeToString()}
    request = messages.PredictRequest(model_spec=make_spec(**fields), inputs=given).SerializeToString()
    found, body = ask(two, PREDICT, request)
    assert found == status, body
    assert status == 200 or body.decode() == error


@pytest.mark.parametrize(
    ("message", "status", "error"),
    [
        (b"", 400, "Missing ModelSpec"),
        (b"\xff\xff\xff", 400, "the message is damaged"),
        (b"\x12\x7f", 400, "the message is damaged"),
        (b"\x12\x03\x0a\x01\xff", 400, "the message is damaged"),
        (b"\x0a\x02\x0a\x05", 400, "the message is damaged"),
        (predict_request({"a": A}, name="z"), 404, "Servable not found for request: Latest(z)"),
    ],
)
def test_other_bytes_and_models(two: Flask, message: bytes, status: int, error: str) -> None:
    found, body = ask(two, PREDICT, message)
    assert (found, body.decode().startswith(error)) == (status, True), body


def test_metadata(two: Flask) -> None:
    request = messages.GetModelMetadataRequest(metadata_field=["signature_def"], model_spec=make_spec())
    status, body = ask(two, f"{SERVICE}GetModelMetadata", request.SerializeToString())
    response = messages.GetModelMetadataResponse.FromString(body)
    assert (status, response.model_spec.version.value) == (200, 1)
    packed = response.metadata["signature_def"]
    assert packed.type_url == "type.googleapis.com/tensorflow.serving.SignatureDefMap"
    signatures = messages.SignatureDefMap.FromString(packed.value).signature_def
    found = protos.SignatureDef.FromString(signatures["serving_default"])
    assert found.method_name == "tensorflow/serving/predict"
    assert tf.TensorShape(found.inputs["a"].tensor_shape).as_list() == [None, 3]
    assert (found.inputs["b"].name, tf.as_dtype(found.outputs["positive"].dtype).name) == ("in/b:0", "bool")
    for fields, error in (
        ([], "GetModelMetadataRequest must specify at least one metadata_field"),
        (["signature_def", "z"], "Metadata field z is not supported"),
    ):
        request = messages.GetModelMetadataRequest(metadata_field=fields, model_spec=make_spec())
        assert ask(two, f"{SERVICE}GetModelMetadata", request.SerializeToString()) == (400, error.encode())
    request = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
    assert ask(two, f"{SERVICE}GetModelMetadata", request.SerializeToString()) == (400, b"Missing ModelSpec")


@pytest.mark.parametrize(
    ("fields", "status", "error"),
    [
        ({}, 200, b""),
        ({"version": 1}, 200, b""),
        ({"version_label": "stable"}, 200, b""),
        ({"version": 2}, 404, b"Could not find version 2 of model m"),
        ({"version_label": "new"}, 400, b"Unrecognized servable version label: new"),
    ],
)
def test_states(two: Flask, fields: dict[str, Any], status: int, error: bytes) -> None:
    request = messages.GetModelStatusRequest(model_spec=make_spec(**fields)).SerializeToString()
    found, body = ask(two, STATUS, request)
    assert found == status
    if status != 200:
        assert body == error
        return
    (state,) = messages.GetModelStatusResponse.FromString(body).model_version_status
    assert (state.version, state.state, state.status.error_code) == (1, 30, 0)
    assert state.HasField("status")


def test_the_state_of_a_server_that_ends_and_of_no_model() -> None:
    app = small_app("two", model_name="m")
    app.config["SERVING"].draining = True
    body = ask(app, STATUS, messages.GetModelStatusRequest(model_spec=make_spec()).SerializeToString())[1]
    assert messages.GetModelStatusResponse.FromString(body).model_version_status[0].state == 40, "UNLOADING"
    assert ask(app, STATUS, b"") == (400, b"Missing ModelSpec")


def test_methods_that_are_not_here(two: Flask) -> None:
    for method in (f"{SERVICE}MultiInference", "/tensorflow.serving.ModelService/HandleReloadConfigRequest"):
        status, body = ask(two, method, b"")
        assert status == 501
        assert body.decode().startswith(f"{method} is not answered here; these are: Predict, Classify, ")


def example_app(method: str) -> Flask:
    """A model of serialized examples, which it parses."""

    def load() -> tuple[Any, Signature]:
        with tf1.Graph().as_default() as graph:
            examples = tf1.placeholder(tf.string, [None], name="examples")
            features = {"v": tf.io.FixedLenFeature([2], tf.float32), "w": tf.io.FixedLenFeature([], tf.float32, 1.0)}
            parsed = tf.io.parse_example(examples, features)
            scores = tf.multiply(parsed["v"], parsed["w"][:, None], name="scores")
            tf.fill(tf.shape(scores), b"\xff", name="classes")
            tf.reduce_sum(scores, axis=1, name="outputs")
        keys = ("outputs",) if method == "regress" else ("classes", "scores")
        dtypes = {"outputs": "float32", "scores": "float32", "classes": "string"}
        outputs = tuple(Tensor(key, f"{key}:0", dtypes[key], None) for key in keys)
        inputs = (Tensor("inputs", "examples:0", "string", (None,)),)
        return open_session(graph), Signature(inputs, outputs, method=f"tensorflow/serving/{method}")

    return make_app("examples", load, Settings(model_name="m", max_rows=4))


def make_example(**features: list[float]) -> bytes:
    made = {name: tf.train.Feature(float_list={"value": value}) for name, value in features.items()}
    return bytes(tf.train.Example(features=tf.train.Features(feature=made)).SerializeToString())


def example_request(*examples: bytes, context: bytes | None = None) -> bytes:
    request = messages.ExampleRequest(model_spec=make_spec())
    if context is None:
        request.input.example_list.examples.extend(examples)
    else:
        request.input.example_list_with_context.examples.extend(examples)
        request.input.example_list_with_context.context = context
    return bytes(request.SerializeToString())


def test_classes() -> None:
    app = example_app("classify")
    message = example_request(make_example(v=[1, 2]), make_example(v=[3, 4], w=[2]))
    status, body = ask(app, f"{SERVICE}Classify", message)
    assert status == 200, body
    response = messages.ClassificationResponse.FromString(body)
    rows = [[(one.label, one.score) for one in row.classes] for row in response.result.classifications]
    assert rows == [[("\ufffd", 1.0), ("\ufffd", 2.0)], [("\ufffd", 6.0), ("\ufffd", 8.0)]], "labels are text"
    assert response.model_spec.name == "m"
    status, body = ask(app, f"{SERVICE}Regress", message)
    assert (status, body[:46]) == (400, b"Expected regression signature method_name to b")


def test_values_and_a_context() -> None:
    app = example_app("regress")
    message = example_request(make_example(v=[1, 2]), make_example(v=[1, 2], w=[5]), context=make_example(w=[10]))
    status, body = ask(app, f"{SERVICE}Regress", message)
    assert status == 200, body
    result = messages.RegressionResponse.FromString(body).result
    assert [one.value for one in result.regressions] == [30, 15], "an example's own features go before the context's"


@pytest.mark.parametrize(
    ("message", "status", "error"),
    [
        (example_request(), 400, "examples: expected 1 to 4 rows, got 0"),
        (messages.ExampleRequest(model_spec=make_spec()).SerializeToString(), 400, "examples: expected 1 to 4 rows, g"),
        (example_request(*[b""] * 5), 400, "examples: expected 1 to 4 rows, got 5"),
        (example_request(b"", b"\xff"), 400, "examples[1]: the bytes are no tf.train.Example"),
        (example_request(b""), 422, "the model refuses the values: "),
        (b"", 400, "Missing ModelSpec"),
        (b"\xff", 400, "the message is damaged"),
    ],
)
def test_examples_that_do_not_fit(message: bytes, status: int, error: str) -> None:
    found, body = ask(example_app("regress"), f"{SERVICE}Regress", message)
    assert (found, body.decode().startswith(error)) == (status, True), body


def test_a_model_without_examples_takes_none(two: Flask) -> None:
    status, body = ask(two, f"{SERVICE}Classify", example_request(b""))
    assert status == 400
    assert body.startswith(b"Expected classification signature method_name to be tensorflow/serving/classify. Was: ")


def test_an_input_with_a_default_may_be_left_out() -> None:
    def load() -> tuple[Any, Signature]:
        with tf1.Graph().as_default() as graph:
            x = tf1.placeholder(tf.float32, [None], name="x")
            factor = tf1.placeholder_with_default(tf.constant(3.0), [], name="factor")
            tf.multiply(x, factor, name="y")
        default = tf.make_tensor_proto(3.0).SerializeToString()
        inputs = (Tensor("x", "x:0", "float32", (None,)), Tensor("factor", "factor:0", "float32", (), default))
        return open_session(graph), Signature(inputs, (Tensor("y", "y:0", "float32", (None,)),))

    app = make_app("default", load, Settings(model_name="m"))
    assert read_response(ask(app, PREDICT, predict_request({"x": make_tensor([1, 2])}))[1])["y"].tolist() == [3, 6]
    both = predict_request({"x": make_tensor([1]), "factor": make_tensor(2.0)})
    assert read_response(ask(app, PREDICT, both)[1])["y"].tolist() == [2]


def test_answers_hold_nan() -> None:
    app = small_app("log", model_name="m")
    status, body = ask(app, PREDICT, predict_request({"x": make_tensor([[0, 1]])}))
    assert (status, read_response(body)["log"].tolist()) == (200, [[-np.inf, 0]])


def test_rows_of_a_batch_are_divided() -> None:
    app = small_app("matrices", model_name="m")
    route = app.config["SERVING"]
    predict = Predictor(*open_small("matrices"))
    answers: list[tuple[int, bytes]] = []
    service = services_of(app).find(PREDICT)
    rows = [np.full((count, 8), count, np.float32) for count in (1, 3, 2)]
    messages = [predict_request({"x": make_tensor(value)}) for value in rows]
    reply = lambda status, _, body: answers.append((status, body))  # noqa: E731
    route.answer([route.admit(make_environ(PREDICT, message), reply, lambda _: service) for message in messages])
    for value, (status, body) in zip(rows, answers, strict=True):
        assert status == 200
        np.testing.assert_allclose(read_response(body)["y"], predict({"x": value})["y"], rtol=1e-4, atol=1e-4)
