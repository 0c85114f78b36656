"""A confined process reads the files of the model that a flag names, and no others beside them."""

from __future__ import annotations

import tarfile
from pathlib import Path

import onnx
import pytest
from onnx import helper

from serialization.checks.readable_files import list_readable_files
from serialization.files.unpacking import open_in_place, remove_unpacked
from serialization.formats.onnx_file import read_onnx_file


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")


def names_of(folder: Path, path: Path) -> set[str]:
    """The files that exist in the folder and may be read."""
    return {str(file.relative_to(folder)) for file in list_readable_files([path]) if file.exists()}


CHECKPOINT = ["m.index", "m.data-00000-of-00002", "m.data-00001-of-00002", "m.meta"]


@pytest.mark.parametrize("named", ["m", "m.index", "m.data-00001-of-00002", "m.meta"])
def test_all_files_of_a_checkpoint_and_none_beside_it(tmp_path: Path, named: str) -> None:
    make(tmp_path, *CHECKPOINT, "checkpoint", "secret", "m2.index", "sub/m.index")
    assert names_of(tmp_path, tmp_path / named) == {*CHECKPOINT, "checkpoint"}


def test_the_folder_of_checkpoints(tmp_path: Path) -> None:
    make(tmp_path, *CHECKPOINT, "checkpoint", "secret", "old.meta", "old-00000-of-00001", "sub/m.index")
    assert names_of(tmp_path, tmp_path) == {*CHECKPOINT, "checkpoint", "old.meta", "old-00000-of-00001"}


@pytest.mark.parametrize("named", ["", ".meta", ".index"])
def test_a_checkpoint_without_a_name(tmp_path: Path, named: str) -> None:
    """Its prefix is the folder and a slash."""
    make(tmp_path, ".index", ".meta", ".data-00000-of-00001", "notes.txt")
    assert {".index", ".meta", ".data-00000-of-00001"} <= names_of(tmp_path, tmp_path / named)
    assert "notes.txt" not in names_of(tmp_path, tmp_path / named)


def test_a_frozen_graph_alone(tmp_path: Path) -> None:
    make(tmp_path, "m.pb", "secret", "m.pb.bak")
    assert names_of(tmp_path, tmp_path / "m.pb") == {"m.pb"}


def test_a_vocabulary_beside_a_graph_that_names_it_and_fills_a_table(tmp_path: Path) -> None:
    make(tmp_path, "words.txt", "sub/labels.txt", "secret")
    (tmp_path / "m.pb").write_bytes(b"InitializeTableFromTextFileV2 ... /elsewhere/words.txt ... sub/labels.txt")
    assert names_of(tmp_path, tmp_path / "m.pb") == {"m.pb", "words.txt", "sub/labels.txt"}
    (tmp_path / "m.pb").write_bytes(b"ReadFile ... /elsewhere/words.txt")
    assert names_of(tmp_path, tmp_path / "m.pb") == {"m.pb"}


@pytest.mark.parametrize("named", [".", "saved_model.pb", "variables"])
def test_the_folder_of_a_saved_model(tmp_path: Path, named: str) -> None:
    make(tmp_path, "sm/saved_model.pb", "sm/variables/variables.index", "secret")
    assert names_of(tmp_path, tmp_path / "sm" / named) >= {"sm"}
    assert "secret" not in names_of(tmp_path, tmp_path / "sm" / named)


def test_each_version_of_a_saved_model(tmp_path: Path) -> None:
    make(tmp_path, "1/saved_model.pb", "2/saved_model.pb", "secret")
    assert names_of(tmp_path, tmp_path) == {"1", "2"}


def test_files_that_links_of_a_saved_model_lead_to(tmp_path: Path) -> None:
    """Caches of models are made of links. A folder that a link leads to is not opened, but for the variables' files."""
    make(tmp_path, "blobs/a", "blobs/b", "elsewhere/variables.index", "elsewhere/secret", "home/key")
    (tmp_path / "sm" / "assets").mkdir(parents=True)
    for link, target in {
        "saved_model.pb": "blobs/a",
        "assets/v.txt": "blobs/b",
        "variables": "elsewhere",
        "assets/home": "home",
    }.items():
        (tmp_path / "sm" / link).symlink_to(tmp_path / target)
    assert names_of(tmp_path, tmp_path / "sm") == {"sm", "blobs/a", "blobs/b", "elsewhere/variables.index"}


def test_an_op_library_and_those_beside_it(tmp_path: Path) -> None:
    make(tmp_path, "ops.so", "libneeded.so.1", "secret")
    assert names_of(tmp_path, tmp_path / "ops.so") == {"ops.so", "libneeded.so.1"}


def test_what_is_not_there_gives_nothing(tmp_path: Path) -> None:
    assert names_of(tmp_path, tmp_path / "missing" / "m.ckpt") == set()


def test_a_model_below_a_folder_is_readable_and_what_lies_beside_it_is_not(tmp_path: Path) -> None:
    (tmp_path / "download" / "module").mkdir(parents=True)
    (tmp_path / "download" / "module" / "saved_model.pb").write_bytes(b"x")
    (tmp_path / "download" / "secret").write_bytes(b"x")
    files = list_readable_files([tmp_path / "download"])
    assert tmp_path / "download" / "module" in files
    assert tmp_path / "download" / "secret" not in files
    assert tmp_path / "download" not in files


def test_what_was_unpacked_is_readable(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    with tarfile.open(tmp_path / "m.tar", "w") as packed:
        packed.add(tmp_path / "file", "file")
    folder = open_in_place(lambda path: path)(tmp_path / "m.tar")
    assert folder in list_readable_files([tmp_path / "m.tar"])
    remove_unpacked()
    assert folder not in list_readable_files([tmp_path / "m.tar"])


def test_the_constants_of_an_onnx_model_below_its_folder(tmp_path: Path) -> None:
    names = ("m.data", "sub/m.data", "../secret", "/etc/passwd")
    tensors = [
        onnx.TensorProto(
            name=name, dims=[1], data_type=1, data_location=1, external_data=[{"key": "location", "value": name}]
        )
        for name in names
    ]
    node = helper.make_node("Constant", [], ["y"], value=tensors.pop())
    model = helper.make_model(helper.make_graph([node], "m", [], [], tensors))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    make(tmp_path, "m.data", "sub/m.data", "other.data")
    assert read_onnx_file((tmp_path / "m.onnx").read_bytes()).beside == names
    assert names_of(tmp_path, tmp_path / "m.onnx") == {"m.onnx", "m.data", "sub/m.data"}
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString()[:-9])
    assert "other.data" not in names_of(tmp_path, tmp_path / "m.onnx")
