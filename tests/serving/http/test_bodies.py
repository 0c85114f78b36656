"""Bodies of all lengths and speeds are read or refused."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from serving_models import BODY, PREDICT, ROW, Server, head, serving, whole_answer, worker_of, write_small

from serialization.serving.http.bodies import BodyReader
from serialization.serving.limits import Settings
from serialization.serving.requests import RequestError


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


@pytest.mark.parametrize("path", [PREDICT, "/nowhere"])
@pytest.mark.parametrize("in_chunks", [False, True])
def test_a_client_that_sends_all_of_a_long_body_gets_its_answer(toy_server: Server, path: str, in_chunks: bool) -> None:
    """The kernel would reset the connection of a client whose body is not read."""
    pieces = [b" " * 100_000] * 200
    body: Any = iter(pieces) if in_chunks else b"".join(pieces)
    status, _, answer = toy_server.request("POST", path, body, Content_Type="application/json")
    assert status == (413 if path == PREDICT else 404)
    assert "request_id" in json.loads(answer)


def test_a_client_that_asks_first_need_not_send_its_long_body(toy_server: Server) -> None:
    answer = talk(toy_server, head("Content-Length: 100000000\r\nExpect: 100-continue"))
    assert answer.startswith(b"HTTP/1.1 413 ")


def test_late_bodies_leave_no_descriptor_behind(toy_server: Server) -> None:
    descriptors = Path(f"/proc/{worker_of(toy_server)}/fd")
    before = len(list(descriptors.iterdir()))
    for _ in range(3):
        assert b" 408 " in talk(toy_server, head("Content-Length: 31") + BODY[:20])
    until = time.monotonic() + 10
    while (after := len(list(descriptors.iterdir()))) > before:  # the server closes a connection a moment later
        assert time.monotonic() < until, f"{before} before, {after} after"
        time.sleep(0.01)


def test_a_late_body_does_not_end_an_idle_connection(toy_server: Server) -> None:
    """A proxy sends its next request on such a connection, and both come from its address."""
    with socket.create_connection(toy_server.address, timeout=60) as idle:
        for _ in range(2):
            idle.sendall(head(f"Content-Length: {len(BODY)}") + BODY)
            assert whole_answer(idle).endswith(b'{"y":[[false]]}')
            assert b" 408 " in talk(toy_server, head("Content-Length: 31") + BODY[:20])


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


class Pieces(io.BytesIO):
    """An input that gives at most three bytes at once, as a server may."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(min(size or 0, 3))


class Broken(io.BytesIO):
    """An input whose client is gone."""

    def read(self, size: int | None = -1) -> bytes:
        raise ConnectionResetError("reset by peer")


@pytest.fixture(scope="module")
def reader() -> BodyReader:
    return BodyReader(Settings(max_body_mb=1), list)


def read(reader: BodyReader, source: io.BytesIO, **environ: Any) -> bytes:
    return reader.read({"wsgi.input": source, **environ}, time.perf_counter())


@pytest.mark.parametrize(
    ("environ", "body"),
    [
        ({"CONTENT_LENGTH": "4"}, b"abcd"),
        ({"CONTENT_LENGTH": "0004"}, b"abcd"),
        ({"CONTENT_LENGTH": "0"}, b""),
        ({"CONTENT_LENGTH": ""}, b""),
        ({}, b""),
        ({"HTTP_TRANSFER_ENCODING": "chunked"}, b"abcdefgh"),
        ({"wsgi.input_terminated": True}, b"abcdefgh"),
    ],
)
def test_as_much_is_read_as_the_request_says(reader: BodyReader, environ: dict[str, Any], body: bytes) -> None:
    given = io.BytesIO if "CONTENT_LENGTH" in environ else Pieces
    assert read(reader, given(b"abcdefgh"), **environ) == body


@pytest.mark.parametrize(
    ("source", "environ", "status", "message"),
    [
        (io.BytesIO(), {"CONTENT_LENGTH": "-1"}, 400, "Content-Length: expected a whole number, got '-1'"),
        (io.BytesIO(), {"CONTENT_LENGTH": "²"}, 400, "Content-Length: expected a whole number, got '²'"),
        (
            io.BytesIO(),
            {"CONTENT_LENGTH": "1" * 5000},
            413,
            f"the body has {int('1' * 20):,} bytes; at most 1,000,000 are accepted",
        ),
        (
            io.BytesIO(),
            {"CONTENT_LENGTH": "1000001"},
            413,
            "the body has 1,000,001 bytes; at most 1,000,000 are accepted",
        ),
        (io.BytesIO(b"abc"), {"CONTENT_LENGTH": "4"}, 400, "the body ends after 3 of 4 bytes"),
        (Broken(), {"CONTENT_LENGTH": "4"}, 400, "the body could not be read: reset by peer"),
        (Broken(), {"HTTP_TRANSFER_ENCODING": "chunked"}, 400, "the body could not be read: reset by peer"),
        (
            io.BytesIO(b" " * 1_000_001),
            {"HTTP_TRANSFER_ENCODING": "chunked"},
            413,
            "the body has more than 1,000,000 bytes",
        ),
    ],
)
def test_a_body_that_is_too_long_or_cut_off_is_refused(
    reader: BodyReader, source: io.BytesIO, environ: dict[str, Any], status: int, message: str
) -> None:
    with pytest.raises(RequestError) as caught:
        read(reader, source, **environ)
    assert (caught.value.status, str(caught.value)) == (status, message)


def test_a_body_of_just_the_limit_is_taken(reader: BodyReader) -> None:
    whole = b" " * 1_000_000
    assert read(reader, io.BytesIO(whole), CONTENT_LENGTH="1000000") == whole
    assert read(reader, io.BytesIO(whole), HTTP_TRANSFER_ENCODING="chunked") == whole


def test_a_thread_that_waits_for_a_body_is_known(reader: BodyReader) -> None:
    seen = []

    class Watched(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            seen.append(reader.reads(threading.get_ident()))
            return super().read(size)

    read(reader, Watched(b"ab"), CONTENT_LENGTH="2")
    assert seen == [True]
    assert not reader.reads(threading.get_ident())
