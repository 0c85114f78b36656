"""Computes single numbers of a graph, such as the rate of a dropout layer, from its constants, without a session."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from serialization.graph.const_nodes import read_array
from serialization.graph.graph_def import get_tensor_name, list_data_edges
from serialization.graph.graph_index import GraphIndex
from serialization.graph.op_sets import ALL_PLACEHOLDERS, ENTERS, EXITS, IDENTITIES, SWITCHES

_HANDED_ON = IDENTITIES | ENTERS | EXITS | SWITCHES | {"Cast", "StopGradient", "PlaceholderWithDefault"}
_MOST_STEPS = 30  # from a number to its constants; a longer way is none of a rate
_OPS: Mapping[str, Callable[..., float]] = {
    "Add": lambda a, b: a + b,
    "AddV2": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "RealDiv": lambda a, b: a / b if b else math.inf,
    "Div": lambda a, b: a / b if b else math.inf,
    "Reciprocal": lambda a: 1 / a if a else math.inf,
    "Neg": lambda a: -a,
    "Minimum": min,
    "Maximum": max,
}


def compute_number(index: GraphIndex, edge: str, fed: float | None = None) -> float | None:
    """The number that an edge carries, from constants alone; None for anything else.

    With `fed` each placeholder of one number holds that one. A constant may have any shape, if it holds one number.
    """
    return _compute(index, edge, fed, _MOST_STEPS)


def _compute(index: GraphIndex, edge: str, fed: float | None, steps: int) -> float | None:
    node = index.producer(edge)
    if node is None or not steps:
        return None
    if node.op == "Const":
        return _read_number(node)
    if node.op in ALL_PLACEHOLDERS and fed is not None and not node.attr["shape"].shape.dim:
        return fed
    data = list_data_edges(node)
    if node.op in _HANDED_ON:
        return _compute(index, data[0], fed, steps - 1)
    if node.op not in _OPS or get_tensor_name(edge).rpartition(":")[2] != "0":
        return None
    values = [_compute(index, one, fed, steps - 1) for one in data]
    known = [value for value in values if value is not None]
    return _OPS[node.op](*known) if len(known) == len(values) else None


def _read_number(node: Any) -> float | None:
    dims = node.attr["value"].tensor.tensor_shape.dim
    if any(dim.size != 1 for dim in dims):
        return None
    value = read_array(node)
    return float(value.reshape(-1)[0]) if value.dtype.kind in "iuf" or value.dtype.name == "bfloat16" else None
