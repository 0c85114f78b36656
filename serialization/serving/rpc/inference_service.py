"""The Open Inference Protocol over gRPC, which KServe calls V2: inference.GRPCInferenceService.

Source: open_inference_grpc.proto of kserve/open-inference-protocol. The rules are those of its form over HTTP
(wire/v2_protocol.py). Tensors are answered as they came: as raw bytes, or as the datatype's list.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import serialization
from serialization.console import make_printable
from serialization.formats.wire import write_varint
from serialization.graph.signature import Signature
from serialization.run.given_feeds import make_default
from serialization.serving.limits import Settings
from serialization.serving.requests import RequestError
from serialization.serving.rpc.message_classes import RpcService, make_messages, parse
from serialization.serving.wire.protocol import MESSAGE, Call, Document, Encode, Headers, Results, ServedModel
from serialization.serving.wire.tensor_rules import list_repeated_inputs, require_equal, require_known, take_defaults
from serialization.serving.wire.v2_fields import refuse_parameters
from serialization.serving.wire.v2_protocol import require_served
from serialization.serving.wire.v2_tensors import TensorReader, TensorWriter, name_datatype
from serialization.tensorflow import np

_SERVICE = "inference.GRPCInferenceService"
_PATH = f"/{_SERVICE}/"
# The list of each datatype in InferTensorContents, and its number. FP16 and BF16 have none: they are sent as raw bytes.
_LISTS = {
    "BOOL": ("bool_contents", 1),
    **dict.fromkeys(("INT8", "INT16", "INT32"), ("int_contents", 2)),
    "INT64": ("int64_contents", 3),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), ("uint_contents", 4)),
    "UINT64": ("uint64_contents", 5),
    "FP32": ("fp32_contents", 6),
    "FP64": ("fp64_contents", 7),
    "BYTES": ("bytes_contents", 8),
}
_LONG = {"FP32": "<f4", "FP64": "<f8"}  # whose list has the bytes of the array
_TENSOR = "name=1 string, datatype=2 string, *shape=3 int64"
messages = make_messages(
    "inference",
    {
        "Flag": "live=1 bool",  # ServerLiveResponse, ServerReadyResponse, ModelReadyResponse
        "ModelRequest": "name=1 string, version=2 string",  # ModelReadyRequest, ModelMetadataRequest
        "ServerMetadataResponse": "name=1 string, version=2 string, *extensions=3 string",
        "TensorMetadata": _TENSOR,
        "ModelMetadataResponse": "name=1 string, *versions=2 string, platform=3 string, *inputs=4 TensorMetadata, "
        "*outputs=5 TensorMetadata",
        "InferParameter": "choice.bool_param=1 bool, choice.int64_param=2 int64, choice.string_param=3 string",
        "InferTensorContents": "*bool_contents=1 bool, *int_contents=2 int32, *int64_contents=3 int64, "
        "*uint_contents=4 uint32, *uint64_contents=5 uint64, *fp32_contents=6 float, *fp64_contents=7 double, "
        "*bytes_contents=8 bytes",
        "InferInputTensor": f"{_TENSOR}, parameters=4 string->InferParameter, contents=5 InferTensorContents",
        "InferRequestedOutputTensor": "name=1 string, parameters=2 string->InferParameter",
        "ModelInferRequest": "model_name=1 string, model_version=2 string, id=3 string, "
        "parameters=4 string->InferParameter, *inputs=5 InferInputTensor, *outputs=6 InferRequestedOutputTensor, "
        "*raw_input_contents=7 bytes",
        "InferOutputTensor": f"{_TENSOR}, parameters=4 string->InferParameter, contents=5 bytes",
        "ModelInferResponse": "model_name=1 string, model_version=2 string, id=3 string, "
        "*outputs=5 InferOutputTensor, *raw_output_contents=6 bytes",
    },
)


class InferenceService(RpcService):
    """Health, metadata and predictions of the model."""

    prefix = _PATH
    services = (_SERVICE,)

    def __init__(self, served: ServedModel, signature: Signature, settings: Settings) -> None:
        self._served = served
        self._signature = signature
        nonfinite = settings.nonfinite_inputs == "allow"
        self._readers = {t.key: TensorReader(t, settings.max_rows, nonfinite=nonfinite) for t in signature.inputs}
        self._writers = {tensor.key: TensorWriter(tensor) for tensor in signature.outputs}
        self._defaults = {t.key: make_default(t.default) for t in signature.inputs if t.default is not None}
        self._repeated = list_repeated_inputs(signature.inputs)

    def find_call(self, environ: dict[str, Any], *, ready: bool) -> Call | Document:
        path = environ["PATH_INFO"]
        name = path.removeprefix(_PATH)
        if name == "ModelInfer":
            for tensor in (*self._signature.inputs, *self._signature.outputs):
                name_datatype(tensor)
            return Call(path, self._decode)
        if name == "ServerLive":
            return Document(path, _write_flag(True))
        if name == "ServerReady":
            return Document(path, _write_flag(ready))
        if name == "ServerMetadata":
            server = {"name": "serialization", "version": serialization.__version__}
            return Document(path, messages.ServerMetadataResponse(**server).SerializeToString())
        if name == "ModelReady":
            return Document(path, _write_flag(ready and self._is_served(environ[MESSAGE])))
        if name == "ModelMetadata":
            return Document(path, self._describe_model(environ[MESSAGE]))
        known = "ServerLive, ServerReady, ModelReady, ServerMetadata, ModelMetadata and ModelInfer"
        raise RequestError(501, f"{make_printable(path)} is not answered here; these are: {known}")

    def _is_served(self, body: bytes) -> bool:
        request = parse(messages.ModelRequest, body)
        return request.name == self._served.name and request.version in ("", self._served.version)

    def _describe_model(self, body: bytes) -> bytes:
        request = parse(messages.ModelRequest, body)
        served = self._served
        require_served(served, request.name, request.version or None)
        model = messages.ModelMetadataResponse(name=served.name, versions=[served.version], platform=served.platform)
        for tensors, described in ((self._signature.inputs, model.inputs), (self._signature.outputs, model.outputs)):
            for tensor in tensors:
                shape = [-1 if size is None else size for size in tensor.shape or ()]
                described.add(name=tensor.key, datatype=name_datatype(tensor), shape=shape)
        return bytes(model.SerializeToString())

    def _decode(self, body: bytes) -> tuple[dict[str, Any], Encode]:
        """The arrays of a ModelInferRequest, by input key, and the encoder of its answer."""
        request = parse(messages.ModelInferRequest, body)
        require_served(self._served, request.model_name, request.model_version or None)
        refuse_parameters(request.parameters, "parameters")
        raw = request.raw_input_contents
        if raw and len(raw) != len(request.inputs):
            expected = f"{len(request.inputs)}, one for each input"
            raise RequestError(400, f"raw_input_contents: expected {expected}, got {len(raw)}")
        values: dict[str, Any] = {}
        for i, given in enumerate(request.inputs):
            name = given.name
            require_known(name, self._readers, "input")
            if name in values:
                raise RequestError(400, f"the input {make_printable(name)!r} is there twice")
            refuse_parameters(given.parameters, make_printable(name))
            values[name] = _read_tensor(self._readers[name], given, raw[i] if raw else None)
        values |= take_defaults(values, self._readers, self._defaults)
        require_equal(values, self._repeated, str)
        wanted = self._choose_outputs(request.outputs)
        is_raw = bool(raw) or any(writer.datatype not in _LISTS for writer in wanted)
        answer = {"model_name": self._served.name, "model_version": self._served.version, "id": request.id}
        head = messages.ModelInferResponse(**answer).SerializeToString()
        return values, partial(self._encode, head, wanted, is_raw)

    def _choose_outputs(self, asked: Sequence[Any]) -> list[TensorWriter]:
        """The outputs that a request asks for: all if it names none."""
        wanted: dict[str, TensorWriter] = {}
        for output in asked:
            require_known(output.name, self._writers, "output")
            if output.name in wanted:
                raise RequestError(400, f"the output {make_printable(output.name)!r} is there twice")
            refuse_parameters(output.parameters, make_printable(output.name))
            wanted[output.name] = self._writers[output.name]
        return list((wanted or self._writers).values())

    def _encode(
        self, head: bytes, wanted: Sequence[TensorWriter], is_raw: bool, results: Results, part: slice | None
    ) -> tuple[Headers, bytes]:
        response = messages.ModelInferResponse()
        for writer in wanted:
            array = np.asarray(results[writer.tensor.key])
            if part is not None:
                array = array[part]
            output = response.outputs.add(name=writer.tensor.key, datatype=writer.datatype, shape=array.shape)
            if is_raw:
                response.raw_output_contents.append(writer.write_bytes(array))
            else:
                output.contents = _write_list(writer, array)
        return [], head + bytes(response.SerializeToString())


def _read_tensor(reader: TensorReader, given: Any, raw: bytes | None) -> Any:
    """The array of an input, from its raw bytes or from the list of its datatype."""
    key, shape = reader.tensor.key, list(given.shape)
    reader.require_fits(given.datatype, tuple(shape))
    if raw is not None:
        if given.contents.ListFields():
            raise RequestError(400, f"{key}: expected contents or raw_input_contents, got both")
        return reader.read_bytes(raw, shape)
    if given.datatype not in _LISTS:
        raise RequestError(400, f"{key}: {given.datatype} has no list in contents; send raw_input_contents")
    name, _ = _LISTS[given.datatype]
    for field, _ in given.contents.ListFields():
        if field.name != name:
            raise RequestError(400, f"{key}: expected {name} for {given.datatype}, got {field.name}")
    values = getattr(given.contents, name)
    return reader.plain.read_values(list(values) if given.datatype == "BYTES" else np.array(values), shape)


def _write_list(writer: TensorWriter, array: Any) -> bytes:
    """The InferTensorContents of an output."""
    name, number = _LISTS[writer.datatype]
    if writer.datatype in _LONG:
        data = array.tobytes()
        return b"".join([write_varint(number << 3 | 2), write_varint(len(data)), data])
    return bytes(messages.InferTensorContents(**{name: array.ravel().tolist()}).SerializeToString())


def _write_flag(value: bool) -> bytes:
    return bytes(messages.Flag(live=value).SerializeToString())
