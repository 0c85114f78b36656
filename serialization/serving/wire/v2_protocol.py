"""The Open Inference Protocol over HTTP, which KServe calls V2: health, metadata and predictions below /v2.

Source: inference_rest.md of kserve/open-inference-protocol. A POST needs no Content-Type: tritonclient sends none.
Every body is JSON, those of health too: the kserve client reads them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any

import msgspec

import serialization
from serialization.console import make_printable
from serialization.graph.signature import Signature, Tensor
from serialization.serving.limits import Settings
from serialization.serving.requests import RequestError, decode_path
from serialization.serving.wire.protocol import Call, Document, ServedModel
from serialization.serving.wire.v2_bodies import LENGTH_HEADER, InferForm, read_length
from serialization.serving.wire.v2_tensors import name_datatype

_MODEL = re.compile(r"/v2/models/(?P<name>[^/]+)(?:/versions/(?P<version>[^/]+))?(?:/(?P<what>ready|infer))?")
_HEADER = f"HTTP_{LENGTH_HEADER.upper().replace('-', '_')}"  # in a WSGI environ
# The protocol has no status for values that a model refuses; its specification gives 400 for what a client sent.
_STATUSES = {422: 400}


class OpenInference:
    """The routes of the model below /v2."""

    prefix = "/v2/"

    def __init__(self, served: ServedModel, signature: Signature, settings: Settings) -> None:
        self._served = served
        self._signature = signature
        self._form = InferForm(served, signature, settings)
        self._find_infer = lru_cache(64)(self._match_infer)  # few different paths are in use

    def find_call(self, environ: dict[str, Any], *, ready: bool) -> Call | Document:
        method = environ["REQUEST_METHOD"]
        if method == "POST":
            return self._find_infer(environ["PATH_INFO"], environ.get(_HEADER))
        path = decode_path(environ["PATH_INFO"]).rstrip("/")
        found = _MODEL.fullmatch(path)
        document = self._find_document(path, found, ready=ready)
        if document is None:
            self._require_infer(path)
            raise RequestError(405, f"{make_printable(path)} takes POST, not {make_printable(method)}", Allow="POST")
        if method not in ("GET", "HEAD"):
            message = f"{make_printable(path)} takes GET and HEAD, not {make_printable(method)}"
            raise RequestError(405, message, Allow="GET, HEAD")
        return document

    def refuse(self, status: int, message: str) -> tuple[int, bytes]:
        return _STATUSES.get(status, status), msgspec.json.encode({"error": message})

    def _match_infer(self, path: str, head_length: str | None) -> Call:
        path = decode_path(path).rstrip("/")
        if self._find_document(path, _MODEL.fullmatch(path), ready=True) is not None:
            raise RequestError(405, f"{make_printable(path)} takes GET and HEAD, not POST", Allow="GET, HEAD")
        self._require_infer(path)
        for tensor in (*self._signature.inputs, *self._signature.outputs):
            name_datatype(tensor)
        length = None if head_length is None else read_length(head_length)
        return Call("/v2/models/{name}/infer", partial(self._form.decode, length))

    def _find_document(self, path: str, found: re.Match[str] | None, *, ready: bool) -> Document | None:
        """The document at this path; None if there is none."""
        if path == "/v2":
            extensions = ["binary_tensor_data"]
            server = {"name": "serialization", "version": serialization.__version__, "extensions": extensions}
            return _document("/v2", server)
        if path == "/v2/health/live":
            return _document(path, {"live": True})
        if path == "/v2/health/ready":
            return _document(path, {"ready": ready}, 200 if ready else 503)
        if found is None or found["what"] == "infer":
            return None
        require_served(self._served, found["name"], found["version"])
        if found["what"] == "ready":
            answer = {"name": self._served.name, "ready": ready}
            return _document("/v2/models/{name}/ready", answer, 200 if ready else 503)
        return _document("/v2/models/{name}", self._describe_model())

    def _require_infer(self, path: str) -> None:
        """Raise RequestError if no prediction of this model is at the path."""
        found = _MODEL.fullmatch(path)
        if found is None:
            where = f"predictions are at /v2/models/NAME/infer; {self._served.name_models()}"
            raise RequestError(404, f"nothing is at {make_printable(path)}; {where}")
        require_served(self._served, found["name"], found["version"])

    def _describe_model(self) -> dict[str, Any]:
        others = [version for version, refused in self._served.list_others().items() if not refused]
        return {
            "name": self._served.name,
            "versions": sorted({*others, self._served.version}, key=int),
            "platform": self._served.platform,
            "inputs": [_describe_tensor(tensor) for tensor in self._signature.inputs],
            "outputs": [_describe_tensor(tensor) for tensor in self._signature.outputs],
        }

    def describe_paths(self) -> dict[str, Any]:
        model = f"/v2/models/{self._served.name}"
        not_ready = {"503": _content("Not ready: the server is ending", "ready")}
        documents = {
            "/v2": ("The server, in the Open Inference Protocol (KServe V2)", "extensions"),
            "/v2/health/live": ("The process is alive", "live"),
            "/v2/health/ready": ("Requests are answered", "ready"),
        }
        for base in (model, f"{model}/versions/{self._served.version}"):
            documents[base] = ("The model's name, versions, inputs and outputs", "inputs")
            documents[f"{base}/ready"] = ("The model answers requests", "ready")
        paths: dict[str, Any] = {
            path: {"get": {"summary": what, "responses": {"200": _content(what, key), **_refusals("405", "500")}}}
            for path, (what, key) in documents.items()
        }
        for path, item in paths.items():
            item["get"]["responses"] |= not_ready if path.endswith("/ready") else _refusals("503")
        refusals = _refusals("400", "404", "405", "408", "413", "415", "500", "501", "503", "504")
        for base in (model, f"{model}/versions/{self._served.version}"):
            what = "Predict, in the Open Inference Protocol (KServe V2)"
            answer = _content("The outputs, as JSON; or as bytes behind it, if the request asks for them", "outputs")
            answer["content"]["application/octet-stream"] = {}
            content = {"application/json": {"schema": {"type": "object"}}, "application/octet-stream": {}}
            paths[f"{base}/infer"] = {
                "post": {
                    "summary": what,
                    "requestBody": {"required": True, "content": content},
                    "responses": {"200": answer, **refusals},
                }
            }
        return paths


def require_served(served: ServedModel, name: str, version: str | None) -> None:
    """Raise RequestError if a request names another model, or another version of this one."""
    if name != served.name:
        raise RequestError(404, f"no model {make_printable(name) or 'without a name'}; {served.name_models()}")
    if version not in (None, served.version):
        found = make_printable(version or "")
        raise RequestError(404, f"no version {found} of the model {served.name}; the version here is {served.version}")


def _document(route: str, value: Mapping[str, Any], status: int = 200) -> Document:
    return Document(route, msgspec.json.encode(value), status)


def _describe_tensor(tensor: Tensor) -> dict[str, Any]:
    shape = [-1 if size is None else size for size in tensor.shape or ()]
    return {"name": tensor.key, "datatype": name_datatype(tensor), "shape": shape}


def _content(description: str, key: str) -> dict[str, Any]:
    schema = {"type": "object", "required": [key]}
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _refusals(*statuses: str) -> dict[str, Any]:
    return {status: _content("The error", "error") for status in statuses}
