"""A frozen graph made ready to be imported: pruned to its outputs, repaired, and known to hold no variable."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serialization import cli, hints, repair, safety, source, tables
from serialization.feeds import Hint
from serialization.graph import VARIABLES, GraphFile
from serialization.signature import Signature


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
        """Raise cli.Error where running it could do harm, unless `trust`."""
        sides = (self.signature.outputs, self.signature.inputs)
        outputs, inputs = ([tensor.name for tensor in side] for side in sides)
        findings = safety.scan_graph_def(self.graph_def, [*outputs, *self.initializers], inputs, path.parent)
        safety.require_safe(findings, path, trust=trust)


def prepare(
    graph_def: Any,
    path: Path,
    inputs: str | None = None,
    outputs: str | None = None,
    known: Signature | None = None,
) -> Frozen:
    """Choose inputs and outputs, unless they are `known`, prune and repair.

    Raises cli.Error where it cannot be run, variables included.
    """
    ready = source.prepare(GraphFile(graph_def), inputs, outputs, what=cli.show(path), known=known)
    held = [node.name for node in ready.graph_def.node if node.op in VARIABLES]
    if held:
        more = f" and {len(held) - 5} more" if len(held) > 5 else ""
        raise cli.Error(
            f"{cli.show(path)} is not frozen; it holds the variables {', '.join(held[:5])}{more}, whose values are in "
            "a checkpoint; freeze it with freezemodel_save.py --checkpoint PREFIX --graph FILE"
        )
    lines = repair.free_of_refs(ready.graph_def)
    return Frozen(
        ready.graph_def,
        ready.signature,
        ready.initializers,
        (*ready.notes, *(f"repaired: {line}" for line in lines)),
        hints.find(ready.graph_def, ready.signature, tables.constant_keys(ready.graph_def)),
        tuple(hints.batch_sizes(graph_def)),
    )
