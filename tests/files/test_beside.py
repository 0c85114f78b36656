"""Labels and a sample picture that lie beside a model are found."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from conftest import PROJECT

from serialization.files.beside import read_beside

NOTHING = {"labels": (), "sample": ""}


def test_a_numbered_version_has_them_in_the_folder_above() -> None:
    found = read_beside(PROJECT / "pretrainedresnet" / "1")
    assert found["labels"][:2] == ("T-shirt/top", "Trouser")
    assert found["sample"].startswith("data:image/png;base64,iVBOR")
    assert read_beside(PROJECT / "pretrainedresnet") == found


def test_a_file_has_them_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "a.txt").write_text("no picture")
    (tmp_path / "samples" / "b.JPG").write_bytes(b"bytes")
    assert read_beside(tmp_path / "model.pb") == {"labels": ("cat", "dog"), "sample": "data:image/jpeg;base64,Ynl0ZXM="}
    folder = tmp_path / "my_model"
    folder.mkdir()
    assert read_beside(folder) == NOTHING, "those above a folder may be of another model"


@pytest.mark.parametrize("content", [b"\xff", b"a\n" * 600_000, None])
def test_files_that_are_no_labels_are_left_out(tmp_path: Path, content: bytes | None) -> None:
    if content is None:
        os.mkfifo(tmp_path / "labels.txt")  # reading it would wait for ever
    else:
        (tmp_path / "labels.txt").write_bytes(content)
    (tmp_path / "samples").write_text("no folder")
    assert read_beside(tmp_path / "model.pb") == NOTHING


def test_a_link_to_a_file_elsewhere_is_not_shown(tmp_path: Path) -> None:
    """In a cache of models each file is a link into one folder, the model too."""
    for folder in ("cache", "home", "model/samples"):
        (tmp_path / folder).mkdir(parents=True)
    for file in ("home/secret", "cache/a", "cache/b"):
        (tmp_path / file).write_text("text")
    (tmp_path / "model" / "saved_model.pb").symlink_to(tmp_path / "cache" / "a")
    (tmp_path / "model" / "samples" / "a.png").symlink_to(tmp_path / "home" / "secret")
    labels = tmp_path / "model" / "labels.txt"
    labels.symlink_to(tmp_path / "home" / "secret")
    assert read_beside(tmp_path / "model") == NOTHING
    labels.unlink()
    labels.symlink_to(tmp_path / "cache" / "b")
    assert read_beside(tmp_path / "model")["labels"] == ("text",)
