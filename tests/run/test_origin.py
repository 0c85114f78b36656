"""The models that TensorFlow's own calls convert, and a model that begins from the same state each time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from handmade_graphs import Node, X, graph

from serialization.graph.graph_index import GraphIndex
from serialization.run.origin import run_from_first_state, takes_plain_calls

V: Node = ("v", "VarHandleOp", [])
OLD: Node = ("v", "VariableV2", [])
GRAPHS: dict[str, tuple[list[Node], bool]] = {
    "no variable": ([X, ("y", "Neg", ["x"])], True),
    "a variable that is read": ([X, V, ("r", "ReadVariableOp", ["v"])], True),
    "rows of a variable": ([X, V, ("y", "ResourceGather", ["v", "x"])], True),
    "a reference that is read": ([OLD, ("r", "Identity", ["v"])], True),
    "a variable read through an op": ([V, ("i", "Identity", ["v"]), ("r", "ReadVariableOp", ["i"])], False),
    "rows through an op": ([X, V, ("i", "Enter", ["v"]), ("y", "ResourceGather", ["i", "x"])], False),
    "a reference that switches": ([OLD, ("s", "RefSwitch", ["v"])], False),
    "an assignment": ([X, V, ("a", "AssignVariableOp", ["v", "x"])], False),
    "a training op": ([X, OLD, ("a", "ApplyGradientDescent", ["v", "x", "x"])], False),
    "a table": ([X, ("t", "HashTableV2", [])], False),
    "a dataset": ([X, ("d", "TensorSliceDataset", ["x"])], False),
}


@pytest.mark.parametrize("name", GRAPHS)
def test_plain_calls_convert_variables_that_are_only_read(name: str) -> None:
    nodes, is_plain = GRAPHS[name]
    assert takes_plain_calls(GraphIndex(graph(*nodes))) == is_plain


def test_plain_calls_do_not_look_into_functions() -> None:
    assert not takes_plain_calls(GraphIndex(graph(X, F=[])))


def test_each_run_begins_from_the_first_state() -> None:
    opened: list[str] = []

    @contextmanager
    def afresh() -> Iterator[Any]:
        counted = 0

        def predict(values: Any) -> Any:
            nonlocal counted
            counted += values["by"]
            return {"count": counted}

        opened.append("open")
        yield predict
        opened.append("closed")

    once, twice = run_from_first_state(afresh)
    two: Any = {"by": 2}
    assert [once(two), once(two), twice(two), once(two)] == [{"count": n} for n in (2, 2, 4, 2)]
    assert opened == ["open", "closed"] * 4
