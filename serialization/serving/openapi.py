"""Describes a server in OpenAPI 3.1, from the signature of its model."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

from serialization.graph.signature import Tensor
from serialization.run.json_values import find_rule
from serialization.serving.http.predict_route import PREDICT
from serialization.serving.requests import INPUT, OUTPUT
from serialization.serving.wire.image_format import FORM, RANGE, list_content_types
from serialization.serving.wire.npy_format import CONTENT_TYPES

if TYPE_CHECKING:
    from serialization.serving.http.version import Version

_REFUSALS = {
    "400": "The body does not fit; the error names the place",
    "404": "No such route",
    "405": "The route does not take this method",
    "406": "The answer has no .npy form",
    "408": "The body did not arrive in time",
    "413": "The body is too long",
    "415": "The content type is not one of those listed",
    "422": "The model refuses the values, or its answer is not finite",
    "500": "A fault of the server",
    "503": "Too many requests are in flight, memory is short, or the server is ending",
    "504": "The model took too long",
}


def describe_api(versions: Sequence[Version], kept: Sequence[Version]) -> dict[str, Any]:
    """The document at /openapi.json, for the versions that answer of all models, and all that are loaded.

    The first answers at /api/predict.
    """
    error = {"$ref": "#/components/schemas/Error"}
    refusals = {
        status: {"description": text, "content": {"application/json": {"schema": error}}}
        for status, text in _REFUSALS.items()
    }
    others = {status: refusals[status] for status in ("405", "500", "503")}
    first, several = versions[0], versions if len(versions) > 1 else ()
    named = {f"{PREDICT}/{version.served.name}": {"post": _predict(version, refusals)} for version in several}
    protocols = [protocol for version in (*kept, *versions) for protocol in version.protocols]
    return {
        "openapi": "3.1.0",
        "info": {"title": f"Predictions of {', '.join(version.path for version in versions)}", "version": "1"},
        "servers": [{"url": "."}],  # where this document is: a proxy may have it below a path
        "paths": {
            PREDICT: {"post": _predict(first, refusals, "predict")},
            **named,
            "/": {"get": _get("page", "A page to try the model on", "text/html", others)},
            "/healthz": {"get": _get("health", "The process is alive", "application/json", others)},
            "/readyz": {"get": _get("readiness", "Requests are answered", "application/json", others)},
            "/metrics": {"get": _get("metrics", "Metrics for Prometheus", "text/plain", others)},
            "/openapi.json": {"get": _get("describe", "This document", "application/json", others)},
            **{path: item for protocol in protocols for path, item in protocol.describe_paths().items()},
        },
        "components": {
            "schemas": {
                "Error": {
                    "type": "object",
                    "properties": {"error": {"type": "string"}, "request_id": {"type": "string"}},
                    "required": ["error", "request_id"],
                }
            }
        },
    }


def _predict(version: Version, refusals: dict[str, Any], operation: str = "") -> dict[str, Any]:
    """The operation that predicts with a model."""
    signature, settings = version.engine.signature, version.settings
    request = _body(INPUT, signature.inputs, settings.max_rows, settings.nonfinite_inputs)
    npy = {"schema": {"type": "string", "contentMediaType": "application/x-npy"}}
    one_in = len(signature.inputs) == 1 and signature.inputs[0].dtype != "string"
    one_out = len(signature.outputs) == 1 and signature.outputs[0].dtype != "string"
    return {
        "summary": f"Predict with the model{'' if operation else ' ' + version.served.name}",
        "operationId": operation or f"predict_{version.served.name}",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": request, "example": json.loads(version.example)},
                **(dict.fromkeys(CONTENT_TYPES, npy) if one_in else {}),
                **{name: _image(name) for name in list_content_types(signature)},
            },
        },
        "responses": {
            "200": {
                "description": "The prediction",
                "content": {
                    "application/json": {"schema": _body(OUTPUT, signature.outputs, None, settings.nonfinite)},
                    **({"application/x-npy": npy} if one_out else {}),
                },
            },
            **refusals,
        },
    }


def _image(content_type: str) -> dict[str, Any]:
    """A body that is an image, or a form with a file for each."""
    if content_type != FORM:
        return {"schema": {"type": "string", "contentMediaType": content_type}}
    files = {"type": "array", "items": {"type": "string", "contentMediaType": "image/*"}, "minItems": 1}
    return {"schema": {"type": "object", "properties": {"image": files, RANGE: {"type": "string"}}}}


def _get(operation: str, summary: str, content_type: str, refusals: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object"} if content_type == "application/json" else {"type": "string"}
    answers = {"200": {"description": summary, "content": {content_type: {"schema": schema}}}}
    return {"summary": summary, "operationId": operation, "responses": {**answers, **refusals}}


def _body(key: str, tensors: Sequence[Tensor], max_rows: int | None, nonfinite: str = "error") -> dict[str, Any]:
    schemas = {tensor.key: _schema(tensor, max_rows, nonfinite) for tensor in tensors}
    optional = {tensor.key for tensor in tensors if tensor.default is not None}
    return _object({key: next(iter(schemas.values())) if len(schemas) == 1 else _object(schemas, optional)})


def _object(properties: dict[str, Any], optional: Collection[str] = ()) -> dict[str, Any]:
    required = [key for key in properties if key not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _schema(tensor: Tensor, max_rows: int | None, nonfinite: str) -> dict[str, Any]:
    """Nested arrays of the tensor's shape; `max_rows` is None for an output."""
    schema = _value(tensor, nonfinite)
    if tensor.shape is None:
        return {"description": f"{tensor}: values, or lists of them nested as deep as the model takes"}
    for axis, size in reversed(list(enumerate(tensor.shape))):
        schema = {"type": "array", "items": schema}
        if size is not None:
            schema |= {"minItems": size, "maxItems": size}
        elif axis == 0 and max_rows is not None:
            schema |= {"minItems": 1, "maxItems": max_rows}
    return {**schema, "description": str(tensor)}


def _value(tensor: Tensor, nonfinite: str) -> dict[str, Any]:
    rule = find_rule(tensor.dtype)
    if rule is None or rule.kind == "string":
        base64 = _object({"b64": {"type": "string", "contentEncoding": "base64"}})
        return {"oneOf": [{"type": "string"}, base64]}
    if rule.kind == "bool":
        return {"type": "boolean"}
    limits = {"minimum": rule.least, "maximum": rule.most}
    if rule.kind == "int":
        return {"type": "integer", **limits}
    number = {"type": "number", **limits}
    words = {"null": {"type": "null"}, "string": {"enum": ["NaN", "Infinity", "-Infinity"]}}
    words["allow"] = {"oneOf": [*words.values()]}  # in a request
    return {"oneOf": [number, words[nonfinite]]} if nonfinite in words else number
