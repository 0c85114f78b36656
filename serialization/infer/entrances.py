"""Finds where values enter a graph: its placeholders, and the nodes that give what comes out of an input pipeline.

It works on the protobuf, without TensorFlow's runtime. A batch comes from an iterator or a queue, or from a Python
function that makes the input. What only a pipeline needs (file names, readers, the dataset) is no part of the model.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from serialization.formats.dtypes import get_dtype_name
from serialization.graph import op_sets
from serialization.graph.graph_def import get_node_name, get_tensor_name, list_data_edges
from serialization.graph.graph_index import GraphIndex
from serialization.infer.names import has_own_name

_DEFAULTS = op_sets.ALL_PLACEHOLDERS - op_sets.PLACEHOLDERS


def find_pipeline_ends(index: GraphIndex) -> set[str]:
    """The nodes whose outputs are fed in place of an input pipeline.

    They take a batch from it, or hand a batch on: as an Identity with a name of its author, as the default of a
    placeholder, as the one of several batches that a tf.cond chooses.
    """
    ends = {node.name for node in index.nodes.values() if node.op in op_sets.PIPELINES}
    calls = {node.name for node in index.nodes.values() if node.op in op_sets.PYTHON_CALLS}
    if calls:  # one that is computed with the weights is in the middle of the network
        ends |= calls - index.downstream(node.name for node in list_weights(index))
    handed, waiting = set(ends), list(ends)
    while waiting:
        for user in index.consumers(waiting.pop()):
            node = index.nodes[user]
            if user not in handed and _hands_on(index, node, handed):
                handed.add(user)
                waiting.append(user)
                if node.op in op_sets.MERGES | _DEFAULTS or (node.op in op_sets.IDENTITIES and has_own_name(node)):
                    ends.add(user)
    return ends


def find_inputs(index: GraphIndex, outputs: Iterable[str], given: Collection[str] = ()) -> list[str]:
    """The tensors that the outputs need from a caller, but for what the tensors `given` provide.

    First placeholders, then what comes out of input pipelines.
    """
    ends = find_pipeline_ends(index)
    stop = {get_node_name(tensor) for tensor in given}
    needed = index.reachable(outputs, ends | stop)
    inner = [node for name, node in index.nodes.items() if name in needed and name not in ends | stop]
    placeholders = [f"{node.name}:0" for node in inner if node.op in op_sets.PLACEHOLDERS]
    taken = dict.fromkeys(get_tensor_name(edge) for node in inner for edge in list_data_edges(node))
    return [*placeholders, *(tensor for tensor in taken if get_node_name(tensor) in ends and tensor not in given)]


def list_variables(index: GraphIndex) -> list[Any]:
    """The nodes of the variables."""
    return [node for node in index.nodes.values() if node.op in op_sets.VARIABLES]


def list_weights(index: GraphIndex) -> list[Any]:
    """The variables; of a graph without one, the constants with axes of floating-point numbers."""
    return list_variables(index) or [node for node in index.nodes.values() if _may_be_weight(node)]


def _may_be_weight(node: Any) -> bool:
    tensor = node.attr["value"].tensor if node.op == "Const" else None
    return tensor is not None and get_dtype_name(tensor.dtype).startswith("float") and len(tensor.tensor_shape.dim) > 0


def _hands_on(index: GraphIndex, node: Any, handed: Collection[str]) -> bool:
    """Whether the node gives a batch unchanged."""
    data = [name in handed for name in index.producers(node)]
    if node.op in op_sets.MERGES:
        return all(data)
    return node.op in op_sets.IDENTITIES | op_sets.SWITCHES | _DEFAULTS and any(data[:1])
