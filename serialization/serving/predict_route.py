"""POST /api/predict, as a WSGI callable of its own.

It is mounted into the Flask application by werkzeug's dispatcher: matching a route and making Flask's request and
response objects takes longer than a small model does.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from serialization.serving import npy_format
from serialization.serving.answers import STATUS_LINES, Desk, RequestError, error_body, internal_error
from serialization.serving.bodies import BodyReader
from serialization.serving.json_format import JsonFormat
from serialization.serving.npy_format import NpyFormat
from serialization.serving.settings import Settings
from serialization.signature import Signature
from serialization.tensorflow import tf

PREDICT = "/api/predict"
_JSON, _NPY = "application/json", "application/x-npy"

Predict = Callable[[Mapping[str, Any]], tuple[dict[str, Any], int]]
"""Runs the model; with the results comes how many rows it ran at once, 0 where it knows no rows."""


class PredictRoute:
    """Decodes a body, runs the model, encodes the answer; from as many threads as there are."""

    def __init__(self, predict: Predict, signature: Signature, settings: Settings, desk: Desk) -> None:
        self._predict = predict
        self._desk = desk
        self._most = settings.max_in_flight
        self._timeout = settings.timeout
        self._bodies = BodyReader(settings)
        self._json = JsonFormat(signature, settings.max_rows, settings.nonfinite)
        self._npy = NpyFormat(signature, settings.max_rows)
        self._lock = threading.Lock()
        self._in_flight = 0
        desk.metrics.watch_in_flight(lambda: self._in_flight)
        self.draining = False  # set when the server is about to end: clients then open no further request here

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        started = time.perf_counter()
        request_id = self._desk.sign_in(environ)
        headers = [("X-Request-Id", request_id)]
        content_type, status, rows = _JSON, 200, 0
        try:
            body, content_type, rows = self._answer(environ, started)
        except RequestError as error:
            status, body = error.status, error_body(str(error), request_id)
            headers += error.headers
        except Exception:
            status, body = 500, error_body(internal_error(request_id), request_id)
        headers += [("Content-Type", content_type), ("Content-Length", str(len(body)))]
        if self.draining:
            headers.append(("Connection", "close"))
        start_response(STATUS_LINES[status], headers)
        self._desk.sign_out(environ, PREDICT, request_id, status, started, rows)
        return [body]

    def _answer(self, environ: dict[str, Any], started: float) -> tuple[bytes, str, int]:
        if environ["PATH_INFO"]:
            raise RequestError(404, f"nothing is at {PREDICT}{environ['PATH_INFO']}; predictions are at {PREDICT}")
        if environ["REQUEST_METHOD"] != "POST":
            raise RequestError(405, f"{PREDICT} takes POST, not {environ['REQUEST_METHOD']}", Allow="POST")
        given = environ.get("CONTENT_TYPE", "")
        decode = self._json.decode if given == _JSON else self._decoder(given)
        if environ.get("HTTP_CONTENT_ENCODING", "identity") != "identity":
            encoding = environ["HTTP_CONTENT_ENCODING"][:100]
            raise RequestError(415, f"Content-Encoding: expected none, got {encoding!r}; send the body as it is")
        with self._lock:
            if self._in_flight >= self._most:
                raise RequestError(503, f"{self._most} requests are in flight; try again soon", Retry_After="1")
            self._in_flight += 1
        try:
            results, rows = self._run(decode(self._bodies.read(environ, started)))
        finally:
            with self._lock:
                self._in_flight -= 1
        accept = environ.get("HTTP_ACCEPT", "*/*")
        if accept != "*/*" and any(name in accept for name in npy_format.CONTENT_TYPES):
            return self._npy.encode(results), _NPY, rows
        return self._json.encode(results), _JSON, rows

    def _decoder(self, content_type: str) -> Callable[[bytes], dict[str, Any]]:
        name, _, parameters = content_type.partition(";")
        name, parameters = name.strip().lower(), parameters.replace(" ", "").replace('"', "").lower()
        if name == _JSON and parameters in ("", "charset=utf-8"):
            return self._json.decode
        if name in npy_format.CONTENT_TYPES:
            return self._npy.decode
        shown = repr(content_type[:100]) if content_type else "none"
        raise RequestError(415, f"Content-Type: expected {_JSON} (in UTF-8) or {_NPY}, got {shown}")

    def _run(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
        try:
            return self._predict(values)
        except tf.errors.DeadlineExceededError:
            raise RequestError(504, f"the model took longer than {self._timeout:g} seconds") from None
        except (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError, tf.errors.FailedPreconditionError) as error:
            # What the signature cannot tell: an index beyond a table, sizes of two inputs that must be the same.
            raise RequestError(422, f"the model refuses the values: {_first_line(error)}") from None
        except tf.errors.ResourceExhaustedError:
            raise RequestError(503, "not enough memory for this request now", Retry_After="1") from None


def _first_line(error: Exception) -> str:
    return str(getattr(error, "message", error)).strip().partition("\n")[0][:300]
