"""Whether TensorFlow has kernels for the ops of a graph on the devices of this machine.

An op may be registered and have no kernel, or one for other devices only. The runtime says so when it first runs the
graph, whatever it was about to do.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from serialization.console import format_count
from serialization.errors import UserError
from serialization.formats import dtypes
from serialization.formats.dtypes import get_base_dtype, get_dtype_name
from serialization.graph.graph_def import iterate_nodes
from serialization.graph.known_ops import load_ops_without_kernel
from serialization.tensorflow import import_quietly, tf

_REPLACED = frozenset({"AccumulateNV2"})  # by a pass that each session runs over its graph
# Nearly every op has kernels for these: only other dtypes are worth the 2 ms that it takes to ask.
_USUAL = frozenset(
    {dtypes.FLOAT, dtypes.INT32, dtypes.INT64, dtypes.STRING, dtypes.BOOL, dtypes.RESOURCE, dtypes.VARIANT}
)
_LABEL = "_kernel"  # the attribute of a node that asks for a special kernel by its label
_LISTED = 5


def find_ops_without_kernel(graph_def: Any) -> dict[str, list[str]]:
    """The names of the nodes, by op, for which TensorFlow has no kernel on a CPU."""
    known = load_ops_without_kernel().keys() - _REPLACED
    found: dict[str, list[str]] = {}
    for node in iterate_nodes(graph_def):
        if node.op in known and _LABEL not in node.attr:
            found.setdefault(node.op, []).append(node.name)
    return found


def describe_devices(op: str) -> str:
    """The devices of the kernels of an op that has none for CPU, as a clause."""
    others = load_ops_without_kernel()[op]
    return f"which has a kernel for {' and '.join(others)} and none for CPU" if others else "which has no kernel"


def require_kernels(graph_def: Any, what: str) -> None:
    """Raise UserError that names the ops which no device of this machine can run, and the devices that can."""
    found = find_ops_without_kernel(graph_def)
    here = {device.device_type for device in tf.config.list_physical_devices()} if found else set()
    absent = {op: names for op, names in found.items() if not here & set(load_ops_without_kernel()[op])}
    missing = [f"{op}, {describe_devices(op)} ({_count(names)})" for op, names in absent.items()]
    missing += [] if absent else _find_missing_dtypes(graph_def)
    if missing:
        more = f" and {len(missing) - _LISTED} more ops" if len(missing) > _LISTED else ""
        elsewhere = "run it on a machine with a GPU, or " if any("GPU" in line for line in missing) else ""
        raise UserError(
            f"{what} cannot be run on this machine; its graph needs {', '.join(missing[:_LISTED])}{more}; "
            f"{elsewhere}cut the graph around these nodes with --inputs and --outputs"
        )


def _find_missing_dtypes(graph_def: Any) -> Iterable[str]:
    """Ops whose kernels here do not take the dtypes of a node."""
    seen = set()
    for node in iterate_nodes(graph_def):
        types = {name: get_base_dtype(value.type) for name, value in node.attr.items() if value.type}
        key = (node.op, *sorted(types.items()))
        if key not in seen and not _USUAL.issuperset(types.values()) and _LABEL not in node.attr:
            seen.add(key)
            if not _has_kernel(node.op, types):
                shown = ", ".join(get_dtype_name(number) for number in dict.fromkeys(types.values()))
                yield f"{node.op}, which has no kernel for {shown} on CPU (node {node.name})"


def _has_kernel(op: str, types: Mapping[str, int]) -> bool:
    """Whether a device of this machine has a kernel of the op for these dtypes, by attribute."""
    # TensorFlow has no public list of kernels; tests/graph/test_kernels.py fails if this one goes.
    kernels = import_quietly("tensorflow.python.framework.kernels")
    here = {"DEFAULT", *(device.device_type for device in tf.config.list_physical_devices())}
    registered = [kernel for kernel in kernels.get_registered_kernels_for_op(op).kernel if not kernel.label]
    return not registered or any(kernel.device_type in here and _takes(kernel, types) for kernel in registered)


def _takes(kernel: Any, types: Mapping[str, int]) -> bool:
    return all(one.name not in types or types[one.name] in one.allowed_values.list.type for one in kernel.constraint)


def _count(names: Sequence[str]) -> str:
    more = f" and {format_count(len(names) - 1, 'more node')}" if names[1:] else ""
    return f"node {names[0]}{more}"
