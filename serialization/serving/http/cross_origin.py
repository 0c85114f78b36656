"""Lets pages of other origins send requests from a browser: CORS, as the Fetch standard of WHATWG has it.

A browser asks first (OPTIONS, the preflight) whether a page of that origin may send JSON. Each answer names the origin
that may read it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from serialization.serving.requests import RequestInfo, RequestLog

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

Headers = list[tuple[str, str]]
_DONE = "serialization.cross-origin"  # the key in the environ of a request whose answer gets its headers already
_SECONDS = "86400"  # for which a browser need not ask again
_EXPOSED = "X-Request-Id, Retry-After"
_ASKED = "HTTP_ACCESS_CONTROL_REQUEST_METHOD"


class CrossOrigin:
    """The headers for these origins, comma separated, or for `*`, which means all."""

    def __init__(self, origins: str, log: RequestLog) -> None:
        self._log = log
        self._all = origins == "*"
        self._origins = frozenset(origins.split(","))

    def list_headers(self, environ: WSGIEnvironment) -> Headers:
        """The headers of an answer: those that let the page of this request read it."""
        origin = environ.get("HTTP_ORIGIN")
        if self._all:
            return [("Access-Control-Allow-Origin", "*"), ("Access-Control-Expose-Headers", _EXPOSED)]
        vary = [("Vary", "Origin")]  # else a cache would give one origin the answer to another
        if origin not in self._origins:
            return vary
        return [("Access-Control-Allow-Origin", origin), ("Access-Control-Expose-Headers", _EXPOSED), *vary]

    def answer_preflight(self, environ: WSGIEnvironment) -> Headers | None:
        """The headers of the answer to a preflight, which has no body; None if the request is not one."""
        if environ["REQUEST_METHOD"] != "OPTIONS" or _ASKED not in environ or "HTTP_ORIGIN" not in environ:
            return None
        asked = environ.get("HTTP_ACCESS_CONTROL_REQUEST_HEADERS", "")
        allowed = [("Access-Control-Allow-Headers", asked)] if asked.isascii() and asked.isprintable() and asked else []
        more = [("Access-Control-Allow-Methods", "GET, POST"), ("Access-Control-Max-Age", _SECONDS), *allowed]
        headers = self.list_headers(environ)
        info = RequestInfo(environ, self._log.new_id(environ), time.perf_counter())
        self._log.record([info], "preflight", 204)
        return [("X-Request-Id", info.id), *headers, *(more if headers[0][0] != "Vary" else ())]

    def wrap_direct(self, answer: Callable[[Any, dict[str, Any]], object]) -> Callable[[Any, dict[str, Any]], object]:
        """The function that granian calls, with these headers on all answers."""

        def run(protocol: Any, environ: dict[str, Any]) -> object:
            preflight = self.answer_preflight(environ)
            if preflight is not None:
                protocol.response_bytes(204, preflight, b"")
                return False
            environ[_DONE] = True
            return answer(_Protocol(protocol, self.list_headers(environ)), environ)

        return run

    def wrap_wsgi(self, app: WSGIApplication) -> WSGIApplication:
        """The application, with these headers on all answers; for servers other than granian."""

        def run(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
            if environ.get(_DONE):
                return app(environ, start_response)
            preflight = self.answer_preflight(environ)
            if preflight is not None:
                start_response("204 No Content", preflight)
                return []
            own = self.list_headers(environ)

            def start(status: str, headers: Headers, *rest: Any) -> Any:
                return start_response(status, [*headers, *own], *rest)

            return app(environ, start)

        return run


class _Protocol:
    """Granian's reply functions, with headers for each answer."""

    __slots__ = ("_headers", "_protocol")

    def __init__(self, protocol: Any, headers: Headers) -> None:
        self._protocol = protocol
        self._headers = headers

    def response_bytes(self, status: int, headers: Headers, body: bytes) -> None:
        self._protocol.response_bytes(status, [*headers, *self._headers], body)

    def response_iter(self, status: int, headers: Headers, body: Any) -> None:
        self._protocol.response_iter(status, [*headers, *self._headers], body)
