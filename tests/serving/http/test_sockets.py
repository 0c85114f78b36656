"""The sockets of a process are found without opening a descriptor."""

from __future__ import annotations

import http.client
import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving_models import BODY, ROW, Server, head, serving, soon, worker_of

from serialization.serving.http.sockets import Sockets


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


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    found = Sockets()
    yield found
    found.close()


def ports(sockets: Sockets) -> set[int]:
    return {found.getsockname()[1] for found in sockets if found.family == socket.AF_INET}


def test_open_sockets_are_found_and_closed_ones_are_not(sockets: Sockets) -> None:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        opened = {one.getsockname()[1], other.getsockname()[1]}
        assert opened <= ports(sockets)
        os.fstat(one.fileno())  # still open, although its copy is gone
    assert not opened & ports(sockets)


def test_looking_takes_no_descriptor(sockets: Sockets) -> None:
    descriptors = Path("/proc/self/fd")
    with socket.create_server(("127.0.0.1", 0)) as server:
        before, seen = len(list(descriptors.iterdir())), 0
        for found in sockets:
            seen += found.family == socket.AF_INET and found.getsockname() == server.getsockname()
            assert len(list(descriptors.iterdir())) == before
        assert seen == 1


def test_a_look_that_ends_early_holds_no_socket_open(sockets: Sockets) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        for found in sockets:
            if found.family == socket.AF_INET and found.getsockname() == address:
                break
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
