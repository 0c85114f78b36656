"""Prepares a frozen graph for import: prunes it to its outputs, repairs it, and refuses one with variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serialization.checks import harm
from serialization.console import list_some, show_path
from serialization.errors import UserError
from serialization.formats.file_kind import ModelFile
from serialization.graph.graph_index import GraphIndex
from serialization.graph.lookup_tables import read_constant_keys, run_table_initializers
from serialization.graph.op_sets import VARIABLES
from serialization.graph.repair import remove_refs
from serialization.graph.signature import Signature
from serialization.run.feed_hints import find_batch_sizes, find_hints
from serialization.run.generated_feeds import Hint
from serialization.run.origin import Origin
from serialization.run.predictor import compile_later
from serialization.sources.choose import prepare_graph
from serialization.sources.frozen_reader import (
    GraphFile,
    LargeConstant,
    fill_constants,
    read_graph_file,
    replace_constants,
)
from serialization.tensorflow import explain_failures


@dataclass(frozen=True)
class PreparedFrozenModel:
    """The part of a frozen graph that `signature` needs; `initializers` fill its tables.

    Each of the `constants`, which stay in a large file, is a variable in the graph. `notes` report choices and repairs,
    `changes` what was edited since, for a script to print at its end. `hints` and `batches` are for generate_attempts.
    """

    index: GraphIndex
    signature: Signature
    initializers: tuple[str, ...]
    constants: Mapping[str, LargeConstant]
    notes: tuple[str, ...]
    hints: Mapping[str, Hint]
    batches: tuple[int, ...]
    changes: tuple[str, ...] = ()

    @property
    def graph_def(self) -> Any:
        return self.index.graph_def


def prepare_frozen_model(
    file: GraphFile,
    inputs: str | None = None,
    outputs: str | None = None,
    *,
    trust: bool = False,
) -> PreparedFrozenModel:
    """Choose inputs and outputs, by default those that the graph records, then prune and repair it.

    Raises UserError for a graph that cannot be run, for one that holds variables, and for one that could do harm,
    unless `trust`.
    """
    path = file.path
    lacking = [node.name for node in file.graph_def.node if node.op in VARIABLES]
    ready = prepare_graph(file, inputs, outputs, what=show_path(path), lacking=lacking)
    graph_def = ready.index.graph_def
    variables = [name for name, node in ready.index.nodes.items() if node.op in VARIABLES]
    if variables:
        more = f" and {len(variables) - 5} more" if len(variables) > 5 else ""
        raise UserError(
            f"{show_path(path)} is not frozen; it holds the variables {', '.join(variables[:5])}{more}, whose values "
            "are in a checkpoint; freeze it with freezemodel_save.py --checkpoint PREFIX --graph FILE"
        )
    lines = remove_refs(ready.index)
    index = GraphIndex(graph_def) if lines else ready.index
    wanted, feeds = ([tensor.name for tensor in side] for side in (ready.signature.outputs, ready.signature.inputs))
    harm.require_safe(harm.scan_graph(index, [*wanted, *ready.initializers], feeds, path.parent), path, trust=trust)
    hints = find_hints(index, ready.signature, read_constant_keys(index))
    constants = replace_constants(graph_def, file.constants)
    return PreparedFrozenModel(
        GraphIndex(graph_def) if constants else index,
        ready.signature,
        ready.initializers,
        constants,
        (*ready.notes, *(f"repaired: {line}" for line in lines)),
        hints,
        tuple(find_batch_sizes(file.graph_def)),
    )


def read_written_model(path: Path, wanted: Signature, *, trust: bool = False) -> PreparedFrozenModel:
    """A file that was just written, by the signature that it records.

    Raises UserError if that is not the signature of the source, `wanted`.
    """
    ready = prepare_frozen_model(read_graph_file(ModelFile(path), lean=True), trust=trust)
    if _list_keys(ready.signature) != _list_keys(wanted):
        found, expected = (" -> ".join(map(list_some, _list_keys(one))) for one in (ready.signature, wanted))
        raise UserError(
            f"the frozen graph is read with other inputs and outputs than those of its source; found {found}, expected "
            f"{expected}; name them with --inputs and --outputs"
        )
    return ready


def _list_keys(signature: Signature) -> list[list[str]]:
    return [[tensor.key for tensor in side] for side in (signature.inputs, signature.outputs)]


def list_roots(ready: PreparedFrozenModel, wanted: Signature) -> list[str]:
    """The names of the tensors and ops that a part of the graph needs to have, if it is run by `wanted`."""
    return [*(tensor.name for tensor in (*wanted.outputs, *wanted.inputs)), *ready.initializers]


def complete_import(session: Any, prepared: PreparedFrozenModel, scope: str) -> None:
    """Give the session what importing leaves empty: the constants that were left in a large file, and lookup tables.

    The graph was imported below `scope`, which may be empty.
    """
    with explain_failures("the model cannot be run here"):
        fill_constants(session, scope, prepared.constants)
    run_table_initializers(session, [f"{scope}/{name}" if scope else name for name in prepared.initializers])


def make_frozen_origin(session: Any, prepared: PreparedFrozenModel, wanted: Signature) -> Origin:
    """The loaded model as the source of a conversion; `wanted` has the names in the file and in the session."""
    predict = compile_later(session, wanted)
    return Origin(session, prepared.index, wanted, predict, hints=prepared.hints, batches=prepared.batches)
