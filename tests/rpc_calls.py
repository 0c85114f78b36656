"""Messages of gRPC's services, made of the server's own classes, and calls of them without a stub."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import grpc
import numpy as np
from flask import Flask

from serialization.formats import protos
from serialization.formats.dtypes import get_dtype_number
from serialization.formats.wire import write_varint
from serialization.serving.http.direct import make_direct
from serialization.serving.http.predict_route import SERVING
from serialization.serving.rpc import inference_service, prediction_service
from serialization.serving.rpc.rpc_server import RpcServer
from serialization.serving.rpc.services import Services
from serialization.serving.wire.protocol import MESSAGE
from serialization.tensorflow import tf

PREDICT = "/tensorflow.serving.PredictionService/Predict"
INFER = "/inference.GRPCInferenceService/ModelInfer"
CHECK = "/grpc.health.v1.Health/Check"


def make_tensor(value: Any, dtype: str = "float32", **fields: Any) -> Any:
    """A TensorProto of the value's shape, with its values in tensor_content unless `fields` say otherwise."""
    array = np.array(value, dtype)
    proto = protos.TensorProto(dtype=get_dtype_number(dtype), **(fields or {"tensor_content": array.tobytes()}))
    for size in array.shape:
        proto.tensor_shape.dim.add(size=size)
    return proto


def predict_request(
    inputs: Mapping[str, Any], name: str = "m", signature: str = "", outputs: Sequence[str] = ()
) -> bytes:
    """A PredictRequest with these TensorProtos."""
    given = {key: tensor if isinstance(tensor, bytes) else tensor.SerializeToString() for key, tensor in inputs.items()}
    request = prediction_service.messages.PredictRequest(inputs=given, output_filter=outputs)
    request.model_spec.name, request.model_spec.signature_name = name, signature
    return bytes(request.SerializeToString())


def read_response(body: bytes) -> dict[str, Any]:
    """The arrays of a PredictResponse."""
    outputs = prediction_service.messages.PredictResponse.FromString(body).outputs
    return {key: tf.make_ndarray(protos.TensorProto.FromString(value)) for key, value in outputs.items()}


def infer_request(key: str, value: Any, *, raw: bool, name: str = "m", datatype: str = "FP32") -> bytes:
    """A ModelInferRequest with an input of floats."""
    array = np.array(value, np.float32)
    messages = inference_service.messages
    request = messages.ModelInferRequest(model_name=name)
    given = request.inputs.add(name=key, datatype=datatype, shape=array.shape)
    if raw:
        return bytes(request.SerializeToString()) + raw_field(array.tobytes())
    given.contents.fp32_contents.extend(array.ravel().tolist())
    return bytes(request.SerializeToString())


def read_inferred(body: bytes) -> Any:
    """The array of a ModelInferResponse with one output of floats."""
    response = inference_service.messages.ModelInferResponse.FromString(body)
    (output,) = response.outputs
    values = inference_service.messages.InferTensorContents.FromString(output.contents).fp32_contents
    raw = response.raw_output_contents
    return (np.frombuffer(raw[0], np.float32) if raw else np.array(values, np.float32)).reshape(output.shape)


def raw_field(data: bytes) -> bytes:
    """One of the raw_input_contents of a ModelInferRequest, as it is on the wire."""
    return write_varint(7 << 3 | 2) + write_varint(len(data)) + data


def services_of(app: Flask) -> Services:
    version = app.config[SERVING].first.current
    return Services(version.served, version.engine.signature, version.settings)


def ask(app: Flask, method: str, message: bytes, services: Services | None = None) -> tuple[int, bytes]:
    """The status and the message that a call is answered with, without a connection."""
    found = (services or services_of(app)).find(method)
    body, status, _ = app.config[SERVING].respond(make_environ(method, message), lambda _: found)
    return status, body


def make_environ(method: str, message: bytes) -> dict[str, Any]:
    """A call as the server hands it to the predict route."""
    return {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": method,
        "CONTENT_LENGTH": str(len(message)),
        "wsgi.input": BytesIO(message),
        MESSAGE: message,
    }


@contextmanager
def rpc_serving(app: Flask) -> Iterator[tuple[RpcServer, str]]:
    """A gRPC server in this process, and its address."""
    route = app.config[SERVING]
    direct = make_direct(app, route.settings)
    server = RpcServer("127.0.0.1:0", route, direct.submit)
    try:
        yield server, f"127.0.0.1:{server.port}"
    finally:
        server.stop(0).wait()


def call(address: str, method: str, message: bytes = b"", **metadata: str) -> bytes:
    """The answer of a call. Raises grpc.RpcError."""
    with grpc.insecure_channel(address, options=[("grpc.max_send_message_length", -1)]) as channel:
        sent = tuple((name.replace("_", "-"), value) for name, value in metadata.items())
        answer: bytes = channel.unary_unary(method)(message, timeout=120, metadata=sent)
        return answer
