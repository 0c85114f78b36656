"""The sockets of a process are found without opening a descriptor."""

from __future__ import annotations

import http.client
import resource
import socket
from pathlib import Path

from serving_models import BODY, ROW, Server, head, serving, soon, worker_of


def test_late_bodies_that_use_all_descriptors_are_ended(frozen_model: Path) -> None:
    with serving("--frozen-model", frozen_model, "--body-timeout", 1) as server:
        worker = worker_of(server)
        used = len(list(Path(f"/proc/{worker}/fd").iterdir()))
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (used + 5, used + 5))
        late = [socket.create_connection(server.address) for _ in range(20)]
        for connection in late:
            connection.sendall(head("Content-Length: 31") + BODY[:20])
        assert soon(lambda: has_answered(server))
        for connection in late:
            connection.close()


def has_answered(server: Server) -> bool:
    try:
        return server.predict({"x": [ROW]}) == (200, {"y": [[False]]})
    except (OSError, http.client.HTTPException):
        return False
