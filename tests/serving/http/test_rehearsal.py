"""A new version is loaded in a process of its own first: once for all workers, which ask what became of it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from serialization.errors import UserError
from serialization.files.stamps import Stamp, take_stamp
from serialization.serving.http import rehearsal
from serialization.serving.http.rehearsal import Rehearsals

KIND = "frozen_model"


def load(model: int, path: Path) -> None:
    """Does what the file says, and notes that it was called."""
    with (path.parent / "loads").open("a") as loads:
        loads.write(f"{model} ")
    text = path.read_text()
    os.write(2, b"F0000 00:00:1700000000.000000 123 tensor.cc:12] Check failed: a == b\n")
    if text == "moved":
        path.rename(path.parent / "elsewhere")
    if text in ("broken", "moved"):
        raise UserError("it is broken")
    if text == "bug":
        raise ZeroDivisionError
    if text == "aborts":
        os.abort()
    if text == "ends":
        os._exit(3)
    if text == "hangs":
        signal.pause()


@pytest.fixture
def rehearsals() -> Rehearsals:
    made = Rehearsals(load)
    made.start(None)
    return made


def write(path: Path, text: str) -> tuple[str, Path, Stamp]:
    path.write_text(text)
    return KIND, path, take_stamp(KIND, path)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("good", None),
        ("bug", None),  # the worker shows its traceback
        ("broken", "it is broken"),
        (
            "aborts",
            "the model made TensorFlow crash; found SIGABRT: Check failed: a == b; it may be damaged, or made for "
            "another TensorFlow",
        ),
        ("ends", "the process that loaded it ended with status 3"),
        ("hangs", "it was not loaded and run within 5 seconds"),
    ],
)
def test_a_worker_is_told_what_became_of_a_version(
    rehearsals: Rehearsals,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    fault: str | None,
) -> None:
    if text == "hangs":
        monkeypatch.setattr(rehearsal, "LONGEST", 5)
    assert rehearsals.asker.ask(0, *write(tmp_path / "1", text), True) == fault
    assert capfd.readouterr() == ("", "")


def test_a_version_is_rehearsed_once_until_a_file_changes(rehearsals: Rehearsals, tmp_path: Path) -> None:
    asker = rehearsals.asker
    broken = write(tmp_path / "1", "broken")
    assert asker.ask(0, *broken, False) is None
    assert {asker.ask(0, *broken, True) for _ in range(3)} == {"it is broken"}
    assert asker.ask(0, *broken, False) == "it is broken", "a worker that starts now knows"
    assert asker.ask(1, *broken, True) == "it is broken", "of another model nothing is known"
    assert asker.ask(0, *write(tmp_path / "1", "good"), True) is None
    assert (tmp_path / "loads").read_text() == "0 1 0 "


def test_what_is_found_while_the_files_change_is_not_remembered_of_them(rehearsals: Rehearsals, tmp_path: Path) -> None:
    """A version that is moved away while it is loaded, and back, has its old state again."""
    moved = write(tmp_path / "1", "moved")
    for _ in range(2):
        assert rehearsals.asker.ask(0, *moved, True) == "it is broken"
        (tmp_path / "elsewhere").rename(tmp_path / "1")
    assert (tmp_path / "loads").read_text() == "0 0 ", "it was loaded again"
    assert rehearsals.asker.ask(0, *moved, False) is None
