"""The server as a process: limits, slow clients, shutdown, workers that die, several workers, other WSGI servers."""

from __future__ import annotations

import http.client
import io
import json
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import PROJECT, environment, needs_landlock
from ending import ask_until_refused
from servers import free_port
from serving_models import (
    BODY,
    PREDICT,
    READ_ONLY,
    ROW,
    Server,
    at_once,
    head,
    serving,
    soon,
    whole_answer,
    worker_of,
    workers_of,
    write_small,
)

ROUNDS = 10_000_000  # the slow model counts to this for many seconds


@pytest.fixture(scope="module")
def toy_server(frozen_model: Path) -> Iterator[Server]:
    flags = ["--idle-timeout", 1, "--max-rows", 5, "--nonfinite-inputs", "allow"]
    flags += ["--path-prefix", "/toy", "--cors-origin", "https://a.example"]
    with serving("--frozen-model", frozen_model, *flags) as server:
        yield server


@pytest.fixture(scope="module")
def slow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    flags = write_small("slow", tmp_path_factory.mktemp("slow"))
    with serving(*flags, "--timeout", 1, "--max-in-flight", 2, "--log-format", "json", "--trust-proxy", 1) as server:
        yield server


@pytest.mark.parametrize("sent", [b"", b"P", b"POST /api/predict HTTP/1.1\r\nHost: t\r\n"])
def test_a_connection_without_whole_headers_is_closed(toy_server: Server, sent: bytes) -> None:
    with socket.create_connection(toy_server.address, timeout=30) as connection:
        connection.sendall(sent)
        assert b"HTTP/1.1 200" not in connection.recv(1000)


def test_an_idle_connection_is_closed(toy_server: Server) -> None:
    with socket.create_connection(toy_server.address, timeout=30) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
        while connection.recv(1000):
            pass


def test_requests_below_the_prefix_and_from_other_origins_are_answered(toy_server: Server) -> None:
    for path in (PREDICT, f"/toy{PREDICT}", "/healthz", "/toy/healthz"):
        method, body = ("POST", BODY) if path.endswith(PREDICT) else ("GET", None)
        headers = {"Content_Type": "application/json", "Origin": "https://a.example"}
        status, found, _ = toy_server.request(method, path, body, **headers)
        assert (status, found["access-control-allow-origin"]) == (200, "https://a.example")
    headers = {"Origin": "https://a.example", "Access_Control_Request_Method": "POST"}
    status, found, answer = toy_server.request("OPTIONS", PREDICT, **headers)
    assert (status, found["access-control-allow-methods"], answer) == (204, "GET, POST", b"")


def test_nan_is_taken_if_allowed(toy_server: Server) -> None:
    assert toy_server.predict({"x": [[None] * 10]}) == (200, {"y": [[False]]})


def test_too_many_rows(toy_server: Server) -> None:
    status, answer = toy_server.predict({"x": [ROW] * 6})
    assert (status, answer["error"]) == (400, "x: expected 1 to 5 rows, got 6")


def test_a_run_that_takes_too_long_is_cancelled(slow_server: Server) -> None:
    status, answer = slow_server.predict({"x": [ROUNDS]})
    assert (status, answer["error"]) == (504, "the model took longer than 1 s")
    worker = worker_of(slow_server)
    before = cpu_seconds(worker)
    time.sleep(0.5)
    assert cpu_seconds(worker) - before < 0.4  # a run that was not cancelled would take 0.5


def test_requests_beyond_max_in_flight_get_503(slow_server: Server) -> None:
    answers: list[int] = []
    slow = [threading.Thread(target=lambda: answers.append(slow_server.predict({"x": [ROUNDS]})[0])) for _ in range(2)]
    for thread in slow:
        thread.start()
    while b"serving_requests_in_flight 2.0" not in slow_server.request("GET", "/metrics")[2]:
        assert all(thread.is_alive() for thread in slow), "they were never in flight at once"
        time.sleep(0.01)
    status, headers, body = slow_server.request("POST", PREDICT, '{"x": [1]}', Content_Type="application/json")
    assert (status, headers["retry-after"]) == (503, "1")
    assert json.loads(body)["error"] == "2 requests in flight already; try again soon"
    assert slow_server.request("GET", "/healthz")[0] == 200
    for thread in slow:
        thread.join()
    assert answers == [504, 504]
    assert slow_server.predict({"x": [3]}) == (200, {"y": [3]})


def test_the_log_has_one_object_for_each_request(slow_server: Server) -> None:
    assert slow_server.process.stdout is not None
    slow_server.request("GET", "/none%0Aforged", X_Request_Id="my-own.id_1", X_Forwarded_For="1.1.1.1, 2.2.2.2")
    line = ""
    while "forged" not in line:
        line = slow_server.process.stdout.readline()
        entry = json.loads(line)
        assert {"time", "id", "method", "path", "status", "ms", "client"} == set(entry)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", entry["time"])
    assert (entry["id"], entry["status"], entry["path"]) == ("my-own.id_1", 404, "/none\nforged")
    assert entry["client"] == "2.2.2.2"


def test_requests_are_answered_if_the_log_cannot_be_written(frozen_model: Path) -> None:
    """As in `freezemodel_serve.py --log-format json | head`."""
    with serving("--frozen-model", frozen_model, "--log-format", "json") as server:
        assert server.process.stdout is not None
        server.process.stdout.close()
        assert server.predict({"x": [ROW]})[0] == 200
        assert server.request("GET", "/healthz")[0] == 200
        assert server.predict({"x": [ROW]})[0] == 200


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_worker_that_dies_is_replaced(frozen_model: Path) -> None:
    """A worker that has just replaced another is replaced too."""
    with serving("--frozen-model", frozen_model) as server:
        for _ in range(2):
            died = worker_of(server)
            os.kill(died, signal.SIGKILL)
            assert soon(partial(has_ended, died))
            assert soon(partial(serves_with, server, 1))
        server.process.send_signal(signal.SIGHUP)  # as when a terminal is closed
        assert server.process.communicate()[1] == ""
        assert server.process.returncode == 0


def test_other_workers_answer_until_a_worker_is_replaced(tmp_path: Path) -> None:
    model = tmp_path / "matrices.pb"
    with serving(*write_small("matrices", tmp_path), "--workers", 2) as server:
        text = model.read_bytes()
        model.unlink()
        assert server.process.stderr is not None
        killed = worker_of(server)
        os.kill(killed, signal.SIGKILL)
        line = server.process.stderr.readline()
        assert re.fullmatch(rf"a worker is missing: no frozen model at {model}; .*; trying again in 10 seconds\n", line)
        for _ in range(10):
            assert server.predict({"x": [[1] * 8]})[0] == 200
        model.write_bytes(text)
        assert soon(lambda: listeners(server) == 2), "a worker is missing"
        server.process.send_signal(signal.SIGTERM)
        assert server.process.communicate()[1] == ""
        assert server.process.returncode == 0


def listeners(server: Server) -> int:
    """The number of sockets that listen on the server's port; proc(5) shows ports in hexadecimal."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    return sum(line[1].endswith(f":{server.address[1]:04X}") and line[3] == "0A" for line in lines)


def test_many_idle_connections_do_not_lock_others_out(frozen_model: Path) -> None:
    """Granian's default limit is 1,024 connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = min(hard, 5000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    try:
        with serving("--frozen-model", frozen_model) as server, ExitStack() as idle:
            for _ in range(min(4000, most - 500)):
                idle.enter_context(socket.create_connection(server.address))
            assert server.request("GET", "/healthz")[0] == 200
            assert server.predict({"x": [ROW]}) == (200, {"y": [[False]]})
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@needs_landlock
def test_one_worker_needs_no_temporary_files(frozen_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container whose file system is read-only."""
    monkeypatch.setenv("PYTHONPATH", str(PROJECT))
    below = [sys.executable, "-c", READ_ONLY]
    flags = ["--frozen-model", str(frozen_model)]
    with serving(*flags, below=below) as server:
        assert server.predict({"x": [ROW]}) == (200, {"y": [[False]]})
        server.process.send_signal(signal.SIGTERM)
        assert server.process.communicate()[1] == ""
        assert server.process.returncode == 0
    command = [*below, sys.executable, str(PROJECT / "freezemodel_serve.py"), *flags, "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: no folder for temporary files")
    assert done.stderr.count("\n") == 1


def test_a_client_that_reads_no_answer_is_disconnected(tmp_path: Path) -> None:
    with serving(*write_small("matrices", tmp_path), "--body-timeout", 1, "--max-rows", 200_000) as server:
        folder = Path(f"/proc/{worker_of(server)}/fd")
        file = io.BytesIO()
        np.save(file, np.random.default_rng(0).normal(size=(200_000, 8)).astype(np.float32))
        request = head(f"Content-Length: {len(file.getvalue())}").replace(b"application/json", b"application/x-npy")
        before = len(list(folder.iterdir()))
        with socket.socket() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect(server.address)
            connection.sendall(request + file.getvalue())
            assert connection.recv(12) == b"HTTP/1.1 200"  # 20 MB follow
            assert soon(lambda: len(list(folder.iterdir())) <= before)


def test_a_worker_that_cannot_start_ends_the_server() -> None:
    code = """
from functools import partial
from operator import truediv
from serialization import cli
from serialization.serving.http.server import run_server
from serialization.serving.limits import Settings

if __name__ == "__main__":
    serve = partial(run_server, partial(truediv, 1), Settings(), host="127.0.0.1", port=0, workers=2, grace=1)
    cli.run(lambda _: serve(announce=print) or 0, loads_model=False)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), cwd=PROJECT)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.endswith("\nerror: a worker cannot start; its traceback above shows why\n")
    assert "truediv() takes no keyword arguments" in done.stderr


def test_workers_end_with_their_supervisor(frozen_model: Path) -> None:
    with serving("--frozen-model", frozen_model) as server:
        worker = worker_of(server)
        server.process.kill()
        assert soon(lambda: has_ended(worker))


_LOSES_SIGTERM = """
import multiprocessing, os, signal
from serialization.serving.http import worker

def work():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print(os.getpid(), flush=True)
    worker._end_with_supervisor(0.1)

worker_process = multiprocessing.get_context("fork").Process(target=work)
worker_process.start()
worker_process.join()
"""


def test_a_worker_that_loses_the_signal_ends_with_its_supervisor() -> None:
    """Granian does, for a moment before it listens: the worker of a supervisor that was killed then stayed for ever."""
    command = [sys.executable, "-c", _LOSES_SIGTERM]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=PROJECT, env=environment()) as supervisor:
        assert supervisor.stdout is not None
        pid = int(supervisor.stdout.readline())
        supervisor.kill()
        assert soon(lambda: has_ended(pid))


def test_metrics_add_up_over_workers(frozen_model: Path) -> None:
    with serving("--frozen-model", frozen_model, "--workers", 2) as server:
        assert len(workers_of(server)) == 2
        for _ in range(100):
            assert server.predict({"x": [ROW, ROW]})[0] == 200
        assert server.predict({"x": 1})[0] == 400
        answered = [
            f'serving_requests_total{{route="{PREDICT}",status="{s}"}} {n}.0\n' for s, n in ((200, 100), (400, 1))
        ]
        counted = server.request("GET", "/metrics")[2].decode()
        for line in answered:
            assert line in counted
        assert f'serving_request_seconds_count{{route="{PREDICT}"}} 101.0\n' in counted
        assert "serving_batch_rows_sum 200.0\n" in counted
        assert re.search(r"^serving_load_seconds \d", counted, re.MULTILINE)
        for more in range(1, 20):  # every worker answers for all
            assert server.predict({"x": [ROW]})[0] == 200
            assert f'status="200"}} {100 + more}.0\n' in server.request("GET", "/metrics")[2].decode()
        killed = workers_of(server)[0]
        os.kill(killed, signal.SIGKILL)
        assert soon(lambda: has_ended(killed) and serves_with(server, 2))
        counted = server.request("GET", "/metrics")[2].decode()
        assert f'serving_requests_total{{route="{PREDICT}",status="200"}} 119.0\n' in counted, (
            "the counts of the dead worker stay"
        )
        assert "serving_requests_in_flight 0.0\n" in counted
        server.process.send_signal(signal.SIGTERM)
        server.process.communicate()
        assert server.process.returncode == 0


def serves_with(server: Server, workers: int) -> bool:
    """Whether the server has `workers` workers, and one of them answers."""
    try:
        return len(workers_of(server)) == workers and server.request("GET", "/healthz")[0] == 200
    except (OSError, http.client.HTTPException):  # a worker that is ending or has ended
        return False


def test_no_accepted_request_is_lost_at_the_end(frozen_model: Path) -> None:
    """SIGTERM under a load of 64 connections: the clients get every answer that is in the log."""
    with serving("--frozen-model", frozen_model, "--grace", 10, "--log-format", "json") as server:
        answers: list[int] = []
        lost: list[str] = []
        unready = threading.Event()

        def load() -> None:
            while True:
                connection = http.client.HTTPConnection(*server.address, timeout=20)
                try:
                    connection.connect()
                except OSError:  # the server takes no more
                    return
                closing = False
                while not closing:
                    try:
                        connection.request("POST", PREDICT, BODY, {"Content-Type": "application/json"})
                        answer = connection.getresponse()
                        answer.read()
                    except (OSError, http.client.HTTPException) as error:
                        connection.close()
                        lost.append(repr(error))
                        return
                    answers.append(answer.status)
                    closing = answer.getheader("connection") == "close"
                connection.close()

        def watch_ready() -> None:
            while not unready.is_set():
                try:
                    if server.request("GET", "/readyz")[0] == 503:
                        unready.set()
                except (OSError, http.client.HTTPException):
                    return

        threads = [threading.Thread(target=load) for _ in range(64)] + [threading.Thread(target=watch_ready)]
        for thread in threads:
            thread.start()
        threading.Timer(1, server.process.send_signal, [signal.SIGTERM]).start()
        stdout, stderr = server.process.communicate()
        for thread in threads:
            thread.join()
        assert (server.process.returncode, stderr, lost) == (0, "", [])
        answered = [entry["status"] for entry in map(json.loads, stdout.splitlines()) if entry["path"] == PREDICT]
        assert set(answers) == {200}
        assert len(answers) == len(answered) > 64
        assert unready.is_set()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("connections", [64, 256])
def test_no_connection_is_cut_at_the_end(frozen_model: Path, connections: int, workers: int) -> None:
    """Each request has its own connection, so some wait in the kernel's queue when the server gets SIGTERM."""
    with serving("--frozen-model", frozen_model, "--workers", workers) as server:
        end = partial(server.process.send_signal, signal.SIGTERM)
        answered, cut = ask_until_refused(server.address, connections, 4 * connections, end)
        assert cut == []
        assert answered >= 4 * connections
        assert server.process.communicate()[1] == ""
        assert server.process.returncode == 0


def test_a_connection_that_sends_nothing_does_not_keep_the_server(frozen_model: Path) -> None:
    with serving("--frozen-model", frozen_model, "--grace", 2) as server, socket.create_connection(server.address):
        server.process.send_signal(signal.SIGTERM)
        server.process.communicate()
        assert server.process.returncode == 0


def test_a_worker_killed_while_it_loads_does_not_end_the_others(frozen_model: Path) -> None:
    with serving("--frozen-model", frozen_model, "--workers", 2) as server:
        healthy, killed = workers_of(server)
        for _ in range(2):  # granian gives up on a worker that dies within 5.5 seconds
            os.kill(killed, signal.SIGKILL)
            assert soon(partial(has_ended, killed))
            assert soon(lambda: len(workers_of(server)) == 2)
            (killed,) = set(workers_of(server)) - {healthy}
        for _ in range(10):
            assert server.predict({"x": [ROW]})[0] == 200
        server.process.send_signal(signal.SIGTERM)
        assert server.process.communicate()[1] == ""
        assert server.process.returncode == 0


def test_requests_in_flight_are_finished(tmp_path: Path) -> None:
    with serving(*write_small("slow", tmp_path), "--timeout", 300, "--grace", 300) as server:
        answers = []
        rounds = 300_000
        asking = threading.Thread(target=lambda: answers.append(server.predict({"x": [rounds]})))
        asking.start()
        while b"serving_requests_in_flight 1.0" not in server.request("GET", "/metrics")[2] and asking.is_alive():
            time.sleep(0.01)
        server.process.send_signal(signal.SIGTERM)
        asking.join()
        assert answers == [(200, {"y": [rounds]})]
        server.process.communicate()
        assert server.process.returncode == 0


def test_a_request_longer_than_grace_is_cut_off(tmp_path: Path) -> None:
    with serving(*write_small("slow", tmp_path), "--timeout", 60, "--grace", 1) as server:
        with socket.create_connection(server.address) as connection:
            body = json.dumps({"x": [2_000_000_000]}).encode()
            connection.sendall(head(f"Content-Length: {len(body)}") + body)
            time.sleep(0.3)
            server.process.send_signal(signal.SIGTERM)
            server.process.communicate()
            assert connection.recv(1000) == b"", "the request was answered, not cut off"
        assert server.process.returncode == 0


def test_each_request_in_a_batch_gets_its_own_answer(tmp_path: Path) -> None:
    flags = [*write_small("matrices", tmp_path), "--max-batch-size", 16, "--batch-timeout-ms", 5, "--nonfinite", "null"]
    with serving(*flags) as server:
        assert b"in batches of up to 16 rows" in server.request("GET", "/readyz")[2]
        rows = [[float(i)] * 8 for i in range(32)]
        answers: dict[int, list[float]] = {}

        def ask(i: int) -> None:
            answers[i] = server.predict({"x": [rows[i]]})[1]["y"][0]

        at_once(*(partial(ask, i) for i in range(32)))
        together = server.predict({"x": rows})[1]["y"]
        # The rows differ by 1e-2; a matmul of 1 row and one of 16 round differently, by up to 2e-5 here.
        np.testing.assert_allclose([answers[i] for i in range(32)], together, rtol=1e-4, atol=1e-4)
        metrics = server.request("GET", "/metrics")[2].decode()
        assert 'serving_batch_rows_bucket{le="1.0"} 32.0' not in metrics, "no rows ran together"


@pytest.mark.parametrize("name", ["gunicorn", "waitress"])
def test_any_wsgi_server_runs_the_application(name: str, made: Path, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "application.py").write_text(
        "from pathlib import Path\nimport freezemodel_serve\n"
        f"def create_app():\n    return freezemodel_serve.create_app(Path({str(made / 'frozen_model.pb')!r}))\n"
    )
    if name == "gunicorn":
        words = ["gunicorn", "-k", "gthread", "--threads", "4", "-b", f"127.0.0.1:{port}", "application:create_app()"]
    else:
        words = ["waitress", f"--listen=127.0.0.1:{port}", "--call", "application:create_app"]
    # A shell that starts the tests in the background ignores SIGINT, and so would waitress.
    process = subprocess.Popen(
        ["env", "--default-signal=INT", sys.executable, "-m", *words],
        cwd=tmp_path,
        env=environment() | {"PYTHONPATH": str(PROJECT)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    with process:
        server = Server(process, f"http://127.0.0.1:{port}", [])  # type: ignore[arg-type]
        try:
            while process.poll() is None:
                try:
                    assert server.predict({"x": [ROW, [5] * 10]}) == (200, {"y": [[False], [True]]})
                    break
                except OSError:
                    time.sleep(0.1)
            assert server.predict({"x": [[1]]})[0] == 400
            assert server.request("POST", PREDICT, iter([BODY]), Content_Type="application/json")[0] == 200
            assert server.request("GET", "/readyz")[0] == 200
            with socket.create_connection(server.address) as connection:
                connection.sendall(b"HEAD %s HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n" % PREDICT.encode())
                assert whole_answer(connection).endswith(b"\r\n\r\n"), "no body"
            process.send_signal(signal.SIGTERM if name == "gunicorn" else signal.SIGINT)
            process.wait(30)
        finally:
            process.kill()
