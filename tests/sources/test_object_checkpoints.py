"""A TensorFlow 2 checkpoint and a graph are matched by the variables' own names, as Saver.restore does."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Run

from serialization.tensorflow import np, tf, tf1

KEY = "model/w/.ATTRIBUTES/VARIABLE_VALUE"


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """Three checkpoints of a manager beside graph.pb, which calls its variables w and b."""

    class Model(tf.Module):
        def __init__(self) -> None:
            self.w = tf.Variable(np.arange(6, dtype=np.float32).reshape(3, 2), name="w")
            self.b = tf.Variable(np.ones(2, np.float32), name="b")

    checkpoint = tf.train.Checkpoint(model=Model(), step=tf.Variable(0, dtype=tf.int64, name="step"))
    manager = tf.train.CheckpointManager(checkpoint, str(tmp_path / "ck"), max_to_keep=2)
    for _ in range(3):
        manager.save()
    with tf1.Graph().as_default() as graph:
        x = tf1.placeholder(tf.float32, [None, 3], name="x")
        tf.identity(x @ tf1.get_variable("w", [3, 2]) + tf1.get_variable("b", [2]), name="y")
    tf.io.write_graph(graph, str(tmp_path), "graph.pb", as_text=False)
    return Path(tmp_path / "ck" / "ckpt-3")


def test_the_variables_are_found_by_their_own_names(run: Run, tmp_path: Path, prefix: Path) -> None:
    words = ("--checkpoint", prefix, "--graph", tmp_path / "graph.pb")
    for more in ((), ("--no-verify",)):
        done = run("freezemodel_save", *words, "--frozen-model", tmp_path / "m.pb", "--overwrite", *more)
        assert (done.status, done.stderr) == (0, "")
    done = run("freezemodel_load", "--frozen-model", tmp_path / "m.pb", "--feed", "[[1, 1, 1]]")
    assert "[[ 7. 10.]]" in done.stdout
    done = run("checkpoint_restore", *words, "--feed", "[[1, 1, 1]]")
    assert (done.status, done.stderr) == (0, "")
    assert "proved: 2 variables hold the checkpoint's bits" in done.stdout
    done = run("savedmodel_from_checkpoint", *words, "--export-dir", tmp_path / "1")
    assert "proved: y: the same bits as the source" in done.stdout


@pytest.mark.parametrize("old", ["w", KEY])
def test_a_rename_takes_both_names(run: Run, tmp_path: Path, prefix: Path, old: str) -> None:
    graph_def = (
        (tmp_path / "graph.pb").read_bytes().replace(b"\x01w", b"\x01v").replace(b"w/", b"v/").replace(b"w:", b"v:")
    )
    (tmp_path / "graph.pb").write_bytes(graph_def)
    words = ("--checkpoint", prefix, "--graph", tmp_path / "graph.pb", "--frozen-model", tmp_path / "m.pb")
    done = run("freezemodel_save", *words)
    assert "; likely renames: --rename w=v\n" in done.stderr
    done = run("freezemodel_save", *words, "--rename", f"{old}=v")
    assert (done.status, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["w", "w:0", KEY])
def test_one_tensor_is_shown_by_either_name(run: Run, prefix: Path, name: str) -> None:
    done = run("checkpoint_restore", "--checkpoint", prefix, "--tensor", name)
    assert done.stdout == f"{name.removesuffix(':0')} float32 [3, 2]\n[[0. 1.]\n [2. 3.]\n [4. 5.]]\n"


def test_a_name_that_two_variables_have_stands_for_neither(run: Run, tmp_path: Path) -> None:
    held = tf.train.Checkpoint(a=tf.Variable([1.0], name="w"), b=tf.Variable([2.0], name="w"))
    prefix = held.write(str(tmp_path / "ckpt"))
    done = run("checkpoint_restore", "--checkpoint", prefix, "--tensor", "w")
    assert (done.status, done.stderr.count("\n")) == (1, 1)
    done = run("checkpoint_restore", "--checkpoint", prefix, "--tensor", "a/.ATTRIBUTES/VARIABLE_VALUE")
    assert done.stdout == "a/.ATTRIBUTES/VARIABLE_VALUE float32 [1]\n[1.]\n"
