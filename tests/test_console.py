"""Paths, sizes and tables are printed readably on every terminal."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT, environment

from serialization.console import format_command, format_size, print_table, show_path


def test_a_terminal_with_ascii_only_gets_escapes(toy: Path, tmp_path: Path) -> None:
    """Characters that the terminal cannot show are escaped."""
    folder = tmp_path / "größe 1"
    shutil.copytree(toy, folder)
    command = [sys.executable, str(PROJECT / "freezemodel_load.py"), "--frozen-model", "frozen_model.pb"]
    for plain in ({"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C"}, {"LC_ALL": "C", "PYTHONUTF8": "0"}):
        words = [sys.executable, str(PROJECT / "model_inspect.py"), str(folder / "frozen_model.pb")]
        done = subprocess.run(words, env={**environment(), **plain}, capture_output=True)
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"frozen_model.pb: a GraphDef" in done.stdout
        done = subprocess.run(command, cwd=folder, env={**environment(), **plain}, capture_output=True)
        assert (done.returncode, done.stderr) == (0, b"")


def test_piped_output_is_plain_whatever_the_environment_forces(toy: Path) -> None:
    command = [sys.executable, str(PROJECT / "checkpoint_restore.py"), "--checkpoint", str(toy)]
    forced = {**environment(), "FORCE_COLOR": "1", "CLICOLOR_FORCE": "1", "TERM": "xterm-256color", "COLUMNS": "40"}
    done = subprocess.run(command, env=forced, capture_output=True, text=True)
    assert "variable      dtype    shape    values\n" in done.stdout
    assert "\x1b" not in done.stdout


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (27_134, "27.1 kB"),
        (1 << 30, "1.07 GB"),
        (10**15, "1e+03 TB"),
    ],
)
def test_sizes_are_formatted(count: int, text: str) -> None:
    assert format_size(count) == text


def test_paths_are_shown_as_the_user_would_type_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert show_path(tmp_path / "a" / "b") == "a/b"
    assert show_path(Path("a")) == "a"
    assert show_path(Path("/etc")) == "/etc"
    assert (
        format_command("model_inspect.py", tmp_path / "with space") == f"python {PROJECT}/model_inspect.py 'with space'"
    )


def test_a_table_without_a_terminal_is_plain_and_whole(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 300
    print_table(("name", "value"), [("a", long), ("[bold]b", 1)])
    assert capsys.readouterr().out == f"name     value\na        {long}\n[bold]b  1\n"
