"""Finds tensors that are too large for the memory, before anything is computed.

A few bytes of a graph can ask for any amount of memory: Fill with constant dimensions, a concatenation that doubles
itself forty times. TensorFlow tries to allocate it while it optimizes or runs the graph; the machine stands still, or
an error comes after minutes. If constants give the size, it is known before.
"""

from __future__ import annotations

import math
import os
import resource
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from serialization.console import format_size, make_printable
from serialization.errors import UserError
from serialization.formats.dtypes import get_dtype_size, get_named_size
from serialization.graph.const_nodes import read_integers
from serialization.graph.graph_def import get_node_name, list_data_edges
from serialization.graph.graph_index import GraphIndex
from serialization.graph.op_registry import get_output_dtype
from serialization.graph.signature import Signature

_SHAPED = {"Fill": 0, "Empty": 0, "BroadcastTo": 1, "Tile": 1, "ScatterNd": 2, "SparseToDense": 1}  # by which input
_SHAPED |= dict.fromkeys(("RandomUniform", "RandomUniformInt", "RandomStandardNormal", "TruncatedNormal"), 0)
_SHAPED |= dict.fromkeys((f"Resize{how}" for how in ("Bilinear", "NearestNeighbor", "Bicubic", "Area")), 1)
_COUNTED = {"OneHot": 1, "LinSpace": 2, "TensorListReserve": 1, "Bincount": 1, "UnsortedSegmentSum": 2}
_FREE = 1 << 30  # bytes
# A value that is fed is in memory: as read, as the dtype, as TensorFlow's, and the model's answer is about as large.
COPIES = 4
_CGROUP = Path("/sys/fs/cgroup/memory.max")


def require_modest_tensors(index: GraphIndex, what: str) -> None:
    """Raise UserError if one node makes more than a gigabyte out of a few constants. `what` names the graph in it.

    Give the pruned graph: a training graph makes the first values of a large variable in this way.
    """
    for scope in ("", *index.functions):
        for name, size in _made(index.body(scope)):
            if size > _FREE:
                raise UserError(
                    f"{what} cannot be run; its node {make_printable(name)} makes {format_size(size)} out of "
                    "constants; name other --outputs, or copy it here again if it is damaged"
                )


def require_memory(graph: Any, wanted: Signature) -> None:
    """Raise UserError if a tensor that the signature needs is larger than the memory, by its inferred shape.

    Unknown sizes count as 1.
    """
    memory = find_available_memory()
    seen = {graph.get_tensor_by_name(tensor.name).op for tensor in wanted.inputs}
    waiting = [graph.get_tensor_by_name(tensor.name).op for tensor in wanted.outputs]
    while waiting:
        op = waiting.pop()
        if op in seen:
            continue
        seen.add(op)
        waiting += [tensor.op for tensor in op.inputs]
        waiting += op.control_inputs
        for tensor in op.outputs:
            if tensor.shape.rank:
                size = math.prod(1 if dim is None else dim for dim in tensor.shape.as_list()) * tensor.dtype.size
                if size > memory:
                    raise UserError(
                        f"the model cannot be run here; {tensor.name} alone would take {format_size(size)}, and there "
                        f"is memory for {format_size(memory)}; name other --outputs, or run it on a larger machine"
                    )


def require_memory_for_inputs(wanted: Signature) -> None:
    """Raise UserError if values for the inputs are too large for the memory. Unknown sizes count as 1."""
    most = find_available_memory() // COPIES
    for tensor in wanted.inputs:
        sizes = (1 if size is None else size for size in tensor.shape or ())
        size = math.prod(sizes) * get_named_size(tensor.dtype)
        if size > most:
            raise UserError(
                f"the model cannot be run here; a value for {make_printable(tensor.key)} takes {format_size(size)}, "
                f"and there is memory for {format_size(most)}; run it on a larger machine, or convert it with "
                "--no-verify"
            )


def find_available_memory() -> int:
    """The bytes that this process can use: the machine's memory, or the limit of the process or its cgroup."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), resource.getrlimit(resource.RLIMIT_AS)[0]]
    if _CGROUP.is_file() and (text := _CGROUP.read_text().strip()).isdecimal():
        limits.append(int(text))
    return min(limit for limit in limits if limit > 0)  # -1 means no limit


def _made(nodes: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """The nodes whose output's size is given by constants, with its bytes."""
    for name, node in nodes.items():
        count = _count(node, nodes)
        if count:
            yield name, count * get_dtype_size(get_output_dtype(node, 0))


def _count(node: Any, nodes: Mapping[str, Any]) -> int:
    """How many numbers the node's output has; 0 if constants do not tell."""
    data = [nodes.get(get_node_name(edge)) for edge in list_data_edges(node)]
    position = _SHAPED.get(node.op, _COUNTED.get(node.op))
    if position is not None and position < len(data):
        return max(0, math.prod(read_integers(data[position]) or [0]))
    if node.op == "Range" and len(data) == 3:
        start, limit, delta = (read_integers(source)[:1] for source in data)
        return max(0, math.ceil((limit[0] - start[0]) / delta[0])) if start and limit and delta and delta[0] else 0
    return 0
