"""The supervisor's side of the workers: which are ready, which cannot start, and when all may end."""

from __future__ import annotations

import json
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timezone
from typing import Any

from serialization.serving.http.drain import split_grace
from serialization.serving.http.worker import DRAINED, FAILED, LOADED, LONGEST_REPORT, PAUSE, READY, REFUSED

_LATE = 1.0  # seconds that a worker may take beyond its time to drain
_LOOK = 0.05  # seconds between looks at workers that are to end


class Respawns(dict[int, float]):
    """When each worker was replaced: granian gives up if one dies within 5.5 seconds of that.

    Here it does so only if no other worker is ready. The only number of `pause` is how many seconds the next worker
    waits before it loads, so that one that dies while it loads is not loaded again and again.
    """

    def __init__(self, is_one_ready: Callable[[], bool]) -> None:
        super().__init__()
        self.pause = [0.0]  # a list, for a worker is given it with the number of that moment
        self._is_one_ready = is_one_ready

    def get(self, worker: int, default: Any = 0.0) -> Any:
        if not self._is_one_ready():
            return super().get(worker, default)
        self.pause[0] = PAUSE if worker in self and time.monotonic() - self[worker] < PAUSE else 0.0
        return 0.0


class Supervisor:
    """Reads the workers' reports, and ends the server. `served` is the pipe whose end tells the workers to drain."""

    def __init__(
        self, granian: Any, received: socket.socket, served: Any, grace: float, log_format: str = "none"
    ) -> None:
        self.failures: list[str] = []
        self._granian = granian
        self._received = received
        self._served = served
        self._grace = grace
        self._log_format = log_format
        self._told: dict[str, set[int]] = {}  # lines about versions, and the workers that have told them
        self._ready: set[int] = set()
        self._drained: set[int] = set()
        self.respawns = granian.respawned_wrks = Respawns(self.is_one_ready)

    def is_one_ready(self) -> bool:
        """Whether a worker answers requests."""
        return bool(self._list_ready())

    def stop(self) -> None:
        """Tell the workers to drain, and end when they have; a second call ends at once."""
        if self._served.closed:
            self._granian.signal_handler_interrupt()
            return
        self._served.close()
        threading.Thread(target=self._end, daemon=True).start()

    def read_reports(self, announce: Callable[[str], None]) -> None:
        """Announce when all workers are ready; end the server if one cannot start before that and none is ready."""
        announced = False
        while True:
            kind, worker, text = json.loads(self._received.recv(LONGEST_REPORT))
            if kind == READY:
                self._granian.respawned_wrks.clear()  # the worker could start, whenever it dies
                self._ready.add(worker)
                if not announced and len(self._list_ready()) == self._granian.workers:
                    announced = True
                    announce(text)
            elif kind == DRAINED:
                self._drained.add(worker)
            elif kind in (LOADED, REFUSED):
                self._show_event(kind, worker, text)
            elif kind == FAILED and not announced and not self.is_one_ready():
                self.failures.append(text)
                self.stop()
            else:
                with suppress(OSError):
                    print(f"a worker is missing: {text}; trying again in {PAUSE} seconds", file=sys.stderr, flush=True)

    def _show_event(self, kind: str, worker: int, text: str) -> None:
        """Print what all workers tell, once; again where a worker tells it again."""
        told = self._told.setdefault(text, set())
        if not told or worker in told:
            told.clear()
            stream = sys.stderr if kind == REFUSED else sys.stdout
            if self._log_format == "json":
                now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
                text = json.dumps({"time": now, "event": kind, "message": text})
            with suppress(OSError):
                print(text, file=stream, flush=True)
        told.add(worker)

    def _list_ready(self) -> list[int]:
        return [w.inner.pid for w in list(self._granian.wrks) if w.inner.pid in self._ready and w.is_alive()]

    def _end(self) -> None:
        end = time.monotonic() + self._grace
        until = time.monotonic() + sum(split_grace(self._grace)) + _LATE
        while set(self._list_ready()) - self._drained and time.monotonic() < min(until, end):
            time.sleep(_LOOK)
        self._granian.workers_kill_timeout = max(0.001, end - time.monotonic())
        self._granian.signal_handler_interrupt()
