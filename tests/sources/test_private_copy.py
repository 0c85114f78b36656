"""TensorFlow gets what was scanned of a SavedModel, in a folder or from memory, and runs nothing else of it."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harmful_models
import pytest
from conftest import Run
from harmful_models import export_module, make_meta_graph, make_node, make_strings

from serialization.formats import protos
from serialization.sources import private_copy
from serialization.tensorflow import tf, tf1


def lines_of_the_asset(module: Any) -> Any:
    lines = tf.data.TextLineDataset(module.asset.asset_path)
    return {"y": lines.reduce("", lambda one, other: tf.strings.join([one, other]))}


def text_of_the_asset(module: Any) -> Any:
    return {"y": tf.io.read_file(module.asset.asset_path)}


def words_of_the_asset(module: Any) -> Any:
    return {"y": module.table.lookup(tf.constant(["honest", "other"]))}


def refuse_to_write(**_: Any) -> None:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def make_table(file: Path) -> Any:
    whole, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
    return tf.lookup.StaticHashTable(tf.lookup.TextFileInitializer(str(file), tf.string, whole, tf.int64, number), -1)


@pytest.mark.parametrize(
    ("function", "answer"),
    [(lines_of_the_asset, "honest"), (text_of_the_asset, "honest"), (words_of_the_asset, "[ 0 -1]")],
)
@pytest.mark.parametrize("where", ["here", "in a cache of links", "nothing can be written"])
def test_a_module_reads_its_asset(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, function: Callable[[Any], Any], answer: str, where: str
) -> None:
    (tmp_path / "words.txt").write_text("honest\n")
    export_module(tmp_path, function, table=make_table(tmp_path / "words.txt"))
    (tmp_path / "words.txt").unlink()
    folder = tmp_path / "sm"
    if where == "in a cache of links":
        shutil.move(folder, tmp_path / "blobs")
        for number, file in enumerate(file for file in sorted((tmp_path / "blobs").rglob("*")) if file.is_file()):
            blob = file.rename(tmp_path / "blobs" / str(number))
            link = folder / file.relative_to(tmp_path / "blobs")
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(blob)
    if where == "nothing can be written":
        monkeypatch.setattr(private_copy, "TemporaryDirectory", refuse_to_write)
    done = run("savedmodel_pretrained", "--saved-model", folder)
    assert (done.status, done.stderr) == (0, "")
    assert answer in done.stdout
    assert run("model_inspect", folder, "--strict").status == 0


def test_a_name_that_inlining_gives_is_no_other_node(run: Run, tmp_path: Path) -> None:
    """The session's own node of that name is needed by nothing, so TensorFlow does not even get it."""
    written = tmp_path / "written"

    def look_up(module: Any, words: Any) -> Any:
        return {"y": module.table.lookup(words)}

    keys = tf.lookup.KeyValueTensorInitializer(tf.constant(["a", "b"]), tf.constant([3, 4], tf.int64))
    spec = tf.TensorSpec([None], tf.string, "words")
    meta_graph = export_module(tmp_path, look_up, spec, table=tf.lookup.StaticHashTable(keys, -1))
    graph_def = meta_graph.graph_def
    names = {
        f"{call.name}/{node.name}" for call in graph_def.node for f in graph_def.library.function for node in f.node_def
    }
    graph_def.node.append(make_strings("where", str(written)))
    graph_def.node.extend(make_node(name, "WriteFile", ["where", "where"]) for name in names)
    folder = harmful_models.write_saved_model(tmp_path, meta_graph)
    done = run("freezemodel_save", "--saved-model", folder, "--frozen-model", tmp_path / "m.pb")
    assert (done.status, done.stderr) == (0, "")
    assert not written.exists()


def test_a_variable_behind_a_fed_tensor_is_not_restored(run: Run, tmp_path: Path) -> None:
    written = tmp_path / "written"
    layers = tf.keras.layers
    network = tf.keras.Sequential([layers.Input((4,)), layers.Dense(3, kernel_initializer="ones")])
    tf.saved_model.save(network, str(tmp_path / "sm"))
    (meta_graph,) = protos.SavedModel.FromString((tmp_path / "sm" / "saved_model.pb").read_bytes()).meta_graphs
    graph_def = meta_graph.graph_def
    output = meta_graph.signature_def["serving_default"].outputs["output_0"].name
    call = next(node for node in graph_def.node if node.name == output.partition(":")[0])
    graph_def.node.append(make_strings("where", str(written)))
    graph_def.node.append(make_node("write", "WriteFile", ["where", "where"]))
    for handle in call.input[1:]:
        next(node for node in graph_def.node if node.name == handle).input.append("^write")
    graph_def.node.append(make_node("answer", "Neg", [output], T=1))
    signature = meta_graph.signature_def["serving_default"]
    signature.inputs["fed"].CopyFrom(signature.outputs["output_0"])
    signature.outputs["output_0"].name = "answer:0"
    del meta_graph.object_graph_def.nodes[0].children[:]
    for key in [key for key in meta_graph.signature_def if key != "serving_default"]:
        del meta_graph.signature_def[key]
    folder = harmful_models.write_saved_model(tmp_path, meta_graph)
    run("savedmodel_pretrained", "--saved-model", folder)
    assert not written.exists()


def test_a_fed_tensor_takes_the_place_of_the_ops_before_it(run: Run, tmp_path: Path) -> None:
    """Each of two outputs of one op is fed, which would read files."""
    with tf1.Graph().as_default() as graph:
        files = tf.data.TextLineDataset("nowhere").map(lambda line: (line, tf.strings.length(line)))
        line, length = tf1.data.make_one_shot_iterator(files).get_next()
        meta_graph = make_meta_graph(graph, [tf.strings.join([line, tf.strings.as_string(length)])])
        inputs = meta_graph.signature_def["serving_default"].inputs
        inputs["line"].CopyFrom(tf1.saved_model.build_tensor_info(line))
        inputs["length"].CopyFrom(tf1.saved_model.build_tensor_info(length))
    folder = harmful_models.write_saved_model(tmp_path, meta_graph)
    done = run("savedmodel_pretrained", "--saved-model", folder, "--feed", 'line="a"', "--feed", "length=7")
    assert (done.status, done.stderr) == (0, "")
    assert "a7" in done.stdout


def test_nothing_is_left_of_the_private_copy(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export_module(tmp_path, text_of_the_asset)
    (tmp_path / "private").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "private"))
    assert run("savedmodel_pretrained", "--saved-model", tmp_path / "sm").status == 0
    assert list((tmp_path / "private").iterdir()) == []
