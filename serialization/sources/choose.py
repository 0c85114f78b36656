"""Chooses a graph's inputs and outputs; cuts, prunes and repairs it, and refuses ops that TensorFlow does not know."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from serialization.checks.crashes import find_lost_end
from serialization.checks.memory import require_modest_tensors
from serialization.console import make_printable
from serialization.errors import UserError
from serialization.formats.dtypes import HANDLE_DTYPES, get_dtype_name
from serialization.graph.cut import cut_at_inputs
from serialization.graph.graph_def import CUT_OFF, get_node_name, get_output_index, may_be_cut_off
from serialization.graph.graph_index import GraphIndex, prune_graph
from serialization.graph.kernels import require_kernels
from serialization.graph.lookup_tables import list_table_initializers
from serialization.graph.op_registry import count_nameable_outputs, get_output_dtype, require_known_ops
from serialization.graph.recorded_signature import read_recorded_signature, remove_record
from serialization.graph.repair import make_graph_loadable, replace_absent_ops
from serialization.graph.signature import (
    SERVING_DEFAULT,
    Signature,
    Tensor,
    choose_signature_def,
    list_signature_defs,
    read_signature_def,
    split_tensors,
)
from serialization.graph.tensors import describe_tensor
from serialization.infer.entrances import find_inputs
from serialization.sources.frozen_reader import GraphFile

if TYPE_CHECKING:
    from serialization.infer.candidates import Candidate, Inferred

_SHOWN, _LINE = 5, 400  # candidates in the message that the choice is ambiguous; their characters


class NoOutputsError(UserError):
    """No output is named or recorded, and the graph suggests none."""


@dataclass(frozen=True)
class PreparedGraph:
    """The part of a GraphDef that `signature` needs. `initializers` fill its tables; `notes` report what was done."""

    index: GraphIndex
    signature: Signature
    initializers: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def prepare_graph(
    file: GraphFile,
    inputs: str | None,
    outputs: str | None,
    what: str = "it",
    lacking: Collection[str] = (),
) -> PreparedGraph:
    """Choose inputs and outputs, then make the graph ready to be imported.

    `inputs` and `outputs` are the values of the flags. Without them the recorded signature is used, or if there is none
    they are inferred. `what` names the model in messages, `lacking` are variables that have no value. Raises UserError
    for a tensor that the graph does not have, for ambiguous outputs, for ops that TensorFlow does not know, and for a
    damaged graph.
    """
    if outputs is None and file.meta_graph is None and (why := find_lost_end(file.index)):
        raise UserError(f"{what} is cut off at its end; {why}; copy it here again, or name --outputs that it has")
    wanted, notes = choose_signature(file, inputs, outputs, lacking=lacking, what=what)
    require_values(wanted)
    if may_be_cut_off(file.graph_def):
        notes.append(CUT_OFF)
    index, wanted, cuts = cut_at_inputs(file.index, wanted)
    notes += cuts
    graph_def, initializers = _prune(index, wanted)
    remove_record(graph_def)  # what was recorded is read, and may not hold for this part
    repairs = replace_absent_ops(graph_def)
    pruned = GraphIndex(graph_def)
    repairs += make_graph_loadable(pruned)
    require_known_ops(graph_def, what)
    require_kernels(graph_def, what)
    require_modest_tensors(pruned, what)
    notes += [f"repaired: {line}" for line in (*file.notes, *repairs)]
    return PreparedGraph(pruned, wanted, tuple(initializers), tuple(notes))


def choose_signature(
    file: GraphFile,
    inputs: str | None,
    outputs: str | None,
    recorded: Signature | None = None,
    *,
    lacking: Collection[str] = (),
    what: str = "it",
) -> tuple[Signature, list[str]]:
    """The Signature that the user names, or the file records, or the graph suggests, and one line on each choice.

    `inputs` and `outputs` may name the keys of the recorded signature.
    """
    index, notes = file.index, list[str]()
    signature = recorded if recorded is not None else _recorded(file, notes, required=outputs is None)
    keys = signature if signature is not None else Signature((), ())
    if outputs is not None:
        chosen_outputs = _named(index, outputs, keys.outputs)
    elif signature is not None:
        for tensor in (*signature.inputs, *signature.outputs):
            _require(index, tensor.name)
        chosen_outputs = signature.outputs
        notes.append(f"outputs as recorded in its signature: {_list(chosen_outputs)}")
    else:
        chosen_outputs = _infer_outputs(file, lacking, what, notes)
    if inputs is not None:
        chosen_inputs = _named(index, inputs, keys.inputs)
        _require_enough(index, chosen_inputs, chosen_outputs)
        return Signature(chosen_inputs, chosen_outputs), notes
    if recorded is not None:
        return Signature(recorded.inputs, chosen_outputs), notes
    needed = index.reachable(tensor.name for tensor in chosen_outputs)
    # A signature may forget a switch, or count on the input pipeline.
    given = tuple(tensor for tensor in keys.inputs if outputs is None or get_node_name(tensor.name) in needed)
    names = find_inputs(index, [tensor.name for tensor in chosen_outputs], [tensor.name for tensor in given])
    chosen_inputs = (*given, *(_describe(index, name) for name in names))
    if names or not given:
        notes.append(f"inputs, as the outputs need them: {_list(chosen_inputs) or 'none'}")
    return Signature(chosen_inputs, chosen_outputs), notes


def require_values(signature: Signature) -> None:
    """Raise UserError for an input that cannot be fed, or an output that cannot be fetched: a handle, not a value."""
    for flag, tensors in (("--inputs", signature.inputs), ("--outputs", signature.outputs)):
        for tensor in tensors:
            if tensor.dtype in HANDLE_DTYPES:
                raise UserError(
                    f"{tensor} is a handle, which lives in a session alone: no value of it can be fed or fetched; "
                    f"name another tensor with {flag}"
                )


def _recorded(file: GraphFile, notes: list[str], *, required: bool) -> Signature | None:
    """The signature that the file records; None if there is none, or if none is `required` and there are several."""
    if file.meta_graph is None:
        signature, ignored = read_recorded_signature(file.index)
        notes += ignored
        return None if signature is None else _complete(file, signature)
    known = list(list_signature_defs(file.meta_graph))
    if len(known) > 1 and SERVING_DEFAULT not in known:
        if not required:
            return None
        raise UserError(
            f"the graph records several signatures and none called {SERVING_DEFAULT}; "
            f"found {', '.join(known)}; choose with --inputs and --outputs"
        )
    return read_signature_def(choose_signature_def(file.meta_graph)) if known else None


def _complete(file: GraphFile, signature: Signature) -> Signature:
    """The signature of a frozen graph with all dtypes, and with the default values that stay in a large file."""
    index = file.index

    def complete(tensor: Tensor) -> Tensor:
        default = tensor.default
        if default is not None and (left := file.constants.get(get_node_name(index.producer(tensor.name).input[0]))):
            default = left.read_tensor()
        return replace(_describe(index, tensor.name), key=tensor.key, default=default)

    return Signature(tuple(map(complete, signature.inputs)), tuple(map(complete, signature.outputs)))


def _infer_outputs(file: GraphFile, lacking: Collection[str], what: str, notes: list[str]) -> tuple[Tensor, ...]:
    from serialization.infer.candidates import infer_candidates  # here: half of infer/ serves this function alone

    index = file.index
    found = infer_candidates(index, lacking, file.meta_graph)
    if not found.outputs:
        raise NoOutputsError(
            "the graph computes nothing that looks like an output; found no tensor left over; name --outputs"
        )
    if found.rivals:
        names = [candidate.tensor.name for candidate in found.rivals]
        require_known_ops(prune_graph(index, names), what)
        if all(index.reachable([name]).keys() & set(lacking) for name in names):
            return (_describe(index, names[0]),)  # whichever it is, the variables have no values; that is said later
        raise UserError(_describe_rivals(index, found))
    for candidate in found.outputs:
        notes.append(f"inferred output {_completed(index, candidate).tensor}: {candidate.why}")
    return tuple(_completed(index, candidate).tensor for candidate in found.outputs)


def _describe_rivals(index: GraphIndex, found: Inferred) -> str:
    """The error that names the best candidates, as far as one line shows them."""
    others = [candidate for candidate in found.others if candidate.role == "output"]
    listed = [str(_completed(index, candidate).tensor) for candidate in (*found.rivals, *others)]
    shown = [name for place, name in enumerate(listed[:_SHOWN]) if sum(map(len, listed[: place + 1])) < _LINE]
    more = f" and {len(listed) - len(shown)} more" if len(listed) > len(shown) else ""
    return (
        f"it is ambiguous what the graph's outputs are; candidates are {'; '.join(shown) or listed[0][:_LINE]}{more}, "
        "which model_inspect.py lists; choose with --outputs"
    )


def _named(index: GraphIndex, text: str, recorded: Collection[Tensor]) -> tuple[Tensor, ...]:
    """The tensors of a flag, which names each by its own name or by its key in a signature."""
    known = {tensor.key: tensor for tensor in recorded}
    tensors = []
    for key, name in split_tensors(text):
        by_key = known.get(name.removesuffix(":0")) if get_node_name(name) not in index.nodes else None
        _require(index, by_key.name if by_key else name, known)
        tensors.append(replace(by_key or _describe(index, name), key=key))
    return tuple(tensors)


def _require(index: GraphIndex, name: str, keys: Collection[str] = ()) -> None:
    """Raise UserError with the nearest names, and the `keys` of a signature, if the graph has no such tensor."""
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
    if keys:
        hint += f"; the keys of its signature are {', '.join(list(keys)[:_SHOWN])}"
    raise UserError(f"no tensor {name} in the graph; {hint}")


def _require_enough(index: GraphIndex, inputs: Iterable[Tensor], outputs: Iterable[Tensor]) -> None:
    """Raise UserError with the other tensors that the outputs need."""
    more = find_inputs(index, [tensor.name for tensor in outputs], [tensor.name for tensor in inputs])
    if more:
        raise UserError(f"the outputs also need {_list(_describe(index, name) for name in more)}; add it to --inputs")


def _prune(index: GraphIndex, wanted: Signature) -> tuple[Any, list[str]]:
    """The GraphDef that the outputs need, with the inputs and the ops that fill its tables; the names of these ops."""
    tensors = [tensor.name for tensor in (*wanted.outputs, *wanted.inputs)]
    keep = index.reachable(tensors)
    initializers: list[str] = []
    candidates = list_table_initializers(index)
    found = True
    while found:  # the values of a table may come from another table
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
    shown = (f"{t.key}={t}" if t.key != t.name.removesuffix(":0") else str(t) for t in tensors)
    return ", ".join(make_printable(text, _LINE) for text in shown)  # a key may hold any character
