"""The supervisor's decisions, by the reports of workers that are not there; test_server.py has real ones."""

from __future__ import annotations

import json
import queue
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
from serving_models import soon

from serialization.serving.http.supervisor import Respawns, Supervisor
from serialization.serving.http.worker import DRAINED, FAILED, LOADED, PAUSE, READY, REFUSED


class Granian:
    """As much of granian's server as the supervisor uses, with two workers: the processes 1 and 2."""

    def __init__(self) -> None:
        self.workers = 2
        self.wrks = [SimpleNamespace(inner=SimpleNamespace(pid=pid), is_alive=lambda: True) for pid in (1, 2)]
        self.respawned_wrks: dict[int, float] = {}
        self.workers_kill_timeout = 0.0
        self.ended = threading.Event()

    def signal_handler_interrupt(self) -> None:
        self.ended.set()


class Served:
    """The end of the pipe that tells the workers to drain."""

    closed = False

    def close(self) -> None:
        self.closed = True


class Supervised:
    """A supervisor that reads the reports which a test sends."""

    def __init__(self, grace: float = 60, log_format: str = "none") -> None:
        self._reports: queue.Queue[bytes] = queue.Queue()
        received: Any = SimpleNamespace(recv=lambda _: self._reports.get())
        self.granian = Granian()
        self.served = Served()
        self.announced: list[str] = []
        self.supervisor = Supervisor(self.granian, received, self.served, grace, log_format)
        threading.Thread(target=self.supervisor.read_reports, args=[self.announced.append], daemon=True).start()

    def report(self, kind: str, worker: int, text: str = "") -> None:
        self._reports.put(json.dumps([kind, worker, text]).encode())


def test_the_server_is_announced_once_all_workers_are_ready() -> None:
    case = Supervised()
    case.report(READY, 1, "first")
    case.report(READY, 2, "second")
    assert soon(lambda: case.announced == ["second"])
    case.granian.wrks[0].inner.pid = 3
    case.report(READY, 3, "third")
    case.report(FAILED, 3)
    assert soon(lambda: case.supervisor.is_one_ready())
    assert case.announced == ["second"]


def test_a_failure_ends_the_server_if_no_worker_is_ready() -> None:
    case = Supervised()
    case.report(FAILED, 1, "no model")
    assert case.granian.ended.wait(30)
    assert case.supervisor.failures == ["no model"]


def test_a_failure_is_told_if_another_worker_is_ready(capfd: pytest.CaptureFixture[str]) -> None:
    case = Supervised()
    case.report(READY, 1)
    case.report(FAILED, 2, "no model")
    told = ""

    def is_told() -> bool:
        nonlocal told
        told += capfd.readouterr().err
        return told == f"a worker is missing: no model; trying again in {PAUSE} seconds\n"

    assert soon(is_told)
    assert case.supervisor.failures == []
    assert not case.served.closed


def test_a_server_that_was_ready_tries_again(capfd: pytest.CaptureFixture[str]) -> None:
    """The model's file may come back."""
    case = Supervised()
    case.report(READY, 1)
    case.report(READY, 2)
    assert soon(lambda: len(case.announced) == 1)
    for worker in case.granian.wrks:
        worker.is_alive = lambda: False
    case.report(FAILED, 3, "no model")
    assert soon(lambda: "a worker is missing: no model" in capfd.readouterr().err)
    assert case.supervisor.failures == []
    assert not case.served.closed


@pytest.mark.parametrize("log_format", ["none", "json"])
def test_what_all_workers_tell_of_a_version_is_printed_once(capfd: pytest.CaptureFixture[str], log_format: str) -> None:
    case = Supervised(log_format=log_format)
    for worker in (1, 2, 1, 2):  # the second time it was tried again
        case.report(REFUSED, worker, "house/2 is not served: it is broken")
    for worker in (1, 2):
        case.report(LOADED, worker, "house/3 is served now")
    case.report(READY, 1)
    case.report(READY, 2)
    assert soon(lambda: len(case.announced) == 1)
    printed, errors = capfd.readouterr()
    if log_format == "json":
        entries = [json.loads(line) for line in (*printed.splitlines(), *errors.splitlines())]
        assert [entry["event"] for entry in entries] == ["loaded", "refused", "refused"]
        assert all("time" in entry for entry in entries)
        printed, errors = (f"{entry['message']}\n" for entry in entries[:2])
        errors *= 2
    assert (printed, errors) == ("house/3 is served now\n", 2 * "house/2 is not served: it is broken\n")


def test_the_server_ends_when_all_ready_workers_are_drained() -> None:
    case = Supervised()
    case.report(READY, 1)
    case.report(READY, 2)
    assert soon(lambda: len(case.announced) == 1)
    case.supervisor.stop()
    assert case.served.closed
    case.report(DRAINED, 1)
    assert not case.granian.ended.wait(0.3), "worker 2 is not drained"
    case.report(DRAINED, 2)
    assert case.granian.ended.wait(30)
    assert 0 < case.granian.workers_kill_timeout <= 60


@pytest.mark.parametrize("why", ["dead", "silent", "a second signal"])
def test_a_worker_that_does_not_drain_does_not_keep_the_server(why: str) -> None:
    case = Supervised(grace=0.2 if why == "silent" else 60)
    case.report(READY, 1)
    case.report(READY, 2)
    assert soon(lambda: len(case.announced) == 1)
    case.supervisor.stop()
    if why == "a second signal":
        case.supervisor.stop()
    if why == "dead":
        for worker in case.granian.wrks:
            worker.is_alive = lambda: False
    assert case.granian.ended.wait(30)


def test_granian_gives_up_only_if_no_worker_is_ready() -> None:
    """It gives up if the last replacement of a worker that has died is at most 5.5 seconds ago."""
    ready = True
    respawns = Respawns(lambda: ready)
    now = time.monotonic()
    assert respawns.get(0, 0) == 0
    assert respawns.pause == [0]
    respawns[0] = now
    assert respawns.get(0, 0) == 0
    assert respawns.pause == [PAUSE]
    assert respawns.get(1, 0) == 0
    assert respawns.pause == [0]
    ready = False
    assert respawns.get(0, 0) == now
