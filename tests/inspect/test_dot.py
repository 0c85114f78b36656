"""The picture of a graph: few boxes, folded by scope, drawn by Graphviz."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from conftest import Run
from handmade_graphs import X, call, graph

from serialization import project
from serialization.formats import protos
from serialization.graph.graph_index import GraphIndex
from serialization.inspect.dot import draw_graph
from serialization.tensorflow import tf, tf1


def test_the_picture_is_folded_by_scope(run: Run, toy: Path, tmp_path: Path) -> None:
    done = run("model_inspect", toy / "graph.ckpt", "--dot", tmp_path / "graph.dot")
    assert done.stdout.endswith(f"wrote {tmp_path}/graph.dot\n")
    lines = (tmp_path / "graph.dot").read_text().splitlines()
    assert lines[0] == "digraph model {"
    assert lines[-1] == "}"
    name = r'"(?:[^"\\]|\\.)*"'
    boxes = [line for line in lines[4:-1] if re.fullmatch(rf"  {name} \[label={name}(, \w+=[\w\"#]+)*\];", line)]
    edges = [line for line in lines[4:-1] if re.fullmatch(rf"  {name} -> {name}( \[label={name}\])?;", line)]
    assert len(boxes) + len(edges) == len(lines) - 5
    assert any('label="Placeholder/inputs_placeholder\\nfloat32 [None, 10]", shape=ellipse, ' in box for box in boxes)
    assert not any("Adam" in box for box in boxes), "the outputs do not need the training ops"


def inception() -> Any:
    """Eleven blocks of four branches each, as tf-slim names them: more than 1,500 nodes."""
    with tf1.Graph().as_default() as graph:
        y = tf1.placeholder(tf.float32, [None, 16, 16, 3], name="images")
        for block in range(11):
            with tf1.variable_scope(f"Inception/Mixed_{block}"):
                branches = []
                for branch in range(4):
                    with tf1.variable_scope(f"Branch_{branch}"):
                        weights = tf1.get_variable("weights", [3, 3, int(y.shape[-1]), 4], use_resource=False)
                        branches.append(tf.nn.relu(tf1.nn.conv2d(y, weights, [1, 1, 1, 1], "SAME")))
                y = tf.concat(branches, 3)
        with tf1.variable_scope("Inception/Predictions"):
            tf.nn.softmax(tf.reduce_mean(y, [1, 2]))
    return graph.as_graph_def()


@pytest.mark.skipif(shutil.which("dot") is None, reason="optional: Graphviz")
def test_graphviz_draws_pictures_that_fit_on_two_screens(run: Run, toy: Path, tmp_path: Path) -> None:
    (tmp_path / "inception.pb").write_bytes(inception().SerializeToString())
    pictures = {}
    for name, path in (
        ("toy", toy / "graph.ckpt"),
        ("resnet", project.PRETRAINED / "1"),
        ("inception", tmp_path / "inception.pb"),
    ):
        assert run("model_inspect", path, "--dot", tmp_path / f"{name}.dot").status == 0
        words = ["dot", "-Tsvg", str(tmp_path / f"{name}.dot")]
        done = subprocess.run(words, capture_output=True, text=True, check=True)
        assert done.stderr == ""
        picture = ElementTree.fromstring(done.stdout)
        groups = [group for group in picture.iter() if group.get("class") == "node"]
        shown = [[text.text for text in group.iter() if text.tag.endswith("text")] for group in groups]
        width, height = (float(str(picture.get(side)).removesuffix("pt")) for side in ("width", "height"))
        assert len(groups) <= 45
        assert width < 900, "wider than a screen"
        assert height < 1800, "higher than two screens"
        pictures[name] = shown
    assert ["Placeholder/inputs_placeholder", "float32 [None, 10]"] in pictures["toy"]
    assert ["stage1_block1", "Conv2D 2, FusedBatchNormV3 2, Relu 2, AddV2, 10 variables", "27 nodes"] in pictures[
        "resnet"
    ]
    blocks = [lines for lines in pictures["inception"] if str(lines[0]).startswith("Inception/Mixed_")]
    assert [lines[0] for lines in blocks] == [f"Inception/Mixed_{block}" for block in range(11)]
    assert {str(lines[1]) for lines in blocks} == {"Conv2D 4, Relu 4, ConcatV2, 4 variables"}


def test_a_large_picture_has_few_boxes_and_hostile_names_are_quoted() -> None:
    graph_def = protos.GraphDef()
    graph_def.node.add(name='x"];evil\\', op="Placeholder")
    before = 'x"];evil\\'
    for number in range(3000):
        node = graph_def.node.add(name=f"layer_{number % 200}/part_{number % 7}/op_{number}", op="Relu", input=[before])
        before = node.name
    drawn = draw_graph(GraphIndex(graph_def), [before])
    assert drawn.count(" [label=") - drawn.count(" -> ") <= 45
    assert '"x\\"];evil\\\\"' in drawn


LAYERS = graph(
    X,
    ("dense/w", "VariableV2", []),
    ("dense/product", "MatMul", ["x", "dense/w"]),
    ("dense/again", "MatMul", ["x", "dense/w"]),
    ("y", "Softmax", ["dense/product"]),
    ("train/loss", "Mean", ["dense/again"]),
)


def test_only_nodes_that_the_outputs_need_are_drawn() -> None:
    drawn = draw_graph(GraphIndex(LAYERS), ["y:0"])
    assert 'label="4 of 6 nodes that the outputs need; a number at an arrow counts tensors"' in drawn
    assert '"y" [label="y\\nSoftmax", fillcolor="#fbe4e6", penwidth=2];' in drawn
    assert "train" not in drawn
    everything = draw_graph(GraphIndex(LAYERS), [])
    assert 'label="6 of 6 nodes; a number at an arrow counts tensors"' in everything
    assert '"train/loss" [label="train/loss\\nMean"];' in everything


def test_a_scope_is_one_box_with_its_ops_and_variables() -> None:
    drawn = draw_graph(GraphIndex(LAYERS), [], boxes=3)
    assert '"dense" [label="dense\\nMatMul 2, 1 variable", fillcolor="#fdf1da"];' in drawn
    assert '"x" -> "dense" [label="2"];' in drawn
    assert '"dense" -> "y";' in drawn


def test_a_graph_that_only_calls_a_function_is_drawn_as_the_function() -> None:
    body = [("one", "Neg", ["arg"]), ("two", "Neg", ["one:y:0"]), ("three", "Neg", ["two:y:0"])]
    graph_def = call(graph(X, ("y", "StatefulPartitionedCall", ["x"]), F=body), "y", "F")
    drawn = draw_graph(GraphIndex(graph_def), ["y"])
    assert 'label="function F: 3 nodes"' in drawn
    assert '"one" -> "two";' in drawn


def test_a_graph_without_nodes_is_an_empty_picture() -> None:
    assert draw_graph(GraphIndex(graph()), []).count("\n") == 5
