"""checkpoint_from_frozen.py: variables again, with their old names, values and collections, to train on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import graphs
import pytest
from conftest import PROJECT, Fails, Run, environment

from serialization.tensorflow import np, tf, tf1


def unfreeze(run: Run, graph_def: Any, folder: Path, *words: object, outputs: str = "y") -> str:
    """Freeze to m.pb and unfreeze to m.ckpt; returns what was printed."""
    (folder / "m.pb").write_bytes(graph_def.SerializeToString())
    flags = ("--frozen-model", folder / "m.pb", "--outputs", outputs, "--out", folder / "m.ckpt")
    done = run("checkpoint_from_frozen", *flags, *words)
    assert (done.status, done.stderr) == (0, "")
    return done.stdout


def values_in(prefix: Path) -> dict[str, bytes]:
    """The variables of a checkpoint by name: dtype, shape and bits."""
    reader = tf1.train.load_checkpoint(str(prefix))
    found = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
    bits = {name: repr(v.tolist()).encode() if v.dtype == object else v.tobytes() for name, v in found.items()}
    return {name: b"%r %r " % (str(v.dtype), v.shape) + bits[name] for name, v in found.items()}


def round_trip(run: Run, build: Callable[[], None], folder: Path, inputs: str, outputs: str) -> tuple[str, set[str]]:
    """Save, freeze, unfreeze, and compare the variables that the outputs need; returns what was printed, and these."""
    saved = graphs.save(folder, build)
    words = ("--inputs", inputs, "--outputs", outputs)
    for script, flags in (
        ("freezemodel_save", ("--checkpoint", saved, "--frozen-model", folder / "m.pb", *words)),
        ("checkpoint_from_frozen", ("--frozen-model", folder / "m.pb", "--out", folder / "again.ckpt")),
    ):
        done = run(script, *flags)
        assert (done.status, done.stderr) == (0, "")
    before, after = values_in(saved), values_in(folder / "again.ckpt")
    assert after.items() <= before.items()
    return done.stdout, set(after)


def test_the_toy_trains_on(run: Run, toy: Path) -> None:
    checkpoint = (toy / "checkpoint").read_bytes()
    done = run("checkpoint_from_frozen", "--object-based")
    assert (done.status, done.stderr) == (0, "")
    before, after = values_in(toy / "graph.ckpt"), values_in(toy / "unfrozen.ckpt")
    assert after == {name: before[name] for name in ("NN/W1", "NN/b1", "NN/W2", "NN/b2")}
    assert (toy / "checkpoint").read_bytes() == checkpoint, "another checkpoint stays the latest of its folder"
    for line in (
        "4 variables, 4 trainable",
        "proved: output1: the same bits as the source, on 1,003 rows generated for inputs_1",
        "proved: 4 variables restored, the same bits",
        "proved: one step of gradient descent on NN/truediv, on 1,000 rows, moved 4 of 4 trainable variables, and",
        "proved: 4 variables restored by tf.train.Checkpoint, the same bits",
    ):
        assert line in done.stdout
    # As a script of TensorFlow 1 goes on, with an optimizer of its own.
    with tf1.Graph().as_default() as graph, tf1.Session() as session:
        saver = tf1.train.import_meta_graph(str(toy / "unfrozen.ckpt.meta"))
        saver.restore(session, str(toy / "unfrozen.ckpt"))
        model_variables = tf1.get_collection(tf1.GraphKeys.MODEL_VARIABLES)
        assert tf1.trainable_variables() == tf1.global_variables() == model_variables
        x, y = (graph.get_tensor_by_name(f"{n}:0") for n in ("Placeholder/inputs_placeholder", "NN/truediv"))
        loss = tf.reduce_mean((y - 1) ** 2)
        step = tf1.train.AdamOptimizer(0.01).minimize(loss)
        added = [variable for variable in tf1.global_variables() if variable not in model_variables]
        session.run(tf1.variables_initializer(added))
        feed = {x: np.ones((5, 10), "f")}
        losses = [session.run([loss, step], feed)[0] for _ in range(20)]
        assert losses[-1] < losses[0]
    # As one of TensorFlow 2 does.
    w1 = tf.Variable(tf.zeros([10, 1]))
    tf.train.Checkpoint(variables={"NN/W1": w1}).read(str(toy / "unfrozen-object.ckpt")).expect_partial()
    assert w1.numpy().tobytes() == before["NN/W1"][-40:]


def conv() -> None:
    x = tf1.placeholder(tf.float32, [None, 8, 8, 3], name="x")
    get = tf1.get_variable
    for scope in ("one", "two"):
        with tf1.variable_scope(scope):
            x = tf.nn.conv2d(x, get("kernel", [3, 3, 3, 3]), 1, "SAME")
            names = ("gamma", "beta", "moving_mean", "moving_variance")
            norm = [get(n, [3], initializer=tf1.ones_initializer(), trainable=n[0] != "m") for n in names]
            x = tf.nn.relu(tf1.nn.fused_batch_norm(x, *norm, is_training=False)[0])
    tf.reduce_mean(x, [1, 2], name="y")


def embedded() -> None:
    words = tf1.placeholder(tf.int32, [None, 4], name="x")
    table = tf1.get_variable("embedding", [7, 5])
    tf.matmul(tf.reduce_mean(tf.nn.embedding_lookup(table, words), 1), tf1.get_variable("w", [5, 2]), name="y")


def test_a_conv_net_with_batch_norm(run: Run, tmp_path: Path) -> None:
    printed, names = round_trip(run, conv, tmp_path, "x", "y")
    assert len(names) == 10
    assert "10 variables, 6 trainable" in printed
    assert "moved 6 of 6 trainable variables, and nothing else" in printed


def test_an_embedding(run: Run, tmp_path: Path) -> None:
    printed, names = round_trip(run, embedded, tmp_path, "x", "y")
    assert names == {"embedding", "w"}
    assert "moved 2 of 2 trainable variables, and nothing else" in printed


def test_an_lstm_in_a_loop_is_restored_and_what_is_behind_it_trained(run: Run, tmp_path: Path) -> None:
    printed, names = round_trip(run, graphs.lstm, tmp_path, "x", "y")
    assert names == {"lstm_cell/kernel", "lstm_cell/bias", "w"}
    assert "proved: 3 variables restored, the same bits" in printed
    assert "moved 1 of 3 trainable variables, and nothing else" in printed
    why = "used in a loop of TensorFlow 1, whose gradient needs more than a GraphDef records"
    assert f"not trained: lstm_cell/kernel, lstm_cell/bias: {why}" in printed


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_dtypes_stay(run: Run, tmp_path: Path, dtype: str) -> None:
    def build() -> None:
        x = tf1.placeholder(dtype, [None, 3], name="x")
        tf.matmul(x, tf1.get_variable("w", [3, 2], dtype, tf1.random_normal_initializer(seed=1)), name="y")

    printed = unfreeze(run, graphs.freeze(build, ["y"]), tmp_path)
    assert "moved 1 of 1 trainable variable, and nothing else" in printed
    assert tf1.train.load_checkpoint(str(tmp_path / "m.ckpt")).get_variable_to_dtype_map() == {"w": tf.as_dtype(dtype)}


def test_quantised_weights_stay_constants(run: Run, tmp_path: Path) -> None:
    def build() -> None:
        x = tf1.placeholder(tf.float32, [None, 3], name="x")
        low, high = tf.constant(-1.0), tf.constant(1.0)
        packed = tf.quantization.quantize(tf.ones([3, 2]), low, high, tf.quint8)[0]
        stored = tf.constant(tf1.Session().run(tf.bitcast(packed, tf.uint8)), name="w_quint8")
        weights = tf.quantization.dequantize(tf.bitcast(stored, tf.quint8), low, high)
        tf.add(x @ weights, tf1.get_variable("b", [2]), name="y")

    unfreeze(run, graphs.freeze(build, ["y"]), tmp_path)
    assert values_in(tmp_path / "m.ckpt").keys() == {"b"}
    meta_graph = tf1.MetaGraphDef.FromString((tmp_path / "m.ckpt.meta").read_bytes())
    assert {n.name: n.op for n in meta_graph.graph_def.node}["w_quint8"] == "Const"


def test_tables_are_filled_in_a_training_script(run: Run, tmp_path: Path) -> None:
    def build() -> None:
        words = tf1.placeholder(tf.string, [None], name="x")
        fill = tf.lookup.KeyValueTensorInitializer(["a", "b"], tf.constant([0, 1], tf.int64))
        numbers = tf.lookup.StaticHashTable(fill, 0).lookup(words)
        tf.nn.embedding_lookup(tf1.get_variable("rows", [2, 3]), numbers, name="y")

    frozen = graphs.freeze(build, ["y", "key_value_init/LookupTableImportV2"])
    assert "moved 1 of 1 trainable variable" in unfreeze(run, frozen, tmp_path)


def test_the_signature_and_the_state_of_a_folder_of_its_own(run: Run, tmp_path: Path) -> None:
    unfreeze(
        run, graphs.freeze(graphs.classifier, ["logits"]), tmp_path, "--inputs", "pixels=x", outputs="scores=logits"
    )
    meta_graph = tf1.MetaGraphDef.FromString((tmp_path / "m.ckpt.meta").read_bytes())
    recorded = meta_graph.signature_def["serving_default"]
    assert {key: info.name for key, info in (*recorded.inputs.items(), *recorded.outputs.items())} == {
        "pixels": "x:0",
        "scores": "logits:0",
    }
    assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "m.ckpt")


def test_own_models_get_their_own_name(run: Run, results: Path, tmp_path: Path) -> None:
    (tmp_path / "house.pb").write_bytes(graphs.freeze(graphs.classifier, ["logits"]).SerializeToString())
    done = run("checkpoint_from_frozen", "--frozen-model", tmp_path / "house.pb", "--no-verify")
    assert (done.status, done.stderr) == (0, "")
    assert "not verified, as --no-verify asks" in done.stdout
    assert (results / "house.ckpt.index").is_file()


def test_what_cannot_be_done_is_one_line(run: Run, error: Fails, tmp_path: Path) -> None:
    with tf1.Graph().as_default() as graph:
        tf.square(tf1.placeholder(tf.float32, [None], name="x"), name="y")
    (tmp_path / "m.pb").write_bytes(graph.as_graph_def().SerializeToString())
    words = ("checkpoint_from_frozen", "--frozen-model", tmp_path / "m.pb")
    assert error(*words, "--out", tmp_path / "m.ckpt").startswith(
        "the frozen model has no parameters; of its 0 constants"
    )
    (tmp_path / "there.ckpt.index").touch()
    assert error(*words, "--out", tmp_path / "there.ckpt") == "there.ckpt exists already; --overwrite replaces it"
    done = run(*words, "--out", tmp_path)
    assert done.status == 2
    assert f"--out {tmp_path} is a folder; a prefix in it would be {tmp_path}/model.ckpt" in done.stderr


def test_killed_in_the_middle_leaves_the_old_one_whole(run: Run, tmp_path: Path) -> None:
    frozen = graphs.freeze(graphs.classifier, ["logits"])
    unfreeze(run, frozen, tmp_path, outputs="logits")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    words: list[str | Path] = [
        "--frozen-model",
        tmp_path / "m.pb",
        "--outputs",
        "logits",
        "--out",
        tmp_path / "m.ckpt",
        "--overwrite",
    ]
    command = [sys.executable, PROJECT / "checkpoint_from_frozen.py", *words]
    with subprocess.Popen(command, env=environment(), start_new_session=True, stdout=subprocess.DEVNULL) as process:
        while not (staged := [*tmp_path.glob(".partial-*/*.data-*")]) and process.poll() is None:
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
    assert staged, "it was killed while it wrote"
    with suppress(ProcessLookupError):  # the child that loads the model takes a moment to be gone, and holds a lock
        while True:
            os.killpg(process.pid, 0)
            time.sleep(0.01)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before
    unfreeze(run, frozen, tmp_path, "--overwrite", outputs="logits")
    assert {path.name for path in tmp_path.iterdir()} == before.keys(), "the next run removes what was left"


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """A file may hold 100 kB: as on a full disk, writing a longer one fails."""
    frozen = graphs.freeze(lambda: graphs.classifier(wide=100), ["logits"])
    (tmp_path / "m.pb").write_bytes(frozen.SerializeToString())
    words = f"--frozen-model {tmp_path}/m.pb --outputs logits --out {tmp_path}/m.ckpt"
    script = f"ulimit -f 100; exec {sys.executable} {PROJECT}/checkpoint_from_frozen.py {words}"
    done = subprocess.run(["bash", "-c", script], env=environment(), capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["m.pb"]


def test_a_file_with_the_name_of_the_prefix_stays(tmp_path: Path) -> None:
    """As a process, which may not list the folder once the model is loaded."""
    frozen = graphs.freeze(graphs.classifier, ["logits"])
    (tmp_path / "m.ckpt").write_bytes(frozen.SerializeToString())
    words = ["--frozen-model", "m.ckpt", "--outputs", "logits", "--out", "m.ckpt2"]
    (tmp_path / "m.ckpt2").write_text("mine")
    command = [sys.executable, str(PROJECT / "checkpoint_from_frozen.py"), *map(str, words)]
    done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "m.ckpt2.index" in done.stdout
    assert (tmp_path / "m.ckpt2").read_text() == "mine"
