"""Ranks candidates for the inputs and outputs of a graph that records no signature, each with the reason.

It works on the GraphDef alone, without TensorFlow's runtime, in three steps.
1. The sources of values: placeholders, and the tensors that come out of an input pipeline.
2. Their roles: a feature is combined with the weights, a label only with results of the weights.
3. The outputs: what the author listed in a collection; else tensors that nothing consumes, once the nodes that train,
   save, summarize, check and feed are left out. If a training graph has no such tensor, the predictions are the last
   tensors before the labels.
"""

from __future__ import annotations

import functools
import operator
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from serialization.formats.dtypes import HANDLE_DTYPES
from serialization.graph import op_sets
from serialization.graph.graph_def import get_node_name, get_tensor_name, list_data_edges
from serialization.graph.graph_index import GraphIndex
from serialization.graph.signature import Tensor
from serialization.infer.collected import find_collected
from serialization.infer.data_edges import Flow
from serialization.infer.forms import CHOOSING, find_head, find_parameter_free_ancestors
from serialization.infer.left_over import find_beside_in_loops, find_left_over
from serialization.infer.names import has_own_name, is_called_auxiliary, speaks_of_output, strip_copy
from serialization.infer.rivals import find_rivals
from serialization.infer.roles import FEATURE, LABEL, find_roles
from serialization.infer.sinks import find_constants, find_sinks, find_unused_weights, find_updates
from serialization.infer.training_graphs import UNCONSUMED, find_answers, find_measured, is_loop_result, is_state

_ACTIVATIONS = {"Sigmoid", "Softmax"}


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


def infer_candidates(index: GraphIndex, lacking: Collection[str] = (), meta_graph: Any = None) -> Inferred:
    """Candidates for the inputs and outputs of a graph, best first; no outputs if it computes nothing useful.

    `lacking` are the variables without a value. A tensor that needs one is no candidate, unless every tensor needs one.
    The collections of `meta_graph` are searched for tensors that the author listed.
    """
    flow = Flow(index)
    roles = find_roles(flow)
    labels, features = (
        sum(flow.bits[source] for source, (role, _) in roles.items() if role == wanted) for wanted in (LABEL, FEATURE)
    )
    trained = bool(flow.training or labels)
    sinks = [*find_sinks(flow, labels, features), *find_unused_weights(flow)]
    beside = set() if flow.frozen else find_beside_in_loops(flow, sinks)
    found = _as_candidates(flow, {name: UNCONSUMED for name in sinks if name not in beside})
    answers: list[Candidate] = []
    if trained:
        sides = find_answers(flow, [candidate.tensor.name for candidate in found], labels, features)
        found, answers = (_as_candidates(flow, side) for side in sides)
    elif not flow.frozen:
        names = [c.tensor.name for c in found]
        found += _as_candidates(flow, find_measured(flow, names, features))
    collected = _as_candidates(flow, find_collected(flow, meta_graph, labels))
    collected, found, answers = (_without(flow, c, lacking) for c in (collected, found, answers))
    found = found or answers
    for further in (find_sinks, find_constants, find_updates):
        found = found or _as_candidates(flow, dict.fromkeys(further(flow), UNCONSUMED))
    chosen = collected or _choose(flow, found, features, trained=trained)
    whys = {candidate.tensor.name: candidate.why for candidate in chosen}
    rivals = [] if collected else find_rivals(flow, list(whys), features)
    reached = index.reachable([c.tensor.name for c in chosen], {get_node_name(source) for source in flow.sources})
    taken = {get_tensor_name(edge) for name in reached for edge in list_data_edges(flow.nodes[name])}
    taken |= {candidate.tensor.name for candidate in chosen}
    needed = sum(bit for source, bit in flow.bits.items() if source in taken)
    sources = [(Candidate(flow.describe(source), *roles[source]), flow.bits[source]) for source in flow.sources]
    return Inferred(
        tuple(candidate for candidate, bit in sources if bit & needed),
        tuple(chosen),
        (
            *(candidate for candidate in dict.fromkeys([*found, *answers]) if candidate not in chosen),
            *(candidate for candidate, bit in sources if not bit & needed),
        ),
        tuple(Candidate(flow.describe(name), "output", whys.get(name, UNCONSUMED)) for name in rivals),
    )


def _as_candidates(flow: Flow, found: Mapping[str, str]) -> list[Candidate]:
    """The tensors that a run gives as an array, with their reasons: no handles of variables, nor lists of tensors."""
    candidates = (Candidate(flow.describe(name), "output", why) for name, why in found.items())
    return [candidate for candidate in candidates if candidate.tensor.dtype not in HANDLE_DTYPES]


def _without(flow: Flow, found: list[Candidate], lacking: Collection[str]) -> list[Candidate]:
    """The candidates that need none of these variables; all if each needs one."""
    if not lacking:
        return found
    return [c for c in found if flow.parameters_of(get_node_name(c.tensor.name)).isdisjoint(lacking)] or found


def _choose(flow: Flow, found: list[Candidate], features: int, *, trained: bool) -> list[Candidate]:
    """The best candidates: they use most parameters, are no by-product of a loop, and need the fewest sources."""
    found = _drop_copies(flow, found, trained=trained)
    if all(c.why != UNCONSUMED for c in found):
        return _least(flow, found, features)
    uses = {c.tensor.name: flow.parameters_of(get_node_name(c.tensor.name)) for c in found}
    needs = {c.tensor.name: flow.depends[get_node_name(c.tensor.name)] for c in found}

    kinds = {(uses[name], needs[name]) for name in uses}

    def is_less(one: Candidate) -> bool:
        """Whether it uses fewer parameters than another, and no name or freezing tells that it is wanted."""
        name, node = one.tensor.name, get_node_name(one.tensor.name)
        if not trained and (flow.frozen or has_own_name(flow.nodes[node])):
            return False
        if one.why != UNCONSUMED or is_state(flow, node):
            return False
        if has_own_name(flow.nodes[node]) and flow.nodes[node].op in _ACTIVATIONS:
            return False  # the probabilities of another head
        return any(uses[name] < used and (trained or not needs[name] & ~needed) for used, needed in kinds)

    best = [c for c in found if not is_less(c)]
    # Freezing leaves what its author named, whatever it looks like, and what is only a shape or a branch.
    others = () if flow.frozen else (_is_computed, _is_no_by_product, _has_shape, _is_not_auxiliary)
    for quality in (_has_values, _is_no_branch, *others):
        best = [c for c in best if quality(flow, c)] or best
    if not trained and not flow.frozen:
        left = find_left_over(flow, [get_node_name(c.tensor.name) for c in best])
        best = [c for c in best if get_node_name(c.tensor.name) not in left]
    best = _keep_scores(flow, best) if trained else best
    named = [] if flow.frozen else [c for c in best if speaks_of_output(c.tensor.name)]
    if named:  # a name like "predictions" counts for all that need the same sources, and against others
        speaking = {needs[c.tensor.name] for c in named}
        against = sum(flow.bits.values()) if trained else functools.reduce(operator.or_, speaking)
        best = [c for c in best if needs[c.tensor.name] in speaking or not needs[c.tensor.name] & against]
    return _least(flow, best, features) if trained else best


def _drop_copies(flow: Flow, found: list[Candidate], *, trained: bool) -> list[Candidate]:
    """One of the tensors that a network gives for several parts of a batch, or for training and use.

    Copies take the same weights last, and have nothing else in common; where nothing trains, their names tell that they
    are replicas. Two nodes that compute the same are copies too. What nothing consumes is best, then what has a name.
    """
    nodes = {c: flow.nodes[get_node_name(c.tensor.name)] for c in found}
    heads = {c: find_head(flow, node.name) for c, node in nodes.items()}
    kin = flow.find_kin([node.name for node in nodes.values()])
    ranked = sorted(found, key=lambda c: (c.why != UNCONSUMED, not has_own_name(nodes[c])))
    kept: dict[object, list[Candidate]] = defaultdict(list)

    def is_copy(one: Candidate, other: Candidate) -> bool:
        a, b = nodes[one], nodes[other]
        if (
            a.op == b.op
            and a.op not in op_sets.RANDOM_OPS
            and a.name != b.name
            and a.input == b.input
            and a.attr == b.attr
        ):
            return True
        return b.name not in kin[a.name] and (trained or strip_copy(a.name) == strip_copy(b.name))

    for candidate in ranked:
        group = kept[heads[candidate] or candidate]
        if not any(is_copy(candidate, other) for other in group):
            group.append(candidate)
    chosen = {candidate for group in kept.values() for candidate in group}
    return [candidate for candidate in found if candidate in chosen]


def _least(flow: Flow, found: list[Candidate], features: int) -> list[Candidate]:
    """The candidates that need no more sources than others: the network itself, not the one that judges it.

    What needs a feature that no loss needs was made to be used, whatever else it needs.
    """
    needs = {c.tensor.name: flow.depends[get_node_name(c.tensor.name)] for c in found}
    least = [n for n in needs.values() if not any(m != n and not m & ~n for m in needs.values())]
    unused = features & ~flow.needed_by_losses
    return [c for c in found if needs[c.tensor.name] in least or needs[c.tensor.name] & unused]


def _has_values(flow: Flow, candidate: Candidate) -> bool:
    return flow.nodes[get_node_name(candidate.tensor.name)].op not in op_sets.SHAPES


def _keep_scores(flow: Flow, found: list[Candidate]) -> list[Candidate]:
    """Of several forms of one answer (scores, fewer scores, the class, its text) the scores of all classes."""
    steps = {c: find_parameter_free_ancestors(flow, get_node_name(c.tensor.name)) for c in found}
    scores = [c for c in found if flow.nodes[get_node_name(flow.behind_views(c.tensor.name))].op in _ACTIVATIONS]

    def is_less(candidate: Candidate) -> bool:
        forms = [score for score in scores if score != candidate and steps[score] & steps[candidate]]
        node = flow.nodes[get_node_name(candidate.tensor.name)]
        if node.op in CHOOSING and has_own_name(node) and not flow.index.consumers(node.name):
            return False  # the author named the class, and nothing in the graph reads it: it is meant to be fetched
        if candidate in scores:
            return any(_count_classes(candidate) < _count_classes(score) for score in forms)
        return bool(forms) and any(flow.nodes[get_node_name(name)].op in CHOOSING for name in steps[candidate])

    return [candidate for candidate in found if not is_less(candidate)]


def _count_classes(candidate: Candidate) -> int:
    return (candidate.tensor.shape or (0,))[-1] or 0


def _is_no_branch(flow: Flow, candidate: Candidate) -> bool:
    """Whether it is neither switch_t or switch_f of a tf.cond nor the guard of an assertion."""
    node = flow.nodes[get_node_name(candidate.tensor.name)]
    feeds = flow.nodes.get(get_node_name(node.input[0])) if node.input else None
    is_guard = node.op in op_sets.IDENTITIES and feeds is not None and feeds.op in op_sets.SWITCHES
    return not is_guard and "AssertGuard" not in node.name


def _is_computed(flow: Flow, candidate: Candidate) -> bool:
    """Whether it is more than an input that is handed through."""
    return get_tensor_name(flow.index.trace_back(candidate.tensor.name, op_sets.IDENTITIES)) not in flow.bits


def _is_no_by_product(flow: Flow, candidate: Candidate) -> bool:
    return not is_loop_result(flow, get_node_name(candidate.tensor.name))


def _is_not_auxiliary(_flow: Flow, candidate: Candidate) -> bool:
    return not is_called_auxiliary(candidate.tensor.name)


def _has_shape(flow: Flow, candidate: Candidate) -> bool:
    return candidate.tensor.shape != () or has_own_name(flow.nodes[get_node_name(candidate.tensor.name)])
