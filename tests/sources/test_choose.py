"""Inputs and outputs of a graph are chosen: what is fed in place of a pipeline, keys, and what is said in one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import graphs
import pytest
from conftest import Run
from typical_graphs import cross_entropy, dense, train

from serialization.graph import op_sets
from serialization.graph.graph_def import iterate_nodes
from serialization.sources.frozen_reader import read_graph_def
from serialization.tensorflow import np, tf, tf1

ROWS = np.arange(12.0, dtype="f").reshape(4, 3), np.array([0, 1, 1, 0])


def classify(x: Any, labels: Any) -> None:
    """Dropout, a switch, an update of a moving average that waits for the batch, and a loss."""
    keep, training = tf1.placeholder(tf.float32, [], name="keep_prob"), tf1.placeholder(tf.bool, [], name="is_training")
    mean = tf1.get_variable("mean", [3], trainable=False, use_resource=False)
    with tf.control_dependencies([x, tf1.assign(mean, 0.9 * mean)]):
        x = x - tf1.cond(training, lambda: tf.reduce_mean(x, 0), lambda: tf.identity(mean))
    logits = dense(tf1.nn.dropout(dense(x, 4, "hidden", tf.nn.relu), keep), 2, "logits")
    tf.nn.softmax(logits, name="prob")
    train(cross_entropy(labels, logits))


def from_dataset(*, one_shot: bool) -> Any:
    data = tf1.data.Dataset.from_tensor_slices(ROWS).repeat().batch(2)
    make = tf1.data.make_one_shot_iterator if one_shot else tf1.data.make_initializable_iterator
    return make(data).get_next()


@pytest.mark.parametrize("one_shot", [True, False])
def test_no_dataset_is_in_a_frozen_file(run: Run, tmp_path: Path, one_shot: bool) -> None:
    prefix = graphs.save(tmp_path, lambda: classify(*from_dataset(one_shot=one_shot)))
    frozen = tmp_path / "frozen.pb"
    ran = run("freezemodel_save", "--checkpoint", prefix, "--frozen-model", frozen)
    assert ran.status == 0, ran.stderr
    assert "\nproved: " in ran.stdout
    kinds = {node.op: node.name for node in iterate_nodes(read_graph_def(frozen))}
    assert not [op for op in kinds if "Dataset" in op or op in op_sets.ITERATORS | op_sets.PIPELINES]
    assert "IteratorGetNext:0 float32 [None, 3]" in ran.stdout
    assert {"keep_prob", "is_training", "IteratorGetNext"} == {
        node.name for node in read_graph_def(frozen).node if node.op == "Placeholder"
    }


def test_a_batch_as_the_default_of_a_placeholder_is_cut(run: Run, tmp_path: Path) -> None:
    def build() -> None:
        x, labels = from_dataset(one_shot=True)
        classify(tf1.placeholder_with_default(x, [None, 3], name="fed"), labels)

    prefix = graphs.save(tmp_path, build)
    ran = run("freezemodel_save", "--checkpoint", prefix, "--frozen-model", tmp_path / "frozen.pb")
    assert ran.status == 0, ran.stderr
    nodes = {node.name: node.op for node in read_graph_def(tmp_path / "frozen.pb").node}
    assert nodes["fed"] == "Placeholder"
    assert not any("Dataset" in op or "Iterator" in op for op in nodes.values())


def test_inputs_that_leave_a_pipeline_in_are_refused(run: Run, tmp_path: Path) -> None:
    prefix = graphs.save(tmp_path, lambda: classify(*from_dataset(one_shot=True)))
    names = ("--inputs", "keep_prob,is_training", "--outputs", "prob")
    ran = run("freezemodel_save", "--checkpoint", prefix, *names, "--frozen-model", tmp_path / "frozen.pb")
    assert (ran.status, ran.stdout) == (1, "")
    assert ran.stderr.endswith(
        "the outputs also need IteratorGetNext=IteratorGetNext:0 float32 [None, 3]; add it to --inputs\n"
    ) or ran.stderr.endswith("the outputs also need IteratorGetNext:0 float32 [None, 3]; add it to --inputs\n")


def two_networks(*, count: int = 2, prefix: str = "net") -> None:
    for number in range(count):
        with tf1.variable_scope(f"{prefix}_{number}"):
            x, labels = (tf1.placeholder(tf.float32, [None, size], name=n) for n, size in (("x", 3), ("labels", 2)))
            out = tf.identity(dense(x, 2, f"dense_{number}"), name="out")
            train(tf.reduce_mean(tf.square(out - labels)), f"{prefix}_{number}")


def test_what_needs_variables_that_the_checkpoint_lacks_is_no_candidate(run: Run, tmp_path: Path) -> None:
    with tf1.Graph().as_default(), tf1.Session() as session:
        two_networks()
        session.run(tf1.global_variables_initializer())
        tf1.train.Saver(tf1.get_collection("variables", "net_1")).save(session, str(tmp_path / "model.ckpt"))
    words = ("--checkpoint", tmp_path / "model.ckpt", "--frozen-model", tmp_path / "frozen.pb")
    ran = run("freezemodel_save", *words)
    assert ran.status == 0, ran.stderr
    assert "inferred output net_1/out:0 float32 [None, 2]: " in ran.stdout


def test_an_ambiguous_choice_is_said_in_one_short_line(run: Run, tmp_path: Path) -> None:
    prefix = graphs.save(tmp_path, lambda: two_networks(count=9, prefix="a_rather_long_name_of_a_scope" * 3))
    ran = run("freezemodel_save", "--checkpoint", prefix, "--frozen-model", tmp_path / "frozen.pb")
    assert ran.status == 1
    assert ran.stderr.startswith("error: it is ambiguous what the graph's outputs are; candidates are a_rather_long")
    assert ran.stderr.endswith("more, which model_inspect.py lists; choose with --outputs\n")
    assert len(ran.stderr) <= 600


def test_five_candidates_are_named_where_their_names_are_short(run: Run, tmp_path: Path) -> None:
    prefix = graphs.save(tmp_path, lambda: two_networks(count=9))
    ran = run("freezemodel_save", "--checkpoint", prefix, "--frozen-model", tmp_path / "frozen.pb")
    assert ran.stderr.count("/out:0 float32 [None, 2]") == 5
    assert " and 4 more, which model_inspect.py lists; " in ran.stderr
    assert len(ran.stderr) <= 600


def test_a_graph_that_is_not_frozen_is_called_so_before_its_outputs_are_ambiguous(run: Run, tmp_path: Path) -> None:
    with tf1.Graph().as_default() as graph:
        two_networks()
    (tmp_path / "graph.pb").write_bytes(graph.as_graph_def().SerializeToString())
    ran = run("freezemodel_load", "--frozen-model", tmp_path / "graph.pb")
    assert ran.status == 1
    assert " is not frozen; it holds the variables net_" in ran.stderr


def test_an_unknown_op_is_named_before_outputs_are_ambiguous(run: Run, tmp_path: Path) -> None:
    prefix = graphs.save(tmp_path, two_networks)

    def rename(meta_graph: Any) -> None:
        for node in meta_graph.graph_def.node:
            if node.name.endswith("/out"):
                node.op = "NoOpOfThisName"

    graphs.edit_meta(prefix, rename)
    ran = run("freezemodel_save", "--checkpoint", prefix, "--frozen-model", tmp_path / "frozen.pb")
    assert ran.status == 1
    assert "needs ops that TensorFlow" in ran.stderr
    assert "NoOpOfThisName" in ran.stderr


def test_flags_take_the_keys_of_a_signature(run: Run, tmp_path: Path) -> None:
    module = tf.Module()
    module.call = tf.function(lambda x: (x / 2, x * 2), input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    tf.saved_model.save(module, str(tmp_path / "model"), signatures=module.call)
    words = ("--saved-model", tmp_path / "model", "--frozen-model", tmp_path / "frozen.pb")
    ran = run("freezemodel_save", *words, "--outputs", "doubled=output_1", "--inputs", "x")
    assert ran.status == 0, ran.stderr
    shown = run("freezemodel_load", "--frozen-model", tmp_path / "frozen.pb", "--feed", "x=[3]")
    assert "6" in shown.stdout
    ran = run("freezemodel_save", *words, "--outputs", "output_7", "--overwrite")
    assert ran.status == 1
    assert "the keys of its signature are output_0, output_1" in ran.stderr


def test_a_signature_that_counts_on_its_pipeline_gets_the_batch_as_an_input(run: Run, tmp_path: Path) -> None:
    prefix = graphs.save(tmp_path, lambda: classify(*from_dataset(one_shot=True)))

    def record(meta_graph: Any) -> None:
        signature = meta_graph.signature_def["serving_default"]
        for side, key in ((signature.inputs, "keep_prob"), (signature.outputs, "prob")):
            side[key].name, side[key].dtype = f"{key}:0", tf.float32.as_datatype_enum

    graphs.edit_meta(prefix, record)
    ran = run("freezemodel_save", "--checkpoint", prefix, "--frozen-model", tmp_path / "frozen.pb")
    assert ran.status == 0, ran.stderr
    held = {node.name for node in read_graph_def(tmp_path / "frozen.pb").node if node.op == "Placeholder"}
    assert held == {"IteratorGetNext", "is_training", "keep_prob"}
