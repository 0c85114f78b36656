"""Finds faults at which TensorFlow's runtime would crash, hang or take all memory, before it gets the graph.

Seen in TensorFlow 2.21: a function that calls itself is inlined until the stack overflows, and so are functions that
call each other 20,000 deep; an Unpack with 2**40 outputs allocates them one by one; a Const of shape [2**33] that is
given one number is filled up to 34 GB. What is found here need not be thought of elsewhere: names are such as
TensorFlow takes, each stands for one node or function, and a node of a known op has the inputs of that op.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from serialization.console import format_count, format_size, make_printable
from serialization.errors import UserError
from serialization.formats import dtypes
from serialization.formats.dtypes import get_base_dtype, get_dtype_name, get_dtype_size
from serialization.formats.wire import DamagedError
from serialization.graph.const_nodes import split_string_content
from serialization.graph.function_optimizers import list_function_calls
from serialization.graph.graph_def import (
    find_called_functions,
    get_node_name,
    iterate_nodes,
    list_data_edges,
    may_be_cut_off,
)
from serialization.graph.graph_index import GraphIndex
from serialization.graph.known_ops import load_op_inputs
from serialization.graph.recorded_signature import count_lost_outputs

_COUNTS = ("N", "num", "num_split", "num_outs", "num_outputs", "Nsparse", "Ndense", "num_sparse", "num_dense")
_MOST = 100_000  # inputs or outputs of one node
# How deep functions call each other: where optimizers take seconds; where TensorFlow's stack is near its end; and where
# a PartitionedCall, which copies all functions below it, takes more than half a minute.
_DEEP, _DEEPEST, _DEEPEST_CALLS = 200, 3000, 300
_NAME = re.compile(r"[A-Za-z0-9_.][A-Za-z0-9_.\\/>-]*")
_EDGE = re.compile(rf"\^?{_NAME.pattern}(:[A-Za-z]\w*)?(:\d{{1,9}})?")  # in a function an output has a name, too
_MOST_DEFAULTS = 1 << 24  # numbers in a default value; a few bytes of a file may stand for any number
_FREE = 1 << 30  # bytes that constants may take beyond four times what the file gives for them


def require_sound_graph(index: GraphIndex, what: str, left: Mapping[str, int] | None = None) -> None:
    """Raise UserError, with the faults of the graph, if TensorFlow would crash, hang or take all memory at it.

    `left` gives, by the names of constants, how many bytes of each were left in the file.
    """
    for fault in find_crashes(index, left):
        raise UserError(f"{what} is damaged; {fault}; copy it here again")


def find_crashes(index: GraphIndex, left: Mapping[str, int] | None = None) -> Iterator[str]:
    """The faults of the graph, such as `its function f calls itself`; `left` as in require_sound_graph."""
    yield from _find_doubles(index.graph_def)
    yield from _find_deep_calls(index)
    given = sum((left or {}).values())
    taken = 0
    for node in iterate_nodes(index.graph_def):
        yield from _find_misfits(node)
        for count in _COUNTS:
            number = node.attr[count].i if count in node.attr else 0
            if number > max(_MOST, len(node.input)):
                yield f"its node {make_printable(node.name)} has {number:,} inputs or outputs"
        if node.op == "Const":
            tensor = node.attr["value"].tensor
            content = tensor.tensor_content  # once: protobuf copies it
            if node.name not in (left or {}) and (wrong := _describe_wrong_value(tensor, content)):
                yield f"its constant {make_printable(node.name)} {wrong}"
            given += len(content) or tensor.ByteSize()
            taken += math.prod(max(0, dim.size) for dim in tensor.tensor_shape.dim) * get_dtype_size(tensor.dtype)
    if taken > 4 * given + _FREE:
        yield f"its constants would take {format_size(taken)}, of which it holds {format_size(given)}"


def _find_doubles(graph_def: Any) -> Iterator[str]:
    """Names that two nodes have, or two functions: TensorFlow takes the first of two functions, an index the last."""
    first: dict[str, Any] = {}
    for function in graph_def.library.function:
        if first.setdefault(function.signature.name, function) != function:
            yield f"it has several functions called {make_printable(function.signature.name)}"
    for nodes in (graph_def.node, *(function.node_def for function in graph_def.library.function)):
        seen: set[str] = set()
        for node in nodes:
            if node.name in seen:
                yield f"it has several nodes called {make_printable(node.name)}"
            seen.add(node.name)


def remove_wrong_defaults(meta_graph: Any) -> list[str]:
    """Remove the default values of signatures that do not fit their inputs; returns a line on each.

    TensorFlow takes such a value for a constant, and refuses the graph or asks for any amount of memory.
    """
    lines = []
    for signature_def in meta_graph.signature_def.values():
        for key in sorted(signature_def.defaults):
            if wrong := _describe_wrong_default(signature_def.inputs.get(key), signature_def.defaults[key]):
                del signature_def.defaults[key]
                lines.append(f"left out the default value of the input {make_printable(key)}, which {wrong}")
    return list(dict.fromkeys(lines))


def _describe_wrong_default(info: Any, tensor: Any) -> str:
    """Why a TensorProto is no value of the input that a TensorInfo describes, as the end of a sentence; else empty."""
    if info is None:
        return "is of no input"
    if wrong := _describe_wrong_value(tensor, tensor.tensor_content):
        return wrong
    sizes = [dim.size for dim in tensor.tensor_shape.dim]
    wanted = None if info.tensor_shape.unknown_rank else [dim.size for dim in info.tensor_shape.dim]
    fits = wanted is None or (
        len(sizes) == len(wanted) and all(size in (one, -1) for one, size in zip(sizes, wanted, strict=True))
    )
    if tensor.dtype != get_base_dtype(info.dtype) or not fits:
        found, expected = get_dtype_name(tensor.dtype), get_dtype_name(info.dtype)
        return f"is {found} {sizes}, and the input {expected} {'unknown' if wanted is None else wanted}"
    count = math.prod(sizes)
    return f"has {count:,} values" if count > _MOST_DEFAULTS else ""


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


def find_lost_end(index: GraphIndex) -> str:
    """The proof that the end of a frozen graph's file is missing, as a clause; empty if there is none."""
    if not may_be_cut_off(index.graph_def):
        return ""
    if lost := count_lost_outputs(index.graph_def):
        return f"it has lost {format_count(lost, 'output')} of the signature that its nodes record"
    loose = next(find_loose_ends(index), "")
    return loose.rpartition("; ")[0]


def _find_misfits(node: Any) -> Iterator[str]:
    """The faults in the names of a node and of its inputs, and in the number of its inputs."""
    if not _NAME.fullmatch(node.name):
        yield f"a node is called {make_printable(node.name)!r}, which is no name of a node"
    if wrong := next((edge for edge in node.input if not _EDGE.fullmatch(edge)), None):
        yield f"its node {make_printable(node.name)} has the input {make_printable(wrong)!r}, which is no tensor"
    least, attributes = load_op_inputs().get(node.op, (0, ()))
    more = [_read_count(node, attribute) for attribute in attributes]
    count, wanted = len(list_data_edges(node)), least + sum(number or 0 for number in more)
    if node.op in load_op_inputs() and (count < wanted or (count > wanted and None not in more)):
        yield (
            f"its node {make_printable(node.name)} has {format_count(count, 'input')}, and {node.op} takes {wanted:,}"
        )


def _read_count(node: Any, attribute: str) -> int | None:
    """The number of inputs that an attribute stands for, as a number or a list; None if the node has no value of it."""
    name = attribute.removeprefix("*")
    if name not in node.attr or node.attr[name].placeholder:
        return None
    value = node.attr[name]
    return len(value.list.type) if attribute.startswith("*") else int(value.i)


def _describe_wrong_value(tensor: Any, content: bytes) -> str:
    """The fault of a constant's value, as the end of a sentence; empty if it fits its dtype and its shape."""
    if get_dtype_name(tensor.dtype) == "unknown" or get_base_dtype(tensor.dtype) != tensor.dtype:
        return f"has no dtype that TensorFlow knows, but number {tensor.dtype}"
    if tensor.tensor_shape.unknown_rank or any(dim.size < 0 for dim in tensor.tensor_shape.dim):
        return "has no shape"
    count = math.prod(dim.size for dim in tensor.tensor_shape.dim)
    if tensor.dtype == dtypes.STRING:
        try:
            split_string_content(content, count)
        except DamagedError as error:
            return f"is cut off; {error}"
    elif content and tensor.dtype not in (dtypes.RESOURCE, dtypes.VARIANT):
        size = count * get_dtype_size(tensor.dtype)
        if len(content) != size:
            return f"holds {format_size(len(content))}, and its shape and dtype take {format_size(size)}"
    listed = sum(len(getattr(tensor, name)) for name in tensor.DESCRIPTOR.fields_by_name if name.endswith("_val"))
    if listed > 2 * count:  # a complex number is listed as two
        return f"lists {listed:,} values, and its shape has {count:,}"
    return ""


def nests_deeply(index: GraphIndex) -> bool:
    """Whether functions call each other so deep that TensorFlow's optimizers take minutes: quadratic time."""
    return max(_measure_depths(index).values(), default=0) > _DEEP


def _find_deep_calls(index: GraphIndex) -> Iterator[str]:
    """A function that calls itself, directly or through others; else the depth of the calls, where it is too deep."""
    depths = _measure_depths(index)
    if left := index.functions.keys() - depths.keys():
        yield f"its function {make_printable(min(left))} calls itself"
        return
    deepest = max(depths.values(), default=0)
    most = _DEEPEST_CALLS if deepest > _DEEPEST_CALLS and list_function_calls(index.graph_def) else _DEEPEST
    if deepest > most:
        yield f"its functions call each other {deepest:,} deep; TensorFlow can run {most:,}"


def _measure_depths(index: GraphIndex) -> dict[str, int]:
    """The depth of the calls in each function, which counts itself; functions that call themselves are left out."""
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
    depths = dict.fromkeys(done, 1)
    below: dict[str, int] = {}
    for name in done:
        for caller in callers[name]:
            below[caller] = max(below.get(caller, 0), depths[name])
            open_calls[caller] -= 1
            if not open_calls[caller]:
                depths[caller] = below[caller] + 1
                done.append(caller)
    return depths
