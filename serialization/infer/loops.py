"""Finds the loops of TensorFlow 1, which are made of Enter, Merge, Switch, NextIteration and Exit nodes.

It works on the protobuf, without TensorFlow's runtime.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from serialization.graph import op_sets
from serialization.graph.graph_index import GraphIndex


def find_loops(index: GraphIndex) -> list[set[str]]:
    """The nodes within each loop, from its Enter nodes up to its Exit nodes."""
    frames: dict[bytes, list[str]] = defaultdict(list)
    for node in index.nodes.values():
        if node.op in op_sets.ENTERS:
            frames[node.attr["frame_name"].s].append(node.name)
    return [_find_interior(index, enters, len(frames)) for enters in frames.values()]


def _find_interior(index: GraphIndex, enters: Iterable[str], deepest: int) -> set[str]:
    seen = {(name, 1) for name in enters}
    waiting = list(seen)
    while waiting:
        name, depth = waiting.pop()
        for user in index.consumers(name):
            op = index.nodes[user].op
            new = (user, depth + (op in op_sets.ENTERS) - (op in op_sets.EXITS))
            if 0 < new[1] <= deepest and new not in seen:
                seen.add(new)
                waiting.append(new)
    return {name for name, _ in seen}
