"""Chooses a graph's inputs and outputs; cuts, prunes and repairs it, and refuses ops that TensorFlow does not know."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from serialization.checks.memory import require_modest_tensors
from serialization.errors import UserError
from serialization.formats.dtypes import get_dtype_name
from serialization.graph import signature
from serialization.graph.cut import cut_at_inputs
from serialization.graph.graph_def import CUT_OFF, get_node_name, get_output_index, get_tensor_name, may_be_cut_off
from serialization.graph.graph_index import GraphIndex, prune_graph
from serialization.graph.kernels import require_kernels
from serialization.graph.op_registry import count_nameable_outputs, get_output_dtype, require_known_ops
from serialization.graph.op_sets import PIPELINES, PLACEHOLDERS, TABLE_INITIALIZERS
from serialization.graph.repair import make_graph_loadable
from serialization.graph.signature import (
    Signature,
    Tensor,
    choose_signature_def,
    list_signature_defs,
    read_signature_def,
    split_tensors,
)
from serialization.graph.tensors import describe_tensor
from serialization.infer.candidates import Candidate, infer_candidates
from serialization.sources.frozen_reader import GraphFile


@dataclass(frozen=True)
class PreparedGraph:
    """A GraphDef of what `signature` needs; `initializers` fill its tables, `notes` say what was done."""

    graph_def: Any
    signature: Signature
    initializers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def prepare_graph(
    file: GraphFile, inputs: str | None, outputs: str | None, what: str = "it", known: Signature | None = None
) -> PreparedGraph:
    """Choose inputs and outputs, unless they are `known`, then make the graph ready to be imported.

    `inputs` and `outputs` are what `--inputs` and `--outputs` say; without them a recorded signature counts, else they
    are inferred. Raises UserError where the graph has no such tensor, where it is ambiguous which are meant, where ops
    are unknown, and where the graph is damaged.
    """
    wanted, notes = (known, []) if known is not None else choose_signature(file, inputs, outputs)
    if may_be_cut_off(file.graph_def):
        notes.append(CUT_OFF)
    index, wanted, cuts = cut_at_inputs(file.index, wanted)
    notes += cuts
    pruned, initializers = _prune(index, wanted)
    repairs = make_graph_loadable(pruned)
    require_known_ops(pruned, what)
    require_kernels(pruned, what)
    require_modest_tensors(pruned, what)
    notes += [f"repaired: {line}" for line in (*file.notes, *repairs)]
    return PreparedGraph(pruned, wanted, tuple(initializers), tuple(notes))


def choose_signature(
    file: GraphFile, inputs: str | None, outputs: str | None, recorded: Signature | None = None
) -> tuple[Signature, list[str]]:
    """The Signature that the user names, or the file records, or the graph suggests, and one line on each choice."""
    index = file.index
    notes: list[str] = []
    if outputs is None and recorded is None:
        recorded = _recorded(file)
    if outputs is not None:
        chosen_outputs = _named(index, outputs)
    elif recorded is not None:
        for tensor in (*recorded.inputs, *recorded.outputs):
            _require(index, tensor.name)
        chosen_outputs = recorded.outputs
        notes.append(f"outputs as recorded in its signature: {_list(chosen_outputs)}")
    else:
        chosen_outputs = _inferred_outputs(index, notes)
    if inputs is not None:
        return Signature(_complete(index, _named(index, inputs), chosen_outputs), chosen_outputs), notes
    if recorded is not None:
        return Signature(recorded.inputs, chosen_outputs), notes
    chosen_inputs = _inputs_of(index, chosen_outputs)
    notes.append(f"inputs, as the outputs need them: {_list(chosen_inputs) or 'none'}")
    return Signature(chosen_inputs, chosen_outputs), notes


def _recorded(file: GraphFile) -> Signature | None:
    known = list(list_signature_defs(file.meta_graph)) if file.meta_graph is not None else []
    if not known:
        return None
    if len(known) > 1 and signature.SERVING_DEFAULT not in known:
        raise UserError(
            f"the graph records several signatures and none called {signature.SERVING_DEFAULT}; "
            f"found {', '.join(known)}; choose with --inputs and --outputs"
        )
    return read_signature_def(choose_signature_def(file.meta_graph))


def _inferred_outputs(index: GraphIndex, notes: list[str]) -> tuple[Tensor, ...]:
    found = infer_candidates(index)
    if found.rivals:
        listed = "; ".join(str(_completed(index, c).tensor) for c in found.rivals)
        others = "; ".join(str(_completed(index, c).tensor) for c in found.others if c.role == "output")
        raise UserError(
            f"it is ambiguous what the graph's outputs are; candidates are {listed}"
            f"{'; less likely ' + others if others else ''}; choose with --outputs"
        )
    if not found.outputs:
        raise UserError(
            "the graph computes nothing that looks like an output; found no tensor left over; name --outputs"
        )
    for candidate in found.outputs:
        notes.append(f"inferred output {_completed(index, candidate).tensor}: {candidate.why}")
    return tuple(_completed(index, candidate).tensor for candidate in found.outputs)


def _inputs_of(index: GraphIndex, outputs: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """The placeholders that the outputs need; where there are none, what they take from a queue or an iterator."""
    needed = index.reachable([tensor.name for tensor in outputs])
    placeholders = [name for name in index.nodes if name in needed and index.nodes[name].op in PLACEHOLDERS]
    if placeholders:
        return tuple(_describe(index, f"{name}:0") for name in placeholders)
    stop = {name for name in needed if index.nodes[name].op in PIPELINES}
    needed = index.reachable([tensor.name for tensor in outputs], stop)
    edges = dict.fromkeys(
        edge
        for name in index.nodes
        if name in needed and name not in stop
        for edge in index.nodes[name].input
        if get_node_name(edge) in stop
    )
    tensors = dict.fromkeys(get_tensor_name(e) for e in edges if not e.startswith("^"))
    return tuple(_describe(index, name) for name in tensors)


def _named(index: GraphIndex, text: str) -> tuple[Tensor, ...]:
    tensors = []
    for key, name in split_tensors(text):
        _require(index, name)
        tensors.append(replace(_describe(index, name), key=key))
    return tuple(tensors)


def _require(index: GraphIndex, name: str) -> None:
    """Raise UserError with the nearest names where the graph has no such tensor."""
    node = get_node_name(name)
    if node in index.nodes:
        count = count_nameable_outputs(index.nodes[node])
        if get_output_index(name) < count:
            return
        has = "one output, " + node + ":0" if count == 1 else f"{count} outputs"
        raise UserError(f"no tensor {name} in the graph; {node} has {has if count else 'no outputs'}")
    known = list(index.nodes)
    near = difflib.get_close_matches(node, known, n=3, cutoff=0.5)
    near += [n for n in known if n.rpartition("/")[2] == node.rpartition("/")[2] and n not in near][: 3 - len(near)]
    hint = (
        f"the nearest are {', '.join(f'{name}:0' for name in near)}"
        if near
        else f"none of its {len(known)} nodes has a similar name"
    )
    raise UserError(f"no tensor {name} in the graph; {hint}")


def _complete(index: GraphIndex, inputs: tuple[Tensor, ...], outputs: Iterable[Tensor]) -> tuple[Tensor, ...]:
    """The inputs, if they are enough. Raises UserError that names the placeholders which the outputs need as well."""
    stop = {get_node_name(tensor.name) for tensor in inputs}
    needed = index.reachable([tensor.name for tensor in outputs], stop)
    more = [_describe(index, f"{n}:0") for n in needed if index.nodes[n].op in PLACEHOLDERS and n not in stop]
    if more:
        raise UserError(f"the outputs also need {_list(more)}; add it to --inputs")
    return inputs


def _prune(index: GraphIndex, wanted: Signature) -> tuple[Any, list[str]]:
    """What the outputs need, with the inputs and with the nodes that fill the tables which the outputs read."""
    tensors = [tensor.name for tensor in (*wanted.outputs, *wanted.inputs)]
    keep = index.reachable(tensors)
    initializers: list[str] = []
    candidates = [node for node in index.graph_def.node if node.op in TABLE_INITIALIZERS]
    found = True
    while found:  # a table's values may come out of another table
        found = False
        for node in candidates:
            if get_node_name(node.input[0]) in keep and node.name not in initializers:
                initializers.append(node.name)
                keep = index.reachable([*tensors, *initializers])
                found = True
    return prune_graph(index, [*tensors, *initializers]), initializers


def _describe(index: GraphIndex, name: str) -> Tensor:
    tensor = describe_tensor(index.nodes, name)
    if tensor.dtype == "unknown":
        tensor = replace(tensor, dtype=get_dtype_name(get_output_dtype(index.producer(name), get_output_index(name))))
    return tensor


def _completed(index: GraphIndex, candidate: Candidate) -> Candidate:
    if candidate.tensor.dtype != "unknown":
        return candidate
    return replace(candidate, tensor=_describe(index, candidate.tensor.name))


def _list(tensors: Iterable[Tensor]) -> str:
    return ", ".join(f"{t.key}={t}" if t.key != t.name.removesuffix(":0") else str(t) for t in tensors)
