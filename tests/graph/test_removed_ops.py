"""The replacement of an op that GraphDef no longer has computes the same as the op's own kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import Run

from serialization.formats import protos
from serialization.graph.const_nodes import make_constant
from serialization.tensorflow import np, tf, tf1

FLOAT = 1


def batch_norm(scale: bool, producer: int) -> Any:
    """X -> Conv2D -> BatchNormWithGlobalNormalization -> Softmax, as image models of 2015 have it."""
    graph_def = protos.GraphDef()
    graph_def.versions.producer = producer
    graph_def.node.add(name="x", op="Placeholder").attr["dtype"].type = FLOAT
    random = np.random.default_rng(0)
    for name, shape in {"kernel": (3, 3, 3, 4), **dict.fromkeys(("m", "v", "b", "g"), (4,))}.items():
        graph_def.node.append(make_constant(name, random.random(shape, np.float32), FLOAT))
    conv = graph_def.node.add(name="conv", op="Conv2D", input=["x", "kernel"])
    conv.attr["strides"].list.i.extend([1, 1, 1, 1])
    conv.attr["padding"].s = b"SAME"
    old = graph_def.node.add(name="bn", op="BatchNormWithGlobalNormalization", input=["conv", "m", "v", "b", "g"])
    old.attr["variance_epsilon"].f = 1e-3
    old.attr["scale_after_normalization"].b = scale
    graph_def.node.add(name="y", op="Softmax", input=["bn"])
    for node in graph_def.node:
        if node.op in ("Conv2D", "BatchNormWithGlobalNormalization", "Softmax"):
            node.attr["T"].type = FLOAT
    return graph_def


@pytest.mark.parametrize("scale", [True, False])
def test_the_old_batch_norm_is_spelt_out_where_the_version_lacks_it(run: Run, tmp_path: Path, scale: bool) -> None:
    (tmp_path / "m.pb").write_bytes(batch_norm(scale, 21).SerializeToString())
    values = np.random.default_rng(1).random((2, 5, 5, 3), np.float32)
    np.save(tmp_path / "x.npy", values)
    words = ("--frozen-model", tmp_path / "m.pb", "--export-dir", tmp_path / "1", "--feed", f"x=@{tmp_path / 'x.npy'}")
    done = run("savedmodel_from_frozen", *words)
    assert (done.status, done.stderr) == (0, "")
    line = "replaced 1 BatchNormWithGlobalNormalization op, which TensorFlow has removed, with its arithmetic\n"
    assert f"repaired: {line}" in done.stdout
    assert "proved: y: the same bits as the source" in done.stdout
    with tf1.Graph().as_default(), tf1.Session() as session:  # version 8 still has the op, and its kernel
        (expected,) = session.run(
            tf1.import_graph_def(batch_norm(scale, 8), return_elements=["y:0"]), {"import/x:0": values}
        )
    with tf1.Graph().as_default(), tf1.Session() as session:
        tf1.saved_model.load(session, ["serve"], str(tmp_path / "1"))
        np.testing.assert_allclose(session.run("y:0", {"x:0": values}), expected, rtol=1e-6, atol=0)


def test_a_graph_of_the_version_that_has_the_op_is_left_alone(run: Run, tmp_path: Path) -> None:
    (tmp_path / "m.pb").write_bytes(batch_norm(True, 8).SerializeToString())
    done = run("freezemodel_load", "--frozen-model", tmp_path / "m.pb")
    assert (done.status, done.stderr) == (0, "")
    assert "replaced" not in done.stdout


def test_the_op_is_rewritten_in_a_saved_model_too(run: Run, tmp_path: Path) -> None:
    meta_graph = protos.MetaGraphDef(graph_def=batch_norm(True, 21))
    meta_graph.meta_info_def.tags.append("serve")
    signature = meta_graph.signature_def["serving_default"]
    for side, name in ((signature.inputs, "x"), (signature.outputs, "y")):
        side[name].name, side[name].dtype = f"{name}:0", FLOAT
        side[name].tensor_shape.unknown_rank = name == "y"
    for size in (-1, 5, 5, 3):
        signature.inputs["x"].tensor_shape.dim.add(size=size)
    (tmp_path / "sm").mkdir()
    saved = protos.SavedModel(saved_model_schema_version=1, meta_graphs=[meta_graph])
    (tmp_path / "sm" / "saved_model.pb").write_bytes(saved.SerializeToString())
    done = run("freezemodel_save", "--saved-model", tmp_path / "sm", "--frozen-model", tmp_path / "m.pb")
    assert (done.status, done.stderr) == (0, "")
    assert "proved: y: the same bits as the source" in done.stdout


def test_an_op_of_an_old_name_gets_the_new_one(run: Run, tmp_path: Path) -> None:
    with tf1.Graph().as_default() as graph:
        x = tf1.placeholder(tf.float32, [None, 2, 2], name="x")
        tf.linalg.inv(x, name="inverse")
        tf.math.abs(tf.signal.fft(tf.cast(x, tf.complex64), name="fft"), name="size")
    graph_def = graph.as_graph_def()
    for node in graph_def.node:
        node.op = {"MatrixInverse": "BatchMatrixInverse", "FFT": "BatchFFT"}.get(node.op, node.op)
    (tmp_path / "m.pb").write_bytes(graph_def.SerializeToString())
    words = ("--outputs", "inverse,size", "--feed", "x=[[[2, 0], [0, 4]]]")
    done = run("freezemodel_load", "--frozen-model", tmp_path / "m.pb", *words)
    assert (done.status, done.stderr) == (0, "")
    assert (
        "repaired: replaced 1 BatchMatrixInverse op, which TensorFlow has removed, with MatrixInverse\n" in done.stdout
    )
    assert "[[[0.5  0.  ]\n  [0.   0.25]]]" in done.stdout
    assert "[[[2. 2.]\n  [4. 4.]]]" in done.stdout


def test_the_version_is_lowered_for_an_op_without_a_successor(run: Run, tmp_path: Path) -> None:
    graph_def = protos.GraphDef()
    graph_def.versions.producer = 1882
    graph_def.node.append(make_constant("shape", np.array([3], np.int32), 3))
    graph_def.node.append(make_constant("rate", np.array(4, np.float32), FLOAT))
    node = graph_def.node.add(name="y", op="RandomPoisson", input=["shape", "rate"])
    node.attr["S"].type, node.attr["dtype"].type = 3, FLOAT
    (tmp_path / "m.pb").write_bytes(graph_def.SerializeToString())
    done = run("freezemodel_load", "--frozen-model", tmp_path / "m.pb")
    assert (done.status, done.stderr) == (0, "")
    assert "repaired: lowered the version of the graph from 1882 to 24, for RandomPoisson\n" in done.stdout
