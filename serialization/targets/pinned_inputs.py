"""Fixes inputs of a frozen model to values, and folds what follows from them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from serialization.errors import UserError
from serialization.graph.dropout import find_dropout, remove_dropout
from serialization.graph.folding import fold_constants, join_equal_branches
from serialization.graph.graph_def import get_node_name
from serialization.graph.graph_index import GraphIndex
from serialization.graph.signature import Signature, Tensor
from serialization.graph.tensors import describe_tensor
from serialization.run.edited_source import fix_inputs
from serialization.run.given_feeds import Feed, read_some_feeds
from serialization.run.origin import Origin
from serialization.run.predictor import compile_later
from serialization.sources.from_frozen import list_roots
from serialization.tensorflow import format_reason

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from serialization.sources.from_frozen import PreparedFrozenModel

    State = tuple[PreparedFrozenModel, Origin | None]


def read_pins(ready: PreparedFrozenModel, given: Sequence[Feed]) -> dict[str, NDArray[Any]]:
    """The values of --pin, by the names of the tensors. Raises UserError as --feed does."""
    found = read_some_feeds(ready.signature, given, "--pin")
    return {tensor.name: found[tensor.key] for tensor in ready.signature.inputs if tensor.key in found}


def take_defaults(ready: PreparedFrozenModel, origin: Origin | None, given: Sequence[Feed]) -> State:
    """Have the model and its source take inputs that --pin names, and that are none so far since they have a default.

    Raises UserError if the source cannot be fed them.
    """
    known = {name for tensor in ready.signature.inputs for name in (tensor.key, tensor.name.removesuffix(":0"))}
    names = dict.fromkeys(get_node_name(feed.name or "") for feed in given)
    nodes = [ready.index.nodes[name] for name in names if name in ready.index.nodes and name not in known]
    more = [describe_tensor(ready.index.nodes, node.name) for node in nodes if node.op == "PlaceholderWithDefault"]
    if not more:
        return ready, origin
    ready = replace(ready, signature=_add_inputs(ready.signature, more))
    if origin is None:
        return ready, None
    wanted = _add_inputs(origin.signature, more)
    held = {operation.name for operation in origin.session.graph.get_operations()}
    lacks = [t for t in (*wanted.inputs, *wanted.outputs) if get_node_name(t.name) not in held]
    if lacks or origin.repeat is not None:
        raise UserError(
            f"--pin {more[0].key}: it has a default value, so it is no input by itself; name it and all other inputs "
            "with --inputs"
        )
    return ready, replace(origin, signature=wanted, predict=compile_later(origin.session, wanted))


def _add_inputs(signature: Signature, more: Sequence[Tensor]) -> Signature:
    return replace(signature, inputs=(*signature.inputs, *more))


def fix_pinned(
    ready: PreparedFrozenModel,
    origin: Origin | None,
    values: Mapping[str, Any],
    infer: Callable[[Any, Mapping[str, Any]], Any],
) -> State:
    """Fix inputs to values, by tensor names. `infer` puts constants in their place, and raises ValueError where shapes
    that follow from the values do not fit.

    What follows from the values is folded: numbers, branches, and dropout layers that they switch off. Raises UserError
    where the graph does not take them.
    """
    try:
        pinned = infer(ready.graph_def, values)
    except ValueError as error:
        raise UserError(f"the graph does not take the values of --pin: {format_reason(error)}; give others") from None
    left = tuple(tensor for tensor in ready.signature.inputs if tensor.name not in values)
    wanted = replace(ready.signature, inputs=left)
    roots = list_roots(ready, wanted)
    graph_def = fold_constants(pinned, map(get_node_name, values), roots)
    idle = [layer for layer in find_dropout(GraphIndex(graph_def), roots) if layer.keep == 1]
    if idle:
        remove_dropout(graph_def, idle)
        graph_def = join_equal_branches(graph_def, roots)
    pins = {tensor.key: values[tensor.name] for tensor in ready.signature.inputs if tensor.name in values}
    line = f"pinned {', '.join(pins)}: the result is compared with the source that is fed the same"
    result = replace(ready, index=GraphIndex(graph_def), signature=wanted, changes=(*ready.changes, line))
    return result, origin and fix_inputs(origin, pins)
