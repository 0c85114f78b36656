"""One thread leads while the others follow, until it is busy for long."""

from __future__ import annotations

import errno
import hashlib
import queue
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from serving_models import soon

from serialization.serving.http import relay
from serialization.serving.http.relay import Relay


class Pool:
    """A server's threads: each takes a request and answers it."""

    def __init__(self, threads: int, idle: float = 60) -> None:
        self.reading: set[int] = set()
        self.relay = Relay(self.answer, self.reading.__contains__, idle)
        self.requests: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self.answered: queue.SimpleQueue[int] = queue.SimpleQueue()
        self.threads = [threading.Thread(target=self.work, daemon=True) for _ in range(threads)]
        for thread in self.threads:
            thread.start()

    def work(self) -> None:
        while (request := self.requests.get()) is not None:
            self.relay(request)

    def answer(self, request: dict[str, Any]) -> bool:
        if "slow body" in request:
            self.reading.add(threading.get_ident())
        if "wait" in request:
            request["begun"].release()
            assert request["wait"].wait(10)
        self.reading.discard(threading.get_ident())
        self.answered.put(threading.get_ident())
        return "refused" not in request

    def ask(self, count: int) -> list[int]:
        """The threads that answered so many requests, one asked after the other."""
        threads = []
        for _ in range(count):
            self.requests.put({})
            threads.append(self.answered.get(timeout=10))
        return threads


def busy_at_once(pool: Pool) -> Pool:
    """The pool when each of its threads has answered once, so that all but one follow."""
    begun, wait = threading.Semaphore(0), threading.Event()
    for _ in pool.threads:
        pool.requests.put({"begun": begun, "wait": wait})
    for _ in pool.threads:
        assert begun.acquire(timeout=10)
    wait.set()
    assert {pool.answered.get(timeout=10) for _ in pool.threads} == {thread.ident for thread in pool.threads}
    return pool


@pytest.fixture
def pool() -> Pool:
    return busy_at_once(Pool(3))


def test_one_thread_answers_alone(pool: Pool) -> None:
    assert len(set(pool.ask(50))) == 1


def test_a_thread_that_is_busy_loses_its_turn(pool: Pool) -> None:
    (first,) = set(pool.ask(5))
    begun, wait = threading.Semaphore(0), threading.Event()
    busy = {"begun": begun, "wait": wait}
    pool.requests.put(busy)
    assert begun.acquire(timeout=10)
    (second,) = set(pool.ask(5))
    pool.requests.put(busy)
    assert begun.acquire(timeout=10)
    (third,) = set(pool.ask(5))
    assert len({first, second, third}) == 3
    wait.set()
    assert {pool.answered.get(timeout=10) for _ in range(2)} == {first, second}
    assert set(pool.ask(20)) == {third}


def test_all_busy_and_free_again(pool: Pool) -> None:
    begun, wait = threading.Semaphore(0), threading.Event()
    for _ in range(3):
        pool.requests.put({"begun": begun, "wait": wait})
        assert begun.acquire(timeout=10)
    wait.set()
    for _ in range(3):
        pool.answered.get(timeout=10)
    assert len(set(pool.ask(20)[1:])) == 1


def test_no_thread_stands_by_when_nothing_is_asked() -> None:
    pool = busy_at_once(Pool(3, idle=0.1))
    for _ in pool.threads:
        pool.requests.put(None)
    for thread in pool.threads:
        thread.join(10)
        assert not thread.is_alive()


def test_a_thread_that_waits_for_a_body_loses_its_turn_sooner(pool: Pool) -> None:
    (first,) = set(pool.ask(5))
    begun, wait = threading.Semaphore(0), threading.Event()
    before = time.perf_counter()
    pool.requests.put({"begun": begun, "wait": wait, "slow body": True})
    assert begun.acquire(timeout=10)
    (second,) = set(pool.ask(5))
    assert first != second
    assert pool.relay._wary > before + relay._WARY, "the next one that is late loses it sooner still"
    wait.set()
    assert pool.answered.get(timeout=10) == first


def test_a_thread_whose_request_was_not_read_does_not_stand_by() -> None:
    """A server can close its connection only then."""
    made = Relay(lambda: False, lambda _: False)
    made._leader = -1  # another's
    made()


def test_an_alarm_that_rings_late_takes_nobody_out_of_sight(pool: Pool) -> None:
    """It looks when the request that set it is over, and the next one has not set it, for it was set already."""
    (first,) = set(pool.ask(5))
    pool.relay._look()
    begun, wait = threading.Semaphore(0), threading.Event()
    pool.requests.put({"begun": begun, "wait": wait, "slow body": True})
    assert begun.acquire(timeout=10)
    (second,) = set(pool.ask(5))
    assert first != second
    wait.set()
    assert pool.answered.get(timeout=10) == first


def test_a_thread_without_a_processor_does_not_sleep() -> None:
    """It is in the middle of reading a body, say, and others have the processors."""
    found: queue.SimpleQueue[int] = queue.SimpleQueue()
    wait = threading.Event()

    def work(then: Callable[[], object]) -> None:
        found.put(threading.get_native_id())
        then()

    asleep = threading.Thread(target=work, args=[wait.wait])
    asleep.start()
    native = found.get(timeout=10)
    assert soon(lambda: relay._sleeps(native))
    wait.set()
    asleep.join()
    assert soon(lambda: relay._sleeps(native)), "the kernel ends it a moment after Python"
    busy = threading.Thread(target=work, args=[partial(hashlib.pbkdf2_hmac, "sha256", b"", b"", 2_000_000)])
    busy.start()
    native = found.get(timeout=10)
    assert soon(lambda: not relay._sleeps(native))
    busy.join()


def test_without_a_free_descriptor_a_thread_is_thought_to_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise it would lead for ever."""

    def fail(_: Path) -> bytes:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(Path, "read_bytes", fail)
    assert relay._sleeps(threading.get_native_id())


def test_a_thread_that_is_no_more_keeps_no_turn() -> None:
    """Whatever else is asked meanwhile, of threads that may not follow."""
    made = Relay(lambda: False, lambda _: False, idle=0.1)
    made._leader = -1
    made._began[-1] = -time.perf_counter()

    def ask() -> bool:
        made()
        return not made._leader

    assert soon(ask)
