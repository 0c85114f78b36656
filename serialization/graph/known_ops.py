"""The ops that TensorFlow registers, read from known_ops.txt without starting TensorFlow.

Each line is an op: its name, with `*` after it if the op is stateful, how many inputs it takes, and its outputs.
`1+N+*Tin` inputs are one, as many as attribute N says, and as many as attribute Tin lists dtypes. An output is the
number of its dtype, or the attribute that holds the dtype, with the default after `=`. `N*` before an output means that
attribute N is the number of such outputs; `*` alone means that the attribute is a list of dtypes.
`python -m serialization.graph.known_ops` writes the list from the runtime's registry, and
tests/graph/test_known_ops.py fails if the two differ.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from serialization.formats import protos

_FILE = Path(__file__).with_suffix(".txt")


@cache
def load_known_ops() -> dict[str, bool]:
    """The registered ops by name, each with whether it is stateful."""
    return {name.rstrip("*"): name.endswith("*") for name in (line.split()[0] for line in _lines())}


@cache
def load_op_outputs() -> dict[str, list[str]]:
    """The outputs of the registered ops by name, as known_ops.txt writes them."""
    return {name.rstrip("*"): words for name, _, *words in (line.split() for line in _lines())}


@cache
def load_op_inputs() -> dict[str, tuple[int, tuple[str, ...]]]:
    """How many inputs the registered ops take, by name: a number, and the attributes that say how many more."""
    found = {}
    for line in _lines():
        name, inputs, *_ = line.split()
        count, *attributes = inputs.split("+")
        found[name.rstrip("*")] = int(count), tuple(attributes)
    return found


def describe_op_inputs(definition: Any) -> str:
    """How many inputs an OpDef takes, as known_ops.txt writes it."""
    several = [
        arg.number_attr or f"*{arg.type_list_attr}"
        for arg in definition.input_arg
        if arg.number_attr or arg.type_list_attr
    ]
    return "+".join([str(len(definition.input_arg) - len(several)), *several])


def describe_op_outputs(definition: Any) -> list[str]:
    """The outputs of an OpDef, as known_ops.txt writes them."""
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
    # From the C API: Python's op_def_registry only has the ops that were looked up in it.
    from tensorflow.python.client import pywrap_tf_session

    buffer = pywrap_tf_session.TF_GetBuffer(pywrap_tf_session.TF_GetAllOpList())
    ops = protos.OpList.FromString(buffer).op
    return sorted(
        " ".join([f"{op.name}{'*' * op.is_stateful}", describe_op_inputs(op), *describe_op_outputs(op)]) for op in ops
    )


def _lines() -> list[str]:
    return _FILE.read_text().splitlines()


if __name__ == "__main__":
    _FILE.write_text("\n".join(list_registered_ops()) + "\n")
