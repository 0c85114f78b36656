"""Values enter a graph at placeholders and behind input pipelines; only a pipeline needs file names and readers."""

from __future__ import annotations

from typing import Any

import pytest
from handmade_graphs import Node, X, Y, graph

from serialization.graph.graph_index import GraphIndex
from serialization.infer.entrances import find_inputs, find_pipeline_ends, list_variables, list_weights

BATCH: tuple[Node, ...] = (
    ("files", "Placeholder", []),
    ("iterator", "IteratorV2", ["files"]),
    ("next", "IteratorGetNext", ["iterator"]),
)


def index_of(*nodes: Any) -> GraphIndex:
    return GraphIndex(graph(*nodes))


@pytest.mark.parametrize(
    ("nodes", "handed_on"),
    [
        ([("images", "Identity", ["next"])], {"images"}),
        ([("Identity", "Identity", ["next"])], set()),  # nobody named it
        ([("Identity", "Identity", ["next"]), ("images", "Identity", ["Identity"])], {"images"}),
        ([("fed", "PlaceholderWithDefault", ["next"])], {"fed"}),
        ([("scaled", "Mul", ["next", "next"])], set()),  # it computes
        ([("images", "Identity", ["^next"])], set()),  # a control edge carries no batch
        ([("chosen", "Switch", ["next", "test"]), ("test", "Placeholder", [])], set()),
        ([("test", "Switch", ["other", "next"]), ("other", "Placeholder", [])], set()),
        ([("more", "QueueDequeueV2", []), ("one", "Merge", ["next", "more"])], {"more", "one"}),
        ([("other", "Const", []), ("one", "Merge", ["next", "other"])], set()),
    ],
)
def test_the_ends_of_a_pipeline_hand_a_batch_on_unchanged(nodes: list[Any], handed_on: set[str]) -> None:
    assert find_pipeline_ends(index_of(*BATCH, *nodes)) == {"next"} | handed_on


def test_handing_on_ends_in_a_loop() -> None:
    ring = [("a", "Merge", ["next", "b"]), ("b", "Identity", ["a"])]
    assert find_pipeline_ends(index_of(*BATCH, *ring)) == {"next"}


def test_a_python_call_makes_an_input_unless_it_is_computed_with_the_weights() -> None:
    nodes = [("w", "VariableV2", []), ("read", "PyFunc", []), ("y", "MatMul", ["read", "w"]), ("post", "PyFunc", ["y"])]
    assert find_pipeline_ends(index_of(*nodes)) == {"read"}
    assert find_inputs(index_of(*nodes), ["post:0"]) == ["read:0"]


def test_inputs_are_placeholders_then_batches_and_nothing_that_only_a_pipeline_needs() -> None:
    index = index_of(*BATCH, X, ("y", "Mul", ["next:1", "x"]), ("z", "Neg", ["y"]), ("labels", "Placeholder", []))
    assert find_inputs(index, ["z:0"]) == ["x:0", "next:1"]
    assert find_inputs(index, ["z"], given=["y:0"]) == []
    assert find_inputs(index, ["z"], given=["next:1"]) == ["x:0"]
    assert find_inputs(index, ["z", "labels:0"]) == ["x:0", "labels:0", "next:1"]


def test_a_graph_of_constants_and_an_unknown_output_need_no_input() -> None:
    assert find_inputs(index_of(("c", "Const", []), ("y", "Neg", ["c"])), ["y:0"]) == []
    assert find_inputs(index_of(X, Y), ["gone:0"]) == []
    assert find_inputs(index_of(("y", "Neg", ["gone"])), ["y:0"]) == []


def test_weights_are_variables_else_constants_of_floats_with_axes() -> None:
    graph_def = graph(("kernel", "Const", []), ("half", "Const", []), ("axis", "Const", []), ("bare", "Const", []))
    for node, dtype, dims in zip(graph_def.node, (1, 1, 3), ([2, 3], [], [2]), strict=False):
        tensor = node.attr["value"].tensor
        tensor.dtype = dtype
        for size in dims:
            tensor.tensor_shape.dim.add(size=size)
    assert [node.name for node in list_weights(GraphIndex(graph_def))] == ["kernel"]
    graph_def.node.add(name="v", op="VarHandleOp")
    assert [node.name for node in list_weights(GraphIndex(graph_def))] == ["v"]
    assert [node.name for node in list_variables(GraphIndex(graph_def))] == ["v"]
    assert list_variables(index_of(X, Y)) == list_weights(index_of(X, Y)) == []
