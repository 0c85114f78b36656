"""Gathers the next batch while one runs: a free model takes all requests that wait.

Nothing is waited for that may not come, so a client that is alone has its answer as soon as can be, and with many
clients the model runs on one processor while another reads and decodes. TensorFlow's own batch scheduler, which serves
threads that ask one by one, would find nothing left to gather here, and takes as long as two rows of a small image.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from serialization.serving.http.predict_route import Request
from serialization.serving.http.watch import Watch
from serialization.serving.requests import print_exception

_TIMES = 4.0  # the time of the last batch: one that takes longer, and longer than `long`, may have no end


class Batches:
    """Runs requests in batches of at most `max_batch_size` rows, `parallel` of them at a time, each in its own thread.

    One that has fewer rows waits until its first request came `batch_timeout` seconds ago. One that takes longer than
    `long` seconds, and than four times the last, has the next begin beside it.
    """

    def __init__(
        self,
        run: Callable[[list[Request]], object],
        max_batch_size: int,
        *,
        parallel: int,
        batch_timeout: float,
        threads: int,
        long: float = 0.02,
    ) -> None:
        self._run = run
        self._max_batch_size = max_batch_size
        self._parallel = parallel
        self._batch_timeout = batch_timeout
        self._threads = ThreadPoolExecutor(threads, "batch")
        self._threads.submit(int)  # one thread is there, or this raises; later there may be no room for more
        self._waiting: deque[tuple[Request, float]] = deque()
        self._rows = 0  # of those that wait
        self._changed = threading.Condition()
        # When each thread that runs one batch after the other began its last, by time.perf_counter.
        self._began: dict[int, float] = {}
        self._starting = 0  # threads that are to be such
        self._least_long = self._long = long
        self._watch = Watch(long)
        self._watch.looks.append(self._look)

    def put(self, request: Request, came: float) -> None:
        """Run it with what else waits then; it has no more rows than a batch. `came` is of time.perf_counter."""
        with self._changed:
            self._waiting.append((request, came))
            self._rows += request.rows
            if self._rows >= self._max_batch_size:
                self._changed.notify()
            self._start()

    def close(self) -> None:
        """End the threads, once nothing waits."""
        self._threads.shutdown()
        self._watch.close()

    def _start(self) -> None:
        """Under the lock: have what waits run, if another batch may run."""
        if self._waiting and len(self._began) + self._starting < self._parallel:
            self._starting += 1
            with suppress(RuntimeError):  # no thread can be started now: one that is there does it when it is free
                self._threads.submit(self._work)

    def _work(self) -> None:
        me = threading.get_ident()
        with self._changed:
            self._starting -= 1
            self._began[me] = time.perf_counter()
        while batch := self._take(me):
            began = time.perf_counter()
            try:
                self._run(batch)
            except Exception:  # those that come next are to be run
                print_exception("batch")
            self._long = max(self._least_long, _TIMES * (time.perf_counter() - began))

    def _take(self, me: int) -> list[Request]:
        """What waits, or nothing where this thread is no longer needed."""
        with self._changed:
            if me not in self._began:  # it took long, and another runs what waits
                return []
            while self._waiting and self._rows < self._max_batch_size:
                left = self._waiting[0][1] + self._batch_timeout - time.perf_counter()
                if left <= 0:
                    break
                self._began[me] = math.inf
                self._changed.wait(left)
            batch: list[Request] = []
            rows = 0
            while self._waiting and rows + self._waiting[0][0].rows <= self._max_batch_size:
                rows += self._waiting[0][0].rows
                batch.append(self._waiting.popleft()[0])
            self._rows -= rows
            if not batch:
                del self._began[me]
                return []
            self._began[me] = time.perf_counter()
            self._start()
            if len(self._began) == 1:  # with more, one may have taken long already
                self._watch.put_off()
            return batch

    def _look(self) -> bool:
        """Have others take the place of the threads that have taken long."""
        with self._changed:
            now = time.perf_counter()
            for thread, began in list(self._began.items()):
                if now - began >= self._long:
                    del self._began[thread]
            self._start()
            return bool(self._began)
