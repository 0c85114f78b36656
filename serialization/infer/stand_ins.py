"""Finds the results of a network that another network takes in place of a fed input, as a critic takes made images.

It works on the protobuf, without TensorFlow's runtime.
"""

from __future__ import annotations

from serialization.graph.graph_def import get_node_name, get_output_index, list_data_edges
from serialization.infer.data_edges import Flow
from serialization.infer.judged import merge_forms

_STANDS_IN = "another network takes it in place of a fed input"
_PAIRS = 500  # the most pairs of nodes that are compared; differences are near the start
_SITES = 4  # the most nodes with the same parameters that are compared with each other


def find_stand_ins(flow: Flow) -> dict[str, str]:
    """The results of one network that another takes in place of a fed input: a generator's images, an actor's actions.

    The other network, a critic, is in the graph twice with the same parameters: once for the fed values, once for the
    result.
    """
    sites: dict[str, dict[str, None]] = {}
    for node in flow.rest():
        if flow.is_parametric(node):
            for edge in list_data_edges(node):
                if get_node_name(edge) in flow.parameters:
                    sites.setdefault(flow.parameters[get_node_name(edge)], {})[node.name] = None
    found: dict[str, None] = {}
    for variable, names in sites.items():
        some = list(names)[:_SITES]
        for made in (t for one in some for other in some if one != other for t in _difference(flow, one, other)):
            if made not in found and variable not in flow.parameters_of(get_node_name(made)):
                found[made] = None
    trained = [made for made in found if flow.is_trained(get_node_name(made))]  # not a delayed copy of the network
    return dict.fromkeys(merge_forms(flow, trained or found), _STANDS_IN)


def _difference(flow: Flow, one: str, other: str, seen: set[tuple[str, str]] | None = None) -> list[str]:
    """The difference of two nodes of one op: the input tensors that are computed for `other` but fed for `one`.

    `seen` are the pairs that were compared before; loops and several paths lead to the same pair.
    """
    a, b = flow.nodes[one], flow.nodes[other]
    seen = {(one, other)} if seen is None else seen
    if a.op != b.op or len(seen) > _PAIRS:
        return []
    found = []
    for left, right in zip(list_data_edges(a), list_data_edges(b), strict=False):
        first, second = get_node_name(left), get_node_name(right)
        if first == second or second not in flow.deep or first not in flow.nodes or not flow.needs(left):
            continue
        inner = []
        if (first, second) not in seen and not flow.is_parametric(flow.nodes[second]):
            seen.add((first, second))
            inner = _difference(flow, first, second, seen)
        found += inner
        if not inner and first not in flow.deep:
            found.append(flow.behind_views(f"{second}:{get_output_index(right)}"))
    return found
