"""TensorBoard reads the graph in an event file."""

from __future__ import annotations

from pathlib import Path

from conftest import Run
from handmade_graphs import graph

from serialization.formats import protos
from serialization.graph.const_nodes import make_constant
from serialization.inspect.event_file import write_event_file
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


def test_values_are_left_out_in_functions_too_and_the_graph_is_unchanged(tmp_path: Path) -> None:
    small, large = np.zeros(10, "f4"), np.ones(1000, "f4")
    graph_def = graph(F=[])
    graph_def.node.extend([make_constant("small", small, 1), make_constant("large", large, 1)])
    graph_def.library.function[0].node_def.append(make_constant("inside", large, 1))
    before = graph_def.SerializeToString(deterministic=True)
    write_event_file(tmp_path / "events", graph_def)
    assert graph_def.SerializeToString(deterministic=True) == before
    _, event = tf1.train.summary_iterator(str(tmp_path / "events"))
    shown = protos.GraphDef.FromString(event.graph_def)
    assert shown.node[0] == graph_def.node[0]
    for node in (shown.node[1], shown.library.function[0].node_def[0]):
        tensor = node.attr["value"].tensor
        assert (tensor.dtype, tensor.tensor_shape.dim[0].size, tensor.tensor_content) == (1, 1000, b"")
