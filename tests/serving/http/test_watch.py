"""A watch looks when nothing has put it off for a while."""

from __future__ import annotations

import queue
import threading
import time
from pathlib import Path

import pytest
from serving_models import soon

from serialization.serving.http.watch import Watch


class Looks:
    """An object that a watch calls: says whether to look again, and when it was called."""

    def __init__(self, *again: bool) -> None:
        self.again = iter(again)
        self.times: queue.SimpleQueue[float] = queue.SimpleQueue()

    def __call__(self) -> bool:
        self.times.put(time.monotonic())
        return next(self.again, False)


def test_it_looks_once_after_the_silence() -> None:
    watch = Watch(0.02)
    watch.looks.append(look := Looks())
    for _ in range(2):
        before = time.monotonic()
        watch.put_off()
        assert look.times.get(timeout=10) - before >= 0.02
        time.sleep(0.05)
        assert look.times.empty()


def test_it_is_put_off() -> None:
    watch = Watch(0.5)
    watch.looks.append(look := Looks())
    watch.put_off()
    time.sleep(0.1)
    before = time.monotonic()
    watch.put_off()
    assert look.times.get(timeout=10) - before >= 0.5


def test_it_looks_again_as_long_as_a_look_says_so() -> None:
    watch = Watch(0.001)
    watch.looks.append(look := Looks(True, True))
    watch.put_off()
    for _ in range(3):
        look.times.get(timeout=10)
    time.sleep(0.05)
    assert look.times.empty()


def test_it_need_not_be_put_off_before_half_the_time() -> None:
    watch = Watch(100)
    before = time.perf_counter()
    watch.put_off()
    assert before + 50 <= watch.kept <= time.perf_counter() + 50


def test_a_look_that_fails_is_shown_and_ends_no_other(capsys: pytest.CaptureFixture[str]) -> None:
    watch = Watch(0.001)
    watch.looks.append(lambda: bool(1 // 0))
    watch.looks.append(look := Looks())
    for _ in range(2):
        watch.put_off()
        look.times.get(timeout=10)
    assert capsys.readouterr().err.count("ZeroDivisionError: integer division or modulo by zero\n") == 2


def test_a_look_that_is_forgotten_is_called_no_more() -> None:
    watch = Watch(0.001)
    forgotten, look = Looks(), Looks()
    watch.looks += [forgotten, look]
    watch.forget(forgotten)
    watch.put_off()
    look.times.get(timeout=10)
    assert forgotten.times.empty()


def test_a_watch_that_is_closed_leaves_nothing_behind() -> None:
    before, descriptors = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
    watch = Watch(100)
    assert threading.active_count() == before + 1
    watch.close()
    assert soon(lambda: threading.active_count() == before)
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors
