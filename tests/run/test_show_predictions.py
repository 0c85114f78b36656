"""A model's predictions are shown, or the message lists the values to feed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import PROJECT, Run

from serialization.errors import UserError
from serialization.graph.graph_index import GraphIndex
from serialization.graph.signature import Signature, Tensor
from serialization.run.given_feeds import parse_feed
from serialization.run.show_predictions import print_predictions
from serialization.tensorflow import np, tf, tf1


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


Y = Tensor("y", "y:0", "float32", (None,))
GRAPH = GraphIndex(tf1.GraphDef())
Printed = pytest.CaptureFixture[str]


def takes(*inputs: Tensor) -> Signature:
    return Signature(inputs, (Y,))


def double(values: Any) -> Any:
    return {"y": values["x"] * 2}


ROW = Tensor("x", "in/x:0", "float32", (None,))


def test_given_values_are_shown_with_their_results(capsys: Printed) -> None:
    print_predictions(double, takes(ROW), GRAPH, [parse_feed("x=[1, 2]")])
    assert capsys.readouterr().out == "in/x:0 float32 [2]\n[1. 2.]\ny:0 float32 [2]\n[2. 4.]\n"


def test_generated_values_are_announced(capsys: Printed) -> None:
    print_predictions(double, takes(ROW), GRAPH)
    first, tensor, *_ = capsys.readouterr().out.splitlines()
    assert (first, tensor) == ("no --feed, so these values are generated:", "in/x:0 float32 [1]")


def test_a_model_without_inputs_has_nothing_to_announce(capsys: Printed) -> None:
    print_predictions(lambda _: {"y": np.array([1], "f4")}, takes(), GRAPH)
    assert capsys.readouterr().out == "y:0 float32 [1]\n[1.]\n"


def test_values_that_the_model_refuses_are_followed_by_others(capsys: Printed) -> None:
    def pairs_only(values: Any) -> Any:
        if len(values["x"]) != 2:
            raise tf.errors.InvalidArgumentError(None, None, "two rows, please")
        return double(values)

    print_predictions(pairs_only, takes(ROW), GRAPH)
    assert "in/x:0 float32 [2]\n" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"^the model does not run on these values: two rows, please$"):
        print_predictions(pairs_only, takes(ROW), GRAPH, [parse_feed("x=[1]")])
    assert capsys.readouterr().out == ""


def test_a_long_value_is_shortened_and_a_given_one_later(capsys: Printed) -> None:
    wide = takes(Tensor("x", "x:0", "float32", (None, 200)))
    print_predictions(double, wide, GRAPH)
    assert "..." in capsys.readouterr().out
    print_predictions(double, wide, GRAPH, [parse_feed(f"x={[[1] * 200]}")])
    assert "..." not in capsys.readouterr().out
