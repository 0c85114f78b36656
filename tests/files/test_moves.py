"""A result is moved to its place in one step, or under a lock, and never replaces a thing of another kind."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from serialization.errors import UserError
from serialization.files.moves import hold_folder, move_into_place, put_back_replaced, refuse_existing, sync_to_disk


def has_no_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """A C library without renameat2."""
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: SimpleNamespace())


def has_no_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that can refuse an existing target, and not exchange two paths."""
    libc = ctypes.CDLL(None, use_errno=True)

    def rename(*arguments: Any) -> int:
        if arguments[-1] == 1:
            return int(libc.renameat2(*arguments))
        ctypes.set_errno(errno.EINVAL)
        return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: SimpleNamespace(renameat2=rename))


@pytest.fixture(params=["whole", "no exchange", "no call"])
def staged(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty staging folder, on systems with and without the system call."""
    {"whole": lambda _: None, "no exchange": has_no_exchange, "no call": has_no_call}[request.param](monkeypatch)
    folder = tmp_path / ".staged"
    folder.mkdir()
    return folder


def write(path: Path, text: str, kind: str) -> Path:
    if kind == "folder":
        path.mkdir()
    (path / "file" if kind == "folder" else path).write_text(text)
    return path


def read(path: Path) -> str:
    return (path / "file" if path.is_dir() else path).read_text()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_is_there_is_replaced_only_with_overwrite(staged: Path, kind: str) -> None:
    target = staged.parent / "target"
    move_into_place(write(staged / "one", "one", kind), target, overwrite=False)
    new = write(staged / "two", "two", kind)
    with pytest.raises(UserError) as caught:
        move_into_place(new, target, overwrite=False)
    assert str(caught.value) == f"{target} exists already; --overwrite replaces it"
    assert (read(target), read(new)) == ("one", "two")
    move_into_place(new, target, overwrite=True)
    assert read(target) == "two"


@pytest.mark.parametrize(("kind", "there"), [("file", "folder"), ("folder", "file")])
def test_a_thing_of_another_kind_is_not_replaced(staged: Path, kind: str, there: str) -> None:
    target, new = write(staged.parent / "target", "old", there), write(staged / "target", "new", kind)
    with pytest.raises(UserError) as caught:
        move_into_place(new, target, overwrite=True)
    assert str(caught.value) == f"{target} is a {there}, which is not replaced; name another place"
    assert (read(target), read(new)) == ("old", "new")


def test_another_fault_of_a_move_is_raised(staged: Path) -> None:
    new = write(staged / "new", "new", "file")
    with pytest.raises(FileNotFoundError):
        move_into_place(new, staged / "none" / "target", overwrite=True)
    with pytest.raises(FileNotFoundError):
        move_into_place(staged / "gone", staged.parent / "target", overwrite=True)
    assert read(new) == "new"


def test_a_folder_whose_move_was_cut_short_is_put_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    has_no_call(monkeypatch)
    staged, target = tmp_path / ".staged", write(tmp_path / "target", "old", "folder")
    staged.mkdir()
    new = write(staged / "target", "new", "folder")

    def be_killed(self: Path, place: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", be_killed)
        with pytest.raises(KeyboardInterrupt):
            move_into_place(new, target, overwrite=True)
    assert not target.exists()
    put_back_replaced(staged, target)
    assert read(target) == "old"
    put_back_replaced(staged, target)  # there is nothing to put back
    assert read(target) == "old"


def test_what_was_replaced_stays_away_once_the_target_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    has_no_call(monkeypatch)
    staged, target = tmp_path / ".staged", write(tmp_path / "target", "old", "folder")
    staged.mkdir()
    move_into_place(write(staged / "target", "new", "folder"), target, overwrite=True)
    put_back_replaced(staged, target)
    assert read(target) == "new"


def test_links_that_lead_nowhere_exist_and_any_file_of_a_target_counts(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    refuse_existing(tmp_path / "m", [tmp_path / "m.index"], overwrite=False)
    refuse_existing(tmp_path / "m", [], overwrite=False)
    refuse_existing(tmp_path / "m", [tmp_path / "link"], overwrite=True)
    with pytest.raises(UserError, match=r"/m exists already; --overwrite replaces it$"):
        refuse_existing(tmp_path / "m", [tmp_path / "m.index", tmp_path / "link"], overwrite=False)


def is_locked(folder: Path) -> bool:
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False


def test_a_folder_is_locked_while_it_is_held_and_free_after_a_fault(tmp_path: Path) -> None:
    with hold_folder(tmp_path):
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)
    with pytest.raises(ValueError, match="fault"), hold_folder(tmp_path):
        raise ValueError("fault")
    assert not is_locked(tmp_path)


def test_every_file_and_folder_is_written_to_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced = set()
    monkeypatch.setattr(os, "fsync", lambda handle: synced.add(Path(f"/proc/self/fd/{handle}").readlink()))
    (tmp_path / "sm" / "variables").mkdir(parents=True)
    (tmp_path / "sm" / "variables" / "index").touch()
    sync_to_disk(tmp_path / "sm")
    assert synced == {tmp_path / name for name in ("sm", "sm/variables", "sm/variables/index")}
    with pytest.raises(FileNotFoundError):
        sync_to_disk(tmp_path / "none")
