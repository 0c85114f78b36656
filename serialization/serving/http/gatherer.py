"""Runs requests that come without a pause together: a small model takes longer to start than to run a row.

A thread that takes requests cannot see how many more there are to take. So it learns how many to wait for: twice as
many while each was there already when the one before it was done with, half when that leaves it idle for longer than
its clients need, as many as came when more did not come. What was too many is tried again, after a longer and longer
time. A client that is alone does not wait, once that is learnt.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from serialization.serving.http.alarm import Alarm

_PATIENCE = 0.0005, 0.02  # seconds, at least and at most, for others: twice as long as they and a batch should take
_AT_ONCE = 0.00005  # seconds; what came no later was there already
_IDLE = 1 / 3  # of the time that a batch takes: to wait longer than that for the next one is a waste
_EACH = 0.000035  # seconds that a server and its client take for a request: to wait as long for each is no waste
_OVER = 0.1  # seconds without a request, after which all begins anew
_TRIALS = 8, 4096  # batches, at least and at most, that were there already before twice as many are waited for
_HELD = 64  # such batches, more than others, after which what is waited for is no trial any more
_FAILURES = 32  # batches, more than others, that were waited for too long before half as many are waited for
_SHORT = 3  # batches in a row that did not come before no more than came are waited for: once may be by chance


class Gatherer:
    """Gives lists of at most `most` things to `hand_on`, in the thread that puts the last of them or its own."""

    def __init__(
        self,
        hand_on: Callable[[list[Any]], object],
        most: int,
        *,
        patience: tuple[float, float] = _PATIENCE,
        over: float = _OVER,
    ) -> None:
        self._hand_on = hand_on
        self._most = most
        self._least_patience, self._most_patience = patience
        self._over = over
        self._waiting: list[Any] = []
        self._expected = 1
        self._successes = 0  # batches that were there already since as many are expected
        self._short = 0  # batches in a row that did not come
        self._mood = 0  # up with each batch that was there already, down with each that was waited for too long
        self._trials = defaultdict[int, int](lambda: _TRIALS[0])  # by the number that is to be waited for
        self._since = 0.0  # when the first that waits was put, by time.perf_counter
        self._done = 0.0  # when the last was put, or a batch was over
        self._pauses: list[float] = []  # seconds from there to the next, of those that wait
        self._seconds = 0.0  # that the last batch took
        self._patience = patience[0]
        self._looking = False  # whether what has waited for long is handed on: nobody waits for that to be over
        self._lock = threading.Lock()
        self._alarm = Alarm(self._look, "gatherer")

    def put(self, thing: Any, came: float) -> None:
        """Hand it on with those that came before and after it. `came` is of time.perf_counter."""
        with self._lock:
            now = time.perf_counter()  # it may have taken long to read what came
            things, pauses = self._waiting, self._pauses
            if not things:
                self._since = now
                if came - self._done > self._over:
                    self._expected = 1
            things.append(thing)
            pauses.append(came - self._done)
            if len(things) < self._expected and not self._looking:
                self._done = now
                if now > self._alarm.kept:
                    self._alarm.within(self._patience, now)
                return
            self._waiting, self._pauses = [], []
            if not self._looking:
                self._learn(pauses)
        self._run(things)

    def _learn(self, pauses: list[float]) -> None:
        """From a batch that came as expected."""
        self._short = 0
        if max(pauses) < _AT_ONCE:
            self._succeed()
        elif sum(pauses) > max(_IDLE * self._seconds, _EACH * len(pauses)):
            self._mood -= 1
            if self._mood <= -_FAILURES:
                self._fail(self._expected // 2)

    def _succeed(self) -> None:
        self._successes += 1
        self._mood = min(self._mood + 1, _HELD)
        if self._mood == _HELD:
            self._trials[self._expected] = _TRIALS[0]
        more = min(2 * self._expected, self._most)
        if more > self._expected and self._successes >= self._trials[more]:
            self._expect(more)

    def _fail(self, came: int) -> None:
        self._trials[self._expected] = min(2 * self._trials[self._expected], _TRIALS[1])
        self._expect(1 << max(came, 1).bit_length() - 1)

    def _expect(self, expected: int) -> None:
        self._expected = expected
        self._mood = self._successes = self._short = 0

    def _run(self, things: list[Any]) -> None:
        started = time.perf_counter()
        self._hand_on(things)
        self._done = time.perf_counter()
        self._seconds = self._done - started
        needed = 2 * (self._seconds + _EACH * self._expected)
        patience = min(max(self._least_patience, needed), self._most_patience)
        if patience < self._patience / 2:
            with self._lock:  # in which no other thread sets the alarm for the longer time
                self._patience = patience
                self._alarm.kept = 0.0  # it may be set for much longer than that
        else:
            self._patience = patience

    def _look(self) -> None:
        """When the alarm rings: hand on what has waited for long."""
        with self._lock:
            if not self._waiting:
                return
            left = self._since + self._patience - time.perf_counter()
            if left > 0:
                self._alarm.set(left)
                return
            things, self._waiting, self._pauses = self._waiting, [], []
            self._short += 1
            if self._short >= _SHORT:
                self._fail(len(things))
            self._looking = True
        try:
            self._run(things)
        finally:
            self._looking = False
