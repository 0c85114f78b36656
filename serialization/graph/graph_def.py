"""Names of nodes, edges and tensors in a GraphDef, and lists of its nodes; without TensorFlow's runtime."""

from __future__ import annotations

import math
from collections.abc import Collection, Container, Iterable, Iterator
from typing import Any

from serialization.formats import protos
from serialization.formats.dtypes import get_dtype_size
from serialization.graph.op_sets import VARIABLE_READERS, VARIABLES, is_update

_VARIABLE_NODES = VARIABLES | VARIABLE_READERS


def may_be_cut_off(graph_def: Any) -> bool:
    """Whether a GraphDef has neither library nor version, which TensorFlow writes after the last node."""
    return bool(graph_def.node) and not (graph_def.HasField("library") or graph_def.HasField("versions"))


CUT_OFF = "the file ends with a node, without a version or library after it; it may have been cut off there"


def get_node_name(tensor: str) -> str:
    """The name of the node in an edge or a tensor's name: `x` for `x`, `x:1` and `^x`."""
    return tensor.removeprefix("^").partition(":")[0]


def get_output_index(tensor: str) -> int:
    """The index of the output that a tensor is: 1 for `x:1`, 0 for `x`."""
    return int(tensor.partition(":")[2] or 0)


def get_tensor_name(edge: str) -> str:
    """The full name of the tensor on a data edge: `x:0` for `x`."""
    return edge if ":" in edge else f"{edge}:0"


def list_data_edges(node: Any) -> list[str]:
    """The inputs of a node that carry values."""
    return [edge for edge in node.input if not edge.startswith("^")]


def list_control_edges(node: Any) -> list[str]:
    """The inputs of a node that carry no value, only the order."""
    return [edge for edge in node.input if edge.startswith("^")]


def change_op(node: Any, op: str, inputs: Iterable[str], **types: int) -> None:
    """Make a node one of another op, with these inputs, and without attributes other than these dtype numbers."""
    inputs = list(inputs)  # they may be the node's own
    node.op = op
    node.input[:] = inputs
    node.attr.clear()
    for name, number in types.items():
        node.attr[name].type = number


def find_free_name(stem: str, taken: Container[str], index: int = 0) -> str:
    """A name for a new node: the stem, with the index of an output other than the first."""
    name = f"{stem}_{index}" if index else stem
    while name in taken:
        name += "_"
    return name


def find_called_functions(node: Any, functions: Collection[str]) -> Iterator[str]:
    """The names of the functions that a node may call: its op, and those that its attributes name at any depth."""
    if node.op in functions:
        yield node.op
    waiting = list(node.attr.values())
    while waiting:
        value = waiting.pop()
        for function in (value.func, *value.list.func):
            if function.name in functions:
                yield function.name
            waiting += function.attr.values()


def iterate_nodes(graph_def: Any) -> Iterator[Any]:
    """Every node: of the graph itself and of its functions."""
    yield from graph_def.node
    for function in graph_def.library.function:
        yield from function.node_def


def list_variable_nodes(graph_def: Any) -> list[str]:
    """The names of the nodes that hold or read a variable."""
    return [node.name for node in iterate_nodes(graph_def) if node.op in _VARIABLE_NODES]


def list_training_nodes(graph_def: Any) -> list[str]:
    """The names of the nodes that change a variable or a table: assignments, the optimizers' Apply ops, insertions."""
    return [node.name for node in iterate_nodes(graph_def) if is_update(node.op)]


def measure_variables(graph_def: Any) -> int:
    """The size of the graph's variables in bytes, as far as their nodes record it."""
    size = 0
    for node in graph_def.node:
        if node.op in VARIABLES:
            dims = node.attr["shape"].shape.dim
            size += math.prod(max(0, dim.size) for dim in dims) * get_dtype_size(node.attr["dtype"].type)
    return size


def copy_without(graph_def: Any, names: Collection[str]) -> Any:
    """A copy of the GraphDef without these nodes, for which no other node waits any longer."""
    rest = protos.GraphDef(versions=graph_def.versions, library=graph_def.library)
    for node in graph_def.node:
        if node.name not in names:
            kept = rest.node.add()
            kept.CopyFrom(node)
            kept.input[:] = [edge for edge in node.input if not (edge[0] == "^" and get_node_name(edge) in names)]
    return rest
