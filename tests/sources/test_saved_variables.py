"""sources/saved_variables.py: the names of a SavedModel's variables, and which are trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from serialization.files.locate import find_saved_model
from serialization.sources.from_saved_model import prepare_saved_model
from serialization.tensorflow import tf, tf1


def known_in(folder: Path) -> dict[str, tuple[str, bool]]:
    return dict(prepare_saved_model(find_saved_model(folder)).known_variables)


def test_collections_of_tensorflow_1(tmp_path: Path) -> None:
    with tf1.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None, 2], name="x")
        w = tf1.get_variable("scope/w", [2, 2])
        mean = tf1.get_variable("mean", [2], trainable=False)
        session.run(tf1.global_variables_initializer())
        tf1.saved_model.simple_save(session, str(tmp_path / "1"), {"x": x}, {"y": (x - mean) @ w})
    assert known_in(tmp_path / "1") == {"scope/w": ("scope/w", True), "mean": ("mean", False)}


class Twins(tf.Module):
    """Two variables of one name, one of its own, one that is not trained."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = tf.Variable([1.0]), tf.Variable([2.0])
        self.inner = tf.Module()
        self.inner.scale = tf.Variable([3.0], name="scale")
        self.mean = tf.Variable([4.0], name="mean", trainable=False)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32)])  # type: ignore[untyped-decorator]
    def __call__(self, x: Any) -> Any:
        return (x - self.mean) * self.left * self.inner.scale + self.right


def test_objects_of_tensorflow_2(tmp_path: Path) -> None:
    tf.saved_model.save(Twins(), str(tmp_path / "1"))
    found = known_in(tmp_path / "1")
    assert set(found.values()) == {("left", True), ("right", True), ("scale", True), ("mean", False)}
