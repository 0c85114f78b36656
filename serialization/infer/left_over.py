"""Finds results in a graph without training that nobody asks for: what a network left behind on the way to its answer.

It works on the protobuf, without TensorFlow's runtime.
"""

from __future__ import annotations

import functools
import operator
from collections import defaultdict
from collections.abc import Iterable

from serialization.graph.graph_def import get_node_name, list_data_edges
from serialization.infer.data_edges import Flow
from serialization.infer.forms import CHOOSING, find_head, find_parameter_free_ancestors
from serialization.infer.names import has_own_name

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
