"""Finds the outputs of a training graph: the last tensors before they are compared with the labels.

It works on the protobuf, without TensorFlow's runtime. The nodes of a gradient are in a scope named after its op. So
the graph shows which ops have gradients, and where the gradients begin: at the losses. The model's answer is the tensor
that the losses are computed from, unless another network judges that tensor.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from serialization.graph.graph_def import get_node_name, get_output_index, get_tensor_name, list_data_edges
from serialization.graph.op_sets import EXITS, MERGES, PLACEHOLDERS, TENSOR_ARRAY_READS, VIEWS
from serialization.infer.data_edges import VALUE_FREE, Flow, has_own_name

BEFORE_LABELS = "the last tensor before the labels"
BEFORE_LOSS = "the last tensor before the loss"
STANDS_IN = "another network takes it in place of a fed input"

_CHOOSING = {"ArgMax", "ArgMin"}
# A cross entropy written by hand clips its input, adds a small number or divides by the sum, and takes the logarithm.
_LOGARITHMS = {"Log", "Log1p"}
_TOUCHES = {"Neg", "Maximum", "Minimum", "Add", "AddV2", "Sub", "ClipByValue", "RealDiv", "Div"} | _LOGARITHMS
_BORDERS = EXITS | MERGES | TENSOR_ARRAY_READS
_PAIRS = 500  # the most pairs of nodes that are compared; differences are near the start
_SITES = 4  # the most nodes with the same parameters that are compared with each other


def find_losses(flow: Flow) -> set[str]:
    """The nodes at which the gradients begin, and all nodes that are computed from them."""
    return flow.index.downstream(flow.losses - flow.aside) - flow.aside


def find_judged_tensors(flow: Flow, labels: int, features: int, ends: Iterable[str]) -> dict[str, str]:
    """The last tensors before the labels, or before the losses `ends`, each with the reason.

    Several that are computed from one tensor, without parameters in between, are replaced with that tensor.
    """
    found, why = _before_labels(flow, labels, features), BEFORE_LABELS
    if not found:
        found, why = _before_losses(flow, ends, features), BEFORE_LOSS
    found = {_untouched(flow, tensor) for tensor in found}
    trained = {tensor for tensor in found if flow.is_trained(get_node_name(tensor))}
    if trained:  # a network that is not trained only helps to train this one
        answers = set().union(*(find_parameter_free_ancestors(flow, tensor) for tensor in trained))
        found = {
            tensor for tensor in found if tensor in trained or find_parameter_free_ancestors(flow, tensor) & answers
        }
    order = {name: position for position, name in enumerate(flow.nodes)}
    return dict.fromkeys(_meet(flow, sorted(found, key=lambda tensor: order[get_node_name(tensor)])), why)


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
    return dict.fromkeys(_meet(flow, found), STANDS_IN)


def find_parameter_free_ancestors(flow: Flow, tensor: str) -> set[str]:
    """A node and the nodes that it is computed from, up to a node with parameters or the end of a loop."""
    found, waiting = set(), [get_node_name(tensor)]
    while waiting:
        node = flow.nodes[waiting.pop()]
        found.add(node.name)
        if node.op not in _BORDERS and not flow.is_parametric(node):
            waiting += [n for n in flow.index.producers(node) if n in flow.deep and n not in found]
    return found


def find_scores_of_choice(flow: Flow, name: str) -> str:
    """The node with the scores of which an unnamed ArgMax takes the largest in each row; else ""."""
    node = flow.nodes[name]
    if node.op not in _CHOOSING or has_own_name(node):
        return ""
    scores = get_node_name(node.input[0])
    return scores if len(flow.describe(node.input[0]).shape or ()) == 2 else ""


def _difference(flow: Flow, one: str, other: str, seen: set[tuple[str, str]] | None = None) -> list[str]:
    """Where the inputs of two nodes of one op differ: the tensors that are computed for `other` but fed for `one`.

    `seen` are the pairs that were compared before; loops and several paths lead to the same pair.
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
    """Tensors that depend on features alone and that a node takes which also depends on labels."""
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
        elif shallow and node.op not in VIEWS:
            found.update(flow.behind_views(get_tensor_name(edge)) for edge in deep)
        else:
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
    return found | {tensor for tensor in last if get_node_name(tensor) not in compared}


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


def _meet(flow: Flow, tensors: Iterable[str]) -> list[str]:
    """The tensors, with those that are computed from one tensor without parameters in between replaced with that one.

    The parts of a loss use one answer in several ways. Two answers have in common only nodes with parameters.
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
    # A tensor from which another answer is computed is a step on the way to it.
    steps = set().union(*(flow.index.upstream(get_node_name(answer)) - {get_node_name(answer)} for answer in answers))
    return [answer for answer in answers if get_node_name(answer) not in steps] or answers


def _answer(flow: Flow, members: list[str], common: Collection[str]) -> str:
    """The last common node of a group; or a member with its own name; or for a sequence the chosen classes."""
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
