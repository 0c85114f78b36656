"""Calls a server of the model `every` by the stubs of tensorflow-serving-api, in an environment of their own.

python tfserving_calls.py HOST:PORT        prints the number of checks
"""

from __future__ import annotations

import sys
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    input_pb2,
    model_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
)

VALUES: dict[str, list[Any]] = {
    "bool": [True, False],
    **{f"uint{bits}": [0, 2**bits - 1] for bits in (8, 16, 32, 64)},
    **{f"int{bits}": [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1] for bits in (8, 16, 32, 64)},
    "fp16": [0.5, -65504.0],
    "bf16": [0.5, -3.0],
    "fp32": [0.1, -3.4e38],
    "fp64": [0.1, -1.7e308],
    "bytes": [b"a\xff", b""],
}
DTYPES = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32", "fp64": "float64", "bytes": "string"}


def make_spec(**fields: Any) -> Any:
    return model_pb2.ModelSpec(**{"name": "every", **fields})


def check(address: str) -> int:
    with grpc.insecure_channel(address) as channel:
        prediction = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        models = model_service_pb2_grpc.ModelServiceStub(channel)
        return check_predictions(prediction) + check_models(prediction, models) + check_errors(prediction)


def make_inputs(rows: int, *, listed: bool) -> dict[str, Any]:
    """TensorProtos with tensor_content, or with lists, as TensorFlow's C++ writes them."""
    inputs = {}
    for name, values in VALUES.items():
        array = tf.constant([values] * rows, DTYPES.get(name, name)).numpy()
        proto = tf.make_tensor_proto(array)
        if listed and name in ("fp32", "fp64"):
            proto.ClearField("tensor_content")
            getattr(proto, "float_val" if name == "fp32" else "double_val").extend(array.ravel().tolist())
        inputs[name] = proto
    return inputs


def check_predictions(prediction: Any) -> int:
    done = 0
    for rows, listed, outputs in ((1, False, []), (3, True, []), (2, False, ["fp32_out", "bytes_out"])):
        request = predict_pb2.PredictRequest(
            model_spec=make_spec(), inputs=make_inputs(rows, listed=listed), output_filter=outputs
        )
        response = prediction.Predict(request, timeout=60)
        assert (response.model_spec.name, response.model_spec.version.value) == ("every", 1)
        assert response.model_spec.signature_name == "serving_default"
        assert set(response.outputs) == set(outputs or [f"{name}_out" for name in VALUES])
        for key, value in response.outputs.items():
            name = key.removesuffix("_out")
            expected = tf.constant([VALUES[name]] * rows, DTYPES.get(name, name)).numpy()
            found = tf.make_ndarray(value)
            assert (found.shape, found.dtype) == (expected.shape, expected.dtype), (key, found)
            assert (found == expected).all(), (key, found)
            done += 1
    floats = predict_pb2.PredictRequest(model_spec=make_spec(), inputs=make_inputs(1, listed=False))
    answer = prediction.Predict(floats, timeout=60).outputs["fp32_out"]
    assert np.array_equal(np.array(answer.float_val, np.float32), np.array([0.1, -3.4e38], np.float32)), answer
    filled = make_inputs(2, listed=False)
    filled["fp32"].CopyFrom(tf.make_tensor_proto(5.0, shape=[2, 2]))
    answer = prediction.Predict(predict_pb2.PredictRequest(model_spec=make_spec(), inputs=filled), timeout=60)
    assert tf.make_ndarray(answer.outputs["fp32_out"]).tolist() == [[5, 5], [5, 5]]
    return done + 2


def check_models(prediction: Any, models: Any) -> int:
    request = get_model_metadata_pb2.GetModelMetadataRequest(model_spec=make_spec(), metadata_field=["signature_def"])
    response = prediction.GetModelMetadata(request, timeout=60)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    found = signatures.signature_def["serving_default"]
    assert set(found.inputs) == set(VALUES)
    assert found.inputs["fp32"].dtype == tf.float32.as_datatype_enum
    assert tf.TensorShape(found.outputs["fp32_out"].tensor_shape).as_list() == [None, 2]
    status = models.GetModelStatus(get_model_status_pb2.GetModelStatusRequest(model_spec=make_spec()), timeout=60)
    (state,) = status.model_version_status
    available = get_model_status_pb2.ModelVersionStatus.State.Value("AVAILABLE")
    assert (state.version, state.state, state.status.error_message) == (1, available, "")
    return 5


def check_errors(prediction: Any) -> int:
    good = make_inputs(1, listed=False)
    short = {**good, "fp32": tf.make_tensor_proto([[1.0, 2.0]])}
    short["fp32"].tensor_content = short["fp32"].tensor_content[:-1]
    example = input_pb2.Input(example_list=input_pb2.ExampleList(examples=[tf.train.Example()]))
    done = 0
    for spec, inputs, code, message in (
        (make_spec(name="none"), good, "NOT_FOUND", "Servable not found for request: Latest(none)"),
        (make_spec(version={"value": 9}), good, "NOT_FOUND", "Servable not found for request: Specific(every, 9)"),
        (make_spec(version_label="none"), good, "INVALID_ARGUMENT", "Unrecognized servable version label: none"),
        (make_spec(signature_name="x"), good, "FAILED_PRECONDITION", 'Serving signature key "x" not found.'),
        (make_spec(), {**good, "z": good["fp32"]}, "INVALID_ARGUMENT", "unknown input 'z'"),
        (make_spec(), short, "INVALID_ARGUMENT", "fp32: expected 8 bytes for the shape [1, 2], got 7"),
    ):
        require_refusal(prediction.Predict, predict_pb2.PredictRequest(model_spec=spec, inputs=inputs), code, message)
        done += 1
    request = classification_pb2.ClassificationRequest(model_spec=make_spec(), input=example)
    require_refusal(prediction.Classify, request, "INVALID_ARGUMENT", "Expected classification signature method_name")
    request = inference_pb2.MultiInferenceRequest()
    require_refusal(prediction.MultiInference, request, "UNIMPLEMENTED", "MultiInference is not answered here")
    return done + 2


def require_refusal(ask: Any, request: Any, code: str, message: str) -> None:
    refused = None
    try:
        ask(request, timeout=60)
    except grpc.RpcError as error:
        refused = error
    assert refused is not None, f"not refused: {message}"
    assert (refused.code().name, message in refused.details()) == (code, True), refused
    assert "x-request-id" in dict(refused.trailing_metadata())


if __name__ == "__main__":
    print(check(sys.argv[1]))
