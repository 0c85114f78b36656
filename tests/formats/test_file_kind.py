"""The kind of a file is told from its bytes."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from sstables import make_table

from serialization.errors import UserError
from serialization.formats import protos
from serialization.formats.file_kind import Kind, ModelFile, detect_kind
from serialization.formats.foreign_files import Foreign


def test_the_kind_is_told_from_the_bytes(toy: Path, tmp_path: Path) -> None:
    from google.protobuf import text_format

    expected = {
        "frozen_model.pb": Kind.GRAPH,
        "graph.ckpt.meta": Kind.META_GRAPH,
        "savedmodel_from_source/saved_model.pb": Kind.SAVED_MODEL,
    }
    classes = {Kind.GRAPH: "GraphDef", Kind.META_GRAPH: "MetaGraphDef", Kind.SAVED_MODEL: "SavedModel"}
    for name, kind in expected.items():
        message = getattr(protos, classes[kind]).FromString((toy / name).read_bytes())
        (tmp_path / "binary").write_bytes(message.SerializeToString())
        (tmp_path / "text").write_text(f"# by hand\n{text_format.MessageToString(message)}")
        assert detect_kind(tmp_path / "binary") is kind
        assert detect_kind(tmp_path / "text") is kind


def zipped(*names: str) -> bytes:
    with zipfile.ZipFile(packed := io.BytesIO(), "w") as archive:
        for name in names:
            archive.writestr(name, "{}")
    return packed.getvalue()


def tarred() -> bytes:
    with tarfile.open(fileobj=(packed := io.BytesIO()), mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model.pb"))
    return packed.getvalue()


NODE = protos.NodeDef(name="x", op="Placeholder")
GRAPH = protos.GraphDef(node=[NODE])
NOT_TEXT = bytes(range(256))
CONTENTS: list[tuple[bytes, Kind | Foreign]] = [
    (b"", Kind.EMPTY),
    (b" \n\t", Kind.EMPTY),
    (b"version https://git-lfs.github.com/spec/v1\n", Foreign.LFS),
    (make_table([(b"", b"")]), Kind.TABLE),
    (b"\x89HDF\r\n\x1a\n", Kind.KERAS_WEIGHTS),
    (zipped("metadata.json", "config.json", "model.weights.h5"), Kind.KERAS),
    (b' {"class_name": "Sequential", "config": []}', Kind.KERAS_LAYERS),
    (b"\x1c\0\0\0TFL3", Foreign.TFLITE),
    (zipped("saved_model.pb"), Foreign.ARCHIVE),
    (tarred(), Foreign.ARCHIVE),
    (b"\x1f\x8b\x08\0", Foreign.ARCHIVE),
    (b"BZh9", Foreign.ARCHIVE),
    (b"\xfd7zXZ\0", Foreign.ARCHIVE),
    (b"7z\xbc\xaf\x27\x1c", Foreign.ARCHIVE),
    (b"\n <!DOCTYPE html>", Foreign.HTML),
    (b"<html lang='en'>", Foreign.HTML),
    (b'<?xml version="1.0"?>', Foreign.XML),
    (b'{"x": 1}', Foreign.JSON),
    (b"\n[1, 2]", Foreign.JSON),
    (b"\xef\xbb\xbf{}", Foreign.JSON),
    (b"node {}", Kind.GRAPH),
    (b"# a comment\n\n  library { }", Kind.GRAPH),
    (b"versions { producer: 27 }", Kind.GRAPH),
    (b"graph_def { }", Kind.META_GRAPH),
    (b"meta_info_def {", Kind.META_GRAPH),
    (b"saved_model_schema_version: 1", Kind.SAVED_MODEL),
    (b'model_checkpoint_path: "m"', Kind.STATE),
    (b"nodes of a graph", Foreign.TEXT),
    (b"# nothing but a comment", Foreign.TEXT),
    (NOT_TEXT, Kind.UNKNOWN),
    (GRAPH.SerializeToString(), Kind.GRAPH),
    (protos.GraphDef(node=[NODE], versions={"producer": 1}).SerializeToString()[:12], Kind.GRAPH),
    (b"\x22\x02\x08\x1b" + GRAPH.SerializeToString(), Kind.GRAPH),  # the version stands before the first node
    (protos.GraphDef(versions={"producer": 27}).SerializeToString(), Kind.UNKNOWN),
    (protos.MetaGraphDef(graph_def=GRAPH).SerializeToString(), Kind.META_GRAPH),
    (
        protos.MetaGraphDef(
            meta_info_def={"meta_graph_version": "v1", "tags": ["serve"]}, graph_def=GRAPH
        ).SerializeToString(),
        Kind.META_GRAPH,
    ),
    (
        protos.SavedModel(saved_model_schema_version=1, meta_graphs=[{"graph_def": GRAPH}]).SerializeToString(),
        Kind.SAVED_MODEL,
    ),
]


@pytest.mark.parametrize(
    ("content", "kind"), CONTENTS, ids=[f"{n} {kind.name}" for n, (_, kind) in enumerate(CONTENTS)]
)
def test_each_kind_is_told_whatever_the_name(tmp_path: Path, content: bytes, kind: Kind | Foreign) -> None:
    (tmp_path / "model").write_bytes(content)
    assert detect_kind(tmp_path / "model") is kind


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("m.data-00000-of-00001", Kind.DATA),
        ("m.ckpt.data-00010-of-00012", Kind.DATA),
        ("m.data-0-of-1", Kind.UNKNOWN),
        ("data-00000-of-00001", Kind.UNKNOWN),
    ],
)
def test_bare_numbers_are_told_by_the_name_alone(tmp_path: Path, name: str, kind: Kind) -> None:
    (tmp_path / name).write_bytes(NOT_TEXT)
    assert detect_kind(tmp_path / name) is kind


def test_a_file_that_cannot_be_read_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=str(tmp_path / "missing")):
        ModelFile(tmp_path / "missing")
    with pytest.raises(UserError, match=rf"^{tmp_path} is a folder; name a file in it$"):
        ModelFile(tmp_path)


def test_what_never_ends_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(UserError, match=rf"^{path} is no plain file; put its content into a file, and name that$"):
            ModelFile(path)


def test_an_opened_file_gives_its_bytes_until_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(b"0123456789")
    opened, buffer = ModelFile(path), bytearray(4)
    assert (opened.data[:], opened.stamp[0], opened.is_text) == (b"0123456789", 10, True)
    assert opened.read_into(memoryview(buffer), 3)
    assert buffer == b"3456"
    assert not opened.read_into(memoryview(buffer), 8), "the file ends after two bytes"
    path.rename(tmp_path / "old")
    path.write_bytes(b"another file")
    assert opened.read_into(memoryview(buffer), 0), "a file that was replaced is still whole"
    with (tmp_path / "old").open("r+b") as file:
        file.write(b"?")
    os.utime(tmp_path / "old", ns=(0, 0))
    assert not opened.read_into(memoryview(buffer), 0)


def test_an_opened_file_keeps_no_descriptor_for_longer_than_it_lives(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"node {}")
    descriptors = Path("/proc/self/fd")
    before = len(list(descriptors.iterdir()))
    for _ in range(3):
        ModelFile(tmp_path / "m")
    assert len(list(descriptors.iterdir())) == before


@pytest.mark.parametrize(
    ("content", "is_text"),
    [(b"", True), (b"node {}\r\n\t\f", True), ("ü".encode(), True), (b"\0", False), (b"a\x7f\x1b", False)],
)
def test_text_has_no_control_characters_but_white_space(tmp_path: Path, content: bytes, is_text: bool) -> None:
    (tmp_path / "m").write_bytes(content)
    assert ModelFile(tmp_path / "m").is_text == is_text
