"""Answers predictions through granian's own reply function, without WSGI: later, and several at once.

In WSGI a thread waits for each answer. To wake a thread for each takes longer than a small model, and as long as a row
of a larger one in a batch. What granian gives its own WSGI wrapper takes an answer from any thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

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


def make_direct(app: Flask, settings: Settings) -> tuple[Callable[[Any, dict[str, Any]], object], Callable[[], None]]:
    """What granian is to call with each request, and what is to be called when the server is about to end.

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
        if together is not None and 0 < request.rows < most_rows:
            together.put(request, request.started)
        else:
            route.answer([request])
        return True

    relay = None
    if engine.inline or engine.together:
        relay = Relay(answer, route.bodies.reads, watch, late=_SILENCE / 2)

    def drain() -> None:
        route.draining = True
        if relay:
            relay.end()

    respond: Callable[[Any, dict[str, Any]], object] = relay or answer
    return CrossOrigin(settings.cors_origin, route.log).wrap_direct(respond) if settings.cors_origin else respond, drain


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
