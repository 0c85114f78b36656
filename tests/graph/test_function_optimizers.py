"""Function bodies are not optimized in a proof, and what is written says about them what its source says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import Run

from serialization.formats import protos
from serialization.graph.function_optimizers import (
    list_function_calls,
    make_unoptimized_config,
    switch_off_optimizers,
    switch_on_optimizers,
)
from serialization.run.predictor import open_session
from serialization.tensorflow import config_pb2, np, tf, tf1


def fold(x: Any) -> Any:
    """Optimizers divide before they multiply: the product of the constants is rounded before."""
    return (x * tf.constant(1.1)) * tf.constant(1.3)


def write_graph(folder: Path) -> Any:
    with tf1.Graph().as_default() as graph:
        x = tf1.placeholder(tf.float32, [None], name="x")
        tf.identity(tf.function(fold)(x), name="y")
    graph_def = graph.as_graph_def()
    for node in list_function_calls(graph_def):
        node.attr["config_proto"].s = config_pb2.ConfigProto(allow_soft_placement=True).SerializeToString()
    (folder / "m.pb").write_bytes(graph_def.SerializeToString())
    return graph_def


def test_they_are_switched_off_and_on_again(tmp_path: Path) -> None:
    graph_def = write_graph(tmp_path)
    switch_off_optimizers(graph_def)
    switch_off_optimizers(graph_def)
    (call,) = list_function_calls(graph_def)
    config = config_pb2.ConfigProto.FromString(call.attr["config_proto"].s)
    assert config.allow_soft_placement
    assert config.graph_options == make_unoptimized_config().graph_options
    values = np.linspace(0, 1, 1000, dtype="f")
    with tf1.Graph().as_default() as graph:
        tf1.import_graph_def(graph_def, name="")
    with open_session(graph, optimize=False) as session:
        plain = session.run("y:0", {"x:0": values})
    assert plain.tobytes() == ((values * np.float32(1.1)) * np.float32(1.3)).tobytes(), "op after op"
    switch_on_optimizers(graph_def)
    assert graph_def == protos.GraphDef.FromString((tmp_path / "m.pb").read_bytes())


@pytest.mark.parametrize("kind", ["frozen", "checkpoint"])
def test_a_written_model_is_optimized_as_its_source(run: Run, tmp_path: Path, kind: str) -> None:
    (wanted,) = (node.attr["config_proto"].s for node in list_function_calls(write_graph(tmp_path)))
    words: list[object] = ["--frozen-model", tmp_path / "m.pb"]
    if kind == "checkpoint":
        with tf1.Graph().as_default(), tf1.Session() as session:
            tf1.import_graph_def(protos.GraphDef.FromString((tmp_path / "m.pb").read_bytes()), name="")
            tf1.get_variable("w", [], initializer=tf1.ones_initializer())
            session.run(tf1.global_variables_initializer())
            tf1.train.Saver().save(session, str(tmp_path / "model"))
        words = ["--checkpoint", tmp_path / "model"]
    done = run(f"savedmodel_from_{kind}", *words, "--outputs", "y", "--export-dir", tmp_path / "sm")
    assert "proved: y: the same bits as the source, on 1,003 rows generated for x\n" in done.stdout
    saved_model = protos.SavedModel.FromString((tmp_path / "sm" / "saved_model.pb").read_bytes())
    (call,) = list_function_calls(saved_model.meta_graphs[0].graph_def)
    assert call.attr["config_proto"].s == wanted
    done = run("freezemodel_save", "--saved-model", tmp_path / "sm", "--frozen-model", tmp_path / "again.pb")
    assert "proved: y: the same bits as the source, on 1,003 rows generated for x\n" in done.stdout
