"""While one batch runs, the next one gathers: a model that is free takes what waits, however much that is.

Nothing is waited for that may not come, so a client that is alone has its answer as soon as can be, and with many
clients the model runs on one processor while another reads and decodes.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from serialization.serving.alarm import Alarm
from serialization.serving.predict_route import Request

_LONG = 0.02  # seconds of a batch, after which the next one is begun beside it: it may be one that never ends


class Batches:
    """Runs requests in batches of at most `most_rows` rows, `beside` of them at a time, each in a thread of its own.

    One that has fewer rows waits until its first request came `patience` seconds ago.
    """

    def __init__(
        self, run: Callable[[list[Request]], object], most_rows: int, *, beside: int, patience: float, threads: int
    ) -> None:
        self._run = run
        self._most_rows = most_rows
        self._beside = beside
        self._patience = patience
        self._threads = ThreadPoolExecutor(threads, "batch")
        self._waiting: deque[tuple[Request, float]] = deque()
        self._rows = 0  # of those that wait
        self._changed = threading.Condition()
        # When each thread that runs one batch after the other began its last, by time.perf_counter.
        self._began: dict[int, float] = {}
        self._starting = 0  # threads that are to be such
        self._alarm = Alarm(self._look, "batches")

    def put(self, request: Request, came: float) -> None:
        """Run it with what else waits then; it has no more rows than a batch. `came` is of time.perf_counter."""
        with self._changed:
            self._waiting.append((request, came))
            self._rows += request.rows
            if self._patience and self._rows >= self._most_rows:
                self._changed.notify()
            self._start()

    def _start(self) -> None:
        """Under the lock: have what waits run, if another batch may run."""
        if self._waiting and len(self._began) + self._starting < self._beside:
            self._starting += 1
            self._threads.submit(self._work)

    def _work(self) -> None:
        me = threading.get_ident()
        with self._changed:
            self._starting -= 1
            self._began[me] = time.perf_counter()
        while batch := self._take(me):
            self._run(batch)

    def _take(self, me: int) -> list[Request]:
        """What waits, or nothing where this thread is no longer needed."""
        with self._changed:
            if me not in self._began:  # it took long, and another runs what waits
                return []
            if self._patience and self._waiting:
                self._began[me] = math.inf
                left = self._waiting[0][1] + self._patience - time.perf_counter()
                self._changed.wait_for(lambda: self._rows >= self._most_rows, left)
            batch: list[Request] = []
            rows = 0
            while self._waiting and rows + self._waiting[0][0].rows <= self._most_rows:
                rows += self._waiting[0][0].rows
                batch.append(self._waiting.popleft()[0])
            self._rows -= rows
            if not batch:
                del self._began[me]
                return []
            self._began[me] = now = time.perf_counter()
            self._start()
            if now > self._alarm.kept:
                self._alarm.within(_LONG, now)
            return batch

    def _look(self) -> None:
        """When the alarm rings: have others take the place of those that have taken long."""
        with self._changed:
            now = time.perf_counter()
            for thread, began in list(self._began.items()):
                if now - began >= _LONG:
                    del self._began[thread]
            self._start()
            if self._began:
                self._alarm.set(_LONG)
