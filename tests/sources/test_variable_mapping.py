"""Variables of a graph are mapped to a checkpoint's, and compared before anything is restored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import graphs
import pytest
from conftest import Run, freeze, nothing_left

from serialization.tensorflow import tf, tf1


def test_shapes_and_dtypes_are_compared_before_restoring(run: Run, tmp_path: Path) -> None:
    """TensorFlow itself silently restores a resource variable with another shape."""
    prefix = graphs.save(tmp_path, graphs.classifier)

    def change(meta_graph: Any) -> None:
        for node in meta_graph.graph_def.node:
            if node.op == "VarHandleOp" and node.name == "dense/kernel":
                node.attr["shape"].shape.dim[0].size = 5
            if node.op == "VarHandleOp" and node.name == "dense/bias":
                node.attr["dtype"].type = 2

    graphs.edit_meta(prefix, change)
    done = freeze(run, prefix, tmp_path, "--outputs", "logits")
    assert done.stderr == (
        f"error: the graph and {prefix} do not match; dense/bias is float32 in the checkpoint and float64 in the "
        "graph, dense/kernel is [4, 3] in the checkpoint and [5, 3] in the graph; "
        "name the checkpoint of this graph, or the graph of this checkpoint with --graph\n"
    )
    assert nothing_left(tmp_path)


def save_renamed(folder: Path) -> tuple[Path, Path]:
    """A checkpoint with its variables in the scope `old`, and a graph with the same variables in `dense`."""
    prefix = graphs.save(folder, graphs.classifier)
    reader = tf1.train.NewCheckpointReader(str(prefix))
    renamed = folder / "renamed.ckpt"
    with tf1.Graph().as_default(), tf1.Session() as session:
        for name in reader.get_variable_to_shape_map():
            value = reader.get_tensor(name)
            if name.startswith("dense/") and "Adam" not in name:
                tf1.get_variable(name.replace("dense/", "old/"), initializer=value)
        session.run(tf1.global_variables_initializer())
        tf1.train.Saver().save(session, str(renamed), write_meta_graph=False)
    return renamed, prefix.with_name("model.ckpt.meta")


def test_rename_and_partial_make_a_checkpoint_match(run: Run, tmp_path: Path) -> None:
    renamed, graph = save_renamed(tmp_path)
    words = ("--graph", graph, "--outputs", "logits")
    done = freeze(run, renamed, tmp_path, *words)
    assert done.status == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"error: the graph and {renamed} do not match; the checkpoint does not hold ")
    assert "the graph does not use old/bias, old/kernel; likely renames: " in done.stderr
    assert freeze(run, renamed, tmp_path, *words, "--partial").status == 1, "the output needs a missing variable"
    assert nothing_left(tmp_path)
    done = freeze(run, renamed, tmp_path, *words, "--rename", "old=dense")
    assert done.stderr.endswith("; no output needs the missing variables, so --partial goes on without them\n")
    done = freeze(run, renamed, tmp_path, *words, "--rename", "old=dense", "--partial")
    assert (done.status, done.stderr) == (0, "")
    assert "the checkpoint lacks 7 variables that no output needs: " in done.stdout
    assert "proved: logits: the same bits as the source" in done.stdout


def test_variables_that_the_graph_lacks_are_noted(run: Run, tmp_path: Path) -> None:
    def inference() -> None:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        with tf1.variable_scope("dense", use_resource=False):
            tf.matmul(x, tf1.get_variable("kernel", [4, 3]), name="y")

    prefix = graphs.save(tmp_path, graphs.classifier)
    with tf1.Graph().as_default() as graph:
        inference()
    (tmp_path / "graph.pb").write_bytes(graph.as_graph_def().SerializeToString())
    done = freeze(run, prefix, tmp_path, "--graph", tmp_path / "graph.pb")
    assert (done.status, done.stderr) == (0, "")
    assert "the checkpoint also holds 1 variable that the graph lacks: dense/bias\n" in done.stdout
    assert "also holds" not in freeze(run, prefix, tmp_path, "--overwrite", "--outputs", "logits").stdout


def test_all_mismatches_are_reported_at_once(run: Run, tmp_path: Path) -> None:
    def other() -> None:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        with tf1.variable_scope("layer", use_resource=False):
            hidden = tf.matmul(x, tf1.get_variable("kernel", [4, 3]))
        with tf1.variable_scope("dense", use_resource=False):
            wide = tf.concat(
                [tf1.get_variable("bias", [6]), tf.cast(tf1.get_variable("step", [], tf.int64)[None], "float")], 0
            )
        tf.add(hidden[:, :1], wide, name="y")

    prefix = graphs.save(tmp_path, graphs.classifier)
    with tf1.Graph().as_default() as graph:
        other()
    (tmp_path / "graph.pb").write_bytes(graph.as_graph_def().SerializeToString())
    done = freeze(run, prefix, tmp_path, "--graph", tmp_path / "graph.pb")
    assert done.status == 1
    for part in (
        "the checkpoint does not hold dense/step, layer/kernel; ",
        "dense/bias is [3] in the checkpoint and [6] in the graph; ",
        "likely renames: ",
        "--rename dense/kernel=layer/kernel",
    ):
        assert part in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("rename", "line"),
    [
        ("old=den", "--rename old=den: the graph has no variable den"),
        ("odd=dense", "--rename odd=dense: the checkpoint holds no odd"),
    ],
)
def test_a_rename_without_effect_is_refused(run: Run, tmp_path: Path, rename: str, line: str) -> None:
    renamed, graph = save_renamed(tmp_path)
    done = freeze(run, renamed, tmp_path, "--graph", graph, "--outputs", "logits", "--rename", rename)
    assert done.stderr == f"error: {line}\n"


def test_moving_averages_are_noted_and_taken_by_ema(run: Run, tmp_path: Path) -> None:
    def build() -> None:
        x = tf1.placeholder(tf.float32, [None], name="x")
        w = tf1.get_variable("w", [], initializer=tf1.constant_initializer(2.0), use_resource=False)
        tf1.get_variable(
            "w/ExponentialMovingAverage", [], initializer=tf1.constant_initializer(5.0), use_resource=False
        )
        tf.multiply(x, w, name="y")

    prefix = graphs.save(tmp_path, build)
    done = freeze(run, prefix, tmp_path, "--outputs", "y")
    assert "the checkpoint also holds 1 moving average; --ema takes these for raw values" in done.stdout
    done = freeze(run, prefix, tmp_path, "--outputs", "y", "--ema", "--overwrite")
    assert (done.status, done.stderr) == (0, "")
    assert "took 1 moving average in place of raw values" in done.stdout
    done = run("freezemodel_load", "--frozen-model", tmp_path / "m.pb", "--feed", "x=[3]")
    assert "prefix/y:0 float32 [1]\n[15.]\n" in done.stdout
    plain = graphs.save(tmp_path, graphs.classifier, name="plain.ckpt")
    done = freeze(run, plain, tmp_path, "--ema", "--overwrite")
    assert done.stderr == (
        f"error: --ema: {plain} holds no moving averages; found no name that ends in /ExponentialMovingAverage\n"
    )
