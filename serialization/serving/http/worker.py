"""A worker process of the server: it confines itself, loads the model, and answers requests."""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from serialization.checks.confinement import explain_error
from serialization.errors import UserError
from serialization.serving.http.sockets import Sockets
from serialization.serving.limits import Settings

if TYPE_CHECKING:
    from flask import Flask

MakeApp = Callable[..., "Flask"]
PAUSE = 10  # seconds between tries to replace a worker; granian gives up if they are less than 5.5
LONGEST_REPORT = 1 << 17  # bytes, well below the limit of a datagram
_LONGEST_FAILURE = 10_000  # characters of a message to the supervisor
_SHORT = 500  # characters; a longer example is not printed when the server is ready


def _report(reports: socket.socket, failure: str, example: str = "") -> None:
    """In the worker: tell the supervisor that it is ready, or why it cannot start."""
    reports.send(json.dumps([failure[:_LONGEST_FAILURE], example]).encode())


def load_in_worker(make_app: MakeApp, settings: Settings, reports: socket.socket, ending: Any) -> Any:
    """In the worker, before it listens: load the application, and return the function that answers requests."""
    from serialization.serving.http.direct import make_direct
    from serialization.serving.http.predict_route import EXAMPLE
    from serialization.serving.requests import print_exception

    try:
        app = make_app(settings=settings)
        answer, drain = make_direct(app, settings)
    except Exception as error:  # of any kind: the supervisor reports it
        if isinstance(error, (UserError, OSError)):
            _report(reports, explain_error(error))
        else:
            print_exception("a worker")
            _report(reports, "a worker cannot start; its traceback above shows why")
        time.sleep(PAUSE)  # the supervisor replaces this worker when it ends
        os._exit(1)

    def drain_at_the_end() -> None:
        ending.poll(None)
        drain()

    threading.Thread(target=drain_at_the_end, name="drain", daemon=True).start()
    threading.Thread(target=_limit_unread_answers, args=[settings.body_timeout], daemon=True).start()
    gc.collect()
    gc.freeze()  # so that no collection during a request goes through TensorFlow's million objects
    example = app.config[EXAMPLE]
    _report(reports, "", example if len(example) <= _SHORT else "")
    return answer


def _limit_unread_answers(seconds: float) -> None:
    """Once this process listens: make the kernel close connections on which a client reads no answer for `seconds`."""
    with closing(Sockets()) as sockets:
        while True:
            for found in sockets:
                listens = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                if listens and found.family in (socket.AF_INET, socket.AF_INET6):
                    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(seconds * 1000))
                    return  # accepted sockets inherit the option, tcp(7)
            time.sleep(0.01)  # granian does not report when it listens


def run_worker(restrict: Callable[[], None] | None, *arguments: Any) -> None:
    """In the worker: run granian's private worker function, in a process that ends with its supervisor.

    The worker confines itself first. The application is wrapped already, so granian's own wrapper is replaced. Every
    test of a server fails if granian changes its private functions.
    """
    from granian.server import Server

    if restrict is not None:
        restrict()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.setpgid(0, 0)  # Ctrl-C goes to the supervisor alone, which then ends its workers
    threading.Thread(target=_end_with_supervisor, daemon=True).start()
    atexit.register(_leave)
    module: Any = importlib.import_module("granian.server.mp")
    module._wsgi_call_wrap = lambda answer, *_: answer
    Server._spawn_wsgi_worker(*arguments)


def _end_with_supervisor() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


def _leave() -> None:
    """End the worker at once: granian's threads would abort in an interpreter that is shutting down."""
    with suppress(OSError):  # the disk is full
        sys.stdout.flush()
    os._exit(0)
