"""Reads a request's body, with a limit on its length and on the client's time."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from serialization.serving.http.sockets import Sockets
from serialization.serving.limits import Settings
from serialization.serving.requests import RequestError, RequestInfo

_LATE = "serialization.late"  # in the environ of a request whose body was waited for long enough
_QUEUED = 0.05  # seconds that a request may have waited in the server before it began
_SOONER = 2.0  # seconds for a body where as many are read as requests may be in flight


class BodyReader:
    """Reads bodies for many threads at once.

    A thread that reads waits in the server, which has no time limit for bodies. So a watchman looks after all readers
    and shuts down the connection of one that is late: the server then reports the end of the body. `in_flight` gives
    the requests that are being read or run.
    """

    def __init__(self, settings: Settings, in_flight: Callable[[], Iterable[RequestInfo]]) -> None:
        self._in_flight = in_flight
        self._timeout = settings.timeout
        self._limit = settings.max_body_mb * 1_000_000
        self._seconds = settings.body_timeout
        self._most = settings.max_in_flight
        self._length = lru_cache(64)(self._check_length)  # of a client's bodies, often the same
        self._reading: dict[int, tuple[float, dict[str, Any]]] = {}
        threading.Thread(target=self._watch, name="body-watch", daemon=True).start()

    def read(self, environ: dict[str, Any], started: float) -> bytes:
        """The whole body of a request that has `started`, by time.perf_counter.

        Raises RequestError where it is too long, cut off, or too slow.
        """
        given = environ.get("CONTENT_LENGTH")
        length = self._length(given) if given else _unsaid_length(environ)
        me = threading.get_ident()
        self._reading[me] = started, environ
        try:
            if length is None:
                return self._read_to_end(environ)
            body: bytes = environ["wsgi.input"].read(length)
        except OSError as error:
            raise RequestError(400, f"the body could not be read: {error}") from None
        finally:
            del self._reading[me]
        if len(body) == length:
            return body
        if _LATE in environ:
            raise RequestError(408, f"only {len(body):,} of {length:,} bytes came in time")
        raise RequestError(400, f"the body ends after {len(body):,} of {length:,} bytes")

    def reads(self, thread: int) -> bool:
        """Whether this thread waits for a body."""
        return thread in self._reading

    def _check_length(self, given: str) -> int:
        if not (given.isascii() and given.isdigit()):
            raise RequestError(400, f"Content-Length: expected a whole number, got {given[:100]!r}")
        length = int(given.lstrip("0")[:20] or 0)  # Python reads no number of 5,000 digits
        if length > self._limit:
            raise RequestError(413, f"the body has {length:,} bytes; at most {self._limit:,} are taken")
        return length

    def _read_to_end(self, environ: dict[str, Any]) -> bytes:
        """A body whose length nobody knows; a server may give less than it is asked for before there is no more."""
        chunks = []
        wanted = self._limit + 1  # one byte more than is taken tells whether there is more
        while wanted > 0 and (chunk := environ["wsgi.input"].read(wanted)):
            chunks.append(chunk)
            wanted -= len(chunk)
        if wanted <= 0:
            raise RequestError(413, f"the body has more than {self._limit:,} bytes")
        if _LATE in environ:
            raise RequestError(408, "the body did not come in time")
        return b"".join(chunks)

    def _watch(self) -> None:
        sockets = Sockets()
        while True:
            time.sleep(0.5)
            seconds = self._seconds
            if len(self._reading) >= self._most:
                seconds = min(seconds, _SOONER)
            now = time.perf_counter()
            late = [(at, environ) for at, environ in self._reading.copy().values() if now - at > seconds]
            for _, environ in late:
                environ[_LATE] = True
            if late:
                addresses = {environ.get("REMOTE_ADDR", "") for _, environ in late}
                known = {id(environ) for _, environ in late}
                others = [info for info in self._in_flight() if id(info.environ) not in known]
                ages = [now - info.started for info in others if info.environ.get("REMOTE_ADDR", "") in addresses]
                if now - min(at for at, _ in late) > seconds + self._timeout:
                    ages = []  # the others have had their time
                _shut_down(sockets, addresses, seconds, ages)


def _unsaid_length(environ: dict[str, Any]) -> int | None:
    """None for a body that comes in chunks, whose length nobody knows before its end."""
    return None if "HTTP_TRANSFER_ENCODING" in environ or environ.get("wsgi.input_terminated") else 0


def _shut_down(sockets: Sockets, addresses: set[str], seconds: float, ages: list[float]) -> None:
    """Stop receiving on the connections from these addresses that have been owed an answer for so long.

    WSGI does not tell which connection a request came by. But a connection that nothing was sent on for longer than a
    body may take is idle, is the one that is late, or has a request that is not late: its run takes long, or it came
    after the connection was idle. `ages` are the seconds since such requests began, none of them much later than the
    last byte came by its connection.
    """
    for connection in sockets:
        try:
            if connection.family not in (socket.AF_INET, socket.AF_INET6):
                continue
            if connection.getpeername()[0] not in addresses:
                continue
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104)
            sent, received = (ms / 1000 for ms in struct.unpack_from("=I4xI", info, _TCPI_LAST_DATA_SENT))
            if sent >= seconds and not any(age > received - _QUEUED for age in ages):
                connection.shutdown(socket.SHUT_RD)
        except OSError:  # no TCP, or no peer any more
            continue


# Offset in struct tcp_info of linux/tcp.h: eight bytes, then 32-bit numbers; the next but one is tcpi_last_data_recv.
_TCPI_LAST_DATA_SENT = 8 + 9 * 4
