"""A worker that is to end: new connections are refused, and all others are read first."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator

import pytest
from serving_models import soon

from serialization.serving.http.drain import drain_connections, split_grace


@pytest.fixture(params=["127.0.0.1", "::1"])
def listener(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    try:
        with socket.create_server((request.param, 0), family=family) as listener:
            yield listener
    except OSError as error:
        pytest.skip(f"optional: a machine with IPv6; {error}")


def test_all_connections_are_accepted_and_read_first(listener: socket.socket) -> None:
    sockets = [listener]
    address = listener.getsockname()
    with socket.create_connection(address[:2]) as waiting:
        draining = threading.Thread(target=drain_connections, args=[sockets, 60])
        draining.start()
        assert soon(lambda: not takes(address))
        assert draining.is_alive(), "a connection waits to be accepted"
        accepted, _ = listener.accept()
        with accepted:
            sockets.append(accepted)
            time.sleep(0.5)  # longer than a drain that has nothing to wait for
            assert draining.is_alive(), "the client has sent nothing"
            waiting.sendall(b"x")
            assert accepted.recv(1) == b"x"
            draining.join(30)
            assert not draining.is_alive()


def takes(address: tuple[str, int]) -> bool:
    """Whether a new connection is made at once."""
    try:
        socket.create_connection(address[:2], timeout=0.2).close()
    except TimeoutError:
        return False
    return True


def test_what_never_sends_ends_with_the_time(listener: socket.socket) -> None:
    with socket.create_connection(listener.getsockname()[:2]):
        drain_connections([listener], 0.3)


def test_other_sockets_are_left_alone() -> None:
    left, right = socket.socketpair()
    with left, right, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams, socket.socket() as unused:
        drain_connections([left, right, datagrams, unused], 60)


def test_the_parts_of_the_grace_leave_time_for_requests() -> None:
    for grace in (0.01, 1.0, 30.0, 3600.0):
        notice, longest = split_grace(grace)
        assert 0 < notice + longest < grace
        assert notice <= 0.5
        assert longest <= 5
