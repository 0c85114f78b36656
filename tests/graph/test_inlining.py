"""Functions are inlined: calls, loops and branches, and what keeps them whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from handmade_graphs import graph as handmade

from serialization.errors import UserError
from serialization.graph.graph_def import iterate_nodes
from serialization.graph.inlining import inline_functions, is_xla_compiled
from serialization.graph.op_sets import BRANCHES, FUNCTION_CALLS, WHILES
from serialization.tensorflow import np, tf, tf1


def build(function: Callable[[Any], Any]) -> Any:
    """A GraphDef that feeds x:0 to a function and ends in y:0."""
    with tf1.Graph().as_default() as built:
        tf.identity(function(tf1.placeholder(tf.float32, [None], name="x")), name="y")
    return built.as_graph_def()


def answer(graph_def: Any) -> list[float]:
    with tf1.Graph().as_default() as imported:
        tf1.import_graph_def(graph_def, name="")
    with tf1.Session(graph=imported) as session:
        return list(session.run("y:0", {"x:0": np.array([1, 2], "f")}))


def ops(graph_def: Any) -> set[str]:
    return {node.op for node in iterate_nodes(graph_def)}


def nested(x: Any) -> Any:
    inner = tf.function(lambda x: x * 2.0)
    return tf.function(lambda x: inner(x) + inner(x))(x)


def looped(x: Any) -> Any:
    return tf.while_loop(lambda i, _: i < 3, lambda i, x: (i + 1, x * 2.0), [0, x])[1]


def branched(x: Any) -> Any:
    return tf.cond(tf.reduce_sum(x) > 0, lambda: x + 1.0, lambda: x - 1.0)


def chosen(x: Any) -> Any:
    return tf.switch_case(tf.cast(x[0], tf.int32), [lambda: x, lambda: x * 10.0])


def kept_whole(x: Any) -> Any:
    compiled = tf.function(lambda x: tf.tanh(x) + 1.0, jit_compile=True)
    return tf.function(lambda x: compiled(x), experimental_attributes={"_noinline": True})(x)


@pytest.mark.parametrize("function", [nested, looped, branched, chosen, kept_whole])
def test_every_call_is_replaced_by_the_nodes_of_the_function(function: Callable[[Any], Any]) -> None:
    graph_def = build(function)
    calls = FUNCTION_CALLS | BRANCHES | WHILES
    assert ops(graph_def) & calls
    before = graph_def.SerializeToString(deterministic=True)
    inlined = inline_functions(graph_def, ["y:0"])
    assert not ops(inlined) & calls
    np.testing.assert_allclose(answer(inlined), answer(graph_def), rtol=1e-6)
    assert graph_def.SerializeToString(deterministic=True) == before, "the given graph is unchanged"


def test_a_graph_without_functions_is_given_back() -> None:
    graph_def = build(tf.negative)
    assert inline_functions(graph_def, ["y:0"]) is graph_def


def test_a_function_that_an_op_takes_stays_one() -> None:
    def mapped(x: Any) -> Any:
        rows = tf.data.Dataset.from_tensor_slices(x).map(lambda row: row * 2.0)
        return tf.function(lambda: rows.reduce(0.0, lambda total, row: total + row))() + x * 0.0

    inlined = inline_functions(build(mapped), ["y:0"])
    assert "MapDataset" in ops(inlined)
    assert inlined.library.function
    assert answer(inlined) == [6.0, 6.0]


@pytest.mark.parametrize(("function", "is_compiled"), [(nested, False), (kept_whole, True)])
def test_a_function_that_xla_compiles_is_seen(function: Callable[[Any], Any], is_compiled: bool) -> None:
    assert is_xla_compiled(build(function)) == is_compiled


def test_a_failure_to_inline_is_one_line() -> None:
    graph_def = handmade(("x", "Placeholder", []), ("y", "Neg", ["x"]), F=[])
    for node in graph_def.node:
        node.attr["dtype" if node.op == "Placeholder" else "T"].type = 1
    with pytest.raises(UserError, match=r"^the functions of the graph cannot be inlined: Failed to import metagraph"):
        inline_functions(graph_def, ["nowhere:0"])
