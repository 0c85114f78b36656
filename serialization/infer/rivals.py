"""Tells whether the choice of outputs is ambiguous: which tensors a maker may have meant with the same right.

It works on the protobuf, without TensorFlow's runtime.
"""

from __future__ import annotations

import re
from collections import defaultdict

from serialization.graph.graph_def import get_node_name
from serialization.infer.data_edges import Flow
from serialization.infer.forms import find_parameter_free_ancestors
from serialization.infer.names import has_own_name

_STATE = re.compile(r"(state|hidden|memory|carry|(^|[/_])[ch](_|$))[^/]*$", re.IGNORECASE)
_JOINING = {"Add", "AddV2", "Sub", "Select", "SelectV2", "Tanh"}
_KEEPING = _JOINING | {"Mul", "Identity", "Sigmoid"}


def find_rivals(flow: Flow, chosen: list[str], features: int) -> list[str]:
    """The tensors that compete, if the chosen ones are ambiguous; else none."""
    if flow.training:  # else every tensor that is left is an output
        found = chosen if _are_apart(flow, chosen, features) else _find_towers(flow, chosen)
        if found:
            return found
    return [] if flow.frozen else _find_states(flow, chosen)


def _are_apart(flow: Flow, chosen: list[str], features: int) -> bool:
    """Whether two belong to different networks: each needs a source that the other does not.

    What needs a feature that no loss needs was made to be used.
    """
    needs = [flow.depends[get_node_name(tensor)] for tensor in chosen]
    if all(need & features & ~flow.needed_by_losses for need in needs):
        return False
    return any(a & ~b and b & ~a for a in needs for b in needs)


def _find_towers(flow: Flow, chosen: list[str]) -> list[str]:
    """The answer and the results of two towers that it compares, if no name tells which is wanted.

    The towers are one network, applied to two inputs.
    """
    if len(chosen) != 1 or has_own_name(flow.nodes[get_node_name(chosen[0])]):
        return []
    applied: dict[frozenset[str], list[str]] = defaultdict(list)
    for name in sorted(map(get_node_name, find_parameter_free_ancestors(flow, chosen[0]))):
        if flow.is_parametric(flow.nodes[name]):
            weights = (flow.parameters.get(n, "") for n in flow.index.producers(flow.nodes[name]))
            applied[frozenset(weights)].append(name)
    towers = [name for names in applied.values() if len({flow.depends[n] for n in names}) > 1 for name in names]
    return [*chosen, *(f"{name}:0" for name in towers)] if towers else []


def is_next_state(flow: Flow, tensor: str) -> bool:
    """Whether the tensor has the shape of a fed state that it needs."""
    shape, needs = flow.describe(tensor).shape, flow.depends[get_node_name(tensor)]
    fed = (s for s in flow.sources if flow.bits[s] & needs and _STATE.search(get_node_name(s)))
    return bool(shape) and any(flow.describe(source).shape == shape for source in fed)


def _find_states(flow: Flow, chosen: list[str]) -> list[str]:
    """The outputs and the tensors that may be the next state, if a state is fed and no output has its shape."""
    before = flow.trace(map(get_node_name, chosen))
    for source in flow.sources:
        shape, name = flow.describe(source).shape, get_node_name(source)
        given = {flow.describe(t).shape for t in chosen if flow.depends[get_node_name(t)] & flow.bits[source]}
        if _STATE.search(name) and name in before and shape and len(shape) > 1 and shape not in given:
            kept = flow.nodes.keys() & before - {name}
            kept = {n for n in kept if flow.nodes[n].op in _KEEPING and flow.describe(f"{n}:0").shape == shape}
            reached, waiting = {name}, [name]
            while waiting:
                new = [user for user in flow.users(waiting.pop()) if user in kept and user not in reached]
                reached.update(new)
                waiting += new
            found = [n for n in flow.index.order if n in reached and flow.nodes[n].op in _JOINING]
            if found:
                return [*chosen, *(f"{n}:0" for n in reversed(found))]
    return []
