"""An archive is unpacked whole into a private folder, which goes when the run ends, however it ends."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from conftest import PROJECT, environment

from serialization.console import show_path
from serialization.errors import UserError
from serialization.files import unpacking
from serialization.files.unpacking import list_unpacked, open_in_place, remove_unpacked, show_unpacked

find = open_in_place(lambda path: path)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder in the place of /tmp."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    remove_unpacked()
    assert list(folder.iterdir()) == []


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    (tmp_path / "model" / "1").mkdir(parents=True)
    (tmp_path / "model" / "1" / "file").write_text("text")
    os.utime(tmp_path / "model" / "1" / "file", (1e9, 1e9))
    with tarfile.open(tmp_path / "model.bin", "w:gz") as packed:  # the name does not tell
        packed.add(tmp_path / "model", "model")
    return tmp_path / "model.bin"


def test_a_path_of_an_archive_and_paths_into_it(archive: Path, place: Path) -> None:
    folder = find(archive)
    assert folder.parent == place
    assert (folder / "model" / "1" / "file").read_text() == "text"
    assert (folder / "model" / "1" / "file").stat().st_mtime == 1e9
    assert find(archive) == folder
    assert find(archive / "model" / "1") == folder / "model" / "1"
    assert find(archive / "model" / "missing.ckpt") == folder / "model" / "missing.ckpt"
    assert list_unpacked() == {archive.resolve(): folder}


def test_other_paths_stay_as_they_are(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "m.pb").write_bytes(b"\x0a\x06\x0a\x01a\x12\x01b")
    for path in (tmp_path / "m.pb", tmp_path / "model", tmp_path / "missing", tmp_path / "m.pb" / "deeper", Path("x")):
        assert find(path) == path
    assert list_unpacked() == {}


def test_messages_show_the_archive(archive: Path) -> None:
    folder = find(archive)
    assert show_path(folder / "model") == f"{archive}/model"
    remove_unpacked()
    assert show_path(folder / "model") == f"{folder}/model"
    show_unpacked({archive: folder})
    assert show_path(folder / "model") == f"{archive}/model"


def test_a_user_may_name_it_from_another_folder(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(archive.parent)
    folder = find(Path("model.bin"))
    monkeypatch.chdir("/")
    assert find(archive) == folder


def test_too_little_room(archive: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 97, 3))
    with pytest.raises(UserError, match=r"becomes 4 bytes when it is unpacked, and .* has 3 bytes free; set TMPDIR"):
        find(archive)
    assert list(place.iterdir()) == []


def test_a_disk_that_fills_up_meanwhile(archive: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(unpacking, "_write", fail)
    with pytest.raises(UserError, match=r"cannot be unpacked; .*: No space left on device; set TMPDIR"):
        find(archive)
    assert list(place.iterdir()) == []


def test_an_entry_whose_bytes_are_damaged(tmp_path: Path, place: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.zip", "w") as packed:
        packed.writestr("model.txt", b"plain text")
    data = (tmp_path / "m.zip").read_bytes()
    (tmp_path / "m.zip").write_bytes(data.replace(b"plain text", b"other text", 1))
    with pytest.raises(UserError, match=r"m.zip cannot be opened; .* cannot be read: Bad CRC-32 .*; copy it"):
        find(tmp_path / "m.zip")
    assert list(place.iterdir()) == []


# A script that unpacks its model, and then loads numpy if told so: then it goes on in a child.
SCRIPT = """
import sys, time
from pathlib import Path
sys.path[:0] = [sys.argv.pop(1)]
from serialization import cli
from serialization.parser import make_parser
from serialization.files.unpacking import open_in_place

def main(argv=None):
    args = make_parser("A script.", "unconfined", "allow-read", "strict", frozen_model=None).parse_args(argv)
    folder = open_in_place(lambda path: path)(args.frozen_model)
    if args.strict:
        import numpy
    print((folder / "model" / "1" / "file").read_text(), flush=True)
    while True:
        time.sleep(0.01)

cli.run(main)
"""


@contextmanager
def running(archive: Path, place: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", SCRIPT, str(PROJECT), "--frozen-model", str(archive), *words]
    places = {**environment(), "TMPDIR": str(place)}
    with subprocess.Popen(
        command,
        env=places,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "text\n"
        yield process


@pytest.mark.parametrize("words", [[], ["--strict"]], ids=["alone", "with a child"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_leaves_nothing(archive: Path, place: Path, number: int, words: list[str]) -> None:
    with running(archive, place, *words) as process:
        assert len(list(place.glob("unpacked-*"))) == 1
        os.kill(process.pid, number)
        process.communicate()
    assert process.returncode in (130, -number)
    assert list(place.iterdir()) == []


def test_the_next_run_removes_what_a_killed_one_has_left(archive: Path, place: Path) -> None:
    with running(archive, place) as process:
        process.kill()
        process.communicate()
    (left,) = place.iterdir()
    assert find(archive) != left
    assert not left.exists()
