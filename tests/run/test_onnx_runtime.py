"""OnnxRunner runs a file as a Predictor runs a graph."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import TensorProto, helper

from serialization.errors import UserError
from serialization.graph.signature import Signature, Tensor
from serialization.run.onnx_runtime import OnnxRunner
from serialization.tensorflow import np, tf

TEXT = Signature((Tensor("x", "x:0", "string", (None,)),), (Tensor("y", "y:0", "string", (None,)),))


def write(file: Path, op: str, dtype: int, **attributes: object) -> Path:
    inputs, outputs = ([helper.make_tensor_value_info(name, dtype, [None])] for name in "xy")
    graph = helper.make_graph([helper.make_node(op, ["x"], ["y"], **attributes)], "m", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    file.write_bytes(model.SerializeToString())
    return file


def test_strings_are_bytes_on_both_sides(tmp_path: Path) -> None:
    with OnnxRunner(write(tmp_path / "m", "Identity", TensorProto.STRING), TEXT) as run:
        answer = run({"x": np.array([b"a", "ü".encode()], object), "unused": np.zeros(1)})["y"]
        assert (answer.dtype, answer.tolist()) == (np.dtype(object), [b"a", "ü".encode()])
        with pytest.raises(tf.errors.OpError, match="UTF-8"):
            run({"x": np.array([b"\xff"], object)})


def test_a_failed_run_raises_what_tensorflow_raises(tmp_path: Path) -> None:
    with (
        OnnxRunner(write(tmp_path / "m", "Identity", TensorProto.STRING), TEXT) as run,
        pytest.raises(tf.errors.OpError, match=r"^(?!\[ONNX)"),
    ):
        run({"x": np.zeros([2, 2], "f")})


def test_what_onnxruntime_lacks_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        OnnxRunner(write(tmp_path / "m", "Tan", TensorProto.DOUBLE), TEXT)
    assert str(caught.value) == (
        "onnxruntime cannot run the model: it has no implementation of Tan, the op of node , for these dtypes; "
        "nothing was written"
    )


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"\x08\x08\x3a\x05noise")
    with pytest.raises(UserError, match="onnxruntime cannot run the model: ") as caught:
        OnnxRunner(tmp_path / "m", TEXT)
    assert "\n" not in str(caught.value)
