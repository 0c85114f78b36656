"""Requests that come without a pause are answered in one go: a small model takes longer to start than to run a row.

A thread that takes requests cannot see how many more there are to take. So it learns how many to expect: more while
others were there already when a batch was over, fewer when a watchman had to hand on what came. A client that is alone
never waits.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

_PATIENCE = 0.001, 0.02  # seconds, at least and at most, for others: twice as long as a batch takes
_AT_ONCE = 0.000025, 0.00005  # seconds, at least and at most: what comes within a tenth of a batch after it was there
_CALM = 30  # times that patience, for which no more are expected after fewer came


class Gatherer:
    """Gives lists of at most `most` things to `hand_on`, in the thread that puts the last of them or its own."""

    def __init__(self, hand_on: Callable[[list[Any]], object], most: int) -> None:
        self._hand_on = hand_on
        self._most = most
        self._waiting: list[Any] = []
        self._expected = 1
        self._calm = 0.0  # no more are expected before then
        self._patience = _PATIENCE[0]
        self._until = 0.0  # more are expected if one comes before then
        self._lock = threading.Lock()
        self._watched = threading.Event()
        threading.Thread(target=self._watch, name="gatherer", daemon=True).start()

    def put(self, thing: Any, came: float) -> None:
        """Hand it on with those that came before and after it. `came` is of time.perf_counter."""
        with self._lock:
            if not self._waiting and self._calm < came < self._until and self._expected < self._most:
                self._expected += 1
            self._waiting.append(thing)
            if len(self._waiting) < self._expected:
                if not self._watched.is_set():
                    self._watched.set()
                return
            things, self._waiting = self._waiting, []
        self._run(things)

    def _run(self, things: list[Any]) -> None:
        started = time.perf_counter()
        self._hand_on(things)
        over = time.perf_counter()
        self._until = over + min(max(_AT_ONCE[0], (over - started) / 10), _AT_ONCE[1])
        self._patience = min(max(_PATIENCE[0], 2 * (over - started)), _PATIENCE[1])

    def _watch(self) -> None:
        """Hand on what has waited for long."""
        seen = None
        while True:
            self._watched.wait()
            time.sleep(self._patience)
            with self._lock:
                things: list[Any] = []
                if not self._waiting:
                    self._watched.clear()
                elif self._waiting[0] is seen:
                    things, self._waiting = self._waiting, things
                    expected, self._expected = self._expected, 1  # nobody waits for the watchman
                seen = self._waiting[0] if self._waiting else None
            if things:
                self._run(things)
                self._calm = time.perf_counter() + _CALM * self._patience
                # Somewhat fewer come all the time, however late some are; and all may have been late for once.
                self._expected = max(1, len(things) * 7 // 8, expected // 2)
            del things  # not to be kept until the next one comes
