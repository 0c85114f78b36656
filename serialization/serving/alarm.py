"""A thread that wakes when it is due, and not before: one that looked every millisecond would slow down all others.

To wake takes Python's lock, which a busy thread gives up only around its calls: at each of those it then wakes the one
that waits, in vain most times. A timer of the kernel is put off without anyone waking.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable

from serialization.serving.answers import show_exception

_LIBC = ctypes.PyDLL(None, use_errno=True)  # os.timerfd_create comes with Python 3.13


class _Time(ctypes.Structure):
    """struct itimerspec of timerfd_settime(2), for a timer that goes off once."""

    _fields_ = (
        ("interval_seconds", ctypes.c_long),
        ("interval_nanoseconds", ctypes.c_long),
        ("seconds", ctypes.c_long),
        ("nanoseconds", ctypes.c_long),
    )


class Alarm:
    """Calls `ring` in a thread of its own when it is due; what it is set to last counts."""

    def __init__(self, ring: Callable[[], None], name: str) -> None:
        self._ring = ring
        self._due = 0.0  # by time.perf_counter; it is set if that is yet to come
        self._lock = threading.Lock()
        self._file = _LIBC.timerfd_create(time.CLOCK_MONOTONIC, 0)
        if self._file < 0:
            raise OSError(ctypes.get_errno(), "no timer")
        threading.Thread(target=self._wait, name=name, daemon=True).start()

    def set(self, seconds: float) -> None:
        """Ring after so long, and not when it was due before."""
        nanoseconds = max(1, int(seconds * 1e9))
        with self._lock:
            self._due = time.perf_counter() + seconds
            _LIBC.timerfd_settime(self._file, 0, ctypes.byref(_Time(0, 0, *divmod(nanoseconds, 10**9))), None)

    def within(self, seconds: float, now: float) -> None:
        """Ring after so long, or a quarter of it: what is set like that already is not set again. `now` is the time."""
        if not now + seconds / 4 < self._due <= now + seconds:
            self.set(seconds)

    def _wait(self) -> None:
        while True:
            os.read(self._file, 8)
            try:
                self._ring()
            except Exception:  # it is to ring again
                show_exception(f"thread {threading.current_thread().name}")
