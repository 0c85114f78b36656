"""Ops that nothing here can run are named, with the devices that can, before anything is restored."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import graphs
import pytest
from conftest import Run

from serialization.formats import protos
from serialization.graph.kernels import find_ops_without_kernel, require_kernels
from serialization.tensorflow import tf, tf1

FLOAT, BFLOAT16 = 1, 14


def recurrent() -> None:
    """As a graph that was trained on a GPU has it; CPUs have no such kernel."""
    x = tf1.placeholder(tf.float32, [None, 2, 3], name="x")
    state = tf.zeros([1, tf.shape(x)[1], 4])
    weights = tf1.get_variable("w", [200])
    cell = tf.raw_ops.CudnnRNN(input=x, input_h=state, input_c=state, params=weights, is_training=False, name="cell")
    tf.identity(cell.output, name="y")


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="optional: a machine without a GPU")
def test_a_checkpoint_of_a_gpu_names_op_and_device(run: Run, tmp_path: Path) -> None:
    prefix = graphs.save(tmp_path, lambda: tf1.get_variable("w", [200]))
    with tf1.Graph().as_default():
        recurrent()
        tf1.train.Saver().export_meta_graph(f"{prefix}.meta")
    line = "CudnnRNN, which has a kernel for GPU and none for CPU (node cell)"
    for step in (
        ("freezemodel_save", "--checkpoint", prefix, "--frozen-model", tmp_path / "m.pb"),
        ("checkpoint_restore", "--checkpoint", prefix, "--outputs", "y"),
    ):
        done = run(*step)
        assert (done.status, done.stderr) == (
            1,
            f"error: {prefix} cannot be run on this machine; its graph needs {line}; run it on a machine with a GPU, "
            "or cut the graph around these nodes with --inputs and --outputs\n",
        )
    assert not (tmp_path / "m.pb").exists()
    done = run(
        "freezemodel_save",
        "--checkpoint",
        prefix,
        "--frozen-model",
        tmp_path / "m.pb",
        "--inputs",
        "y=cell:0",
        "--outputs",
        "y",
    )
    assert (done.status, done.stderr) == (0, "")


def test_ops_without_a_kernel_are_findings_of_the_inspection(run: Run, tmp_path: Path) -> None:
    graph_def = protos.GraphDef()
    graph_def.node.add(name="x", op="Placeholder").attr["dtype"].type = FLOAT
    graph_def.node.add(name="bucket", op="BoostedTreesBucketize", input=["x", "x"]).attr["num_features"].i = 1
    graph_def.node.add(name="cell", op="CudnnRNNV3", input=["x"] * 5)
    graph_def.node.add(name="wrap", op="TPUReplicatedInput", input=["x"]).attr["N"].i = 1
    (tmp_path / "m.pb").write_bytes(graph_def.SerializeToString())
    done = run("model_inspect", tmp_path / "m.pb", "--strict")
    assert done.status == 1
    assert "  BoostedTreesBucketize, which has no kernel (bucket)\n" in done.stdout
    assert "  CudnnRNNV3, which has a kernel for GPU and none for CPU (cell)\n" in done.stdout
    assert "unknown op" not in done.stdout
    (graph,) = json.loads(run("model_inspect", tmp_path / "m.pb", "--json").stdout)["graphs"]
    assert [op["op"] for op in graph["without_kernel"]] == ["BoostedTreesBucketize", "CudnnRNNV3"]
    done = run("freezemodel_load", "--frozen-model", tmp_path / "m.pb", "--outputs", "bucket")
    assert "its graph needs BoostedTreesBucketize, which has no kernel (node bucket); cut the graph" in done.stderr
    assert "unknown library" not in done.stderr


@pytest.mark.parametrize(
    "op", ["_MklConv2D", "_MklRelu", "XlaClusterOutput", "CudnnRNNV2", "InfeedDequeue", "CrossReplicaSum"]
)
def test_ops_for_other_devices_have_no_kernel(op: str) -> None:
    graph_def = protos.GraphDef()
    node = graph_def.node.add(name="y", op=op)
    assert find_ops_without_kernel(graph_def) == {op: ["y"]}
    node.attr["_kernel"].s = b"MklLayoutDependentOp"  # a pass of TensorFlow has chosen the kernel for this node
    assert find_ops_without_kernel(graph_def) == {}


def test_a_kernel_that_does_not_take_the_dtype_is_missing_too() -> None:
    def make(dtype: int) -> Any:
        graph_def = protos.GraphDef()
        node = graph_def.node.add(name="y", op="LRN", input=["x"])
        node.attr["T"].type = dtype
        return graph_def

    require_kernels(make(FLOAT), "it")
    assert find_ops_without_kernel(make(FLOAT)) == {}


def test_an_op_that_every_session_replaces_needs_no_kernel(run: Run, tmp_path: Path) -> None:
    with tf1.Graph().as_default() as graph:
        x = tf1.placeholder(tf.float32, [2], name="x")
        tf.raw_ops.AccumulateNV2(inputs=[x, x], shape=[2], name="y")
    (tmp_path / "m.pb").write_bytes(graph.as_graph_def().SerializeToString())
    done = run("freezemodel_load", "--frozen-model", tmp_path / "m.pb", "--feed", "x=[1, 2]")
    assert (done.status, done.stderr) == (0, "")
    assert "[2. 4.]" in done.stdout
