"""Prometheus metrics of a server, added up over its workers.

A counter of prometheus_client takes longer than a small model. So requests are noted, and added up a thousand at a
time. When somebody reads the metrics, a collector of that library shows the sums.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from serialization.tensorflow import np

_SECONDS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]
_ROWS = [float(2**n) for n in range(13)]
_WRITE_INTERVAL = 0.5  # seconds; the numbers that a worker wrote last stay when it dies
_ANSWER_TIME = 1.0  # seconds that a worker has to write its numbers when another asks
_NOTED = 1000  # requests that are added up at once


class _Histogram(msgspec.Struct):
    counts: list[int]
    total: float = 0.0

    def observe(self, bounds: list[float], values: Sequence[float]) -> None:
        counts = np.bincount(np.searchsorted(bounds, values), minlength=len(self.counts))
        self.counts = [before + more for before, more in zip(self.counts, counts.tolist(), strict=True)]
        self.total += sum(values)


class ModelNumbers(msgspec.Struct):
    """The version of a model that answers, how many times another took over, and how many versions are refused."""

    version: str
    swaps: int
    refused: int


class _Numbers(msgspec.Struct):
    """The counts of one worker."""

    requests: dict[str, int]  # by "status route", or "status route model" if there are several models
    seconds: dict[str, _Histogram]  # by "route", or "route model"
    rows: dict[str, _Histogram]  # by model
    in_flight: int = 0
    load_seconds: float = 0.0
    models: dict[str, ModelNumbers] = {}  # by name


class Metrics:
    """Requests by route and status, their latency, requests in flight, batch sizes, the time to load, versions.

    With a `folder`, each worker writes its numbers there. A worker that is asked for the metrics asks the others to
    write first, so counts never go down between two readings from different workers.
    """

    def __init__(self, folder: str | None) -> None:
        self._numbers = _Numbers({}, {}, {})
        self._lock = threading.Lock()
        self._writing = threading.Lock()  # held while the disk writes; requests do not take it
        self._count_in_flight: Callable[[], int] = int
        self._count_models: Callable[[], dict[str, ModelNumbers]] = dict
        self._folder = None if folder is None else Path(folder)
        self._noted: defaultdict[tuple[str, str, int], list[float]] = defaultdict(list)  # seconds
        self._noted_rows: defaultdict[str, list[int]] = defaultdict(list)  # by model
        self._until_added = _NOTED
        if folder is not None:
            threading.Thread(target=self._share, name="metrics", daemon=True).start()

    def count(self, route: str, status: int, seconds: Sequence[float], rows: int, model: str = "") -> None:
        """Count answered requests, by the seconds that each took.

        `route` is the route's rule, never a path: clients send any number of paths. `rows` is the number of rows that
        the model ran at once for these requests, or 0 if it did not run. `model` is given if there are several.
        """
        with self._lock:
            self._noted[route, model, status] += seconds
            if rows:
                self._noted_rows[model] += [rows] * len(seconds)
            self._until_added -= len(seconds)
            if self._until_added <= 0:
                self._add_noted()

    def _add_noted(self) -> None:
        """Add the noted requests to the counts. The caller holds the lock."""
        numbers = self._numbers
        for (route, model, status), seconds in self._noted.items():
            place = f"{route} {model}".rstrip()
            key = f"{status} {place}"
            numbers.requests[key] = numbers.requests.get(key, 0) + len(seconds)
            latency = numbers.seconds.setdefault(place, _Histogram([0] * (len(_SECONDS) + 1)))
            latency.observe(_SECONDS, seconds)
        for model, rows in self._noted_rows.items():
            numbers.rows.setdefault(model, _Histogram([0] * (len(_ROWS) + 1))).observe(_ROWS, rows)
        self._noted.clear()
        self._noted_rows.clear()
        self._until_added = _NOTED

    def loaded(self, seconds: float) -> None:
        self._numbers.load_seconds = seconds

    def watch_in_flight(self, number: Callable[[], int]) -> None:
        """Report the result of `number()` as the requests in flight."""
        self._count_in_flight = number

    def watch_models(self, numbers: Callable[[], dict[str, ModelNumbers]]) -> None:
        """Report the result of `numbers()`, by the models' names."""
        self._count_models = numbers

    def page(self) -> tuple[bytes, str]:
        """The metrics in Prometheus's text format, and their content type."""
        import prometheus_client

        registry = prometheus_client.CollectorRegistry()
        registry.register(self)
        return prometheus_client.generate_latest(registry), prometheus_client.CONTENT_TYPE_LATEST

    def collect(self) -> Iterator[Any]:
        """The metric families, for prometheus_client."""
        from prometheus_client import core

        workers = self._all_workers()
        labels = ["model"] if len(workers[0].models) > 1 else []
        requests = core.CounterMetricFamily(
            "serving_requests", "Requests answered, by route and status", labels=["route", "status", *labels]
        )
        totals: dict[str, int] = {}
        for worker in workers:
            for key, count in worker.requests.items():
                totals[key] = totals.get(key, 0) + count
        for key, total in totals.items():
            status, _, place = key.partition(" ")
            route, _, model = place.partition(" ")
            requests.add_metric([route, status, model], total)
        yield requests
        latency = core.HistogramMetricFamily(
            "serving_request_seconds", "From a request to its answer", labels=["route", *labels]
        )
        for place in sorted({place for worker in workers for place in worker.seconds}):
            histograms = [worker.seconds[place] for worker in workers if place in worker.seconds]
            route, _, model = place.partition(" ")
            latency.add_metric([route, model], *_add_up(_SECONDS, histograms))
        yield latency
        rows = core.HistogramMetricFamily(
            "serving_batch_rows", "Rows that the model ran at once, by request", labels=labels
        )
        for model in sorted({"", *workers[0].models}) if labels else [""]:
            rows.add_metric(
                [model], *_add_up(_ROWS, [worker.rows[model] for worker in workers if model in worker.rows])
            )
        yield rows
        in_flight = sum(worker.in_flight for worker in workers)
        yield core.GaugeMetricFamily("serving_requests_in_flight", "Predictions under way", in_flight)
        load = max(worker.load_seconds for worker in workers)
        yield core.GaugeMetricFamily("serving_load_seconds", "From a worker's start to ready", load)
        yield from _collect_models([worker.models for worker in workers])

    def _all_workers(self) -> list[_Numbers]:
        """The numbers of this worker and of the others; a dead worker has no requests in flight."""
        mine = self._write()
        others = []
        for file in self._ask_others():
            other = msgspec.json.decode(file.read_bytes(), type=_Numbers)
            if not Path(f"/proc/{file.stem}").exists():
                other.in_flight, other.load_seconds, other.models = 0, 0.0, {}
            others.append(other)
        return [msgspec.json.decode(mine, type=_Numbers), *others]

    def _write(self) -> bytes:
        """Write the counts of this worker for the others; returns them as JSON."""
        with self._writing:
            with self._lock:
                self._add_noted()
                self._numbers.in_flight = self._count_in_flight()
                self._numbers.models = self._count_models()
                text = msgspec.json.encode(self._numbers)
            if self._folder is not None:
                with suppress(OSError):  # the folder is gone, or the disk is full; the next call tries again
                    new = self._folder / f"{os.getpid()}.new"
                    new.write_bytes(text)
                    new.replace(new.with_suffix(".json"))
        return text

    def _ask_others(self) -> list[Path]:
        """The files of the other workers, after the living ones have written them anew."""
        if self._folder is None:
            return []
        files = [file for file in sorted(self._folder.glob("*.json")) if file.stem != str(os.getpid())]
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            connection.bind("")  # any free address, unix(7)
            end = time.monotonic() + _ANSWER_TIME
            pending = 0
            for file in files:
                with suppress(OSError):  # the worker is dead
                    connection.sendto(b"", self._address(file.stem))
                    pending += 1
            while pending and (left := end - time.monotonic()) > 0:
                connection.settimeout(left)
                with suppress(TimeoutError):
                    connection.recv(1)
                    pending -= 1
        return files

    def _address(self, worker: str | int) -> str:
        """The socket address of a worker, in unix(7)'s abstract namespace: it needs no file and allows long names."""
        assert self._folder is not None
        return f"\0{self._folder.name}-{worker}"

    def _share(self) -> None:
        assert self._folder is not None
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as connection:
            connection.bind(self._address(os.getpid()))
            connection.settimeout(_WRITE_INTERVAL)
            asker = None
            while self._folder.is_dir():  # the supervisor removes it at the end
                self._write()
                if asker:
                    with suppress(OSError):  # the asker no longer waits
                        connection.sendto(b"", asker)
                asker = None
                with suppress(TimeoutError):
                    _, asker = connection.recvfrom(1)


def _collect_models(workers: Sequence[dict[str, ModelNumbers]]) -> Iterator[Any]:
    """The metric families of models and their versions."""
    from prometheus_client import core

    said = "Workers that answer with this version of the model"
    answering = core.GaugeMetricFamily("serving_model_workers", said, labels=["model", "version"])
    swaps = core.GaugeMetricFamily("serving_model_swaps", "Versions that took over in a worker", labels=["model"])
    refused = core.GaugeMetricFamily("serving_versions_refused", "Versions that are not served", labels=["model"])
    for name in sorted({name for models in workers for name in models}):
        found = [models[name] for models in workers if name in models]
        for version in sorted({numbers.version for numbers in found}, key=int):
            answering.add_metric([name, version], sum(numbers.version == version for numbers in found))
        swaps.add_metric([name], max(numbers.swaps for numbers in found))
        refused.add_metric([name], max(numbers.refused for numbers in found))
    yield from (answering, swaps, refused)


def _add_up(bounds: list[float], histograms: list[_Histogram]) -> tuple[list[tuple[str, float]], float]:
    """Prometheus's buckets, each with the number of all values up to its bound; and the sum of the values."""
    buckets: list[tuple[str, float]] = []
    below = 0
    for i, bound in enumerate([*bounds, float("inf")]):
        below += sum(histogram.counts[i] for histogram in histograms)
        buckets.append(("+Inf" if bound == float("inf") else str(bound), below))
    return buckets, sum(histogram.total for histogram in histograms)
