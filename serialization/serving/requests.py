"""Gives requests ids, log lines, counts in the metrics and errors as JSON, for all routes."""

from __future__ import annotations

import itertools
import os
import re
import secrets
import sys
import time
import traceback
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

import msgspec

from serialization.serving.metrics import Metrics

INPUT, OUTPUT = "x", "y"  # the key of a request's body, and of its answer
_LONGEST_ADDRESS = 100  # characters; a client may write anything into the header
_GOOD_ID = re.compile(r"[\w.-]{1,64}", re.ASCII)


class RequestError(Exception):
    """A request that is answered with an error: its status, its headers, and its message in `{"error": ...}`."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.headers = [(name.replace("_", "-"), value) for name, value in headers.items()]


class RequestInfo(msgspec.Struct, gc=False):
    """A request, from its arrival to its answer."""

    environ: dict[str, Any]
    id: str
    started: float  # by time.perf_counter


class RequestLog:
    """Gives every request its id, counts it, and writes its log line."""

    def __init__(self, metrics: Metrics, log_format: str, proxies: int = 0) -> None:
        self.metrics = metrics
        self._log_format = log_format
        self._proxies = proxies  # in front of the server, each of which adds an address to X-Forwarded-For
        self._ids = map((secrets.token_hex(6) + "-{}").format, itertools.count(1))

    def new_id(self, environ: dict[str, Any]) -> str:
        """A request's id: the client's X-Request-Id if it is a plain word, else a new id."""
        given = environ.get("HTTP_X_REQUEST_ID")
        if given is not None and _GOOD_ID.fullmatch(given):
            return str(given)
        return next(self._ids)

    def record(self, requests: Sequence[RequestInfo], route: str, status: int, rows: int = 0, model: str = "") -> None:
        """Count requests that are answered alike, and write their log lines.

        `rows` is the number of rows that the model ran at once for them, and `model` its name if there are several.
        """
        now = time.perf_counter()
        self.metrics.count(route, status, [now - info.started for info in requests], rows, model)
        if self._log_format != "none":
            for info in requests:
                self._log(info, status, now)

    def _log(self, info: RequestInfo, status: int, now: float) -> None:
        environ = info.environ
        entry = {
            "time": datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            "id": info.id,
            "method": environ["REQUEST_METHOD"],
            "path": get_path(environ),
            "status": status,
            "ms": round((now - info.started) * 1000, 3),
            "client": self._find_client(environ),
        }
        if self._log_format == "json":
            line = msgspec.json.encode(entry)
        else:
            line = " ".join(map(_as_one_word, entry.values())).encode()
        with suppress(OSError):  # a full disk or a closed pipe ends the log, not the answers
            os.write(1, line + b"\n")  # one write, so that the lines of several threads and workers stay whole

    def _find_client(self, environ: dict[str, Any]) -> str:
        """The address of the client: of the connection, or the one that the first of the trusted proxies has added."""
        added = str(environ.get("HTTP_X_FORWARDED_FOR", "")).split(",")
        client = added[-self._proxies].strip() if 0 < self._proxies <= len(added) else ""
        return client[:_LONGEST_ADDRESS] or str(environ.get("REMOTE_ADDR", ""))


def _as_one_word(value: object) -> str:
    """The value without line ends and blanks, with which a path could forge log lines and their words."""
    word = str(value)
    return word if word.isprintable() and " " not in word else repr(word).replace(" ", r"\x20")


def require_row_count(rows: int, max_rows: int, place: str) -> None:
    """Raise RequestError if a request has no rows, or more than the server takes."""
    if not 1 <= rows <= max_rows:
        raise RequestError(400, f"{place}: expected 1 to {max_rows} rows, got {rows}")


def take_prefix_off(environ: dict[str, Any], prefix: str) -> None:
    """Move the prefix of the request's path, if it is there, to where WSGI has it: health checks come without it."""
    path: str = environ["PATH_INFO"]
    if path.startswith(prefix) and path[len(prefix) : len(prefix) + 1] in ("", "/"):
        environ["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "") + prefix
        environ["PATH_INFO"] = path[len(prefix) :]


def get_path(environ: dict[str, Any]) -> str:
    """The whole path of the request, as the client has sent it."""
    return decode_path(environ.get("SCRIPT_NAME", "") + environ["PATH_INFO"])


def decode_path(path: str) -> str:
    """The text of a path, of which WSGI gives the bytes as Latin-1 (PEP 3333)."""
    return path.encode("latin-1").decode(errors="replace")


def make_error_body(message: str, request_id: str) -> bytes:
    return msgspec.json.encode({"error": message, "request_id": request_id})


def print_exception(where: str) -> None:
    """Write the exception that is being handled to stderr, if it is still open."""
    with suppress(OSError):
        sys.stderr.write(f"{where}:\n{traceback.format_exc()}")


def make_internal_error(request_id: str) -> str:
    """Write the exception that is being handled to stderr; returns the message for the client."""
    print_exception(f"request {request_id}")
    return "internal error; the server's log tells more under this request id"
