"""checkpoint_edit.py: each tensor under its new name with the same bits, nothing else, and a graph that fits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import graphs
import pytest
from conftest import ODD, PROJECT, Fails, Run, environment
from test_checkpoint_from_frozen import values_in
from test_next_lines import list_next

from serialization.targets import checkpoint_copy
from serialization.tensorflow import np, tf, tf1


def edit(run: Run, source: Path, out: Path, *words: object) -> str:
    done = run("checkpoint_edit", "--checkpoint", source, "--out", out, *words)
    assert (done.status, done.stderr) == (0, "")
    assert "not verified" in done.stdout or "\nproved: " in done.stdout
    return done.stdout


def restored_by_saver(prefix: Path) -> dict[str, Any]:
    """The values of the variables that the .meta's own Saver restores, by the names of these in the graph."""
    with tf1.Graph().as_default() as graph, tf1.Session() as session:
        saver = tf1.train.import_meta_graph(str(prefix) + ".meta")
        saver.restore(session, str(prefix))
        names = session.run(tf1.report_uninitialized_variables())
        held = [v for v in tf1.global_variables() if v.op.name.encode() not in set(names)]
        assert {op.name for op in graph.get_operations()} >= {v.op.name for v in held}
        return {v.op.name: session.run(v) for v in held}


def test_the_toy_gets_another_scope(run: Run, toy: Path) -> None:
    state = (toy / "checkpoint").read_bytes()
    done = run("checkpoint_edit")
    assert (done.status, done.stderr) == (0, "")
    before, after = values_in(toy / "graph.ckpt"), values_in(toy / "edited.ckpt")
    assert after == {name.replace("NN/", "Net/"): value for name, value in before.items()}
    assert (toy / "checkpoint").read_bytes() == state, "another checkpoint stays the latest of its folder"
    for line in (
        "renamed 12 variables",
        "proved: 15 variables read back, the same bits, and nothing else",
        "proved: the Saver of its graph restores 15 variables",
    ):
        assert line in done.stdout
    assert restored_by_saver(toy / "edited.ckpt").keys() == after.keys()
    following = list_next(done)
    assert following[:2] == ("checkpoint_restore", "--checkpoint")
    assert "accuracy on 10,000 fresh rows: 1.0000" in run(*following).stdout
    with tf1.Graph().as_default():
        tf1.train.import_meta_graph(str(toy / "edited.ckpt.meta"))
        trained = {variable.op.name for variable in tf1.trainable_variables()}
    assert trained == {"Net/W1", "Net/b1", "Net/W2", "Net/b2"}


def test_training_goes_on_under_the_new_names(run: Run, toy: Path) -> None:
    """The graph's own training op, after its Saver: slots, powers and the step are there too."""
    edit(run, toy / "graph.ckpt", toy / "m.ckpt", "--rename", "NN=a/b", "--rename", "global_step=step")
    with tf1.Graph().as_default() as graph, tf1.Session() as session:
        saver = tf1.train.import_meta_graph(str(toy / "m.ckpt.meta"))
        saver.restore(session, str(toy / "m.ckpt"))
        feeds = {
            "Placeholder/inputs_placeholder:0": np.ones((5, 10), "f"),
            "Placeholder/labels_placeholder:0": np.ones((5, 1), "f"),
        }
        before = session.run(["step/Read/ReadVariableOp:0", "a/b/W1/Read/ReadVariableOp:0"])
        session.run(graph.get_operation_by_name("Train/train"), feeds)
        after = session.run(["step/Read/ReadVariableOp:0", "a/b/W1/Read/ReadVariableOp:0"])
        assert after[0] == before[0] + 1
        saver.save(session, str(toy / "again.ckpt"))
    assert values_in(toy / "again.ckpt").keys() == values_in(toy / "m.ckpt").keys()


def test_slots_are_left_out(run: Run, toy: Path) -> None:
    printed = edit(run, toy / "graph.ckpt", toy / "m.ckpt", "--no-slots", "--rename", "NN=")
    assert values_in(toy / "m.ckpt").keys() == {"W1", "W2", "b1", "b2", "global_step"}
    assert "left out 10 variables of an optimizer: NN/W1/Adam, NN/W1/Adam_1, " in printed
    assert "the graph also has 10 variables that no Saver restores now: W1/Adam, " in printed
    assert restored_by_saver(toy / "m.ckpt").keys() == {"W1", "W2", "b1", "b2", "global_step"}
    done = run("checkpoint_restore", "--checkpoint", toy / "m.ckpt")
    assert "10 of 15 variables are uninitialized" in done.stdout
    assert "proved: 5 variables hold the checkpoint's bits; accuracy on 10,000 fresh rows: 1.0000" in done.stdout


def averaged() -> None:
    x = tf1.placeholder(tf.float32, [None, 3], name="x")
    w = tf1.get_variable("w", [3, 2], initializer=tf1.random_normal_initializer(seed=1))
    b = tf1.get_variable("b", [2])
    tf.add(x @ w, b, name="y")
    average = tf1.train.ExponentialMovingAverage(0.9)
    average.apply([w])
    tf1.train.MomentumOptimizer(0.1, 0.9).minimize(tf.reduce_sum(x @ w + b))


@pytest.mark.parametrize("of_handles", [False, True])
def test_averages_take_the_places_of_raw_values(run: Run, tmp_path: Path, of_handles: bool) -> None:
    source = tmp_path / "model.ckpt"
    with tf1.Graph().as_default(), tf1.Session() as session:
        with tf1.variable_scope("", use_resource=of_handles):
            averaged()
        trained = tf1.trainable_variables()
        session.run(tf1.variables_initializer(trained))  # the average begins with the value of w
        session.run(tf1.variables_initializer([one for one in tf1.global_variables() if one not in trained]))
        w = trained[0]
        session.run(w.assign(w * 2))  # the average stays
        tf1.train.Saver().save(session, str(source))
    before = values_in(source)
    assert before["w"] != before["w/ExponentialMovingAverage"]
    printed = edit(run, source, tmp_path / "out.ckpt", "--ema", "--no-slots", "--rename", "w=kernel")
    assert "took 1 moving average in place of raw values" in printed
    after = values_in(tmp_path / "out.ckpt")
    assert after == {"kernel": before["w/ExponentialMovingAverage"], "b": before["b"]}
    assert restored_by_saver(tmp_path / "out.ckpt").keys() == after.keys()
    done = run("freezemodel_save", "--checkpoint", tmp_path / "out.ckpt", "--frozen-model", tmp_path / "m.pb")
    assert (done.status, done.stderr) == (0, "")


@pytest.mark.parametrize("sharded", [False, True])
@pytest.mark.parametrize("most", [1 << 27, 500])
def test_every_dtype_and_slice(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sharded: bool, most: int
) -> None:
    """In one part, and in parts of at most 500 bytes, which are merged."""
    monkeypatch.setattr(checkpoint_copy, "PART_SIZE", most)
    source = graphs.save(tmp_path, graphs.every_kind, sharded=sharded)
    edit(run, source, tmp_path / "out.ckpt", "--rename", "=all")
    before, after = values_in(source), values_in(tmp_path / "out.ckpt")
    assert after == {f"all/{name}": value for name, value in before.items()}
    files = [path.name for path in tmp_path.glob("out.ckpt*")]
    assert (len(files) == 3) == (most > 500), files
    found = restored_by_saver(tmp_path / "out.ckpt")
    assert {"all/rows/part_0", "all/wide/part_1", "all/words", "all/empty"} <= found.keys()
    again = edit(run, tmp_path / "out.ckpt", tmp_path / "back.ckpt", "--rename", "all=")
    assert f"{len(before)} variables read back, the same bits, and nothing else" in again
    assert values_in(tmp_path / "back.ckpt") == before


def test_dtypes_that_no_saver_knows(run: Run, tmp_path: Path) -> None:
    """Quantized numbers, float8, unsigned ones; in slices too, which TensorFlow cannot join for most of them."""
    raw = tf.constant(np.arange(8, dtype=np.uint8).reshape(2, 4))
    tensors = {
        "qint8": tf.bitcast(raw, tf.qint8),
        "quint8": tf.bitcast(raw, tf.quint8),
        "qint32": tf.bitcast(raw, tf.qint32),
        "float8": tf.cast(tf.cast(raw, tf.float32), tf.dtypes.experimental.float8_e5m2),
        "uint16": tf.bitcast(tf.reshape(raw, [2, 2, 2]), tf.uint16),
        "uint64": tf.cast(raw, tf.uint64),
        "complex128": tf.cast(raw, tf.complex128),
        "half": tf.cast(raw, tf.half),
        "string": tf.constant([[b"a\0b"], [b""]]),
        "scalar": tf.constant(b"text"),
        "nothing": tf.zeros([0, 5]),
    }
    names = [*tensors, "cut", "cut", "texts", "texts"]
    specs = ["" for _ in tensors] + ["4 4 0,2:-", "4 4 2,2:-", "3 1 0,2:-", "3 1 2,1:-"]
    half = tf.cast(raw, tf.half)
    values = [*tensors.values(), half, half, tensors["string"], tf.constant([[b"c"]])]
    tf.raw_ops.SaveV2(prefix=str(tmp_path / "m"), tensor_names=names, shape_and_slices=specs, tensors=values)
    printed = edit(run, tmp_path / "m", tmp_path / "out", "--rename", "=n")
    assert "proved: 13 variables read back, the same bits, and nothing else" in printed
    assert "no graph: nothing is at " in printed
    for name, tensor in tensors.items():
        (again,) = tf.raw_ops.RestoreV2(
            prefix=str(tmp_path / "out"), tensor_names=[f"n/{name}"], shape_and_slices=[""], dtypes=[tensor.dtype]
        )
        assert again.dtype == tensor.dtype
        assert np.array_equal(np.asarray(again.numpy()), np.asarray(tensor.numpy()))


def test_the_first_format_becomes_the_second(run: Run, tmp_path: Path) -> None:
    for name, saver in (("one", {}), ("shards", {"sharded": True})):
        source = graphs.save(tmp_path, graphs.classifier, name=name, write_version=tf1.train.SaverDef.V1, **saver)
        printed = edit(run, source, tmp_path / f"{name}.ckpt", "--rename", "dense=layer")
        assert "proved: the Saver of its graph restores 9 variables" in printed
        names = values_in(tmp_path / f"{name}.ckpt").keys()
        assert {"layer/kernel", "layer/bias/Adam", "global_step", "beta1_power"} <= names
        assert restored_by_saver(tmp_path / f"{name}.ckpt").keys() == names
        done = run("checkpoint_restore", "--checkpoint", tmp_path / f"{name}.ckpt")
        assert (done.status, done.stderr) == (0, "")


def test_an_object_based_checkpoint_becomes_one_of_names(run: Run, tmp_path: Path) -> None:
    kernel, bias = tf.Variable([[1.0, 2.0]], name="dense/kernel"), tf.Variable([3.0])
    twin = tf.Variable([4.0])
    step = tf.Variable(7, dtype=tf.int64, name="step")
    tf.train.Checkpoint(layer={"k": kernel, "b": bias, "t": twin}, step=step).write(str(tmp_path / "ckpt-1"))
    printed = edit(run, tmp_path / "ckpt-1", tmp_path / "m.ckpt")
    assert "object-based: the variables are called by their own names, or by their paths" in printed
    reader = tf1.train.load_checkpoint(str(tmp_path / "m.ckpt"))
    assert {name: reader.get_tensor(name).tolist() for name in reader.get_variable_to_shape_map()} == {
        "dense/kernel": [[1.0, 2.0]],
        "layer/b": [3.0],
        "layer/t": [4.0],
        "step": 7,
    }
    with tf1.Graph().as_default(), tf1.Session() as session:
        variable = tf1.get_variable("dense/kernel", [1, 2])
        tf1.train.Saver([variable]).restore(session, str(tmp_path / "m.ckpt"))
        assert session.run(variable).tolist() == [[1.0, 2.0]]


def test_keras_slots_and_configurations_are_left_out(run: Run, tmp_path: Path) -> None:
    model = tf.keras.Sequential([tf.keras.layers.Input((4,)), tf.keras.layers.Dense(3)])
    model.compile("adam", "mse")
    model.fit(np.ones((4, 4), "f"), np.ones((4, 3), "f"), verbose=0)
    tf.train.Checkpoint(model=model).write(str(tmp_path / "ckpt-1"))
    everything = edit(run, tmp_path / "ckpt-1", tmp_path / "all.ckpt")
    assert "VARIABLE_VALUE" not in everything
    edit(run, tmp_path / "ckpt-1", tmp_path / "m.ckpt", "--no-slots")
    shapes = tf1.train.load_checkpoint(str(tmp_path / "m.ckpt")).get_variable_to_shape_map()
    assert sorted(shapes.values()) == [[3], [4, 3]], shapes


BAD = [
    (("--rename", "nn=x"), "--rename nn=x: {} holds no variable or scope nn"),
    (("--rename", "NN/W1=NN/W2"), "NN/W1 and NN/W2 would both be called NN/W2; give each a name of its own with"),
    (("--rename", "NN/W1=a", "--rename", "NN/W1=b"), "--rename NN/W1=b: {} holds no variable or scope NN/W1"),
    (("--rename", "NN/W1=a b"), "NN/W1/Initializer/random_uniform/shape would be called a b/Init"),
    (("--rename", "NN/W1=Loss/loss"), "NN/W1 would be called Loss/loss in the graph, where another op has that name"),
    (("--ema",), "--ema: {} holds no moving averages; found no name that ends in /ExponentialMovingAverage"),
]


@pytest.mark.parametrize(("words", "line"), BAD)
def test_what_fits_nothing_is_one_line(error: Fails, made: Path, tmp_path: Path, words: tuple[str], line: str) -> None:
    found = error("checkpoint_edit", "--checkpoint", made / "graph.ckpt", "--out", tmp_path / "m.ckpt", *words)
    assert found.replace(str(made / "graph.ckpt"), "{}").startswith(line)


def test_names_are_swapped_and_the_longest_decides(run: Run, toy: Path) -> None:
    words = ("--rename", "NN/W1=NN/W2", "--rename", "NN/W2=NN/W1", "--rename", "NN=Net")
    edit(run, toy / "graph.ckpt", toy / "m.ckpt", *words)
    before, after = values_in(toy / "graph.ckpt"), values_in(toy / "m.ckpt")
    assert (after["NN/W1"], after["NN/W2/Adam"]) == (before["NN/W2"], before["NN/W1/Adam"])
    assert after["Net/b1"] == before["NN/b1"]
    values = restored_by_saver(toy / "m.ckpt")
    assert values["NN/W1"].tobytes() in before["NN/W2"]


def test_no_slots_where_there_are_none(error: Fails, tmp_path: Path) -> None:
    source = graphs.save(tmp_path, lambda: [tf1.get_variable("w", [2]), tf1.get_variable("w/other", [3])])
    line = error("checkpoint_edit", "--checkpoint", source, "--out", tmp_path / "m.ckpt", "--no-slots")
    assert line == "--no-slots: model.ckpt holds no slots of an optimizer; leave the flag out"


def test_a_graph_of_another_checkpoint(error: Fails, tmp_path: Path) -> None:
    source = graphs.save(tmp_path, graphs.classifier)
    other = graphs.save(tmp_path, lambda: tf1.get_variable("w", [2]), name="other")
    other.with_suffix(".meta").rename(f"{source}.meta")
    line = error("checkpoint_edit", "--checkpoint", source, "--out", tmp_path / "m.ckpt")
    assert "model.ckpt.meta has none of the variables that " in line
    wrong = graphs.save(tmp_path, lambda: tf1.get_variable("global_step", [5]), name="wrong")
    wrong.with_suffix(".meta").rename(f"{source}.meta")
    line = error("checkpoint_edit", "--checkpoint", source, "--out", tmp_path / "m.ckpt")
    assert "global_step is [] in the checkpoint and [5] in the graph" in line


def test_targets(run: Run, error: Fails, toy: Path, tmp_path: Path) -> None:
    words = ("checkpoint_edit", "--checkpoint", toy / "graph.ckpt")
    (tmp_path / "there.ckpt.index").touch()
    assert error(*words, "--out", tmp_path / "there.ckpt") == "there.ckpt exists already; --overwrite replaces it"
    line = error(*words, "--out", toy / "graph.ckpt", "--overwrite")
    assert line == "--out names the checkpoint that --checkpoint reads; name another place"
    done = run(*words, "--out", tmp_path)
    assert done.status == 2
    assert f"--out {tmp_path} is a folder; a prefix in it would be {tmp_path}/model.ckpt" in done.stderr
    done = run(*words, "--out", f"{tmp_path}/new/")
    assert (done.status, "is no folder; leave out the slash at its end" in done.stderr) == (2, True)
    edit(run, toy / "graph.ckpt", tmp_path / "new" / "m.ckpt", "--no-verify")
    assert tf.train.latest_checkpoint(str(tmp_path / "new")) == str(tmp_path / "new" / "m.ckpt")
    (toy / "graph.ckpt.index").rename(tmp_path / "house.ckpt.index")
    (toy / "graph.ckpt.data-00000-of-00001").rename(tmp_path / "house.ckpt.data-00000-of-00001")
    done = run("checkpoint_edit", "--checkpoint", tmp_path / "house.ckpt")
    assert (done.status, done.stderr) == (0, "")
    assert (toy / "house.ckpt.index").is_file()
    assert list_next(done)[0] == "model_inspect"


def test_odd_names(run: Run, made: Path, tmp_path: Path) -> None:
    odd = tmp_path / f"a{ODD}b"
    edit(run, made / "graph.ckpt", odd)
    edit(run, odd, tmp_path / "plain.ckpt")
    assert values_in(tmp_path / "plain.ckpt").keys() == values_in(made / "graph.ckpt").keys()


def test_a_damaged_checkpoint(error: Fails, tmp_path: Path) -> None:
    source = graphs.save(tmp_path, graphs.classifier)
    data = Path(f"{source}.data-00000-of-00001")
    content = bytearray(data.read_bytes())
    content[3] ^= 1
    data.write_bytes(content)
    line = error("checkpoint_edit", "--checkpoint", source, "--out", tmp_path / "m.ckpt")
    assert line.startswith("the checkpoint model.ckpt cannot be read: ")
    Path(f"{source}.meta").write_bytes(b"\x0a\x05")
    assert "model.ckpt.meta" in error("checkpoint_edit", "--checkpoint", source, "--out", tmp_path / "m.ckpt")


def test_nothing_of_the_graph_is_run(run: Run, tmp_path: Path) -> None:
    """The graph would write a file when it is imported, restored or run."""

    def build() -> None:
        variable = tf1.get_variable("w", [2])
        with tf.control_dependencies([tf.io.write_file(str(tmp_path / "written"), "harm")]):
            tf.multiply(variable, 2.0, name="y")

    source = graphs.save(tmp_path, build)
    edit(run, source, tmp_path / "m.ckpt", "--rename", "w=v")
    assert not (tmp_path / "written").exists()
    done = run("checkpoint_restore", "--checkpoint", tmp_path / "m.ckpt", "--outputs", "y")
    assert (done.status, "is not safe to load; it would write files" in done.stderr) == (1, True)


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """A file may hold 100 kB: as on a full disk, writing a longer one fails."""
    source = graphs.save(tmp_path, lambda: graphs.classifier(wide=100))
    words = f"--checkpoint {source} --out {tmp_path}/m.ckpt"
    script = f"ulimit -f 100; exec {sys.executable} {PROJECT}/checkpoint_edit.py {words}"
    done = subprocess.run(["bash", "-c", script], env=environment(), capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert all(path.name == "checkpoint" or path.name.startswith("model.ckpt") for path in tmp_path.iterdir())


def test_a_large_checkpoint_is_not_held_in_memory(tmp_path: Path) -> None:
    shapes = {f"w{number}": [4_000_000] for number in range(50)}  # 800 MB
    graphs.save_zeros(tmp_path / "large.ckpt", lambda: tf1.get_variable("w0", [4_000_000]), shapes)
    words = ["--checkpoint", str(tmp_path / "large.ckpt"), "--out", str(tmp_path / "m.ckpt"), "--rename", "=n"]
    program = (
        "import resource, sys, tensorflow; before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss;"
        "from checkpoint_edit import main; main(sys.argv[1:]);"
        "print('kB', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    command = [sys.executable, "-c", program, *words]
    done = subprocess.run(command, cwd=PROJECT, env=environment(), stdout=subprocess.PIPE, text=True, check=True)
    assert "proved: 50 variables read back, the same bits, and nothing else" in done.stdout
    assert int(done.stdout.rpartition("kB ")[2]) < 600_000


def test_what_was_renamed_is_said_after_the_deed(run: Run, toy: Path) -> None:
    (toy / "graph.ckpt.meta").write_bytes(b"no graph")
    done = run("checkpoint_edit", "--rename", "NN=Net", "--out", toy / "new.ckpt")
    assert (done.status, done.stdout) == (1, "")
