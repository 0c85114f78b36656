"""The server as a process: limits, slow clients, the end, a worker that dies, several workers, other WSGI servers."""

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
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from conftest import PROJECT, environment
from serving_models import PREDICT, ROW, Server, at_once, serving, soon, write_small

ROUNDS = 10_000_000  # of the slow model: many seconds


@pytest.fixture(scope="module")
def frozen_model(made: Path) -> Path:
    return made / "frozen_model.pb"


@pytest.fixture(scope="module")
def toy_server(frozen_model: Path) -> Iterator[Server]:
    with serving("--frozen-model", frozen_model, "--body-timeout", 1, "--max-body-mb", 1, "--max-rows", 5) as server:
        yield server


@pytest.fixture(scope="module")
def slow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    flags = write_small("slow", tmp_path_factory.mktemp("slow"))
    with serving(*flags, "--timeout", 1, "--max-in-flight", 2, "--log-format", "json") as server:
        yield server


def talk(server: Server, *parts: bytes | float) -> bytes:
    """Everything that comes back on a connection that sends these parts, with pauses of these seconds."""
    with socket.create_connection(server.address, timeout=30) as connection:
        for part in parts:
            if isinstance(part, bytes):
                connection.sendall(part)
            else:
                time.sleep(part)
        return whole_answer(connection)


def whole_answer(connection: socket.socket) -> bytes:
    answer = b""
    while chunk := connection.recv(65536):
        answer += chunk
        head, _, body = answer.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        if length is not None and len(body) >= int(length[1]):
            break
    return answer


def head(length: str) -> bytes:
    return f"POST {PREDICT} HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n{length}\r\n\r\n".encode()


BODY = json.dumps({"x": [ROW]}).encode()


def test_a_body_in_chunks_is_read(toy_server: Server) -> None:
    chunks = b"%x\r\n%s\r\n%x\r\n%s\r\n0\r\n\r\n" % (10, BODY[:10], len(BODY) - 10, BODY[10:])
    assert talk(toy_server, head("Transfer-Encoding: chunked"), chunks).endswith(b'{"y":[[false]]}')


@pytest.mark.parametrize(
    ("parts", "status", "error"),
    [
        ((head("Content-Length: 1000001"),), 413, "the body has 1,000,001 bytes; at most 1,000,000 are taken"),
        (
            (head("Transfer-Encoding: chunked"), b"f4241\r\n" + b" " * 1_000_001 + b"\r\n0\r\n\r\n"),
            413,
            "the body has more than 1,000,000 bytes",
        ),
        ((head("Content-Length: 31") + BODY[:20],), 408, "only 20 of 31 bytes came in time"),
        ((head("Transfer-Encoding: chunked") + b"5\r\nabcde\r\n",), 408, "the body did not come in time"),
        (
            (head("Content-Length: 40"), *[part for byte in BODY[:9] for part in (bytes([byte]), 0.1)]),
            408,
            "bytes came in time",
        ),
    ],
)
def test_bodies_too_long_and_too_slow(toy_server: Server, parts: tuple[bytes], status: int, error: str) -> None:
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


def test_a_late_body_ends_nobody_elses_request(tmp_path: Path) -> None:
    """To the server the connection of a long run looks like that of a late body."""
    with serving(*write_small("slow", tmp_path), "--body-timeout", 1) as server:
        began, rounds = time.monotonic(), 100_000
        assert server.predict({"x": [rounds]})[0] == 200
        rounds = int(3 * rounds / (time.monotonic() - began))  # three seconds of them
        answers = []
        asking = threading.Thread(target=lambda: answers.append(server.predict({"x": [rounds]})))
        asking.start()
        assert b" 408 " in talk(server, head("Content-Length: 31") + BODY[:20])
        asking.join()
        assert answers == [(200, {"y": [rounds]})]


def test_stalled_clients_do_not_stop_the_others(toy_server: Server) -> None:
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


@pytest.mark.parametrize("said", [b"", b"P", b"POST /api/predict HTTP/1.1\r\nHost: t\r\n"])
def test_a_request_without_end_of_headers_is_given_up(toy_server: Server, said: bytes) -> None:
    with socket.create_connection(toy_server.address, timeout=30) as connection:
        connection.sendall(said)
        assert b"HTTP/1.1 200" not in connection.recv(1000)


def test_a_connection_with_nothing_more_to_ask_is_closed(toy_server: Server) -> None:
    with socket.create_connection(toy_server.address, timeout=30) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 OK\r\n")
        while connection.recv(1000):
            pass


def test_too_many_rows(toy_server: Server) -> None:
    status, answer = toy_server.predict({"x": [ROW] * 6})
    assert (status, answer["error"]) == (400, "x: expected 1 to 5 rows, got 6")


def test_a_run_that_takes_too_long_is_cancelled(slow_server: Server) -> None:
    status, answer = slow_server.predict({"x": [ROUNDS]})
    assert (status, answer["error"]) == (504, "the model took longer than 1 seconds")
    worker = worker_of(slow_server)
    before = cpu_seconds(worker)
    time.sleep(0.5)
    assert cpu_seconds(worker) - before < 0.4  # a run that went on would take all of it


def test_more_in_flight_than_taken(slow_server: Server) -> None:
    answers: list[int] = []
    slow = [threading.Thread(target=lambda: answers.append(slow_server.predict({"x": [ROUNDS]})[0])) for _ in range(2)]
    for thread in slow:
        thread.start()
    while b"serving_requests_in_flight 2.0" not in slow_server.request("GET", "/metrics")[2]:
        assert all(thread.is_alive() for thread in slow), "they were never seen in flight at once"
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
    slow_server.request("GET", "/none%0Aforged", X_Request_Id="my-own.id_1")
    line = ""
    while "forged" not in line:
        line = slow_server.process.stdout.readline()
        entry = json.loads(line)
        assert {"time", "id", "method", "path", "status", "ms", "client"} == set(entry)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", entry["time"])
    assert (entry["id"], entry["status"], entry["path"]) == ("my-own.id_1", 404, "/none\nforged")


def test_answers_go_on_where_the_log_cannot(frozen_model: Path) -> None:
    """`freezemodel_serve.py --log-format json | head`, say."""
    with serving("--frozen-model", frozen_model, "--log-format", "json") as server:
        assert server.process.stdout is not None
        server.process.stdout.close()
        assert server.predict({"x": [ROW]})[0] == 200
        assert server.request("GET", "/healthz")[0] == 200
        assert server.predict({"x": [ROW]})[0] == 200


def worker_of(server: Server) -> int:
    """The process id of a worker, a child of the server's process that has spawn_main in its command."""
    return workers_of(server)[0]


def workers_of(server: Server) -> list[int]:
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    return [pid for pid in map(int, children) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_worker_that_dies_is_replaced(frozen_model: Path) -> None:
    """However soon after it was itself started in place of one."""
    with serving("--frozen-model", frozen_model) as server:
        for _ in range(2):
            died = worker_of(server)
            os.kill(died, signal.SIGKILL)
            assert soon(partial(has_ended, died))
            assert soon(partial(serves_with, server, 1))
        server.process.send_signal(signal.SIGHUP)  # as a terminal does that is closed
        assert server.process.communicate()[1] == ""
        assert server.process.returncode == 0


def test_the_others_go_on_until_a_worker_can_be_replaced(tmp_path: Path) -> None:
    model = tmp_path / "matrices.pb"
    with serving(*write_small("matrices", tmp_path), "--workers", 2) as server:
        text = model.read_bytes()
        model.unlink()
        assert server.process.stderr is not None
        killed = worker_of(server)
        os.kill(killed, signal.SIGKILL)
        said = server.process.stderr.readline()
        assert re.fullmatch(rf"a worker is missing: no frozen model at {model}; .*; trying again in 10 seconds\n", said)
        for _ in range(10):
            assert server.predict({"x": [[1] * 8]})[0] == 200
        model.write_bytes(text)
        assert soon(lambda: listeners(server) == 2), "one is missing"
        server.process.send_signal(signal.SIGTERM)
        assert server.process.communicate()[1] == ""
        assert server.process.returncode == 0


def listeners(server: Server) -> int:
    """How many sockets listen on the server's port; proc(5) has them in hexadecimal."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()]
    return sum(line[1].endswith(f":{server.address[1]:04X}") and line[3] == "0A" for line in lines)


def test_late_bodies_that_hold_all_descriptors_are_ended(frozen_model: Path) -> None:
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


def test_a_client_that_does_not_take_its_answer_is_left(tmp_path: Path) -> None:
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
            assert connection.recv(12) == b"HTTP/1.1 200"  # and 20 MB more
            assert soon(lambda: len(list(folder.iterdir())) <= before)


def test_a_worker_that_cannot_start_is_not_started_again_and_again() -> None:
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
    assert done.stderr.endswith("\nerror: a worker cannot start; its traceback above tells why\n")
    assert "truediv() takes no keyword arguments" in done.stderr


def test_workers_end_with_their_supervisor(frozen_model: Path) -> None:
    with serving("--frozen-model", frozen_model) as server:
        worker = worker_of(server)
        server.process.kill()
        assert soon(lambda: has_ended(worker))


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
        for more in range(1, 20):  # whichever worker is asked, it knows of all
            assert server.predict({"x": [ROW]})[0] == 200
            assert f'status="200"}} {100 + more}.0\n' in server.request("GET", "/metrics")[2].decode()
        killed = workers_of(server)[0]
        os.kill(killed, signal.SIGKILL)
        assert soon(lambda: has_ended(killed) and serves_with(server, 2))
        counted = server.request("GET", "/metrics")[2].decode()
        assert f'serving_requests_total{{route="{PREDICT}",status="200"}} 119.0\n' in counted, "the dead count on"
        assert "serving_requests_in_flight 0.0\n" in counted
        server.process.send_signal(signal.SIGTERM)
        server.process.communicate()
        assert server.process.returncode == 0


def serves_with(server: Server, workers: int) -> bool:
    """Whether it has so many workers, and one answers."""
    try:
        return len(workers_of(server)) == workers and server.request("GET", "/healthz")[0] == 200
    except (OSError, http.client.HTTPException):  # one that ends, or a connection to one that is no more
        return False


def test_no_accepted_request_is_lost_at_the_end(frozen_model: Path) -> None:
    """SIGTERM under 64 connections of load: the clients have every answer that the log speaks of."""
    with serving("--frozen-model", frozen_model, "--grace", 10, "--log-format", "json") as server:
        answers: list[int] = []
        lost: list[str] = []
        unready = threading.Event()

        def load() -> None:
            while True:
                connection = http.client.HTTPConnection(*server.address, timeout=20)
                kept = closing = False
                while not closing:
                    try:
                        connection.request("POST", PREDICT, BODY, {"Content-Type": "application/json"})
                        answer = connection.getresponse()
                        answer.read()
                    except (OSError, http.client.HTTPException) as error:
                        connection.close()
                        if kept:  # else it was in the queue of a server that takes no more, and sent nothing
                            lost.append(repr(error))
                        return
                    answers.append(answer.status)
                    kept, closing = True, answer.getheader("connection") == "close"
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


def test_what_is_in_flight_is_finished(tmp_path: Path) -> None:
    with serving(*write_small("slow", tmp_path), "--timeout", 20) as server:
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


def test_what_takes_longer_than_grace_is_cut_off(tmp_path: Path) -> None:
    with serving(*write_small("slow", tmp_path), "--timeout", 60, "--grace", 1) as server:
        with socket.create_connection(server.address) as connection:
            body = json.dumps({"x": [2_000_000_000]}).encode()
            connection.sendall(head(f"Content-Length: {len(body)}") + body)
            time.sleep(0.3)
            server.process.send_signal(signal.SIGTERM)
            server.process.communicate()
            assert connection.recv(1000) == b"", "an answer came, so it was not cut off"
        assert server.process.returncode == 0


def test_batches_answer_each_its_own(tmp_path: Path) -> None:
    flags = [*write_small("matrices", tmp_path), "--max-batch-size", 16, "--batch-timeout-ms", 5, "--nonfinite", "null"]
    with serving(*flags) as server:
        assert b"in batches of up to 16 rows" in server.request("GET", "/readyz")[2]
        rows = [[float(i)] * 8 for i in range(32)]
        answers: dict[int, object] = {}

        def ask(i: int) -> None:
            answers[i] = server.predict({"x": [rows[i]]})[1]["y"][0]

        at_once(*(partial(ask, i) for i in range(32)))
        together = server.predict({"x": rows})[1]["y"]
        assert [answers[i] for i in range(32)] == [pytest.approx(row, abs=1e-5) for row in together]
        metrics = server.request("GET", "/metrics")[2].decode()
        assert 'serving_batch_rows_bucket{le="1.0"} 32.0' not in metrics, "nothing was run together"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


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
    # What starts the tests in the background ignores SIGINT, and waitress would, too.
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
