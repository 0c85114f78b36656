"""known_ops.txt equals the runtime's registry."""

from __future__ import annotations

from pathlib import Path

from serialization.graph import known_ops
from serialization.graph.known_ops import list_registered_ops, load_known_ops


def test_the_list_equals_the_registry_of_this_tensorflow() -> None:
    listed = Path(known_ops.__file__).with_suffix(".txt").read_text().splitlines()
    assert listed == list_registered_ops(), "run `python -m serialization.graph.known_ops`"


def test_stateful_ops_are_marked() -> None:
    assert load_known_ops()["VarHandleOp"] is True
    assert load_known_ops()["MatMul"] is False
