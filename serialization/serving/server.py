"""Granian as the WSGI server: this process supervises, a process of its own loads the model and answers."""

from __future__ import annotations

import atexit
import multiprocessing
import multiprocessing.connection
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from serialization import cli


def serve(make_app: Callable[[], Any], host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serve the application until SIGINT or SIGTERM; `announce` is given the URL once requests are answered.

    `make_app` is pickled and called in the worker. Raises cli.Error where the address cannot be had, and where
    `make_app` raises one.
    """
    from granian.constants import Interfaces
    from granian.server import Server

    # A forked worker would share locks and threads of this process; TensorFlow is imported in the worker only.
    multiprocessing.set_start_method("spawn", force=True)
    with _reserve(host, port) as reserved:
        port = reserved.getsockname()[1]
        failures: list[str] = []
        reports: Any = multiprocessing.SimpleQueue()
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        granian = Server(
            "",
            address=reserved.getsockname()[0],
            port=port,
            interface=Interfaces.WSGI,
            blocking_threads=2,
            backpressure=1024,
            log_enabled=False,
        )
        reader = threading.Thread(target=_read_reports, args=(reports, failures, partial(announce, url)), daemon=True)
        granian.on_startup(reader.start)
        try:
            granian.serve(target_loader=partial(_load_in_worker, make_app, reports), wrap_loader=False)
        except SystemExit:  # a worker has ended by itself
            raise cli.Error(failures[0] if failures else "the worker process died; nothing is served") from None
        if failures:
            raise cli.Error(failures[0])


def _reserve(host: str, port: int) -> socket.socket:
    """A socket bound to the address, which keeps it for the workers.

    Each worker listens on a socket of its own, with SO_REUSEPORT, which would share the port with a stranger's server
    instead of failing. Bound without it, and given it only then, the address is ours alone.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise cli.Error(f"no address {host}; {error.strerror}; name another --host") from None
    reserved = socket.socket(family)
    try:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(address)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError as error:
        reserved.close()
        raise cli.Error(f"cannot listen on {host}:{port}; {error.strerror}; name another --port") from None
    return reserved


def _read_reports(reports: Any, failures: list[str], announce: Callable[[], None]) -> None:
    """In the supervisor: announce the first worker that is ready, end everything when one cannot start."""
    announced = False
    while True:
        failure = reports.get()
        if failure:
            failures.append(failure)
            os.kill(os.getpid(), signal.SIGTERM)
        elif not announced:
            announced = True
            announce()


def _load_in_worker(make_app: Callable[[], Any], reports: Any) -> Any:
    """In the worker, before it listens: the application, loaded and warmed up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.setpgid(0, 0)  # Ctrl-C goes to the supervisor alone, which then ends its workers in order
    threading.Thread(target=_end_with_supervisor, daemon=True).start()
    atexit.register(_leave)
    try:
        app = make_app()
    except (cli.Error, OSError) as error:
        reports.put(cli.one_line(error))
        signal.pause()  # until the supervisor, which would replace a worker that ends by itself, ends this one
        raise
    reports.put("")
    return app


def _end_with_supervisor() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    multiprocessing.connection.wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)


def _leave() -> None:
    """End the worker at once: granian's threads would ask for an interpreter that is going down, and abort."""
    sys.stdout.flush()
    os._exit(0)
