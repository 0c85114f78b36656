"""A sparse input's dense shape is fed, with generated values that fit; its own default would abort the process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import graphs
import pytest
from conftest import Run

from freezemodel_serve import create_app
from serialization.sources.frozen_reader import read_graph_def
from serialization.tensorflow import tf, tf1

PROVED = "proved: y: the same bits as the source, on "


def network(shape: Any = (None, 5)) -> tuple[Any, Any]:
    sparse = tf1.sparse_placeholder(tf.float32, shape and list(shape), name="feat")
    return sparse, tf.nn.sigmoid(tf.sparse.sparse_dense_matmul(sparse, tf1.get_variable("w", [5, 2])), name="y")


def export(folder: Path, shape: Any, recorded: Any) -> None:
    """A SavedModel whose signature records the sparse tensor, of the `recorded` shape."""
    with tf1.Graph().as_default(), tf1.Session() as session:
        sparse, y = network(shape)
        session.run(tf1.global_variables_initializer())
        info = tf1.saved_model.build_tensor_info
        inputs = {"feat": info(sparse)}
        inputs["feat"].tensor_shape.CopyFrom(tf.TensorShape(recorded).as_proto())
        signature = tf1.saved_model.build_signature_def(inputs, {"y": info(y)}, "tensorflow/serving/predict")
        builder = tf1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature})
        builder.save()


def test_a_checkpoint_with_a_sparse_input_is_proved_at_every_step(run: Run, tmp_path: Path) -> None:
    prefix, frozen = graphs.save(tmp_path, network), tmp_path / "m.pb"
    steps = (
        ("checkpoint_restore", "--checkpoint", prefix),
        ("freezemodel_save", "--checkpoint", prefix, "--frozen-model", frozen),
        ("savedmodel_from_checkpoint", "--checkpoint", prefix, "--export-dir", tmp_path / "1"),
        ("savedmodel_from_frozen", "--frozen-model", frozen, "--export-dir", tmp_path / "2"),
        ("freezemodel_load", "--frozen-model", frozen),
    )
    for step in steps:
        done = run(*step)
        assert (done.status, done.stderr) == (0, ""), step
        if "save" in step[0]:
            assert PROVED in done.stdout, step
    assert "prefix/feat/shape:0 int64 [2]\n[1 5]\n" in done.stdout
    assert {node.name for node in read_graph_def(frozen).node if node.op == "Placeholder"} == {
        *("feat/indices", "feat/values", "feat/shape")
    }
    (tmp_path / "alone.pb").write_bytes(prefix.with_name("model.ckpt.meta").read_bytes())
    for file in (tmp_path / "alone.pb", prefix.with_name("model.ckpt.meta")):
        assert "feat/shape:0" in run("model_inspect", file).stdout


@pytest.mark.parametrize(("shape", "recorded"), [((None, 5), [None, 5]), (None, [None, 5]), ((None, 5), None)])
def test_a_saved_model_with_a_sparse_input_is_proved(run: Run, tmp_path: Path, shape: Any, recorded: Any) -> None:
    export(tmp_path / "1", shape, recorded)
    done = run("freezemodel_save", "--saved-model", tmp_path / "1", "--frozen-model", tmp_path / "m.pb")
    assert (done.status, done.stderr) == (0, "")
    assert PROVED in done.stdout
    done = run("savedmodel_from_frozen", "--frozen-model", tmp_path / "m.pb", "--export-dir", tmp_path / "2")
    assert PROVED in done.stdout


def test_a_default_shape_for_a_reshape_stays_a_default(run: Run, tmp_path: Path) -> None:
    with tf1.Graph().as_default() as graph:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        shape = tf1.placeholder_with_default(tf.constant([-1, 2], tf.int64), [2], name="shape")
        tf.reshape(x, shape, name="y")
    (tmp_path / "m.pb").write_bytes(graph.as_graph_def().SerializeToString())
    done = run("freezemodel_load", "--frozen-model", tmp_path / "m.pb", "--feed", "x=[[1, 2, 3, 4]]")
    assert (done.status, done.stderr) == (0, "")
    assert "[[1. 2.]\n [3. 4.]]" in done.stdout


def test_a_negative_size_is_refused_and_does_not_abort_the_process(run: Run, tmp_path: Path) -> None:
    prefix, frozen = graphs.save(tmp_path, network), tmp_path / "m.pb"
    assert run("freezemodel_save", "--checkpoint", prefix, "--frozen-model", frozen).status == 0
    values: dict[str, Any] = {"feat/indices": [[0, 0]], "feat/values": [1.0], "feat/shape": [-1, 5]}
    done = run("freezemodel_load", "--frozen-model", frozen, "--feed", json.dumps(values))
    assert done.status == 1
    assert done.stderr.count("\n") == 1
    assert "feat/shape: a dense shape has no negative sizes" in done.stderr
    client = create_app(frozen_model=frozen).test_client()
    assert client.post("/api/predict", json={"x": values}).status_code == 422
    values["feat/shape"] = [1, 5]
    assert client.post("/api/predict", json={"x": values}).status_code == 200
