"""One thread answers, the others stand by: for requests that are over before a thread could be woken.

Threads that answer at the same time take Python's lock from each other several times a request, and a small model then
answers a third of the requests. But one thread alone would stand still with a client that sends half a body. So a
thread that does not have the turn waits at the end of its request, and gets the turn when the one that has it waits for
a body, or is busy for long. When nothing was asked for a while all are let go, for a server ends threads that it has no
use for, and must not be left with those alone that stand by.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from serialization.serving.alarm import Alarm

_WAITING = 0.002  # seconds for a body
_SOONER = 0.0002  # seconds for a body where one has just been late: slow clients come in numbers
_WARY = 1.0  # seconds after one was late
_LONG = 0.02  # seconds for all else
_IDLE = 60.0  # seconds


class Relay:
    """Calls `answer` for a server with a pool of threads, in one of which a call returns as soon as it is done.

    `answer` calls `received` when it has all of the request. It returns whether its thread may stand by: while it does,
    a server cannot go on with a connection that has more to send.
    """

    def __init__(self, answer: Callable[..., bool], idle: float = _IDLE) -> None:
        self._answer = answer
        self._turn: int | None = None  # the thread that takes one request after the other
        # By thread that answers: when that has taken long, by time.perf_counter, and whether it waits for a body.
        self._until: dict[int, tuple[float, bool]] = {}
        self._last = 0.0  # when the one whose turn it is began
        self._wary = 0.0  # until when bodies are thought to be late
        self._idle = idle
        self._ended = False
        self._lock = threading.Lock()
        self._standing_by: deque[tuple[int, threading.Lock]] = deque()
        self._alarm = Alarm(self._look, "relay")

    def __call__(self, *arguments: Any) -> None:
        me = threading.get_ident()
        now = time.perf_counter()
        waiting = _SOONER if now < self._wary else _WAITING
        self._until[me] = now + waiting, True
        if self._turn == me:
            self._last = now
            self._alarm.within(waiting, now)
        try:
            may_stand_by = self._answer(*arguments)
        finally:
            del self._until[me]
        if may_stand_by and self._turn != me:
            self._stand_by()

    def received(self) -> None:
        """No more is waited for; from now on this thread is busy."""
        self._until[threading.get_ident()] = time.perf_counter() + _LONG, False

    def end(self) -> None:
        """Let all go for good: a server that ends waits for its threads."""
        self._ended = True
        self._let_go()

    def _stand_by(self) -> None:
        """Return when it is this thread's turn."""
        woken = threading.Lock()
        with self._lock:
            if self._ended:
                return
            if self._turn is None:
                self._turn = threading.get_ident()
                return
            woken.acquire()
            self._standing_by.append((threading.get_ident(), woken))
            self._alarm.within(_WAITING, time.perf_counter())
        woken.acquire()

    def _look(self) -> None:
        """When the alarm rings."""
        now = time.perf_counter()
        until, waits = self._until.get(self._turn or 0, (None, False))
        if until is None:
            if now - self._last >= self._idle:
                self._let_go()
        elif now < until:
            self._alarm.set(until - now)
            return
        else:
            if waits:
                self._wary = now + _WARY
            self._last = now
            self._pass_on()
        self._alarm.set(self._idle)
        if self._turn in self._until:  # it began meanwhile, and set the alarm for a shorter time
            self._alarm.set(_SOONER)

    def _pass_on(self) -> None:
        """Give the turn to one that stands by, or to the first that comes to it."""
        with self._lock:
            self._turn = None
            if self._standing_by:
                self._turn, woken = self._standing_by.popleft()
                woken.release()

    def _let_go(self) -> None:
        with self._lock:
            self._turn = None
            while self._standing_by:
                self._standing_by.pop()[1].release()
