"""Finds the results that a loss judges through another network, a critic: made images, an actor's actions.

It works on the protobuf, without TensorFlow's runtime. A critic has a loss of its own, and is not trained by the one
that looks through it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from serialization.graph import op_sets
from serialization.graph.graph_def import get_node_name, get_tensor_name, list_data_edges
from serialization.infer.data_edges import Flow
from serialization.infer.forms import merge_forms
from serialization.infer.gradients import get_gradient_owner
from serialization.infer.judged import PRODUCTS

_MADE = "a critic takes it"
_JOINS = op_sets.VIEWS | op_sets.MERGES | {"Concat", "ConcatV2", "Pack", "Cast", "Transpose"}


@dataclass(frozen=True)
class Trainer:
    """What is trained together: the losses, the variables, and the nodes through which the gradients go."""

    losses: frozenset[str]
    variables: frozenset[str]
    nodes: frozenset[str]


def find_trainers(flow: Flow) -> list[Trainer]:
    """The trainers of a graph. Gradients of the same losses belong together, whatever optimizers take them."""
    found: dict[frozenset[str], Trainer] = {}
    for gradient in flow.gradients:
        variables = _find_updated(flow, gradient.nodes) or _find_derived(flow, gradient.nodes)
        known = found.get(gradient.losses, Trainer(gradient.losses, frozenset(), frozenset()))
        found[gradient.losses] = Trainer(gradient.losses, known.variables | variables, known.nodes | gradient.owners)
    return [trainer for trainer in found.values() if trainer.variables]


def _find_updated(flow: Flow, gradients: Iterable[str]) -> frozenset[str]:
    """The variables that are updated with these gradients."""
    others = set().union(*(gradient.nodes for gradient in flow.gradients)).difference(gradients)
    found, seen = set[str](), set(gradients)
    waiting = list(seen)
    while waiting:
        for user in flow.index.consumers(waiting.pop()):
            if user not in seen and user not in others:
                seen.add(user)
                waiting.append(user)
                if op_sets.is_update(flow.nodes[user].op):
                    found.add(flow.parameters.get(get_node_name(flow.nodes[user].input[0]), ""))
    return frozenset(found - {""})


def _find_derived(flow: Flow, gradients: frozenset[str]) -> frozenset[str]:
    """The variables whose gradients leave the graph, to be applied elsewhere."""
    found = set()
    for name in gradients:
        owner, shape = flow.nodes.get(get_gradient_owner(name)), flow.describe(f"{name}:0").shape
        if owner is not None and shape and not gradients >= set(flow.index.consumers(name)):
            taken = (n for n in flow.index.producers(owner) if n in flow.parameters)
            found |= {flow.parameters[n] for n in taken if flow.describe(f"{n}:0").shape == shape}
    return frozenset(found)


def find_made(flow: Flow, trainers: list[Trainer]) -> dict[str, str]:
    """The tensors that a critic takes, each with the reason."""
    weights = {
        node.name: frozenset(flow.parameters[name] for name in flow.index.producers(node) if name in flow.parameters)
        for node in flow.rest()
        if flow.is_parametric(node)
    }
    sites: dict[tuple[str, frozenset[str]], list[str]] = defaultdict(list)
    for name, taken in weights.items():
        sites[flow.nodes[name].op, taken].append(name)
    found: dict[str, None] = {}
    for trainer in trainers:
        others = set().union(*(other.variables for other in trainers)) - trainer.variables
        own = flow.follow(name for name, taken in weights.items() if taken & trainer.variables)
        led = flow.trace(name for name in trainer.nodes & weights.keys() if weights[name] & trainer.variables)
        critics = {
            name
            for name in own & trainer.nodes & weights.keys() - led
            if weights[name] <= others or (PRODUCTS.fullmatch(flow.nodes[name].op) and not weights[name] & others)
        }
        made = own - flow.follow(critics)
        for name in (name for name in flow.nodes if name in critics):
            twins = [site for site in sites[flow.nodes[name].op, weights[name]] if site not in own]
            found |= dict.fromkeys(_find_results(flow, made, own, name, twins[0] if twins else ""))
    return dict.fromkeys(merge_forms(flow, found), _MADE)


def _find_results(flow: Flow, made: Collection[str], own: Collection[str], name: str, twin: str) -> list[str]:
    """The tensors of a network, whose nodes are `made`, behind what prepares them for the node of a critic.

    `twin` is the node to which the critic is applied for what no `own` network gives: it is prepared in the same way.
    """
    edges = list_data_edges(flow.nodes[name])
    twins = list_data_edges(flow.nodes[twin]) if twin else [""] * len(edges)
    found = []
    for edge, other in zip(edges, twins, strict=False):
        node, same = flow.nodes.get(get_node_name(edge)), flow.nodes.get(get_node_name(other))
        if node is None or node.name not in made:
            continue
        alike = same.op == node.op and same.name not in own if same is not None else node.op in _JOINS
        deeper = []
        if alike and not flow.is_parametric(node):
            deeper = _find_results(flow, made, own, node.name, same.name if same is not None else "")
        found += deeper or [flow.behind_views(get_tensor_name(edge))]
    return found
