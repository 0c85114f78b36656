"""What a graph that trains says about its outputs: the last tensors before it compares them with the truth.

Works on the protobuf, without TensorFlow's runtime. Gradients are computed by nodes in scopes that are called after the
ops they belong to, so the graph tells which of its ops training goes through, and where that begins: at the losses.
What the losses are computed from is the model's answer, unless another network judges it in its turn.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from serialization.graph.graph_def import get_node_name, get_output_index, get_tensor_name, list_data_edges
from serialization.graph.op_sets import EXITS, MERGES, PLACEHOLDERS, TENSOR_ARRAY_READS, VIEWS
from serialization.infer.data_edges import VALUE_FREE, Flow, has_own_name

BEFORE_LABELS = "the last before the labels come in"
BEFORE_LOSS = "the last before the loss"
STANDS_IN = "another network takes it in the place of what is fed"

_CHOOSING = {"ArgMax", "ArgMin"}
# A cross entropy of one's own clips what it is given, adds a little to it or divides it by its sum, and takes the log.
_LOGARITHMS = {"Log", "Log1p"}
_TOUCHES = {"Neg", "Maximum", "Minimum", "Add", "AddV2", "Sub", "ClipByValue", "RealDiv", "Div"} | _LOGARITHMS
_BORDERS = EXITS | MERGES | TENSOR_ARRAY_READS
_PAIRS = 500  # of nodes above two with the same parameters; what differs, differs near them
_SITES = 4  # of so many nodes with the same parameters, all are compared with each other


def find_losses(flow: Flow) -> set[str]:
    """The nodes at which the gradients begin, and all that is computed from them."""
    return flow.index.downstream(flow.losses - flow.aside) - flow.aside


def find_judged_tensors(flow: Flow, labels: int, features: int, ends: Iterable[str]) -> dict[str, str]:
    """The last tensors before the labels come in, or before the losses `ends`, each with a line that says which.

    Of several that are computed from one tensor without parameters in between it is that one.
    """
    found, why = _before_labels(flow, labels, features), BEFORE_LABELS
    if not found:
        found, why = _before_losses(flow, ends, features), BEFORE_LOSS
    found = {_untouched(flow, tensor) for tensor in found}
    trained = {tensor for tensor in found if flow.is_trained(get_node_name(tensor))}
    if trained:  # another network of the same kind that is not trained only helps to train this one
        answers = set().union(*(find_parameter_free_ancestors(flow, tensor) for tensor in trained))
        found = {
            tensor for tensor in found if tensor in trained or find_parameter_free_ancestors(flow, tensor) & answers
        }
    order = {name: position for position, name in enumerate(flow.nodes)}
    return dict.fromkeys(_meet(flow, sorted(found, key=lambda tensor: order[get_node_name(tensor)])), why)


def find_stand_ins(flow: Flow) -> dict[str, str]:
    """What networks make that others take in the place of what is fed: generators for critics, actors for values.

    Such a judge is in the graph twice, with the same parameters: for what is fed, and for what was made.
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
    return dict.fromkeys(_meet(flow, found), STANDS_IN)


def find_parameter_free_ancestors(flow: Flow, tensor: str) -> set[str]:
    """A node and those it is computed from without meeting parameters, or leaving a loop, in between."""
    found, waiting = set(), [get_node_name(tensor)]
    while waiting:
        node = flow.nodes[waiting.pop()]
        found.add(node.name)
        if node.op not in _BORDERS and not flow.is_parametric(node):
            waiting += [n for n in flow.index.producers(node) if n in flow.deep and n not in found]
    return found


def find_scores_of_choice(flow: Flow, name: str) -> str:
    """The node whose largest number an unnamed ArgMax of rows tells: its scores say that, and more. Else ""."""
    node = flow.nodes[name]
    if node.op not in _CHOOSING or has_own_name(node):
        return ""
    scores = get_node_name(node.input[0])
    return scores if len(flow.describe(node.input[0]).shape or ()) == 2 else ""


def _difference(flow: Flow, one: str, other: str, seen: set[tuple[str, str]] | None = None) -> list[str]:
    """Where two nodes of one op differ: the tensors that are made with parameters for `other`, and fed for `one`.

    `seen` are the pairs that were compared before: through loops, and by several ways.
    """
    a, b = flow.nodes[one], flow.nodes[other]
    seen = {(one, other)} if seen is None else seen
    if a.op != b.op or len(seen) > _PAIRS:
        return []
    found = []
    for left, right in zip(list_data_edges(a), list_data_edges(b), strict=False):
        first, second = get_node_name(left), get_node_name(right)
        if first == second or second not in flow.deep or first not in flow.nodes or not flow.depends[first]:
            continue
        inner = []
        if (first, second) not in seen and not flow.is_parametric(flow.nodes[second]):
            seen.add((first, second))
            inner = _difference(flow, first, second, seen)
        found += inner
        if not inner and first not in flow.deep:
            found.append(flow.behind_views(f"{second}:{get_output_index(right)}"))
    return found


def _before_labels(flow: Flow, labels: int, features: int) -> set[str]:
    """What depends on features alone and goes into a node that depends on labels as well."""
    found = set()
    for node in flow.rest():
        if not flow.depends[node.name] & labels:
            continue
        for edge in list_data_edges(node):
            name = get_node_name(edge)
            free = name in flow.nodes and not flow.depends[name] & labels and flow.depends[name] & features
            if free and name not in flow.aside and flow.nodes[name].op not in PLACEHOLDERS | VALUE_FREE:
                found.add(flow.behind_views(f"{name}:{get_output_index(edge)}"))
    return found


def _before_losses(flow: Flow, ends: Iterable[str], features: int) -> set[str]:
    """From the losses up to where the last parameter came in: what the loss compares with the input itself, say."""
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
        elif shallow and node.op not in VIEWS:
            found.update(flow.behind_views(get_tensor_name(edge)) for edge in deep)
        else:
            waiting.extend(get_tensor_name(edge) for edge in deep)
    compared = set().union(*(find_parameter_free_ancestors(flow, tensor) for tensor in found))
    # Where the loss looks at what leads to such a tensor in another way too, as at its smoothness.
    edges = {
        edge
        for name in seen - compared
        for edge in list_data_edges(flow.nodes[name])
        if get_node_name(edge) in compared
    }
    found |= {flow.behind_views(get_tensor_name(edge)) for edge in edges}
    return found | {tensor for tensor in last if get_node_name(tensor) not in compared}


def _untouched(flow: Flow, tensor: str) -> str:
    """What a cross entropy took the logarithm of, where this tensor was made so."""
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


def _meet(flow: Flow, tensors: Iterable[str]) -> list[str]:
    """In the place of tensors that are computed from one, without parameters in between: that one.

    The parts of a loss take one answer in several ways; two answers have nothing in common but what has parameters.
    """
    groups: list[tuple[list[str], set[str]]] = []
    for tensor in tensors:
        common = find_parameter_free_ancestors(flow, tensor)
        for members, shared in groups:
            if shared & common:
                members.append(tensor)
                shared &= common
                break
        else:
            groups.append(([tensor], common))
    answers = [_answer(flow, members, common) for members, common in groups]
    # What another answer is computed from is a step on the way to it.
    steps = set().union(*(flow.index.upstream(get_node_name(answer)) - {get_node_name(answer)} for answer in answers))
    return [answer for answer in answers if get_node_name(answer) not in steps] or answers


def _answer(flow: Flow, members: list[str], common: Collection[str]) -> str:
    """The last of what a group has in common; or what has a telling name, or tells which of many, for a sequence."""
    if len(members) == 1:
        return members[0]
    before = set().union(*(find_parameter_free_ancestors(flow, name) - {name} for name in common))
    last = next(name for name in flow.nodes if name in common and name not in before)
    tensor = next((member for member in members if get_node_name(member) == last), f"{last}:0")
    later = [member for member in members if get_node_name(member) != last]
    named = [member for member in later if has_own_name(flow.nodes[get_node_name(member)])]
    if named and not has_own_name(flow.nodes[last]):
        return named[0]
    if len(flow.describe(tensor).shape or ()) > 2:
        return next((member for member in later if flow.nodes[get_node_name(member)].op in _CHOOSING), tensor)
    return tensor
