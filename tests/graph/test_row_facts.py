"""What a graph shows about its rows."""

from __future__ import annotations

import pytest
from serving_models import open_small

from serialization.graph.row_facts import RowFacts, find_row_facts, have_rows
from serialization.graph.signature import Signature, Tensor


@pytest.mark.parametrize(
    ("name", "independent", "bounded"),
    [
        ("matrices", True, True),
        ("text", True, False),  # a text has any length
        ("centred", False, False),
        ("slow for large values", False, False),
        ("switch", False, False),
    ],
)
def test_rows_and_times_are_judged_by_the_graph(name: str, independent: bool, bounded: bool) -> None:
    session, signature = open_small(name)
    assert find_row_facts(session.graph.as_graph_def(), signature) == RowFacts(independent, bounded)


@pytest.mark.parametrize(("shape", "rows"), [((None, 2), True), ((1, 2), False), ((), False), (None, False)])
def test_rows_are_an_open_first_size(shape: tuple[int | None, ...] | None, rows: bool) -> None:
    x, y = (Tensor(key, f"{key}:0", "float32", shape) for key in "xy")
    assert have_rows(Signature((x,), (y,))) == rows
    assert not have_rows(Signature((x,), (Tensor("y", "y:0", "float32", ()),)))
