"""Reads the bodies of requests, with limits on their length and on the client's time."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from functools import lru_cache
from typing import Any

from serialization.console import format_count
from serialization.serving.http.sockets import Sockets
from serialization.serving.limits import CROWDED_TIMEOUT, Settings
from serialization.serving.requests import RequestError, RequestInfo

_LATE = "serialization.late"  # the key in the environ of a request whose body is late
_QUEUED = 0.05  # seconds that a request may have waited in the server before it began
_READ_ON = 256_000_000  # the most bytes that are read of a body that is refused
_PIECE = 1 << 16  # bytes


class BodyReader:
    """Reads bodies for many threads at once.

    The server has no time limit for bodies. So a watchman, which is a thread, shuts down the connection of a late body.
    The thread that reads the body then gets its end. `in_flight` returns the requests that are being read or run.
    """

    def __init__(self, settings: Settings, in_flight: Callable[[], Iterable[RequestInfo]]) -> None:
        self._in_flight = in_flight
        self._timeout = settings.timeout
        self._limit = settings.max_body_mb * 1_000_000
        self._seconds = settings.body_timeout
        self._most = settings.max_in_flight
        self._length = lru_cache(64)(self._check_length)  # a client's bodies often have the same length
        self._reading: dict[int, tuple[float, dict[str, Any]]] = {}
        threading.Thread(target=self._watch, name="body-watch", daemon=True).start()

    def read(self, environ: dict[str, Any], started: float) -> bytes:
        """The whole body of a request that began at `started`, by time.perf_counter.

        Raises RequestError if the body is too long, cut off, or late.
        """
        header = environ.get("CONTENT_LENGTH")
        length = self._length(header) if header else _default_length(environ)
        if length is not None and length > self._limit:
            raise RequestError(413, f"the body has {length:,} bytes; at most {self._limit:,} are accepted")
        thread = threading.get_ident()
        self._reading[thread] = started, environ
        try:
            if length is None:
                return self._read_to_end(environ)
            body: bytes = environ["wsgi.input"].read(length)
        except OSError as error:
            raise RequestError(400, f"the body could not be read: {error}") from None
        finally:
            del self._reading[thread]
        if len(body) == length:
            return body
        if _LATE in environ:
            raise RequestError(408, f"only {len(body):,} of {format_count(length, 'byte')} arrived in time")
        raise RequestError(400, f"the body ends after {len(body):,} of {format_count(length, 'byte')}")

    def drop(self, environ: dict[str, Any], started: float) -> None:
        """Read what is left of the body of a request that was refused.

        Many clients read no answer before they have sent all. If the server closed the connection under them, they
        would get no answer at all. A client that has asked whether it may send the body (Expect) need not send it.
        """
        if "HTTP_EXPECT" in environ or not (environ.get("CONTENT_LENGTH") or _default_length(environ) is None):
            return
        thread = threading.get_ident()
        self._reading[thread] = started, environ
        left = _READ_ON
        try:
            while left > 0 and (piece := environ["wsgi.input"].read(min(left, _PIECE))):
                left -= len(piece)
        except OSError:  # the client is gone
            return
        finally:
            del self._reading[thread]

    def reads(self, thread: int) -> bool:
        """Whether this thread waits for a body."""
        return thread in self._reading

    def _check_length(self, header: str) -> int:
        if not (header.isascii() and header.isdigit()):
            raise RequestError(400, f"Content-Length: expected a whole number, got {header[:100]!r}")
        return int(header.lstrip("0")[:20] or 0)  # Python refuses to convert 5,000 digits

    def _read_to_end(self, environ: dict[str, Any]) -> bytes:
        """A body of unknown length. A read may return fewer bytes than asked for before the end of the body."""
        chunks = []
        left = self._limit + 1  # the byte beyond the limit shows that the body is too long
        while left > 0 and (chunk := environ["wsgi.input"].read(left)):
            chunks.append(chunk)
            left -= len(chunk)
        if left <= 0:
            raise RequestError(413, f"the body has more than {self._limit:,} bytes")
        if _LATE in environ:
            raise RequestError(408, "the body did not arrive in time")
        return b"".join(chunks)

    def _watch(self) -> None:
        sockets = Sockets()
        while True:
            time.sleep(0.5)
            seconds = self._seconds
            if len(self._reading) >= self._most:
                seconds = min(seconds, CROWDED_TIMEOUT)
            now = time.perf_counter()
            late = [(at, environ) for at, environ in self._reading.copy().values() if now - at > seconds]
            for _, environ in late:
                environ[_LATE] = True
            if late:
                addresses = {environ.get("REMOTE_ADDR", "") for _, environ in late}
                known = {id(environ) for _, environ in late}
                others = [info for info in self._in_flight() if id(info.environ) not in known]
                ages = [now - info.started for info in others if info.environ.get("REMOTE_ADDR", "") in addresses]
                # A server that answers Expect sends something after the head, as it does on an idle connection.
                spare_idle = not any("HTTP_EXPECT" in environ for _, environ in late)
                if now - min(at for at, _ in late) > seconds + self._timeout:
                    ages = []  # the runs of all other requests are over or cancelled by now
                    spare_idle = False
                _shut_down(sockets, addresses, seconds, ages, spare_idle)


def _default_length(environ: dict[str, Any]) -> int | None:
    """The length of a body without Content-Length: unknown (None) if it is sent in chunks, else 0."""
    return None if "HTTP_TRANSFER_ENCODING" in environ or environ.get("wsgi.input_terminated") else 0


def _shut_down(sockets: Sockets, addresses: set[str], seconds: float, ages: list[float], spare_idle: bool) -> None:
    """Stop receiving on connections from these addresses on which nothing was sent for `seconds`, if they may be late.

    WSGI does not tell the connection of a request. A connection on which nothing was sent for so long is idle, or its
    body is late, or its request is not late: the run takes long, or the connection was idle before the request. `ages`
    are the seconds since requests of the last kind began. A connection is spared if its last byte arrived after such a
    request began, or shortly before; and, with `spare_idle`, if its last byte was sent after it: a proxy may send its
    next request on such a connection just now.
    """
    for connection in sockets:
        try:
            if connection.family not in (socket.AF_INET, socket.AF_INET6):
                continue
            if connection.getpeername()[0] not in addresses:
                continue
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCPI_BYTES_ACKED + 8)
            sent, received = (ms / 1000 for ms in struct.unpack_from("=I4xI", info, _TCPI_LAST_DATA_SENT))
            if spare_idle and sent <= received and struct.unpack_from("=Q", info, _TCPI_BYTES_ACKED)[0] > 1:
                continue  # more than the handshake was sent
            if sent >= seconds and not any(age > received - _QUEUED for age in ages):
                connection.shutdown(socket.SHUT_RD)
        except OSError:  # not TCP, or the peer is gone
            continue


# The offsets in struct tcp_info of linux/tcp.h: 8 bytes, then 32-bit numbers. tcpi_last_data_recv is 8 bytes later.
_TCPI_LAST_DATA_SENT = 8 + 9 * 4
_TCPI_BYTES_ACKED = 120
