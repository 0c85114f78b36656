"""A graph that was made for TPUs runs without them where the TPU's ops only wrap a computation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import graphs
import pytest
from conftest import Run
from handmade_graphs import X, graph

from serialization.graph.tpu_wrappers import remove_tpu_wrappers
from serialization.tensorflow import np, tf, tf1


def network(x: Any) -> Any:
    with tf1.variable_scope("net", reuse=tf1.AUTO_REUSE):
        return tf.nn.softmax(x @ tf1.get_variable("w", [3, 2], use_resource=True))


def build(*, tpu: bool = False) -> None:
    x = tf1.placeholder(tf.float32, [8, 3], name="x")
    tf.identity(tf1.tpu.rewrite(network, [x])[0] if tpu else network(x), name="probabilities")


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """A checkpoint whose graph is that of the TPU, as TPUEstimator writes it."""
    prefix = graphs.save(tmp_path, build)
    with tf1.Graph().as_default():
        build(tpu=True)
        tf1.train.Saver().export_meta_graph(f"{prefix}.meta")
    return prefix


def test_a_checkpoint_of_a_tpu_is_frozen_and_proved(run: Run, tmp_path: Path, prefix: Path) -> None:
    done = run("freezemodel_save", "--checkpoint", prefix, "--frozen-model", tmp_path / "m.pb")
    assert (done.status, done.stderr) == (0, "")
    assert "around a computation for TPUs" in done.stdout
    assert "proved: probabilities: the same bits as the source" in done.stdout
    frozen = tf1.GraphDef.FromString((tmp_path / "m.pb").read_bytes())
    assert not [node.op for node in frozen.node if "TPU" in node.op]
    assert not [node.name for node in frozen.node for name in node.attr if name.startswith("_tpu")]


def looping_network(x: Any) -> Any:
    """With a loop of TensorFlow 1, whose frame each replica needs for itself."""
    with tf1.variable_scope("net", reuse=tf1.AUTO_REUSE):
        weights = tf1.get_variable("w", [3, 3], use_resource=True)
    tf1.disable_control_flow_v2()
    try:
        _, y = tf1.while_loop(lambda i, _: i < 3, lambda i, y: (i + 1, tf.tanh(y @ weights) + 0.1), [0, x])
    finally:
        tf1.enable_control_flow_v2()
    return tf.nn.softmax(y), tf.reduce_mean(y)


def build_replicas(*, tpu: bool = False, same: bool = False) -> None:
    x = tf1.placeholder(tf.float32, [8, 3], name="x")
    parts = [x, x] if same else tf.split(x, 2)
    inputs = [[part] for part in parts]
    done = tf1.tpu.replicate(looping_network, inputs) if tpu else [looping_network(*one) for one in inputs]
    means = tf.stack([one[1] for one in done])
    tf.concat([tf.concat([one[0] for one in done], 0), tf.reshape(means, [2, 1]) * tf.ones([2, 3])], 0, name="y")


@pytest.mark.parametrize("same", [False, True])
def test_replicas_compute_what_each_of_them_is_given(run: Run, tmp_path: Path, same: bool) -> None:
    prefix = graphs.save(tmp_path, lambda: build_replicas(same=same))
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((8, 3), np.float32))
    feed = ("--outputs", "y", "--feed", f"x=@{tmp_path / 'x.npy'}")
    plain = run("checkpoint_restore", "--checkpoint", prefix, *feed)
    with tf1.Graph().as_default():
        build_replicas(tpu=True, same=same)
        tf1.train.Saver().export_meta_graph(f"{prefix}.meta")
    done = run("checkpoint_restore", "--checkpoint", prefix, *feed)
    assert (plain.status, done.status, done.stderr) == (0, 0, "")
    assert done.stdout.partition("y:0 float32")[2] == plain.stdout.partition("y:0 float32")[2]
    assert ("copied the computation for 1 more replica\n" in done.stdout) != same
    frozen = run("freezemodel_save", "--checkpoint", prefix, *feed, "--frozen-model", tmp_path / "m.pb")
    assert (frozen.status, frozen.stderr) == (0, "")
    assert "proved: y: the same bits as the source" in frozen.stdout


def test_replicas_of_a_function(run: Run, tmp_path: Path) -> None:
    """As a TPUStrategy's SavedModel has them: the wrappers stand in the function that a signature calls."""

    def call(x: Any) -> Any:
        parts = [[part] for part in tf.split(x, 4)]
        return tf.concat([one[0] for one in tf1.tpu.replicate(lambda part: tf.math.cumsum(part) * 3.0, parts)], 0)

    signature = [tf.TensorSpec([8, 2], tf.float32, name="x")]
    module = tf.Module()
    module.call = tf.function(call, input_signature=signature, autograph=False)
    tf.saved_model.save(module, str(tmp_path / "sm"), signatures={"serving_default": module.call})
    words = ("--frozen-model", tmp_path / "m.pb", "--feed", f"x={[[1.0, 2.0]] * 8}")
    done = run("freezemodel_save", "--saved-model", tmp_path / "sm", *words)
    assert (done.status, done.stderr) == (0, "")
    assert "copied the computation for 3 more replicas\n" in done.stdout
    loaded = run("freezemodel_load", *words)
    rows = [line.strip(" []") for line in loaded.stdout.partition("output_0:0 float32 [8, 2]")[2].splitlines()[1:9]]
    assert [list(map(float, row.split())) for row in rows] == [[3.0, 6.0], [6.0, 12.0]] * 4


def test_replicas_whose_outputs_nothing_collects_are_refused(run: Run, tmp_path: Path, prefix: Path) -> None:
    def split(meta_graph: Any) -> None:
        node = next(node for node in meta_graph.graph_def.node if node.op == "TPUReplicatedInput")
        node.input.append("other")
        node.attr["N"].i = 2
        other = meta_graph.graph_def.node.add()
        other.CopyFrom(next(node for node in meta_graph.graph_def.node if node.name == "x"))
        other.name = "other"

    graphs.edit_meta(prefix, split)
    done = run("freezemodel_save", "--checkpoint", prefix, "--frozen-model", tmp_path / "m.pb")
    assert done.status == 1
    assert done.stderr == (
        f"error: {prefix} cannot be run on this machine; its graph needs TPUReplicatedInput, which has no kernel (node "
        "input0); cut the graph around these nodes with --inputs and --outputs\n"
    )


def test_mirrored_variables_are_one() -> None:
    graph_def = graph(("v", "VarHandleOp", []), ("v2", "VarHandleOp", []), ("in", "TPUReplicatedInput", ["v", "v2"]))
    graph_def.node[2].attr["is_mirrored_variable"].b = True
    assert remove_tpu_wrappers(graph_def) == ["removed 1 op around a computation for TPUs"]
    assert (graph_def.node[2].op, list(graph_def.node[2].input)) == ("Identity", ["v"])


@pytest.mark.parametrize("version", ["", "V2"])
@pytest.mark.parametrize("axis", [0, 1])
def test_a_tensor_in_parts_is_put_together_and_divided(version: str, axis: int) -> None:
    graph_def = tf1.GraphDef()
    for name in ("a", "b"):
        node = graph_def.node.add(name=name, op="Placeholder")
        node.attr["dtype"].type = 1
    for name, op, inputs in (
        ("whole", f"TPUPartitionedInput{version}", ["a", "b"]),
        ("parts", f"TPUPartitionedOutput{version}", ["whole"]),
    ):
        node = graph_def.node.add(name=name, op=op, input=inputs)
        node.attr["T"].type = 1
        node.attr["N" if "Input" in op else "num_splits"].i = 2
        if version:
            node.attr["partition_dims"].list.i.extend([2, 1] if axis == 0 else [1, 2])
        else:
            node.attr["partition_dim"].i = axis
    assert remove_tpu_wrappers(graph_def) == ["removed 2 ops around a computation for TPUs"]
    feeds = {"a:0": [[1.0, 2.0]], "b:0": [[3.0, 4.0]]}
    with tf1.Graph().as_default(), tf1.Session() as session:
        tf1.import_graph_def(graph_def, name="")
        whole, first, second = session.run(["whole:0", "parts:0", "parts:1"], feeds)
    assert whole.tolist() == ([[1.0, 2.0], [3.0, 4.0]] if axis == 0 else [[1.0, 2.0, 3.0, 4.0]])
    assert [first.tolist(), second.tolist()] == [feeds["a:0"], feeds["b:0"]]


def test_each_core_may_have_the_whole_tensor() -> None:
    graph_def = graph(X, ("in", "TPUPartitionedInput", ["x", "x"]), ("out", "TPUPartitionedOutput", ["in"]))
    graph_def.node[1].attr["partition_dim"].i = graph_def.node[2].attr["partition_dim"].i = -1
    graph_def.node[2].attr["num_splits"].i = 2
    assert remove_tpu_wrappers(graph_def) == ["removed 2 ops around a computation for TPUs"]
    assert [(node.op, list(node.input)) for node in graph_def.node[1:]] == [
        ("Identity", ["x"]),
        ("IdentityN", ["in", "in"]),
    ]


def test_a_tensor_divided_along_two_axes_stays_so() -> None:
    graph_def = graph(X, ("in", "TPUPartitionedInputV2", ["x", "a", "b", "c"]))
    graph_def.node[1].attr["partition_dims"].list.i.extend([2, 2])
    assert remove_tpu_wrappers(graph_def) == []
    assert graph_def.node[1].op == "TPUPartitionedInputV2"


def test_the_wrappers_in_a_function_go_too() -> None:
    graph_def = tf1.GraphDef()
    function = graph_def.library.function.add()
    function.signature.name = "serve"
    function.node_def.add(name="in", op="TPUReplicatedInput", input=["x"]).attr["N"].i = 1
    function.node_def.add(name="y", op="Relu", input=["in:output:0"])
    function.node_def.add(name="out", op="TPUReplicatedOutput", input=["y:activations:0"]).attr["num_replicas"].i = 1
    function.ret["y"] = "out:outputs:0"
    call = graph_def.node.add(name="call", op="TPUPartitionedCall", input=["x", "ordinal"])
    call.attr["f"].func.name = "serve"
    graph_def.node.add(name="ordinal", op="TPUOrdinalSelector")
    assert remove_tpu_wrappers(graph_def) == ["removed 4 ops around a computation for TPUs"]
    assert [node.op for node in function.node_def] == ["Identity", "Relu", "Identity"]
    assert function.ret["y"] == "out:output:0"
    assert (call.op, list(call.input)) == ("StatefulPartitionedCall", ["x"])


def test_the_call_of_a_computation_for_one_replica_becomes_a_plain_call() -> None:
    scale = tf.function(lambda x, by: x * by, input_signature=[tf.TensorSpec([None, 2]), tf.TensorSpec([2])])
    with tf1.Graph().as_default() as graph, tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None, 2], name="x")
        tf.identity(scale(x, tf.constant([1.0, 10.0])), name="y")
        graph_def = graph.as_graph_def()
        expected = session.run("y:0", {"x:0": [[1.0, 2.0]]})
    call = next(node for node in graph_def.node if "PartitionedCall" in node.op)
    name, inputs = call.attr["f"].func.name, list(call.input)
    call.op = "_TPUReplicate"
    call.attr.clear()
    call.attr["computation"].func.name = name
    call.attr["num_replicas"].i = 1
    call.attr["Tinputs"].list.type.append(1)
    call.attr["Tbroadcast_inputs"].list.type.append(1)
    call.attr["output_types"].list.type.append(1)
    assert remove_tpu_wrappers(graph_def) == ["removed 1 op around a computation for TPUs"]
    assert (call.op, list(call.input)) == ("StatefulPartitionedCall", inputs)
    with tf1.Graph().as_default(), tf1.Session() as session:
        tf1.import_graph_def(graph_def, name="")
        assert session.run("y:0", {"x:0": [[1.0, 2.0]]}).tolist() == expected.tolist()
