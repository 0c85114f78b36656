"""The replacement of an op that GraphDef no longer has computes the same as the op's own kernel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import Run

from serialization.formats import protos
from serialization.graph.const_nodes import make_constant
from serialization.graph.op_registry import get_op_def
from serialization.graph.removed_ops import RENAMED, rewrite_removed_ops
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


def to_function(graph_def: Any, outputs: dict[str, str]) -> Any:
    """The same graph with all nodes between x and y in a function that the node y calls.

    `outputs` are the names of the outputs of the ops, "output" where one is not listed.
    """
    call = protos.GraphDef(versions=graph_def.versions)
    function = call.library.function.add()
    function.signature.name = "inner"
    function.signature.input_arg.add(name="x", type=FLOAT)
    function.signature.output_arg.add(name="y", type=FLOAT)
    ops = {node.name: node.op for node in graph_def.node}
    for node in graph_def.node:
        if node.op == "Placeholder":
            call.node.append(node)
            continue
        made = function.node_def.add()
        made.CopyFrom(node)
        made.input[:] = [
            edge if ops[edge] == "Placeholder" else f"{edge}:{outputs.get(ops[edge], 'output')}:0"
            for edge in node.input
        ]
    last = graph_def.node[-1]
    function.ret["y"] = f"{last.name}:{outputs.get(last.op, 'output')}:0"
    node = call.node.add(name="y", op="PartitionedCall", input=["x"])
    node.attr["Tin"].list.type.append(FLOAT)
    node.attr["Tout"].list.type.append(FLOAT)
    node.attr["f"].func.name = "inner"
    return call


BATCH_NORM_OUTPUTS = {"BatchNormWithGlobalNormalization": "result", "Softmax": "softmax"}


@pytest.mark.parametrize("last", ["y", "bn"])
def test_the_old_batch_norm_is_spelt_out_in_a_function_too(run: Run, tmp_path: Path, last: str) -> None:
    values = np.random.default_rng(1).random((2, 5, 5, 3), np.float32)
    np.save(tmp_path / "x.npy", values)
    source = batch_norm(True, 21)
    if last == "bn":
        del source.node[-1]
    (tmp_path / "m.pb").write_bytes(to_function(source, BATCH_NORM_OUTPUTS).SerializeToString())
    words = ("--frozen-model", tmp_path / "m.pb", "--export-dir", tmp_path / "1", "--feed", f"x=@{tmp_path / 'x.npy'}")
    done = run("savedmodel_from_frozen", *words)
    assert (done.status, done.stderr) == (0, "")
    line = "replaced 1 BatchNormWithGlobalNormalization op, which TensorFlow has removed, with its arithmetic\n"
    assert f"repaired: {line}" in done.stdout
    with tf1.Graph().as_default(), tf1.Session() as session:  # version 8 still has the op, and its kernel
        (expected,) = session.run(
            tf1.import_graph_def(batch_norm(True, 8), return_elements=[f"{last}:0"]), {"import/x:0": values}
        )
    with tf1.Graph().as_default(), tf1.Session() as session:
        tf1.saved_model.load(session, ["serve"], str(tmp_path / "1"))
        np.testing.assert_allclose(session.run("y:0", {"x:0": values}), expected, rtol=1e-6, atol=1e-6)
    frozen = run("freezemodel_save", "--saved-model", tmp_path / "1", "--frozen-model", tmp_path / "f.pb")
    assert (frozen.status, frozen.stderr) == (0, "")


def test_the_old_batch_norm_of_a_function_s_own_argument() -> None:
    source = batch_norm(True, 21)
    source.node[-2].input[0] = "x"  # the convolution is left out
    source.node[-2].attr["T"].type = FLOAT
    for node in source.node:
        if node.name in "mvbg":
            node.CopyFrom(make_constant(node.name, np.ones([3], np.float32), FLOAT))
    graph_def = to_function(source, BATCH_NORM_OUTPUTS)
    del graph_def.library.function[0].node_def[5]
    assert len(rewrite_removed_ops(graph_def)) == 1
    with tf1.Graph().as_default(), tf1.Session() as session:
        tf1.import_graph_def(graph_def, name="")
        assert session.run("y:0", {"x:0": np.ones((1, 1, 1, 3))}).shape == (1, 1, 1, 3)


def test_an_op_of_an_old_name_gets_the_new_one_in_a_function(run: Run, tmp_path: Path) -> None:
    source = protos.GraphDef()
    source.versions.producer = 1882
    source.node.add(name="x", op="Placeholder").attr["dtype"].type = FLOAT
    source.node.add(name="inverse", op="BatchMatrixInverse", input=["x"]).attr["T"].type = FLOAT
    (tmp_path / "m.pb").write_bytes(to_function(source, {}).SerializeToString())
    words = ("--frozen-model", tmp_path / "m.pb", "--feed", "x=[[[2, 0], [0, 4]]]")
    done = run("freezemodel_load", *words)
    assert (done.status, done.stderr) == (0, "")
    assert (
        "repaired: replaced 1 BatchMatrixInverse op, which TensorFlow has removed, with MatrixInverse\n" in done.stdout
    )
    assert "[[[0.5  0.  ]\n  [0.   0.25]]]" in done.stdout


@pytest.mark.parametrize("op", RENAMED)
def test_the_new_op_has_the_outputs_of_the_old_one(op: str) -> None:
    """Edges in functions name them."""
    old, new = get_op_def(op), get_op_def(RENAMED[op])
    assert [arg.name for arg in old.output_arg] == [arg.name for arg in new.output_arg]


def test_the_version_is_lowered_for_an_op_in_a_function(run: Run, tmp_path: Path) -> None:
    source = protos.GraphDef()
    source.versions.producer = 1882
    source.node.add(name="x", op="Placeholder").attr["dtype"].type = FLOAT
    source.node.append(make_constant("shape", np.array([3], np.int32), 3))
    node = source.node.add(name="poisson", op="RandomPoisson", input=["shape", "x"])
    node.attr["S"].type, node.attr["dtype"].type = 3, FLOAT
    (tmp_path / "m.pb").write_bytes(to_function(source, {}).SerializeToString())
    done = run("freezemodel_load", "--frozen-model", tmp_path / "m.pb", "--feed", "x=4")
    assert (done.status, done.stderr) == (0, "")
    assert "repaired: lowered the version of the graph from 1882 to 24, for RandomPoisson\n" in done.stdout
