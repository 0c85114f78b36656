"""Finds results in a graph without training that nobody asks for: what a network left behind on the way to its answer.

It works on the protobuf, without TensorFlow's runtime.
"""

from __future__ import annotations

import functools
import operator
from collections import defaultdict
from collections.abc import Iterable

from serialization.graph import op_sets
from serialization.graph.graph_def import get_node_name, list_data_edges
from serialization.infer.data_edges import Flow
from serialization.infer.forms import CHOOSING, find_head, find_parameter_free_ancestors
from serialization.infer.names import has_own_name
from serialization.infer.training_graphs import is_state

_DECODED = CHOOSING | {"Softmax", "Sigmoid", "TopKV2"}


def find_left_over(flow: Flow, sinks: Iterable[str]) -> set[str]:
    """The nodes among these sinks, none of them named by its author, that another sink makes superfluous.

    A network that is called twice for one sink leaves a result of the first call that nothing takes. A head that only
    helped to train is attached to a layer from which another head goes on, and its scores are not decoded.
    """
    sinks = list(sinks)
    bits, marks = flow.mark_uses(sinks)
    heads = {sink: find_head(flow, sink) for sink in sinks}
    places: dict[str, set[str]] = defaultdict(set)  # the nodes that combine something with each weight
    for node in (flow.nodes[name] for name in flow.deep if marks[name]):
        if flow.is_parametric(node):
            for weight in {flow.parameters[n] for n in flow.index.producers(node) if n in flow.parameters}:
                places[weight].add(node.name)
    decoded = {sink for sink in sinks if _is_decoded(flow, sink)}
    starts = {sink: _find_start(flow, _find_layer(flow, sink)) for sink in sinks}
    found: set[str] = set()
    for sink in sinks:
        if has_own_name(flow.nodes[sink]):
            continue
        again = functools.reduce(operator.and_, (places[weight] for weight in heads[sink])) if heads[sink] else ()
        calls = [marks[name] for name in again if not marks[name] & bits[sink]]
        start = starts[sink] if sink not in decoded else ""
        others = (other for other in sinks if other not in found and heads[other] != heads[sink])
        if any(
            any(mark & bits[other] for mark in calls)
            or (start and other in decoded and starts[other] != start and marks[start] & bits[other])
            for other in others
        ):
            found.add(sink)
    return found


def find_beside_in_loops(flow: Flow, tensors: Iterable[str]) -> set[str]:
    """The tensors, none named by its author, that a loop gives beside a result that has a name or is used.

    A decoder gives scores and words, a recurrent network its outputs and its last state; scripts mostly take one.
    """
    exits = {node.name for node in flow.rest() if node.op in op_sets.EXITS}
    loops = {name: _find_loop(flow, name) for name in exits}
    found = {tensor: end for tensor in tensors if (end := _find_exit(flow, tensor))}
    plain = [tensor for tensor in found if not has_own_name(flow.nodes[get_node_name(tensor)])]
    plain = [tensor for tensor in plain if not is_state(flow, get_node_name(tensor))]
    taken = {loops[end] for tensor, end in found.items() if tensor not in plain}
    if flow.training:
        unused = {found[tensor] for tensor in plain}
        taken |= {loops[end] for end in exits - unused if flow.users(end) and flow.is_trained(end)}
    return {tensor for tensor in plain if loops[found[tensor]] in taken}


def _find_loop(flow: Flow, name: str) -> int:
    """The number of the loop that ends in a node."""
    inner = set(flow.index.producers(flow.nodes[name]))
    return next((number for number, loop in enumerate(flow.loops) if loop & inner), -1)


def _find_exit(flow: Flow, tensor: str) -> str:
    """The end of a loop that a tensor only hands out: a sequence that was written step by step, or a last value."""
    through = op_sets.VIEWS | op_sets.IDENTITIES | {"Transpose", "Cast"}
    node = flow.index.producer(flow.index.trace_back(tensor, through))
    if node is not None and node.op in op_sets.TENSOR_ARRAY_READS:
        node = flow.nodes.get(get_node_name(list_data_edges(node)[-1]))
    return node.name if node is not None and node.op in op_sets.EXITS else ""


def _is_decoded(flow: Flow, sink: str) -> bool:
    return any(flow.nodes[get_node_name(step)].op in _DECODED for step in find_parameter_free_ancestors(flow, sink))


def _find_start(flow: Flow, name: str) -> str:
    """The result of the layer before the one that a node belongs to; "" if there is none."""
    while name:
        deep = [n for n in map(get_node_name, list_data_edges(flow.nodes[name])) if n in flow.deep]
        if len(deep) != 1:
            return ""
        node, name = flow.nodes[name], deep[0]
        if flow.is_parametric(node) and not node.op.startswith(("BiasAdd", "Add")):
            return name
    return ""


def _find_layer(flow: Flow, name: str) -> str:
    """The node with parameters from which a result is decoded; "" if there are several."""
    steps = map(get_node_name, find_parameter_free_ancestors(flow, name))
    found = {step for step in steps if flow.is_parametric(flow.nodes[step])}
    return found.pop() if len(found) == 1 else ""
