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
