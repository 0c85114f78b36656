"""Paths, sizes and tables are printed readably on every terminal."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT, environment

from serialization.console import (
    format_command,
    format_count,
    format_error,
    format_show,
    format_size,
    list_export,
    list_known,
    make_printable,
    print_export,
    print_notes,
    print_table,
    shorten_words,
    show_path,
    show_progress,
)


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
    print_table(("name", "[v]alue"), [("a", long), ("[bold]b", 1), ("日本", "")])
    assert capsys.readouterr().out == f"name     [v]alue\na        {long}\n[bold]b  1\n日本\n"


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 images"), (1, "1 image"), (2, "2 images"), (10_000, "10,000 images")]
)
def test_a_count_has_its_noun_in_the_right_number(count: int, text: str) -> None:
    assert format_count(count, "image") == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("größe", "größe"),
        ("a\x1b[31m\n\tb\u202e", "a?[31m??b?"),
        ("x" * 121, "x" * 120 + "…"),
        ("", ""),
    ],
)
def test_a_name_has_no_control_characters_and_is_not_endless(text: str, shown: str) -> None:
    assert make_printable(text) == shown


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\n  two\tthree"), "one two three"),
        (OSError("no number"), "no number"),
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError(2, "No such file or directory", "a/b"), "a/b: No such file or directory"),
        (OSError(2, "No such file or directory", b"a/\xff"), "a/\\udcff: No such file or directory"),
    ],
)
def test_an_error_is_one_line(error: BaseException, line: str) -> None:
    assert format_error(error) == line


def test_an_export_is_listed_with_its_sizes_and_empty_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a b" / "variables").mkdir(parents=True)
    (tmp_path / "a b" / "saved_model.pb").write_bytes(bytes(1500))
    print_notes(["first", "sec\x1b[2Jond"])
    target = tmp_path / "models" / "1"
    print_export(target, list_export(tmp_path / "a b", target), "proved: all")
    assert capsys.readouterr().out.splitlines() == [
        "first",
        "sec?[2Jond",
        "file                     size",
        "models/1/saved_model.pb  1.5 kB",
        "models/1/variables/      empty",
        "proved: all",
        f"next: {format_show(target)}",
    ]
    assert format_show(tmp_path / "a b") == "saved_model_cli show --dir 'a b' --all 2>/dev/null"


class Terminal(io.StringIO):
    """A terminal, as far as a program asks."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("screen", [io.StringIO, Terminal])
def test_progress_is_shown_on_a_terminal_alone(monkeypatch: pytest.MonkeyPatch, screen: type[io.StringIO]) -> None:
    monkeypatch.setattr("sys.stdout", shown := screen())
    monkeypatch.setenv("TERM", "xterm")
    assert list(show_progress(iter("abc"), "reading", 30, weigh=lambda _: 10)) == ["a", "b", "c"]
    assert ("reading" in shown.getvalue()) == (screen is Terminal)


def test_a_table_is_drawn_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", shown := Terminal())
    print_table(("[b]name", "value"), [("[bold]a", 1)])
    assert "╭" in shown.getvalue()
    for text in ("[b]name", "[bold]a"):
        assert text in shown.getvalue(), "the text of a cell is no markup"


def test_the_longest_words_are_cut() -> None:
    assert shorten_words(f"a {'x' * 999} b") == f"a {'x' * 999} b"
    assert shorten_words(f"a {'x' * 5000}; b") == f"a {'x' * 100}…{'x' * 99}; b"


def test_all_known_keys_are_listed_or_the_nearest_of_many() -> None:
    assert list_known("predict", ["train", "predicts", "default"]) == "train, predicts, default"
    assert list_known("predict", []) == "none"
    many = [f"key_{number}" for number in range(30)]
    assert list_known("key_17x", many).startswith("key_17, ")
    assert list_known("key_17x", many).endswith(" and 27 more")
    assert list_known("zzzzzz", many).endswith("key_8, key_9 and 20 more")
