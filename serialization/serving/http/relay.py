"""Leader and followers: one thread answers; another takes over when it blocks.

Threads that answer at the same time take Python's lock from each other several times a request. So one thread, the
leader, answers one request after the other, and any other thread waits at the end of its first request. The thread that
has waited longest takes the lead when the leader waits for a body, or is busy for long.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from serialization.serving.http.watch import Watch

_LONG = 0.02  # seconds that a leader may be busy
_IDLE = 1.0  # seconds without a request, after which the leader's thread may have been ended by the server


class Relay:
    """Calls `answer` for a server with a pool of threads, in one of which a call returns as soon as it is done.

    `answer` returns whether its thread may follow: while it does, a server cannot go on with a connection that has
    more to send. `reads` tells of a thread whether it waits for a body: the leader may do so for `late` seconds.
    """

    def __init__(
        self, answer: Callable[..., bool], reads: Callable[[int], bool], watch: Watch, late: float, idle: float = _IDLE
    ) -> None:
        self._answer = answer
        self._reads = reads
        self._late = late
        self._idle = idle
        self._leader = 0  # the thread that leads; 0 if none does
        # When each thread began its last request, by time.perf_counter; less than 0 once that is answered.
        self._began: dict[int, float] = {}
        self._ended = False
        self._lock = threading.Lock()
        self._followers: deque[tuple[int, threading.Lock]] = deque()
        self._watch = watch
        watch.looks.append(self._look)

    def __call__(self, *arguments: Any) -> None:
        me = threading.get_ident()
        self._began[me] = now = time.perf_counter()
        if time.perf_counter() > self._watch.kept:
            self._watch.put_off()
        try:
            may_follow = self._answer(*arguments)
        finally:
            self._began[me] = -now
        if self._leader != me and may_follow:
            self._follow(me)

    def end(self) -> None:
        """Let all followers go: a server that ends waits for its threads."""
        with self._lock:
            self._ended = True
            while self._followers:
                self._followers.pop()[1].release()

    def _follow(self, me: int) -> None:
        """Return when this thread leads."""
        woken = threading.Lock()
        with self._lock:
            if self._ended:
                return
            began = self._began.get(self._leader, 0.0)
            if began <= 0 and time.perf_counter() + began > self._idle:
                self._leader = me
                return
            woken.acquire()
            self._followers.append((me, woken))
        woken.acquire()

    def _look(self) -> bool:
        """Give the lead to the first follower, or to the next thread to come, if the leader is busy for long."""
        leader = self._leader
        began = self._began.get(leader, 0.0)
        if began <= 0:
            return False
        if time.perf_counter() - began > (self._late if self._reads(leader) else _LONG):
            with self._lock:
                self._leader = 0
                if self._followers:
                    self._leader, woken = self._followers.popleft()
                    woken.release()
        return True
