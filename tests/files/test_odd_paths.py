"""Every name that a file system takes works in every script; a path on another machine is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import graphs
import pytest
from conftest import PROJECT, Run, environment, restored

from serialization.files.locate import find_checkpoint

ODD_NAMES = ("br[0]acket", "sp ace back\\slash st*r", "x=[1,2] q?m per%20cent col:on ümlaut", "[a-z]*\\?")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_no_character_of_a_path_is_taken_for_a_pattern(run: Run, toy: Path, tmp_path: Path, name: str) -> None:
    """TensorFlow takes `[ ]`, `*`, `?` and backslashes in a checkpoint's path for a pattern."""
    folder = tmp_path / name
    folder.mkdir()
    prefix, frozen = folder / f"{name}.ckpt", folder / f"{name}.pb"
    steps = [
        ("checkpoint_save", "--checkpoint", prefix, "--epochs", 1),
        ("checkpoint_save", "--checkpoint", prefix, "--epochs", 2, "--resume"),
        ("checkpoint_restore", "--checkpoint", folder),
        ("checkpoint_restore", "--checkpoint", prefix, "--tensor", "NN/W1"),
        ("freezemodel_save", "--checkpoint", prefix, "--frozen-model", frozen),
        ("freezemodel_load", "--frozen-model", frozen),
        ("savedmodel_from_checkpoint", "--checkpoint", prefix, "--export-dir", folder / "1"),
        ("savedmodel_from_frozen", "--frozen-model", frozen, "--export-dir", folder / "2"),
        ("onnx_from_frozen", "--frozen-model", frozen, "--onnx", folder / f"{name}.onnx"),
        ("savedmodel_pretrained", "--saved-model", folder / "1", "--feed", "[[1,2,3,4,5,6,7,8,9,10]]"),
        ("freezemodel_save", "--saved-model", folder / "1", "--frozen-model", folder / "again.pb"),
        ("model_inspect", prefix, "--strict"),
    ]
    for step in steps:
        done = run(*step)
        assert (done.status, done.stderr) == (0, ""), step
        assert "not verified" not in done.stdout


@pytest.mark.parametrize("sharded", [False, True])
def test_the_first_format_is_restored_from_a_path_like_a_pattern(tmp_path: Path, sharded: bool) -> None:
    (tmp_path / "x[1]").mkdir()
    prefix = graphs.save(tmp_path / "x[1]", graphs.classifier, name="old[0].ckpt", write_version=1, sharded=sharded)
    with restored(prefix) as session:
        assert session.run("dense/bias/Read/ReadVariableOp:0").shape == (3,)


@pytest.mark.parametrize("path", ["gs://bucket/m.ckpt", "s3://bucket/m", "file:///tmp/m.ckpt", "https://tfhub.dev/m/1"])
def test_a_path_on_another_machine_is_refused(run: Run, results: Path, tmp_path: Path, path: str) -> None:
    scheme = path.partition("//")[0]
    for step in (
        ("checkpoint_save", "--checkpoint", path),
        ("freezemodel_save", "--checkpoint", path),
        ("freezemodel_save", "--frozen-model", path),
        ("savedmodel_pretrained", "--saved-model", path),
        ("savedmodel_from_source", "--export-dir", path),
        ("model_inspect", path),
    ):
        done = run(*step)
        assert (done.status, done.stderr.count("\n")) == (2, 1), step
        assert f"expected a path on this machine, got {path!r}; copy what is at {scheme}// here first" in done.stderr
    assert not Path(scheme).exists()


def test_the_checkpoint_file_of_a_folder_names_any_file(tmp_path: Path) -> None:
    """The file is text, in which backslashes and other bytes are escaped."""
    for name in ("older", 'a\\b "ü" [1]'):
        graphs.save(tmp_path, graphs.classifier, name=name)
    os.utime(tmp_path / "older.index")  # the newest, which is not the one that is named
    notes: list[str] = []
    assert find_checkpoint(tmp_path, notes.append).prefix == tmp_path / 'a\\b "ü" [1]'
    assert notes == []


def test_links_to_a_checkpoint_are_removed(tmp_path: Path) -> None:
    """TensorFlow takes [ ] for a pattern, so it gets links. As a process: links of its own, it can remove."""
    (tmp_path / "x[1]").mkdir()
    (tmp_path / "temporary").mkdir()
    prefix = graphs.save(tmp_path / "x[1]", graphs.classifier)
    words = ["--checkpoint", prefix, "--outputs", "logits", "--frozen-model", tmp_path / "m.pb"]
    command = [sys.executable, str(PROJECT / "freezemodel_save.py"), *map(str, words)]
    here = {**environment(), "TMPDIR": str(tmp_path / "temporary")}
    done = subprocess.run(command, env=here, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert list((tmp_path / "temporary").iterdir()) == []
