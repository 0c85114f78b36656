"""Predictions without WSGI, as granian itself has requests: their answers may come later, and several at once.

In WSGI a thread waits for each answer. To wake a thread for each takes longer than a small model, and as long as a row
of a larger one in a batch. What granian gives its own WSGI wrapper takes an answer from any thread.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from flask import Flask

from serialization.serving.app import SERVING
from serialization.serving.gatherer import Gatherer
from serialization.serving.predict_route import PREDICT, request_rows
from serialization.serving.relay import Relay
from serialization.serving.settings import Settings

_MOST = 8  # requests of a small model that are answered together; with more, clients and server wait for each other
_MANY = 32  # rows; a request that has as many is worth a run of its own


def make_direct(app: Flask, settings: Settings) -> tuple[Callable[[Any, dict[str, Any]], None], Callable[[], None]]:
    """What granian is to call with each request, and what is to be called when the server is about to end.

    Granian's private `WSGIProtocol.response_bytes` and the wrapper around WSGI callables are used here, its private
    worker in server.py. Every test of a server fails when granian changes them.
    """
    from granian.wsgi import _callback_wrapper

    through_wsgi = _callback_wrapper(app, {})
    engine, route = app.config[SERVING]
    batched = engine.batch_size > 1
    hand_on: Callable[..., object] = route.answer_together
    if batched and settings.batch_timeout_ms:  # a thread waits in TensorFlow's scheduler, another takes what comes
        pool = ThreadPoolExecutor(settings.max_in_flight, thread_name_prefix="batch")
        hand_on = partial(pool.submit, hand_on)
    gatherer = Gatherer(hand_on, engine.batch_size if batched else _MOST) if engine.together else None

    def answer(protocol: Any, environ: dict[str, Any]) -> None:
        if environ["PATH_INFO"] != PREDICT:
            through_wsgi(protocol, environ)
            return
        environ["SCRIPT_NAME"], environ["PATH_INFO"] = PREDICT, ""
        request = route.admit(environ, protocol.response_bytes)
        if request is None:
            return
        if gatherer is None:
            route.answer(request)
        elif 0 < request_rows(request) < _MANY:
            gatherer.put(request, request.started)
        else:
            hand_on([request])

    relay = Relay(answer) if engine.inline or engine.together else None

    def drain() -> None:
        route.draining = True
        if relay:
            relay.end()

    return relay or answer, drain
