"""Finds what a network draws by chance for its caller, such as the action that a policy takes.

It works on the protobuf, without TensorFlow's runtime.
"""

from __future__ import annotations

from collections.abc import Collection

from serialization.graph import op_sets
from serialization.graph.graph_def import get_node_name, list_data_edges
from serialization.infer.data_edges import Flow
from serialization.infer.forms import CHOOSING

_JOINING = {"Add", "AddV2", "Sub"}


def find_draws(flow: Flow, inner: Collection[str]) -> dict[str, None]:
    """The tensors, of a graph that trains, in which a result and noise meet, and through which no gradient goes.

    If only the best of them is taken, it is that. `inner` are the nodes within loops.
    """
    chance = {node.name for node in flow.rest() if node.op in op_sets.RANDOM_OPS}
    noise = flow.follow(chance)
    found: dict[str, None] = {}
    drawn = set(inner)
    for node in (flow.nodes[name] for name in flow.index.order if flow.training and name not in flow.aside):
        if node.name not in flow.deep or node.name in drawn or flow.is_trained(node.name):
            continue
        producers = [get_node_name(edge) for edge in list_data_edges(node)]
        if node.name in chance:
            found[f"{node.name}:0"] = None
            drawn |= flow.follow([node.name])
        elif node.op in _JOINING and any(n in noise for n in producers) and any(n not in noise for n in producers):
            from_result = [n for n in producers if n in flow.deep and n not in noise]
            users = flow.users(node.name)
            chosen = len(users) == 1 and flow.nodes[users[0]].op in CHOOSING
            if from_result and (chosen or all(flow.is_trained(n) for n in from_result)):
                found[f"{users[0] if chosen else node.name}:0"] = None
                drawn |= flow.follow([node.name])
    return found
