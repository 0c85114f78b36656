"""The keys of a SavedModel are the names of the frozen graph's inputs and outputs, and the keys of later steps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import Run

from serialization.formats import protos
from serialization.graph.keys import name_by_keys
from serialization.graph.signature import Signature, Tensor
from serialization.tensorflow import tf, tf1


class Review(tf.Module):
    """Two inputs, two outputs, a function within the function."""

    def __init__(self) -> None:
        self.weights = tf.Variable([[1.0, -1.0], [0.5, 2.0]])

    def __call__(self, meta: Any, review: Any) -> dict[str, Any]:
        stars = tf.linalg.matmul(meta, self.weights)
        return {"stars": stars, "sentiment": tf.cast(tf.strings.length(review), tf.float32) + stars[:, 0]}


def save_first_format(folder: Path) -> None:
    with tf1.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None, 2], name="Placeholder")
        y = x @ tf1.get_variable("w", [2, 2], use_resource=False)
        session.run(tf1.global_variables_initializer())
        tf1.saved_model.simple_save(session, str(folder), {"meta": x}, {"stars": y, "same": y})


@pytest.mark.parametrize("first", [True, False])
def test_every_later_step_has_the_keys(run: Run, tmp_path: Path, first: bool) -> None:
    if first:
        save_first_format(tmp_path / "model")
    else:
        review = Review()
        specs = tf.TensorSpec([None, 2], tf.float32, "meta"), tf.TensorSpec([None], tf.string, "review")
        review.call = tf.function(review, input_signature=specs)
        tf.saved_model.save(review, str(tmp_path / "model"), signatures=review.call)
    frozen = ("--frozen-model", tmp_path / "frozen.pb")
    ran = run("freezemodel_save", "--saved-model", tmp_path / "model", *frozen)
    assert ran.status == 0, ran.stderr
    assert "\nproved: " in ran.stdout
    ran = run("savedmodel_from_frozen", *frozen, "--export-dir", tmp_path / "export")
    assert ran.status == 0, ran.stderr
    saved = protos.SavedModel.FromString((tmp_path / "export" / "saved_model.pb").read_bytes())
    signature = saved.meta_graphs[0].signature_def["serving_default"]
    assert set(signature.inputs) == ({"meta"} if first else {"meta", "review"})
    assert set(signature.outputs) == ({"stars", "same"} if first else {"stars", "sentiment"})


def test_what_is_exported_from_keys_in_other_letters_can_be_loaded(run: Run, tmp_path: Path) -> None:
    """TensorFlow 2 makes the nodes anew, and tells no names apart that differ in the case of their letters alone."""
    with tf1.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None, 2], name="X")
        tf1.saved_model.simple_save(session, str(tmp_path / "model"), {"x": x}, {"softmax": tf.nn.softmax(x)})
    frozen = ("--frozen-model", tmp_path / "frozen.pb")
    assert run("freezemodel_save", "--saved-model", tmp_path / "model", *frozen).status == 0
    assert run("savedmodel_from_frozen", *frozen, "--export-dir", tmp_path / "export").status == 0
    call = tf.saved_model.load(str(tmp_path / "export")).signatures["serving_default"]
    assert call(x=tf.constant([[1.0, 1.0]]))["softmax"].numpy().tolist() == [[0.5, 0.5]]


def test_a_key_that_cannot_be_a_name_stays_a_key() -> None:
    graph_def = protos.GraphDef()
    for name, op, edges in (("in", "Placeholder", []), ("taken", "Relu", ["in"]), ("y", "Relu", ["in", "^in"])):
        graph_def.node.add(name=name, op=op, input=edges)

    def tensor(key: str, name: str) -> Tensor:
        return Tensor(key, name, "float32", None)

    outputs = (tensor("taken", "y:0"), tensor("not a name", "y:0"), tensor("two", "taken:0"))
    named, signature = name_by_keys(graph_def, Signature((tensor("x", "in:0"), tensor("again", "in:0")), outputs))
    assert [tensor.name for tensor in signature.inputs] == ["x:0", "x:0"]
    assert [tensor.name for tensor in signature.outputs] == ["y:0", "y:0", "two:0"]
    nodes = {node.name: (node.op, *node.input) for node in named.node}
    assert nodes == {
        "x": ("Placeholder",),
        "in": ("Identity", "x"),
        "taken": ("Relu", "in"),
        "y": ("Relu", "in", "^in"),
        "two": ("Identity", "taken:0"),
    }
    assert graph_def.node[0].name == "in", "the GraphDef that was given stays as it is"
