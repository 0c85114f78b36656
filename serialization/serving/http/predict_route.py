"""Answers POST /api/predict without Flask, which takes longer to match a route than a small model takes to run.

The Flask view calls `respond`. The project's own server does not use the view: it calls `admit` and then `answer`, from
any thread, for several requests at once.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from serialization.console import format_count
from serialization.runtimes.runtime import LateError
from serialization.serving.http.bodies import BodyReader
from serialization.serving.http.refusal import make_refusal
from serialization.serving.http.slot import Slot
from serialization.serving.http.version import NPY, Version
from serialization.serving.limits import Settings
from serialization.serving.model.engine import Predict
from serialization.serving.requests import (
    RequestError,
    RequestInfo,
    RequestLog,
    decode_path,
    print_exception,
)
from serialization.serving.wire import npy_format
from serialization.serving.wire.protocol import JSON_HEADERS, Document, Encode, Headers, Results, WireProtocol

if TYPE_CHECKING:
    from serialization.serving.http.reload import Reloader

SERVING = "SERVING"  # the key in app.config of the predict route, for servers that do not use WSGI
EXAMPLE = "EXAMPLE"  # the key in app.config of the body of a request that works
PREDICT = "/api/predict"
_NAMED = re.compile(r"/(?:api/predict|v[12]/models)/([^/:]+)(?:/versions/([0-9]{1,20})(?![^/:]))?", re.IGNORECASE)
_NPY_HEADERS = [("Content-Type", NPY)]

Reply = Callable[[int, Headers, bytes], None]
"""Sends an answer: its status, its headers without Content-Length, its body."""


class Request(RequestInfo, gc=False, eq=False):
    """A request on its way to the model."""

    reply: Reply
    version: Version = None  # type: ignore[assignment]  # of the model, from its first look at it on
    values: Mapping[str, Any] = {}  # by input key: arrays, or nested lists that are known to make an array
    rows: int = 0  # of each input, if the request may be run with others; 0 if inputs have different numbers of rows
    protocol: WireProtocol | None = None  # None: that of /api/predict
    route: str = PREDICT  # in the metrics
    model: str = ""  # in the metrics of a server with several models
    encode: Encode | None = None  # of another protocol


Choose = Callable[[Version], WireProtocol]
Answer = tuple[Request, Headers, bytes]


class PredictRoute:
    """Decodes bodies, runs the model, encodes answers, in any number of threads."""

    def __init__(
        self, slots: Sequence[Slot], settings: Settings, log: RequestLog, reloaders: Sequence[Reloader] = ()
    ) -> None:
        self.path = PREDICT
        self.slots = {slot.name: slot for slot in slots}
        self.first = slots[0]
        for slot in slots:
            slot.names = list(self.slots)
        self.reloaders = reloaders  # each is to run in a thread of its own
        self.settings = settings
        self.log = log
        self._most = settings.max_in_flight
        self._timeout = settings.timeout
        self._lock = threading.Lock()  # to add a request in flight; removing one only makes room
        self._in_flight: set[Request] = set()
        self._begun: set[Request] = set()  # from their first look at the model to their answer
        self.bodies = BodyReader(settings, self._in_flight.copy)
        log.metrics.watch_in_flight(lambda: len(self._in_flight))
        log.metrics.watch_models(lambda: {slot.name: slot.count() for slot in slots})
        # Called with each version before requests get it: a server that runs requests together makes its queue.
        self.prepare: Callable[[Version], None] = lambda _: None
        self.draining = False  # set when the server is about to end: answers then close their connections

    def takes(self, path: str) -> bool:
        """Whether a prediction, or a document of another protocol, is asked for at this path."""
        if path == PREDICT or self.first.current.find_protocol(path) is not None:
            return True
        return path.startswith(f"{PREDICT}/") and decode_path(path[len(PREDICT) + 1 :]) in self.slots

    def find_version(self, path: str, named: tuple[str, str] | None = None) -> tuple[Slot | None, Version]:
        """The model that is asked for, if one is, and the version that answers.

        The path tells, or a name and the number of a version, which may be empty.
        """
        if path == PREDICT:
            return self.first, self.first.current
        name, number = named or _find_name(path)
        slot = self.slots.get(name)
        if slot is None:
            return None, self.first.current
        return slot, slot.versions.get(number) or slot.current

    def uses(self, version: Version) -> bool:
        """Whether a request has this version, or may have it in a moment, though it is no longer the current one."""
        return any(request.version in (version, None) for request in self._begun.copy())

    def respond(self, environ: dict[str, Any], choose: Choose | None = None) -> tuple[bytes, int, Headers]:
        """The answer to a WSGI request, as a Flask view returns it: body, status, headers."""
        answers: list[tuple[bytes, int, Headers]] = []
        request = self.admit(environ, lambda status, headers, body: answers.append((body, status, headers)), choose)
        if request is not None:
            self.answer([request])
        return answers[0]

    def admit(
        self, environ: dict[str, Any], reply: Reply, choose: Choose | None = None, named: tuple[str, str] | None = None
    ) -> Request | None:
        """Read and decode a request, for `answer`; returns None if it was already answered.

        Where its path tells neither, `choose` gives its protocol, of a version of the model that is `named`, see
        `find_version`.
        """
        request = Request(environ, self.log.new_id(environ), time.perf_counter(), reply)
        path = environ["PATH_INFO"]
        decode: Any
        try:
            self._begun.add(request)  # before it has the version: see `uses`
            slot, version = self.find_version(path, named)
            request.version = version
            if slot is not None and len(self.slots) > 1:
                request.model = slot.name
            protocol = choose(version) if choose else None if path == PREDICT else version.find_protocol(path)
            request.protocol = protocol
            if protocol is not None:
                request.route = protocol.prefix
                found = protocol.find_call(environ, ready=not self.draining)
                request.route = found.route
                if isinstance(found, Document):
                    self._send(found.status, [(request, JSON_HEADERS, found.body)])
                    return None
                decode = found.decode
                if "HTTP_CONTENT_ENCODING" in environ:
                    decode = version.unpack(decode, environ["HTTP_CONTENT_ENCODING"])
            else:
                decode = version.find_decoder(
                    path,
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
            if version.engine.together:
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

        All have the same version. If there are several, each has the same number of rows in all its inputs.
        """
        version = requests[0].version
        try:
            values = version.json.stack([request.values for request in requests])
            arrays, rows = (predict or version.predict)(values)
            parts = _parts(requests)
            if len(requests) > 1 and set(map(len, arrays.values())) != {parts[-1].stop}:
                raise ValueError("the model returns another number of rows than it takes")
        except Exception as error:
            if len(requests) == 1 or isinstance(error, LateError):
                for request in requests:
                    self._refuse(request, error)
            else:  # the rows do not fit together, or the model refuses the rows of one request
                for request in requests:
                    self.answer([request], predict)
            return
        self._send_results(requests, parts, Results(arrays, version.json.lists), rows)

    def _send_results(
        self, requests: Sequence[Request], parts: Sequence[slice | None], results: Results, rows: int
    ) -> None:
        """Send each request its part of the rows."""
        version = requests[0].version
        answers: list[Answer] = []
        for request, part in zip(requests, parts, strict=True):
            try:
                if request.encode is not None:
                    answers.append((request, *request.encode(results, part)))
                elif (accept := request.environ.get("HTTP_ACCEPT")) and npy_format.prefers_npy(accept):
                    answers.append((request, _NPY_HEADERS, version.npy.encode(results, part)))
                else:
                    answers.append((request, JSON_HEADERS, version.json.encode(results.lists, part)))
            except Exception as error:
                self._refuse(request, error)
            if answers and not version.engine.inline:  # a larger model: a client can send its next request meanwhile
                self._send(200, answers, rows)
                answers = []
        if answers:
            self._send(200, answers, rows)

    def _refuse(self, request: Request, error: Exception) -> None:
        status, headers, body = make_refusal(request, error, self._timeout)
        self._send(status, [(request, headers, body)])

    def _send(self, status: int, answers: Sequence[Answer], rows: int = 0) -> None:
        """Send answers one right after the other, so that the server and its clients wake once for all."""
        requests = [request for request, _, _ in answers]
        self._in_flight.difference_update(requests)
        self._begun.difference_update(requests)
        routes = {request.route for request in requests}
        for route in routes:  # all have the same model
            alike = requests if len(routes) == 1 else [request for request in requests if request.route == route]
            self.log.record(alike, route, status, rows, requests[0].model)
        ending = [("Connection", "close")] if self.draining else []
        for request, headers, body in answers:
            try:
                request.reply(status, [*headers, ("X-Request-Id", request.id), *ending], body)
            except Exception:  # the other requests still get their answers
                print_exception(f"request {request.id}")


@lru_cache(256)
def _find_name(path: str) -> tuple[str, str]:
    """The name of the model in a path, and the number of its version; empty where there is none."""
    found = _NAMED.match(decode_path(path))
    return (found[1], str(int(found[2])) if found[2] else "") if found else ("", "")


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
