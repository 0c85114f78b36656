"""The gRPC server: in this process, and as users run it, in confined workers that drain at the end."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from conftest import PROJECT, environment
from rpc_calls import (
    CHECK,
    INFER,
    PREDICT,
    call,
    infer_request,
    make_tensor,
    predict_request,
    read_response,
    rpc_serving,
)
from serving_models import ROW, Server, at_once, serving, small_app, soon, worker_of, write_small

import freezemodel_serve
from serialization.cli import call_main
from serialization.errors import UserError
from serialization.serving.rpc.health_service import WATCH
from serialization.serving.rpc.rpc_server import RpcServer

TOY = "Placeholder/inputs_placeholder"
LIMIT = 1_000_000  # bytes of a message


def refusal(address: str, method: str, message: bytes = b"", **metadata: str) -> tuple[str, str, dict[str, Any]]:
    """The code, the message and the trailing metadata that a call is refused with."""
    with pytest.raises(grpc.RpcError) as refused:
        call(address, method, message, **metadata)
    trailing = dict(refused.value.trailing_metadata() or ())
    return refused.value.code().name, refused.value.details(), trailing


def two(signature: str = "", name: str = "m", rows: tuple[int, int] = (1, 1)) -> bytes:
    inputs = {"a": make_tensor([[1, 2, 3]] * rows[0]), "b": make_tensor([2] * rows[1], "int32", int_val=[2])}
    return predict_request(inputs, name, signature)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    app = small_app("two", model_name="m", max_body_mb=1, log_format="json")
    with rpc_serving(app) as (_, address):
        yield address


def test_calls_are_answered_and_have_ids(address: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert read_response(call(address, PREDICT, two()))["sum"].tolist() == [[3, 4, 5]]
    code, message, trailing = refusal(address, PREDICT, two("none"), x_request_id="mine")
    assert (code, message) == ("FAILED_PRECONDITION", 'Serving signature key "none" not found.')
    assert trailing["x-request-id"] == "mine"
    capfd.readouterr()
    with grpc.insecure_channel(address) as channel:
        _, done = channel.unary_unary(PREDICT).with_call(two(), metadata=[("x-request-id", "mine-too")])
    assert dict(done.trailing_metadata())["x-request-id"] == "mine-too"
    entry = json.loads(capfd.readouterr().out)
    assert (entry["id"], entry["path"], entry["status"]) == ("mine-too", PREDICT, 200)
    assert entry["client"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("method", "message", "code", "details"),
    [
        (PREDICT, b"\xff", "INVALID_ARGUMENT", "the message is damaged"),
        (PREDICT, two(rows=(2, 3)), "INVALID_ARGUMENT", "the model refuses the values: "),
        (PREDICT, two(name="z"), "NOT_FOUND", "Servable not found for request: Latest(z)"),
        (INFER, infer_request("a", [[1, 2, 3]], raw=True), "INVALID_ARGUMENT", "missing input 'b'"),
        (CHECK, b"\x0a\1z", "NOT_FOUND", "no service z is here"),
        ("/a.b.C/D", b"", "UNIMPLEMENTED", "no service for /a.b.C/D; the services here are "),
        (f"{PREDICT}s", b"", "UNIMPLEMENTED", f"{PREDICT}s is not answered here; these are: "),
        ("/\u00e9", b"", "UNIMPLEMENTED", "no service for /"),
    ],
)
def test_what_is_refused_has_a_code_and_a_line(
    address: str, method: str, message: bytes, code: str, details: str
) -> None:
    found, line, _ = refusal(address, method, message)
    assert (found, line.startswith(details), "\n" in line) == (code, True, False), line
    assert call(address, CHECK) == b"\x08\1", "the server goes on"


def logged_statuses(capfd: pytest.CaptureFixture[str], path: str) -> list[int]:
    """The statuses of the next calls of a method in the log, once there are any."""
    lines: list[str] = []

    def read() -> bool:
        lines.extend(capfd.readouterr().out.splitlines())
        return len(lines) > 0

    assert soon(read)
    return [entry["status"] for entry in map(json.loads, lines) if entry["path"] == path]


def test_packed_messages_are_unpacked(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        answer = channel.unary_unary(PREDICT)(two(), compression=grpc.Compression.Gzip, timeout=120)
    assert read_response(answer)["positive"].tolist() == [True]


@pytest.mark.parametrize(
    ("message", "packing"),
    [(b"\0" * (LIMIT + 1), None), (b"\0" * 100 * LIMIT, grpc.Compression.Gzip)],  # 100 kB on the wire
)
def test_messages_that_grpc_itself_refuses_are_in_the_log(
    address: str, message: bytes, packing: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    with grpc.insecure_channel(address, options=[("grpc.max_send_message_length", -1)]) as channel:
        with pytest.raises(grpc.RpcError) as refused:
            channel.unary_unary(PREDICT)(message, compression=packing, timeout=120)
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        assert logged_statuses(capfd, PREDICT) == [400]


def test_bytes_that_are_no_grpc_end_their_connection_alone(address: str) -> None:
    host, _, port = address.rpartition(":")
    for sent in (
        b"GET / HTTP/1.1\r\nHost: t\r\n\r\n",
        b"\x16\x03\x01" + b"\xff" * 500,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\xff",
    ):
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1000):
                pass
    assert call(address, CHECK) == b"\x08\1"


def test_a_call_without_a_message(address: str, capfd: pytest.CaptureFixture[str]) -> None:
    capfd.readouterr()
    with grpc.insecure_channel(address) as channel, pytest.raises(grpc.RpcError) as refused:
        channel.stream_unary(PREDICT)(iter([]), timeout=120)
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert refused.value.details() == "the call has no message"
    assert logged_statuses(capfd, PREDICT) == [400]


def test_clients_that_send_no_message_are_cut_off(capfd: pytest.CaptureFixture[str]) -> None:
    """Each would else keep a thread for ever, and with it the place of another."""
    app = small_app("two", model_name="m", body_timeout=1, max_in_flight=1, log_format="json")
    ended = threading.Event()

    def nothing() -> Iterator[bytes]:
        ended.wait()
        yield from ()

    with rpc_serving(app) as (_, address), grpc.insecure_channel(address) as channel:
        calls = [channel.stream_unary(PREDICT).future(nothing(), timeout=120) for _ in range(30)]
        # Beyond the number of threads grpc itself refuses calls; how many come so far depends on the machine.
        assert {one.code().name for one in calls} <= {"CANCELLED", "UNAVAILABLE", "RESOURCE_EXHAUSTED"}
        assert any(one.code().name == "CANCELLED" for one in calls)
        assert set(logged_statuses(capfd, PREDICT)) == {408}
        assert call(address, PREDICT, two())
        ended.set()


def http2_frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """A frame of RFC 9113, section 4.1."""
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def test_a_client_that_reads_no_answer_is_cut_off() -> None:
    """It allows no bytes of an answer (SETTINGS_INITIAL_WINDOW_SIZE is 0), and keeps its connection."""
    app = small_app("two", model_name="m", body_timeout=1)
    headers = {":method": "POST", ":scheme": "http", ":path": PREDICT, ":authority": "t", "te": "trailers"}
    headers["content-type"] = "application/grpc"
    literals = [bytes([0, len(n)]) + n.encode() + bytes([len(v)]) + v.encode() for n, v in headers.items()]  # RFC 7541
    message = two()
    with rpc_serving(app) as (server, address):
        host, _, port = address.rpartition(":")
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + http2_frame(4, 0, 0, b"\0\4\0\0\0\0"))
            connection.sendall(http2_frame(1, 4, 1, b"".join(literals)))
            connection.sendall(http2_frame(0, 1, 1, b"\0" + len(message).to_bytes(4, "big") + message))
            received = connection.makefile("rb")
            kinds: list[int] = []
            while 3 not in kinds:  # RST_STREAM
                head = received.read(9)
                assert len(head) == 9, f"the connection was closed after the frames {kinds}"
                kinds.append(head[3])
                received.read(int.from_bytes(head[:3], "big"))
        assert soon(lambda: not server._waiting._since), "nothing is kept of it"


def test_an_error_is_short_enough_for_any_client() -> None:
    app = small_app("two", model_name="m", max_body_mb=1)
    with rpc_serving(app) as (_, address):
        code, line, _ = refusal(address, PREDICT, predict_request({"\u00e9" * 100_000: make_tensor([1])}))
        assert (code, line.startswith("unknown input '\u00e9"), len(line) <= 1000) == ("INVALID_ARGUMENT", True, True)


def test_too_many_requests_and_runs_that_take_too_long() -> None:
    app = small_app("slow", model_name="m", max_in_flight=1, timeout=1)
    route = app.config["SERVING"]
    message = predict_request({"steps": make_tensor([10_000_000], "int32", int_val=[10_000_000])})
    with rpc_serving(app) as (_, address):
        code, details, _ = refusal(address, PREDICT, message)
        assert (code, details) == ("DEADLINE_EXCEEDED", "the model took longer than 1 s")
        route._in_flight.add(None)  # one that has no end
        code, details, _ = refusal(address, PREDICT, message)
        assert (code, details) == ("UNAVAILABLE", "1 request in flight already; try again soon")
        assert call(address, CHECK) == b"\x08\1", "probes are answered"


def test_a_client_may_leave(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        calls = [channel.unary_unary(PREDICT).future(two(), timeout=120) for _ in range(50)]
        for one in calls:
            one.cancel()
    assert read_response(call(address, PREDICT, two()))["positive"].tolist() == [True]


def test_who_watches_is_told_of_the_end() -> None:
    app = small_app("two", model_name="m")
    with rpc_serving(app) as (server, address), grpc.insecure_channel(address) as channel:
        watching = [channel.unary_stream(WATCH)(b"", timeout=120) for _ in range(16)]
        assert [next(one) for one in watching] == [b"\x08\1"] * 16
        with pytest.raises(grpc.RpcError) as refused:
            next(channel.unary_stream(WATCH)(b"", timeout=120))
        assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
        watching.pop().cancel()

        def watch_another() -> bool:
            try:
                watching.append(channel.unary_stream(WATCH)(b"\x0a\1z", timeout=120))
                return bool(next(watching[-1]) == b"\x08\3")  # a service that may come
            except grpc.RpcError:
                watching.pop()
                return False

        assert soon(watch_another), "the place of one who left is free"
        watching.pop().cancel()
        assert soon(lambda: server._watchers._value > 0)
        with pytest.raises(grpc.RpcError, match="the message is damaged"):
            next(channel.unary_stream(WATCH)(b"\xff", timeout=120))
        app.config["SERVING"].draining = True
        server.drain()
        assert [list(one) for one in watching] == [[b"\x08\2"]] * 15


def test_a_port_that_cannot_be_had_is_one_line() -> None:
    app = small_app("two", model_name="m")
    with rpc_serving(app) as (server, _), socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(
            UserError, match=rf"^cannot listen on {address} for gRPC; name another --host or --grpc-port$"
        ):
            RpcServer(address, server._route, server._submit)


def toy_request(row: list[Any], name: str = "frozen_model") -> bytes:
    return predict_request({TOY: make_tensor([row])}, name)


@pytest.mark.parametrize("host", ["::1", "::"])
def test_confined_workers_listen_on_ipv6(frozen_model: Path, host: str) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"optional: a machine with IPv6; {error}")
    with serving("--frozen-model", frozen_model, "--grpc-port", 0, "--host", host) as server:
        assert server.rpc.startswith(f"[{host}]:")
        assert call(server.rpc.replace("[::]", "[::1]"), CHECK) == b"\x08\1"
        assert server.predict({"x": [ROW]})[0] == 200


@pytest.mark.parametrize("workers", [1, 2])
def test_confined_workers_answer_both_ways(frozen_model: Path, workers: int) -> None:
    flags = ["--frozen-model", frozen_model, "--grpc-port", 0, "--workers", workers, "--host", "127.0.0.2"]
    with serving(*flags) as server:
        address = server.rpc
        assert address.startswith("127.0.0.2:")
        for row in ([5] * 10, ROW):
            status, answer = server.predict({"x": [row]})
            (value,) = read_response(call(address, PREDICT, toy_request(row))).values()
            assert (status, answer["y"]) == (200, value.tolist())
        assert call(address, CHECK) == b"\x08\1"
        counted = server.request("GET", "/metrics")[2].decode()
        assert f'serving_requests_total{{route="{PREDICT}",status="200"}} 2.0\n' in counted
        server.process.send_signal(signal.SIGTERM)
        assert server.process.communicate()[1] == ""
        assert server.process.returncode == 0


def test_without_the_flag_grpc_is_not_imported(frozen_model: Path) -> None:
    def maps(server: Server) -> str:
        return Path(f"/proc/{worker_of(server)}/maps").read_text()

    with serving("--frozen-model", frozen_model) as server:
        assert "cygrpc" not in maps(server)
        assert "gRPC" not in server.printed[0]
    with serving("--frozen-model", frozen_model, "--grpc-port", 0) as server:
        assert "cygrpc" in maps(server)


def test_a_port_in_use_is_one_line(frozen_model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        flags = ["--frozen-model", str(frozen_model), "--port", "0", "--grpc-port", port]
        assert call_main(freezemodel_serve.main, flags) == 1
    expected = f"error: cannot listen on 127.0.0.1:{port}; Address already in use; name another --host or --grpc-port\n"
    assert capfd.readouterr() == ("", expected)


def test_without_grpcio_the_command_that_installs_it_is_told(frozen_model: Path, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.machinery as machinery\nfind = machinery.PathFinder.find_spec\n"
        "def without(name, *others):\n    return None if name == 'grpc' else find(name, *others)\n"
        "machinery.PathFinder.find_spec = without\n"
    )
    command = [sys.executable, str(PROJECT / "freezemodel_serve.py"), "--frozen-model", str(frozen_model)]
    done = subprocess.run(
        [*command, "--port", "0", "--grpc-port", "0"],
        capture_output=True,
        text=True,
        env=environment() | {"PYTHONPATH": str(tmp_path)},
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(
        r"error: \S+ has no module grpc; (`pip install -r requirements-grpc.txt` .*|use .*)\n", done.stderr
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_no_call_is_lost_at_the_end(frozen_model: Path, workers: int) -> None:
    """SIGTERM under a load of 16 connections: each call is answered, or could not be sent."""
    flags = ["--frozen-model", frozen_model, "--grpc-port", 0, "--workers", workers, "--log-format", "json"]
    with serving(*flags) as server:
        address, message = server.rpc, toy_request(ROW)
        answered: list[bytes] = []
        ends: list[tuple[str, str]] = []

        def load() -> None:
            options = [("grpc.use_local_subchannel_pool", 1)]  # a connection of its own
            with grpc.insecure_channel(address, options=options) as channel:
                ask = channel.unary_unary(PREDICT)
                while True:
                    try:
                        answered.append(ask(message, timeout=120))
                    except grpc.RpcError as error:
                        ends.append((error.code().name, error.details()))
                        return

        def end() -> None:
            assert soon(lambda: len(answered) > 200)
            server.process.send_signal(signal.SIGTERM)

        output: list[tuple[str, str]] = []
        at_once(*[load] * 16, end, lambda: output.append(server.process.communicate()))
        stdout, stderr = output[0]
        assert (server.process.returncode, stderr) == (0, "")
        assert len(ends) == 16
        assert all(code == "UNAVAILABLE" and "failed to connect" in details for code, details in ends), ends
        assert all(list(read_response(one)) for one in answered)
        logged = [entry["status"] for entry in map(json.loads, stdout.splitlines()) if entry["path"] == PREDICT]
        assert logged == [200] * len(answered)


def slow_request(steps: int) -> bytes:
    return predict_request({"steps": make_tensor([steps], "int32", int_val=[steps])}, "slow")


def ask_and_end(server: Server, steps: int) -> tuple[Any, str]:
    """SIGTERM while a call runs: the answer or the code of the call, and the server's stderr."""
    found: list[Any] = []

    def ask() -> None:
        try:
            found.append(read_response(call(server.rpc, PREDICT, slow_request(steps)))["counted"].tolist())
        except grpc.RpcError as error:
            found.append(error.code().name)

    asking = threading.Thread(target=ask)
    asking.start()
    while b"serving_requests_in_flight 1.0" not in server.request("GET", "/metrics")[2] and asking.is_alive():
        time.sleep(0.01)
    server.process.send_signal(signal.SIGTERM)
    asking.join()
    return found[0], server.process.communicate()[1]


def test_calls_in_flight_are_finished(tmp_path: Path) -> None:
    flags = [*write_small("slow", tmp_path), "--grpc-port", 0, "--timeout", 300, "--grace", 300]
    with serving(*flags) as server:
        assert ask_and_end(server, 300_000) == ([300_000], "")
        assert server.process.returncode == 0


def test_a_call_longer_than_grace_is_cut_off(tmp_path: Path) -> None:
    flags = [*write_small("slow", tmp_path), "--grpc-port", 0, "--timeout", 60, "--grace", 1]
    with serving(*flags) as server:
        answer, _ = ask_and_end(server, 2_000_000_000)
        assert answer in ("CANCELLED", "UNAVAILABLE")
        assert server.process.returncode == 0
