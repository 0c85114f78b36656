"""Checkpoints of users are repaired, frozen and exported, or refused with one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import graphs
import pytest
from conftest import Run, freeze, nothing_left

from serialization.console import format_command
from serialization.formats import protos
from serialization.tensorflow import tf, tf1


@pytest.mark.parametrize("resource", [True, False])
def test_outputs_are_inferred_and_the_frozen_graph_is_proved(run: Run, tmp_path: Path, resource: bool) -> None:
    prefix = graphs.save(tmp_path, lambda: graphs.classifier(resource=resource))
    done = freeze(run, prefix, tmp_path)
    assert (done.status, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "inferred output logits:0 float32 [None, 3]: the last tensor before the labels"
    assert lines[1] == "inputs, as the outputs need them: x:0 float32 [None, 4]"
    assert "proved: logits: the same bits as the source, on 1,003 rows generated for x" in lines
    graph_def = tf1.GraphDef.FromString((tmp_path / "m.pb").read_bytes())
    assert not [node.name for node in graph_def.node if "Var" in node.op or node.op.startswith("Apply")]


def test_a_checkpoint_is_exported_and_run(run: Run, tmp_path: Path) -> None:
    prefix = graphs.save(tmp_path, graphs.classifier)
    words = ("--inputs", "rows=x", "--outputs", "scores=logits", "--feed", "rows=[[1,2,3,4]]")
    done = run("savedmodel_from_checkpoint", "--checkpoint", prefix, "--export-dir", tmp_path / "1", *words)
    assert (done.status, done.stderr) == (0, "")
    assert "proved: scores: the same bits as the source, on 1 row" in done.stdout
    done = run("checkpoint_restore", "--checkpoint", prefix, *words)
    assert (done.status, done.stderr) == (0, "")
    assert "logits:0 float32 [1, 3]\n" in done.stdout


def test_reference_dtypes_of_a_moving_average_are_repaired(run: Run, tmp_path: Path) -> None:
    prefix = graphs.save(tmp_path, graphs.batch_norm)
    done = freeze(run, prefix, tmp_path, "--outputs", "y")
    assert (done.status, done.stderr) == (0, "")
    assert "repaired: replaced 1 RefSwitch op with Switch" in done.stdout
    assert "repaired: replaced 1 AssignSub op with Sub" in done.stdout
    assert "proved: y: the same bits as the source" in done.stdout
    words = ("--frozen-model", tmp_path / "m.pb", "--feed", "x=[[1,1,1,1],[3,3,3,3]]")
    for training, answer in (("false", "[[0. 0. 0. 0.]\n [2. 2. 2. 2.]]"), ("true", "[[-1. -1. -1. -1.]\n [ 1.")):
        done = run("freezemodel_load", *words, "--feed", f"is_training={training}")
        assert answer in done.stdout, done


def test_device_pins_stale_shapes_old_ops_and_versions_are_repaired(run: Run, tmp_path: Path) -> None:
    prefix = graphs.save(tmp_path, lambda: graphs.classifier(resource=False))

    def age(meta_graph: Any) -> None:
        meta_graph.meta_info_def.tensorflow_version = "0.12.head"
        for node in meta_graph.graph_def.node:
            node.device = "/job:worker/task:7/device:GPU:3"
            if node.op == "VariableV2":
                node.op = "Variable"
            for shape in node.attr["_output_shapes"].list.shape:
                for dim in shape.dim:
                    dim.size = 17

    graphs.edit_meta(prefix, age)
    done = freeze(run, prefix, tmp_path, "--outputs", "logits")
    assert (done.status, done.stderr) == (0, "")
    assert "repaired: renamed 2 Variable ops of TensorFlow 0.x to VariableV2" in done.stdout
    assert "repaired: removed 7 device pins\n" in done.stdout
    assert "repaired: removed 2 wrong recorded shapes\n" in done.stdout
    assert "repaired: removed the version 0.12.head, which import_meta_graph cannot read\n" in done.stdout
    assert "proved: logits: the same bits as the source" in done.stdout


def test_unknown_ops_are_refused_only_if_an_output_needs_them(run: Run, tmp_path: Path) -> None:
    prefix = graphs.save(tmp_path, graphs.classifier)

    def spoil(meta_graph: Any) -> None:
        for node in meta_graph.graph_def.node:
            if node.op == "ScalarSummary":
                node.op = "FancySummary"

    graphs.edit_meta(prefix, spoil)
    assert freeze(run, prefix, tmp_path, "--outputs", "logits").status == 0

    def spoil_more(meta_graph: Any) -> None:
        for node in meta_graph.graph_def.node:
            if node.name == "logits":
                node.op = "Addons>Resampler"
            if node.name == "logits/MatMul":
                node.op = "ProdForceSeA"

    graphs.edit_meta(prefix, spoil_more)
    done = freeze(run, prefix, tmp_path / "other", "--outputs", "logits")
    assert done.stderr == (
        f"error: {prefix} needs ops that TensorFlow {tf.__version__} does not know: Addons>Resampler "
        "(tensorflow-addons; node logits), ProdForceSeA (DeePMD-kit (libdeepmd_op.so); node logits/MatMul); there is "
        "no build of tensorflow-addons for this TensorFlow; cut the graph around these ops with --inputs and "
        "--outputs, or run it with the TensorFlow that it was made for\n"
    )
    assert done.status == 1
    assert nothing_left(tmp_path / "other")


@pytest.mark.parametrize("words", [("--op-library", "missing.so"), ("--op-library", __file__)])
def test_a_wrong_op_library_is_one_line(run: Run, tmp_path: Path, words: tuple[str, str]) -> None:
    prefix = graphs.save(tmp_path, graphs.classifier)
    done = freeze(run, prefix, tmp_path, *words)
    assert done.status == 1
    if words[1] == "missing.so":
        assert (
            done.stderr == "error: no library at missing.so; --op-library takes the .so file that registers the ops\n"
        )
    else:
        assert done.stderr.count("\n") == 1
        assert done.stderr.endswith("; was it built for this TensorFlow?\n")


def test_the_first_checkpoint_format_is_read(run: Run, tmp_path: Path) -> None:
    prefix = graphs.save(tmp_path, lambda: graphs.classifier(resource=False), write_version=1)
    assert not list(tmp_path.glob("*.index"))
    done = freeze(run, prefix, tmp_path, "--outputs", "logits")
    assert (done.status, done.stderr) == (0, "")
    assert "proved: logits: the same bits as the source" in done.stdout


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("graph_only", [True, False])
def test_the_graph_is_read_from_another_file(run: Run, tmp_path: Path, text: bool, graph_only: bool) -> None:
    from google.protobuf import text_format

    prefix = graphs.save(tmp_path, graphs.classifier)
    meta = prefix.with_name("model.ckpt.meta")
    message = tf1.MetaGraphDef.FromString(meta.read_bytes())
    message = message.graph_def if graph_only else message
    meta.unlink()
    data = text_format.MessageToString(message).encode() if text else message.SerializeToString()
    (tmp_path / "graph").write_bytes(data)
    done = freeze(run, prefix, tmp_path, "--outputs", "logits", "--graph", tmp_path / "graph")
    assert (done.status, done.stderr) == (0, "")


def test_a_random_output_is_named_and_compared_by_shape(run: Run, tmp_path: Path) -> None:
    def build() -> None:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        w = tf1.get_variable("w", [4], initializer=tf1.ones_initializer())
        tf.add(x, tf.random.normal([4], name="noise"), name="noisy")
        tf.multiply(x, w, name="clean")

    prefix = graphs.save(tmp_path, build)
    done = freeze(run, prefix, tmp_path, "--outputs", "noisy,clean")
    assert (done.status, done.stderr) == (0, "")
    assert (
        "not verified: random: noise/RandomStandardNormal; clean: the same bits as the source, on 1,003 rows generated "
        "for x; noisy: its shape and dtype are the source's\n" in done.stdout
    )


@pytest.mark.parametrize("seed", [None, 1])
def test_dropout_that_is_on_is_no_proof_and_said_in_words(run: Run, tmp_path: Path, seed: int | None) -> None:
    def build() -> None:
        tf1.set_random_seed(seed)
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        w = tf1.get_variable("w", [4, 4], initializer=tf1.ones_initializer())
        hidden = tf.nn.dropout(tf.nn.dropout(x @ w, rate=0.5), rate=0.1)
        tf.argmax(hidden @ w, 1, name="y")  # rows of equal numbers: the answer is the same in every run

    done = freeze(run, graphs.save(tmp_path, build), tmp_path, "--outputs", "y")
    assert (done.status, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert (
        "not verified: random: dropout/random_uniform/RandomUniform, dropout_1/random_uniform/RandomUniform; "
        "y: its shape and dtype are the source's; compared on 1,003 rows generated for x"
    ) in lines
    assert (
        "dropout is on: 2 layers of this graph drop out at inference; --no-dropout of freezemodel_edit.py and "
        "freezemodel_save.py switches it off"
    ) in lines


def test_a_proof_says_what_it_covered(run: Run, tmp_path: Path) -> None:
    def build() -> None:
        x, y = (tf1.placeholder(tf.float32, [None], name=name) for name in "xy")
        tf.multiply(x + y, tf1.get_variable("w", [], initializer=tf1.ones_initializer()), name="sum")

    prefix = graphs.save(tmp_path, build)
    done = freeze(run, prefix, tmp_path, "--outputs", "sum")
    assert "proved: sum: the same bits as the source, on 1,003 rows generated for x, y\n" in done.stdout
    done = freeze(run, prefix, tmp_path, "--outputs", "sum", "--feed", "x=[1,2]", "--feed", "y=[3,4]", "--overwrite")
    assert "proved: sum: the same bits as the source, on 2 rows given for x, y\n" in done.stdout


def test_a_python_function_is_refused_and_cut_out(run: Run, tmp_path: Path) -> None:
    """It was in the program, and is not in the file."""

    def build() -> None:
        x = tf1.placeholder(tf.float32, [None, 3], name="x")
        (rois,) = tf1.py_func(lambda a: a + 1, [x], [tf.float32], name="proposal_layer")
        rois.set_shape([None, 3])
        tf.nn.softmax(rois @ tf1.get_variable("w", [3, 2], initializer=tf1.ones_initializer()), name="y")

    prefix = graphs.save(tmp_path, build)
    for words in ((), ("--trust-model",)):
        done = freeze(run, prefix, tmp_path, "--inputs", "x", "--outputs", "y", *words)
        assert done.status == 1
        assert done.stderr == ("error: the outputs also need proposal_layer:0 float32 [None, 3]; add it to --inputs\n")
    done = freeze(run, prefix, tmp_path, "--inputs", "proposal_layer", "--outputs", "y")
    assert "proved: y: the same bits as the source, on 1,003 rows generated for proposal_layer\n" in done.stdout


def test_not_verified_gives_the_reason_and_the_feed_flags(run: Run, tmp_path: Path) -> None:
    def build() -> None:
        text = tf1.placeholder(tf.string, [None], name="text")
        w = tf1.get_variable("w", [], initializer=tf1.ones_initializer())
        sized = tf.io.decode_raw(text, tf.float32, fixed_length=8)
        tf.multiply(tf.reshape(sized, [7, 11, 2]), w, name="y")

    prefix = graphs.save(tmp_path, build)
    done = freeze(run, prefix, tmp_path, "--outputs", "y")
    assert (done.status, done.stderr) == (0, "")
    assert "not verified: the source does not run on generated feeds: " in done.stdout
    assert "; to prove it, add --feed text=VALUE (string [None])" in done.stdout
    assert (tmp_path / "m.pb").exists()


def test_a_model_too_large_for_a_graph_def_is_refused(run: Run, tmp_path: Path) -> None:
    """The sizes come from the index, before anything is restored or written; also for a SavedModel."""
    prefix = tmp_path / "model.ckpt"
    shapes = {"w": [24_000, 20_000], "v": [20_000, 10_000]}

    def build() -> None:
        x = tf1.placeholder(tf.float32, [None, 24_000], name="x")
        w, v = (tf1.get_variable(name, shape, initializer=tf1.zeros_initializer()) for name, shape in shapes.items())
        tf.identity(x @ w @ v, name="y")

    graphs.save_zeros(prefix, build, shapes)
    assert tf1.train.NewCheckpointReader(str(prefix)).get_variable_to_shape_map() == shapes
    before = sorted(tmp_path.rglob("*"))
    way_out = format_command("savedmodel_from_checkpoint.py", "--checkpoint", prefix)
    too_large = "is too large to be frozen; its variables hold 2.72 GB, a GraphDef at most 2.15 GB; "
    for words in ((), ("--no-verify",)):
        done = freeze(run, prefix, tmp_path / "new", *words)
        assert done.status == 1
        assert done.stderr == f"error: {prefix} {too_large}keep the variables beside the graph: `{way_out}`\n"
    assert sorted(tmp_path.rglob("*")) == before

    export = tmp_path / "1"
    (export / "variables").mkdir(parents=True)
    for file in tmp_path.glob("model.ckpt.[id]*"):
        (export / "variables" / file.name.replace("model.ckpt", "variables")).symlink_to(file)
    meta_graph = tf1.MetaGraphDef.FromString((tmp_path / "model.ckpt.meta").read_bytes())
    meta_graph.meta_info_def.tags.append("serve")
    signature = meta_graph.signature_def["serving_default"]
    signature.inputs["x"].name, signature.outputs["y"].name = "x:0", "y:0"
    saved_model = protos.SavedModel(saved_model_schema_version=1, meta_graphs=[meta_graph])
    (export / "saved_model.pb").write_bytes(saved_model.SerializeToString())
    done = run("freezemodel_save", "--saved-model", export, "--frozen-model", tmp_path / "new" / "m.pb")
    assert done.stderr == (
        f"error: {export} {too_large}keep the variables beside the graph: use the SavedModel as it is\n"
    )
    assert not (tmp_path / "new").exists()


def test_a_model_with_a_counter_is_exported(run: Run, tmp_path: Path) -> None:
    def build() -> None:
        x = tf1.placeholder(tf.float32, [None], name="x")
        calls = tf1.get_variable("calls", [], initializer=tf1.zeros_initializer(), use_resource=False)
        tf.add(x, tf1.assign_add(calls, 1.0), name="y")

    prefix = graphs.save(tmp_path, build)
    done = run("savedmodel_from_checkpoint", "--checkpoint", prefix, "--export-dir", tmp_path / "export")
    assert (done.status, done.stderr) == (0, "")
    assert "proved: y: the same bits" in done.stdout
