"""The ops that TensorFlow registers, known without starting it.

known_ops.txt lists them, one a line, with `*` after those that are stateful; `python -m serialization.known_ops` writes
it from the runtime's registry, and tests/test_known_ops.py fails where the two differ.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from serialization import protos

_FILE = Path(__file__).with_suffix(".txt")


@cache
def known() -> dict[str, bool]:
    """Every registered op, and whether it is stateful."""
    return {line.rstrip("*"): line.endswith("*") for line in _FILE.read_text().split()}


def registered() -> list[str]:
    """The lines of known_ops.txt, from the runtime's registry."""
    # The C API's own list: Python's op_def_registry only knows the ops that were looked up in it.
    from tensorflow.python.client import pywrap_tf_session

    buffer = pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList())
    return sorted(f"{op.name}{'*' * op.is_stateful}" for op in protos.OpList.FromString(buffer).op)


if __name__ == "__main__":
    _FILE.write_text("\n".join(registered()) + "\n")
