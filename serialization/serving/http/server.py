"""Runs granian: this process supervises worker processes, which load the model and answer."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import resource
import shlex
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from serialization.checks.confinement import confine, needed_environment
from serialization.errors import UserError
from serialization.serving.http.rehearsal import Rehearsals
from serialization.serving.http.supervisor import Supervisor
from serialization.serving.http.worker import MakeApp, load_in_worker, run_worker
from serialization.serving.limits import Settings

_MORE_THREADS = 4  # beside those of requests in flight: they answer the other routes, and 503 to further requests
_IDLE = 600  # seconds that granian keeps a thread without work; granian allows no more
_CONNECTIONS = 65_536  # the most of a worker
_FILES = 256  # the most that a worker opens beside its connections


def announce_server(model: str, bodies: Sequence[str], url: str, example: str, rpc: str | None = None) -> None:
    """Print that the server is ready, with curl commands for these bodies or the example, or with the page's URL.

    `rpc` is the address for gRPC, if there is any.
    """
    also = f"; gRPC on {rpc}" if rpc else ""
    print(f"serving {model} on {url}{also}; Ctrl-C ends it; try", flush=True)
    shown = bodies or ([example] if example else [])
    for body in shown:
        data = shlex.quote(body)
        print(f"curl -X POST -H 'Content-Type: application/json' {url}/api/predict -d {data}", flush=True)
    if not shown:
        print(f"{url}/ in a browser", flush=True)


def run_server(
    make_app: MakeApp,
    settings: Settings,
    announce: Callable[[str, str, str | None], None],
    readable: Sequence[Path] | None = None,
    *,
    host: str,
    port: int,
    workers: int,
    grace: float,
    grpc_port: int | None = None,
    rehearsals: Rehearsals | None = None,
) -> None:
    """Serve the application until SIGINT, SIGTERM or SIGHUP; `announce` is called with the URL, the address
    for gRPC and an example body.

    `make_app` is pickled and called in each worker, with the settings. Before that, each worker confines itself to
    reading `readable`, unless that is None. A worker that dies is replaced; if that fails, the others go on. At the end
    the server finishes the requests in flight, for at most `grace` seconds. `rehearsals` answers workers that ask about
    new versions. Raises UserError if the address cannot be used, if `make_app` raises one at the start, and if workers
    die before they answer.
    """
    from granian.constants import HTTPModes, Interfaces
    from granian.http import HTTP1Settings
    from granian.server import Server

    # A forked worker would inherit locked locks of this process. Only the workers import TensorFlow.
    multiprocessing.set_start_method("spawn", force=True)
    hangup = signal.getsignal(signal.SIGHUP)
    connections = _allow_connections()
    with (
        _reserve(host, port, "port") as reserved,
        nullcontext() if grpc_port is None else _reserve(host, grpc_port, "grpc-port") as reserved_for_rpc,
        _make_temporary_folder(workers) as folder,
        nullcontext() if readable is None else needed_environment(),
    ):
        address = reserved.getsockname()[:2]
        port = address[1]
        url = f"http://{_join(host, port)}"
        ports = [port]
        rpc = shown_rpc = None
        if reserved_for_rpc:
            rpc_address = reserved_for_rpc.getsockname()[:2]
            # To see whether there is IPv6, gRPC's core takes any free port for a moment.
            ports += [rpc_address[1], *([0] if ":" in rpc_address[0] else [])]
            rpc, shown_rpc = _join(*rpc_address), _join(host, rpc_address[1])
        # Datagrams need no lock. A worker that is killed while it holds the lock of a queue blocks all later workers.
        received, reports = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        # Closing `served` tells the workers to end. An Event would block for ever if a worker died while it waited.
        ending, served = multiprocessing.Pipe(duplex=False)
        granian = Server(
            "",
            address=address[0],
            port=port,
            interface=Interfaces.WSGI,
            # With HTTP/2, granian has no time limit for a connection that sends nothing.
            http=HTTPModes.http1,
            workers=workers,
            backpressure=connections,  # by default 1,024 for all workers: idle connections would lock others out
            blocking_threads=settings.max_in_flight + _MORE_THREADS,
            blocking_threads_idle_timeout=_IDLE,
            http1_settings=HTTP1Settings(header_read_timeout=round(settings.idle_timeout * 1000)),
            respawn_failed_workers=True,
            respawn_interval=0,
            log_enabled=False,
        )
        supervisor = Supervisor(granian, received, served, grace, settings.log_format)

        @granian.on_startup
        def start() -> None:
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda *_: supervisor.stop())
            # On SIGHUP granian would replace all workers and drop their requests. nohup(1) ignores SIGHUP.
            signal.signal(signal.SIGHUP, signal.SIG_IGN if hangup is signal.SIG_IGN else lambda *_: supervisor.stop())

            def ready(example: str) -> None:
                _wait_until_it_listens(address)
                with suppress(OSError):  # stdout is closed, or its disk is full: the server runs all the same
                    announce(url, example, shown_rpc)

            threading.Thread(target=supervisor.read_reports, args=[ready], daemon=True).start()

        load = partial(
            load_in_worker,
            make_app,
            replace(settings, metrics_folder=folder if workers > 1 else None),
            grace,
            reports,
            ending,
            rpc,
        )
        written = [Path(folder)] if folder else []
        restrict = None if readable is None else partial(confine, readable, written, ports)
        if rehearsals:
            rehearsals.start(None if readable is None else partial(confine, readable, written))
        try:
            granian.serve(
                spawn_target=partial(run_worker, restrict, grace, supervisor.respawns.pause),
                target_loader=load,
                wrap_loader=False,
            )
        except SystemExit:  # granian gives up on workers that die as soon as they are replaced
            supervisor.failures.append("the worker processes die as soon as they start; the server has ended")
        if supervisor.failures:
            raise UserError(supervisor.failures[0])


def _make_temporary_folder(workers: int) -> AbstractContextManager[str | None]:
    """A folder for temporary files, which is removed at the end; None where a single worker has no place for one.

    In a container with a read-only file system, /dev/shm usually takes files.
    """
    for place in (None, "/dev/shm"):
        try:
            return tempfile.TemporaryDirectory(prefix="serving-", dir=place)
        except OSError:
            continue
    if workers > 1:
        raise UserError("no folder for temporary files, by which workers share their metrics; set TMPDIR to one")
    return nullcontext()


def _allow_connections() -> int:
    """Raise the limit of open files for the workers, and return the number of connections that a worker may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most == resource.RLIM_INFINITY:
        most = _CONNECTIONS + _FILES
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, _CONNECTIONS + _FILES), most))
    return max(1, min(most - _FILES, _CONNECTIONS))


def _join(host: str, port: int) -> str:
    return f"{f'[{host}]' if ':' in host else host}:{port}"


def _reserve(host: str, port: int, flag: str) -> socket.socket:
    """A socket bound to the address, which reserves it for the workers. `flag` is the one that names the port.

    Each worker listens on its own socket with SO_REUSEPORT, which would also share the port with another program's
    server. This socket is bound without SO_REUSEPORT and gets it afterwards, so binding fails if the port is in use.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (socket.gaierror, UnicodeError) as error:
        problem = error.strerror if isinstance(error, OSError) else "it is not a host name"
        raise UserError(f"no address {host}; {problem}; name another --host") from None
    reserved = socket.socket(family)
    try:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(address)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except (OSError, OverflowError) as error:
        reserved.close()
        reason = error.strerror if isinstance(error, OSError) else error
        raise UserError(f"cannot listen on {host}:{port}; {reason}; name another --host or --{flag}") from None
    return reserved


def _wait_until_it_listens(address: tuple[str, int]) -> None:
    """Wait until a worker listens, a moment after its application is ready; granian does not report it."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address[0], address[0])
    while True:
        try:
            socket.create_connection((host, address[1])).close()
        except ConnectionRefusedError:
            time.sleep(0.005)
        else:
            return
