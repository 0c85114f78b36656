"""pretrainedresnet/train.py: a missing data set, and a short training on a data set made for the test."""

from __future__ import annotations

import gzip
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from conftest import PROJECT, environment

from serialization.cli import call_main
from serialization.tensorflow import np


@pytest.fixture
def train(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "path", [*sys.path])
    spec = importlib.util.spec_from_file_location("train", PROJECT / "pretrainedresnet" / "train.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_data(folder: Path) -> None:
    """Write images with one bright row each; its position is the label."""
    folder.mkdir()
    random = np.random.default_rng(0)
    for split, count in (("train", 256), ("t10k", 100)):
        labels = random.integers(0, 10, count).astype(np.uint8)
        images = np.zeros((count, 28, 28), np.uint8)
        images[np.arange(count), 4 + 2 * labels] = 255
        header = bytes([0, 0, 8, 3]) + b"".join(size.to_bytes(4, "big") for size in images.shape)
        (folder / f"{split}-images-idx3-ubyte.gz").write_bytes(gzip.compress(header + images.tobytes()))
        header = bytes([0, 0, 8, 1]) + count.to_bytes(4, "big")
        (folder / f"{split}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(header + labels.tobytes()))


def test_missing_data_names_the_package(train: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call_main(train.main, ["--data", str(tmp_path), "--export-dir", str(tmp_path / "1")]) == 1
    assert "apt-get install dataset-fashion-mnist" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_trains_exports_and_measures(train: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_data(tmp_path / "data")
    words = ["--data", str(tmp_path / "data"), "--export-dir", str(tmp_path / "1"), "--epochs", "3", "--seed", "2"]
    assert call_main(train.main, words) == 0
    written = capfd.readouterr()
    assert written.err == ""
    assert "of 100 test images are right, measured on the exported files" in written.out
    assert (tmp_path / "1" / "saved_model.pb").is_file()
    assert call_main(train.main, words) == 1
    assert capfd.readouterr().err == f"error: {tmp_path}/1 exists already; --overwrite replaces it\n"


def test_training_goes_on_without_a_reader(tmp_path: Path) -> None:
    """As in `train.py | head`."""
    write_data(tmp_path / "data")
    words = f"--data {tmp_path}/data --export-dir {tmp_path}/1 --epochs 3"
    command = f"set -o pipefail; {sys.executable} {PROJECT}/pretrainedresnet/train.py {words} | head -1"
    done = subprocess.run(["bash", "-c", command], env=environment(), capture_output=True, text=True)
    assert done.stdout.startswith("epoch 1/3: loss ")
    assert (done.returncode, done.stderr) == (141, "")  # the status of a program that SIGPIPE ends
    assert (tmp_path / "1" / "saved_model.pb").is_file()


def test_a_damaged_data_set(train: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_data(tmp_path / "data")
    (tmp_path / "data" / "t10k-labels-idx1-ubyte.gz").write_bytes(b"no gzip")
    assert call_main(train.main, ["--data", str(tmp_path / "data"), "--overwrite"]) == 1
    assert "is damaged" in capsys.readouterr().err
