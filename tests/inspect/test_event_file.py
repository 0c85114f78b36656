"""TensorBoard reads the graph in an event file."""

from __future__ import annotations

from pathlib import Path

from conftest import Run

from serialization.formats import protos
from serialization.tensorflow import np, tf, tf1


def test_tensorboard_reads_the_event_file(run: Run, toy: Path, tmp_path: Path) -> None:
    words = (toy / "graph.ckpt", "--tensorboard", tmp_path / "logs")
    done = run("model_inspect", *words)
    assert done.stdout.endswith(f"wrote {tmp_path}/logs/events.out.tfevents.0.model_inspect\n")
    (file,) = (tmp_path / "logs").iterdir()
    version, graph = tf1.train.summary_iterator(str(file))  # checks the checksums
    assert version.file_version == "brain.Event:2"
    shown = protos.GraphDef.FromString(graph.graph_def)
    original = protos.MetaGraphDef.FromString((toy / "graph.ckpt.meta").read_bytes()).graph_def
    assert [(n.name, n.op) for n in shown.node] == [(n.name, n.op) for n in original.node]
    again = run("model_inspect", *words)
    assert again.stderr == f"error: {file} exists already; --overwrite replaces it\n"
    assert run("model_inspect", *words, "--overwrite").status == 0


def test_large_constants_stay_out_of_the_event_file(run: Run, tmp_path: Path) -> None:
    with tf1.Graph().as_default() as graph:
        tf.identity(tf.constant(np.random.default_rng(0).random(100_000)), name="y")
    (tmp_path / "m.pb").write_bytes(graph.as_graph_def().SerializeToString())
    assert run("model_inspect", tmp_path / "m.pb", "--tensorboard", tmp_path / "logs").status == 0
    assert next((tmp_path / "logs").iterdir()).stat().st_size < 2000
