"""Finds the sinks of a graph: the tensors that nothing consumes, once what no caller fetches is left out.

It works on the protobuf, without TensorFlow's runtime.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from serialization.graph import op_sets
from serialization.graph.graph_def import get_node_name, get_output_index, list_data_edges
from serialization.graph.known_ops import load_op_outputs
from serialization.graph.tensors import count_outputs
from serialization.infer.data_edges import Flow
from serialization.infer.forms import CHOOSING
from serialization.infer.names import has_own_name

_NO_OUTPUT = op_sets.HANDLES | op_sets.VARIABLES | op_sets.ALL_PLACEHOLDERS | op_sets.PIPELINES | op_sets.QUEUE_SIZES
_NO_OUTPUT |= op_sets.RESTORE_OPS | op_sets.SWITCHES | op_sets.ENTERS | op_sets.NEXT_ITERATIONS
_NO_OUTPUT |= op_sets.PYTHON_CALLS  # they run only in the process that built the graph
_NO_OUTPUT |= {"Const", "LoopCond", "Print"}
_PARTS = op_sets.VIEWS | {"StridedSlice"}


def find_sinks(flow: Flow, labels: int = 0, features: int = 0) -> Iterator[str]:
    """Tensors that nothing consumes and that depend on a feature and on no label."""
    inner = set().union(*flow.loops)
    if not flow.frozen:  # else only those are left that the author wanted
        inner |= flow.answering_gradients
    for node in flow.rest():
        if node.op in _NO_OUTPUT or node.name in inner or node.name in flow.parameters or node.name in flow.ends:
            continue
        if flow.training and flow.is_value_free(node.name):
            continue
        depends = flow.depends[node.name]
        if depends & labels or (features and not depends & features and not _is_text_for_each_row(flow, node.name)):
            continue
        if flow.describe(f"{node.name}:0").shape == () and _is_summarized(flow, node.name):
            continue
        if _is_value_of_choice(flow, node):
            continue
        # Of several results of a frozen node, some may be kept for their shapes alone.
        shapes_count = flow.frozen and count_outputs(node) > 1
        used = {
            get_output_index(edge)
            for user in (flow.index.consumers(node.name) if shapes_count else flow.users(node.name))
            for edge in list_data_edges(flow.nodes[user])
            if get_node_name(edge) == node.name
        }
        if used and (len(load_op_outputs().get(node.op, ())) != 1 or node.op in op_sets.WHILES):
            continue  # the other results of an op are by-products of the one that is used; those of a list are not
        for position in range(count_outputs(node)):
            if position not in used:
                yield f"{node.name}:{position}"


def _is_text_for_each_row(flow: Flow, name: str) -> bool:
    """Whether it repeats a text for each row of an answer, such as the names of the classes."""
    text = flow.describe(f"{name}:0").dtype == "string"
    return text and any(step in flow.deep for step in flow.index.upstream(name))


def _is_value_of_choice(flow: Flow, node: Any) -> bool:
    """Whether it is an unnamed Max over a tensor that an ArgMax reads too: the score of the chosen class or path."""
    if node.op != "Max" or has_own_name(node):
        return False
    choices = (choice for choice in flow.rest() if choice.op in CHOOSING and flow.users(choice.name))
    origins = {flow.index.trace_back(choice.input[0], _PARTS) for choice in choices}
    return flow.index.trace_back(node.input[0], _PARTS) in origins


def _is_summarized(flow: Flow, name: str) -> bool:
    return any(flow.nodes[user].op in op_sets.SUMMARIES for user in flow.index.consumers(name))


def find_unused_weights(flow: Flow) -> Iterator[str]:
    """The weights of a frozen graph that nothing consumes, such as the transitions that a decoder outside takes.

    Freezing keeps what the author named, and what that needs.
    """
    for name, weight in flow.parameters.items():
        if flow.frozen and name == weight and not flow.index.consumers(name):
            yield f"{name}:0"


def find_constants(flow: Flow) -> Iterator[str]:
    """The outputs of a model that always gives the same answer."""
    for node in flow.rest():
        if node.op in ("Identity", "Const") and not flow.users(node.name):
            yield f"{node.name}:0"


def find_updates(flow: Flow) -> Iterator[str]:
    """The last ops of a frozen graph that only updates a variable, which is a constant now."""
    for node in flow.nodes.values():
        if flow.frozen and op_sets.is_update(node.op) and not flow.index.consumers(node.name):
            yield f"{node.name}:0"
