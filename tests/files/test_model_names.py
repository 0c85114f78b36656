"""A file's name tells the checkpoint or the SavedModel that it belongs to."""

from __future__ import annotations

from pathlib import Path

import pytest

from serialization.files.model_names import (
    FolderPrefix,
    find_saved_model_file,
    is_prefix,
    list_versions,
    strip_to_prefix,
)


@pytest.mark.parametrize(
    ("name", "prefix"),
    [
        ("m.ckpt.index", "m.ckpt"),
        ("m.ckpt.meta", "m.ckpt"),
        ("m.ckpt.meta.json", "m.ckpt"),
        ("m.ckpt.data-00001-of-00003", "m.ckpt"),
        ("a\nb.index", "a\nb"),
        ("m.index.index", "m.index"),
        ("m.ckpt", "m.ckpt"),
        ("m.ckpt.data-1-of-3", "m.ckpt.data-1-of-3"),
        ("m.indexes", "m.indexes"),
        ("m.ckpt-00000-of-00002", "m.ckpt-00000-of-00002"),  # it may be a prefix; there is no such file
    ],
)
def test_a_file_of_a_checkpoint_is_stripped_to_the_prefix(tmp_path: Path, name: str, prefix: str) -> None:
    assert strip_to_prefix(tmp_path / name) == tmp_path / prefix


def test_a_shard_of_the_first_format_is_stripped_unless_it_is_a_prefix(tmp_path: Path) -> None:
    shard = tmp_path / "m.ckpt-00000-of-00002"
    shard.touch()
    assert strip_to_prefix(shard) == tmp_path / "m.ckpt"
    shard.with_name(f"{shard.name}.index").touch()
    assert strip_to_prefix(shard) == shard


@pytest.mark.parametrize("name", [".index", ".meta", ".data-00000-of-00001"])
def test_files_without_a_stem_have_the_folder_and_a_slash_as_prefix(tmp_path: Path, name: str) -> None:
    prefix = strip_to_prefix(tmp_path / name)
    assert isinstance(prefix, FolderPrefix)
    assert (str(prefix), prefix.name, prefix.parent) == (f"{tmp_path}/", "", tmp_path)
    assert prefix.with_name(f"{prefix.name}.index") == tmp_path / ".index"
    assert not prefix.is_file()
    assert not prefix.is_dir()  # though the folder is there


def test_a_prefix_is_that_of_an_index(tmp_path: Path) -> None:
    for name in ("m.index", ".index", "n.meta"):
        (tmp_path / name).touch()
    (tmp_path / "folder.index").mkdir()
    assert is_prefix(tmp_path / "m")
    assert is_prefix(FolderPrefix(tmp_path))
    assert not any(is_prefix(tmp_path / name) for name in ("m.index", "n", "folder", "none"))


def test_the_file_of_a_saved_model_is_the_one_that_tensorflow_would_read(tmp_path: Path) -> None:
    assert find_saved_model_file(tmp_path) is None
    assert find_saved_model_file(tmp_path / "none") is None
    (tmp_path / "saved_model.pbtxt").touch()
    assert find_saved_model_file(tmp_path) == tmp_path / "saved_model.pbtxt"
    (tmp_path / "saved_model.pb").touch()
    assert find_saved_model_file(tmp_path) == tmp_path / "saved_model.pb"


def test_versions_are_ordered_by_their_numbers(tmp_path: Path) -> None:
    for name in ("10", "9", "0011", "v1", "2.5", "-3", "009", "٣", str(1 << 63)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "saved_model.pb").touch()
    (tmp_path / "12").mkdir()  # it holds none
    (tmp_path / "13").touch()
    assert [folder.name for folder in list_versions(tmp_path)] == ["9", "10", "0011"]
    assert list_versions(tmp_path / "13") == list_versions(tmp_path / "none") == []
