"""A graph that was made for TPUs runs without them where the TPU's ops only wrap a computation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import graphs
import pytest
from conftest import Run

from serialization.graph.tpu_wrappers import remove_tpu_wrappers
from serialization.tensorflow import tf, tf1


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
    assert not [node.name for node in frozen.node for name in node.attr if "tpu" in name]


def test_several_replicas_that_take_different_inputs_are_refused(run: Run, tmp_path: Path, prefix: Path) -> None:
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
