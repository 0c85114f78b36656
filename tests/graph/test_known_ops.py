"""known_ops.txt equals the runtime's registry."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from conftest import PROJECT, environment

from serialization.graph import known_ops
from serialization.graph.known_ops import load_known_ops

LIST = "from serialization.graph.known_ops import list_registered_ops; print(*list_registered_ops(), sep='\\n')"


def test_the_list_equals_the_registry_of_this_tensorflow() -> None:
    listed = Path(known_ops.__file__).with_suffix(".txt").read_text().splitlines()
    # In a process of its own: a test that loads an op library, or tf.lite, adds ops to the registry of this one.
    registered = subprocess.check_output([sys.executable, "-c", LIST], cwd=PROJECT, env=environment(), text=True)
    assert listed == registered.splitlines(), "run `python -m serialization.graph.known_ops`"


def test_stateful_ops_are_marked() -> None:
    assert load_known_ops()["VarHandleOp"] is True
    assert load_known_ops()["MatMul"] is False
