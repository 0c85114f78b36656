"""A frozen graph made ready to be imported: pruned to its outputs, repaired, and known to hold no variable."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serialization.checks import harm
from serialization.console import show_path
from serialization.errors import UserError
from serialization.graph import lookup_tables, repair
from serialization.graph.graph_def import VARIABLES
from serialization.graph.signature import Signature
from serialization.run import feed_hints
from serialization.run.generated_feeds import Hint
from serialization.sources import choose
from serialization.sources.frozen_reader import GraphFile


@dataclass(frozen=True)
class Frozen:
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
        findings = harm.scan_graph_def(self.graph_def, [*outputs, *self.initializers], inputs, path.parent)
        harm.require_safe(findings, path, trust=trust)


def prepare(
    graph_def: Any,
    path: Path,
    inputs: str | None = None,
    outputs: str | None = None,
    known: Signature | None = None,
) -> Frozen:
    """Choose inputs and outputs, unless they are `known`, prune and repair.

    Raises UserError where it cannot be run, variables included.
    """
    ready = choose.prepare(GraphFile(graph_def), inputs, outputs, what=show_path(path), known=known)
    held = [node.name for node in ready.graph_def.node if node.op in VARIABLES]
    if held:
        more = f" and {len(held) - 5} more" if len(held) > 5 else ""
        raise UserError(
            f"{show_path(path)} is not frozen; it holds the variables {', '.join(held[:5])}{more}, whose values are in "
            "a checkpoint; freeze it with freezemodel_save.py --checkpoint PREFIX --graph FILE"
        )
    lines = repair.free_of_refs(ready.graph_def)
    return Frozen(
        ready.graph_def,
        ready.signature,
        ready.initializers,
        (*ready.notes, *(f"repaired: {line}" for line in lines)),
        feed_hints.find(ready.graph_def, ready.signature, lookup_tables.constant_keys(ready.graph_def)),
        tuple(feed_hints.batch_sizes(graph_def)),
    )
