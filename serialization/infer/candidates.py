"""Ranks candidates for the inputs and outputs of a graph that records no signature, each with the reason.

It works on the GraphDef alone, without TensorFlow's runtime, in three steps.
1. The sources of values: placeholders, else the tensors that come out of a queue or an iterator.
2. Their roles: a feature is combined with the weights, a label only with results of the weights.
3. The outputs: tensors that nothing consumes, once the nodes that train, save, summarize, check and feed are left out.
   If a training graph has no such tensor, the predictions are the last tensors before the labels.
"""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from serialization.graph import op_sets
from serialization.graph.graph_def import get_node_name, get_output_index, list_data_edges
from serialization.graph.graph_index import GraphIndex
from serialization.graph.signature import Tensor
from serialization.graph.tensors import count_outputs, is_keep_probability, is_training_switch
from serialization.infer.data_edges import Flow, has_own_name
from serialization.infer.training_graphs import find_judged_tensors, find_losses, find_scores_of_choice, find_stand_ins

_NO_OUTPUT = op_sets.HANDLES | op_sets.VARIABLES | op_sets.ALL_PLACEHOLDERS | op_sets.PIPELINES | op_sets.QUEUE_SIZES
_NO_OUTPUT |= op_sets.RESTORE_OPS | op_sets.SWITCHES | op_sets.ENTERS | op_sets.NEXT_ITERATIONS
_NO_OUTPUT |= op_sets.PYTHON_CALLS  # they run only in the process that built the graph
_NO_OUTPUT |= {"Const", "LoopCond", "Print"}
_NAMED = re.compile(
    r"(^|[/_])((output|predict|prob|softmax|logits|final_result).*|scores?(_\d+)?$)", re.IGNORECASE | re.DOTALL
)
_OUTPUT = re.compile(r"(final_?)?(outputs?|predictions?|results?)", re.IGNORECASE)
_AUXILIARY = re.compile(r"(^|/)aux", re.IGNORECASE)
_UNCONSUMED = "nothing consumes it"


@dataclass(frozen=True)
class Candidate:
    """A tensor, its likely role ("feature", "label", "switch" or "output"), and the reason."""

    tensor: Tensor
    role: str
    why: str


@dataclass(frozen=True)
class Inferred:
    """Ranked candidates. The `outputs` need the `inputs`. If there are `rivals`, the choice of outputs is ambiguous."""

    inputs: tuple[Candidate, ...]
    outputs: tuple[Candidate, ...]
    others: tuple[Candidate, ...] = ()
    rivals: tuple[Candidate, ...] = ()


def infer_candidates(index: GraphIndex) -> Inferred:
    """Candidates for the inputs and outputs of a graph, best first; no outputs if it computes nothing useful."""
    flow = Flow(index)
    roles = _roles(flow)
    labels = sum(flow.bits[source] for source, (role, _) in roles.items() if role == "label")
    features = sum(flow.bits[source] for source, (role, _) in roles.items() if role == "feature")
    found = list(_sinks(flow, labels, features))
    answers: list[Candidate] = []
    if flow.training or labels:
        found, answers = _trained(flow, found, labels, features)
    found = found or answers or list(_sinks(flow, 0, 0)) or list(_constants(flow)) or list(_updates(flow))
    chosen = _choose(flow, found, trained=bool(flow.training or labels))
    reached = index.reachable([c.tensor.name for c in chosen], {get_node_name(source) for source in flow.sources})
    needed = sum(
        bit
        for source, bit in flow.bits.items()
        if any(flow.takes(name, source) for name in reached) or source in reached
    )
    needed |= sum(bit for source, bit in flow.bits.items() if source in {c.tensor.name for c in chosen})
    sources = [(Candidate(flow.describe(source), *roles[source]), flow.bits[source]) for source in flow.sources]
    return Inferred(
        tuple(candidate for candidate, bit in sources if bit & needed),
        tuple(chosen),
        (
            *(candidate for candidate in dict.fromkeys([*found, *answers]) if candidate not in chosen),
            *(candidate for candidate, bit in sources if not bit & needed),
        ),
        _rivals(flow, chosen) if flow.training else (),  # without training, every tensor that is left is an output
    )


def _roles(flow: Flow) -> dict[str, tuple[str, str]]:
    met, compared = flow.features(), flow.compared()
    roles = {}
    for source in flow.sources:
        tensor = flow.describe(source)
        origin = (
            ""
            if flow.nodes[get_node_name(source)].op in op_sets.PLACEHOLDERS
            else f"comes out of {flow.nodes[get_node_name(source)].op}, "
        )
        if is_training_switch(tensor) or is_keep_probability(tensor):
            roles[source] = ("switch", f"{origin}switches between training and inference, by its name and dtype")
        elif flow.drops_out(source):
            roles[source] = ("switch", f"{origin}is the keep or drop rate of dropout layers")
        elif flow.is_sampled(source):
            roles[source] = ("label", f"{origin}is the true classes of a sampled loss")
        elif flow.bits[source] & met:
            roles[source] = ("feature", f"{origin}is combined with the weights")
        elif not flow.bits[source] & compared:
            roles[source] = ("feature", f"{origin}is fed by the caller")
        else:
            roles[source] = ("label", f"{origin}is combined only with results of the weights")
    return roles


def _sinks(flow: Flow, labels: int, features: int) -> Iterator[Candidate]:
    """Tensors that nothing consumes and that depend on a feature and on no label."""
    for node in flow.rest():
        if node.op in _NO_OUTPUT:
            continue
        depends = flow.depends[node.name]
        if depends & labels or (features and not depends & features) or (node.name in flow.parameters):
            continue
        used = {
            get_output_index(e)
            for u in flow.users(node.name)
            for e in list_data_edges(flow.nodes[u])
            if get_node_name(e) == node.name
        }
        if used and not count_outputs(node) > 1:
            continue
        for index in range(count_outputs(node)):
            if index not in used and not (used and index > max(used) and node.op in op_sets.BATCH_NORMS):
                yield Candidate(flow.describe(f"{node.name}:{index}"), "output", _UNCONSUMED)


def _constants(flow: Flow) -> Iterator[Candidate]:
    """The outputs of a model that always gives the same answer."""
    for node in flow.rest():
        if node.op in ("Identity", "Const") and not flow.users(node.name):
            yield Candidate(flow.describe(f"{node.name}:0"), "output", _UNCONSUMED)


def _updates(flow: Flow) -> Iterator[Candidate]:
    """The last ops of a frozen graph that only updates a variable, which is a constant now."""
    held = any(node.op in op_sets.VARIABLES for node in flow.nodes.values())
    for node in flow.nodes.values():
        if op_sets.is_update(node.op) and not flow.index.consumers(node.name) and not held:
            yield Candidate(flow.describe(f"{node.name}:0"), "output", _UNCONSUMED)


def _trained(flow: Flow, sinks: list[Candidate], labels: int, features: int) -> tuple[list[Candidate], list[Candidate]]:
    """For a training graph: the sinks that are answers of the model, and the answers that the loss uses."""
    ends = find_losses(flow)
    scalars = [c for c in sinks if flow.training and (_is_scalar(flow, c) or get_node_name(c.tensor.name) in ends)]
    sinks = [candidate for candidate in sinks if candidate not in scalars]
    made = find_stand_ins(flow) if flow.training else {}
    starts = ends | {get_node_name(candidate.tensor.name) for candidate in scalars}
    judged = made or find_judged_tensors(flow, labels, features, starts)
    answers = [Candidate(flow.describe(name), "output", why) for name, why in judged.items()]
    nodes = {get_node_name(name) for name in judged}
    answers = [_by_its_name(flow, answer) for answer in answers]
    if made:  # keep the sinks of the same network
        parameters = {flow.parameters_of(name) for name in nodes}
        after = flow.index.downstream(nodes)
        kept = [
            c
            for c in sinks
            if flow.parameters_of(get_node_name(c.tensor.name)) in parameters
            and get_node_name(c.tensor.name) not in after
        ]
        return kept, answers
    steps = set().union(*(flow.index.upstream(node) for node in nodes))
    after = flow.index.downstream(nodes)

    def is_by_product(name: str) -> bool:
        """Whether it has no name of its own, and is computed on the way to an answer or holds less than one."""
        if find_scores_of_choice(flow, name) in nodes:
            return True
        if nodes and flow.users(name):  # another output of its op is used
            return True
        if not nodes or has_own_name(flow.nodes[name]) or name in after:
            return False
        return all(step in steps for step in flow.index.upstream(name) if flow.is_parametric(flow.nodes[step]))

    kept = [c for c in sinks if _is_no_by_product(flow, c) and not is_by_product(get_node_name(c.tensor.name))]
    kept = [_behind(flow, candidate) for candidate in kept]
    return list(dict.fromkeys(kept)), answers or scalars


def _behind(flow: Flow, sink: Candidate) -> Candidate:
    """The named tensor of which an unnamed sink is only another view."""
    node = flow.nodes[get_node_name(sink.tensor.name)]
    name = sink.tensor.name if has_own_name(node) else flow.behind_views(sink.tensor.name)
    return replace(sink, tensor=flow.describe(name)) if has_own_name(flow.nodes[get_node_name(name)]) else sink


def _by_its_name(flow: Flow, answer: Candidate) -> Candidate:
    """The tensor that the author named as the output, if an unnamed bias is added to it afterwards."""
    node = flow.nodes[get_node_name(answer.tensor.name)]
    edges = list_data_edges(node) if node.op in ("Add", "AddV2", "BiasAdd") and not has_own_name(node) else []
    deep = [edge for edge in edges if get_node_name(edge) in flow.deep]
    if len(edges) != 2 or len(deep) != 1 or not _OUTPUT.fullmatch(get_node_name(deep[0]).rpartition("/")[2]):
        return answer
    return Candidate(flow.describe(deep[0]), "output", f"is named like an output; {node.name} follows")


def _is_scalar(flow: Flow, candidate: Candidate) -> bool:
    shape = candidate.tensor.shape
    return shape == () or (
        shape is None and flow.nodes[get_node_name(candidate.tensor.name)].op in ("Mean", "Sum", "L2Loss")
    )


def _choose(flow: Flow, found: list[Candidate], *, trained: bool) -> list[Candidate]:
    """The best candidates: they use most parameters, are no by-product of a loop, and need the fewest sources."""
    if all(c.why != _UNCONSUMED for c in found):
        return _least(flow, found)
    uses = {c.tensor.name: flow.parameters_of(get_node_name(c.tensor.name)) for c in found}
    needs = {c.tensor.name: flow.depends[get_node_name(c.tensor.name)] for c in found}

    def is_less(one: Candidate, other: Candidate) -> bool:
        """Whether one uses fewer parameters than the other; without training, only if it needs no other sources."""
        a, b = one.tensor.name, other.tensor.name
        return uses[a] < uses[b] and (trained or not needs[a] & ~needs[b])

    best = [c for c in found if not any(is_less(c, other) for other in found)]
    for quality in (_is_no_branch, _is_no_by_product, _has_shape, _is_not_auxiliary):
        best = [c for c in best if quality(flow, c)] or best
    named = [c for c in best if _NAMED.search(get_node_name(c.tensor.name))]
    if named:  # a name like "predictions" counts for all that need the same sources, and against others
        speaking = {needs[c.tensor.name] for c in named}
        against = sum(flow.bits.values()) if trained else functools.reduce(operator.or_, speaking)
        best = [c for c in best if needs[c.tensor.name] in speaking or not needs[c.tensor.name] & against]
    return _least(flow, best) if trained else best


def _least(flow: Flow, found: list[Candidate]) -> list[Candidate]:
    """The candidates that need no more sources than others: the network itself, not the one that judges it."""
    needs = {c.tensor.name: flow.depends[get_node_name(c.tensor.name)] for c in found}
    return [
        c for c in found if not any(n != needs[c.tensor.name] and not n & ~needs[c.tensor.name] for n in needs.values())
    ]


def _is_no_branch(flow: Flow, candidate: Candidate) -> bool:
    """Whether it is neither switch_t or switch_f of a tf.cond nor the guard of an assertion."""
    node = flow.nodes[get_node_name(candidate.tensor.name)]
    feeds = flow.nodes.get(get_node_name(node.input[0])) if node.input else None
    is_guard = node.op in op_sets.IDENTITIES and feeds is not None and feeds.op in op_sets.SWITCHES
    return not is_guard and "AssertGuard" not in node.name


def _is_no_by_product(flow: Flow, candidate: Candidate) -> bool:
    node = flow.nodes[get_node_name(candidate.tensor.name)]
    return node.op not in op_sets.EXITS | op_sets.MERGES | {"Print"} and not re.search(r"(^|/)while(_\d+)?/", node.name)


def _is_not_auxiliary(_flow: Flow, candidate: Candidate) -> bool:
    """Whether it is no auxiliary head, which only helps a deep classifier to train."""
    return not _AUXILIARY.search(candidate.tensor.name)


def _has_shape(flow: Flow, candidate: Candidate) -> bool:
    return candidate.tensor.shape != () or has_own_name(flow.nodes[get_node_name(candidate.tensor.name)])


def _rivals(flow: Flow, chosen: list[Candidate]) -> tuple[Candidate, ...]:
    """The chosen outputs if two of them belong to different networks: each needs a source that the other does not."""
    needs = {candidate.tensor.name: flow.depends[get_node_name(candidate.tensor.name)] for candidate in chosen}
    apart = any(a & ~b and b & ~a for a in needs.values() for b in needs.values())
    return tuple(chosen) if apart else ()
