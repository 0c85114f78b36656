"""Runs granian: this process supervises; worker processes load the model and answer."""

from __future__ import annotations

import atexit
import gc
import importlib
import multiprocessing
import multiprocessing.connection
import os
import shlex
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serialization.checks.confinement import confine, explain_error, needed_environment
from serialization.errors import UserError
from serialization.serving.http.sockets import Sockets
from serialization.serving.limits import Settings

if TYPE_CHECKING:
    from flask import Flask

MakeApp = Callable[..., "Flask"]
_SHORT = 500  # characters of an example that is shown when requests are answered
_MORE_THREADS = 4  # than requests may be in flight: these answer that there are too many, and every other route
_IDLE = 600  # seconds that granian keeps a thread that has nothing to do; at most these
_AGAIN = 10  # seconds until a worker that could not be replaced is tried again; granian gives up on less than 5.5
_WATCHED = (Path("/proc/self/task"),)  # relay.py looks whether a thread waits for a processor
_NOTICE = 0.5  # seconds between "no more requests on this connection" and the end of the last one


def announce_server(what: str, bodies: Sequence[str], url: str, example: str) -> None:
    """Say that requests are answered from now on, and how to make one: with these bodies, the example, or a browser."""
    print(f"serving {what} on {url}; Ctrl-C ends it; try", flush=True)
    shown = bodies or ([example] if example else [])
    for body in shown:
        data = shlex.quote(body)
        print(f"curl -X POST -H 'Content-Type: application/json' {url}/api/predict -d {data}", flush=True)
    if not shown:
        print(f"{url}/ in a browser", flush=True)


def run_server(
    make_app: MakeApp,
    settings: Settings,
    announce: Callable[[str, str], None],
    readable: Sequence[Path] | None = None,
    *,
    host: str,
    port: int,
    workers: int,
    grace: float,
) -> None:
    """Serve the application until SIGINT or SIGTERM; `announce` is given the URL, and a body to ask with.

    `make_app` is pickled and called in each worker, with the settings. Before that, each worker confines itself to
    reading `readable`, unless that is None. A worker that dies is replaced; the others go on
    where that cannot be done. At the end, which SIGHUP asks for too, requests in flight are finished, for at most
    `grace` seconds. Raises UserError where the address cannot be had, where `make_app` raises one at the start, and
    where workers die before they answer.
    """
    from granian.constants import HTTPModes, Interfaces
    from granian.http import HTTP1Settings
    from granian.server import Server

    # A forked worker would share locks and threads of this process; TensorFlow is imported in the workers only.
    multiprocessing.set_start_method("spawn", force=True)
    notice = min(_NOTICE, grace / 2)
    hangup = signal.getsignal(signal.SIGHUP)
    with (
        _reserve(host, port) as reserved,
        tempfile.TemporaryDirectory(prefix="serving-") as folder,
        nullcontext() if readable is None else needed_environment(),
    ):
        address = reserved.getsockname()[:2]
        port = address[1]
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        reports: Any = multiprocessing.SimpleQueue()
        # Its end is the news. An Event would do, but setting one waits for ever where a worker died waiting for it.
        ending, served = multiprocessing.Pipe(duplex=False)
        failures: list[str] = []
        granian = Server(
            "",
            address=address[0],
            port=port,
            interface=Interfaces.WSGI,
            # HTTP/2 has no time limit for a connection that says nothing, nor has one on which it may yet come.
            http=HTTPModes.http1,
            workers=workers,
            blocking_threads=settings.max_in_flight + _MORE_THREADS,
            blocking_threads_idle_timeout=_IDLE,
            http1_settings=HTTP1Settings(header_read_timeout=round(settings.body_timeout * 1000)),
            respawn_failed_workers=True,
            respawn_interval=0,
            workers_kill_timeout=grace - notice,  # type: ignore[arg-type]  # a process is joined with it
            log_enabled=False,
        )
        stop = partial(_stop, granian, served, notice)

        @granian.on_startup
        def start() -> None:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: stop())
            # Granian would replace all workers, and drop what they are at. nohup(1) has it ignored.
            signal.signal(signal.SIGHUP, signal.SIG_IGN if hangup is signal.SIG_IGN else lambda *_: stop())

            def ready(example: str) -> None:
                _wait_until_it_listens(address)
                with suppress(OSError):  # nobody may listen, or a disk be full: requests are answered all the same
                    announce(url, example)

            read = partial(_read_reports, reports, failures, granian, ready, stop)
            threading.Thread(target=read, daemon=True).start()

        load = partial(
            _load_in_worker,
            make_app,
            replace(settings, metrics_folder=folder if workers > 1 else None),
            reports,
            ending,
        )
        restrict = None if readable is None else partial(confine, [*readable, *_WATCHED], [Path(folder)], [port])
        try:
            granian.serve(spawn_target=partial(_run_worker, restrict), target_loader=load, wrap_loader=False)
        except SystemExit:  # granian gives up on workers that die as soon as they are replaced
            failures.append("the worker processes die as soon as they are started; nothing is served any more")
        if failures:
            raise UserError(failures[0])


def _reserve(host: str, port: int) -> socket.socket:
    """A socket bound to the address, which keeps it for the workers.

    Each worker listens on a socket of its own, with SO_REUSEPORT, which would share the port with a stranger's server
    instead of failing. Bound without it, and given it only then, the address is ours alone.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "this is no name of a host"
        raise UserError(f"no address {host}; {why}; name another --host") from None
    reserved = socket.socket(family)
    try:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(address)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except (OSError, OverflowError) as error:
        reserved.close()
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"cannot listen on {host}:{port}; {reason}; name another --host or --port") from None
    return reserved


def _stop(granian: Any, served: Any, notice: float) -> None:
    """First tell clients, with each answer, to come no more; then end. A second signal ends at once."""
    if served.closed:
        granian.signal_handler_interrupt()
        return
    served.close()

    def end() -> None:
        time.sleep(notice)
        granian.signal_handler_interrupt()

    threading.Thread(target=end, daemon=True).start()


def _wait_until_it_listens(address: tuple[str, int]) -> None:
    """A worker listens a moment after its application is ready, and does not say when."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address[0], address[0])
    while True:
        try:
            socket.create_connection((host, address[1])).close()
        except ConnectionRefusedError:
            time.sleep(0.005)
        else:
            return


def _read_reports(
    reports: Any, failures: list[str], granian: Any, ready: Callable[[str], None], stop: Callable[[], None]
) -> None:
    """In the supervisor: announce when all workers are ready, end everything when one cannot start before that.

    Granian takes a worker that dies within 5.5 seconds of its predecessor for one that cannot start, and gives up.
    """
    unready = granian.workers
    while True:
        failure, example = reports.get()
        if not failure:
            granian.respawned_wrks.clear()  # one that was ready may die whenever it likes
            unready -= 1
            if unready == 0:  # those that come later replace one
                ready(example)
        elif unready > 0:
            failures.append(failure)
            stop()
        else:
            with suppress(OSError):
                print(f"a worker is missing: {failure}; trying again in {_AGAIN} seconds", file=sys.stderr, flush=True)


def _load_in_worker(make_app: MakeApp, settings: Settings, reports: Any, ending: Any) -> Any:
    """In the worker, before it listens: what answers with the application, loaded and warmed up."""
    from serialization.serving.http.direct import make_direct
    from serialization.serving.http.predict_route import EXAMPLE
    from serialization.serving.requests import print_exception

    try:
        app = make_app(settings=settings)
        answer, drain = make_direct(app, settings)
    except Exception as error:  # whatever it is, the supervisor is to know
        if isinstance(error, (UserError, OSError)):
            reports.put((explain_error(error), ""))
        else:
            print_exception("a worker")
            reports.put(("a worker cannot start; its traceback above tells why", ""))
        time.sleep(_AGAIN)  # the supervisor replaces a worker that ends by itself
        os._exit(1)

    def drain_at_the_end() -> None:
        ending.poll(None)
        drain()

    threading.Thread(target=drain_at_the_end, name="drain", daemon=True).start()
    threading.Thread(target=_limit_unread_answers, args=[settings.body_timeout], daemon=True).start()
    gc.collect()
    gc.freeze()  # what is loaded stays: no collection during a request looks through TensorFlow's million objects
    example = app.config[EXAMPLE]
    reports.put(("", example if len(example) <= _SHORT else ""))
    return answer


def _limit_unread_answers(seconds: float) -> None:
    """Once this process listens: have a connection closed whose client takes nothing of its answer for so long."""
    with closing(Sockets()) as sockets:
        while True:
            for found in sockets:
                listens = found.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                if listens and found.family in (socket.AF_INET, socket.AF_INET6):
                    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(seconds * 1000))
                    return  # what is accepted inherits it, tcp(7)
            time.sleep(0.01)  # granian does not say when it listens


def _run_worker(restrict: Callable[[], None] | None, *arguments: Any) -> None:
    """In the worker: what granian would run, its private function, in a process that ends when it should.

    It confines itself first. It finds the application wrapped already. Every test of a server fails when granian calls
    it differently.
    """
    from granian.server import Server

    if restrict is not None:
        restrict()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.setpgid(0, 0)  # Ctrl-C goes to the supervisor alone, which then ends its workers in order
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
    """End the worker at once: granian's threads would ask for an interpreter that is going down, and abort."""
    with suppress(OSError):  # of a full disk
        sys.stdout.flush()
    os._exit(0)
