"""A worker's gRPC server: it hands each message to the predict route as a request, and sends what comes back.

grpcio's server for threads is used, with one handler for all methods, which takes and gives bytes: the asynchronous
one needs more processor time for a request. Each worker listens with SO_REUSEPORT, as for HTTP. A call has a thread
until it is answered.
"""

from __future__ import annotations

import io
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

# Core's handlers for forks abort one child of some hundred, before it can start a program.
os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what core would write to stderr, errors tell
import grpc

from serialization.errors import UserError
from serialization.serving.limits import CROWDED_TIMEOUT, Settings
from serialization.serving.requests import RequestError
from serialization.serving.rpc.health_service import WATCH
from serialization.serving.rpc.services import Refusal, Services, find_named_model
from serialization.serving.wire.protocol import MESSAGE, Headers, WireProtocol

if TYPE_CHECKING:
    from serialization.serving.http.predict_route import PredictRoute, Request
    from serialization.serving.http.version import Version

_MORE_THREADS = 4  # beside those of requests in flight: they answer that there are too many, and calls without a model
_WATCHERS = 16  # calls of Watch at a time; each keeps a thread until its client leaves
_LOOK = 0.5  # seconds between looks for clients that keep the server waiting
_LONGEST_MESSAGE = 1000  # characters of an error; many clients take 8 kB of metadata, in which they are percent-encoded
_REQUEST_ID = "x-request-id"
# What a client may say in its metadata, as headers of HTTP.
_HEADERS = {_REQUEST_ID: "HTTP_X_REQUEST_ID", "x-forwarded-for": "HTTP_X_FORWARDED_FOR"}
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT,
    404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.CANCELLED,
    412: grpc.StatusCode.FAILED_PRECONDITION,
    413: grpc.StatusCode.RESOURCE_EXHAUSTED,
    422: grpc.StatusCode.INVALID_ARGUMENT,
    500: grpc.StatusCode.INTERNAL,
    501: grpc.StatusCode.UNIMPLEMENTED,
    503: grpc.StatusCode.UNAVAILABLE,
    504: grpc.StatusCode.DEADLINE_EXCEEDED,
}


class RpcServer(grpc.GenericRpcHandler):
    """Answers calls from the moment it is made until `stop`. Raises UserError if it cannot listen.

    `address` is a numeric host and a port. `submit` takes an admitted request to the model, which answers it later.
    """

    def __init__(self, address: str, route: PredictRoute, submit: Callable[[Request], None]) -> None:
        self._route = route
        self._health = self._get_services(route.first.current).health
        self._submit = submit
        settings = route.settings
        threads = settings.max_in_flight + _MORE_THREADS + _WATCHERS
        self._waiting = _Waiting(settings.body_timeout, threads)
        self._watchers = threading.Semaphore(_WATCHERS)
        self._changed = threading.Condition()  # whether requests are answered, or who watches that
        logging.getLogger("grpc").addHandler(logging.StreamHandler())  # grpcio would keep the traceback of a bug
        self._server = grpc.server(
            _start_threads(threads),
            handlers=[self],
            options=_list_options(settings, threads),
            maximum_concurrent_rpcs=threads,
        )
        try:
            self.port: int = self._server.add_insecure_port(address)
        except RuntimeError:  # it does not say why
            raise UserError(f"cannot listen on {address} for gRPC; name another --host or --grpc-port") from None
        self._server.start()

    def service(self, details: Any) -> Any:
        """The handler of a method. It takes a stream, of which it can be said to wait for the first message."""
        if details.method == WATCH:
            return grpc.stream_stream_rpc_method_handler(self._watch_health)
        return grpc.stream_unary_rpc_method_handler(partial(self._answer, details.method))

    def drain(self) -> None:
        """Tell those who watch that the route is draining."""
        with self._changed:
            self._changed.notify_all()

    def stop(self, grace: float) -> threading.Event:
        """Take no more calls; the event is set when all are answered, or were cut off after `grace` seconds."""
        stopped: threading.Event = self._server.stop(grace)
        return stopped

    def _answer(self, method: str, received: Iterator[bytes], context: Any) -> bytes:
        message, refusal = self._receive(received, context)
        answer = _Answer()
        environ = _make_environ(method, message, context)

        def choose(version: Version) -> WireProtocol:
            service = self._get_services(version).find(method)
            return Refusal(service.prefix, refusal) if refusal else service

        request = self._route.admit(environ, answer.reply, choose, find_named_model(method, message))
        if request is not None:
            self._submit(request)
        answer.done.acquire()
        context.set_trailing_metadata([(_REQUEST_ID, answer.request_id)])
        if answer.status != 200:
            text = answer.body.decode()[:_LONGEST_MESSAGE]
            context.abort(_CODES.get(answer.status, grpc.StatusCode.UNKNOWN), text)
        self._waiting.begin(context)
        if not context.add_callback(partial(self._waiting.end, context)):
            self._waiting.end(context)  # the client has left
        return answer.body

    def _get_services(self, version: Version) -> Services:
        """The services that a version of the model has been given."""
        if version.services is None:
            version.services = Services(version.served, version.engine.signature, version.settings)
        services: Services = version.services
        return services

    def _receive(self, received: Iterator[bytes], context: Any) -> tuple[bytes, RequestError | None]:
        """The message of a call, or why there is none.

        A client that does not send it in time is disconnected from the call. Of a message that core refuses, which it
        tells the client, the call has nothing but its end, as of a client that leaves.
        """
        message = None
        self._waiting.begin(context)
        with suppress(grpc.RpcError):
            message = next(received, None)
        in_time = self._waiting.end(context)
        if message is not None:
            return message, None
        return b"", RequestError(400, "the call has no message") if in_time else RequestError(408, "no message in time")

    def _watch_health(self, received: Iterator[bytes], context: Any) -> Iterator[bytes]:
        """The state of a service now, and when the server is about to end."""
        message, refusal = self._receive(received, context)
        if not self._watchers.acquire(blocking=False):
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{_WATCHERS} clients watch already; use Check")
        try:
            if refusal:
                raise refusal
            context.add_callback(self.drain)
            yield self._health.tell(message, ready=not self._route.draining)
            with self._changed:
                self._changed.wait_for(lambda: self._route.draining or not context.is_active())
            if context.is_active():
                yield self._health.tell(message, ready=False)
        except RequestError as error:
            context.abort(_CODES[error.status], str(error))
        finally:
            self._watchers.release()


class _Answer:
    """What the route replies to a call. `done` is free once it has."""

    def __init__(self) -> None:
        self.status = 500
        self.request_id = ""
        self.body = b""
        self.done = threading.Lock()
        self.done.acquire()

    def reply(self, status: int, headers: Headers, body: bytes) -> None:
        self.status, self.body = status, body
        self.request_id = next((value for name, value in headers if name.lower() == _REQUEST_ID), "")
        self.done.release()


class _Waiting:
    """The calls in which the server waits for the client: for the message, or until it has read the answer.

    One that takes longer than `seconds` is cancelled; while `most` do so, one that takes longer than the time for a
    crowd. A thread that waits for a message would else wait for ever.
    """

    def __init__(self, seconds: float, most: int) -> None:
        self._seconds = seconds
        self._most = most
        self._since: dict[Any, float] = {}
        threading.Thread(target=self._watch, name="rpc-watch", daemon=True).start()

    def begin(self, context: Any) -> None:
        self._since[context] = time.monotonic()

    def end(self, context: Any) -> bool:
        """Whether it was still waited for."""
        return self._since.pop(context, None) is not None

    def _watch(self) -> None:
        while True:
            time.sleep(_LOOK)
            crowded = len(self._since) >= self._most
            seconds = min(self._seconds, CROWDED_TIMEOUT) if crowded else self._seconds
            now = time.monotonic()
            for context, since in self._since.copy().items():
                if now - since > seconds:
                    self.end(context)
                    context.cancel()


def _start_threads(number: int) -> ThreadPoolExecutor:
    """The pool, with all its threads: grpcio takes no more calls once a thread could not be started for one."""
    pool = ThreadPoolExecutor(number, "rpc")
    together = threading.Barrier(number)
    for _ in range(number):
        pool.submit(together.wait)
    return pool


def _list_options(settings: Settings, streams: int) -> list[tuple[str, int]]:
    """Options of gRPC's core, grpc_types.h and channel_arg_names.h."""
    return [
        ("grpc.so_reuseport", 1),
        ("grpc.max_receive_message_length", settings.max_body_mb * 1_000_000),  # packed, and unpacked
        ("grpc.max_concurrent_streams", streams),  # of a connection
        ("grpc.max_connection_idle_ms", round(settings.idle_timeout * 1000)),
        ("grpc.server_handshake_timeout_ms", round(settings.body_timeout * 1000)),
    ]


def _make_environ(method: str, message: bytes, context: Any) -> dict[str, Any]:
    """A call as a WSGI request."""
    address = unquote(context.peer()).partition(":")[2].rpartition(":")[0]
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": method.encode().decode("latin-1"),
        "REMOTE_ADDR": address.strip("[]"),
        "CONTENT_LENGTH": str(len(message)),
        "wsgi.input": io.BytesIO(message),
        MESSAGE: message,
    }
    for name, value in context.invocation_metadata():
        if name in _HEADERS:
            environ[_HEADERS[name]] = value
    return environ
