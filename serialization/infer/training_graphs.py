"""Finds the outputs of a training graph: what nothing consumes but training and metrics, and what the losses judge.

It works on the protobuf, without TensorFlow's runtime.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from serialization.graph import op_sets
from serialization.graph.const_nodes import read_integers
from serialization.graph.graph_def import get_node_name, get_tensor_name, list_data_edges
from serialization.infer.critics import find_made, find_trainers
from serialization.infer.data_edges import Flow
from serialization.infer.draws import find_draws
from serialization.infer.forms import CHOOSING, find_earlier_words, find_joins, find_parameter_free_ancestors
from serialization.infer.judged import find_judged_tensors
from serialization.infer.names import has_own_name, is_called_output
from serialization.infer.rivals import is_next_state

UNCONSUMED = "nothing consumes it"
_CALM = "what the network draws is spread around it"
_SUMMING = op_sets.VIEWS | op_sets.IDENTITIES | {"Sum", "Cast", "Slice", "StridedSlice"}
_ARITHMETIC = {"Add", "AddV2", "Sub", "Mul", "RealDiv", "Div", "Maximum", "Minimum", "Square", "Abs", "Prod", "Sum"}
_ARITHMETIC |= {"Slice", "StridedSlice", "Exp", "Sqrt"}
_HEADS = {"Sigmoid", "Tanh", "Softmax", "BiasAdd", "MatMul"}
_REDUCTIONS = {"Mean", "Sum", "Max", "Min", "Prod", "All", "Any"}


def find_answers(flow: Flow, sinks: list[str], labels: int, features: int) -> tuple[dict[str, str], dict[str, str]]:
    """For a training graph: the answers of the model, and the tensors that the losses judge, each with the reason.

    The answers are sinks, and judged tensors of which no sink is another form.
    """
    ends = flow.index.downstream(flow.losses - flow.aside) - flow.aside
    if flow.training:  # a rate that decays is computed without the network
        sinks = [tensor for tensor in sinks if get_node_name(tensor) in flow.deep] or sinks
    unused = features & ~flow.needed_by_losses
    trainers = find_trainers(flow)
    learned = set().union(*(trainer.variables for trainer in trainers))  # delayed copies of weights are not learned
    asked = {
        tensor
        for tensor in sinks
        if flow.depends[get_node_name(tensor)] & unused
        and not (learned and flow.parameters_of(get_node_name(tensor)).isdisjoint(learned))
    }
    scalars = [t for t in sinks if flow.training and (flow.is_scalar(t) or get_node_name(t) in ends) and t not in asked]
    sinks = [tensor for tensor in sinks if tensor not in scalars]
    made = find_made(flow, trainers) or _find_answers_by_gradient(flow, labels)
    judged = made or find_judged_tensors(flow, labels, features, ends | {get_node_name(tensor) for tensor in scalars})
    nodes = {get_node_name(name) for name in judged}
    joins = find_joins(flow)
    forms = {t: _by_its_name(flow, joins.get(get_node_name(t), t), why) for t, why in judged.items()}
    answers = dict(forms.values())
    after = flow.follow(nodes)
    if made:  # keep the sinks of the same network
        networks = {flow.parameters_of(name) & learned for name in nodes}
        of_network = (t for t in sinks if flow.parameters_of(get_node_name(t)) & learned in networks)
        kept = [t for t in sinks if t in asked] or [t for t in of_network if get_node_name(t) not in after]
        if not kept:  # the mean of what it draws by chance
            calm = [t for t in sinks if flow.nodes[get_node_name(t)].op == "Tanh" and get_node_name(t) not in after]
            calm = [t for t in calm if flow.depends[get_node_name(t)] in {flow.depends[name] for name in nodes}]
            calm = [t for t in calm if any(flow.parameters_of(get_node_name(t)) & learned < n for n in networks)]
            answers = dict.fromkeys(calm, _CALM) | answers
        return dict.fromkeys(kept, UNCONSUMED), answers
    made_to_use = set(map(get_node_name, asked))
    steps = flow.trace(nodes)
    other = flow.follow(name for name, node in flow.nodes.items() if name not in steps and flow.is_parametric(node))
    used = set().union(*(flow.parameters_of(node) for node in nodes)) if flow.training else set()

    def is_by_product(name: str) -> bool:
        """Whether it has no name of its own, and is computed on the way to an answer or holds less than one."""
        if _mixes_rows(flow, flow.nodes[name]) and not has_own_name(flow.nodes[name]):
            return True
        if is_loop_result(flow, name) or _find_scores_of_choice(flow, name) in nodes or _is_dead(flow, name, used):
            return True
        if not nodes or has_own_name(flow.nodes[name]) or is_state(flow, name) or name in made_to_use:
            return False
        if name in after and flow.nodes[name].op in _ARITHMETIC and flow.index.consumers(name):
            return True  # what a metric makes of an answer
        if name in after:  # all but the answer itself under a name of TensorFlow's
            return flow.nodes[name].op in op_sets.IDENTITIES and get_node_name(flow.behind_views(f"{name}:0")) in nodes
        return name not in other

    kept = [_behind(flow, tensor) for tensor in sinks if not is_by_product(get_node_name(tensor))]
    seen = {get_tensor_name(flow.index.trace_back(tensor, _SUMMING)) for tensor in kept}
    draws = [tensor for tensor in find_draws(flow, set().union(*flow.loops)) if tensor not in seen]
    kept += draws
    kept += [word for tensor in kept for word in find_earlier_words(flow, tensor)]
    ends = {get_node_name(tensor) for tensor in kept}
    beside = set() if made_to_use & ends else _find_heads_beside(flow, nodes, ends, apart=bool(draws))
    alone = dict(form for tensor, form in forms.items() if get_node_name(tensor) in beside)
    found = _without_training_inputs(flow, dict.fromkeys(kept, UNCONSUMED) | alone, features)
    return found, answers or dict.fromkeys(scalars, UNCONSUMED)


def _find_answers_by_gradient(flow: Flow, labels: int) -> dict[str, str]:
    """The answers whose own gradients train, in learning by temporal differences: rows of numbers, no losses."""
    rows = [n for n in sorted(flow.losses) if flow.nodes[n].op in _HEADS and not flow.depends[n] & labels]
    rows = [n for n in rows if len(flow.describe(f"{n}:0").shape or ()) > 1]
    return dict.fromkeys((f"{n}:0" for n in rows), "its own gradient trains") if len(rows) == len(flow.losses) else {}


def find_measured(flow: Flow, sinks: list[str], features: int) -> dict[str, str]:
    """For a graph without gradients: the results of which it only computes a mean error, beside other sinks."""
    means = {get_node_name(t) for t in sinks if flow.is_scalar(t) and flow.nodes[get_node_name(t)].op == "Mean"}
    means = {name for name in means if not has_own_name(flow.nodes[name])}
    others = [get_node_name(tensor) for tensor in sinks if get_node_name(tensor) not in means]
    judged = find_judged_tensors(flow, 0, features, means) if means and others else {}
    steps = flow.find_steps(map(get_node_name, judged), others)
    return {tensor: why for tensor, why in judged.items() if get_node_name(tensor) not in steps}


def is_loop_result(flow: Flow, name: str) -> bool:
    """Whether the node only hands out a variable of a loop, and not a state that the caller gave at its start."""
    node = flow.nodes[get_node_name(flow.index.trace_back(name, {"StopGradient"}))]
    if node.op in op_sets.EXITS:
        return not is_state(flow, node.name)
    handed = flow.index.trace_back(name, op_sets.IDENTITIES)
    loop = flow.index.producer(handed)
    return loop is not None and loop.op in op_sets.WHILES and loop is not node and not has_own_name(node)


def is_state(flow: Flow, name: str) -> bool:
    """Whether the node gives the next value of a state that is fed, or hands out a loop's that starts with an input."""
    if is_next_state(flow, f"{name}:0"):
        return True
    edge = flow.index.trace_back(name, op_sets.IDENTITIES | {"Slice", "StridedSlice"})
    for ops in (op_sets.EXITS, op_sets.SWITCHES, op_sets.MERGES, op_sets.ENTERS):
        node = flow.index.producer(edge)
        if node is None or node.op not in ops or not list_data_edges(node):
            return False
        edge = list_data_edges(node)[0]
    return get_tensor_name(flow.index.trace_back(edge, op_sets.VIEWS)) in flow.bits


def _without_training_inputs(flow: Flow, found: dict[str, str], features: int) -> dict[str, str]:
    """Without the answers to what is only fed in training, if another needs a feature that no loss needs."""
    needs = {tensor: flow.depends[get_node_name(tensor)] & features for tensor in found}
    used = flow.needed_by_losses
    asked = [need for need in needs.values() if need & ~used]
    return {t: why for t, why in found.items() if needs[t] & ~used or not any(needs[t] & ~need for need in asked)}


def _find_heads_beside(flow: Flow, answers: Collection[str], sinks: Collection[str], *, apart: bool) -> set[str]:
    """The answers that are other heads of the sinks' network: no steps on the way to a sink, with no less than it.

    What is computed from what a named Identity hands out is no other head. Heads that are `apart` share no weights:
    whoever draws an action, and keeps how likely it was, asks what the state is worth too.
    """
    steps = flow.find_steps(answers, sinks) | set(sinks)
    handed = {get_node_name(flow.index.trace_back(sink, op_sets.IDENTITIES)) for sink in sinks} - set(sinks)
    steps |= {answer for answer in answers if find_parameter_free_ancestors(flow, answer) & handed}
    others = {flow.parameters_of(sink) for sink in sinks}
    less = {flow.parameters_of(sink) for sink in sinks if not is_state(flow, sink)}
    return {
        answer
        for answer in answers
        if answer not in steps
        and not any(other < flow.parameters_of(answer) for other in less)
        and (apart or any(other & flow.parameters_of(answer) for other in others))
    }


def _mixes_rows(flow: Flow, node: Any) -> bool:
    """Whether the node gives a statistic of the batch, such as the mean of its rows."""
    edges = list_data_edges(node)
    axes = read_integers(flow.index.producer(edges[1])) if node.op in _REDUCTIONS and len(edges) > 1 else None
    return axes is not None and 0 in axes


def _is_dead(flow: Flow, name: str, used: Collection[str]) -> bool:
    """Whether the node needs a variable that nothing trains and no answer uses: a part that its author gave up."""
    return bool(used) and not flow.parameters_of(name) <= flow.updated | set(used)


def _find_scores_of_choice(flow: Flow, name: str) -> str:
    """The node with the scores of which an unnamed node takes the best, in each row or of all rows; else ""."""
    node = flow.nodes[get_node_name(flow.index.trace_back(name, op_sets.IDENTITIES | {"StopGradient", "Cast"}))]
    if node.op not in CHOOSING | {"TopKV2"} or has_own_name(node) or has_own_name(flow.nodes[name]):
        return ""
    scores = get_node_name(node.input[0])
    return scores if node.op == "TopKV2" or len(flow.describe(node.input[0]).shape or ()) == 2 else ""


def _behind(flow: Flow, tensor: str) -> str:
    """The named tensor of which an unnamed sink is only another view, or the choice of the best class."""
    if has_own_name(flow.nodes[get_node_name(tensor)]):
        return tensor
    name = flow.behind_views(tensor)
    node = flow.nodes[get_node_name(name)]
    if node.op in CHOOSING and not has_own_name(node):
        name = get_tensor_name(node.input[0])
    return name if has_own_name(flow.nodes[get_node_name(name)]) else tensor


def _by_its_name(flow: Flow, tensor: str, why: str) -> tuple[str, str]:
    """The tensor that the author named as the output, if an unnamed bias is added to it afterwards.

    Or if an unnamed node only views or sums it: an Identity with a name is there to be fetched.
    """
    step = tensor
    node = flow.nodes[get_node_name(step)]
    while node.op in _SUMMING and node.name in flow.deep and not has_own_name(node):
        step = get_tensor_name(node.input[0])
        node = flow.nodes[get_node_name(step)]
        if node.op in op_sets.IDENTITIES and has_own_name(node) and node.name in flow.deep:
            return step, f"is an Identity with a name; {get_node_name(tensor)} follows"
    node = flow.nodes[get_node_name(tensor)]
    edges = list_data_edges(node) if node.op in ("Add", "AddV2", "BiasAdd") and not has_own_name(node) else []
    deep = [edge for edge in edges if get_node_name(edge) in flow.deep]
    if len(edges) != 2 or len(deep) != 1 or not is_called_output(get_node_name(deep[0])):
        return tensor, why
    return get_tensor_name(deep[0]), f"is named like an output; {node.name} follows"
