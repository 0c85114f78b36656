"""The shapes that flags give to inputs, and the graph with them. tests/test_freezemodel_edit.py proves the files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from edited_models import build, convolution, list_ops, placeholder, prepare, two_outputs

from freezemodel_edit import replace_inputs
from serialization.errors import UserError
from serialization.flag_types import parse_batch_size, parse_input_shape
from serialization.graph.signature import Signature, Tensor
from serialization.targets.changed_shapes import change_shapes, choose_shapes
from serialization.tensorflow import tf, tf1

SIGNATURE = Signature(
    (
        Tensor("image", "x:0", "float32", (None, 28, 28)),
        Tensor("length", "n:0", "int32", (4,)),
        Tensor("k", "k:0", "float32", ()),
    ),
    (),
)


def test_shapes_by_key_and_by_name() -> None:
    given = [parse_input_shape("image=[2, None,28]"), parse_input_shape("n:0=[?]")]
    assert choose_shapes(SIGNATURE, given, None) == {"x:0": (2, None, 28), "n:0": (None,)}
    assert choose_shapes(SIGNATURE, given[:1], "any") == {"x:0": (2, None, 28), "n:0": (None,)}
    assert choose_shapes(SIGNATURE, [], 8) == {"x:0": (8, 28, 28), "n:0": (8,)}


@pytest.mark.parametrize(
    ("given", "batch", "said"),
    [
        (["y=[1]"], None, "--input-shape y: no such input; the inputs are image, length, k"),
        (["image=[1]"], None, "--input-shape image: expected 3 sizes, as in [None, 28, 28], got [1]"),
    ],
)
def test_wrong_shapes_are_named(given: list[str], batch: str | None, said: str) -> None:
    with pytest.raises(UserError) as failure:
        choose_shapes(SIGNATURE, [parse_input_shape(text) for text in given], batch)
    assert str(failure.value) == said


def test_a_batch_needs_an_axis() -> None:
    with pytest.raises(UserError, match="the shape of the input x is unknown; give --input-shape x="):
        choose_shapes(Signature((Tensor("x", "x:0", "float32", None),), ()), [], 1)
    with pytest.raises(UserError, match="--batch-size: no input has an axis for a batch"):
        choose_shapes(Signature((Tensor("k", "k:0", "float32", ()),), ()), [], "any")


@pytest.mark.parametrize("text", ["x", "x=1", "=[1]", "x=[a]", "x=[0]", "x=[-2]", "x=[1"])
def test_words_that_are_no_shape(text: str) -> None:
    with pytest.raises(ValueError, match=r"expected NAME=\[SIZE, \.\.\.\]"):
        parse_input_shape(text)


def test_words_that_are_no_batch_size() -> None:
    assert (parse_batch_size("any"), parse_batch_size("3"), parse_input_shape("k=[]")) == ("any", 3, ("k", ()))
    with pytest.raises(ValueError, match="expected a whole number"):
        parse_batch_size("0")


def change(file: Path, make: Callable[[], Any], shapes: dict[str, Any], outputs: str = "y") -> Any:
    ready = prepare(file, build(make), outputs=outputs)
    return change_shapes(ready, None, shapes, lambda graph_def: replace_inputs(graph_def, {}))[0]


def test_a_placeholder_gets_its_shape(tmp_path: Path) -> None:
    shapes = {"x:0": (None, 8, 8, 3)}
    changed = change(tmp_path / "m.pb", lambda: convolution(4), shapes)
    assert [dim.size for dim in changed.index.nodes["x"].attr["shape"].shape.dim] == [-1, 8, 8, 3]
    assert changed.signature.inputs[0].shape == (None, 8, 8, 3)


def test_shapes_that_the_graph_does_not_take_are_said(tmp_path: Path) -> None:
    def make() -> None:
        tf.identity(tf1.placeholder(tf.float32, [None, 6], name="x") @ tf.ones([6, 2]), name="y")

    with pytest.raises(UserError, match="the graph does not take these shapes: Dimensions must be equal"):
        change(tmp_path / "m.pb", make, {"x:0": (None, 5)})


def test_first_sizes_that_differ_are_no_batch(tmp_path: Path) -> None:
    def make() -> None:
        tf.add(placeholder(4, 6), tf.reduce_sum(placeholder(2, 6, name="z"), 0), name="y")

    with pytest.raises(UserError, match="the first sizes of the inputs differ, so they are no batch: x 4, z 2"):
        change(tmp_path / "m.pb", make, {"x:0": (None, 6), "z:0": (None, 6)})
    assert change(tmp_path / "m.pb", make, {"x:0": (None, 6)}).signature.inputs[1].shape == (2, 6)


def test_shapes_that_the_inputs_have_change_nothing(tmp_path: Path) -> None:
    ready = prepare(tmp_path / "m.pb", build(lambda: convolution(4)), outputs="y")
    same, _ = change_shapes(ready, None, {"x:0": (4, 8, 8, 3)}, lambda graph_def: graph_def)
    assert (same.index, same.signature) == (ready.index, ready.signature)
    assert same.changes == ("no shape is changed: the inputs have these shapes already",)


def test_two_inputs_are_one_batch(tmp_path: Path) -> None:
    shapes = {"a:0": (None, 6), "b:0": (None, 2, 3)}
    changed = change(tmp_path / "m.pb", lambda: two_outputs(4), shapes, "y,mean")
    assert [tensor.shape for tensor in changed.signature.inputs] == [(None, 6), (None, 2, 3)]


def test_the_one_axis_that_no_other_size_fits_is_the_batch(tmp_path: Path) -> None:
    def make() -> None:
        tf.identity(tf.concat([placeholder(5, 4, 3), tf.zeros([5, 4, 2])], 2), name="y")

    changed = change(tmp_path / "m.pb", make, {"x:0": (5, None, 3)})
    assert changed.signature.inputs[0].shape == (5, None, 3)
    assert list_ops(changed).count("Tile") == 1
