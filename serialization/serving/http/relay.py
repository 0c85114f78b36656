"""Leader and followers: one thread answers; another takes over when it blocks.

Threads that answer at the same time take Python's lock from each other several times a request, and a small model then
answers a third of the requests. But one thread alone would stand still with a client that sends half a body. So the
leader takes one request after the other, and any other thread waits at the end of its request: the first of them leads
when the leader waits for a body, or is busy for long. When nothing was asked for a while all are let go, for a server
ends threads that it has no use for, and must not be left with followers alone.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from serialization.serving.http.alarm import Alarm

_WAITING = 0.002  # seconds for a body
_SOONER = 0.0002  # seconds for a body where one has just been late: slow clients come in numbers
_WARY = 1.0  # seconds after one was late
_LONG = 0.02  # seconds for all else
_IDLE = 60.0  # seconds


class Relay:
    """Calls `answer` for a server with a pool of threads, in one of which a call returns as soon as it is done.

    `answer` returns whether its thread may follow: while it does, a server cannot go on with a connection that has
    more to send. `reads` tells of a thread whether it waits for a body.
    """

    def __init__(self, answer: Callable[..., bool], reads: Callable[[int], bool], idle: float = _IDLE) -> None:
        self._answer = answer
        self._reads = reads
        self._leader = 0  # the thread that takes one request after the other, or none
        # When each thread began its last request, by time.perf_counter; less than 0 once that is answered.
        self._began: dict[int, float] = {}
        self._native: dict[int, int] = {}  # the kernel's ids of the threads that came to follow
        self._wary = 0.0  # until when bodies are thought to be late
        self._idle = idle
        self._ended = False
        self._lock = threading.Lock()
        self._followers: deque[tuple[int, threading.Lock]] = deque()
        self._alarm = Alarm(self._look, "relay")

    def __call__(self, *arguments: Any) -> None:
        me = threading.get_ident()
        self._began[me] = now = time.perf_counter()
        if now > self._alarm.kept:
            self._watch(now)
        try:
            may_follow = self._answer(*arguments)
        finally:
            self._began[me] = -now
        if self._leader != me and may_follow:
            self._follow(me)

    def end(self) -> None:
        """Let all go for good: a server that ends waits for its threads."""
        self._ended = True
        self._let_go()

    def _watch(self, now: float) -> None:
        self._alarm.within(_SOONER if now < self._wary else _WAITING, now)

    def _follow(self, me: int) -> None:
        """Return when this thread leads."""
        woken = threading.Lock()
        self._native[me] = threading.get_native_id()
        with self._lock:
            if self._ended:
                return
            if not self._leader:
                self._leader = me
                return
            woken.acquire()
            self._followers.append((me, woken))
        woken.acquire()

    def _look(self) -> None:
        """When the alarm rings."""
        now = time.perf_counter()
        leader = self._leader
        began = self._began.get(leader, 0.0)
        if began > 0:
            reads = self._reads(leader)
            left = began - now + (_LONG if not reads else _SOONER if now < self._wary else _WAITING)
            # It may have all of the body, but no processor.
            if reads and left <= 0 and not _sleeps(self._native[leader]):
                left = min(_WAITING, began - now + _LONG)
            if left > 0:
                self._alarm.set(left)
                return
            if reads:
                self._wary = now + _WARY
            self._pass_on()
        elif now + began >= self._idle:
            self._let_go()
        self._alarm.set(self._idle)
        if self._began.get(self._leader, 0.0) > 0:  # it began meanwhile, and thought that the alarm was set
            self._watch(now)

    def _pass_on(self) -> None:
        """Have one that follows lead, or the first that comes to it."""
        with self._lock:
            self._leader = 0
            if self._followers:
                self._leader, woken = self._followers.popleft()
                woken.release()

    def _let_go(self) -> None:
        with self._lock:
            self._leader = 0
            while self._followers:
                self._followers.pop()[1].release()


def _sleeps(native: int) -> bool:
    """Whether a thread waits for something; proc(5) has the state after the name."""
    try:
        return b") S " in Path(f"/proc/self/task/{native}/stat").read_bytes()
    except OSError:  # it has ended, or no descriptor is free
        return True
