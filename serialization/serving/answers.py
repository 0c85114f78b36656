"""What a route answers when it cannot do what was asked, as JSON."""

from __future__ import annotations

from http import HTTPStatus

import msgspec


class RequestError(Exception):
    """A request that gets an error for an answer: its status, and what the client can read in `{"error": ...}`."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        super().__init__(message)
        self.status = HTTPStatus(status)
        self.headers = [(name.replace("_", "-"), value) for name, value in headers.items()]

    def body(self) -> bytes:
        return msgspec.json.encode({"error": str(self)})


def status_line(status: HTTPStatus) -> str:
    """As WSGI wants it: `400 Bad Request`."""
    return f"{status.value} {status.phrase}"
