"""A worker that is to end: new connections are refused, and all others are read first."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

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


@contextmanager
def draining(*sockets: socket.socket) -> Iterator[threading.Thread]:
    """A thread that drains these sockets, and ends before this does."""
    thread = threading.Thread(target=drain_connections, args=[sockets, 600])
    thread.start()
    yield thread
    thread.join(120)
    assert not thread.is_alive()


def test_new_connections_are_refused_and_those_that_wait_are_accepted_first(listener: socket.socket) -> None:
    address = listener.getsockname()
    with socket.create_connection(address[:2]), draining(listener) as thread:
        assert soon(lambda: not takes(address))
        assert thread.is_alive(), "a connection waits to be accepted"
        listener.setblocking(False)
        with suppress(BlockingIOError):
            while True:  # that one, and those that `takes` has made before new ones were refused
                listener.accept()[0].close()


def test_connections_are_read_first(listener: socket.socket) -> None:
    with (
        socket.create_connection(listener.getsockname()[:2]) as client,
        listener.accept()[0] as accepted,
        draining(accepted) as thread,
    ):
        time.sleep(0.5)  # longer than a drain that has nothing to wait for
        assert thread.is_alive(), "the client has sent nothing"
        client.sendall(b"x")
        time.sleep(0.5)
        assert thread.is_alive(), "what it has sent is not read"
        assert accepted.recv(1) == b"x"


def takes(address: tuple[str, int]) -> bool:
    """Whether a new connection is made at once."""
    try:
        socket.create_connection(address[:2], timeout=0.2).close()
    except TimeoutError:
        return False
    return True


GOAWAY = bytes.fromhex("000008 07 00 00000000 7fffffff 00000000")  # RFC 9113, section 6.8


def test_clients_of_grpc_are_told_to_leave_when_the_server_has_begun_to_speak(listener: socket.socket) -> None:
    """Once, and not on the connections of other ports."""
    port = listener.getsockname()[1]
    with socket.create_connection(listener.getsockname()[:2]) as client, listener.accept()[0] as accepted:
        client.sendall(b"x")
        assert accepted.recv(1) == b"x"
        drain_connections([accepted], 0.5, port)
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(1)  # the first frame has to be the server's SETTINGS
        accepted.sendall(b"SETTINGS")
        drain_connections([accepted], 60, port + 1)
        assert client.recv(100) == b"SETTINGS"
        drain_connections([accepted], 60, port)
        assert client.recv(100) == GOAWAY
        with pytest.raises(BlockingIOError):
            client.recv(1)


def test_no_frame_is_written_into_an_answer(listener: socket.socket) -> None:
    with socket.create_connection(listener.getsockname()[:2]) as client, listener.accept()[0] as accepted:
        client.sendall(b"x")
        accepted.recv(1)
        accepted.setblocking(False)
        sent = 0
        with suppress(BlockingIOError):
            while True:
                sent += accepted.send(b"a" * 100_000)
        drain_connections([accepted], 0.5, listener.getsockname()[1])
        received = b""
        while len(received) < sent:
            received += client.recv(1 << 20)
        assert set(received) == {ord("a")}


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
