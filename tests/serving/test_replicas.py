"""Two servers behind a proxy with the configurations in deploy/: one is killed, ended, renewed, or slow for ever."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from proxies import SECOND, behind
from replicas import HOSTS, BadServer, Replicas, cut, loaded, trickle, write_same
from servers import free_port
from serving_models import PREDICT, Server, at_once, head, whole_answer

PROXIES = ("nginx", "haproxy")
REQUESTS = 20_000
AS_IT_IS = {SECOND: SECOND}
QUICK = {  # a proxy that waits a second for an answer, not a minute
    "nginx": {**AS_IT_IS, "proxy_read_timeout 60s": "proxy_read_timeout 1s"},
    "haproxy": {**AS_IT_IS, "timeout server 60s": "timeout server 1s"},
}


@pytest.fixture(params=PROXIES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def replicas(tmp_path: Path) -> Iterator[Replicas]:
    """No server yet."""
    with Replicas(write_same(tmp_path / "same.onnx"), free_port()) as replicas:
        yield replicas


@pytest.fixture
def both(replicas: Replicas) -> Replicas:
    at_once(*(partial(replicas.start, host) for host in HOSTS))
    return replicas


def ask(address: tuple[str, int], number: int, timeout: float = 60) -> bytes:
    """All that comes back for one request, until the connection's end."""
    body = b'{"x":[%d]}' % number
    with socket.create_connection(address, timeout=timeout) as connection:
        connection.sendall(head(f"Connection: close\r\nContent-Length: {len(body)}") + body)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return answer


def count_answered(server: Server) -> int:
    """How many predictions a server has answered with 200, by its metrics."""
    wanted = f'serving_requests_total{{route="{PREDICT}",status="200"}}'
    lines = server.request("GET", "/metrics")[2].decode().splitlines()
    return sum(int(float(line.split()[-1])) for line in lines if line.startswith(wanted))


@pytest.mark.parametrize("how", ["kill", "end"])
def test_no_request_fails_if_a_server_does(both: Replicas, tmp_path: Path, name: str, how: str) -> None:
    with behind(name, tmp_path / name, (HOSTS[0], both.port), AS_IT_IS) as address, loaded(address) as load:
        getattr(both, how)(HOSTS[0])
        load.wait_for(REQUESTS - load.answered)
    assert load.failed == []
    assert load.answered >= REQUESTS


def test_no_request_fails_while_both_servers_are_renewed(both: Replicas, tmp_path: Path, name: str) -> None:
    """One is ended, started, and ready, and at once the other is ended."""
    with behind(name, tmp_path / name, (HOSTS[0], both.port), AS_IT_IS) as address, loaded(address) as load:
        for host in HOSTS:
            both.end(host)
            both.start(host)
        load.wait_for(2000)
    assert load.failed == []
    assert count_answered(both.servers[HOSTS[0]]) > 0  # the renewed one has answered while the other was renewed


def test_a_server_that_stands_still_is_left(both: Replicas, tmp_path: Path, name: str) -> None:
    """It takes connections and answers nothing; each of its requests is answered by the other one."""
    with behind(name, tmp_path / name, (HOSTS[0], both.port), QUICK[name]) as address, loaded(address) as load:
        both.signal(HOSTS[0], signal.SIGSTOP)
        load.wait_for(5000)
    both.signal(HOSTS[0], signal.SIGCONT)
    assert load.failed == []
    assert load.slowest > 1  # some did wait


def test_a_server_whose_answers_do_not_end_gets_few_requests(replicas: Replicas, tmp_path: Path, name: str) -> None:
    """No limit between two bytes ends such an answer; but new requests go where fewer are under way."""
    replicas.start(HOSTS[1])
    with (
        BadServer((HOSTS[0], replicas.port), trickle) as bad,
        behind(name, tmp_path / name, (HOSTS[0], replicas.port), AS_IT_IS) as address,
    ):
        waiting = []
        for number in range(40):
            connection = socket.create_connection(address, timeout=5)
            body = b'{"x":[%d]}' % number
            connection.sendall(head(f"Content-Length: {len(body)}") + body)
            try:
                assert whole_answer(connection).endswith(b'{"y":[%d.0]}' % number)
                connection.close()
            except TimeoutError:
                waiting.append(connection)
        for connection in waiting:
            connection.close()
    assert 1 <= len(waiting) <= 2
    assert bad.asked <= 2


def test_a_request_that_is_sent_again_is_answered_once(replicas: Replicas, tmp_path: Path, name: str) -> None:
    """The client gets one answer, its own; and no server answers a request twice."""
    replicas.start(HOSTS[1])
    with (
        BadServer((HOSTS[0], replicas.port), cut) as bad,
        behind(name, tmp_path / name, (HOSTS[0], replicas.port), AS_IT_IS) as address,
    ):
        for number in range(50):
            answer = ask(address, number)
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert answer.endswith(b'\r\n\r\n{"y":[%d.0]}' % number)
            assert answer.count(b"HTTP/1.1") == 1
    assert bad.asked > 0
    assert count_answered(replicas.servers[HOSTS[1]]) == 50


def test_a_request_that_ends_servers_ends_few(tmp_path: Path, name: str) -> None:
    """A proxy that tried for ever would give it to each server again and again."""
    port = free_port()
    with (
        BadServer((HOSTS[0], port), cut) as one,
        BadServer((HOSTS[1], port), cut) as two,
        behind(name, tmp_path / name, (HOSTS[0], port), AS_IT_IS) as address,
    ):
        assert ask(address, 1)[:12] in (b"HTTP/1.1 502", b"HTTP/1.1 503")
        assert one.asked + two.asked == {"nginx": 3, "haproxy": 4}[name]
