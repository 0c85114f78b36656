"""Prepares a frozen graph for import: prunes it to its outputs, repairs it, and refuses one with variables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serialization.checks import harm
from serialization.console import show_path
from serialization.errors import UserError
from serialization.graph.graph_index import GraphIndex
from serialization.graph.lookup_tables import read_constant_keys
from serialization.graph.op_sets import VARIABLES
from serialization.graph.repair import remove_refs
from serialization.graph.signature import Signature
from serialization.run.feed_hints import find_batch_sizes, find_hints
from serialization.run.generated_feeds import Hint
from serialization.sources.choose import prepare_graph
from serialization.sources.frozen_reader import GraphFile


@dataclass(frozen=True)
class PreparedFrozenModel:
    """A GraphDef of what `signature` needs; `notes` say what was done, `hints` and `batches` what feeds it may want."""

    graph_def: Any
    signature: Signature
    initializers: tuple[str, ...]
    notes: tuple[str, ...]
    hints: dict[str, Hint]
    batches: tuple[int, ...]

    def require_safe(self, path: Path, *, trust: bool = False) -> None:
        """Raise UserError where running it could do harm, unless `trust`."""
        sides = (self.signature.outputs, self.signature.inputs)
        outputs, inputs = ([tensor.name for tensor in side] for side in sides)
        findings = harm.scan_graph(GraphIndex(self.graph_def), [*outputs, *self.initializers], inputs, path.parent)
        harm.require_safe(findings, path, trust=trust)


def prepare_frozen_model(
    file: GraphFile,
    inputs: str | None = None,
    outputs: str | None = None,
    known: Signature | None = None,
) -> PreparedFrozenModel:
    """Choose inputs and outputs, unless they are `known`, prune and repair.

    Raises UserError where it cannot be run, variables included.
    """
    path = file.path
    variables = [node.name for node in file.graph_def.node if node.op in VARIABLES]
    ready = prepare_graph(file, inputs, outputs, what=show_path(path), known=known, lacking=variables)
    held = [node.name for node in ready.graph_def.node if node.op in VARIABLES]
    if held:
        more = f" and {len(held) - 5} more" if len(held) > 5 else ""
        raise UserError(
            f"{show_path(path)} is not frozen; it holds the variables {', '.join(held[:5])}{more}, whose values are in "
            "a checkpoint; freeze it with freezemodel_save.py --checkpoint PREFIX --graph FILE"
        )
    lines = remove_refs(ready.graph_def)
    index = GraphIndex(ready.graph_def)
    return PreparedFrozenModel(
        ready.graph_def,
        ready.signature,
        ready.initializers,
        (*ready.notes, *(f"repaired: {line}" for line in lines)),
        find_hints(index, ready.signature, read_constant_keys(index)),
        tuple(find_batch_sizes(file.graph_def)),
    )
