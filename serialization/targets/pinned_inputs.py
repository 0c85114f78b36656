"""Fixes inputs of a frozen model to values, and folds what follows from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from serialization.console import print_notes
from serialization.graph.dropout import find_dropout, remove_dropout
from serialization.graph.folding import fold_constants, join_equal_branches
from serialization.graph.graph_def import get_node_name
from serialization.graph.graph_index import GraphIndex
from serialization.run.edited_source import fix_inputs
from serialization.run.given_feeds import Feed, read_some_feeds
from serialization.run.origin import Origin
from serialization.sources.from_frozen import list_roots

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from serialization.sources.from_frozen import PreparedFrozenModel

    State = tuple[PreparedFrozenModel, Origin | None]


def read_pins(ready: PreparedFrozenModel, given: Sequence[Feed]) -> dict[str, NDArray[Any]]:
    """The values of --pin, by the names of the tensors. Raises UserError as --feed does."""
    found = read_some_feeds(ready.signature, given, "--pin")
    return {tensor.name: found[tensor.key] for tensor in ready.signature.inputs if tensor.key in found}


def fix_pinned(ready: PreparedFrozenModel, origin: Origin | None, pinned: Any, values: Mapping[str, Any]) -> State:
    """Go on with `pinned`, the graph in which constants of these values stand in the place of inputs.

    What follows from the values is folded: numbers, branches, and dropout layers that they switch off.
    """
    left = tuple(tensor for tensor in ready.signature.inputs if tensor.name not in values)
    wanted = replace(ready.signature, inputs=left)
    roots = list_roots(ready, wanted)
    graph_def = fold_constants(pinned, map(get_node_name, values), roots)
    idle = [layer for layer in find_dropout(GraphIndex(graph_def), roots) if layer.keep == 1]
    if idle:
        remove_dropout(graph_def, idle)
        graph_def = join_equal_branches(graph_def, roots)
    pins = {tensor.key: values[tensor.name] for tensor in ready.signature.inputs if tensor.name in values}
    print_notes([f"pinned {', '.join(pins)}: the result is compared with the source that is fed the same"])
    return replace(ready, index=GraphIndex(graph_def), signature=wanted), origin and fix_inputs(origin, pins)
