"""A function of a part of a graph computes what the part computes."""

from __future__ import annotations

from typing import Any

import pytest

from serialization.errors import UserError
from serialization.graph.function_body import make_function
from serialization.graph.graph_index import GraphIndex
from serialization.tensorflow import np, tf, tf1


@pytest.fixture(scope="module")
def index() -> GraphIndex:
    with tf1.Graph().as_default() as graph:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        w = tf1.get_variable("w", [2], use_resource=True)
        parts = tf.split(x, 2, axis=1, name="parts")
        values, indices = tf.math.top_k(parts[1] * w, name="top")
        with tf1.control_dependencies([x.op, values.op]):
            tf.add_n([values, tf.cast(indices, tf.float32)], name="sum")
        tf.add(x, tf1.placeholder(tf.float32, [], name="other"), name="needs_more")
        return GraphIndex(graph.as_graph_def())


def call(function: Any, *arguments: Any) -> list[Any]:
    """The results of a FunctionDef, called in a graph that has it."""
    with tf1.Graph().as_default(), tf1.Session() as session:
        graph_def = tf1.GraphDef()
        graph_def.library.function.append(function)
        node = graph_def.node.add(name="call", op="StatefulPartitionedCall")
        node.attr["f"].func.name = function.signature.name
        node.attr["Tin"].list.type.extend(arg.type for arg in function.signature.input_arg)
        node.attr["Tout"].list.type.extend(arg.type for arg in function.signature.output_arg)
        fed = {}
        for number, (arg, value) in enumerate(zip(function.signature.input_arg, arguments, strict=True)):
            graph_def.node.add(name=f"in{number}", op="Placeholder").attr["dtype"].type = arg.type
            node.input.append(f"in{number}")
            fed[f"in{number}:0"] = value
        tf1.import_graph_def(graph_def, name="")
        count = len(function.signature.output_arg)
        found: list[Any] = session.run([f"call:{number}" for number in range(count)], fed)
        return found


X, W = np.array([[1, 2, 3, 4], [5, 6, 8, 7]], "f"), np.array([1, 10], "f")


def test_several_outputs_of_a_node_and_control_edges(index: GraphIndex) -> None:
    results = ["sum:0", "top:1", "parts:0", "x:0", "sum:0"]
    function = make_function(index, "f", ["x:0", "mul/ReadVariableOp:0"], results)
    assert [arg.name for arg in function.signature.input_arg] == ["argument_0", "argument_1"]
    assert not function.signature.is_stateful
    total, indices, first, same, again = call(function, X, W)
    assert total.tolist() == again.tolist() == [[41.0], [71.0]]
    assert indices.tolist() == [[1], [1]]
    assert first.tolist() == [[1, 2], [5, 6]]
    assert same.tolist() == X.tolist()


def test_a_tensor_in_the_middle_is_an_argument(index: GraphIndex) -> None:
    function = make_function(index, "f", ["parts:1", "mul/ReadVariableOp:0"], ["top:0"])
    assert [node.name for node in function.node_def if node.op == "Split"] == []
    assert call(function, X[:, 2:], W)[0].tolist() == [[40.0], [70.0]]


def test_stateful_ops_run_though_nothing_takes_their_results(index: GraphIndex) -> None:
    function = make_function(index, "f", ["x:0"], ["sum:0"])
    assert function.signature.is_stateful
    assert {"w", "mul/ReadVariableOp"} <= set(function.signature.control_output) == set(function.control_ret)


def test_what_cannot_be(index: GraphIndex) -> None:
    with pytest.raises(UserError, match="other is not among the inputs; name it in --inputs"):
        make_function(index, "f", ["x:0"], ["needs_more:0"])
    with pytest.raises(UserError, match="no tensor parts:2 in the graph; parts has fewer outputs"):
        make_function(index, "f", ["x:0"], ["parts:2"])
