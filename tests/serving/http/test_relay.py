"""One thread leads while the others follow, until it is busy for long."""

from __future__ import annotations

import queue
import threading
import time
from typing import Any

import pytest
from serving_models import soon

from serialization.serving.http.relay import Relay
from serialization.serving.http.watch import Watch


class Pool:
    """A server's threads: each takes a request and answers it."""

    def __init__(self, threads: int, **options: float) -> None:
        self.reading: set[int] = set()
        self.relay = Relay(self.answer, self.reading.__contains__, Watch(0.001), **{"late": 0.0005, **options})
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


def test_a_leader_whose_thread_was_ended_is_replaced() -> None:
    """A server ends threads that do nothing; the leader is the only one that it sees doing nothing."""
    pool = busy_at_once(Pool(2, idle=0.1))
    (leader,) = set(pool.ask(5))
    pool.requests.put(None)
    assert soon(lambda: leader not in {thread.ident for thread in threading.enumerate()})
    time.sleep(0.2)
    new = threading.Thread(target=pool.work, daemon=True)
    new.start()
    assert set(pool.ask(20)) == {new.ident}


def test_followers_are_let_go_at_the_end(pool: Pool) -> None:
    pool.relay.end()
    for _ in pool.threads:
        pool.requests.put(None)
    for thread in pool.threads:
        thread.join(10)
        assert not thread.is_alive()


def test_a_leader_that_waits_for_a_body_is_replaced_sooner() -> None:
    pool = busy_at_once(Pool(3, late=0.001))
    (first,) = set(pool.ask(5))
    begun, wait = threading.Semaphore(0), threading.Event()
    pool.requests.put({"begun": begun, "wait": wait, "slow body": True})
    assert begun.acquire(timeout=10)
    (second,) = set(pool.ask(5))
    assert first != second
    wait.set()
    assert pool.answered.get(timeout=10) == first


def test_a_leader_may_wait_for_a_body_as_long_as_said() -> None:
    pool = busy_at_once(Pool(2, late=0.3))
    (leader,) = set(pool.ask(5))
    begun, wait = threading.Semaphore(0), threading.Event()
    pool.requests.put({"begun": begun, "wait": wait, "slow body": True})
    assert begun.acquire(timeout=10)
    pool.requests.put({})
    time.sleep(0.1)
    assert pool.answered.empty(), "the follower must not lead yet"
    assert pool.answered.get(timeout=10) != leader
    wait.set()
    assert pool.answered.get(timeout=10) == leader


def test_a_thread_whose_request_was_not_read_does_not_follow(pool: Pool) -> None:
    """A server cannot close its connection before the call is over."""
    (leader,) = set(pool.ask(5))
    begun, wait = threading.Semaphore(0), threading.Event()
    pool.requests.put({"begun": begun, "wait": wait})
    assert begun.acquire(timeout=10)
    pool.relay({"refused": True})
    assert pool.answered.get(timeout=10) == threading.get_ident()
    wait.set()
    assert pool.answered.get(timeout=10) == leader
