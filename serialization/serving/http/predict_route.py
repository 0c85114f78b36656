"""Answers POST /api/predict without Flask, which takes longer to match a route than a small model takes to run.

The Flask view calls `respond`. The project's own server does not use the view: it calls `admit` and then `answer`, from
any thread, for several requests at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from itertools import accumulate
from typing import Any

from werkzeug.http import parse_options_header

from serialization.console import format_count, make_printable
from serialization.formats.image_files import is_image
from serialization.runtimes.runtime import LateError, MemoryShortError, RunError, UnclearError, ValuesError
from serialization.serving.http.bodies import BodyReader
from serialization.serving.http.content_encoding import name_encoding, unpack_body
from serialization.serving.limits import Settings
from serialization.serving.model.engine import Engine, Predict
from serialization.serving.requests import (
    RequestError,
    RequestInfo,
    RequestLog,
    make_error_body,
    make_internal_error,
    print_exception,
)
from serialization.serving.wire import image_format, npy_format
from serialization.serving.wire.image_format import ImageFormat
from serialization.serving.wire.json_format import JsonFormat
from serialization.serving.wire.npy_format import NpyFormat
from serialization.serving.wire.protocol import Document, Encode, Headers, HttpProtocol, WireProtocol

SERVING = "SERVING"  # the key in app.config of the engine and the predict route, for servers that do not use WSGI
EXAMPLE = "EXAMPLE"  # the key in app.config of the body of a request that works
NAME = "NAME"  # the key in app.config of the model's path, as it is shown
PREDICT = "/api/predict"
_JSON, _NPY = "application/json", "application/x-npy"
_JSON_HEADERS, _NPY_HEADERS = [("Content-Type", _JSON)], [("Content-Type", _NPY)]

Reply = Callable[[int, Headers, bytes], None]
"""Sends an answer: its status, its headers without Content-Length, its body."""


class Request(RequestInfo, gc=False, eq=False):
    """A request on its way to the model."""

    reply: Reply
    values: Mapping[str, Any] = {}  # by input key: arrays, or nested lists that are known to make an array
    rows: int = 0  # of each input, if the request may be run with others; 0 if inputs have different numbers of rows
    protocol: WireProtocol | None = None  # None: that of /api/predict
    route: str = PREDICT  # in the metrics
    encode: Encode | None = None  # of another protocol


Answer = tuple[Request, Headers, bytes]


class PredictRoute:
    """Decodes bodies, runs the model, encodes answers, in any number of threads."""

    def __init__(self, engine: Engine, settings: Settings, log: RequestLog) -> None:
        self.path = PREDICT
        self.engine = engine
        self.settings = settings
        self.log = log
        self._predict = engine.predict
        self._example = engine.example if engine.runs else None
        self._inline = engine.inline
        self._together = engine.together
        self._most = settings.max_in_flight
        self._timeout = settings.timeout
        self._json = JsonFormat(engine.signature, settings.max_rows, settings.nonfinite, settings.nonfinite_inputs)
        self._npy = NpyFormat(engine.signature, settings.max_rows, settings.nonfinite_inputs)
        self._images = ImageFormat(engine.signature, settings.max_rows)
        self._image_types = image_format.list_content_types(engine.signature)
        if self._images.takes_pixels:
            self._json.read_images = self._images.read_json_rows
        self._lock = threading.Lock()  # to add a request in flight; removing one only makes room
        self._in_flight: set[Request] = set()
        self.bodies = BodyReader(settings, self._in_flight.copy)
        log.metrics.watch_in_flight(lambda: len(self._in_flight))
        self._find_decoder = lru_cache(64)(self._choose_decoder)  # few different headers are in use
        self.protocols: Sequence[HttpProtocol] = ()  # beside that of /api/predict
        self.draining = False  # set when the server is about to end: answers then close their connections

    def find_protocol(self, path: str) -> HttpProtocol | None:
        """The protocol that this path belongs to, if it is not that of /api/predict."""
        for protocol in self.protocols:
            if f"{path}/".startswith(protocol.prefix):
                return protocol
        return None

    def respond(self, environ: dict[str, Any], protocol: WireProtocol | None = None) -> tuple[bytes, int, Headers]:
        """The answer to a WSGI request, as a Flask view returns it: body, status, headers."""
        answers: list[tuple[bytes, int, Headers]] = []
        request = self.admit(environ, lambda status, headers, body: answers.append((body, status, headers)), protocol)
        if request is not None:
            self.answer([request])
        return answers[0]

    def admit(self, environ: dict[str, Any], reply: Reply, protocol: WireProtocol | None = None) -> Request | None:
        """Read and decode a request, for `answer`; returns None if it was already answered."""
        request = Request(environ, self.log.new_id(environ), time.perf_counter(), reply, protocol=protocol)
        decode: Any
        try:
            if protocol is not None:
                request.route = protocol.prefix
                found = protocol.find_call(environ, ready=not self.draining)
                request.route = found.route
                if isinstance(found, Document):
                    self._send(found.status, [(request, _JSON_HEADERS, found.body)])
                    return None
                decode = self._unpack(found.decode, environ.get("HTTP_CONTENT_ENCODING"))
            else:
                decode = self._find_decoder(
                    environ["REQUEST_METHOD"],
                    environ.get("HTTP_CONTENT_ENCODING"),
                    environ.get("CONTENT_TYPE", ""),
                    environ.get("QUERY_STRING", ""),
                )
            with self._lock:
                if len(self._in_flight) >= self._most:
                    raise RequestError(
                        503, f"{format_count(self._most, 'request')} in flight already; try again soon", Retry_After="1"
                    )
                self._in_flight.add(request)  # until its answer is sent
            body = self.bodies.read(environ, request.started)
            if protocol is None:
                request.values = decode(body)
            else:
                request.values, request.encode = decode(body)
            if self._together:
                request.rows = _rows(request.values)
        except Exception as error:
            begun = request in self._in_flight
            self._refuse(request, error)
            status = error.status if isinstance(error, RequestError) else 500
            if status == 413 or not (begun or status == 503):  # for 503 there are no threads to spare
                self.drop_body(request)
            return None
        return request

    def drop_body(self, request: Request) -> None:
        """Read on the body of a request that was refused; meanwhile the request counts as one in flight."""
        with self._lock:
            if len(self._in_flight) >= self._most:
                return
            self._in_flight.add(request)
        try:
            self.bodies.drop(request.environ, request.started)
        finally:
            self._in_flight.discard(request)

    def answer(self, requests: Sequence[Request], predict: Predict | None = None) -> None:
        """Run the model once for all rows of these requests and answer them; `predict` replaces the engine's function.

        If there are several requests, each has the same number of rows in all its inputs.
        """
        try:
            results, rows = (predict or self._predict)(self._json.stack([request.values for request in requests]))
            parts = _parts(requests)
            if len(requests) > 1 and set(map(len, results.values())) != {parts[-1].stop}:
                raise ValueError("the model returns another number of rows than it takes")
        except Exception as error:
            if len(requests) == 1 or isinstance(error, LateError):
                for request in requests:
                    self._refuse(request, error)
            else:  # the rows do not fit together, or the model refuses the rows of one request
                for request in requests:
                    self.answer([request], predict)
            return
        self._send_results(requests, parts, results, rows)

    def _choose_decoder(
        self, method: str, encoding: str | None, content_type: str, query: str
    ) -> Callable[[bytes], Mapping[str, Any]]:
        """The function that decodes a body. Raises RequestError if the headers alone are wrong."""
        if method != "POST":
            raise RequestError(405, f"{PREDICT} takes POST, not {make_printable(method)}", Allow="POST")
        return self._unpack(self._choose_format(content_type, query), encoding)

    def _unpack(self, decode: Callable[[bytes], Any], encoding: str | None) -> Callable[[bytes], Any]:
        """The decoder, for bodies in this Content-Encoding."""
        packed = name_encoding(encoding)
        if packed is None:
            return decode
        limit = self.settings.max_body_mb * 1_000_000
        return lambda body: decode(unpack_body(body, packed, limit))

    def _choose_format(self, content_type: str, query: str) -> Callable[[bytes], Mapping[str, Any]]:
        name, _, parameters = content_type.partition(";")
        name, parameters = name.strip().lower(), parameters.replace(" ", "").replace('"', "").lower()
        if name == _JSON and parameters in ("", "charset=utf-8"):
            return self._json.decode
        decode_image = partial(self._images.decode_file, query=query)
        if name == npy_format.ANY_BYTES and self._image_types:
            return lambda body: (decode_image if is_image(body) else self._npy.decode)(body)
        if name in npy_format.CONTENT_TYPES:
            return self._npy.decode
        if name in image_format.CONTENT_TYPES:
            return decode_image
        if name == image_format.FORM:
            boundary = parse_options_header(content_type)[1].get("boundary", "")
            return lambda body: self._images.decode_form(body, boundary, query)
        shown = repr(content_type[:100]) if content_type else "none"
        *taken, last = f"{_JSON} (in UTF-8)", _NPY, *self._image_types
        raise RequestError(415, f"Content-Type: expected {', '.join(taken)} or {last}, got {shown}")

    def _send_results(
        self, requests: Sequence[Request], parts: Sequence[slice | None], results: Mapping[str, Any], rows: int
    ) -> None:
        """Send each request its part of the rows."""
        lists: Mapping[str, Any] = {}
        answers: list[Answer] = []
        for request, part in zip(requests, parts, strict=True):
            try:
                accept = request.environ.get("HTTP_ACCEPT")
                if request.encode is not None:
                    answers.append((request, *request.encode(results, part)))
                elif accept is not None and npy_format.prefers_npy(accept):
                    answers.append((request, _NPY_HEADERS, self._npy.encode(results, part)))
                else:
                    lists = lists or self._json.lists(results)
                    answers.append((request, _JSON_HEADERS, self._json.encode(lists, part)))
            except Exception as error:
                self._refuse(request, error)
            if answers and not self._inline:  # a larger model: a client can send its next request meanwhile
                self._send(200, answers, rows)
                answers = []
        if answers:
            self._send(200, answers, rows)

    def _refuse(self, request: Request, error: Exception) -> None:
        error = self._explain(error)
        if isinstance(error, RequestError):
            status, message, headers = error.status, str(error), error.headers
        else:
            status, message, headers = 500, make_internal_error(request.id), []
        if request.protocol is None:
            body = make_error_body(message, request.id)
        else:
            status, body = request.protocol.refuse(status, message)
        self._send(status, [(request, [*headers, *_JSON_HEADERS], body)])

    def _explain(self, error: Exception) -> Exception:
        """A RequestError for an error of the runtime that the values of a request caused, else the same error."""
        if isinstance(error, LateError):
            return RequestError(504, f"the model took longer than {self._timeout:g} s")
        if isinstance(error, ValuesError) or (isinstance(error, UnclearError) and self._still_runs()):
            return RequestError(422, f"the model refuses the values: {_first_line(error)}")
        if isinstance(error, (MemoryShortError, MemoryError)):
            return RequestError(503, "not enough memory for this request now", Retry_After="1")
        return error

    def _still_runs(self) -> bool:
        """Whether the model still runs on the example: if so, the values of a request caused its error."""
        try:
            return self._example is None or bool(self._predict(self._example))
        except RunError:
            return False

    def _send(self, status: int, answers: Sequence[Answer], rows: int = 0) -> None:
        """Send answers one right after the other, so that the server and its clients wake once for all."""
        requests = [request for request, _, _ in answers]
        self._in_flight.difference_update(requests)
        routes = {request.route for request in requests}
        for route in routes:
            alike = requests if len(routes) == 1 else [request for request in requests if request.route == route]
            self.log.record(alike, route, status, rows)
        ending = [("Connection", "close")] if self.draining else []
        for request, headers, body in answers:
            try:
                request.reply(status, [*headers, ("X-Request-Id", request.id), *ending], body)
            except Exception:  # the other requests still get their answers
                print_exception(f"request {request.id}")


def _rows(values: Mapping[str, Any]) -> int:
    """The number of rows of each input, or 0 if inputs differ."""
    counts = set(map(len, values.values()))
    return counts.pop() if len(counts) == 1 else 0


def _parts(requests: Sequence[Request]) -> Sequence[Any]:
    """The slices of the rows that belong to each request; for a single request None, which means all rows."""
    if len(requests) == 1:
        return (None,)
    ends = list(accumulate([request.rows for request in requests]))
    return list(map(slice, [0, *ends], ends))


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0][:300]
