"""Gives the inputs of a frozen model other shapes and another batch size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from serialization.console import list_known, list_some
from serialization.errors import UserError
from serialization.formats import protos
from serialization.graph.batch_axes import BatchAxis
from serialization.graph.batch_sizes import FreeBatch, free_batch_size
from serialization.graph.graph_def import change_op, get_node_name, get_tensor_name
from serialization.graph.graph_index import GraphIndex
from serialization.graph.signature import Signature, Tensor, show_shape
from serialization.run.batch_runs import Batches, run_in_batches
from serialization.run.differences import BATCHES
from serialization.run.edited_source import find_feeds
from serialization.run.origin import Origin
from serialization.tensorflow import format_reason

if TYPE_CHECKING:
    from serialization.sources.from_frozen import PreparedFrozenModel

    State = tuple[PreparedFrozenModel, Origin | None]

Shape = tuple["int | None", ...]
ANY = "any"  # of --batch-size


def choose_shapes(
    signature: Signature, given: Sequence[tuple[str, Shape]], batch: int | str | None
) -> dict[str, Shape]:
    """The shapes that inputs get by --input-shape and --batch-size, by the names of the tensors."""
    by_name = {n: t for t in signature.inputs for n in (t.name.removesuffix(":0"), t.name)}
    by_name |= {tensor.key: tensor for tensor in signature.inputs}
    shapes: dict[str, Shape] = {}
    for name, shape in given:
        if name not in by_name:
            known = list_known(name, (tensor.key for tensor in signature.inputs))
            raise UserError(f"--input-shape {name}: no such input; the inputs are {known}")
        tensor = by_name[name]
        if tensor.shape is not None and len(tensor.shape) != len(shape):
            raise UserError(
                f"--input-shape {name}: expected {len(tensor.shape)} sizes, as in {show_shape(tensor.shape)}, got "
                f"{show_shape(shape)}"
            )
        shapes[tensor.name] = shape
    if batch is None:
        return shapes
    for tensor in signature.inputs:
        if tensor.name in shapes or tensor.shape == ():
            continue
        if tensor.shape is None:
            key = tensor.key
            raise UserError(f"--batch-size: the shape of the input {key} is unknown; give --input-shape {key}=[...]")
        shapes[tensor.name] = (None if batch == ANY else int(batch), *tensor.shape[1:])
    if not shapes:
        raise UserError("--batch-size: no input has an axis for a batch; leave the flag out")
    return shapes


def change_shapes(
    ready: PreparedFrozenModel, origin: Origin | None, shapes: Mapping[str, Shape], infer: Callable[[Any], Any]
) -> State:
    """Give inputs other shapes. `infer` imports the graph with them, and raises ValueError where they do not fit.

    Where the first size was fixed, the constants that hold it follow the batch. Raises UserError where they cannot.
    """
    old = {tensor.name: tensor.shape for tensor in ready.signature.inputs}
    shapes = {name: shape for name, shape in shapes.items() if shape != old[name]}
    if not shapes:
        line = "no shape is changed: the inputs have these shapes already"
        return replace(ready, changes=(*ready.changes, line)), origin
    graph_def = protos.GraphDef()
    graph_def.CopyFrom(ready.graph_def)
    freed = _free_batch(ready, old, shapes)
    if freed is not None:
        graph_def.CopyFrom(freed.graph_def)
    for node in graph_def.node:
        if get_tensor_name(node.name) in shapes:
            _set_shape(node, shapes[get_tensor_name(node.name)])
        node.attr.pop("_output_shapes", None)
    try:
        index = GraphIndex(infer(graph_def))
    except ValueError as error:
        raise UserError(f"the graph does not take these shapes: {format_reason(error)}; name others") from None
    inputs = tuple(replace(t, shape=shapes.get(t.name, t.shape)) for t in ready.signature.inputs)
    result = replace(ready, index=index, signature=replace(ready.signature, inputs=inputs))
    moved = [tensor for tensor in inputs if tensor.name in shapes]
    lines = [f"input {t.key}: {show_shape(old[t.name])} is now {show_shape(t.shape)}" for t in moved]
    if freed is not None and freed.changed:
        lines.append(f"the batch size is no constant any more in {list_some(freed.changed)}")
    result = replace(result, changes=(*ready.changes, *lines))
    return result, origin and _reshape_source(origin, ready.signature, old, inputs, freed)


def _list_sizes(old: Mapping[str, Shape | None], shapes: Mapping[str, Shape]) -> dict[str, int]:
    """The batch sizes, by tensor, of the inputs whose fixed one changes."""
    return {
        name: before[0]
        for name, shape in shapes.items()
        if shape and (before := old[name]) and before[0] is not None and before[0] != shape[0]
    }


def _free_batch(
    ready: PreparedFrozenModel, old: Mapping[str, Shape | None], shapes: Mapping[str, Shape]
) -> FreeBatch | None:
    sizes = _list_sizes(old, shapes)
    if not sizes:
        return None
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{get_node_name(name)} {size}" for name, size in sizes.items())
        raise UserError(
            f"the first sizes of the inputs differ, so they are no batch: {listed}; name the shape of one by "
            "--input-shape"
        )
    outputs = [tensor.name for tensor in ready.signature.outputs]
    size = next(iter(sizes.values()))
    batched = {name: BatchAxis(0) for name in sizes}
    return free_batch_size(ready.graph_def, ready.signature.inputs, batched, size, outputs)


def _set_shape(node: Any, shape: Shape) -> None:
    if node.op == "PlaceholderV2":
        change_op(node, "Placeholder", [], dtype=node.attr["dtype"].type)
    dims = node.attr["shape"].shape
    dims.Clear()
    for size in shape:
        dims.dim.add(size=-1 if size is None else size)


def _reshape_source(
    origin: Origin,
    before: Signature,
    old: Mapping[str, Shape | None],
    inputs: Iterable[Tensor],
    freed: FreeBatch | None,
) -> Origin:
    """The source, which is fed what both take; in batches of its own size, if the result takes another one."""
    new = {tensor.key: tensor.shape or () for tensor in inputs}
    sizes = _list_sizes(old, {tensor.name: tensor.shape or () for tensor in inputs})
    fed = []
    for tensor in origin.signature.inputs:
        shape, wanted = tensor.shape, new[tensor.key]
        if shape is not None and len(shape) == len(wanted):
            pairs = list(enumerate(zip(shape, wanted, strict=True)))
            wrong = [(a, b) for axis, (a, b) in pairs if axis and None not in (a, b) and a != b]
            if wrong:
                raise UserError(
                    f"the source takes {wrong[0][0]} where {tensor.key} has {wrong[0][1]} now, so they cannot be "
                    "compared; name None there, or add --no-verify"
                )
            shape = tuple(b if a is None else a for _, (a, b) in pairs)
        fed.append(replace(tensor, shape=shape if shape is not None else wanted or None))
    signature = replace(origin.signature, inputs=tuple(fed))
    if freed is None:
        return replace(origin, signature=signature)
    keys = frozenset(tensor.key for tensor in before.inputs if tensor.name in sizes)
    by_name = {tensor.name: tensor.key for tensor in before.outputs}
    size = next(iter(sizes.values()))
    axes = {by_name[name]: axis for name, axis in freed.axes.items()}
    wanted_size = next(new[key][0] for key in keys)
    tried = tuple(n for n in (1, 2, 3) if n != size)[:2] if wanted_size is None else ()
    batches = Batches(size, keys, axes, tried)
    if wanted_size is None:
        return replace(origin, signature=signature, freed=batches)
    if len(axes) < len(before.outputs):
        left = [tensor.key for tensor in before.outputs if tensor.key not in axes]
        raise UserError(
            f"{list_some(left)} has no rows, so it cannot be compared with a source of {size} rows; name --batch-size "
            "any"
        )
    others = find_feeds(replace(origin, signature=signature), [1])
    if not others:
        raise UserError(
            f"the source does not run on generated rows, so a batch of {wanted_size} cannot be compared with it; name "
            "--batch-size any and --feed, or --no-verify"
        )
    moved = (replace(t, shape=(wanted_size, *(t.shape or ())[1:])) if t.key in keys else t for t in signature.inputs)
    return replace(
        origin,
        signature=replace(signature, inputs=tuple(moved)),
        predict=run_in_batches(origin.predict, batches, others[0]),
        repeat=origin.repeat and run_in_batches(origin.repeat, batches, others[0]),
        tolerance=BATCHES,
    )
