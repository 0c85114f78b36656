"""checkpoint_restore.py: what restoring does, and every way to name a checkpoint."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import Run


def test_variables_are_uninitialized_until_they_are_restored(run: Run, toy: Path) -> None:
    done = run("checkpoint_restore")
    assert (done.status, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].endswith("graph.ckpt.meta: 15 of 15 variables are uninitialized")
    assert lines[1].endswith("graph.ckpt: 0 of 15 variables are uninitialized")
    assert "proved: 15 variables hold the checkpoint's bits; accuracy on 10,000 fresh rows: 1.0000" in lines


@pytest.mark.parametrize(
    "name", ["", "graph.ckpt", "graph.ckpt.index", "graph.ckpt.meta", "graph.ckpt.data-00000-of-00001", "checkpoint"]
)
def test_a_checkpoint_is_named_by_prefix_file_or_folder(run: Run, toy: Path, name: str) -> None:
    done = run("checkpoint_restore", "--checkpoint", toy / name)
    assert (done.status, done.stderr) == (0, "")


def test_missing_data_file(run: Run, toy: Path) -> None:
    (toy / "graph.ckpt.data-00000-of-00001").unlink()
    done = run("checkpoint_restore")
    assert done.status == 1
    assert "graph.ckpt.data-00000-of-00001" in done.stderr
    assert done.stderr.count("\n") == 1


def test_moved_folder(run: Run, toy: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(toy, moved)
    state = f'model_checkpoint_path: "{toy}/graph.ckpt"\n'
    (moved / "checkpoint").write_text(state)
    shutil.rmtree(toy)
    assert run("checkpoint_restore", "--checkpoint", moved).status == 0
