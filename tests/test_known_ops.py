"""The generated list of known ops is the runtime's registry."""

from __future__ import annotations

from pathlib import Path

from serialization.graph import known_ops


def test_list_is_the_registry_of_this_tensorflow() -> None:
    listed = Path(known_ops.__file__).with_suffix(".txt").read_text().splitlines()
    assert listed == known_ops.registered(), "run `python -m serialization.graph.known_ops`"


def test_stateful_ops_are_marked() -> None:
    assert known_ops.known()["VarHandleOp"] is True
    assert known_ops.known()["MatMul"] is False
