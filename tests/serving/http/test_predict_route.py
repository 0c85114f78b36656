"""Answers to unusual and malformed requests, sent by raw sockets: status, headers and body."""

from __future__ import annotations

import gzip
import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving_models import PREDICT, ROW, Server, serving, small_app
from werkzeug.exceptions import abort

HOST = b"Host: t\r\n"
BODY = json.dumps({"x": [ROW]}).encode()
HEAD = b"POST %s HTTP/1.1\r\n%sContent-Type: application/json\r\n" % (PREDICT.encode(), HOST)
WHOLE = HEAD + b"Content-Length: %d\r\n\r\n%s" % (len(BODY), BODY)
RIGHT = b'{"y":[[false]]}'


@pytest.fixture(scope="module")
def server(made: Path) -> Iterator[Server]:
    with serving("--frozen-model", made / "frozen_model.pb") as server:
        yield server


def ask(server: Server, request: bytes, *, body: bool = True) -> tuple[int, dict[str, str], bytes]:
    """Status, headers (lower case) and body of the first answer to these bytes."""
    with socket.create_connection(server.address, timeout=30) as connection:
        connection.sendall(request)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
            head, end, rest = received.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", head)
            if end and (not body or (length is not None and len(rest) >= int(length[1]))):
                break
    lines = head.decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:])
    if body:
        assert len(rest) == int(headers["content-length"])
    return int(lines[0].split()[1]), headers, rest


@pytest.mark.parametrize(
    "request_bytes",
    [
        WHOLE.replace(b"HTTP/1.1", b"HTTP/1.0"),
        b"\r\n\r\n" + WHOLE,
        WHOLE.replace(HOST, b""),
        WHOLE.replace(b"/api/predict", b"http://elsewhere/api/predict"),
        WHOLE.replace(b"/api/predict", b"/api/predict?a=b"),
        WHOLE.replace(b"/api/predict", b"//api//predict"),
        WHOLE.replace(HOST, HOST + b"X: \xe4\xff\r\n"),
        WHOLE.replace(HOST, HOST + b"Content-Encoding: Identity\r\n"),
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x;a=b\r\n%s\r\n0\r\nTrailer: x\r\n\r\n" % (len(BODY), BODY),
        # Chunks take precedence over a length, and the connection is closed, so the rest is no second request.
        HEAD + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY),
    ],
)
def test_unusual_requests_are_answered(server: Server, request_bytes: bytes) -> None:
    status, headers, body = ask(server, request_bytes)
    assert (status, headers["content-type"], body) == (200, "application/json", RIGHT)


def test_a_client_that_expects_100_continue_gets_it(server: Server) -> None:
    head, body = WHOLE.split(b"\r\n\r\n")
    with socket.create_connection(server.address, timeout=30) as connection:
        connection.sendall(head + b"\r\nExpect: 100-continue\r\n\r\n")
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body)
        assert connection.recv(65536).endswith(RIGHT)


@pytest.mark.parametrize(
    ("line", "status", "error", "allow"),
    [
        ("GET /none", 404, "nothing is at /none; predictions are at /api/predict, a page to try them is at /", None),
        ("GET /static/x", 404, "nothing is at /static/x; ", None),
        ("GET /%0a%ff%00", 404, "nothing is at /?", None),
        ("GET /" + "a" * 10_000, 404, "nothing is at /" + "a" * 119 + "…; ", None),
        ("OPTIONS *", 404, "nothing is at ", None),
        ("CONNECT t:80", 404, "nothing is at ", None),
        ("POST //nowhere", 404, "nothing is at /nowhere; ", None),
        (f"POST {PREDICT}/%c3%a9%0a", 404, f"nothing is at {PREDICT}/é?; predictions are at {PREDICT}", None),
        (f"POST {PREDICT}/", 404, f"nothing is at {PREDICT}/; predictions are at {PREDICT}", None),
        ("POST /healthz", 405, "/healthz takes GET and HEAD, not POST", "GET, HEAD"),
        ("OPTIONS /healthz", 405, "/healthz takes GET and HEAD, not OPTIONS", "GET, HEAD"),
        ("TRACE /", 405, "/ takes GET and HEAD, not TRACE", "GET, HEAD"),
        ("A" * 1000 + " /metrics", 405, "/metrics takes GET and HEAD, not " + "A" * 120 + "…", "GET, HEAD"),
        (f"OPTIONS {PREDICT}", 405, f"{PREDICT} takes POST, not OPTIONS", "POST"),
        (f"!#$%&'*+-.^_`|~ {PREDICT}", 405, f"{PREDICT} takes POST, not !#$%&'*+-.^_`|~", "POST"),
        (
            f"POST {PREDICT}",
            415,
            "Content-Type: expected application/json (in UTF-8) or application/x-npy, got none",
            None,
        ),
    ],
)
def test_every_refusal_is_json(server: Server, line: str, status: int, error: str, allow: str | None) -> None:
    given, headers, body = ask(server, line.encode() + b" HTTP/1.1\r\n" + HOST + b"X-Request-Id: mine\r\n\r\n")
    assert (given, headers["content-type"]) == (status, "application/json")
    answer = json.loads(body)
    assert answer.pop("request_id") == headers["x-request-id"] == "mine"
    assert list(answer) == ["error"]
    assert answer["error"].startswith(error)
    assert (None if allow is None else ", ".join(sorted(headers["allow"].upper().split(", ")))) == allow


def test_a_compressed_body_is_unpacked(server: Server) -> None:
    packed = gzip.compress(BODY)
    head = HEAD + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(packed)
    status, _, body = ask(server, head + packed)
    assert (status, json.loads(body)) == (200, {"y": [[False]]})
    status, _, body = ask(server, HEAD + b"Content-Encoding: br\r\nContent-Length: 3\r\n\r\nabc")
    error = "Content-Encoding: expected gzip, deflate or none, got 'br'; send the body as it is"
    assert (status, json.loads(body)["error"]) == (415, error)


@pytest.mark.parametrize(("path", "status"), [("/healthz", 200), ("/", 200), ("/none", 404), (PREDICT, 405)])
def test_head_is_answered_with_the_headers_alone(server: Server, path: str, status: int) -> None:
    """The next request on the same connection is answered too."""
    request = b"%s %s HTTP/1.1\r\n" + HOST + b"\r\n"
    given, headers, body = ask(server, request % (b"HEAD", path.encode()), body=False)
    assert (given, body) == (status, b"")
    if path != PREDICT:
        shown = ask(server, request % (b"GET", path.encode()))
        assert {**shown[1], "x-request-id": ""} == {**headers, "x-request-id": "", "date": shown[1]["date"]}
    with socket.create_connection(server.address, timeout=30) as connection:
        connection.sendall(request % (b"HEAD", path.encode()) + WHOLE)
        received = b""
        while not received.endswith(RIGHT):
            received += connection.recv(65536)
        assert received.count(b"HTTP/1.1") == 2


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"hello\r\n\r\n", 400),
        (bytes.fromhex("160301020001000001fc0303") + b"\0" * 100 + b"\r\n\r\n", 400),  # the beginning of TLS
        (b"GET /healthz\r\n\r\n", 400),  # HTTP 0.9
        (b"GET /healthz HTTP/2.0\r\n" + HOST + b"\r\n", 400),
        (b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"{} /healthz HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\n" + HOST + b"no colon\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: \0\r\n\r\n", 400),
        (HEAD + b"Content-Length: -1\r\n\r\n", 400),
        (HEAD + b"Content-Length: 1e3\r\n\r\n", 400),
        (HEAD + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", 400),
        (HEAD + b"Content-Length: 99999999999999999999\r\n\r\n", 400),
        (HEAD + b"Transfer-Encoding: gzip\r\n\r\nabc", 400),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 414),
        (b"GET /healthz HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 200 + b"\r\n", 431),
    ],
)
def test_malformed_http_is_refused_without_a_body(server: Server, request_bytes: bytes, status: int) -> None:
    """Granian's parser answers these itself, in a way that cannot be changed; docs/serving.md describes it."""
    given, headers, body = ask(server, request_bytes)
    assert (given, body, headers["connection"]) == (status, b"", "close")
    assert "content-type" not in headers


def test_http_2_is_refused(server: Server) -> None:
    with socket.create_connection(server.address, timeout=30) as connection:
        connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
        assert connection.recv(1000) == b""


@pytest.mark.parametrize("status", [400, 404, 405, 408, 413, 415, 422, 429, 500, 503, 504])
def test_every_error_of_the_application_is_json(status: int) -> None:
    app = small_app("two")
    app.before_request(lambda: abort(status))
    answer = app.test_client().get("/healthz", headers={"X-Request-Id": "mine"})
    assert (answer.status_code, answer.content_type) == (status, "application/json")
    assert answer.get_json()["request_id"] == answer.headers["X-Request-Id"] == "mine"
    assert isinstance(answer.get_json()["error"], str)
