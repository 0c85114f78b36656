"""Replaces the values that a graph takes from a dataset by constants: a frozen model holds no dataset.

A dataset may be the data that a model was trained on.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from serialization.console import format_count
from serialization.errors import UserError
from serialization.formats import dtypes, protos
from serialization.formats.dtypes import get_dtype_name
from serialization.graph import op_sets
from serialization.graph.const_nodes import make_constant
from serialization.graph.graph_def import change_op, find_free_name, iterate_nodes, list_control_edges
from serialization.graph.graph_index import GraphIndex, take_nodes
from serialization.graph.op_registry import get_output_dtypes
from serialization.graph.op_sets import is_of_dataset
from serialization.graph.signature import Signature, Tensor
from serialization.run.predictor import Predictor, open_session
from serialization.tensorflow import np, tf1

_HANDLES = {dtypes.RESOURCE, dtypes.VARIANT}
_FED = op_sets.ALL_PLACEHOLDERS
_CHANGING = op_sets.VARIABLES | op_sets.RANDOM_OPS | op_sets.ITERATORS | op_sets.PIPELINES
_IN_FRAMES = op_sets.SWITCHES | op_sets.MERGES | op_sets.ENTERS  # such a node cannot be run by itself


def fold_datasets(index: GraphIndex) -> list[str]:
    """Replace, in place, each node that gives a value of a dataset by that value. Returns a line on it.

    The datasets themselves stay, and nothing needs them any more or waits for them. Raises UserError where the value is
    not the same in each run: it depends on an input, a variable, a random op or an iterator.
    """
    inside = [node for node in index.graph_def.node if is_of_dataset(node.op)]
    ends = [node for node in inside if _gives_values(node)]
    handles = {f"^{node.name}" for node in inside} - {f"^{node.name}" for node in ends}
    for node in index.graph_def.node if handles else ():
        node.input[:] = [edge for edge in node.input if edge not in handles]
    if not ends:
        return []
    needed: set[str] = set()
    for node in ends:
        above = index.upstream(node.name)
        _require_constant(index, node, above)
        needed |= above
    values = _compute(index, needed, ends)
    taken, added = set(index.nodes), []
    for node in ends:
        types, control = get_output_dtypes(node) or [], list_control_edges(node)
        names = [find_free_name(f"{node.name}/value", taken, number) for number in range(len(types))]
        added += [
            make_constant(name, values[f"{node.name}:{number}"], dtype)
            for number, (name, dtype) in enumerate(zip(names, types, strict=True))
        ]
        change_op(node, "IdentityN", [*names, *control])
        node.attr["T"].list.type.extend(types)
    index.graph_def.node.extend(added)
    return [f"computed {format_count(len(ends), 'value')} of datasets, which a frozen model does not hold"]


def require_no_datasets(graph_def: Any) -> None:
    """Raise UserError if a graph, or a function of it, still holds a dataset or an iterator."""
    for node in iterate_nodes(graph_def):
        if is_of_dataset(node.op):
            raise _refusal(node, "is a part of a dataset")


def _gives_values(node: Any) -> bool:
    types = get_output_dtypes(node) or []
    return types != [] and _HANDLES.isdisjoint(types)


def _require_constant(index: GraphIndex, node: Any, above: Iterable[str]) -> None:
    """Raise UserError if the nodes `above` make the values of a node others in another run."""
    called = index.called_functions(index.nodes[name] for name in above)
    inner = [other for function in called for other in index.functions[function].node_def]
    for other in (*map(index.nodes.__getitem__, sorted(above)), *inner):
        if other.op in _FED:
            raise _refusal(node, f"computes with a dataset over {other.name}, which is fed")
        if other.op in _CHANGING:
            raise _refusal(node, f"takes from a dataset what may change from run to run, by {other.name} ({other.op})")
        if other.op in _IN_FRAMES and other.name in index.nodes:
            raise _refusal(node, f"computes with a dataset in a loop or a branch, behind {other.name}")


def _refusal(node: Any, why: str) -> UserError:
    return UserError(
        f"{node.name} is a {node.op}, which {why}; a frozen model holds no dataset; keep it as a SavedModel"
    )


def _compute(index: GraphIndex, needed: Iterable[str], ends: Iterable[Any]) -> Any:
    """The values of nodes by the names of their tensors, computed twice: they have to be the same."""
    part = protos.GraphDef()
    part.CopyFrom(take_nodes(index, set(needed)))
    names = {node.name for node in part.node}
    for node in part.node:  # what a call waited for may need inputs that are not fed here
        node.input[:] = [edge for edge in node.input if not edge.startswith("^") or edge[1:] in names]
    outputs = tuple(
        Tensor(f"{node.name}:{number}", f"{node.name}:{number}", get_dtype_name(dtype), None)
        for node in ends
        for number, dtype in enumerate(get_output_dtypes(node) or ())
    )
    with tf1.Graph().as_default() as graph:
        tf1.import_graph_def(part, name="")
    with Predictor(open_session(graph, optimize=False), Signature((), outputs)) as predict:
        first, second = predict({}), predict({})
    for node in ends:
        for name in (key for key in first if key.rpartition(":")[0] == node.name):
            if not np.array_equal(first[name], second[name]):
                raise _refusal(node, "takes from a dataset what changes from run to run")
    return first
