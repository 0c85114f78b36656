"""The ops that TensorFlow registers, read from known_ops.txt without starting TensorFlow.

Each line is an op: its name, how many inputs it takes, and its outputs. After the name, `*` says that the op is
stateful, `<9` that the versions of GraphDef from 9 on no longer have it, `!GPU` that it has no kernel for CPU, but for
the named devices, if any. `1+N+*Tin` inputs are one, as many as attribute N says, and as many as attribute Tin lists
dtypes. An output is the number of its dtype, or the attribute that holds the dtype, with the default after `=`. `N*`
before an output means that attribute N is the number of such outputs; `*` alone means that the attribute is a list of
dtypes.
`python -m serialization.graph.known_ops` writes the list from the runtime's registry, and
tests/graph/test_known_ops.py fails if the two differ.
"""

from __future__ import annotations

import re
from collections import defaultdict
from functools import cache
from pathlib import Path
from typing import Any

from serialization.formats import protos
from serialization.tensorflow import import_quietly

_FILE = Path(__file__).with_suffix(".txt")
_NAME = re.compile(r"(?P<op>[^*<!]+)(?P<stateful>\*?)(?:<(?P<ended>\d+))?(?:!(?P<devices>.*))?")
_ON_CPU = {"CPU", "DEFAULT"}


@cache
def load_known_ops() -> dict[str, bool]:
    """The registered ops by name, each with whether it is stateful."""
    return {op: bool(found["stateful"]) for op, (found, _, _) in _read().items()}


@cache
def load_op_outputs() -> dict[str, list[str]]:
    """The outputs of the registered ops by name, as known_ops.txt writes them."""
    return {op: outputs for op, (_, _, outputs) in _read().items()}


@cache
def load_op_inputs() -> dict[str, tuple[int, tuple[str, ...]]]:
    """The number of inputs of the registered ops, by name: a number, and the attributes that hold further numbers."""
    found = {}
    for op, (_, inputs, _) in _read().items():
        count, *attributes = inputs.split("+")
        found[op] = int(count), tuple(attributes)
    return found


@cache
def load_removed_ops() -> dict[str, int]:
    """The ops that later versions of GraphDef lack, each with the first such version."""
    return {op: int(found["ended"]) for op, (found, _, _) in _read().items() if found["ended"]}


@cache
def load_ops_without_kernel() -> dict[str, list[str]]:
    """The ops without a kernel for CPU, each with the types of the devices that it has kernels for."""
    devices = {op: found["devices"] for op, (found, _, _) in _read().items() if found["devices"] is not None}
    return {op: listed.split(",") if listed else [] for op, listed in devices.items()}


@cache
def _read() -> dict[str, tuple[re.Match[str], str, list[str]]]:
    """The words of the list by op: the rest of its first word, then its inputs, then its outputs."""
    split = (line.split() for line in _FILE.read_text().splitlines())
    found = ((_NAME.fullmatch(name), inputs, outputs) for name, inputs, *outputs in split)
    return {match["op"]: (match, inputs, outputs) for match, inputs, outputs in found if match is not None}


def describe_op_inputs(definition: Any) -> str:
    """The number of inputs of an OpDef, as known_ops.txt writes it."""
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
    """The lines of known_ops.txt, from the runtime's registries of ops and of kernels."""
    # From the C API: Python's op_def_registry only has the ops that were looked up in it.
    pywrap_tf_session = import_quietly("tensorflow.python.client.pywrap_tf_session")

    def read(buffer: Any) -> Any:
        return pywrap_tf_session.TF_GetBuffer(buffer)

    devices: dict[str, set[str]] = defaultdict(set)
    for kernel in protos.KernelList.FromString(read(pywrap_tf_session.TF_GetAllRegisteredKernels())).kernel:
        # Kernels with a label are for nodes that ask for it, in the attribute _kernel; XLA's compile, and run nothing.
        if not kernel.label and not kernel.device_type.startswith("XLA"):
            devices[kernel.op].add(kernel.device_type)
    ops = protos.OpList.FromString(read(pywrap_tf_session.TF_GetAllOpList())).op
    return sorted(
        " ".join([_describe_name(op, devices[op.name]), describe_op_inputs(op), *describe_op_outputs(op)]) for op in ops
    )


def _describe_name(op: Any, devices: set[str]) -> str:
    ended = f"<{op.deprecation.version}" if op.deprecation.version else ""
    others = "" if devices & _ON_CPU else f"!{','.join(sorted(devices))}"
    return f"{op.name}{'*' * op.is_stateful}{ended}{others}"


if __name__ == "__main__":
    _FILE.write_text("\n".join(list_registered_ops()) + "\n")
