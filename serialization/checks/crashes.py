"""Finds faults at which TensorFlow's runtime would crash, hang or take all memory, before it gets the graph.

Seen in TensorFlow 2.21: a function that calls itself is inlined until the stack overflows; an Unpack with 2**40 outputs
allocates them one by one; a Const of shape [2**33] that is given one number is filled up to 34 GB.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

from serialization.console import format_count, format_size, make_printable
from serialization.errors import UserError
from serialization.formats.dtypes import get_dtype_size
from serialization.graph.graph_def import find_called_functions, get_node_name, iterate_nodes
from serialization.graph.graph_index import GraphIndex

_COUNTS = ("N", "num", "num_split", "num_outs", "num_outputs", "Nsparse", "Ndense", "num_sparse", "num_dense")
_MOST = 100_000  # inputs or outputs of one node
_FREE = 1 << 30  # bytes that constants may take beyond four times what the file gives for them


def require_sound_graph(index: GraphIndex, what: str, left: Mapping[str, int] | None = None) -> None:
    """Raise UserError, with the faults of the graph, if TensorFlow would crash, hang or take all memory at it.

    `left` gives, by the names of constants, how many bytes of each were left in the file.
    """
    for fault in find_crashes(index, left):
        raise UserError(f"{what} is damaged; {fault}; copy it here again")


def find_crashes(index: GraphIndex, left: Mapping[str, int] | None = None) -> Iterator[str]:
    """The faults of the graph, such as `its function f calls itself`; `left` as in require_sound_graph."""
    if name := _recursive(index):
        yield f"its function {make_printable(name)} calls itself"
    given = sum((left or {}).values())
    taken = 0
    for node in iterate_nodes(index.graph_def):
        for count in _COUNTS:
            number = node.attr[count].i if count in node.attr else 0
            if number > max(_MOST, len(node.input)):
                yield f"its node {make_printable(node.name)} has {number:,} inputs or outputs"
        if node.op == "Const":
            tensor = node.attr["value"].tensor
            given += tensor.ByteSize()
            taken += math.prod(max(0, dim.size) for dim in tensor.tensor_shape.dim) * get_dtype_size(tensor.dtype)
    if taken > 4 * given + _FREE:
        yield f"its constants would take {format_size(taken)}, of which it holds {format_size(given)}"


def find_loose_ends(index: GraphIndex) -> Iterator[str]:
    """A line on inputs whose nodes the graph lacks. They do no harm if no output needs them."""
    edges = ((node.name, get_node_name(edge)) for node in index.graph_def.node for edge in node.input)
    found = [(name, source) for name, source in edges if source not in index.nodes]
    for node, source in found[:1]:
        more = f", and {format_count(len(found) - 1, 'more input')}" if len(found) > 1 else ""
        yield (
            f"the graph lacks {make_printable(source)}, an input of node {make_printable(node)}{more}; "
            "it was cut off, or cut out of a larger one"
        )


def _recursive(index: GraphIndex) -> str:
    """The name of a function that calls itself, directly or through others; empty if there is none."""
    calls = {
        name: {called for node in function.node_def for called in find_called_functions(node, index.functions)}
        for name, function in index.functions.items()
    }
    # A function without calls to the remaining ones is in no circle. Remove such functions until none is left.
    callers: dict[str, list[str]] = {name: [] for name in calls}
    for name, called in calls.items():
        for other in called:
            callers[other].append(name)
    open_calls = {name: len(called) for name, called in calls.items()}
    done = [name for name, count in open_calls.items() if not count]
    for name in done:
        for caller in callers[name]:
            open_calls[caller] -= 1
            if not open_calls[caller]:
                done.append(caller)
    left = set(calls) - set(done)
    return min(left, default="")
