"""A model's predictions are shown, or the message lists the values to feed."""

from __future__ import annotations

from pathlib import Path

from conftest import PROJECT, Run

from serialization.tensorflow import tf, tf1


def test_generated_images_are_shortened(run: Run) -> None:
    words = ("--saved-model", PROJECT / "pretrainedresnet" / "1", "--outputs", "probabilities=softmax_tensor")
    done = run("savedmodel_pretrained", *words)
    assert (done.status, done.stderr) == (0, "")
    assert done.stdout.startswith("no --feed, so these values are generated:\ninput_tensor:0 uint8 [1, 28, 28, 1]\n")
    assert done.stdout.count("\n") < 40


def test_the_message_lists_the_feed_flags(run: Run, tmp_path: Path) -> None:
    with tf1.Graph().as_default() as graph:
        numbers = tf1.placeholder(tf.string, [None], name="numbers")
        tf.io.decode_compressed(numbers, "ZLIB", name="y")
    (tmp_path / "m.pb").write_bytes(graph.as_graph_def().SerializeToString())
    done = run("freezemodel_load", "--frozen-model", tmp_path / "m.pb")
    assert done.stderr.startswith("error: the model does not run on generated values: ")
    assert done.stderr.endswith("; name values that it takes: --feed numbers=VALUE (string [None])\n")
