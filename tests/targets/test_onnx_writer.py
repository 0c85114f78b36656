"""The ONNX file: names, initializers, what is too large. tests/test_onnx_from_frozen.py runs such files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import helper, numpy_helper

from serialization.errors import UserError
from serialization.targets import onnx_writer
from serialization.targets.onnx_writer import write_onnx_file
from serialization.tensorflow import np

W = np.arange(6, dtype="f").reshape(2, 3)


def make_model(*nodes: Any) -> Any:
    info = helper.make_tensor_value_info
    inputs = [info("x:0", 1, [None, 3]), info("w:0", 1, [2, 3])]
    return helper.make_model(helper.make_graph(list(nodes), "m", inputs, [info("out:0", 1, None)]))


def test_constants_become_initializers_and_transpositions_of_them_are_done(tmp_path: Path) -> None:
    turn = helper.make_node("Transpose", ["w:0"], ["t"], perm=[1, 0])
    product = helper.make_node("MatMul", ["x:0", "t"], ["out:0"])
    write_onnx_file(tmp_path / "m", make_model(turn, product), {"x:0": "x", "out:0": "y"}, {"w:0": W}, ())
    graph = onnx.load(tmp_path / "m").graph
    assert [value.name for value in (*graph.input, *graph.output)] == ["x", "y"]
    assert [(node.op_type, list(node.input)) for node in graph.node] == [("MatMul", ["x", "t"])]
    (initializer,) = graph.initializer
    np.testing.assert_array_equal(numpy_helper.to_array(initializer), W.T)


def test_a_constant_that_something_else_takes_is_left_as_it_is(tmp_path: Path) -> None:
    turn = helper.make_node("Transpose", ["w:0"], ["t"], perm=[1, 0])
    nodes = (turn, helper.make_node("MatMul", ["x:0", "t"], ["p"]), helper.make_node("MatMul", ["p", "w:0"], ["out:0"]))
    write_onnx_file(tmp_path / "m", make_model(*nodes), {}, {"w:0": W}, ())
    graph = onnx.load(tmp_path / "m").graph
    assert len(graph.node) == 3
    np.testing.assert_array_equal(numpy_helper.to_array(graph.initializer[0]), W)


def test_a_name_that_is_taken_is_given_up(tmp_path: Path) -> None:
    nodes = (helper.make_node("MatMul", ["x:0", "w:0"], ["y"]), helper.make_node("Relu", ["y"], ["out:0"]))
    write_onnx_file(tmp_path / "m", make_model(*nodes), {"x:0": "w:0", "out:0": "y"}, {"w:0": W}, ())
    graph = onnx.load(tmp_path / "m").graph
    assert [(list(node.input), list(node.output)) for node in graph.node] == [
        (["w:0", "w:0_"], ["y_"]),
        (["y_"], ["y"]),
    ]
    assert [initializer.name for initializer in graph.initializer] == ["w:0_"]


def test_a_default_that_means_nothing_goes(tmp_path: Path) -> None:
    model = make_model(helper.make_node("MatMul", ["x:0", "w:0"], ["out:0"]))
    model.graph.initializer.append(numpy_helper.from_array(np.float32(0), "x:0"))
    write_onnx_file(tmp_path / "m", model, {"x:0": "x"}, {"w:0": W}, {"x:0"})
    assert [initializer.name for initializer in onnx.load(tmp_path / "m").graph.initializer] == ["w:0"]


def test_what_is_too_large_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_writer, "LIMIT", 1 << 16)
    model = make_model(helper.make_node("MatMul", ["x:0", "w:0"], ["out:0"]))
    with pytest.raises(UserError, match="the model is too large for ONNX; its graph holds 1"):
        write_onnx_file(tmp_path / "m", model, {}, {"w:0": W}, ())
    assert list(tmp_path.iterdir()) == []
