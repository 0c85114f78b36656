"""A thread that calls a function at a time that others set and put off.

To put it off only writes the new time: the thread wakes at the old one, sees that it is too early, and sleeps again.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable

from serialization.serving.requests import print_exception


class Alarm:
    """Calls `ring` in a thread of its own when it is due; the time that was set last counts."""

    def __init__(self, ring: Callable[[], None], name: str) -> None:
        self._ring = ring
        # By time.perf_counter: until then an alarm of `within` is sure to ring soon enough. Read the clock once `ring`
        # can see what it is to look for: it may just have looked, and not ring again.
        self.kept = 0.0
        self._changed = threading.Condition()
        self._due = math.inf  # by time.perf_counter
        self._wakes = math.inf  # when the thread wakes without being notified
        threading.Thread(target=self._wait, name=name, daemon=True).start()

    def set(self, seconds: float) -> None:
        """Ring after so many seconds, and not when it was due before."""
        self._set(seconds, 0.0)

    def within(self, seconds: float, now: float) -> None:
        """Ring after so many seconds, and not when it was due before; no need to ask for the same until `kept`."""
        self._set(seconds, now + seconds * 0.75)

    def _set(self, seconds: float, kept: float) -> None:
        with self._changed:
            self.kept = kept
            self._due = time.perf_counter() + seconds
            if self._due < self._wakes:
                self._changed.notify()

    def _wait(self) -> None:
        while True:
            with self._changed:
                while (left := self._due - time.perf_counter()) > 0:
                    self._wakes = self._due
                    self._changed.wait(min(left, threading.TIMEOUT_MAX))
                self._due = self._wakes = math.inf
            try:
                self._ring()
            except Exception:  # it is to ring again
                print_exception(f"thread {threading.current_thread().name}")
