"""Finds the random ops that outputs depend on, and the dropout layers among them that drop out at inference."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from serialization.formats import protos
from serialization.graph.graph_def import get_node_name, iterate_nodes
from serialization.graph.graph_index import GraphIndex
from serialization.graph.op_sets import BRANCHES, ENTERS, IDENTITIES, MERGES, RANDOM_OPS, SWITCHES
from serialization.graph.signature import Signature

# A layer drops what floor(keep_prob + u) makes 0, or what a comparison of the rate with u says; u may be scaled before.
_SCALES = IDENTITIES | {"Mul", "Add", "AddV2", "Sub", "Cast"}
_MASKS = frozenset({"Floor", "GreaterEqual", "Greater", "Less", "LessEqual"})
_CASTS = IDENTITIES | {"Cast"}
_APPLIED = frozenset({"Mul", "Select", "SelectV2"})
_BY_CHANCE = RANDOM_OPS | {"Timestamp"}
_CONSTANT = _SCALES | ENTERS | {"Const"}


def find_random_outputs(index: GraphIndex, wanted: Signature) -> dict[str, tuple[str, ...]]:
    """For each output, by key, the names of the random ops that it depends on, where there are any."""
    found = {tensor.key: _find_random_ops(index, [tensor.name]) for tensor in wanted.outputs}
    return {
        key: tuple(name for names in by_scope.values() for name in names) for key, by_scope in found.items() if by_scope
    }


def find_dropout_layers(index: GraphIndex, wanted: Signature) -> dict[str, bool]:
    """The dropout layers behind the outputs that no input switches off, by the names of their random ops.

    True means that nothing else switches the layer off, either: its rate is a constant, and it stands in no branch.
    """
    random_ops = _find_random_ops(index, [tensor.name for tensor in wanted.outputs])
    if not random_ops:
        return {}
    fed = index.downstream(name for name in (get_node_name(t.name) for t in wanted.inputs) if name in index.nodes)
    branches = index.called_functions(node for node in iterate_nodes(index.graph_def) if node.op in BRANCHES)
    layers = {}
    for scope, names in random_ops.items():
        body = GraphIndex(protos.GraphDef(node=index.body(scope).values())) if scope else index
        merges = {node.name for node in body.graph_def.node if node.op in MERGES}
        for name in names:
            rates, predicates = _find_rates(body, name), _find_predicates(body, name, merges)
            if rates and (scope or not fed & (rates | predicates)):
                fixed = all(_is_constant(body, rate) for rate in rates)
                layers[name] = fixed and not predicates and scope not in branches
    return layers


def _find_random_ops(index: GraphIndex, tensors: Iterable[str]) -> dict[str, list[str]]:
    """The random ops that tensors depend on, by the function that they are in, which is empty for the graph itself."""
    needed = index.reachable(tensors)
    called = index.called_functions(index.nodes[name] for name in needed)
    nodes: dict[str, list[Any]] = {"": [index.nodes[name] for name in needed]}
    nodes |= {function: list(index.functions[function].node_def) for function in called}
    found = {
        scope: [node.name for node in inner if node.op in RANDOM_OPS | {"Timestamp"}] for scope, inner in nodes.items()
    }
    return {scope: names for scope, names in found.items() if names}


def _find_rates(body: GraphIndex, name: str) -> set[str]:
    """The nodes beside a random op that make a dropout mask with it: rate and scale. None of them: it is no dropout."""
    path = _follow(body, {name}, _SCALES)
    masks = {user for node in path for user in body.consumers(node) if body.nodes[user].op in _MASKS}
    applied = {user for node in _follow(body, masks, _CASTS) for user in body.consumers(node)}
    if not any(body.nodes[user].op in _APPLIED for user in applied):
        return set()
    return {source for node in (path | masks) - {name} for source in body.producers(body.nodes[node])} - path


def _follow(body: GraphIndex, names: set[str], ops: Collection[str]) -> set[str]:
    """These nodes, and those that are computed from them by nothing but these ops."""
    found, waiting = set(names), list(names)
    while waiting:
        new = [user for user in body.consumers(waiting.pop()) if user not in found and body.nodes[user].op in ops]
        found.update(new)
        waiting += new
    return found


def _find_predicates(body: GraphIndex, name: str, merges: set[str]) -> set[str]:
    """The nodes that decide whether a node runs, where it stands in a branch of TensorFlow 1's control flow."""
    inside = [body.nodes[node] for node in body.reachable([name], merges)]  # behind a Merge both branches have ended
    predicates = {body.producers(node)[-1] for node in inside if node.op in SWITCHES}
    return {node for node in predicates if node in body.nodes and body.nodes[node].op != "LoopCond"}


def _is_constant(body: GraphIndex, name: str) -> bool:
    """Whether constants alone give a node's value."""
    above = body.upstream(name) if name in body.nodes else set()
    return bool(above) and all(
        body.nodes[node].op in _CONSTANT and body.nodes.keys() >= set(body.producers(body.nodes[node]))
        for node in above
    )
