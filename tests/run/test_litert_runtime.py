"""LiteRTRunner runs a file as a Predictor runs a graph."""

from __future__ import annotations

from pathlib import Path

import pytest

from serialization.errors import UserError
from serialization.graph.signature import Signature, Tensor
from serialization.run.litert_runtime import LiteRTRunner
from serialization.tensorflow import np, tf

SIGNATURE = Signature((Tensor("x", "x:0", "float32", (None, 2)),), (Tensor("y", "y:0", "float32", (None, 2)),))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    double = tf.function(lambda x: {"y": x * 2})
    concrete = double.get_concrete_function(x=tf.TensorSpec([None, 2], tf.float32))
    module = tf.Module()
    module.double = double
    folder = tmp_path / "1"
    tf.saved_model.save(module, str(folder), signatures=concrete)
    written = tmp_path / "m.tflite"
    written.write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(folder)).convert())
    return written


def test_any_batch_is_run_and_answers_stay(file: Path) -> None:
    with LiteRTRunner(file, SIGNATURE) as run:
        first = run({"x": np.ones([1, 2], "f"), "unused": np.zeros(1)})["y"]
        second = run({"x": np.full([3, 2], 5, "f")})["y"]
    assert (first.tolist(), second.tolist()) == ([[2, 2]], [[10, 10]] * 3)


def test_a_failed_run_raises_what_tensorflow_raises(file: Path) -> None:
    with LiteRTRunner(file, SIGNATURE) as run, pytest.raises(tf.errors.OpError):
        run({"x": np.ones([1, 2], "i8")})


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"\x1c\0\0\0TFL3" + bytes(100))
    with pytest.raises(UserError, match="LiteRT cannot run the model: ") as caught:
        LiteRTRunner(tmp_path / "m", SIGNATURE)
    assert "\n" not in str(caught.value)
