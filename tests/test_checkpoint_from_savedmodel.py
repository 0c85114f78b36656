"""checkpoint_from_savedmodel.py: the variables of SavedModels of TensorFlow 1 and 2, with their names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import Fails, Run
from test_checkpoint_from_frozen import values_in

from serialization import project
from serialization.tensorflow import tf, tf1


def test_the_resnet_has_all_its_variables(run: Run, results: Path) -> None:
    done = run("checkpoint_from_savedmodel", "--object-based")
    assert (done.status, done.stderr) == (0, "")
    before = values_in(project.PRETRAINED / "1" / "variables" / "variables")
    after = values_in(results / "from_savedmodel.ckpt")
    assert after.items() <= before.items()
    assert before.keys() - after.keys() <= {"global_step"} | {name for name in before if "/Momentum" in name}
    assert "47 variables, 29 trainable" in done.stdout
    assert "proved: classes, probabilities: the same bits as the source" in done.stdout
    assert "moved 29 of 29 trainable variables, and nothing else" in done.stdout
    assert "proved: 47 variables restored by tf.train.Checkpoint, the same bits" in done.stdout
    # Frozen, and made a checkpoint again, it is the same.
    frozen, again = results / "resnet.pb", results / "again.ckpt"
    for script, *words in (
        ("freezemodel_save", "--saved-model", project.PRETRAINED / "1", "--frozen-model", frozen),
        ("checkpoint_from_frozen", "--frozen-model", frozen, "--out", again),
    ):
        done = run(script, *words)
        assert (done.status, done.stderr) == (0, "")
    assert values_in(again) == after
    assert "47 variables, 29 trainable" in done.stdout


class Scaler(tf.Module):
    """A layer with a counter that the call does not change, two signatures, and two variables of one name."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = tf.Variable([[1.0, 2.0], [3.0, 4.0]], name="kernel")
        self.low, self.high = tf.Variable([1.0]), tf.Variable([2.0])
        self.mean = tf.Variable([0.5], name="mean", trainable=False)

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, "x")])  # type: ignore[untyped-decorator]
    def scale(self, x: Any) -> dict[str, Any]:
        return {"y": (x - self.mean) @ self.kernel * self.high + self.low}

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, "x")])  # type: ignore[untyped-decorator]
    def center(self, x: Any) -> dict[str, Any]:
        return {"z": x - self.mean}


@pytest.fixture(scope="module")
def scaler(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scaler") / "1"
    module = Scaler()
    tf.saved_model.save(module, str(folder), {"serving_default": module.scale, "center": module.center})
    return folder


def test_a_module_of_tensorflow_2(run: Run, scaler: Path, tmp_path: Path) -> None:
    words = ("--saved-model", scaler, "--tag-set", "serve", "--out", tmp_path / "m.ckpt")
    done = run("checkpoint_from_savedmodel", *words)
    assert (done.status, done.stderr) == (0, "")
    names = tf1.train.load_checkpoint(str(tmp_path / "m.ckpt")).get_variable_to_shape_map()
    assert names == {"kernel": [2, 2], "low": [1], "high": [1], "mean": [1]}
    assert "4 variables, 3 trainable" in done.stdout
    assert "proved: one step of gradient descent on y, " in done.stdout
    assert "moved 3 of 3 trainable variables, and nothing else" in done.stdout


def test_the_signature_chooses_the_variables(run: Run, scaler: Path, tmp_path: Path) -> None:
    words = ("--saved-model", scaler, "--signature", "center", "--out", tmp_path / "m.ckpt")
    done = run("checkpoint_from_savedmodel", *words)
    assert (done.status, done.stderr) == (0, "")
    assert values_in(tmp_path / "m.ckpt").keys() == {"mean"}
    assert "not trained: none of the variables is trainable" in done.stdout


def test_a_model_without_variables(error: Fails, tmp_path: Path) -> None:
    with tf1.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None], name="x")
        tf1.saved_model.simple_save(session, str(tmp_path / "1"), {"x": x}, {"y": x / 2})
    line = error("checkpoint_from_savedmodel", "--saved-model", tmp_path / "1", "--out", tmp_path / "m.ckpt")
    assert line == (
        "the SavedModel has no variables that its outputs need; if constants hold its weights, freeze it with "
        "freezemodel_save.py, and make them variables again with checkpoint_from_frozen.py"
    )


def test_a_variable_of_texts(run: Run, tmp_path: Path) -> None:
    with tf1.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.int32, [None], name="x")
        words = tf1.get_variable("words", initializer=["a", "bcd"], use_resource=True)
        session.run(words.initializer)
        tf1.saved_model.simple_save(session, str(tmp_path / "1"), {"x": x}, {"y": tf.gather(words, x)})
    done = run("checkpoint_from_savedmodel", "--saved-model", tmp_path / "1", "--out", tmp_path / "m.ckpt")
    assert (done.status, done.stderr) == (0, "")
    assert "\nproved: 1 variable restored, the same bits\n" in done.stdout
    assert tf1.train.load_checkpoint(str(tmp_path / "m.ckpt")).get_tensor("words").tolist() == [b"a", b"bcd"]
