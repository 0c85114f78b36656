"""Lists of tensors say the shapes of their elements once the sizes of inputs show these, and compute the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import exported_models
import pytest
from edited_models import build, placeholder, run, weights

from serialization.formats import protos
from serialization.graph.const_nodes import read_integers
from serialization.graph.graph_index import GraphIndex
from serialization.graph.list_shapes import say_list_shapes
from serialization.tensorflow import np, tf, tf1

SAYS = {"TensorListReserve": 0, "TensorListFromTensor": 1, "TensorListStack": 1, "TensorListGetItem": 2}


def list_shapes(graph_def: Any) -> dict[str, list[int]]:
    """The shape of an element that each op on a list says, by op."""
    index = GraphIndex(graph_def)
    nodes = [node for node in graph_def.node if node.op in SAYS]
    return {node.op: read_integers(index.producer(node.input[SAYS[node.op]])) for node in nodes}


@pytest.mark.parametrize(("batch", "said"), [(1, 1), (4, 4), (None, -1)])
def test_an_lstm_says_them_of_a_fixed_batch(tmp_path: Path, batch: int | None, said: int) -> None:
    graph_def = protos.GraphDef.FromString(exported_models.write_lstm(tmp_path / "m.pb").read_bytes())
    assert set(map(tuple, list_shapes(graph_def).values())) == {(-1, 4), (-1, 8)}
    next(node for node in graph_def.node if node.name == "x").attr["shape"].shape.dim[0].size = batch or -1
    found = say_list_shapes(graph_def, ["x:0", "Identity:0"])
    assert list_shapes(found) == {
        "TensorListReserve": [said, 8],
        "TensorListStack": [said, 8],
        "TensorListFromTensor": [said, 4],
        "TensorListGetItem": [said, 4],
    }
    feeds = {"x": np.linspace(-1, 1, 20 * (batch or 3)).reshape(-1, 5, 4).astype("f")}
    before, after = (run(one, feeds, "Identity")[0] for one in (graph_def, found))
    np.testing.assert_array_equal(before, after)


def write_elements(grow: bool) -> Any:
    """Lists of elements [1, 2]; with `grow` of what is longer in each step."""

    def step(i: Any, held: Any, value: Any) -> Any:
        held = tf.raw_ops.TensorListPushBack(input_handle=held, tensor=value)
        return i + 1, held, tf.concat([value, value], 0) if grow else value * 2

    def make() -> None:
        x = placeholder(1, 2)
        held = tf.raw_ops.EmptyTensorList(element_shape=[-1, 2], max_num_elements=-1, element_dtype=tf.float32)
        shapes = [tf.TensorShape([]), tf.TensorShape([]), tf.TensorShape([None, 2])]
        _, held, _ = tf1.while_loop(lambda i, *_: i < 3, step, [0, held, x], shape_invariants=shapes)
        _, last = tf.raw_ops.TensorListPopBack(input_handle=held, element_shape=[-1, 2], element_dtype=tf.float32)
        tf.identity(last, name="y")

    return build(make)


@pytest.mark.parametrize(("grow", "said"), [(False, [1, 2]), (True, [-1, 2])])
def test_elements_of_several_shapes_stay_unsaid(grow: bool, said: list[int]) -> None:
    graph_def = write_elements(grow)
    found = say_list_shapes(graph_def, ["x:0", "y:0"])
    index = GraphIndex(found)
    places = {"EmptyTensorList": 0, "TensorListPopBack": 1}
    edges = [node.input[places[node.op]] for node in found.node if node.op in places]
    assert [read_integers(index.producer(edge)) for edge in edges] == [said, said]
    feeds = {"x": np.ones([1, 2], "f")}
    np.testing.assert_array_equal(run(graph_def, feeds, "y")[0], run(found, feeds, "y")[0])


def test_a_graph_without_lists_stays_as_it_is() -> None:
    graph_def = build(lambda: tf.identity(placeholder(2, 3) @ weights(3, 2), name="y"))
    assert say_list_shapes(graph_def, ["x:0", "y:0"]) is graph_def
