"""TensorFlow Serving's gRPC API: PredictionService and ModelService.

Source: predict.proto, get_model_metadata.proto, get_model_status.proto, classification.proto, regression.proto,
input.proto and model.proto of tensorflow_serving/apis. Statuses and messages are those of its REST API
(wire/tfs_rest.py), but for an unknown signature, which is FAILED_PRECONDITION here.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from google.protobuf.message import DecodeError

from serialization.console import make_printable
from serialization.formats import protos
from serialization.formats.dtypes import get_dtype_number
from serialization.graph.signature import Signature, Tensor
from serialization.run.given_feeds import make_default
from serialization.serving.limits import Settings
from serialization.serving.requests import RequestError
from serialization.serving.rpc.message_classes import RpcService, make_messages, parse
from serialization.serving.rpc.tensor_proto import TensorProtoReader, TensorProtoWriter
from serialization.serving.wire.protocol import MESSAGE, Call, Document, Encode, Headers, Results, ServedModel
from serialization.serving.wire.tensor_rules import list_repeated_inputs, require_equal, require_known, take_defaults
from serialization.serving.wire.tfs_examples import ExampleForm
from serialization.serving.wire.tfs_models import list_states, require_served
from serialization.tensorflow import np

_PREDICTION, _MODEL = "/tensorflow.serving.PredictionService/", "/tensorflow.serving.ModelService/"
_ANY = "type.googleapis.com/tensorflow.serving.SignatureDefMap"
_AVAILABLE, _UNLOADING, _END = 30, 40, 50  # of the enum ModelVersionStatus.State, whose fields are int32 here
_FAILED_PRECONDITION = 9  # of the enum error.Code
# Inputs and outputs are TensorProtos, examples are tf.train.Examples, signatures are SignatureDefs.
messages = make_messages(
    "tensorflow.serving",
    {
        "Int64Value": "value=1 int64",
        "ModelSpec": "name=1 string, choice.version=2 Int64Value, signature_name=3 string, "
        "choice.version_label=4 string",
        "PredictRequest": "model_spec=1 ModelSpec, inputs=2 string->bytes, *output_filter=3 string",
        "PredictResponse": "outputs=1 string->bytes, model_spec=2 ModelSpec",
        "GetModelMetadataRequest": "model_spec=1 ModelSpec, *metadata_field=2 string",
        "Any": "type_url=1 string, value=2 bytes",
        "SignatureDefMap": "signature_def=1 string->bytes",
        "GetModelMetadataResponse": "model_spec=1 ModelSpec, metadata=2 string->Any",
        "GetModelStatusRequest": "model_spec=1 ModelSpec",
        "StatusProto": "error_code=1 int32, error_message=2 string",
        "ModelVersionStatus": "version=1 int64, state=2 int32, status=3 StatusProto",
        "GetModelStatusResponse": "*model_version_status=1 ModelVersionStatus",
        "ExampleList": "*examples=1 bytes",
        "ExampleListWithContext": "*examples=1 bytes, context=2 bytes",
        "Input": "kind.example_list=1 ExampleList, kind.example_list_with_context=2 ExampleListWithContext",
        "ExampleRequest": "model_spec=1 ModelSpec, input=2 Input",  # ClassificationRequest and RegressionRequest
        "Class": "label=1 string, score=2 float",
        "Classifications": "*classes=1 Class",
        "ClassificationResult": "*classifications=1 Classifications",
        "ClassificationResponse": "result=1 ClassificationResult, model_spec=2 ModelSpec",
        "Regression": "value=1 float",
        "RegressionResult": "*regressions=1 Regression",
        "RegressionResponse": "result=1 RegressionResult, model_spec=2 ModelSpec",
    },
)


class PredictionService(RpcService):
    """The calls of both services."""

    prefix = "/tensorflow.serving."
    services = ("tensorflow.serving.PredictionService", "tensorflow.serving.ModelService")

    def __init__(self, served: ServedModel, signature: Signature, settings: Settings) -> None:
        self._served = served
        self._signature = signature
        self._readers = {tensor.key: TensorProtoReader(tensor, settings) for tensor in signature.inputs}
        self._writers = {tensor.key: TensorProtoWriter(tensor) for tensor in signature.outputs}
        self._defaults = {t.key: make_default(t.default) for t in signature.inputs if t.default is not None}
        self._repeated = list_repeated_inputs(signature.inputs)
        self._examples = ExampleForm(signature, settings.max_rows, settings.nonfinite)
        spec = messages.ModelSpec(name=served.name, signature_name=signature.key)
        spec.version.value = int(served.version)
        self._spec = spec
        self._answered = messages.PredictResponse(model_spec=spec).SerializeToString()

    def find_call(self, environ: dict[str, Any], *, ready: bool) -> Call | Document:
        path = environ["PATH_INFO"]
        if path == _PREDICTION + "Predict":
            return Call(path, self._decode)
        if path == _PREDICTION + "Classify":
            return Call(path, partial(self._decode_examples, "classify"))
        if path == _PREDICTION + "Regress":
            return Call(path, partial(self._decode_examples, "regress"))
        if path == _PREDICTION + "GetModelMetadata":
            return Document(path, self._describe_signature(environ[MESSAGE]))
        if path == _MODEL + "GetModelStatus":
            return Document(path, self._tell_state(environ[MESSAGE], ready=ready))
        known = "Predict, Classify, Regress, GetModelMetadata and GetModelStatus"
        raise RequestError(501, f"{make_printable(path)} is not answered here; these are: {known}")

    def _require_model(self, request: Any, *, runs: bool = True) -> None:
        """Raise RequestError if a request names another model, or signature if it is to run one."""
        if not request.HasField("model_spec"):
            raise RequestError(400, "Missing ModelSpec")
        spec = request.model_spec
        version = spec.version.value if spec.HasField("version") else None
        label = spec.version_label if spec.HasField("version_label") else None
        require_served(self._served, spec.name, version, label)
        if runs and spec.signature_name not in ("", self._signature.key):
            raise RequestError(412, f'Serving signature key "{make_printable(spec.signature_name)}" not found.')

    def _decode(self, body: bytes) -> tuple[dict[str, Any], Encode]:
        """The arrays of a PredictRequest, by input key, and the encoder of its answer."""
        request = parse(messages.PredictRequest, body)
        self._require_model(request)
        values = {}
        for key, value in request.inputs.items():
            require_known(key, self._readers, "input")
            values[key] = self._readers[key].read(value)
        values |= take_defaults(values, self._readers, self._defaults)
        require_equal(values, self._repeated, str)
        for key in request.output_filter:
            require_known(key, self._writers, "output")
        wanted = dict.fromkeys(request.output_filter or self._writers)
        return values, partial(self._encode, list(wanted))

    def _encode(self, wanted: list[str], results: Results, part: slice | None) -> tuple[Headers, bytes]:
        outputs = {}
        for key in wanted:
            array = np.asarray(results[key])
            outputs[key] = self._writers[key].write(array if part is None else array[part])
        return [], self._answered + messages.PredictResponse(outputs=outputs).SerializeToString()

    def _decode_examples(self, verb: str, body: bytes) -> tuple[dict[str, Any], Encode]:
        request = parse(messages.ExampleRequest, body)
        self._require_model(request)
        given = request.input.example_list_with_context
        examples = given.examples or request.input.example_list.examples
        # A message after another is merged with it: the features of the example replace those of the context.
        rows = [given.context + example for example in examples]
        for i, row in enumerate(rows):
            try:
                protos.Example.FromString(row)
            except DecodeError:
                raise RequestError(400, f"examples[{i}]: the bytes are no tf.train.Example") from None
        return self._examples.take_rows(verb, rows), partial(self._encode_examples, verb)

    def _encode_examples(self, verb: str, results: Results, part: slice | None) -> tuple[Headers, bytes]:
        lists = {
            tensor.key: _list_values(results[tensor.key] if part is None else results[tensor.key][part])
            for tensor in self._signature.outputs
        }
        response: Any
        if verb == "classify":
            response = messages.ClassificationResponse(model_spec=self._spec)
            for row in self._examples.list_classes(lists):
                classes = response.result.classifications.add().classes
                for label, score in row:
                    classes.add(label=label, score=score)
        else:
            response = messages.RegressionResponse(model_spec=self._spec)
            for value in self._examples.list_values(lists):
                response.result.regressions.add(value=value)
        return [], response.SerializeToString()

    def _describe_signature(self, body: bytes) -> bytes:
        request = parse(messages.GetModelMetadataRequest, body)
        self._require_model(request, runs=False)
        if not request.metadata_field:
            raise RequestError(400, "GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != "signature_def":
                raise RequestError(400, f"Metadata field {make_printable(field)} is not supported")
        described = protos.SignatureDef(method_name=self._signature.method)
        for tensor in self._signature.inputs:
            _describe_tensor(tensor, described.inputs[tensor.key])
        for tensor in self._signature.outputs:
            _describe_tensor(tensor, described.outputs[tensor.key])
        signatures = messages.SignatureDefMap(signature_def={self._signature.key: described.SerializeToString()})
        response = messages.GetModelMetadataResponse()
        response.model_spec.name = self._served.name
        response.model_spec.version.value = int(self._served.version)
        response.metadata["signature_def"].type_url = _ANY
        response.metadata["signature_def"].value = signatures.SerializeToString()
        return bytes(response.SerializeToString())

    def _tell_state(self, body: bytes, *, ready: bool) -> bytes:
        request = parse(messages.GetModelStatusRequest, body)
        if not request.HasField("model_spec"):
            raise RequestError(400, "Missing ModelSpec")
        spec = request.model_spec
        if spec.HasField("version_label"):
            self._require_model(request, runs=False)
        states = list_states(self._served, spec.name, spec.version.value if spec.HasField("version") else None)
        response = messages.GetModelStatusResponse()
        for version, refused in states.items():
            state = _END if refused else _AVAILABLE if ready else _UNLOADING
            told = response.model_version_status.add(version=int(version), state=state)
            told.status.SetInParent()
            if refused:
                told.status.error_code, told.status.error_message = _FAILED_PRECONDITION, refused
        return bytes(response.SerializeToString())


def _list_values(array: Any) -> Any:
    """Nested lists of an output, whose strings are text: that of a label in an answer."""

    def read(value: Any) -> Any:
        if isinstance(value, list):
            return [read(part) for part in value]
        return value.decode(errors="replace") if isinstance(value, bytes) else value

    return read(np.asarray(array).tolist())


def _describe_tensor(tensor: Tensor, info: Any) -> None:
    """Fill in a TensorInfo."""
    info.name = tensor.name
    info.dtype = get_dtype_number(tensor.dtype)
    info.tensor_shape.unknown_rank = tensor.shape is None
    for size in tensor.shape or ():
        info.tensor_shape.dim.add(size=-1 if size is None else size)
