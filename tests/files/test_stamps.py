"""A stamp of a model differs once one of its files does; versions are found by their numbers."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from serialization.files.stamps import get_watched_folder, list_watched_versions, take_stamp

PLACES = {"frozen_model": "frozen_model.pb", "saved_model": "savedmodel_from_source", "checkpoint": "graph.ckpt"}


def rewrite(file: Path) -> None:
    """The same bytes in the same file, at another time."""
    file.write_bytes(file.read_bytes())
    os.utime(file, ns=(1, 1))


def exchange(file: Path) -> None:
    """The same bytes and time in another file."""
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    new = file.with_name("new")
    shutil.copyfile(file, new)
    os.utime(new, ns=times)
    new.replace(file)


def lengthen(file: Path) -> None:
    """At the same time."""
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    with file.open("ab") as appended:
        appended.write(b"\n")
    os.utime(file, ns=times)


@pytest.mark.parametrize("change", [rewrite, exchange, lengthen, Path.unlink])
@pytest.mark.parametrize(
    ("kind", "file"),
    [
        ("frozen_model", "frozen_model.pb"),
        ("saved_model", "savedmodel_from_source/saved_model.pb"),
        ("saved_model", "savedmodel_from_source/variables/variables.data-00000-of-00001"),
        ("checkpoint", "graph.ckpt.data-00000-of-00001"),
        ("checkpoint", "graph.ckpt.index"),
        ("checkpoint", "graph.ckpt.meta"),
    ],
)
def test_each_change_of_a_file_gives_another_stamp(
    toy: Path, kind: str, file: str, change: Callable[[Path], None]
) -> None:
    before = take_stamp(kind, toy / PLACES[kind])
    assert before == take_stamp(kind, toy / PLACES[kind])
    change(toy / file)
    assert take_stamp(kind, toy / PLACES[kind]) != before


@pytest.mark.parametrize("change", [rewrite, exchange, lengthen, Path.unlink])
def test_a_file_with_constants_of_an_onnx_model_belongs_to_it(tmp_path: Path, change: Callable[[Path], None]) -> None:
    (tmp_path / "m.onnx").write_bytes(b"\x0a\x08location\x12\x06m.data")
    (tmp_path / "m.data").write_bytes(b"constants")
    before = take_stamp("onnx", tmp_path / "m.onnx")
    assert [Path(path).name for path, *_ in before] == ["m.data", "m.onnx"]
    change(tmp_path / "m.data")
    assert take_stamp("onnx", tmp_path / "m.onnx") != before


def test_a_pipe_in_the_place_of_a_model_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "m.onnx")
    assert len(take_stamp("onnx", tmp_path / "m.onnx")) == 1


def test_files_of_others_change_no_stamp(toy: Path) -> None:
    before = {kind: take_stamp(kind, toy / place) for kind, place in PLACES.items()}
    folder = take_stamp("checkpoint", toy)
    (toy / "events.out.tfevents.1").write_text("another file")
    assert {kind: take_stamp(kind, toy / place) for kind, place in PLACES.items()} == before
    assert take_stamp("checkpoint", toy) == folder, "a program that trains writes beside its checkpoints"


def test_the_versions_of_a_model_are_its_numbered_folders(toy: Path, tmp_path: Path) -> None:
    base = tmp_path / "house"
    for name in ("10", "9", "copy", "v3"):
        shutil.copytree(toy / PLACES["saved_model"], base / name)
    (base / "11").mkdir()  # nothing is in it yet
    assert list_watched_versions("saved_model", base) == [base / "9", base / "10"]
    assert get_watched_folder("saved_model", base) == base
    assert list_watched_versions("saved_model", base / "9") == [base / "9"]
    assert get_watched_folder("saved_model", base / "9") == base
    assert get_watched_folder("saved_model", base / "9" / "saved_model.pb") == base
    for kind, place in PLACES.items():
        assert list_watched_versions(kind, toy / place) == [toy / place]
        assert get_watched_folder(kind, toy / place) == toy
        assert list_watched_versions(kind, toy / "none") == []


def test_a_link_has_the_stamp_of_what_it_leads_to(toy: Path) -> None:
    link = toy / "current.pb"
    link.symlink_to("frozen_model.pb")
    first = take_stamp("frozen_model", link)
    shutil.copyfile(toy / "frozen_model.pb", toy / "other.pb")
    link.unlink()
    assert take_stamp("frozen_model", link) == ()
    link.symlink_to("other.pb")
    assert take_stamp("frozen_model", link) not in (first, ())
