"""Finds which tensors are forms of one answer, such as scores, probabilities and the class, and chooses one form.

It works on the protobuf, without TensorFlow's runtime. Forms are computed from one tensor, without parameters in
between.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any

from serialization.graph.const_nodes import read_integers
from serialization.graph.graph_def import get_node_name, get_tensor_name, list_data_edges
from serialization.graph.op_sets import EXITS, MERGES, TENSOR_ARRAY_READS, VIEWS
from serialization.infer.data_edges import Flow
from serialization.infer.names import has_own_name, speaks_of_output

CHOOSING = {"ArgMax", "ArgMin"}
_DECIDING = {"Round", "Rint", "Greater", "GreaterEqual", "Less", "LessEqual"}
_DIFFERENCES = {"Sub", "SquaredDifference"}
_SPLITS = {"Split", "SplitV"}
_JOINS = {"Concat", "ConcatV2", "Pack"}
_PARTS = {"Slice", "StridedSlice"}
_DECODERS = {"CTCGreedyDecoder", "CTCBeamSearchDecoder"}
_BORDERS = EXITS | MERGES | TENSOR_ARRAY_READS


def find_parameter_free_ancestors(flow: Flow, tensor: str) -> set[str]:
    """A node and the nodes that it is computed from, up to a node with parameters or the end of a loop."""
    found, waiting = set(), [tensor]
    while waiting:
        tensor = waiting.pop()
        node = flow.nodes[get_node_name(tensor)]
        if node.op in _SPLITS and not _splits_rows(flow, node):
            found.add(get_tensor_name(tensor))
            continue
        found.add(node.name)
        if node.op not in _BORDERS and not flow.is_parametric(node):
            edges = [edge for edge in list_data_edges(node) if get_node_name(edge) in flow.deep]
            waiting += [edge for edge in edges if get_node_name(edge) not in found]
    return found


def find_head(flow: Flow, name: str) -> frozenset[str]:
    """The weights that a tensor was combined with last."""
    nodes = (flow.nodes[get_node_name(step)] for step in find_parameter_free_ancestors(flow, name))
    weights = (flow.parameters.get(n) for node in nodes if flow.is_parametric(node) for n in flow.index.producers(node))
    return frozenset(weight for weight in weights if weight)


def find_earlier_words(flow: Flow, tensor: str) -> list[str]:
    """The scores of the words before the last one, where a network without a loop chooses each and goes on with it."""
    end = flow.nodes[get_node_name(tensor)]
    stem, head = re.sub(r"_\d+$", "", end.name), find_head(flow, end.name)
    alike = [n for n in flow.deep if n != end.name and re.sub(r"_\d+$", "", n) == stem and flow.nodes[n].op == end.op]
    alike = [name for name in alike if any(flow.nodes[user].op in CHOOSING for user in flow.users(name))]
    steps = flow.find_steps(alike, [end.name]) if alike else ()
    return [f"{name}:0" for name in flow.nodes if name in steps and find_head(flow, name) == head]


def _splits_rows(flow: Flow, node: Any) -> bool:
    """Whether the parts of a Split are rows of one answer, and not different answers side by side."""
    axis = flow.index.producer(list_data_edges(node)[0 if node.op == "Split" else 2])
    return read_integers(axis) in ([], [0])


def merge_forms(flow: Flow, tensors: Iterable[str]) -> list[str]:
    """The tensors, with those that are computed from one tensor without parameters in between replaced with that one.

    The parts of a loss use one answer in several ways. Two answers have in common only nodes with parameters.
    """
    groups: list[tuple[list[str], set[str]]] = []
    for tensor in tensors:
        common = find_parameter_free_ancestors(flow, tensor)
        met = [group for group in groups if group[1] & common]
        if len(met) > 1:  # it joins several answers, as the mean of an ensemble does
            tensor = _before_choice(flow, tensor)
            groups = [group for group in groups if group not in met]
        if len(met) == 1:
            met[0][0].append(tensor)
            met[0][1].intersection_update(common)
        else:
            groups.append(([tensor], common))
    answers = [answer for members, common in groups for answer in _choose_forms(flow, members, common)]
    # A tensor from which another answer is computed is a step on the way to it.
    # But for the results of one network that is applied again and again, as for each word of a text.
    names = [get_node_name(answer) for answer in answers]
    heads = Counter(find_head(flow, name) for name in names)
    steps = {n for n in flow.find_steps(names, names) if flow.nodes[n].op not in _SPLITS}
    steps = {n for n in steps if heads[find_head(flow, n)] == 1}
    return [answer for answer in answers if get_node_name(answer) not in steps] or answers


def _before_choice(flow: Flow, tensor: str) -> str:
    """The scores of which an unnamed tensor is the choice; else the tensor itself."""
    node = flow.nodes[get_node_name(tensor)]
    return get_tensor_name(node.input[0]) if node.op in CHOOSING and not has_own_name(node) else tensor


def _choose_forms(flow: Flow, members: list[str], common: Collection[str]) -> list[str]:
    """The result of a decoder on the answer that a group has in common; else the answer in one form."""
    origins = [flow.index.trace_back(member, VIEWS | {"Cast"}) for member in members]
    decoded = {origin for origin in origins if flow.nodes[get_node_name(origin)].op in _DECODERS}
    return sorted(map(get_tensor_name, decoded)) or [_choose_form(flow, members, common)]


def _choose_form(flow: Flow, members: list[str], common: Collection[str]) -> str:
    """The last common node of a group; or a member with its own name; or for a sequence the chosen classes."""
    if len(members) == 1:
        return members[0]
    before = set().union(*(find_parameter_free_ancestors(flow, name) - {name} for name in common))
    last = next(name for name in (*(n for n in flow.nodes if n in common), *sorted(common)) if name not in before)
    tensor = next((m for m in members if get_node_name(m) == last), get_tensor_name(last))
    later = [member for member in members if get_node_name(member) != last]
    origins = {member: flow.index.trace_back(member, VIEWS | {"Cast"}) for member in later}
    choices = {m: o for m, o in origins.items() if flow.nodes[get_node_name(o)].op in CHOOSING | _DECIDING}
    named = [member for member in later if has_own_name(flow.nodes[get_node_name(member)])]
    between = set().union(*(find_parameter_free_ancestors(flow, member) for member in later)) - before - {last}
    named += [t for t in map(get_tensor_name, sorted(between)) if t not in named and _is_called_answer(flow, t)]
    shown = [member for member in named if member in choices or _is_shown(flow, member)]
    if named and (shown or not has_own_name(flow.nodes[get_node_name(last)])):
        return (shown or named)[0]
    seen = [m for m in later if m not in choices and _is_shown(flow, m) and not flow.is_scalar(m)]
    if len(seen) == 1 and not has_own_name(flow.nodes[get_node_name(last)]):
        return seen[0]
    # Its author computes scores from the answer, and from these the class.
    scores = [get_tensor_name(flow.nodes[get_node_name(choice)].input[0]) for choice in choices.values()]
    origin = {score: get_node_name(flow.index.trace_back(score, VIEWS)) for score in scores}
    scores = [score for score in scores if get_node_name(score) not in before | {last} and origin[score] != last]
    chosen = [member for member, choice in choices.items() if _is_choice_in_sequence(flow, choice, tensor)]
    return (scores or chosen or [tensor])[0]


def _is_choice_in_sequence(flow: Flow, choice: str, tensor: str) -> bool:
    """Whether it is the best class for each place of a sequence, and not of rows flattened to compare them."""
    node = flow.nodes[get_node_name(choice)]
    shape = flow.describe(get_tensor_name(node.input[0])).shape or flow.describe(tensor).shape
    return node.op in CHOOSING and len(shape or ()) > 2


def _is_called_answer(flow: Flow, tensor: str) -> bool:
    node = flow.nodes[get_node_name(tensor)]
    return has_own_name(node) and speaks_of_output(node.name.rpartition("/")[2]) and not flow.is_scalar(tensor)


def _is_shown(flow: Flow, tensor: str) -> bool:
    """Whether no loss needs this form of the answer, and it decides nothing: what its author looks at."""
    node = flow.nodes[get_node_name(tensor)]
    if node.op in _DIFFERENCES and not has_own_name(node):
        return False  # an error
    steps = find_parameter_free_ancestors(flow, tensor)
    decides = any(flow.nodes[get_node_name(step)].op in _DECIDING | CHOOSING for step in steps)
    return not decides and not flow.is_trained(get_node_name(tensor))


def find_joins(flow: Flow) -> dict[str, str]:
    """The tensors that are put together from decoded parts of an answer, and of which losses take parts.

    For each node from which its parts are computed, the last such tensor.
    """
    found: dict[str, str] = {}
    for name, node in flow.nodes.items():
        users = flow.users(name)
        if (
            node.op in _JOINS
            and users
            and all(flow.nodes[user].op in _PARTS for user in users)
            and flow.is_trained(name)
        ):
            found |= dict.fromkeys(find_parameter_free_ancestors(flow, name), f"{name}:0")
    return found


def is_part(flow: Flow, name: str) -> bool:
    """Whether the tensor is one of the parts into which an answer is split."""
    return flow.nodes[get_node_name(name)].op in _SPLITS
