"""Folds what constants decide in a GraphDef: numbers that depend on nothing else, and branches that are never taken.

TensorFlow's own kernels compute each number, op by op, so it has the bits that a run gives.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Any

from serialization.errors import UserError
from serialization.formats import dtypes
from serialization.graph.const_nodes import make_constant, read_array
from serialization.graph.function_optimizers import make_unoptimized_config
from serialization.graph.graph_def import (
    change_op,
    find_free_name,
    get_node_name,
    get_tensor_name,
    list_control_edges,
    list_data_edges,
)
from serialization.graph.graph_index import GraphIndex, prune_graph
from serialization.graph.op_registry import get_op_def, get_output_dtypes
from serialization.graph.op_sets import ALL_PLACEHOLDERS, IDENTITIES, MERGES, NEXT_ITERATIONS, PASS_THROUGH
from serialization.graph.repair import remove_lost_locations
from serialization.tensorflow import explain_failures, np, tf1

if TYPE_CHECKING:
    from numpy.typing import NDArray

_KEPT = ALL_PLACEHOLDERS | PASS_THROUGH - IDENTITIES | {"Const", "LoopCond", "_SwitchN"}
_MOST = 1 << 20  # bytes of a folded constant: a larger one would only make the file larger
_NO_NUMBERS = {dtypes.STRING, 20, 21}  # strings, resources, variants: what an op does with a text may be no sum


def fold_constants(graph_def: Any, changed: Iterable[str], roots: Collection[str]) -> Any:
    """A new GraphDef in which the consequences of the constants called `changed` are folded, pruned to its roots.

    `roots` are the tensors that have to stay. Raises UserError if one of them is in a branch that is never taken.
    """
    result, names = prune_graph(GraphIndex(graph_def), roots), set(changed)
    while True:
        index = GraphIndex(result)
        names |= _compute_constants(index, names, roots)
        index = GraphIndex(result)
        names |= (resolved := _resolve_branches(index, roots))
        result = prune_graph(GraphIndex(result), roots)
        if not resolved:
            return join_equal_branches(result, roots)


def join_equal_branches(graph_def: Any, roots: Collection[str]) -> Any:
    """A new GraphDef in which a choice between two branches that hand on the same tensor is no choice any more."""
    index = GraphIndex(graph_def)
    for node in graph_def.node:
        if node.op not in MERGES or len(list_data_edges(node)) != 2 or _is_taken(index, node.name, 1):
            continue
        sides = [index.trace_back(edge, IDENTITIES) for edge in list_data_edges(node)]
        switches = [index.producer(side) for side in sides]
        if {get_tensor_name(side).rpartition(":")[2] for side in sides} == {"0", "1"} and all(
            switch is not None and switch.op == "Switch" and switch.input[:2] == switches[0].input[:2]
            for switch in switches
        ):
            change_op(node, "Identity", [switches[0].input[0]], T=node.attr["T"].type)
    return prune_graph(GraphIndex(graph_def), roots)


def _compute_constants(index: GraphIndex, changed: Collection[str], roots: Collection[str]) -> set[str]:
    """Make constants, in place, of the numbers that follow from the constants called `changed`. Returns their names."""
    foldable: dict[str, None] = {}
    after = index.downstream(name for name in changed if name in index.nodes)
    known = {node.name for node in index.graph_def.node if node.op == "Const" and not list_control_edges(node)}
    for name in index.order:
        node = index.nodes[name]
        sources = index.producers(node)
        if name in after and sources and all(s in known or s in foldable for s in sources):
            foldable |= {name: None} if _is_computable(index, node) else {}
    ends = [name for name in foldable if _is_fetched(name, roots) or not set(index.consumers(name)) <= foldable.keys()]
    if not ends:
        return set()
    for name, value in zip(ends, _run(index, ends), strict=True):
        if value.nbytes <= _MOST:
            dtype = (get_output_dtypes(index.nodes[name]) or [0])[0]
            index.nodes[name].CopyFrom(make_constant(name, value, dtype))
    return set(ends)


def _is_computable(index: GraphIndex, node: Any) -> bool:
    """Whether an op computes one number or array from numbers, and nothing else decides it."""
    definition = get_op_def(node.op)
    if node.op in _KEPT or definition is None or definition.is_stateful or list_control_edges(node):
        return False
    taken = [
        (get_output_dtypes(index.nodes[source]) or [0])[0] for source in index.producers(node) if source in index.nodes
    ]
    return len(made := get_output_dtypes(node) or []) == 1 and _NO_NUMBERS.isdisjoint([*made, *taken])


def _is_fetched(name: str, roots: Collection[str]) -> bool:
    return name in roots or f"{name}:0" in roots


@explain_failures("the graph does not take the pinned value", "give another with --pin")
def _run(index: GraphIndex, names: Iterable[str]) -> list[NDArray[Any]]:
    names = list(names)
    with tf1.Graph().as_default() as graph:
        part = prune_graph(index, names)
        remove_lost_locations(part)
        tf1.import_graph_def(part, name="")
    config = tf1.ConfigProto()
    config.MergeFrom(make_unoptimized_config())
    with tf1.Session(graph=graph, config=config) as session:
        return [np.asarray(value) for value in session.run([f"{name}:0" for name in names])]


def _resolve_branches(index: GraphIndex, roots: Collection[str]) -> set[str]:
    """Take out, in place, the branches that a constant decides against. Returns the names of the nodes that changed.

    The other branch's Switch and Merge hand their values on.
    """
    decided: dict[str, bool] = {}
    for name, node in index.nodes.items():
        pred = index.producer(index.trace_back(node.input[1], IDENTITIES)) if node.op == "Switch" else None
        if pred is not None and pred.op == "Const" and not list_control_edges(pred):
            decided[name] = bool(read_array(pred).reshape(-1)[0])
    if not decided:
        return set()
    dead = {f"{name}:{int(not taken)}" for name, taken in decided.items()}
    gone: set[str] = set()
    for name in index.order:
        node = index.nodes[name]
        data = [edge for edge in list_data_edges(node) if not _closes_loop(index, node, edge)]
        without = [edge for edge in data if get_tensor_name(edge) in dead or get_node_name(edge) in gone]
        if node.op in MERGES:
            is_dead = bool(data) and len(without) == len(data)
        else:
            is_dead = bool(without) or any(get_node_name(edge) in gone for edge in list_control_edges(node))
        if is_dead:
            gone.add(name)
    lost = [root for root in roots if get_node_name(root) in gone or get_tensor_name(root) in dead]
    if lost:
        raise UserError(f"with the pinned value the graph does not compute {lost[0]}; name other --outputs")
    return _take_out(index, decided, dead, gone)


def _take_out(index: GraphIndex, decided: dict[str, bool], dead: set[str], gone: set[str]) -> set[str]:
    """Remove the nodes that are gone, and make Identity ops of the choices that are left with one way."""
    moved: dict[str, str] = {}
    added: list[Any] = []
    for name, node in index.nodes.items():
        if name in gone:
            continue
        data, control = list_data_edges(node), list_control_edges(node)
        if name in decided:
            moved[f"{name}:1"] = name
            change_op(node, "Identity", [data[0], *control], T=node.attr["T"].type)
        elif node.op in MERGES:
            alive = [e for e in data if get_tensor_name(e) not in dead and get_node_name(e) not in gone]
            if len(alive) == 1 < len(data):
                number = make_constant(
                    find_free_name(f"{name}/value_index", index.nodes), np.array(data.index(alive[0]), np.int32), 3
                )
                added.append(number)
                moved[f"{name}:1"] = number.name
                change_op(node, "Identity", [alive[0]], T=node.attr["T"].type)
                decided[name] = True
    kept = [node for node in index.graph_def.node if node.name not in gone]
    for node in kept:
        node.input[:] = [moved.get(edge, edge) for edge in node.input if get_node_name(edge) not in gone]
    graph_def = index.graph_def
    copies = [type(node).FromString(node.SerializeToString()) for node in (*kept, *added)]
    del graph_def.node[:]
    graph_def.node.extend(copies)
    return {name for name in decided if name not in gone}


def _closes_loop(index: GraphIndex, node: Any, edge: str) -> bool:
    producer = index.producer(edge)
    return node.op in MERGES and producer is not None and producer.op in NEXT_ITERATIONS


def _is_taken(index: GraphIndex, name: str, output: int) -> bool:
    """Whether a node takes this output of another."""
    return any(f"{name}:{output}" in index.nodes[user].input for user in index.consumers(name))
