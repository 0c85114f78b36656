"""Finds the tensors of a training graph that its losses judge: the last ones before the labels, or before the losses.

It works on the protobuf, without TensorFlow's runtime. The model's answer is the tensor that the losses are computed
from. A loss may use it in several ways, or look at it through a network whose weights are fixed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any

from serialization.graph.const_nodes import read_integers
from serialization.graph.graph_def import get_node_name, get_output_index, get_tensor_name, list_data_edges
from serialization.graph.op_sets import ENTERS, EXITS, MERGES, PLACEHOLDERS, TENSOR_ARRAY_READS, VIEWS
from serialization.infer.data_edges import Flow
from serialization.infer.names import has_own_name

CHOOSING = {"ArgMax", "ArgMin"}
_DECIDING = {"Round", "Rint", "Greater", "GreaterEqual", "Less", "LessEqual"}
_SPLITS = {"Split", "SplitV"}
_JOINS = {"Concat", "ConcatV2", "Pack"}
_PARTS = {"Slice", "StridedSlice"}
_DECODERS = {"CTCGreedyDecoder", "CTCBeamSearchDecoder"}

_BEFORE_LABELS = "the last tensor before the labels"
_BEFORE_LOSS = "the last tensor before the loss"
_WEIGHING = {"Mul", "Select", "SelectV2", "RealDiv", "Div", "DivNoNan"}
# A cross entropy written by hand clips its input, adds a small number or divides by the sum, and takes the logarithm.
_LOGARITHMS = {"Log", "Log1p", "LogSoftmax"}
_TOUCHES = {"Neg", "Maximum", "Minimum", "Add", "AddV2", "Sub", "ClipByValue", "RealDiv", "Div"} | _LOGARITHMS
PRODUCTS = re.compile(r".*MatMul.*|.*Conv.*|Einsum")
_BORDERS = EXITS | MERGES | TENSOR_ARRAY_READS


def find_judged_tensors(flow: Flow, labels: int, features: int, ends: Iterable[str]) -> dict[str, str]:
    """The last tensors before the labels, or before the losses `ends`, each with the reason.

    Several that are computed from one tensor, without parameters in between, are replaced with that tensor.
    """
    found, why = _before_labels(flow, labels, features), _BEFORE_LABELS
    if not found:
        found, why = _before_losses(flow, ends, features), _BEFORE_LOSS
    found = {_untouched(flow, tensor) for seen in found for tensor in _before_fixed_network(flow, seen)}
    trained = {tensor for tensor in found if flow.is_trained(get_node_name(tensor))}
    if trained:  # a network that is not trained only helps to train this one
        answers = set().union(*(find_parameter_free_ancestors(flow, tensor) for tensor in trained))
        found = {
            tensor for tensor in found if tensor in trained or find_parameter_free_ancestors(flow, tensor) & answers
        }
    order = {name: position for position, name in enumerate(flow.nodes)}
    return dict.fromkeys(merge_forms(flow, sorted(found, key=lambda tensor: order[get_node_name(tensor)])), why)


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
    names = [get_node_name(answer) for answer in answers]
    steps = {n for n in flow.find_steps(names, names) if flow.nodes[n].op not in _SPLITS}
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
    shown = [member for member in named if member in choices or _is_shown(flow, member)]
    if named and (shown or not has_own_name(flow.nodes[get_node_name(last)])):
        return (shown or named)[0]
    # Its author computes scores from the answer, and from these the class.
    scores = [get_tensor_name(flow.nodes[get_node_name(choice)].input[0]) for choice in choices.values()]
    scores = [score for score in scores if get_node_name(score) not in before | {last}]
    chosen = [member for member, choice in choices.items() if flow.nodes[get_node_name(choice)].op in CHOOSING]
    sequence = len(flow.describe(tensor).shape or ()) > 2
    return (scores or (chosen if sequence else []) or [tensor])[0]


def _is_shown(flow: Flow, tensor: str) -> bool:
    """Whether no loss needs this form of the answer, and it decides nothing: what its author looks at."""
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


def _before_labels(flow: Flow, labels: int, features: int) -> set[str]:
    """Tensors that depend on features alone and that a node takes which also depends on labels.

    A loop counts as one node: what is computed within it is no answer.
    """
    judging = [loop for loop in flow.loops if any(flow.depends[name] & labels for name in loop)]
    inner = flow.aside.union(*flow.loops)
    compared, added = set[str](), set[str]()
    for node in flow.rest():
        if not (flow.depends[node.name] & labels or any(node.name in loop for loop in judging)):
            continue
        edges = list_data_edges(node)
        # A label, or what a delayed copy of the network makes of one, is compared with the answer. Where the labels are
        # only in what is trained, two terms of the loss are added, or one is weighed with another answer.
        compares = node.op in ENTERS | _WEIGHING or any(
            flow.needs(edge) & labels and _is_wanted(flow, node.name, get_node_name(edge)) for edge in edges
        )
        for edge in edges:
            name = get_node_name(edge)
            free = name in flow.nodes and not flow.needs(edge) & labels and flow.needs(edge) & features
            if free and name not in inner and not flow.is_value_free(name) and not _is_given(flow, name):
                (compared if compares else added).add(flow.behind_views(f"{name}:{get_output_index(edge)}"))
    return compared or added


def _is_wanted(flow: Flow, judge: str, name: str) -> bool:
    """Whether the node gives what an answer is compared with: no gradient of the judging node goes through it."""
    return name not in flow.deep or (judge in flow.trained and not flow.is_trained(name))


def _is_given(flow: Flow, name: str) -> bool:
    return flow.nodes[name].op in PLACEHOLDERS or name in flow.ends


def _before_losses(flow: Flow, ends: Iterable[str], features: int) -> set[str]:
    """From the losses back to the last parameters; also tensors that a loss compares with the input itself."""
    found: set[str] = set()
    last: set[str] = set()
    seen: set[str] = set()
    waiting = [f"{name}:0" for name in ends]
    while waiting:
        tensor = waiting.pop()
        node = flow.nodes[get_node_name(tensor)]
        if node.name in seen:
            continue
        seen.add(node.name)
        deep = [edge for edge in list_data_edges(node) if get_node_name(edge) in flow.deep]
        shallow = [
            e
            for e in list_data_edges(node)
            if flow.depends.get(get_node_name(e), 0) & features and get_node_name(e) not in flow.deep
        ]
        if not deep or flow.is_parametric(node):
            last.add(tensor)
            continue
        weighs = node.op in _WEIGHING  # a mask or a number that is computed from the input
        if shallow and node.op not in VIEWS:
            found.update(flow.behind_views(get_tensor_name(edge)) for edge in deep if not flow.is_scalar(edge))
        if weighs or not shallow or node.op in VIEWS:
            waiting.extend(get_tensor_name(edge) for edge in deep)
    compared = set().union(*(find_parameter_free_ancestors(flow, tensor) for tensor in found))
    # The loss may use a step before such a tensor in another way too, such as for its smoothness.
    edges = {
        edge
        for name in seen - compared
        for edge in list_data_edges(flow.nodes[name])
        if get_node_name(edge) in compared
    }
    found |= {flow.behind_views(get_tensor_name(edge)) for edge in edges}
    names = {get_node_name(tensor) for tensor in last}
    steps = flow.find_steps(names, names)
    last = {tensor for tensor in last if get_node_name(tensor) not in compared | steps} or last
    return found | {_under_its_name(flow, tensor, seen) for tensor in last if get_node_name(tensor) not in compared}


def _under_its_name(flow: Flow, tensor: str, seen: Collection[str]) -> str:
    """The named form of an unnamed tensor, of the same shape, through which all goes that the losses take of it."""
    start, shape = get_node_name(tensor), flow.describe(tensor).shape
    if has_own_name(flow.nodes[start]) or not shape:
        return tensor
    after = flow.follow([start]) & set(seen)
    for name in reversed([name for name in flow.nodes if name in after and has_own_name(flow.nodes[name])]):
        steps = find_parameter_free_ancestors(flow, name)
        alone = {step for step in steps if flow.is_parametric(flow.nodes[get_node_name(step)])} == {start}
        if alone and flow.describe(f"{name}:0").shape == shape and not _goes_around(flow, start, name, after):
            return f"{name}:0"
    return tensor


def _goes_around(flow: Flow, start: str, name: str, within: Collection[str]) -> bool:
    """Whether values go from one node to those behind another without going through it."""
    behind = flow.follow([name])
    found, waiting = {start}, [start]
    while waiting:
        new = [n for n in flow.users(waiting.pop()) if n in within and n not in found and n != name]
        if any(user in behind for user in new):
            return True
        found.update(new)
        waiting += new
    return False


def _before_fixed_network(flow: Flow, tensor: str) -> list[str]:
    """The inputs of the network whose weights are constants and whose result the tensor is; else the tensor itself.

    Such a network only helps to train the one before it.
    """
    after = find_parameter_free_ancestors(flow, tensor)
    fixed = {
        name
        for name in map(get_node_name, after)
        if PRODUCTS.fullmatch(flow.nodes[name].op) and _takes_constant(flow, name)
    }
    fixed |= {name for name in map(get_node_name, after) if _compares_rows(flow, flow.nodes[name])}
    within = flow.follow(fixed) & after
    edges = [edge for name in fixed for edge in list_data_edges(flow.nodes[name]) if get_node_name(edge) in flow.deep]
    edges = [flow.index.trace_back(edge, {"Transpose"}) for edge in edges if get_node_name(edge) not in within]
    return sorted(set(map(get_tensor_name, edges))) or [tensor]


def _compares_rows(flow: Flow, node: Any) -> bool:
    """Whether the node multiplies a result with its transpose: each row of the batch with each other."""
    sides = {flow.index.trace_back(edge, VIEWS | {"Transpose"}) for edge in list_data_edges(node)}
    return node.op == "MatMul" and len(sides) == 1


def _takes_constant(flow: Flow, name: str) -> bool:
    """Whether one side of a product is a constant."""
    sides = (flow.index.producer(flow.index.trace_back(edge, VIEWS)) for edge in list_data_edges(flow.nodes[name]))
    return any(side is not None and side.op == "Const" for side in sides)


def _untouched(flow: Flow, tensor: str) -> str:
    """The tensor of which a hand-written cross entropy takes the logarithm, if this one is a step of it."""
    result = now = tensor
    while True:
        node = flow.nodes[get_node_name(now)]
        deep = list(dict.fromkeys(edge for edge in list_data_edges(node) if get_node_name(edge) in flow.deep))
        if node.op not in _TOUCHES or flow.is_parametric(node) or not deep:
            break
        if len(deep) > 1 and not (
            node.op.endswith("Div") and get_node_name(deep[0]) in find_parameter_free_ancestors(flow, deep[1])
        ):
            break
        now = get_tensor_name(deep[0])
        if node.op in _LOGARITHMS or result != tensor:
            result = now
        if has_own_name(flow.nodes[get_node_name(now)]):
            break
    return result
