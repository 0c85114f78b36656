"""The kind of a file is told from its bytes."""

from __future__ import annotations

from pathlib import Path

from serialization.formats import protos
from serialization.formats.file_kind import Kind, detect_kind


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
