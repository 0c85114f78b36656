"""Protobufs are read in their binary and in their text form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from conftest import Run

from serialization.errors import UserError
from serialization.formats import protos
from serialization.formats.file_kind import ModelFile
from serialization.formats.messages import read_message


def test_text_protobufs_load(run: Run, toy: Path, tmp_path: Path) -> None:
    from google.protobuf import text_format

    graph_def = protos.GraphDef.FromString((toy / "frozen_model.pb").read_bytes())
    (tmp_path / "model.pb").write_text(text_format.MessageToString(graph_def))
    names = ("--inputs", "x=Placeholder/inputs_placeholder", "--outputs", "Accuracy/predictions")
    done = run("freezemodel_load", "--frozen-model", tmp_path / "model.pb", *names, "--feed", json.dumps([[9] * 10]))
    assert (done.status, done.stderr) == (0, "")
    assert "[[ True]]" in done.stdout


def graph(nodes: int = 1) -> Any:
    return protos.GraphDef(node=[protos.NodeDef(name=f"x{n}", op="NoOp") for n in range(nodes)])


MESSAGES = [
    graph(),
    protos.MetaGraphDef(graph_def=graph()),
    protos.SavedModel(saved_model_schema_version=1, meta_graphs=[protos.MetaGraphDef(graph_def=graph())]),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.DESCRIPTOR.name)
def test_each_message_is_read_from_both_forms(tmp_path: Path, message: Any) -> None:
    from google.protobuf import text_format

    (tmp_path / "binary").write_bytes(message.SerializeToString())
    (tmp_path / "text").write_text(text_format.MessageToString(message))
    assert read_message(ModelFile(tmp_path / "binary")) == message
    assert read_message(ModelFile(tmp_path / "text")) == message


def test_fields_of_a_newer_tensorflow_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "text").write_text('node { name: "x0" op: "NoOp" colour: "red" } wholly { new: 1 }')
    assert read_message(ModelFile(tmp_path / "text")) == graph()


def error(path: Path) -> str:
    with pytest.raises(UserError) as caught:
        read_message(ModelFile(path))
    return str(caught.value).replace(f"{path}", "FILE")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "FILE is empty, not a graph; name another file"),
        (b'model_checkpoint_path: "m"', "FILE is a folder's `checkpoint` file, not a graph; name another file"),
        (bytes(range(256)), "FILE is a file of an unknown kind, not a graph; name another file"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "m").write_bytes(content)
    assert error(tmp_path / "m") == message


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (graph(2).SerializeToString()[:-1], "GraphDef"),
        (protos.MetaGraphDef(graph_def=graph(2)).SerializeToString() + b"\x0a\x7f", "MetaGraphDef"),
        (b'node { name: "x0"', "GraphDef"),
        (b"node { name: 5 }", "GraphDef"),
        (b"node { name: '\xff' }", "GraphDef"),
        (b"graph_def " + b"{ node " * 2 + b"x" * 5000, "MetaGraphDef"),
    ],
)
def test_a_damaged_file_is_reported_in_one_line(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / "m").write_bytes(content)
    line = error(tmp_path / "m")
    assert line.startswith(f"FILE is damaged: it begins as a {name} and cannot be read to its end (")
    assert line.endswith("); copy it here again")
    assert "\n" not in line
    assert len(line) < 300, "the parser's message may quote the whole file"


def test_a_file_beyond_the_limit_of_protobuf_is_refused(tmp_path: Path) -> None:
    """The file is sparse: it takes no room on the disk."""
    with (tmp_path / "m").open("wb") as file:
        file.write(graph().SerializeToString())
        file.truncate(2**31)
    assert error(tmp_path / "m") == (
        "FILE has 2.15 GB, and protobuf reads at most 2 GiB; "
        "use a SavedModel, which keeps its variables beside the graph"
    )
