"""What waits while a batch runs is the next batch; nothing waits for what may not come."""

from __future__ import annotations

import math
import queue
import threading
import time
from functools import partial
from itertools import chain
from typing import Any

import pytest
from serving_models import at_once, soon

from serialization.serving.http.batches import Batches
from serialization.serving.http.predict_route import Request


class Runs:
    """A model: what it ran, and how many batches at a time; it runs as long as `busy` is not set."""

    def __init__(self, **options: Any) -> None:
        self.ran: list[list[str]] = []
        self.running = self.most_running = 0
        self.busy = threading.Event()
        self.busy.set()
        self._lock = threading.Lock()
        self._batches = Batches(
            self._run, **{"max_batch_size": 4, "parallel": 1, "batch_timeout": 0, "threads": 8, **options}
        )

    def _run(self, batch: list[Request]) -> None:
        with self._lock:
            self.running += 1
            self.most_running = max(self.running, self.most_running)
            self.ran.append([request.id for request in batch])
        assert self.busy.wait(30)
        with self._lock:
            self.running -= 1

    def put(self, *ids: str, rows: int = 1) -> None:
        for id_ in ids:
            request = Request({}, id_, time.perf_counter(), lambda *_: None)
            request.rows = rows
            self._batches.put(request, request.started)

    def wait_for(self, *batches: list[str]) -> None:
        assert soon(lambda: self.ran == list(batches) and (self.running == 0 or not self.busy.is_set())), self.ran

    def wait_for_running(self, number: int) -> None:
        assert soon(lambda: self.running == number)


NEVER = 60.0  # seconds: a machine may stand still for a while, and a batch then take long


def test_who_is_alone_does_not_wait() -> None:
    runs = Runs(long=NEVER)
    runs.put("a")
    runs.wait_for(["a"])
    runs.put("b")
    runs.wait_for(["a"], ["b"])


def test_what_comes_while_a_batch_runs_is_the_next() -> None:
    """As much as there is, but no request in parts, and none before one that came earlier."""
    runs = Runs(long=NEVER)
    runs.busy.clear()
    runs.put("a")
    runs.wait_for(["a"])
    runs.put("b", "c", "d", "e", "f")
    runs.put("g", rows=2)
    runs.put("h", rows=3)
    runs.put("i")
    runs.busy.set()
    runs.wait_for(["a"], ["b", "c", "d", "e"], ["f", "g"], ["h", "i"])
    assert runs.most_running == 1


def test_as_many_run_beside_each_other_as_asked() -> None:
    runs = Runs(long=NEVER, parallel=2)
    runs.busy.clear()
    for number, id_ in enumerate("ab", 1):
        runs.put(id_)
        runs.wait_for_running(number)
    runs.put("c", "d")
    runs.busy.set()
    assert soon(lambda: sorted(chain.from_iterable(runs.ran)) == ["a", "b", "c", "d"])
    assert runs.most_running == 2


def test_one_that_takes_long_holds_nobody_up() -> None:
    runs = Runs()
    runs.busy.clear()
    for number, id_ in enumerate("abc", 1):
        runs.put(id_)
        runs.wait_for_running(number)
    runs.busy.set()
    runs.wait_for_running(0)
    assert runs.ran == [["a"], ["b"], ["c"]]


def test_what_came_while_nobody_had_taken_long_yet_is_not_forgotten() -> None:
    runs = Runs()
    runs.busy.clear()
    runs.put("a")
    runs.wait_for_running(1)
    runs.put("b", "c")
    runs.wait_for_running(2)
    runs.busy.set()
    runs.wait_for(["a"], ["b", "c"])


def test_who_took_long_takes_no_more() -> None:
    """Its place is another's, or more would run at a time from then on."""
    runs = Runs()
    runs.busy.clear()
    runs.put("a")
    runs.wait_for_running(1)
    runs.put("b")
    runs.wait_for_running(2)
    runs.busy.set()
    runs.wait_for_running(0)
    assert soon(lambda: not runs._batches._began)
    assert runs._batches._starting == 0


def test_a_batch_may_be_waited_for() -> None:
    runs = Runs(long=NEVER, batch_timeout=60)
    runs.put("a", "b", "c")
    time.sleep(0.05)
    assert runs.ran == []
    runs.put("d")
    runs.wait_for(["a", "b", "c", "d"])


def test_but_not_for_ever() -> None:
    """For longer than a batch may take before it is taken for a long one."""
    runs = Runs(batch_timeout=0.1)
    runs.put("a")
    runs.wait_for(["a"])
    assert runs.most_running == 1


def test_nothing_is_lost_between_threads() -> None:
    runs = Runs(parallel=2)
    names = [[f"{n} {i}" for i in range(500)] for n in range(8)]
    at_once(*(partial(runs.put, *ids) for ids in names))
    assert soon(lambda: sum(map(len, runs.ran)) == 4000)
    assert sorted(chain.from_iterable(runs.ran)) == sorted(chain.from_iterable(names))
    assert max(map(len, runs.ran)) <= 4


def test_what_always_takes_long_still_runs_one_after_the_other() -> None:
    """Many at a time would take each longer, and so be more and more."""
    runs = Runs()
    processor = threading.Lock()

    def run(batch: list[Request]) -> None:
        with processor:
            time.sleep(0.1)
        Runs._run(runs, batch)

    runs._batches._run = run
    for i in range(40):
        runs.put(str(i))
        time.sleep(0.02)
    assert soon(lambda: sum(map(len, runs.ran)) == 40)
    assert len(runs.ran) < 20, runs.ran


def test_one_without_end_beside_short_ones_gives_up_its_place() -> None:
    """Others may take batches all the time; nobody is left alone with what waits."""
    runs = Runs(parallel=2)
    endless, threads = threading.Event(), queue.SimpleQueue[int]()

    def run(batch: list[Request]) -> None:
        if batch[0].id == "endless":
            threads.put(threading.get_ident())
            endless.wait(30)
        else:
            Runs._run(runs, batch)

    runs._batches._run = run
    runs.put("endless")
    thread = threads.get(timeout=30)
    for i in range(10_000):
        runs.put(str(i))
        if thread not in runs._batches._began:
            break
        time.sleep(0.001)
    assert thread not in runs._batches._began
    endless.set()


def test_a_batch_is_waited_for_by_several_threads() -> None:
    """Each from when its own first request came, not one that another has taken."""
    runs = Runs(parallel=2, batch_timeout=60)
    patient = runs._batches
    first = Request({}, "a", time.perf_counter() - 58, lambda *_: None)
    first.rows = 1
    patient.put(first, first.started)  # to be waited for 2 more seconds
    runs.put("b")
    assert soon(lambda: list(patient._began.values()) == [math.inf] * 2)
    runs.put("c", "d")
    runs.wait_for(["a", "b", "c", "d"])
    runs.put("e")
    time.sleep(2.1)
    assert len(runs.ran) == 1
    runs.put("f", "g", "h")
    runs.wait_for(["a", "b", "c", "d"], ["e", "f", "g", "h"])


def test_where_no_thread_can_be_started_one_that_is_there_runs_all(monkeypatch: pytest.MonkeyPatch) -> None:
    runs = Runs(parallel=2)

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    runs.busy.clear()
    runs.put("a", "b")
    runs.wait_for_running(1)
    runs.put("c")
    runs.busy.set()
    assert soon(lambda: sorted(chain.from_iterable(runs.ran)) == ["a", "b", "c"])


def test_a_run_that_raises_is_shown_and_the_next_one_run(capsys: pytest.CaptureFixture[str]) -> None:
    runs = Runs()
    run = runs._batches._run
    runs._batches._run = lambda batch: run(batch) if batch[0].id == "b" else 1 / 0
    runs.put("a")
    assert soon(lambda: not runs._batches._began and not runs._batches._starting)
    runs.put("b")
    runs.wait_for(["b"])
    assert "ZeroDivisionError" in capsys.readouterr().err
