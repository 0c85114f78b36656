"""Ranks candidates for the inputs and outputs of a graph that records no signature, each with the reason.

It works on the GraphDef alone, without TensorFlow's runtime, in three steps.
1. The sources of values: placeholders, and the tensors that come out of an input pipeline.
2. Their roles: a feature is combined with the weights, a label only with results of the weights.
3. The outputs: tensors that nothing consumes, once the nodes that train, save, summarize, check and feed are left out.
   If a training graph has no such tensor, the predictions are the last tensors before the labels.
"""

from __future__ import annotations

import functools
import operator
from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from serialization.formats.dtypes import HANDLE_DTYPES
from serialization.graph import op_sets
from serialization.graph.graph_def import get_node_name, get_output_index, get_tensor_name, list_data_edges
from serialization.graph.graph_index import GraphIndex
from serialization.graph.known_ops import load_op_outputs
from serialization.graph.signature import Tensor
from serialization.graph.tensors import count_outputs
from serialization.infer.data_edges import Flow
from serialization.infer.forms import CHOOSING, find_head, find_parameter_free_ancestors
from serialization.infer.left_over import find_left_over
from serialization.infer.names import has_own_name, is_called_auxiliary, speaks_of_output, strip_copy
from serialization.infer.rivals import find_rivals
from serialization.infer.roles import FEATURE, LABEL, find_roles
from serialization.infer.training_graphs import UNCONSUMED, find_answers, is_loop_result, is_state

_NO_OUTPUT = op_sets.HANDLES | op_sets.VARIABLES | op_sets.ALL_PLACEHOLDERS | op_sets.PIPELINES | op_sets.QUEUE_SIZES
_NO_OUTPUT |= op_sets.RESTORE_OPS | op_sets.SWITCHES | op_sets.ENTERS | op_sets.NEXT_ITERATIONS
_NO_OUTPUT |= op_sets.PYTHON_CALLS  # they run only in the process that built the graph
_NO_OUTPUT |= {"Const", "LoopCond", "Print"}
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


def infer_candidates(index: GraphIndex, lacking: Collection[str] = ()) -> Inferred:
    """Candidates for the inputs and outputs of a graph, best first; no outputs if it computes nothing useful.

    `lacking` are variables that have no value; what needs one is no candidate, unless all need one.
    """
    flow = Flow(index)
    roles = find_roles(flow)
    labels, features = (
        sum(flow.bits[source] for source, (role, _) in roles.items() if role == wanted) for wanted in (LABEL, FEATURE)
    )
    trained = bool(flow.training or labels)
    found = list(filter(_has_value, _find_sinks(flow, labels, features)))
    answers: list[Candidate] = []
    if trained:
        sides = find_answers(flow, [candidate.tensor.name for candidate in found], labels, features)
        found, answers = (
            list(filter(_has_value, (Candidate(flow.describe(name), "output", why) for name, why in side.items())))
            for side in sides
        )
    found, answers = (_without(flow, candidates, lacking) for candidates in (found, answers))
    for further in (answers, _find_sinks(flow, 0, 0), _constants(flow), _updates(flow)):
        found = found or list(filter(_has_value, further))
    chosen = _choose(flow, found, features, trained=trained)
    whys = {candidate.tensor.name: candidate.why for candidate in chosen}
    rivals = find_rivals(flow, list(whys), features)
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


def _find_sinks(flow: Flow, labels: int, features: int) -> Iterator[Candidate]:
    """Tensors that nothing consumes and that depend on a feature and on no label."""
    inner = set().union(*flow.loops)
    if not flow.frozen:  # else only those are left that the author wanted
        inner |= flow.answering_gradients
    for node in flow.rest():
        if node.op in _NO_OUTPUT or node.name in inner or node.name in flow.parameters or node.name in flow.ends:
            continue
        if flow.training and flow.is_value_free(node.name):
            continue
        depends = flow.depends[node.name]
        if depends & labels or (features and not depends & features and not _is_text_for_each_row(flow, node.name)):
            continue
        if flow.describe(f"{node.name}:0").shape == () and _is_summarized(flow, node.name):
            continue
        used = {
            get_output_index(edge)
            for user in flow.users(node.name)
            for edge in list_data_edges(flow.nodes[user])
            if get_node_name(edge) == node.name
        }
        if used and (len(load_op_outputs().get(node.op, ())) != 1 or node.op in op_sets.WHILES):
            continue  # the other results of an op are by-products of the one that is used; those of a list are not
        for position in range(count_outputs(node)):
            if position not in used:
                yield Candidate(flow.describe(f"{node.name}:{position}"), "output", UNCONSUMED)


def _has_value(candidate: Candidate) -> bool:
    """Whether a run gives it as an array: not a handle of a variable, nor a list of tensors."""
    return candidate.tensor.dtype not in HANDLE_DTYPES


def _is_text_for_each_row(flow: Flow, name: str) -> bool:
    """Whether it repeats a text for each row of an answer, such as the names of the classes."""
    text = flow.describe(f"{name}:0").dtype == "string"
    return text and any(step in flow.deep for step in flow.index.upstream(name))


def _is_summarized(flow: Flow, name: str) -> bool:
    return any(flow.nodes[user].op in op_sets.SUMMARIES for user in flow.index.consumers(name))


def _constants(flow: Flow) -> Iterator[Candidate]:
    """The outputs of a model that always gives the same answer."""
    for node in flow.rest():
        if node.op in ("Identity", "Const") and not flow.users(node.name):
            yield Candidate(flow.describe(f"{node.name}:0"), "output", UNCONSUMED)


def _updates(flow: Flow) -> Iterator[Candidate]:
    """The last ops of a frozen graph that only updates a variable, which is a constant now."""
    for node in flow.nodes.values():
        if flow.frozen and op_sets.is_update(node.op) and not flow.index.consumers(node.name):
            yield Candidate(flow.describe(f"{node.name}:0"), "output", UNCONSUMED)


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
