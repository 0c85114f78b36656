"""Exit codes, one-line errors, sizes and tables."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from conftest import PROJECT, environment

from serialization import cli, flags


def ends_with(error: BaseException) -> int:
    def main(argv: Sequence[str] | None = None) -> int:
        raise error

    return cli.call(main)


def test_a_user_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends_with(cli.Error("what is wrong;\n what was found; what to do")) == 1
    assert capsys.readouterr().err == "error: what is wrong; what was found; what to do\n"


def test_an_operating_system_error_names_its_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends_with(PermissionError(13, "Permission denied", "/etc/shadow")) == 1
    assert capsys.readouterr().err == "error: /etc/shadow: Permission denied\n"


def test_a_bug_keeps_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends_with(ZeroDivisionError("a bug")) == 1
    written = capsys.readouterr().err
    assert written.startswith("Traceback (most recent call last):")
    assert "ZeroDivisionError: a bug" in written


def test_ctrl_c() -> None:
    assert ends_with(KeyboardInterrupt()) == 130


def test_a_reader_that_leaves_early_is_no_error(made: Path) -> None:
    script = f"{sys.executable} {PROJECT}/checkpoint_restore.py --checkpoint {made} | head -1"
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {script}"], env=environment(), capture_output=True, text=True
    )
    assert done.stdout.endswith("15 of 15 variables are uninitialized\n")
    assert done.stderr == ""
    assert done.returncode == 141  # as any program that SIGPIPE ends


def test_a_closed_stdout_is_no_reason_to_fail(made: Path) -> None:
    script = f"{sys.executable} {PROJECT}/checkpoint_restore.py --checkpoint {made} >&-"
    done = subprocess.run(["bash", "-c", script], env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_home_folder_that_the_shell_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert flags.path("~/x.pb") == Path("/home/somebody/x.pb")


def test_a_bug_shows_what_tensorflow_said(tmp_path: Path) -> None:
    """Chatter is held back while all is well, and there when it may help."""
    code = (
        "from serialization import cli, flags\n"
        "from serialization.tensorflow import tf1\n"
        "def main(argv):\n"
        "    tf1.Graph()\n"
        "    import logging; logging.getLogger('tensorflow').warning('a hint')\n"
        "    raise ZeroDivisionError\n"
        "cli.run(main)\n"
    )
    environment_here = {**environment(), "PYTHONPATH": str(PROJECT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment_here, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.index("ZeroDivisionError") < done.stderr.index("WARNING: a hint")


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
def test_size(count: int, text: str) -> None:
    assert cli.size(count) == text


def test_paths_are_shown_as_the_user_would_type_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.show(tmp_path / "a" / "b") == "a/b"
    assert cli.show(Path("a")) == "a"
    assert cli.show(Path("/etc")) == "/etc"
    assert cli.command("model_inspect.py", tmp_path / "with space") == f"python {PROJECT}/model_inspect.py 'with space'"


def test_table_is_plain_and_whole_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 300
    cli.table(("name", "value"), [("a", long), ("[bold]b", 1)])
    assert capsys.readouterr().out == f"name     value\na        {long}\n[bold]b  1\n"
