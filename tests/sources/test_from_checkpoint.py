"""Checkpoints as people have them: what is chosen, repaired, compared and refused, with the whole line each time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import graphs
import pytest
from conftest import Run

from serialization.console import format_command
from serialization.formats import protos
from serialization.tensorflow import np, tf, tf1


def freeze(run: Run, prefix: Path, out: Path, *words: object) -> Any:
    return run("freezemodel_save", "--checkpoint", prefix, "--frozen-model", out / "m.pb", *words)


def nothing_left(out: Path) -> bool:
    return not list(out.glob("*.pb")) and not list(out.glob(".*"))


@pytest.mark.parametrize("resource", [True, False])
def test_inferred_frozen_and_proved(run: Run, tmp_path: Path, resource: bool) -> None:
    prefix = graphs.save(tmp_path, lambda: graphs.classifier(resource=resource))
    done = freeze(run, prefix, tmp_path)
    assert (done.status, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == "inferred output logits:0 float32 [None, 3]: the last tensor before the labels"
    assert lines[1] == "inputs, as the outputs need them: x:0 float32 [None, 4]"
    assert "proved: logits: the same bits as the source, on 1,003 rows" in lines
    graph_def = tf1.GraphDef.FromString((tmp_path / "m.pb").read_bytes())
    assert not [node.name for node in graph_def.node if "Var" in node.op or node.op.startswith("Apply")]


def test_exported_and_run(run: Run, tmp_path: Path) -> None:
    prefix = graphs.save(tmp_path, graphs.classifier)
    words = ("--inputs", "rows=x", "--outputs", "scores=logits", "--feed", "rows=[[1,2,3,4]]")
    done = run("savedmodel_from_checkpoint", "--checkpoint", prefix, "--export-dir", tmp_path / "1", *words)
    assert (done.status, done.stderr) == (0, "")
    assert "proved: scores: the same bits as the source, on 1 row" in done.stdout
    done = run("checkpoint_restore", "--checkpoint", prefix, *words)
    assert (done.status, done.stderr) == (0, "")
    assert "logits:0 float32 [1, 3]\n" in done.stdout


def test_float_ref_of_a_moving_average(run: Run, tmp_path: Path) -> None:
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


def test_frozen_by_others_with_float_ref_inside(run: Run, tmp_path: Path) -> None:
    (tmp_path / "their.pb").write_bytes(graphs.freeze(graphs.batch_norm, ["y"]).SerializeToString())
    done = run("freezemodel_load", "--frozen-model", tmp_path / "their.pb", "--outputs", "y")
    assert (done.status, done.stderr) == (0, "")
    assert "repaired: replaced 1 RefSwitch op with Switch" in done.stdout


def test_device_pins_stale_shapes_old_ops_and_versions(run: Run, tmp_path: Path) -> None:
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


def test_unknown_ops_matter_only_where_the_output_needs_them(run: Run, tmp_path: Path) -> None:
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
def test_a_library_that_is_none(run: Run, tmp_path: Path, words: tuple[str, str]) -> None:
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


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--outputs", "logitz"), "no tensor logitz:0 in the graph; the nearest are logits:0"),
        (("--outputs", "logits:3"), "no tensor logits:3 in the graph; logits has one output, logits:0"),
        (
            ("--outputs", "sparse_softmax_cross_entropy_loss/value", "--inputs", "x"),
            "the outputs also need labels:0 int64 [None]; add it to --inputs",
        ),
    ],
)
def test_wrong_names(run: Run, tmp_path: Path, words: tuple[str, ...], line: str) -> None:
    prefix = graphs.save(tmp_path, graphs.classifier)
    done = freeze(run, prefix, tmp_path, *words)
    assert done.status == 1
    first = done.stderr.splitlines()[0]
    assert first == f"error: {line}" or first.startswith(f"error: {line}, ")
    assert nothing_left(tmp_path)


def test_several_signatures_of_a_checkpoint_are_named(run: Run, tmp_path: Path) -> None:
    prefix = graphs.save(tmp_path, graphs.classifier)

    def record(meta_graph: Any) -> None:
        for key in ("first", "second"):
            meta_graph.signature_def[key].outputs["y"].name = "logits:0"

    graphs.edit_meta(prefix, record)
    done = freeze(run, prefix, tmp_path)
    assert done.stderr == (
        "error: the graph records several signatures and none called serving_default; found first, second; "
        "choose with --inputs and --outputs\n"
    )
    assert freeze(run, prefix, tmp_path, "--outputs", "logits").status == 0


def test_shapes_and_dtypes_are_compared_before_restoring(run: Run, tmp_path: Path) -> None:
    """TensorFlow itself restores a resource variable with another shape without a word."""
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
    """A checkpoint whose variables are in the scope `old`, and the graph of one in which they are in `dense`."""
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


def test_rename_and_partial(run: Run, tmp_path: Path) -> None:
    renamed, graph = save_renamed(tmp_path)
    words = ("--graph", graph, "--outputs", "logits")
    done = freeze(run, renamed, tmp_path, *words)
    assert done.status == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith(f"error: the graph and {renamed} do not match; the checkpoint does not hold ")
    assert "the graph does not use old/bias, old/kernel; likely renames: " in done.stderr
    assert freeze(run, renamed, tmp_path, *words, "--partial").status == 1, "the output needs what is missing"
    assert nothing_left(tmp_path)
    done = freeze(run, renamed, tmp_path, *words, "--rename", "old=dense")
    assert done.stderr.endswith("; no output needs what is missing, so --partial goes on without it\n")
    done = freeze(run, renamed, tmp_path, *words, "--rename", "old=dense", "--partial")
    assert (done.status, done.stderr) == (0, "")
    assert "the checkpoint lacks 7 variables that no output needs: " in done.stdout
    assert "proved: logits: the same bits as the source" in done.stdout


def test_what_the_checkpoint_holds_beside_the_graph(run: Run, tmp_path: Path) -> None:
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


def test_all_that_does_not_match_is_said_at_once(run: Run, tmp_path: Path) -> None:
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
def test_a_rename_that_does_nothing(run: Run, tmp_path: Path, rename: str, line: str) -> None:
    renamed, graph = save_renamed(tmp_path)
    done = freeze(run, renamed, tmp_path, "--graph", graph, "--outputs", "logits", "--rename", rename)
    assert done.stderr == f"error: {line}\n"


def test_moving_averages_are_mentioned_and_taken(run: Run, tmp_path: Path) -> None:
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


def test_partitioned_variables_and_shards(run: Run, tmp_path: Path) -> None:
    def build() -> None:
        x = tf1.placeholder(tf.float32, [None, 6], name="x")
        with tf1.variable_scope("", partitioner=tf1.fixed_size_partitioner(3), use_resource=False):
            w = tf1.get_variable("w", [6, 4], initializer=tf1.random_normal_initializer(seed=3))
        tf.matmul(x, tf.convert_to_tensor(w), name="y")

    prefix = graphs.save(tmp_path, build, sharded=True)
    for words in ((), ("--no-verify", "--overwrite")):
        done = freeze(run, prefix, tmp_path, *words)
        assert (done.status, done.stderr) == (0, ""), done
    assert "not verified, as --no-verify asks" in done.stdout
    graph = tf1.Graph()
    with graph.as_default():
        tf1.import_graph_def(tf1.GraphDef.FromString((tmp_path / "m.pb").read_bytes()), name="")
    with tf1.Session(graph=graph) as session:
        whole = tf1.train.NewCheckpointReader(str(prefix)).get_tensor("w")
        np.testing.assert_allclose(session.run("y:0", {"x:0": np.eye(6, dtype="f")}), whole, rtol=1e-6)


def test_first_format(run: Run, tmp_path: Path) -> None:
    prefix = graphs.save(tmp_path, lambda: graphs.classifier(resource=False), write_version=1)
    assert not list(tmp_path.glob("*.index"))
    done = freeze(run, prefix, tmp_path, "--outputs", "logits")
    assert (done.status, done.stderr) == (0, "")
    assert "proved: logits: the same bits as the source" in done.stdout


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("graph_only", [True, False])
def test_a_graph_of_another_file(run: Run, tmp_path: Path, text: bool, graph_only: bool) -> None:
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


def test_a_queue_is_cut_at_an_inner_tensor(run: Run, tmp_path: Path) -> None:
    def build() -> None:
        queue = tf1.train.input_producer([[1.0, 2.0]], num_epochs=1, name="producer")
        row = tf.identity(queue.dequeue(), name="row")
        tf.multiply(row, tf1.get_variable("w", [2], initializer=tf1.ones_initializer()), name="y")

    with tf1.Graph().as_default(), tf1.Session() as session:
        build()
        session.run([tf1.global_variables_initializer(), tf1.local_variables_initializer()])
        tf1.train.Saver().save(session, str(tmp_path / "model.ckpt"))
    done = freeze(run, tmp_path / "model.ckpt", tmp_path, "--inputs", "row", "--outputs", "y")
    assert (done.status, done.stderr) == (0, "")
    assert "cut at row:0; the ops before it are left out" in done.stdout
    done = run("freezemodel_load", "--frozen-model", tmp_path / "m.pb", "--feed", "row=[3,4]")
    assert "prefix/y:0 float32 [2]\n[3. 4.]\n" in done.stdout
    done = freeze(run, tmp_path / "model.ckpt", tmp_path, "--outputs", "y", "--overwrite")
    assert "inputs, as the outputs need them: producer_Dequeue:0 float32 [2]" in done.stdout, (
        "a queue is no source of values"
    )


def test_a_random_op_is_excepted_and_named(run: Run, tmp_path: Path) -> None:
    def build() -> None:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        w = tf1.get_variable("w", [4], initializer=tf1.ones_initializer())
        tf.add(x, tf.random.normal([4], name="noise"), name="noisy")
        tf.multiply(x, w, name="clean")

    prefix = graphs.save(tmp_path, build)
    done = freeze(run, prefix, tmp_path, "--outputs", "noisy,clean")
    assert (
        "proved: clean: the same bits as the source, on 1,003 rows; noisy: only its shape and dtype, for "
        in done.stdout
    )
    assert "RandomStandardNormal noise/RandomStandardNormal is random" in done.stdout


def test_not_verified_says_why_and_what_would_help(run: Run, tmp_path: Path) -> None:
    def build() -> None:
        text = tf1.placeholder(tf.string, [None], name="text")
        w = tf1.get_variable("w", [], initializer=tf1.ones_initializer())
        sized = tf.io.decode_raw(text, tf.float32, fixed_length=8)
        tf.multiply(tf.reshape(sized, [7, 11, 2]), w, name="y")

    prefix = graphs.save(tmp_path, build)
    done = freeze(run, prefix, tmp_path, "--outputs", "y")
    assert (done.status, done.stderr) == (0, "")
    assert "not verified: the source does not run on generated feeds: " in done.stdout
    assert "; what would prove it: --feed text=VALUE (string [None])" in done.stdout
    assert (tmp_path / "m.pb").exists()


def test_too_large_to_be_frozen(run: Run, tmp_path: Path) -> None:
    """Said from the index, before anything is restored or written; and so of a SavedModel with such variables."""
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


def test_what_only_a_summary_takes_from_python_is_no_output(run: Run, tmp_path: Path) -> None:
    def build() -> None:
        graphs.classifier()
        logits = tf1.get_default_graph().get_tensor_by_name("logits:0")
        tf1.summary.scalar("metric", tf1.py_func(lambda x: x.mean(), [logits], tf.float32, name="metric"))
        tf.nn.softmax(logits, name="probabilities")

    prefix = graphs.save(tmp_path, build)
    done = run("freezemodel_save", "--checkpoint", prefix, "--frozen-model", tmp_path / "m.pb")
    assert (done.status, done.stderr) == (0, "")
    assert "inferred output probabilities:0" in done.stdout


def test_a_model_that_counts_is_exported(run: Run, tmp_path: Path) -> None:
    def build() -> None:
        x = tf1.placeholder(tf.float32, [None], name="x")
        calls = tf1.get_variable("calls", [], initializer=tf1.zeros_initializer(), use_resource=False)
        tf.add(x, tf1.assign_add(calls, 1.0), name="y")

    prefix = graphs.save(tmp_path, build)
    done = run("savedmodel_from_checkpoint", "--checkpoint", prefix, "--export-dir", tmp_path / "export")
    assert (done.status, done.stderr) == (0, "")
    assert "proved: y: the same bits" in done.stdout
