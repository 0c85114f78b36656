"""Answers predictions through granian's own reply function, without WSGI: later, and several at once.

In WSGI a thread waits for each answer. To wake a thread for each takes longer than a small model, and as long as a row
of a larger one in a batch. What granian gives its own WSGI wrapper takes an answer from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from flask import Flask

from serialization.serving.http.batches import Batches
from serialization.serving.http.cross_origin import CrossOrigin
from serialization.serving.http.gatherer import Gatherer
from serialization.serving.http.predict_route import SERVING, PredictRoute, Request
from serialization.serving.http.relay import Relay
from serialization.serving.http.version import Version
from serialization.serving.http.watch import Watch
from serialization.serving.limits import Settings
from serialization.serving.model.engine import TRIED_ROWS
from serialization.serving.requests import take_prefix_off

_SILENCE = 0.001  # seconds without a request after which a batch need not wait for more, nor a leader for a body


class Direct(NamedTuple):
    """What granian is to call with each request, what takes an admitted request to the model, and the end.

    `submit` may return before the request is answered. `drain` is to be called when the server is about to end.
    """

    respond: Callable[[Any, dict[str, Any]], object]
    submit: Callable[[Request], None]
    drain: Callable[[], None]


def make_direct(app: Flask, settings: Settings) -> Direct:
    """The way of requests to the model and back.

    Granian's private `WSGIProtocol.response_bytes` and the wrapper around WSGI callables are used here, its private
    worker in server.py. Every test of a server fails when granian changes them.
    """
    from granian.wsgi import _callback_wrapper

    through_wsgi = _callback_wrapper(app, {})
    route: PredictRoute = app.config[SERVING]
    prefix = settings.path_prefix
    watch = Watch(_SILENCE)
    route.prepare = partial(_make_queue, route, watch)
    for slot in route.slots.values():
        for version in slot.versions.values():
            route.prepare(version)

    def submit(request: Request) -> None:
        version = request.version
        if version.queue is not None and 0 < request.rows < version.most_rows:
            version.queue.put(request, request.started)
        else:
            route.answer([request])

    def answer(protocol: Any, environ: dict[str, Any]) -> bool:
        """Whether all of the request has been read, for sure, and its thread may wait for others."""
        if prefix:
            take_prefix_off(environ, prefix)
        if not route.takes(environ["PATH_INFO"]):
            through_wsgi(protocol, environ)
            return False
        request = route.admit(environ, protocol.response_bytes)
        if request is None:
            return False
        submit(request)
        return request.version.engine.inline or request.version.engine.together

    relay = None
    engines = [slot.current.engine for slot in route.slots.values()]
    if route.reloaders or any(engine.inline or engine.together for engine in engines):  # a later version may be so
        relay = Relay(answer, route.bodies.reads, watch, late=_SILENCE / 2)

    def drain() -> None:
        route.draining = True
        if relay:
            relay.end()

    respond: Callable[[Any, dict[str, Any]], object] = relay or answer
    if settings.cors_origin:
        respond = CrossOrigin(settings.cors_origin, route.log).wrap_direct(respond)
    return Direct(respond, submit, drain)


def _make_queue(route: PredictRoute, watch: Watch, version: Version) -> None:
    """Give the version the queue in which its requests are run together, if they may be."""
    engine, settings = version.engine, route.settings
    if engine.predict_batch:
        version.most_rows = engine.batch_size
        version.queue = Batches(
            partial(route.answer, predict=engine.predict_batch),
            version.most_rows,
            parallel=engine.parallel_batches,
            batch_timeout=settings.batch_timeout_ms / 1000,
            threads=settings.max_in_flight,
        )
    elif engine.together:
        version.most_rows = TRIED_ROWS

        def run(requests: Sequence[Request]) -> None:
            for part in split_requests(requests, TRIED_ROWS):
                route.answer(part)

        version.queue = Gatherer(run, min(TRIED_ROWS, settings.max_in_flight), watch)


def split_requests(requests: Sequence[Request], most_rows: int) -> Iterator[Sequence[Request]]:
    """Parts of at most so many rows, each request as a whole."""
    if sum([request.rows for request in requests]) <= most_rows:
        yield requests
        return
    start = rows = 0
    for i, request in enumerate(requests):
        if rows + request.rows > most_rows and i > start:
            yield requests[start:i]
            start, rows = i, 0
        rows += request.rows
    yield requests[start:]
