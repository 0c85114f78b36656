"""A loop of TensorFlow 1's control flow becomes a While again, where a list of tensors goes through it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import exported_models
import pytest

from serialization.graph.functional_loops import raise_list_loops
from serialization.graph.inlining import inline_functions
from serialization.tensorflow import np, tf, tf1


def run(graph_def: Any, rows: Any) -> Any:
    with tf1.Graph().as_default() as graph:
        tf1.import_graph_def(graph_def, name="")
    with tf1.Session(graph=graph) as session:
        return session.run("y:0", {"x:0": rows})


def count(graph_def: Any) -> Counter[str]:
    return Counter(node.op for node in graph_def.node)


def freeze_lists(nested: bool) -> Any:
    """X float32 [n, 3] -> y [n, 3], by a loop that reads and writes lists; the loop inside of it does so too."""

    def inner(row: Any) -> Any:
        def step(i: Any, held: Any) -> Any:
            return i + 1, tf.raw_ops.TensorListSetItem(input_handle=held, index=i, item=row[i] * 2)

        scalar = tf.constant([], tf.int32)
        empty = tf.raw_ops.TensorListReserve(element_shape=scalar, num_elements=3, element_dtype=tf.float32)
        _, held = tf1.while_loop(lambda i, _: i < 3, step, [0, empty])
        stacked = tf.raw_ops.TensorListStack(input_handle=held, element_shape=scalar, element_dtype=tf.float32)
        return tf.ensure_shape(stacked, [3])

    def build() -> None:
        x = tf1.placeholder(tf.float32, [None, 3], name="x")
        outer = tf.map_fn(inner if nested else lambda row: row * 2, x)
        tf.identity(outer, name="y")

    with tf1.Graph().as_default() as graph:
        build()
    return inline_functions(graph.as_graph_def(), ["y:0"])


@pytest.mark.parametrize(("nested", "loops"), [(False, 1), (True, 2)])
def test_loops_with_lists_become_functions(nested: bool, loops: int) -> None:
    lowered = freeze_lists(nested)
    assert count(lowered)["LoopCond"] == loops
    raised = raise_list_loops(lowered)
    assert (count(raised)["While"], count(raised)["LoopCond"], count(raised)["Enter"]) == (1, 0, 0)
    inside = [node.op for function in raised.library.function for node in function.node_def]
    assert (inside.count("While"), inside.count("LoopCond")) == (loops - 1, 0)
    rows = np.arange(12, dtype="f").reshape(4, 3)
    np.testing.assert_array_equal(run(raised, rows), rows * 2)


def test_other_loops_and_graphs_stay(tmp_path: Path) -> None:
    for build in (exported_models.loop, exported_models.images):
        graph_def = tf1.GraphDef.FromString(exported_models.write(build, tmp_path / "m").read_bytes())
        assert raise_list_loops(graph_def) is graph_def
