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
        self._since = 0.0  # by time.perf_counter, when it began with its last request, or got the turn
        self._looked_after = 0.0  # no need to set the alarm before then
        self._busy = False
        self._long = _LONG
        self._idle = idle
        self._ended = False
        self._lock = threading.Lock()
        self._standing_by: deque[tuple[int, threading.Lock]] = deque()
        self._alarm = Alarm(self._look, "relay")

    def __call__(self, *arguments: Any) -> None:
        me = threading.get_ident()
        if self._turn == me:
            self._since = now = time.perf_counter()
            self._long = _WAITING
            self._busy = True
            if now > self._looked_after:
                self._looked_after = now + 0.75 * _WAITING
                self._alarm.set(_WAITING)
        may_stand_by = False
        try:
            may_stand_by = self._answer(*arguments)
        finally:
            if self._turn == me:
                self._busy = False
            elif may_stand_by:
                self._stand_by()

    def received(self) -> None:
        """No more is waited for; from now on this thread is busy."""
        if self._turn == threading.get_ident():
            self._long = _LONG

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
                self._since = time.perf_counter()
                return
            woken.acquire()
            self._standing_by.append((threading.get_ident(), woken))
            self._alarm.set(_WAITING)
        woken.acquire()

    def _look(self) -> None:
        """When the alarm rings: it is set for a short time wherever it may have been set for a long one meanwhile."""
        seconds = time.perf_counter() - self._since
        if self._busy and seconds < self._long:
            self._alarm.set(self._long - seconds)
            return
        if self._busy:
            self._pass_on()
        elif seconds >= self._idle:
            self._let_go()
        self._alarm.set(self._idle)
        if self._busy:
            self._alarm.set(_WAITING)

    def _pass_on(self) -> None:
        """Give the turn to one that stands by, or to the first that comes to it."""
        with self._lock:
            self._busy = False
            self._since = time.perf_counter()
            self._turn = None
            if self._standing_by:
                self._turn, woken = self._standing_by.popleft()
                woken.release()

    def _let_go(self) -> None:
        with self._lock:
            self._turn = None
            while self._standing_by:
                self._standing_by.pop()[1].release()
