"""A graph's ops hint at the values that its inputs take."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import Run

from serialization.tensorflow import tf, tf1


def test_a_batch_size_fixed_in_the_graph_is_found(run: Run, tmp_path: Path) -> None:
    """The graph adds a first word to each of 7 rows; a frozen graph records no shapes."""
    with tf1.Graph().as_default() as graph:
        words = tf1.placeholder(tf.int32, [None, None], name="words")
        tf.concat([tf.ones([7, 1], tf.int32), words], 1, name="y")
    (tmp_path / "m.pb").write_bytes(graph.as_graph_def().SerializeToString())
    done = run("freezemodel_load", "--frozen-model", tmp_path / "m.pb")
    assert (done.status, done.stderr) == (0, "")
    assert "prefix/words:0 int32 [7, 4]\n" in done.stdout


@pytest.mark.parametrize(("argument", "kept"), [("keep_prob", 1), ("rate", 0)])
def test_dropout_is_switched_off(run: Run, tmp_path: Path, argument: str, kept: int) -> None:
    with tf1.Graph().as_default() as graph:
        share = tf1.placeholder(tf.float32)
        x = tf1.placeholder(tf.float32, [None, 5], name="x")
        tf.identity(tf1.nn.dropout(x, **{argument: share}), name="y")
    (tmp_path / "m.pb").write_bytes(graph.as_graph_def().SerializeToString())
    done = run("freezemodel_load", "--frozen-model", tmp_path / "m.pb")
    assert (done.status, done.stderr) == (0, "")
    assert f"prefix/Placeholder:0 float32 []\n{kept}.0\n" in done.stdout
    lines = done.stdout.splitlines()
    fed, answered = (lines[lines.index(f"prefix/{name}:0 float32 [1, 5]") + 1] for name in ("x", "y"))
    assert fed == answered
