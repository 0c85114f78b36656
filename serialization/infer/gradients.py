"""Sorts the gradients that train by the calls of tf.gradients that made them.

It works on the protobuf, without TensorFlow's runtime.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass

from serialization.graph.graph_index import GraphIndex

_GRADIENT = re.compile(r"((?:.*/)?gradients(?:_\d+)?)/(.+?)_grad/.*")
_SEED = re.compile(r"(?:.*/)?gradients(?:_\d+)?/(Fill|Const|grad_ys|ones)[^/]*")  # the first nodes of the gradients


@dataclass(frozen=True)
class Gradients:
    """One call of tf.gradients: its nodes, the nodes through which the gradients go, and among these the losses."""

    nodes: frozenset[str]
    owners: frozenset[str]
    losses: frozenset[str]


def get_gradient_owner(name: str) -> str:
    """The name of the node whose gradient a node computes; "" for a node outside of gradients."""
    match = _GRADIENT.fullmatch(name)
    return match[2] if match else ""


def sort_gradients(index: GraphIndex, gradients: Collection[str]) -> list[Gradients]:
    """The gradients that train, each call of tf.gradients by itself, in the order of the graph."""
    calls: dict[str, dict[str, str]] = defaultdict(dict)
    for name in filter(gradients.__contains__, index.nodes):
        if match := _GRADIENT.fullmatch(name):
            calls[match[1]][name] = match[2] if match[2] in index.nodes else ""
    return [
        Gradients(
            nodes=frozenset(owners),
            owners=frozenset(owners.values()) - {""},
            losses=frozenset(
                owner
                for name, owner in owners.items()
                if owner and any(map(_SEED.fullmatch, index.producers(index.nodes[name])))
            ),
        )
        for owners in calls.values()
    ]
