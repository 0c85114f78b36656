"""The workers of one server share their metrics."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from serving_models import soon

from serialization.serving import metrics


def test_metrics_are_written_again_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a full disk; here a folder has the name of the file."""
    monkeypatch.setattr(metrics, "_WRITE_INTERVAL", 0.001)
    file = tmp_path / f"{os.getpid()}.json"
    file.with_suffix(".new").mkdir()
    failed: list[int] = []
    write = Path.write_bytes

    def count(path: Path, text: bytes) -> int:
        try:
            return write(path, text)
        except IsADirectoryError:
            failed.append(1)
            raise

    monkeypatch.setattr(Path, "write_bytes", count)
    metrics.Metrics(str(tmp_path)).count("/api/predict", 200, [0.1], 1)
    assert soon(lambda: len(failed) > 1)
    file.with_suffix(".new").rmdir()
    assert soon(lambda: file.is_file() and b'"200 /api/predict":1' in file.read_bytes())


def test_several_models_have_a_label(tmp_path: Path) -> None:
    one = metrics.Metrics(None)
    numbers = {"a": metrics.ModelNumbers("3", 2, 0), "b": metrics.ModelNumbers("1", 0, 1)}
    one.watch_models(lambda: numbers)
    one.count("/api/predict", 200, [0.1, 0.2], 2, "a")
    one.count("/api/predict", 200, [0.1], 0, "b")
    one.count("/healthz", 200, [0.1], 0)
    lines = one.page()[0].decode().splitlines()
    for line in (
        'serving_requests_total{model="a",route="/api/predict",status="200"} 2.0',
        'serving_requests_total{model="b",route="/api/predict",status="200"} 1.0',
        'serving_requests_total{model="",route="/healthz",status="200"} 1.0',
        'serving_request_seconds_count{model="a",route="/api/predict"} 2.0',
        'serving_batch_rows_count{model="a"} 2.0',
        'serving_batch_rows_count{model="b"} 0.0',
        'serving_model_workers{model="a",version="3"} 1.0',
        'serving_model_swaps{model="a"} 2.0',
        'serving_versions_refused{model="b"} 1.0',
    ):
        assert line in lines
