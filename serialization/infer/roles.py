"""Tells the roles of a graph's inputs: features, labels, and switches between training and inference.

It works on the protobuf, without TensorFlow's runtime. A feature is combined with the weights. A label is combined only
with results of the weights, and only for a loss or a metric. Where nothing trains, nothing is a label but what an op
that can only be a loss or a metric takes as such; in a frozen graph nothing is.
"""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Iterator

from serialization.graph import op_sets
from serialization.graph.graph_def import get_node_name, list_data_edges
from serialization.graph.tensors import is_keep_probability, is_training_switch
from serialization.infer.data_edges import Flow

FEATURE, LABEL, SWITCH = "feature", "label", "switch"

# Losses and metrics: the positions of the prediction and of the labels among their inputs.
_JUDGES = {
    "SoftmaxCrossEntropyWithLogits": (0, (1,)),
    "SparseSoftmaxCrossEntropyWithLogits": (0, (1,)),
    "InTopK": (0, (1,)),
    "InTopKV2": (0, (1,)),
    "CTCLoss": (0, (1, 2)),
    "CTCLossV2": (0, (1, 2)),
    "EditDistance": (1, (3, 4, 5)),
}
_FORMS = op_sets.VIEWS | op_sets.ENTERS | {"Cast", "Shape"}
_DROPOUT = re.compile(r"(^|/)\w*dropout\w*/", re.IGNORECASE)
_COMPARING = {"Less", "LessEqual", "Greater", "GreaterEqual"}


def find_roles(flow: Flow) -> dict[str, tuple[str, str]]:
    """The role of each source, and the reason."""
    labels = _find_labels(flow)
    met = flow.features() & ~labels
    roles = {}
    for source in flow.sources:
        tensor, node, bit = flow.describe(source), flow.nodes[get_node_name(source)], flow.bits[source]
        origin = "" if node.op in op_sets.PLACEHOLDERS else f"comes out of {node.op}, "
        if is_training_switch(tensor) or is_keep_probability(tensor):
            roles[source] = (SWITCH, f"{origin}switches between training and inference, by its name and dtype")
        elif _drops_out(flow, source):
            roles[source] = (SWITCH, f"{origin}is the keep or drop rate of dropout layers")
        elif _is_sampled(flow, source):
            roles[source] = (LABEL, f"{origin}is the true classes of a sampled loss")
        elif bit & met:
            roles[source] = (FEATURE, f"{origin}is combined with the weights")
        elif bit & labels:
            roles[source] = (LABEL, f"{origin}is combined only with results of the weights")
        else:
            roles[source] = (FEATURE, f"{origin}is fed by the caller")
    return roles


def _is_sampled(flow: Flow, source: str) -> bool:
    """Whether a candidate sampler takes the source: the true classes of a sampled loss."""
    return any(flow.nodes[user].op in op_sets.CANDIDATE_SAMPLERS for user in _find_takers(flow, source))


def _drops_out(flow: Flow, source: str) -> bool:
    """Whether the source is a number that only dropout layers take: their keep or drop rate."""
    takers = _find_takers(flow, source)
    number = not flow.describe(source).shape and flow.describe(source).dtype.startswith("float")
    return number and bool(takers) and all(_DROPOUT.search(user) for user in takers)


def _find_takers(flow: Flow, source: str) -> set[str]:
    """The nodes that take the source, also through views and casts of it, and through 1 - x."""
    found: set[str] = set()
    seen, waiting = {get_node_name(source)}, [get_node_name(source)]
    while waiting:
        for user in flow.users(waiting.pop()):
            node = flow.nodes[user]
            passed = node.op in _FORMS
            passed |= node.op == "Sub" and not any(
                flow.depends[name] & ~flow.bits[source] for name in flow.index.producers(node)
            )
            if not passed:
                found.add(user)
            elif user not in seen:
                seen.add(user)
                waiting.append(user)
    return found


def _find_labels(flow: Flow) -> int:
    """The bits of the sources that are compared with results of the weights, but for masks and lengths."""
    predicted, known = _find_judged(flow)
    met = flow.features() & ~(known & ~predicted)  # a label may look up weights of the loss, such as the class's center
    if not flow.training:
        return 0 if flow.frozen else known & ~met
    labels = flow.compared() & ~met
    labels &= ~predicted | known
    labels &= ~_find_lengths(flow, labels)
    for bits in _find_fetched(flow):  # an answer that needs a source which is no label of all there are
        if labels & ~bits:
            labels &= ~bits | known
    return labels


def _find_judged(flow: Flow) -> tuple[int, int]:
    """The bits of the sources that ops which judge need: for the prediction, and for the labels."""
    predicted = labels = 0
    for node in flow.rest():
        prediction, truths = _JUDGES.get(node.op, (0, ()))
        edges = list_data_edges(node)
        for position in truths:
            if position < len(edges) and get_node_name(edges[position]) not in flow.deep:
                labels |= flow.needs(edges[position])
                predicted |= flow.needs(edges[prediction])
    return predicted, labels


def _find_fetched(flow: Flow) -> Iterator[int]:
    """The bits of the sources that each unused result needs, but for single numbers and for tests."""
    judged = flow.index.downstream(flow.losses)
    for node in flow.rest():
        if node.name in flow.deep and node.name not in judged and not flow.users(node.name):
            tensor = f"{node.name}:0"
            if not flow.is_scalar(tensor) and flow.describe(tensor).dtype != "bool":
                yield flow.depends[node.name]


def _find_lengths(flow: Flow, labels: int) -> int:
    """The bits of lengths: sources from which a mask is made that is applied before a label is known."""
    masks = {
        node.name
        for node in flow.rest()
        if node.op in _COMPARING and any(_counts(flow, edge) for edge in list_data_edges(node))
    }
    masked = flow.follow(masks) - flow.deep
    found = 0
    for node in flow.rest():
        if node.name in flow.deep:
            names = flow.index.producers(node)
            mask = functools.reduce(operator.or_, (flow.depends[name] for name in names if name in masked), 0)
            found |= 0 if any(flow.depends[name] & labels for name in names if name in flow.deep) else mask
    return found if labels & ~found else 0


def _counts(flow: Flow, edge: str) -> bool:
    """Whether the tensor counts from 0, as the positions of a sequence do."""
    node = flow.index.producer(flow.index.trace_back(edge, op_sets.VIEWS | {"Cast"}))
    return node is not None and node.op == "Range"
