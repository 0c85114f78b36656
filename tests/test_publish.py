"""Published whole: whatever ends a run, a reader finds the old, the new, or nothing; never half of one."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT, environment

from serialization import cli, publish

KINDS = ["file", "folder"]


def write(path: Path, text: str, kind: str) -> None:
    if kind == "folder":
        (path / "variables").mkdir(parents=True)
        (path / "variables" / "file").write_text(text)
    else:
        path.write_text(text)


def read(path: Path) -> str:
    return (path / "variables" / "file" if path.is_dir() else path).read_text()


def hidden(folder: Path) -> list[str]:
    return [path.name for path in folder.glob(".*")]


@pytest.fixture(params=["renameat2", "no renameat2"])
def _file_system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "no renameat2":

        def refuse(source: Path, target: Path, flags: int) -> None:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(target))

        monkeypatch.setattr(publish, "_rename", refuse)


@pytest.mark.usefixtures("_file_system")
@pytest.mark.parametrize("kind", KINDS)
def test_new_kept_and_replaced(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "sub" / "target"
    with publish.staged(target, overwrite=False) as path:
        write(path, "one", kind)
        assert not target.exists()
    assert read(target) == "one"
    with pytest.raises(cli.Error) as caught, publish.staged(target, overwrite=False):
        raise AssertionError("not reached")
    assert str(caught.value) == f"{target} exists already; --overwrite replaces it"
    with publish.staged(target, overwrite=True) as path:
        write(path, "two", kind)
        assert read(target) == "one", "the old one stays until the new one is complete"
    assert read(target) == "two"
    assert hidden(target.parent) == []


@pytest.mark.usefixtures("_file_system")
@pytest.mark.parametrize("kind", KINDS)
def test_a_failed_run_changes_nothing(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "target"
    write(target, "old", kind)

    def fail() -> None:
        with publish.staged(target, overwrite=True) as path:
            write(path, "new", kind)
            raise ValueError("half way")

    with pytest.raises(ValueError, match="half way"):
        fail()
    assert read(target) == "old"
    assert hidden(tmp_path) == []


@pytest.mark.usefixtures("_file_system")
@pytest.mark.parametrize("kind", KINDS)
def test_two_runs_at_once(tmp_path: Path, kind: str) -> None:
    target = tmp_path / "target"

    def be_late() -> None:
        with publish.staged(target, overwrite=False) as late:
            write(late, "late", kind)
            with publish.staged(target, overwrite=False) as quick:
                write(quick, "quick", kind)

    with pytest.raises(cli.Error) as caught:
        be_late()
    assert str(caught.value) == f"{target} exists already; --overwrite replaces it"
    assert read(target) == "quick"
    with publish.staged(target, overwrite=True) as late:
        write(late, "last", kind)
        with publish.staged(target, overwrite=True) as quick:
            write(quick, "between", kind)
        assert read(target) == "between"
    assert read(target) == "last"
    assert hidden(tmp_path) == []


PROGRAM = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from serialization import publish
target, kind, when = Path(sys.argv[2]), sys.argv[3], sys.argv[4]
die = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
if when == "sync":
    publish._sync = die
if when in ("move", "between"):
    def refuse(source, target, flags):
        raise OSError(22, "no such call")
    publish._rename = refuse
    rename = Path.rename
    def once(self, where):
        rename(self, where)
        die()
    Path.rename = once if when == "between" else die
with publish.staged(target, overwrite=True) as path:
    if kind == "folder":
        (path / "variables").mkdir(parents=True)
        path = path / "variables" / "file"
    path.write_text("new")
    if when == "write":
        die()
"""


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("when", ["write", "sync", "between"])
def test_a_killed_run_is_cleaned_up_by_the_next(tmp_path: Path, kind: str, when: str) -> None:
    target = tmp_path / "target"
    write(target, "old", kind)
    words = [sys.executable, "-c", PROGRAM, str(PROJECT), str(target), kind, when]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True)
    if when == "between" and kind == "file":  # a file is replaced in one step
        assert (done.returncode, read(target)) == (0, "new")
        return
    assert done.returncode == -signal.SIGKILL, done.stderr
    if when != "between":
        assert read(target) == "old"
    assert len(hidden(tmp_path)) == 1

    def look() -> None:
        with publish.staged(target, overwrite=True):
            assert read(target) == "old", "what a killed run had moved aside is back"
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        look()
    assert read(target) == "old"
    assert hidden(tmp_path) == []


def test_a_full_disk_is_one_line(tmp_path: Path, made: Path) -> None:
    """A limit on the size of files stands for the full disk: writing fails in the middle in the same way."""
    words = [str(PROJECT / "freezemodel_save.py"), "--checkpoint", str(made), "--frozen-model", str(tmp_path / "m.pb")]
    limit = (
        "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600)); sys.argv = sys.argv[1:]"
    )
    limit += "; sys.path.insert(0, sys.path[0]); runpy.run_path(sys.argv[0], run_name='__main__')"
    command = [sys.executable, "-c", limit, *words]
    done = subprocess.run(command, env={**environment(), "PYTHONPATH": str(PROJECT)}, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "File too large" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"), publish.staged(tmp_path / "file" / "target", overwrite=True):
        raise AssertionError("not reached")
