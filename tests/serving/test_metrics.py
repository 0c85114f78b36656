"""What the workers of one server share of their metrics."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from serving_models import soon

from serialization.serving import metrics


def test_numbers_that_could_not_be_written_once_are_shared_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a disk that was full; here a folder lies in the way."""
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
    made = metrics.Metrics(str(tmp_path))
    made.count("/api/predict", 200, [0.1], 1)
    assert soon(lambda: len(failed) > 1)
    file.with_suffix(".new").rmdir()
    assert soon(lambda: file.is_file() and b'"200 /api/predict":1' in file.read_bytes())
