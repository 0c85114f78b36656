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

from serialization.serving.requests import print_exception

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
        # By time.perf_counter: until then an alarm of `within` is sure to ring soon enough. Read the clock once `ring`
        # can see what it is to look for: it may just have looked, and not ring again.
        self.kept = 0.0
        self._lock = threading.Lock()
        self._file = _LIBC.timerfd_create(time.CLOCK_MONOTONIC, 0)
        if self._file < 0:
            raise OSError(ctypes.get_errno(), "no timer")
        threading.Thread(target=self._wait, name=name, daemon=True).start()

    def set(self, seconds: float) -> None:
        """Ring after so long, and not when it was due before."""
        self._set(seconds, 0.0)

    def within(self, seconds: float, now: float) -> None:
        """Ring after so long, and not when it was due before; soon enough for whoever asks the same until `kept`."""
        self._set(seconds, now + seconds * 0.75)

    def _set(self, seconds: float, kept: float) -> None:
        whole, part = divmod(max(1, int(seconds * 1e9)), 10**9)
        with self._lock:
            self.kept = kept
            _LIBC.timerfd_settime(self._file, 0, ctypes.byref(_Time(0, 0, whole, part)), None)

    def _wait(self) -> None:
        while True:
            os.read(self._file, 8)
            try:
                self._ring()
            except Exception:  # it is to ring again
                print_exception(f"thread {threading.current_thread().name}")
