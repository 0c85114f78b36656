"""The server behind real proxies, with the configurations in deploy/: paths, clients, bodies, idle connections."""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import PROJECT
from proxies import DEPLOY, PROXIES, Tap, behind
from serving_models import BODY, PREDICT, ROW, Server, at_once, serving, soon, whole_answer

from serialization.serving.limits import Settings

JSON = {"Content-Type": "application/json"}
Address = tuple[str, int]
LONG = json.dumps({"x": [ROW] * 3000}).encode()
CLIENT = "127.0.0.2"  # the address from which these tests ask, so that it is not the proxy's


class Proxied(NamedTuple):
    """A proxy's name, and the server as the proxy's clients see it."""

    name: str
    server: Server


@pytest.fixture(scope="module")
def server(made: Path) -> Iterator[Server]:
    flags = ["--path-prefix", "/models/toy", "--trust-proxy", 1, "--log-format", "json", "--model-name", "toy"]
    flags += ["--idle-timeout", 60]
    with serving("--frozen-model", made / "frozen_model.pb", *flags) as server:
        yield server


@pytest.fixture(scope="module", params=PROXIES)
def proxy(
    request: pytest.FixtureRequest, server: Server, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxied]:
    """A proxy in front of the server."""
    with behind(request.param, tmp_path_factory.mktemp(request.param), server.address) as address:
        yield Proxied(request.param, Server(server.process, "http://{}:{}".format(*address), []))


def raw(server: Server, sent: bytes) -> bytes:
    """The bytes that answer these bytes, sent from CLIENT."""
    with socket.create_connection(server.address, timeout=60, source_address=(CLIENT, 0)) as connection:
        connection.sendall(sent)
        received = b""
        while chunk := connection.recv(65536):
            received += chunk
        return received


def log_of(server: Server, request_id: str) -> dict[str, Any]:
    """The line of a request in the log."""
    assert server.process.stdout is not None
    for line in server.process.stdout:
        entry: dict[str, Any] = json.loads(line)
        if entry["id"] == request_id:
            return entry
    raise AssertionError("the server has ended")


@pytest.mark.parametrize("prefix", ["/toy", "/models/toy"])  # taken off by the proxy, and by the server
def test_all_routes_are_there_below_a_path(proxy: Proxied, prefix: str) -> None:
    asked = proxy.server
    status, headers, _ = asked.request("GET", prefix)
    assert status in (301, 302, 308)
    assert headers["location"].removeprefix(asked.url) == f"{prefix}/"
    assert b"<title>Predictions</title>" in asked.request("GET", f"{prefix}/")[2]
    document = json.loads(asked.request("GET", f"{prefix}/openapi.json")[2])
    assert document["servers"] == [{"url": "."}]
    for path in ("/healthz", "/readyz", "/metrics", "/v1/models/toy", "/v2/models/toy/ready"):
        assert path in document["paths"] or path.endswith("ready")
        assert asked.request("GET", prefix + path)[0] == 200
    assert asked.request("POST", f"{prefix}{PREDICT}", BODY, **JSON)[2] == b'{"y":[[false]]}'
    assert asked.request("POST", f"{prefix}/v1/models/toy:predict", json.dumps({"instances": [ROW]}))[0] == 200
    assert b"nothing is at" in asked.request("GET", f"{prefix}/none")[2]


LONG_ADDRESS = b"9" * 6000
HEADERS = {
    "none": b"",
    "of the client": b"X-Forwarded-For: 1.1.1.1\r\n",
    "several": b"X-Forwarded-For: 1.1.1.1, 2.2.2.2\r\nX-Forwarded-For: 3.3.3.3\r\n",
    "empty": b"X-Forwarded-For:\r\nX-Forwarded-Host:\r\nX-Forwarded-Proto: \r\n",
    "long": b"X-Forwarded-For: %s\r\nX-Forwarded-Host: %s\r\n" % (LONG_ADDRESS, LONG_ADDRESS),
    "with underscores": b"X-Forwarded-For: 1.1.1.1\r\nX_Forwarded_For: 6.6.6.6\r\n",
    "no text": b"X-Forwarded-For: \xff\xfe\r\n",
    "a path": b"X-Forwarded-Prefix: /other\r\nX-Forwarded-Host: a.example\r\nForwarded: for=6.6.6.6\r\n",
}


@pytest.mark.parametrize("kind", HEADERS)
def test_the_log_has_the_client_that_the_proxy_saw(proxy: Proxied, server: Server, kind: str) -> None:
    """Whatever the client itself says."""
    request_id = f"{proxy.name}-{kind.replace(' ', '-')}"
    sent = f"GET /models/toy/healthz HTTP/1.1\r\nHost: t\r\nConnection: close\r\nX-Request-Id: {request_id}\r\n"
    assert raw(proxy.server, sent.encode() + HEADERS[kind] + b"\r\n").startswith(b"HTTP/1.1 200 OK\r\n")
    entry = log_of(server, request_id)
    assert (entry["path"], entry["status"]) == ("/models/toy/healthz", 200)
    if kind == "no text" and proxy.name != "haproxy":  # which adds a header of its own; granian drops the others'
        assert entry["client"] == "127.0.0.1"
    elif proxy.name == "envoy":  # it says its machine's own address in place of one of the same machine
        assert entry["client"] not in ("127.0.0.1", "1.1.1.1", "3.3.3.3", "6.6.6.6", LONG_ADDRESS.decode()[:100])
        assert re.fullmatch(r"[\d.]+|[\da-f:]+", entry["client"])
    else:
        assert entry["client"] == CLIENT


def test_headers_that_are_too_long_harm_nobody(proxy: Proxied) -> None:
    head = b"GET /healthz HTTP/1.1\r\nHost: t\r\nConnection: close\r\nX-Forwarded-For: %s\r\n\r\n" % (b"9" * 50_000)
    assert raw(proxy.server, head)[:13] in (b"HTTP/1.1 200 ", b"HTTP/1.1 400 ")
    assert proxy.server.predict({"x": [ROW]})[0] == 200


@pytest.mark.parametrize(("trusted", "client"), [(0, "127.0.0.1"), (2, CLIENT)])
def test_each_proxy_in_front_adds_an_address(made: Path, tmp_path: Path, trusted: int, client: str) -> None:
    """HAProxy behind nginx: the server sees HAProxy, HAProxy sees nginx, and nginx sees the client."""
    flags = ["--trust-proxy", trusted] if trusted else []
    with ExitStack() as stack:
        server = stack.enter_context(
            serving("--frozen-model", made / "frozen_model.pb", "--log-format", "json", *flags)
        )
        address = stack.enter_context(behind("haproxy", tmp_path / "haproxy", server.address))
        address = stack.enter_context(behind("nginx", tmp_path / "nginx", address))
        asked = Server(server.process, "http://{}:{}".format(*address), [])
        raw(asked, b"GET /healthz HTTP/1.1\r\nHost: t\r\nConnection: close\r\nX-Request-Id: twice\r\n\r\n")
        assert log_of(server, "twice")["client"] == client


def pieces(body: bytes) -> Iterator[bytes]:
    """The body in pieces, which http.client sends as chunks."""
    return (body[i : i + 100_000] for i in range(0, len(body), 100_000))


@pytest.mark.parametrize("path", [PREDICT, "/v1/models/toy:predict", "/v2/models/toy/infer"])
def test_bodies_with_a_length_and_in_chunks(proxy: Proxied, path: str) -> None:
    asked = proxy.server
    if path == PREDICT:
        for body in (LONG, pieces(LONG)):
            status, _, answer = asked.request("POST", path, body, **JSON)
            assert (status, len(json.loads(answer)["y"])) == (200, 3000)
    long = b" " * 40_000_000
    for body in (long, pieces(long)):  # the proxy takes it, and the server answers in the form of the protocol
        status, headers, answer = asked.request("POST", path, body, **JSON)
        assert (status, headers["content-type"]) == (413, "application/json")
        assert re.search("the body has (40,000,000 bytes; at most|more than) 32,000,000", json.loads(answer)["error"])


def test_a_client_that_asks_first_is_told_to_go_on(proxy: Proxied) -> None:
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nExpect: 100-continue\r\n"
    with socket.create_connection(proxy.server.address, timeout=60) as connection:
        connection.sendall(head.encode() + b"Content-Length: %d\r\n\r\n" % len(BODY))
        assert connection.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        assert whole_answer(connection).startswith(b"HTTP/1.1 200 OK\r\n")


def test_a_length_beside_chunks_is_no_second_request(proxy: Proxied) -> None:
    """The proxy and the server agree on where the request ends (RFC 9112, section 6.3); else the next client would get
    the answer to the hidden one.
    """
    head = f"POST {PREDICT} HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nConnection: close\r\n".encode()
    hidden = b"GET /hidden HTTP/1.1\r\nHost: t\r\n\r\n"
    body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY)
    sent = head + b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n" % len(body) + body + hidden
    assert raw(proxy.server, sent)[:13] == (b"HTTP/1.1 200 " if proxy.name == "haproxy" else b"HTTP/1.1 400 ")
    for _ in range(5):
        assert proxy.server.predict({"x": [ROW]}) == (200, {"y": [[False]]})


# What a configuration says of idle connections, and one second in its place.
IDLE = {
    "nginx": {"keepalive_timeout 60s": "keepalive_timeout 1s"},
    "haproxy": {"delay 2s": "delay 1s"},
    "envoy": {"idle_timeout: 60s": "idle_timeout: 1s"},
}


def ask_at_times(address: Address, around: float) -> None:
    """Ask on 20 connections that each pause for about so many seconds, twice; all requests have to be answered."""
    wrong: list[object] = []

    def ask(offset: float) -> None:
        connection = http.client.HTTPConnection(*address, timeout=60)
        for pause in (0, around + offset, around + offset):
            time.sleep(pause)
            connection.request("POST", PREDICT, BODY, JSON)
            answer = connection.getresponse()
            body = answer.read()
            if (answer.status, body) != (200, b'{"y":[[false]]}'):
                wrong.append((pause, answer.status, body))
        connection.close()

    at_once(*(partial(ask, i / 100) for i in range(-10, 10)))
    assert wrong == []


@pytest.mark.parametrize("name", PROXIES)
def test_the_proxy_ends_idle_connections_before_the_server(server: Server, tmp_path: Path, name: str) -> None:
    """As with the documented limits; the proxy's are shortened more than the server's."""
    with Tap(server.address) as tap, behind(name, tmp_path, tap.address, IDLE[name]) as address:
        ask_at_times(address, 1)
        assert soon(lambda: len(tap.ended_by) == tap.connections > 1)
        # HAProxy has no limit: it closes half of them again and again; the server may be first with the last ones.
        allowed = {"proxy", "server"} if name == "haproxy" else {"proxy"}
        assert "proxy" in tap.ended_by
        assert set(tap.ended_by) <= allowed, "the server has ended a connection that the proxy kept"


@pytest.fixture(scope="module")
def hasty_server(made: Path) -> Iterator[Server]:
    with serving("--frozen-model", made / "frozen_model.pb", "--idle-timeout", 1) as server:
        yield server


@pytest.mark.parametrize("name", PROXIES)
def test_no_request_is_lost_if_the_server_ends_idle_connections(
    hasty_server: Server, tmp_path: Path, name: str
) -> None:
    """Though its limit should be the longer one."""
    with Tap(hasty_server.address) as tap, behind(name, tmp_path, tap.address) as address:
        ask_at_times(address, 1)
        assert soon(lambda: "server" in tap.ended_by)


@pytest.mark.parametrize("name", PROXIES)
def test_a_request_that_meets_the_end_of_its_connection_is_sent_again(
    server: Server, tmp_path: Path, name: str
) -> None:
    body = json.dumps({"x": [ROW] * 400}).encode()  # 13 kB: HAProxy keeps no more than 16 kB
    with Tap(server.address, cut=True) as tap, behind(name, tmp_path, tap.address) as address:
        connection = http.client.HTTPConnection(*address, timeout=60)
        for _ in range(8):
            connection.request("POST", PREDICT, body, JSON)
            answer = connection.getresponse()
            assert (answer.status, len(json.loads(answer.read())["y"])) == (200, 400)
        connection.close()
        assert tap.cuts > 2


def test_the_manual_has_the_settings_that_run_here() -> None:
    text = (PROJECT / "docs" / "serving.md").read_text()
    rows = re.findall(r"^\| \[(\w+)\]\(\.\./deploy/([\w.]+)\) \| ([^|]*) \| ([^|]*) \|$", text, re.MULTILINE)
    assert {(name.lower(), file) for name, file, _, _ in rows} == {(n, p.file) for n, p in PROXIES.items()}
    for _, file, kept, settings in rows:
        configured = (DEPLOY / file).read_text()
        assert 0 < int(re.findall(r"(\d+) s\b", kept)[-1]) < Settings().idle_timeout
        named = re.findall(r"`([^`]+)`", settings)
        assert named
        for setting in named:
            assert setting in configured, f"deploy/{file} has no {setting}"
