"""The ops that TensorFlow registers, known without starting it.

known_ops.txt lists them, one a line: the name, with `*` after it if the op is stateful, then its outputs. An output is
the number of its dtype or the attribute that has it, with the default after `=`; `N*` before it says that attribute N
counts how many there are, `*` alone that the attribute is a list of dtypes. The list is written from the runtime's
registry by `python -m serialization.graph.known_ops`, and tests/graph/test_known_ops.py fails where the two differ.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from serialization.formats import protos

_FILE = Path(__file__).with_suffix(".txt")


@cache
def load_known_ops() -> dict[str, bool]:
    """Every registered op, and whether it is stateful."""
    return {name.rstrip("*"): name.endswith("*") for name in (line.split()[0] for line in _lines())}


@cache
def load_op_outputs() -> dict[str, list[str]]:
    """The outputs of every registered op, in the words of the list."""
    return {name.rstrip("*"): words for name, *words in (line.split() for line in _lines())}


def describe_op_outputs(definition: Any) -> list[str]:
    """The outputs of an OpDef, in the words of the list."""
    defaults = {attribute.name: attribute.default_value.type for attribute in definition.attr}
    words = []
    for output in definition.output_arg:
        if output.type_list_attr:
            words.append(f"*{output.type_list_attr}")
            continue
        dtype = str(output.type) if output.type else output.type_attr
        default = f"={defaults[output.type_attr]}" if defaults.get(output.type_attr) else ""
        words.append(f"{output.number_attr}*{dtype}{default}" if output.number_attr else dtype + default)
    return words


def list_registered_ops() -> list[str]:
    """The lines of known_ops.txt, from the runtime's registry."""
    # The C API's own list: Python's op_def_registry only knows the ops that were looked up in it.
    from tensorflow.python.client import pywrap_tf_session

    buffer = pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList())
    ops = protos.OpList.FromString(buffer).op
    return sorted(" ".join([f"{op.name}{'*' * op.is_stateful}", *describe_op_outputs(op)]) for op in ops)


def _lines() -> list[str]:
    return _FILE.read_text().splitlines()


if __name__ == "__main__":
    _FILE.write_text("\n".join(list_registered_ops()) + "\n")
