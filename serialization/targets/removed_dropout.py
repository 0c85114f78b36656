"""Switches dropout off in a frozen model, where it is active at inference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from serialization.console import format_count, list_some
from serialization.errors import UserError
from serialization.formats import protos
from serialization.graph.dropout import DropoutLayer, find_dropout, remove_dropout
from serialization.graph.folding import join_equal_branches
from serialization.graph.graph_def import get_node_name
from serialization.graph.graph_index import GraphIndex
from serialization.graph.op_sets import RANDOM_OPS
from serialization.graph.signature import Signature
from serialization.run.edited_source import ignore_inputs, keep_all_numbers
from serialization.run.origin import Origin
from serialization.sources.from_frozen import list_roots

if TYPE_CHECKING:
    from serialization.sources.from_frozen import PreparedFrozenModel

    State = tuple[PreparedFrozenModel, Origin | None]


def switch_dropout_off(ready: PreparedFrozenModel, origin: Origin | None) -> State:
    """Make an identity of each dropout layer, and leave out inputs that nothing else took.

    Raises UserError if there is no dropout layer.
    """
    roots = list_roots(ready, Signature((), ready.signature.outputs))
    layers = find_dropout(ready.index, roots)
    others = _list_other_random(ready.index, roots, layers)
    if not layers:
        found = f"found {', '.join(others)}, which is none" if others else "found no random op"
        raise UserError(f"--no-dropout: the outputs depend on no dropout layer; {found}; leave the flag out")
    graph_def = protos.GraphDef()
    graph_def.CopyFrom(ready.graph_def)
    remove_dropout(graph_def, layers)
    kept = list_roots(ready, ready.signature)
    index = GraphIndex(join_equal_branches(graph_def, kept))
    before, after = (one.reachable(roots) for one in (ready.index, index))
    unused = [
        tensor
        for tensor in ready.signature.inputs
        if (name := get_node_name(tensor.name)) in before and name not in after
    ]
    wanted = replace(ready.signature, inputs=tuple(t for t in ready.signature.inputs if t not in unused))
    index = GraphIndex(join_equal_branches(index.graph_def, list_roots(ready, wanted)))
    names = list(dict.fromkeys(layer.random for layer in layers))
    notes = [
        f"dropout off in {format_count(len(layers), 'layer')}, of the random ops {list_some(names)}: the result is "
        "compared with the source in which each of them keeps every number, at a scale of 1"
    ]
    notes += [f"left out the input {tensor.key}, which the dropout alone took" for tensor in unused]
    notes += [f"random, and no dropout: {list_some(others)}"] if others else []
    if origin is not None:
        switches = _list_switches(ready.index, wanted, layers) if origin.repeat is None else ()
        origin = replace(keep_all_numbers(origin, layers, index), switches=switches)
        origin = ignore_inputs(origin, [tensor.key for tensor in unused]) if unused else origin
    return replace(ready, index=index, signature=wanted, changes=(*ready.changes, *notes)), origin


def _list_switches(index: GraphIndex, wanted: Signature, layers: Sequence[DropoutLayer]) -> tuple[str, ...]:
    """The inputs of one bool that decide whether a layer runs: a proof has to see it run."""
    above = set().union(*(index.upstream(layer.result) for layer in layers))
    return tuple(
        tensor.key
        for tensor in wanted.inputs
        if tensor.dtype == "bool" and tensor.shape == () and get_node_name(tensor.name) in above
    )


def _list_other_random(index: GraphIndex, roots: list[str], layers: Sequence[DropoutLayer]) -> list[str]:
    """The random ops that outputs depend on where these layers are off."""
    copy = protos.GraphDef()
    copy.CopyFrom(index.graph_def)
    remove_dropout(copy, layers)
    left = GraphIndex(copy)
    return [f"{name} ({left.nodes[name].op})" for name in left.reachable(roots) if left.nodes[name].op in RANDOM_OPS]
