"""What tf2onnx is given. tests/test_onnx_from_frozen.py runs what it makes of that."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import exported_models
import pytest

from serialization.errors import UserError
from serialization.formats.file_kind import ModelFile
from serialization.sources.from_frozen import PreparedFrozenModel, prepare_frozen_model
from serialization.sources.frozen_reader import read_graph_file
from serialization.targets import to_onnx
from serialization.targets.to_onnx import explain_conversion, prepare_onnx_graph
from serialization.tensorflow import tf, tf1


def prepare(file: Path, build: Any, inputs: str | None = None, *outputs: str) -> PreparedFrozenModel:
    exported_models.write(build, file, *outputs)
    return prepare_frozen_model(read_graph_file(ModelFile(file), lean=True), inputs, ",".join(outputs) or "y")


def nodes_of(graph_def: Any) -> dict[str, Any]:
    return {node.name: node for node in graph_def.node}


def test_each_output_has_a_node_of_its_own(tmp_path: Path) -> None:
    ready = prepare(tmp_path / "m", exported_models.two_outputs, None, "sum", "dot")
    before = ready.graph_def.SerializeToString()
    graph = prepare_onnx_graph(ready)
    assert [graph.names[tensor] for tensor in (*graph.inputs, *graph.outputs)] == ["a", "b", "sum", "dot"]
    assert ready.graph_def.SerializeToString() == before, "the source is run after this"


def test_a_graph_without_inputs_gets_one(tmp_path: Path) -> None:
    graph = prepare_onnx_graph(prepare(tmp_path / "m", exported_models.no_inputs))
    assert graph.inputs == list(graph.constants) == ["none:0"]


def test_an_input_of_unknown_rank_is_no_scalar(tmp_path: Path) -> None:
    def build() -> None:
        x, w = tf1.placeholder(tf.float32, name="x"), tf1.placeholder(tf.float32, name="w")
        tf.add(tf1.matmul(x, tf.ones([3, 2])), w, name="y")

    graph = prepare_onnx_graph(prepare(tmp_path / "m", build))
    known = nodes_of(graph.graph_def)
    assert known["x"].op == "Placeholder"
    assert [dim.size for dim in known["x"].attr["shape"].shape.dim] == [-1, 3]
    assert graph.notes == ("input x: of unknown shape, [None, 3] in the file, as the ops need it",)
    assert known["w"].op == "PlaceholderWithDefault"
    assert graph.required == {"w:0"}


def test_a_default_input_that_is_not_named_is_fixed(tmp_path: Path) -> None:
    graph = prepare_onnx_graph(prepare(tmp_path / "m", exported_models.with_default, "x"))
    assert nodes_of(graph.graph_def)["k"].op == "Identity"


def test_large_constants_of_a_large_graph_are_cut_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ready = prepare(tmp_path / "m", exported_models.images)
    assert prepare_onnx_graph(ready).constants == {}
    monkeypatch.setattr(to_onnx, "LARGE_FILE", 0)
    monkeypatch.setattr(to_onnx, "_LARGE", 1000)
    graph = prepare_onnx_graph(ready)
    assert [value.shape for value in graph.constants.values()] == [(512, 4)]
    assert graph.inputs == ["x:0", *graph.constants]


def test_what_the_converter_raises_is_one_line() -> None:
    with (
        pytest.raises(UserError, match=r"^tf2onnx cannot convert the graph: no such thing; cut the graph"),
        explain_conversion(),
    ):
        raise RuntimeError("no such thing\nmore")
    with pytest.raises(ModuleNotFoundError), explain_conversion():
        raise ModuleNotFoundError("No module named 'tf2onnx'", name="tf2onnx")
