"""A repaired op computes the same as TensorFlow's own op on a real variable; damaged graphs are refused."""

from __future__ import annotations

from typing import Any

import pytest

from serialization.errors import UserError
from serialization.graph.graph_index import GraphIndex
from serialization.graph.repair import make_graph_loadable, remove_refs
from serialization.tensorflow import np, tf, tf1

ROWS = np.arange(12, dtype="f").reshape(4, 3) + 1
UPDATES = np.array([[1, 2, 3], [4, 5, 6]], "f")


@pytest.mark.parametrize("how", ["Update", "Add", "Sub", "Mul", "Div", "Min", "Max"])
@pytest.mark.parametrize(
    ("indices", "updates"),
    [([2, 0], UPDATES), ([1, 1], UPDATES), (3, UPDATES[0]), ([[2], [0]], UPDATES[:, None]), ([0, 3], np.float32(2))],
    ids=["rows", "twice the same", "one row", "a column of rows", "one number"],
)
def test_scatter_ops_compute_the_same_as_on_a_variable(how: str, indices: Any, updates: Any) -> None:
    if how == "Update" and indices == [1, 1]:
        indices = [1, 2]  # which of two updates wins is not specified
    with tf1.Graph().as_default() as graph, tf1.Session() as session:
        variable = tf1.get_variable("v", initializer=ROWS, use_resource=False)
        scatter = getattr(tf1, f"scatter_{how.lower()}")(variable, indices, updates)
        graph_def = graph.as_graph_def()
        session.run(variable.initializer)
        expected = session.run(scatter)
    for node in graph_def.node:
        if node.op == "VariableV2":
            node.op = "Const"
            node.attr.clear()
            node.attr["dtype"].type = 1
            node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(ROWS))
    pruned = tf1.graph_util.extract_sub_graph(graph_def, [scatter.op.name])
    lines = remove_refs(GraphIndex(pruned))
    now = next(node.op for node in pruned.node if node.name == scatter.op.name)
    assert lines == [f"replaced 1 Scatter{how} op with {now}"]
    with tf1.Graph().as_default(), tf1.Session() as session:
        tf1.import_graph_def(pruned, name="")
        np.testing.assert_allclose(session.run(scatter.name), expected, rtol=1e-6)


def test_damaged_graphs_are_refused() -> None:
    twice = tf1.GraphDef(node=[tf1.NodeDef(name="a", op="NoOp"), tf1.NodeDef(name="a", op="NoOp")])
    with pytest.raises(UserError) as caught:
        make_graph_loadable(GraphIndex(twice))
    assert str(caught.value) == "the graph is damaged; it has two nodes called a; copy the file here again"
    loose = tf1.GraphDef(node=[tf1.NodeDef(name="a", op="Neg", input=["gone:1"])])
    with pytest.raises(UserError) as caught:
        make_graph_loadable(GraphIndex(loose))
    assert str(caught.value) == "the graph is damaged; node a needs gone, which is not in it; copy the file here again"


def test_colocation_with_missing_nodes_is_removed() -> None:
    graph_def = tf1.GraphDef(node=[tf1.NodeDef(name=name, op="NoOp") for name in "abc"])
    graph_def.node[0].attr["_class"].list.s[:] = [b"loc:@b", b"loc:@gone"]
    graph_def.node[1].attr["_class"].list.s[:] = [b"loc:@gone"]
    assert make_graph_loadable(GraphIndex(graph_def)) == []
    assert list(graph_def.node[0].attr["_class"].list.s) == [b"loc:@b"]
    assert "_class" not in graph_def.node[1].attr


def test_a_placeholder_without_dimensions_in_an_old_graph_has_an_unknown_rank() -> None:
    for producer, unknown in ((23, True), (24, False)):
        graph_def = tf1.GraphDef(node=[tf1.NodeDef(name="x", op="Placeholder")])
        graph_def.versions.producer = producer
        graph_def.node[0].attr["dtype"].type = 1
        graph_def.node[0].attr["shape"].shape.SetInParent()
        make_graph_loadable(GraphIndex(graph_def))
        with tf1.Graph().as_default() as graph:
            tf1.import_graph_def(graph_def, name="")
        assert (graph.get_tensor_by_name("x:0").shape.rank is None) is unknown
