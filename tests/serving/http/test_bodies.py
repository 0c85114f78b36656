"""Bodies of all lengths and speeds are read or refused."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving_models import BODY, ROW, Server, head, serving, whole_answer, worker_of, write_small


@pytest.fixture(scope="module")
def toy_server(frozen_model: Path) -> Iterator[Server]:
    with serving("--frozen-model", frozen_model, "--body-timeout", 1, "--max-body-mb", 1, "--max-rows", 5) as server:
        yield server


def talk(server: Server, *parts: bytes | float) -> bytes:
    """The answer on a connection that sends these parts; a number is a pause in seconds."""
    with socket.create_connection(server.address, timeout=30) as connection:
        for part in parts:
            if isinstance(part, bytes):
                connection.sendall(part)
            else:
                time.sleep(part)
        return whole_answer(connection)


def test_a_body_in_chunks_is_read(toy_server: Server) -> None:
    chunks = b"%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (10, BODY[:10], len(BODY) - 10, BODY[10:])
    assert talk(toy_server, head("Transfer-Encoding: chunked"), chunks).endswith(b'{"y":[[false]]}')


@pytest.mark.parametrize(
    ("parts", "status", "error"),
    [
        ((head("Content-Length: 1000001"),), 413, "the body has 1,000,001 bytes; at most 1,000,000 are accepted"),
        (
            (head("Transfer-Encoding: chunked"), b"f4241\r\n" + b" " * 1_000_001 + b"\r\n0\r\n\r\n"),
            413,
            "the body has more than 1,000,000 bytes",
        ),
        ((head("Content-Length: 31") + BODY[:20],), 408, "only 20 of 31 bytes arrived in time"),
        ((head("Content-Length: 1"),), 408, "only 0 of 1 byte arrived in time"),
        ((head("Transfer-Encoding: chunked") + b"5\r\nabcde\r\n",), 408, "the body did not arrive in time"),
        (
            (head("Content-Length: 40"), *[part for byte in BODY[:9] for part in (bytes([byte]), 0.1)]),
            408,
            "bytes arrived in time",
        ),
    ],
)
def test_long_and_late_bodies_are_refused(toy_server: Server, parts: tuple[bytes], status: int, error: str) -> None:
    answer = talk(toy_server, *parts)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert error in json.loads(answer.partition(b"\r\n\r\n")[2])["error"]


def test_late_bodies_leave_no_descriptor_behind(toy_server: Server) -> None:
    descriptors = Path(f"/proc/{worker_of(toy_server)}/fd")
    before = len(list(descriptors.iterdir()))
    for _ in range(3):
        assert b" 408 " in talk(toy_server, head("Content-Length: 31") + BODY[:20])
    until = time.monotonic() + 10
    while (after := len(list(descriptors.iterdir()))) > before:  # the server closes a connection a moment later
        assert time.monotonic() < until, f"{before} before, {after} after"
        time.sleep(0.01)


def test_a_late_body_does_not_end_another_request(tmp_path: Path) -> None:
    """The connection of a long run looks to the server like the connection of a late body."""
    with serving(*write_small("slow", tmp_path), "--body-timeout", 1) as server:
        began, rounds = time.monotonic(), 100_000
        assert server.predict({"x": [rounds]})[0] == 200
        rounds = int(3 * rounds / (time.monotonic() - began))  # for three seconds
        answers = []
        asking = threading.Thread(target=lambda: answers.append(server.predict({"x": [rounds]})))
        asking.start()
        assert b" 408 " in talk(server, head("Content-Length: 31") + BODY[:20])
        asking.join()
        assert answers == [(200, {"y": [rounds]})]


def test_stalled_clients_do_not_block_others(toy_server: Server) -> None:
    for count in (1, 100):
        stalled = [socket.create_connection(toy_server.address) for _ in range(count)]
        for connection in stalled:
            connection.sendall(head(f"Content-Length: {len(BODY)}") + BODY[:20])
        for _ in range(5):
            assert toy_server.predict({"x": [ROW]}) == (200, {"y": [[False]]})
        for connection in stalled:
            connection.sendall(BODY[20:])
            assert whole_answer(connection).endswith(b'{"y":[[false]]}')
            connection.close()
