"""Nodes are renamed wherever a MetaGraphDef names them."""

from __future__ import annotations

from typing import Any

import pytest

from serialization.errors import UserError
from serialization.graph.rename_nodes import rename_nodes
from serialization.tensorflow import np, tf, tf1


def build() -> None:
    """Variables of both kinds in a loop and a condition of TensorFlow 1, a queue, colocated nodes, a saved Saver."""
    x = tf1.placeholder(tf.float32, [None], name="x")
    a = tf1.get_variable("a", initializer=2.0, use_resource=False)
    b = tf1.get_variable("s/b", initializer=3.0, use_resource=True)
    tf1.disable_control_flow_v2()
    try:
        y = tf1.cond(tf.reduce_sum(x) > a, lambda: x * a, lambda: x + b)
        _, z = tf1.while_loop(lambda i, _: i < 2, lambda i, y: (i + 1, y * a + b), (0, y))
    finally:
        tf1.enable_control_flow_v2()
    with tf1.colocate_with(a.op):
        tf.identity(z, name="y")
    tf1.train.shuffle_batch([tf.identity(a)], 2, 10, 2, name="queue")
    tf1.add_to_collection("mine", a.value())
    tf1.add_to_collection("numbers", 7)
    tf1.add_to_collection(tf1.GraphKeys.SAVERS, tf1.train.Saver())


@pytest.fixture(scope="module")
def meta_graph() -> Any:
    with tf1.Graph().as_default():
        build()
        return tf1.train.export_meta_graph()


def run_renamed(meta_graph: Any, *names: str) -> Any:
    with tf1.Graph().as_default() as graph, tf1.Session() as session:
        tf1.train.import_meta_graph(meta_graph)
        session.run(tf1.global_variables_initializer())
        assert {variable.op.name for variable in tf1.global_variables()} == set(names)
        assert graph.get_collection("numbers") == [7]
        assert graph.get_collection("mine")[0].op.name.startswith(min(names))
        assert tf1.get_collection(tf1.GraphKeys.QUEUE_RUNNERS)
        assert tf1.get_collection(tf1.GraphKeys.SAVERS)
        return session.run("y:0", {"x:0": np.array([1, 2, 3], "f")})


def test_the_renamed_graph_computes_the_same(meta_graph: Any) -> None:
    renamed = type(meta_graph)()
    renamed.CopyFrom(meta_graph)
    rename_nodes(renamed, {"a": "deep/er/a", "s/b": "zz"})
    left = {name for node in renamed.graph_def.node for name in (node.name, *node.input)}
    assert not any(name.lstrip("^").startswith(("a/", "s/b")) or name in ("a", "^a") for name in left)
    handle = next(node for node in renamed.graph_def.node if node.name == "zz")
    assert handle.attr["shared_name"].s == b"zz"
    wanted = run_renamed(meta_graph, "a", "s/b")
    assert (run_renamed(renamed, "deep/er/a", "zz") == wanted).all()


@pytest.mark.parametrize(
    ("names", "line"),
    [
        ({"a": "y"}, "a would be called y in the graph, where another op has that name; choose another one"),
        ({"a": "t", "s/b": "t"}, "s/b would be called t in the graph, where another op has that name"),
        ({"a": "_a"}, "would be called _a"),
        ({"s/b": "a b"}, "in the graph, where names have letters, digits and _ . - / > \\ alone"),
    ],
)
def test_names_that_cannot_be(meta_graph: Any, names: dict[str, str], line: str) -> None:
    copy = type(meta_graph)()
    copy.CopyFrom(meta_graph)
    with pytest.raises(UserError) as caught:
        rename_nodes(copy, names)
    assert line in str(caught.value)


def test_a_damaged_collection_is_one_line(meta_graph: Any) -> None:
    copy = type(meta_graph)()
    copy.CopyFrom(meta_graph)
    copy.collection_def["variables"].bytes_list.value[0] = b"\x0a\xff"
    with pytest.raises(UserError, match="the graph is damaged; a VariableDef of its collections cannot be read"):
        rename_nodes(copy, {"a": "b"})
