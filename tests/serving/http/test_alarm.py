"""An alarm rings when it is due, and can be put off."""

from __future__ import annotations

import queue
import time

import pytest

from serialization.serving.http.alarm import Alarm


def test_it_rings_once_when_it_is_due() -> None:
    rang: queue.SimpleQueue[float] = queue.SimpleQueue()
    alarm = Alarm(lambda: rang.put(time.monotonic()), "test")
    for seconds in (0.02, 0.0, 1.5e-9):
        before = time.monotonic()
        alarm.set(seconds)
        assert rang.get(timeout=10) - before >= seconds
        time.sleep(0.05)
        assert rang.empty()


def test_it_is_put_off() -> None:
    rang: queue.SimpleQueue[float] = queue.SimpleQueue()
    alarm = Alarm(lambda: rang.put(time.monotonic()), "test")
    alarm.set(0.05)
    before = time.monotonic()
    alarm.set(0.5)
    assert rang.get(timeout=10) - before >= 0.5
    alarm.set(100)
    alarm.set(0.01)
    rang.get(timeout=10)


def test_it_rings_again_after_what_it_called_failed(capsys: pytest.CaptureFixture[str]) -> None:
    rang: queue.SimpleQueue[int] = queue.SimpleQueue()
    divisors = iter([0, 1])

    def divide() -> None:
        rang.put(1)
        1 // next(divisors)

    alarm = Alarm(divide, "test")
    for _ in range(2):
        alarm.set(0.001)
        rang.get(timeout=10)
    assert capsys.readouterr().err.endswith("ZeroDivisionError: integer division or modulo by zero\n")
