"""Honest models that name files in the shapes of TensorFlow's own writers pass the scan and run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import harmful_models
import pytest
from conftest import Run
from harmful_models import add_function, export_module, make_call, make_meta_graph, make_node, make_strings
from test_stablehlo import make_module

from serialization.tensorflow import tf, tf1


def text_of_the_asset(module: Any) -> Any:
    return {"y": tf.io.read_file(module.asset.asset_path)}


def make_table(file: Path) -> Any:
    whole, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
    return tf.lookup.StaticHashTable(tf.lookup.TextFileInitializer(str(file), tf.string, whole, tf.int64, number), -1)


@pytest.mark.parametrize("through", ["the constant", "an Identity"])
def test_a_table_of_a_first_saved_model(run: Run, tmp_path: Path, through: str) -> None:
    with tf1.Graph().as_default() as graph:
        path = tf.constant("/where/it/was/trained/words.txt", name="path")
        taken = tf.identity(path) if through == "an Identity" else path  # as tf.Transform does
        y = make_table(Path("words.txt")).lookup(tf.constant(["honest", "other"]))
        initializer = next(op for op in graph.get_operations() if op.type == "InitializeTableFromTextFileV2")
        initializer._update_input(1, taken)
        meta_graph = make_meta_graph(
            graph, [y], init=initializer, assets={"path:0": harmful_models.write_asset(tmp_path)}
        )
    done = run("savedmodel_pretrained", "--saved-model", harmful_models.write_saved_model(tmp_path, meta_graph))
    assert (done.status, done.stderr) == (0, "")
    assert "[ 0 -1]" in done.stdout


def test_an_unused_pipeline_lists_files(run: Run, tmp_path: Path) -> None:
    with tf1.Graph().as_default() as graph:
        x = tf1.placeholder(tf.float32, [None, 2], name="x")
        tf1.data.make_one_shot_iterator(tf.data.Dataset.list_files(str(tmp_path / "*"))).get_next()
        meta_graph = make_meta_graph(graph, [x * 2.0], [x])
    folder = harmful_models.write_saved_model(tmp_path, meta_graph)
    done = run("savedmodel_pretrained", "--saved-model", folder, "--feed", "[[1,2]]")
    assert (done.status, done.stderr) == (0, "")
    assert run("model_inspect", folder, "--strict").status == 0


def test_compiled_code_marks_its_sharding(run: Run, tmp_path: Path) -> None:
    file = harmful_models.write_stablehlo(tmp_path, make_module("Sharding"))
    done = run("freezemodel_load", "--frozen-model", file, "--feed", "[1,2]")
    assert (done.status, done.stderr) == (0, "")
    assert run("model_inspect", file, "--strict").status == 0


def test_a_string_that_is_packed(run: Run, tmp_path: Path) -> None:
    """TensorFlow's C++ code writes them so."""
    packed = make_strings("y", "two", "three")
    tensor = packed.attr["value"].tensor
    del tensor.string_val[:]
    tensor.tensor_content = b"\x03\x05twothree"
    done = run("freezemodel_load", "--frozen-model", harmful_models.write_strings(tmp_path, packed), "--outputs", "y")
    assert (done.status, done.stderr) == (0, "")
    assert "two" in done.stdout
    assert "three" in done.stdout
    tensor.tensor_content = b"\x03\x05twothre"
    done = run("freezemodel_load", "--frozen-model", harmful_models.write_strings(tmp_path, packed), "--outputs", "y")
    assert "its constant y is cut off; strings have other lengths than recorded" in done.stderr


def test_an_argument_is_found_through_functions_of_functions(run: Run, tmp_path: Path) -> None:
    """tf.saved_model.save of a loaded model wraps each function in another one."""
    meta_graph = export_module(tmp_path, text_of_the_asset)
    graph_def = meta_graph.graph_def
    add_function(graph_def, "inner", ["p"], "b:contents:0", make_node("b", "ReadFile", ["p"]))
    add_function(graph_def, "outer", ["p"], "c:output:0", make_call("c", "inner", ["p"], 1))
    value = harmful_models.find_asset_value(graph_def)
    graph_def.node.append(make_call("answer", "outer", [value], 1))
    meta_graph.signature_def["serving_default"].outputs["y"].name = "answer:0"
    done = run("savedmodel_pretrained", "--saved-model", harmful_models.write_saved_model(tmp_path, meta_graph))
    assert (done.status, done.stderr) == (0, "")
    assert "honest" in done.stdout
