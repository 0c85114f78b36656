"""The Flask application that answers with what a model predicts.

POST /api/predict is a WSGI callable of its own, mounted into the application: matching a route and making Flask's
request and response objects takes longer than a small model does.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec
from flask import Flask, Response
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from serialization.predictor import Predictor
from serialization.serving.answers import RequestError, status_line
from serialization.serving.json_format import JsonFormat

PREDICT = "/api/predict"
MAX_BODY_BYTES = 32_000_000
MAX_ROWS = 4096


def make_app(predict: Predictor) -> Flask:
    """The application for one model; it may be called from many threads."""
    app = Flask("freezemodel_serve", static_folder=None)

    @app.errorhandler(HTTPException)
    def refuse(error: HTTPException) -> Response:
        answer = error.get_response()
        body = msgspec.json.encode({"error": error.description})
        headers = [(name, value) for name, value in answer.headers if not name.lower().startswith("content-")]
        return Response(body, error.code, headers, content_type="application/json")

    app.wsgi_app = DispatcherMiddleware(app.wsgi_app, {PREDICT: PredictRoute(predict)})  # type: ignore[method-assign]
    return app


class PredictRoute:
    """POST /api/predict as a WSGI callable."""

    def __init__(self, predict: Predictor) -> None:
        self._predict = predict
        self._format = JsonFormat(predict.signature, MAX_ROWS)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        try:
            body = self._format.encode(self._predict(self._format.decode(read_body(environ))))
            start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
        except RequestError as error:
            body = error.body()
            headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body))), *error.headers]
            start_response(status_line(error.status), headers)
        return [body]


def read_body(environ: dict[str, Any]) -> bytes:
    """The body of a POST of JSON. Raises RequestError for another method or type, a body too long or cut off."""
    if environ["PATH_INFO"]:
        raise RequestError(404, f"nothing is at {PREDICT}{environ['PATH_INFO']}; predictions are at {PREDICT}")
    if environ["REQUEST_METHOD"] != "POST":
        raise RequestError(405, f"{PREDICT} takes POST, not {environ['REQUEST_METHOD']}", Allow="POST")
    if environ.get("CONTENT_TYPE", "").partition(";")[0].strip().lower() != "application/json":
        raise RequestError(415, "the body must be JSON; send the header Content-Type: application/json")
    given = environ.get("CONTENT_LENGTH") or ""
    if given and not (given.isascii() and given.isdigit()):
        raise RequestError(400, f"Content-Length: expected a whole number, got {given!r}")
    length = int(given) if given else None
    if length is None and "HTTP_TRANSFER_ENCODING" not in environ:
        length = 0
    read, chunks, left = environ["wsgi.input"].read, [], MAX_BODY_BYTES + 1 if length is None else length
    if left <= MAX_BODY_BYTES or length is None:
        while left and (chunk := read(left)):
            chunks.append(chunk)
            left -= len(chunk)
    if not left if length is None else length > MAX_BODY_BYTES:
        raise RequestError(413, f"the body is longer than {MAX_BODY_BYTES:,} bytes")
    if left and length is not None:
        raise RequestError(400, f"the body ends after {length - left} of {length} bytes")
    return b"".join(chunks)
