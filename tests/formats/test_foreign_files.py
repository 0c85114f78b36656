"""Files that other programs write are told by their bytes, and none of them is opened."""

from __future__ import annotations

from pathlib import Path

import pytest
from foreign import KINDS, write_foreign_files

from serialization.formats.file_kind import Kind, ModelFile, detect_kind
from serialization.formats.foreign_files import Foreign


def test_each_kind_is_told_from_the_bytes_and_nothing_is_unpickled(tmp_path: Path) -> None:
    write_foreign_files(tmp_path)
    plain = {}
    for name in KINDS:  # under a name that tells nothing
        (tmp_path / name).rename(tmp_path / "file")
        plain[name] = detect_kind(tmp_path / "file")
        (tmp_path / "file").rename(tmp_path / name)
    assert plain == KINDS
    assert not (tmp_path / "sprung").exists()
    assert {kind for kind in Foreign if kind not in KINDS.values()} == set()


@pytest.mark.parametrize(
    "content",
    [
        b"\x08\x05\x10\x06\x3a\x02id",  # the fingerprint.pb of a SavedModel: numbers and an id
        b"\x08\x05\x3a\x02id",
        b"\x08\x05\x3a\x04\x0a\x00\x18\x01",  # a number in the place of a graph's field
        b"\x08\x05\x12\x01x",
    ],
)
def test_a_message_of_another_type_is_no_onnx_model(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    assert detect_kind(tmp_path / "file") is Kind.UNKNOWN


@pytest.mark.parametrize("size", [0, 1, 4, 8, 12, 40, 100])
def test_a_file_of_any_kind_that_is_cut_off_is_of_some_kind(tmp_path: Path, size: int) -> None:
    write_foreign_files(tmp_path)
    for name in KINDS:
        (tmp_path / "cut").write_bytes((tmp_path / name).read_bytes()[:size])
        assert ModelFile(tmp_path / "cut").kind in {*Kind, *Foreign}


def test_no_part_of_a_model_is_foreign(made: Path) -> None:
    for file in made.rglob("*"):
        if file.is_file() and not file.name.endswith(".json"):
            assert isinstance(detect_kind(file), Kind), file


def test_a_data_file_is_one_whatever_it_begins_with(tmp_path: Path) -> None:
    file = tmp_path / "m.data-00000-of-00001"
    for beginning in (b"\x80\x04]", b"PK\x03\x04", b"\x1f\x8b", bytes(8) + b"{"):
        file.write_bytes(beginning + bytes(50))
        assert detect_kind(file) is Kind.DATA
