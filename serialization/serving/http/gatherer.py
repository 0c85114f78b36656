"""Runs requests that come without a pause together: a small model takes longer to start than to run a row.

A thread that takes requests cannot see how many more there are. So it learns how many to wait for: twice as many after
some batches whose requests came without a pause, half as many after some that had one, and as many as came when more
did not come.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from serialization.serving.http.watch import Watch

_PAUSE = 0.00005  # seconds between two requests, after which the second was not there already
_PAUSES = 32  # batches with a pause before half as many are waited for
_TRIALS = 8, 4096  # batches without a pause before twice as many are waited for: at first, and after failures at most


class Gatherer:
    """Gives lists of at most `most` things to `hand_on`, in the thread that puts the last of them or in the watch's."""

    def __init__(self, hand_on: Callable[[list[Any]], object], most: int, watch: Watch) -> None:
        self._hand_on = hand_on
        self.most = most
        self._waiting: list[Any] = []
        self._expected = 1
        self._score = 0  # since as many are expected: batches without a pause, less those with one
        self._trials = defaultdict[int, int](lambda: _TRIALS[0])  # by the number that is to be waited for
        self._done = 0.0  # when the last thing was put, or a batch was over, by time.perf_counter
        self._paused = False  # whether there was a pause between those that wait
        self._seen: list[Any] = []  # the list that waited at the last look
        self._lock = threading.Lock()
        self._watch = watch
        watch.looks.append(self._look)

    def put(self, thing: Any, came: float) -> None:
        """Hand it on with those that came before and after it. `came` is of time.perf_counter."""
        with self._lock:
            things = self._waiting
            if not things:
                self._paused = False
            # The first of several comes when the clients have read their answers.
            if came - self._done > _PAUSE and (things or self._expected == 1):
                self._paused = True
            things.append(thing)
            if len(things) < self._expected:
                self._done = time.perf_counter()
                if self._done > self._watch.kept:
                    self._watch.put_off()
                return
            self._waiting = []
            self._learn()
        self._hand_on(things)
        self._done = time.perf_counter()

    def close(self) -> None:
        """Have the watch forget it, once nothing waits."""
        self._watch.forget(self._look)

    def _learn(self) -> None:
        """From a batch of as many as were expected."""
        if not self._paused:
            self._score += 1
            if self._score == self._trials[self._expected]:
                self._trials[self._expected] = _TRIALS[0]  # it has held for as long as it was waited for
            more = min(2 * self._expected, self.most)
            if more > self._expected and self._score >= self._trials[more]:
                self._expect(more)
        elif self._expected > 1:
            self._score -= 1
            if self._score <= -_PAUSES:
                self._fail(self._expected // 2)

    def _fail(self, expected: int) -> None:
        self._trials[self._expected] = min(2 * self._trials[self._expected], _TRIALS[1])
        self._expect(expected)

    def _expect(self, expected: int) -> None:
        self._expected = expected
        self._score = 0

    def _look(self) -> bool:
        """Hand on what waits since the last look: no more came."""
        with self._lock:
            things = self._waiting
            if not things or things is not self._seen:
                self._seen = things
                return bool(things)
            self._waiting = []
            self._fail(1 << len(things).bit_length() - 1)
        self._hand_on(things)
        return False
