"""Finds the tensors of a training graph that its losses judge: the last ones before the labels, or before the losses.

It works on the protobuf, without TensorFlow's runtime. The model's answer is the tensor that the losses are computed
from. A loss may use it in several ways, or look at it through a network whose weights are fixed.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from typing import Any

from serialization.graph.graph_def import get_node_name, get_output_index, get_tensor_name, list_data_edges
from serialization.graph.op_sets import ENTERS, EXITS, PLACEHOLDERS, TENSOR_ARRAY_READS, VIEWS
from serialization.infer.data_edges import Flow
from serialization.infer.forms import find_parameter_free_ancestors, is_part, merge_forms
from serialization.infer.gradients import sort_gradients
from serialization.infer.names import has_own_name

_BEFORE_LABELS = "the last tensor before the labels"
_BEFORE_LOSS = "the last tensor before the loss"
_WEIGHING = {"Mul", "Select", "SelectV2", "RealDiv", "Div", "DivNoNan"}
# A cross entropy written by hand clips its input, adds a small number or divides by the sum, and takes the logarithm.
_LOGARITHMS = {"Log", "Log1p", "LogSoftmax"}
_TOUCHES = {"Neg", "Maximum", "Minimum", "Add", "AddV2", "Sub", "ClipByValue", "RealDiv", "Div"} | _LOGARITHMS
_DIVIDING = {"Mul", "RealDiv", "Div"}
_LENGTHS = {"Rsqrt", "Sqrt", "Maximum", "Sum", "Square", "Mul", "Pow", "Abs", "Add", "AddV2"}
PRODUCTS = re.compile(r".*MatMul.*|.*Conv.*|Einsum")


def find_judged_tensors(flow: Flow, labels: int, features: int, ends: Iterable[str]) -> dict[str, str]:
    """The last tensors before the labels, or before the losses `ends`, each with the reason.

    Several that are computed from one tensor, without parameters in between, are replaced with that tensor.
    """
    found, why = _before_labels(flow, labels, features), _BEFORE_LABELS
    if not found:
        found, why = _before_losses(flow, ends, features), _BEFORE_LOSS
        found = {before for tensor in found for before in _before_derivatives(flow, tensor)}
    found = {_untouched(flow, tensor) for seen in found for tensor in _before_fixed_network(flow, seen)}
    found = {before for tensor in found for before in _before_cosines(flow, tensor)}
    trained = {tensor for tensor in found if flow.is_trained(get_node_name(tensor))}
    if trained:  # a network that is not trained only helps to train this one
        answers = set().union(*(find_parameter_free_ancestors(flow, tensor) for tensor in trained))
        found = {
            tensor for tensor in found if tensor in trained or find_parameter_free_ancestors(flow, tensor) & answers
        }
    order = {name: position for position, name in enumerate(flow.nodes)}
    return dict.fromkeys(merge_forms(flow, sorted(found, key=lambda tensor: order[get_node_name(tensor)])), why)


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
            free = free and (name in flow.deep or not flow.parameters)
            if free and name not in inner and not flow.is_value_free(name) and not _is_given(flow, name):
                tensor = flow.behind_views(f"{name}:{get_output_index(edge)}")
                (compared if compares else added).add(_before_flattening(flow, tensor, edges, labels))
    # What the loss adds may be another form of what is compared, or another part of it.
    steps = set().union(*(find_parameter_free_ancestors(flow, tensor) for tensor in compared))
    steps |= {get_node_name(step) for step in steps if is_part(flow, step)}
    beside = set()
    for tensor in added:
        own = find_parameter_free_ancestors(flow, tensor)
        if own & steps or any(is_part(flow, step) and get_node_name(step) in steps for step in own):
            beside.add(tensor)
    return compared | beside or added


def _before_flattening(flow: Flow, tensor: str, edges: Collection[str], labels: int) -> str:
    """The tensor before the unnamed Reshapes that the label which it is compared with goes through as well."""
    through = VIEWS | {"Cast", "StopGradient"}
    wanted = [edge for edge in edges if flow.needs(edge) & labels]
    count = max((_count_reshapes(flow, edge, through) for edge in wanted), default=0)
    for _ in range(count - 1):  # the first one is the loss's own
        node = flow.nodes[get_node_name(tensor)]
        if node.op != "Reshape" or has_own_name(node) or get_node_name(node.input[0]) not in flow.deep:
            break
        tensor = get_tensor_name(node.input[0])
    return tensor


def _count_reshapes(flow: Flow, edge: str, through: Collection[str]) -> int:
    count = 0
    while (node := flow.index.producer(edge)) is not None and node.op in through and node.input:
        count, edge = count + (node.op == "Reshape"), node.input[0]
    return count


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
        if not deep or flow.is_parametric(node) or node.op in EXITS | TENSOR_ARRAY_READS:
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


def _before_derivatives(flow: Flow, tensor: str) -> list[str]:
    """The results whose gradients by an input it is computed from, as in an equation; else the tensor itself."""
    steps = set(map(get_node_name, find_parameter_free_ancestors(flow, tensor)))
    if steps.isdisjoint(flow.answering_gradients):
        return [tensor]
    seeds = set().union(*(call.losses for call in sort_gradients(flow.index, flow.answering_gradients)))
    before = flow.trace(steps)
    return [f"{n}:0" for n in flow.nodes if n in (seeds & before) - flow.answering_gradients] or [tensor]


def _before_cosines(flow: Flow, tensor: str) -> list[str]:
    """The embedding whose cosines with the classes' weights a loss takes; else the tensor itself.

    A face recognition network is trained so: the classes are those of the training data, the embedding is its answer.
    """
    found = []
    for name in map(get_node_name, find_parameter_free_ancestors(flow, tensor)):
        edges = list_data_edges(flow.nodes[name]) if flow.nodes[name].op == "MatMul" else []
        weights = [edge for edge in edges if get_node_name(edge) in flow.parameters]
        results = [before for edge in edges if edge not in weights and (before := _find_normalized(flow, edge))]
        if any(_find_normalized(flow, edge) for edge in weights):
            found += results
    return found or [tensor]


def _find_normalized(flow: Flow, edge: str) -> str:
    """The tensor that is divided by its length; "" if the edge gives none that is."""
    node = flow.index.producer(flow.index.trace_back(edge, VIEWS | {"Transpose"}))
    if node is None or node.op not in _DIVIDING:
        return ""
    for whole, length in (node.input[:2], reversed(node.input[:2])):
        seen, waiting = set[str](), [length]
        while waiting:
            step = flow.index.producer(waiting.pop())
            if step is not None and step.op in _LENGTHS and step.name not in seen:
                seen.add(step.name)
                if get_node_name(whole) in flow.index.producers(step):
                    return get_tensor_name(whole)
                waiting += step.input
    return ""


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
