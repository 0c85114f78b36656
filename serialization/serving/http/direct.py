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
from serialization.serving.http.predict_route import PREDICT, SERVING, Request
from serialization.serving.http.relay import Relay
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
    engine, route = app.config[SERVING]
    prefix = settings.path_prefix
    most_rows = TRIED_ROWS
    watch = Watch(_SILENCE)
    together: Batches | Gatherer | None = None
    if engine.predict_batch:
        most_rows = engine.batch_size
        together = Batches(
            partial(route.answer, predict=engine.predict_batch),
            most_rows,
            parallel=engine.parallel_batches,
            batch_timeout=settings.batch_timeout_ms / 1000,
            threads=settings.max_in_flight,
        )
    elif engine.together:

        def run(requests: Sequence[Request]) -> None:
            for part in split_requests(requests, most_rows):
                route.answer(part)

        together = Gatherer(run, min(most_rows, settings.max_in_flight), watch)

    def submit(request: Request) -> None:
        if together is not None and 0 < request.rows < most_rows:
            together.put(request, request.started)
        else:
            route.answer([request])

    def answer(protocol: Any, environ: dict[str, Any]) -> bool:
        """Whether all of the request has been read, for sure."""
        if prefix:
            take_prefix_off(environ, prefix)
        path, other = environ["PATH_INFO"], None
        if path != PREDICT:
            other = route.find_protocol(path)
            if other is None:
                through_wsgi(protocol, environ)
                return False
        request = route.admit(environ, protocol.response_bytes, other)
        if request is None:
            return False
        submit(request)
        return True

    relay = None
    if engine.inline or engine.together:
        relay = Relay(answer, route.bodies.reads, watch, late=_SILENCE / 2)

    def drain() -> None:
        route.draining = True
        if relay:
            relay.end()

    respond: Callable[[Any, dict[str, Any]], object] = relay or answer
    if settings.cors_origin:
        respond = CrossOrigin(settings.cors_origin, route.log).wrap_direct(respond)
    return Direct(respond, submit, drain)


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
