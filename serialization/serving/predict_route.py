"""POST /api/predict, apart from Flask, which takes longer to match a route and make a request than a small model runs.

As a WSGI callable of its own it is mounted into the Flask application by werkzeug's dispatcher. A server that takes
answers later, from any thread, has them through `admit`, and then `answer` or `answer_together`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import msgspec
from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from serialization.serving import npy_format
from serialization.serving.answers import STATUS_LINES, Desk, RequestError, error_body, internal_error
from serialization.serving.bodies import BodyReader
from serialization.serving.engine import Engine
from serialization.serving.json_format import JsonFormat
from serialization.serving.npy_format import NpyFormat
from serialization.serving.settings import Settings
from serialization.tensorflow import np, tf

if TYPE_CHECKING:
    from numpy.typing import NDArray

PREDICT = "/api/predict"
_JSON, _NPY = "application/json", "application/x-npy"

Headers = list[tuple[str, str]]
Reply = Callable[[int, Headers, bytes], None]
"""Sends an answer: its status, its headers, its body."""


class Request(msgspec.Struct):
    """A request on its way to the model."""

    environ: dict[str, Any]
    reply: Reply
    started: float  # by time.perf_counter
    id: str
    in_flight: bool = False
    values: Mapping[str, NDArray[Any]] = {}  # the model's inputs, by key
    rows: int = 0  # of all its inputs; 0 if they have none, or one has more than another


class PredictRoute:
    """Decodes a body, runs the model, encodes the answer; from as many threads as there are."""

    def __init__(self, engine: Engine, settings: Settings, desk: Desk) -> None:
        self._predict = engine.predict
        self._desk = desk
        self._most = settings.max_in_flight
        self._timeout = settings.timeout
        self._bodies = BodyReader(settings)
        self._json = JsonFormat(engine.signature, settings.max_rows, settings.nonfinite)
        self._npy = NpyFormat(engine.signature, settings.max_rows)
        self._lock = threading.Lock()
        self._in_flight = 0
        desk.metrics.watch_in_flight(lambda: self._in_flight)
        self.draining = False  # set when the server is about to end: clients then open no further request here

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """WSGI: what is answered when this returns."""
        bodies: list[bytes] = []

        def reply(status: int, headers: Headers, body: bytes) -> None:
            start_response(STATUS_LINES[status], headers)
            bodies.append(body)

        request = self.admit(environ, reply)
        if request is not None:
            self.answer(request)
        return bodies

    def admit(self, environ: dict[str, Any], reply: Reply) -> Request | None:
        """Read and decode a request that is then to be answered; None if it is already, with an error."""
        request = Request(environ, reply, time.perf_counter(), self._desk.sign_in(environ))
        try:
            decode = self._check(environ)
            with self._lock:
                if self._in_flight >= self._most:
                    raise RequestError(503, f"{self._most} requests are in flight; try again soon", Retry_After="1")
                self._in_flight += 1
            request.in_flight = True
            request.values = decode(self._bodies.read(environ, request.started))
            request.rows = _rows(request.values)
        except Exception as error:
            self._refuse(request, error)
            return None
        return request

    def answer(self, request: Request) -> None:
        """Run the model for this request alone."""
        try:
            results, rows = self._predict(request.values)
        except Exception as error:
            self._refuse(request, error)
        else:
            self._send(request, results, rows)

    def answer_together(self, requests: Sequence[Request]) -> None:
        """Run the model once for all rows of these requests, each of which has the same number in all its inputs."""
        if len(requests) == 1:
            return self.answer(requests[0])
        try:
            values = {key: np.concatenate([r.values[key] for r in requests]) for key in requests[0].values}
            results, rows = self._predict(values)
            ends = list(accumulate(request.rows for request in requests))
            if any(len(value) != ends[-1] for value in results.values()):
                raise ValueError("the model gives other rows than it takes")
        except tf.errors.DeadlineExceededError as error:
            for request in requests:
                self._refuse(request, error)
        except Exception:  # each for itself: the rows do not fit together, or the model refuses those of one
            for request in requests:
                self.answer(request)
        else:
            for request, start, end in zip(requests, [0, *ends], ends, strict=False):
                self._send(request, {key: value[start:end] for key, value in results.items()}, rows)
        return None

    def _check(self, environ: dict[str, Any]) -> Callable[[bytes], dict[str, Any]]:
        """What decodes the body. Raises RequestError where nothing can be answered, whatever it is."""
        if environ["PATH_INFO"]:
            raise RequestError(404, f"nothing is at {PREDICT}{environ['PATH_INFO']}; predictions are at {PREDICT}")
        if environ["REQUEST_METHOD"] != "POST":
            raise RequestError(405, f"{PREDICT} takes POST, not {environ['REQUEST_METHOD']}", Allow="POST")
        if environ.get("HTTP_CONTENT_ENCODING", "identity") != "identity":
            encoding = environ["HTTP_CONTENT_ENCODING"][:100]
            raise RequestError(415, f"Content-Encoding: expected none, got {encoding!r}; send the body as it is")
        content_type = environ.get("CONTENT_TYPE", "")
        if content_type == _JSON:
            return self._json.decode
        name, _, parameters = content_type.partition(";")
        name, parameters = name.strip().lower(), parameters.replace(" ", "").replace('"', "").lower()
        if name == _JSON and parameters in ("", "charset=utf-8"):
            return self._json.decode
        if name in npy_format.CONTENT_TYPES:
            return self._npy.decode
        shown = repr(content_type[:100]) if content_type else "none"
        raise RequestError(415, f"Content-Type: expected {_JSON} (in UTF-8) or {_NPY}, got {shown}")

    def _send(self, request: Request, results: Mapping[str, Any], rows: int) -> None:
        npy = _prefers_npy(request.environ.get("HTTP_ACCEPT", "*/*"))
        try:
            body = self._npy.encode(results) if npy else self._json.encode(results)
        except Exception as error:
            self._refuse(request, error)
        else:
            self._reply(request, 200, [("Content-Type", _NPY if npy else _JSON)], body, rows)

    def _refuse(self, request: Request, error: Exception) -> None:
        error = self._explain(error)
        if isinstance(error, RequestError):
            status, message, headers = error.status, str(error), error.headers
        else:
            status, message, headers = 500, internal_error(request.id), []
        self._reply(request, status, [*headers, ("Content-Type", _JSON)], error_body(message, request.id))

    def _explain(self, error: Exception) -> Exception:
        """A RequestError for what TensorFlow raises for the values of a request, or for too many of them."""
        if isinstance(error, tf.errors.DeadlineExceededError):
            return RequestError(504, f"the model took longer than {self._timeout:g} seconds")
        refusals = (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError, tf.errors.FailedPreconditionError)
        if isinstance(error, refusals):
            # What the signature cannot tell: an index beyond a table, sizes of two inputs that must be the same.
            return RequestError(422, f"the model refuses the values: {_first_line(error)}")
        if isinstance(error, tf.errors.ResourceExhaustedError):
            return RequestError(503, "not enough memory for this request now", Retry_After="1")
        return error

    def _reply(self, request: Request, status: int, headers: Headers, body: bytes, rows: int = 0) -> None:
        if request.in_flight:
            with self._lock:
                self._in_flight -= 1
        headers += [("X-Request-Id", request.id), ("Content-Length", str(len(body)))]
        if self.draining:
            headers.append(("Connection", "close"))
        self._desk.sign_out(request.environ, PREDICT, request.id, status, request.started, rows)
        try:
            request.reply(status, headers, body)
        except Exception:  # of others that are answered together each has still its own answer
            internal_error(request.id)


def _rows(values: Mapping[str, NDArray[Any]]) -> int:
    first, *others = (len(value) if value.ndim else 0 for value in values.values())
    return 0 if others and set(others) != {first} else first


@lru_cache(64)  # clients have few ways to say it, and each takes longer to read than a small model runs
def _prefers_npy(accept: str) -> bool:
    best = parse_accept_header(accept, MIMEAccept).best_match((_JSON, *npy_format.CONTENT_TYPES), _JSON)
    return best != _JSON


def _first_line(error: Exception) -> str:
    return str(getattr(error, "message", error)).strip().partition("\n")[0][:300]
