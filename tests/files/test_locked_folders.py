"""A folder of a run that goes on is left alone; one of a run that was killed is removed by the next."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from serialization.files.locked_folders import hold_new_folder


def test_it_is_removed_at_the_end(tmp_path: Path) -> None:
    with hold_new_folder(tmp_path, "of-a-run-") as folder:
        (folder / "file").write_text("text")
        assert folder.stat().st_mode & 0o077 == 0
    assert list(tmp_path.iterdir()) == []


def test_what_killed_runs_have_left_is_removed_and_what_is_held_is_not(tmp_path: Path) -> None:
    (tmp_path / "of-a-run-left" / "deep").mkdir(parents=True)
    (tmp_path / "of-another").mkdir()
    (tmp_path / "of-a-run-link").symlink_to(tmp_path / "of-another")
    removed: list[Path] = []
    with (
        hold_new_folder(tmp_path, "of-a-run-") as first,
        hold_new_folder(tmp_path, "of-a-run-", removed.append) as second,
    ):
        assert first.is_dir()
        assert second.is_dir()
        assert removed == []
    assert {path.name for path in tmp_path.iterdir()} == {"of-another", "of-a-run-link"}


def test_a_process_that_was_forked_does_not_remove_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hold_new_folder(tmp_path, "of-a-run-") as folder:
        monkeypatch.setattr(os, "getpid", lambda: 0)
    assert folder.is_dir()
