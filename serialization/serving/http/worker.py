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
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from serialization.checks.confinement import explain_error
from serialization.errors import UserError
from serialization.serving.http.drain import drain_connections, split_grace
from serialization.serving.http.sockets import Sockets
from serialization.serving.limits import Settings

if TYPE_CHECKING:
    from flask import Flask

    from serialization.serving.http.direct import Direct
    from serialization.serving.rpc.rpc_server import RpcServer

MakeApp = Callable[..., "Flask"]
PAUSE = 10  # seconds between tries to replace a worker; granian gives up if they are less than 5.5
# The kinds of report: of the worker, and of a version of a model.
READY, FAILED, DRAINED, LOADED, REFUSED = "ready", "failed", "drained", "loaded", "refused"
LONGEST_REPORT = 1 << 17  # bytes, well below the limit of a datagram
_LONGEST_TEXT = 10_000  # characters of a message to the supervisor
_at_the_end: list[Callable[[], object]] = []  # what the worker does when granian has ended in it
_SHORT = 500  # characters; a longer example is not printed when the server is ready


def _report(reports: socket.socket, kind: str, text: str = "") -> None:
    """In the worker: tell the supervisor that it is ready, with an example; why it cannot start; or that it may end.

    A line about a version of a model is to be shown to people.
    """
    reports.send(json.dumps([kind, os.getpid(), text[:_LONGEST_TEXT]]).encode())


def load_in_worker(
    make_app: MakeApp, settings: Settings, grace: float, reports: socket.socket, ending: Any, rpc: str | None
) -> Any:
    """In the worker, before it listens: load the application, and return the function that answers requests.

    `rpc` is the address for gRPC, if there is to be any.
    """
    from serialization.serving.http.direct import make_direct
    from serialization.serving.http.predict_route import EXAMPLE, SERVING
    from serialization.serving.requests import print_exception

    try:
        app = make_app(settings=settings)
        direct = make_direct(app, settings)
        rpc_server = None if rpc is None else _start_rpc(rpc, app, direct)
    except Exception as error:  # of any kind: the supervisor reports it
        if isinstance(error, (UserError, OSError)):
            _report(reports, FAILED, explain_error(error))
        else:
            print_exception("a worker")
            _report(reports, FAILED, "a worker cannot start; its traceback above shows why")
        time.sleep(PAUSE)  # the supervisor replaces this worker when it ends
        os._exit(1)

    sockets = Sockets()
    notice, longest = split_grace(grace)

    def drain_at_the_end() -> None:
        ending.poll(None)
        direct.drain()
        if rpc_server:
            rpc_server.drain()
        time.sleep(notice)
        drain_connections(sockets, longest, int(rpc.rpartition(":")[2]) if rpc else None)
        if rpc_server:
            rpc_server.stop(grace)
        _report(reports, DRAINED)

    threading.Thread(target=drain_at_the_end, name="drain", daemon=True).start()
    threading.Thread(target=_limit_unread_answers, args=[settings.body_timeout], daemon=True).start()
    gc.collect()
    gc.freeze()  # so that no collection during a request goes through TensorFlow's million objects
    route = app.config[SERVING]
    if route.reloaders:  # TensorFlow's stderr is held back while it loads a model, not that of requests
        sys.stderr = os.fdopen(os.dup(2), "w", 1, sys.stderr.encoding, "backslashreplace")
    for reloader in route.reloaders:
        threading.Thread(target=reloader.run, args=[route, partial(_report, reports)], daemon=True).start()
    example = app.config[EXAMPLE]
    _report(reports, READY, example if len(example) <= _SHORT else "")
    if rpc_server:
        _at_the_end.append(lambda: rpc_server.stop(grace).wait())
    return direct.respond


def _start_rpc(address: str, app: Flask, direct: Direct) -> RpcServer:
    from serialization.serving.http.predict_route import SERVING
    from serialization.serving.rpc.rpc_server import RpcServer

    return RpcServer(address, app.config[SERVING], direct.submit)


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


def run_worker(restrict: Callable[[], None] | None, grace: float, pause: Sequence[float], *arguments: Any) -> None:
    """In the worker: run granian's private worker function, in a process that ends with its supervisor.

    The worker confines itself first, and waits for the only number of `pause`, in seconds. The application is wrapped
    already, so granian's own wrapper is replaced. Every test of a server fails when granian changes its private code.
    """
    from granian.server import Server

    if restrict is not None:
        restrict()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.setpgid(0, 0)  # Ctrl-C goes to the supervisor alone, which then ends its workers
    threading.Thread(target=_end_with_supervisor, args=[grace], daemon=True).start()
    atexit.register(_leave)
    time.sleep(pause[0])
    module: Any = importlib.import_module("granian.server.mp")
    module._wsgi_call_wrap = lambda answer, *_: answer
    try:
        Server._spawn_wsgi_worker(*arguments)
    finally:
        for finish in _at_the_end:
            finish()


def _end_with_supervisor(grace: float) -> None:
    """Wait until the supervisor has ended; then end this worker, which may finish its requests for `grace` seconds."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(grace)
    os._exit(1)  # granian loses a signal that comes while it starts to listen


def _leave() -> None:
    """End the worker at once: granian's threads would abort in an interpreter that is shutting down."""
    with suppress(OSError):  # the disk is full
        sys.stdout.flush()
    os._exit(0)
