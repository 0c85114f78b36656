"""POST /api/predict, apart from Flask, which takes longer to match a route and make a request than a small model runs.

As a WSGI callable of its own it is mounted into the Flask application by werkzeug's dispatcher. A server that takes
answers later, from any thread, has them through `admit` and then `answer`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import Any

from werkzeug.datastructures import MIMEAccept
from werkzeug.http import parse_accept_header

from serialization.serving import npy_format
from serialization.serving.answers import STATUS_LINES, Desk, RequestError, Visit, error_body, internal_error
from serialization.serving.bodies import BodyReader
from serialization.serving.engine import Engine
from serialization.serving.json_format import JsonFormat
from serialization.serving.npy_format import NpyFormat
from serialization.serving.settings import Settings
from serialization.tensorflow import np, tf

PREDICT = "/api/predict"
_JSON, _NPY = "application/json", "application/x-npy"

Headers = list[tuple[str, str]]
Reply = Callable[[int, Headers, bytes], None]
"""Sends an answer: its status, its headers without Content-Length, its body."""


class Request(Visit, gc=False):
    """A request on its way to the model."""

    reply: Reply
    in_flight: bool = False
    values: Mapping[str, Any] = {}  # of the model's inputs, by key: arrays, or nested lists that are sure to make one
    rows: int = 0  # of all its inputs; 0 if they have none, or one has more than another


Answer = tuple[Request, Headers, bytes]


class PredictRoute:
    """Decodes a body, runs the model, encodes the answer; from as many threads as there are."""

    def __init__(self, engine: Engine, settings: Settings, desk: Desk) -> None:
        self._predict = engine.predict
        self._inline = engine.inline
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
            start_response(STATUS_LINES[status], [*headers, ("Content-Length", str(len(body)))])
            bodies.append(body)

        request = self.admit(environ, reply, environ["PATH_INFO"])
        if request is not None:
            self.answer([request])
        return [] if environ["REQUEST_METHOD"] == "HEAD" else bodies  # some servers would send it

    def admit(self, environ: dict[str, Any], reply: Reply, below: str = "") -> Request | None:
        """Read and decode a request that is then to be answered; None if it is already, with an error.

        `below` is what its path has after PREDICT, where nothing is.
        """
        request = Request(environ, self._desk.new_id(environ), time.perf_counter(), reply)
        try:
            if below:
                raise RequestError(404, f"nothing is at {PREDICT}{below}; predictions are at {PREDICT}")
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

    def answer(self, requests: Sequence[Request]) -> None:
        """Run the model once for all rows of these requests.

        Where there are several, each has the same number of rows in all its inputs.
        """
        try:
            results, rows = self._predict(self._json.stack([request.values for request in requests]))
            ends = list(accumulate(request.rows for request in requests))
            if len(requests) > 1 and any(len(value) != ends[-1] for value in results.values()):
                raise ValueError("the model gives other rows than it takes")
        except Exception as error:
            if len(requests) == 1 or isinstance(error, tf.errors.DeadlineExceededError):
                for request in requests:
                    self._refuse(request, error)
            else:  # each for itself: the rows do not fit together, or the model refuses those of one
                for request in requests:
                    self.answer([request])
            return
        self._send_results(requests, ends, results, rows)

    def _check(self, environ: dict[str, Any]) -> Callable[[bytes], dict[str, Any]]:
        """What decodes the body. Raises RequestError where nothing can be answered, whatever it is."""
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

    def _send_results(
        self, requests: Sequence[Request], ends: Sequence[int], results: Mapping[str, Any], rows: int
    ) -> None:
        """Send each request its rows, which end there."""
        lists: Mapping[str, Any] = {}
        answers: list[Answer] = []
        start = 0
        for request, end in zip(requests, ends, strict=True):
            try:
                accept = request.environ.get("HTTP_ACCEPT")
                if accept is not None and _prefers_npy(accept):
                    encode, content_type, part = self._npy.encode, _NPY, results
                else:
                    lists = lists or self._json.lists(results)
                    encode, content_type, part = self._json.encode, _JSON, lists
                if len(requests) > 1:
                    part = {key: value[start:end] for key, value in part.items()}
                answers.append((request, [("Content-Type", content_type)], encode(part)))
            except Exception as error:
                self._refuse(request, error)
            if answers and not self._inline:  # clients of a larger model ask again while the others are answered
                self._send(200, answers, rows)
                answers = []
            start = end
        if answers:
            self._send(200, answers, rows)

    def _refuse(self, request: Request, error: Exception) -> None:
        error = self._explain(error)
        if isinstance(error, RequestError):
            status, message, headers = error.status, str(error), error.headers
        else:
            status, message, headers = 500, internal_error(request.id), []
        self._send(status, [(request, [*headers, ("Content-Type", _JSON)], error_body(message, request.id))])

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

    def _send(self, status: int, answers: Sequence[Answer], rows: int = 0) -> None:
        """One right after the other, so that the server and its clients wake once for them."""
        with self._lock:
            self._in_flight -= sum(request.in_flight for request, _, _ in answers)
        self._desk.sign_out([request for request, _, _ in answers], PREDICT, status, rows)
        for request, headers, body in answers:
            headers.append(("X-Request-Id", request.id))
            if self.draining:
                headers.append(("Connection", "close"))
            try:
                request.reply(status, headers, body)
            except Exception:  # of others that are answered together each has still its own answer
                internal_error(request.id)


def _rows(values: Mapping[str, Any]) -> int:
    """Of each, if all have the same number, or 0."""
    rows = -1
    for value in values.values():
        count = len(value) if type(value) is list or np.ndim(value) else 0
        if count != rows >= 0:
            return 0
        rows = count
    return rows


@lru_cache(64)  # clients have few ways to say it, and each takes longer to read than a small model runs
def _prefers_npy(accept: str) -> bool:
    best = parse_accept_header(accept, MIMEAccept).best_match((_JSON, *npy_format.CONTENT_TYPES), _JSON)
    return best != _JSON


def _first_line(error: Exception) -> str:
    return str(getattr(error, "message", error)).strip().partition("\n")[0][:300]
