"""A thread that looks after the others once nothing has happened for a moment.

A thread that wakes takes Python's lock from a busy one, which costs the busy one as much time as several requests. The
kernel's timer is put off without waking any thread.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable

from serialization.serving.requests import print_exception

_LIBC = ctypes.PyDLL(None, use_errno=True)  # os.timerfd_create comes with Python 3.13


class Watch:
    """Calls each of `looks` when nobody has called `put_off` for `seconds`, and again as long as one returns True."""

    def __init__(self, seconds: float) -> None:
        self.looks: list[Callable[[], bool]] = []
        # By time.perf_counter. Call put_off later than this, with a clock read after the looks can see the change.
        self.kept = 0.0
        self._half = seconds / 2
        self._time = (ctypes.c_long * 4)(0, 0, *divmod(int(seconds * 1e9), 10**9))  # itimerspec, timerfd_create(2)
        self._timer = _LIBC.timerfd_create(time.CLOCK_MONOTONIC, 0)
        if self._timer < 0:
            raise OSError(ctypes.get_errno(), "the kernel gives no timer")
        self._closed = False
        threading.Thread(target=self._watch, name="watch", daemon=True).start()

    def put_off(self) -> None:
        """Look in `seconds`; a call before `kept` changes little."""
        self.kept = time.perf_counter() + self._half
        _LIBC.timerfd_settime(self._timer, 0, self._time, None)

    def forget(self, look: Callable[[], bool]) -> None:
        """Call it no more; a call that has begun may still go on."""
        self.looks = [other for other in self.looks if other != look]  # anew: the thread may be going through the list

    def close(self) -> None:
        """End the thread. Nobody puts it off any more."""
        self._closed = True
        self._time = (ctypes.c_long * 4)(0, 0, 0, 1)
        self.put_off()

    def _watch(self) -> None:
        while True:
            os.read(self._timer, 8)
            if self._closed:
                os.close(self._timer)
                return
            for look in self.looks:
                try:
                    if look():
                        self.put_off()
                except Exception:  # the others are looked after all the same
                    print_exception("the watch")
