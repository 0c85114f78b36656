"""A WSGI callable that reads the body and answers a constant, under the same granian: the upper limit."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

BODY = b'{"y":[[false]]}'


def app(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    environ["wsgi.input"].read()
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", str(len(BODY)))])
    return [BODY]


if __name__ == "__main__":
    from granian.constants import HTTPModes, Interfaces
    from granian.server import Server

    Server(
        f"{__file__}:app",
        port=int(sys.argv[2]),
        interface=Interfaces.WSGI,
        http=HTTPModes.http1,
        blocking_threads=1,  # several threads would wait for each other
        log_enabled=False,
    ).serve()
