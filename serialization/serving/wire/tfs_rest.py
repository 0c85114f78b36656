"""TensorFlow Serving's REST API: predictions, the status and the metadata of the model, below /v1/.

Source: http_rest_api_handler.cc, get_model_status_impl.cc and json_tensor.cc of tensorflow/serving. Answers, statuses
and messages are its own; docs/serving.md lists the requests that this server refuses and TensorFlow Serving does not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

from serialization.console import make_printable
from serialization.formats import protos
from serialization.formats.dtypes import get_dtype_number
from serialization.graph.signature import Signature, Tensor
from serialization.run.json_values import MisfitError, read_json
from serialization.serving.limits import Settings
from serialization.serving.requests import RequestError, decode_path
from serialization.serving.wire.json_format import refuse_other_encodings
from serialization.serving.wire.protocol import Call, Document, Encode, ServedModel
from serialization.serving.wire.tfs_examples import METHODS, ExampleForm
from serialization.serving.wire.tfs_faults import refuse_other_than_object
from serialization.serving.wire.tfs_json import PredictForm
from serialization.serving.wire.tfs_models import list_states, require_served

_VERSION = r"(?:/versions/(?P<version>[0-9]+)|/labels/(?P<label>[^/:]+))?"
_RUN = re.compile(rf"/v1/models/(?P<name>[^/:]+){_VERSION}:(?P<verb>predict|classify|regress)", re.IGNORECASE)
_ASK = re.compile(rf"/v1/models(?:/(?P<name>[^/:]+))?{_VERSION}(?P<metadata>/metadata)?", re.IGNORECASE)
_MOST = 2**63 - 1  # the highest version
# TensorFlow Serving's REST API has no status for values that a model refuses: to it they are invalid arguments.
_STATUSES = {422: 400}


class TensorFlowServing:
    """The routes of the model below /v1/models/."""

    prefix = "/v1/"

    def __init__(self, served: ServedModel, signature: Signature, settings: Settings) -> None:
        self._served = served
        self._signature = signature
        self._predict = PredictForm(signature, settings.max_rows, settings.nonfinite)
        self._examples = ExampleForm(signature, settings.max_rows, settings.nonfinite)
        self._find_run = lru_cache(64)(self._match_run)  # few different paths are in use

    def find_call(self, environ: dict[str, Any], *, ready: bool) -> Call | Document:
        method = environ["REQUEST_METHOD"]
        if method == "POST":
            return self._find_run(environ["PATH_INFO"])
        path = decode_path(environ["PATH_INFO"])
        found = _ASK.fullmatch(path)
        if method not in ("GET", "HEAD") or found is None:
            raise self._malformed(method, path)
        if found["name"] is None:
            raise RequestError(400, "Missing model name in request.")
        if found["metadata"]:
            self._require_model(found)
            return Document("/v1/models/{name}/metadata", self._describe_signature())
        reasons = list_states(self._served, found["name"], _read_version(found["version"]))
        states = [_describe_state(version, refused, ready=ready) for version, refused in reasons.items()]
        return Document("/v1/models/{name}", _write({"model_version_status": states}))

    def refuse(self, status: int, message: str) -> tuple[int, bytes]:
        return _STATUSES.get(status, status), _write({"error": message})

    def _match_run(self, path: str) -> Call:
        path = decode_path(path)
        found = _RUN.fullmatch(path)
        if found is None:
            raise self._malformed("POST", path)
        _read_version(found["version"])  # before the body is looked at
        verb = found["verb"].lower()
        try:
            self._require_model(found)
            refusal = None
        except RequestError as error:
            refusal = error  # once the body is known to be JSON
        return Call(f"/v1/models/{{name}}:{verb}", partial(self._decode, verb, refusal))

    def _decode(self, verb: str, refusal: RequestError | None, body: bytes) -> tuple[Mapping[str, Any], Encode]:
        if verb == "predict" and refusal is None:
            quick = self._predict.decode_quickly(body)
            if quick is not None:
                return quick
        document = refuse_other_than_object(_read_document(body))
        name = document.get("signature_name", "")
        if not isinstance(name, str):
            raise RequestError(400, "'signature_name' key must be a string value.")
        if refusal is not None:
            raise RequestError(refusal.status, str(refusal))
        if name not in ("", self._signature.key):
            raise RequestError(400, f'Serving signature name: "{_show(name)}" not found in signature def')
        if verb == "predict":
            return self._predict.decode(document)
        return self._examples.decode(verb, document)

    def _require_model(self, found: re.Match[str]) -> None:
        """Raise RequestError if the path names another model, version or label."""
        require_served(self._served, found["name"], _read_version(found["version"]), found["label"])

    def _describe_signature(self) -> bytes:
        signature = {
            "inputs": {tensor.key: _describe_tensor(tensor) for tensor in self._signature.inputs},
            "outputs": {tensor.key: _describe_tensor(tensor) for tensor in self._signature.outputs},
            "method_name": self._signature.method,
            "defaults": {},
        }
        spec = {"name": self._served.name, "signature_name": "", "version": self._served.version}
        return _write(
            {"model_spec": spec, "metadata": {"signature_def": {"signature_def": {self._signature.key: signature}}}}
        )

    def _malformed(self, method: str, path: str) -> RequestError:
        return RequestError(400, f"Malformed request: {_show(method)} {_show(path)}")

    def describe_paths(self) -> dict[str, Any]:
        error = {
            "description": "The request does not fit, or names another model",
            "content": _content("error"),
        }
        answers = dict.fromkeys(("400", "404", "500", "503"), error)
        ways = ["", f"/versions/{self._served.version}"]
        ways += [f"/labels/{self._served.label}"] if self._served.label else []
        verbs = [("predict", ""), *((verb, "results") for verb, m in METHODS.items() if m == self._signature.method)]
        paths: dict[str, Any] = {}
        for way in ways:
            base = f"/v1/models/{self._served.name}{way}"
            for path, what, key in (
                (base, "The state of the model, as TensorFlow Serving tells it", "model_version_status"),
                (f"{base}/metadata", "The signature of the model, as TensorFlow Serving tells it", "metadata"),
            ):
                answer = {"description": what, "content": _content(key)}
                paths[path] = {"get": {"summary": what, "responses": {"200": answer, **answers}}}
            for verb, key in verbs:
                what = f"TensorFlow Serving's REST API: {verb}"
                body = {"application/json": {"schema": {"type": "object"}}}
                late = dict.fromkeys(("408", "413", "415", "504"), error)
                answer = {"description": what, "content": _content(key)}
                paths[f"{base}:{verb}"] = {
                    "post": {
                        "summary": what,
                        "requestBody": {"required": True, "content": body},
                        "responses": {"200": answer, **answers, **late},
                    }
                }
        return paths


def _content(key: str) -> dict[str, Any]:
    """The content of an answer: an object that has this key, if one is given."""
    return {"application/json": {"schema": {"type": "object", "required": [key] if key else []}}}


def _read_document(body: bytes) -> Any:
    """The JSON of a body. Raises RequestError."""
    if not body.strip():
        raise RequestError(400, "JSON Parse error: The document is empty")
    try:
        refuse_other_encodings(body)
        return read_json(body.decode())
    except json.JSONDecodeError as error:
        reason = "Invalid value." if error.msg == "Expecting value" else error.msg
        raise RequestError(400, f"JSON Parse error: {reason} at offset: {error.pos}") from None
    except UnicodeDecodeError as error:
        raise RequestError(400, f"JSON Parse error: Invalid encoding in string. at offset: {error.start}") from None
    except MisfitError as misfit:
        raise RequestError(400, f"JSON Parse error: {misfit}") from None


def _read_version(digits: str | None) -> int | None:
    """The version that a path names, if it names one."""
    if digits is None:
        return None
    version = int(digits[:20])  # Python refuses to convert 5,000 digits
    if version > _MOST or len(digits) > 20:
        raise RequestError(400, f"Failed to convert version: {digits[:100]} to numeric.")
    return version


def _describe_state(version: str, refused: str, *, ready: bool) -> dict[str, Any]:
    """The state of a version; one that is refused has ended, as in TensorFlow Serving one that cannot be loaded."""
    state = "END" if refused else "AVAILABLE" if ready else "UNLOADING"
    code = "FAILED_PRECONDITION" if refused else "OK"
    return {"version": version, "state": state, "status": {"error_code": code, "error_message": refused}}


def _describe_tensor(tensor: Tensor) -> dict[str, Any]:
    """A TensorInfo, as protobuf writes it in JSON."""
    dims = [{"size": str(-1 if size is None else size), "name": ""} for size in tensor.shape or ()]
    return {
        "dtype": protos.DataType.Name(get_dtype_number(tensor.dtype)),
        "tensor_shape": {"dim": dims, "unknown_rank": tensor.shape is None},
        "name": tensor.name,
    }


def _write(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, indent=1).encode()


def _show(text: str) -> str:
    return make_printable(text)
