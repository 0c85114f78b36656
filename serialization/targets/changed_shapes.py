"""Gives the inputs of a frozen model other shapes and another batch size."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from serialization.console import list_known, list_some
from serialization.errors import UserError
from serialization.formats import protos
from serialization.graph.batch_axes import BatchAxis
from serialization.graph.batch_look import OTHER_SIZE
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

    Where the first size was fixed, the constants that hold it follow the batch. So they do for one fixed size of each
    input at another axis, if the graph takes no other one there. Raises UserError where they cannot.
    """
    old = {tensor.name: tensor.shape for tensor in ready.signature.inputs}
    shapes = {name: shape for name, shape in shapes.items() if shape != old[name]}
    if not shapes:
        line = "no shape is changed: the inputs have these shapes already"
        return replace(ready, changes=(*ready.changes, line)), origin
    batched = _find_first_axes(old, shapes)
    freed = _free_batch(ready, old, batched)
    if not batched and (others := _find_other_axes(old, shapes)):
        freed = _free_other_axes(ready, old, others, infer)
        batched = others if freed is not None else {}
    try:
        index = GraphIndex(infer(_reshape_inputs(ready, freed, shapes)))
    except ValueError as error:
        raise UserError(f"the graph does not take these shapes: {format_reason(error)}; name others") from None
    inputs = tuple(replace(t, shape=shapes.get(t.name, t.shape)) for t in ready.signature.inputs)
    result = replace(ready, index=index, signature=replace(ready.signature, inputs=inputs))
    moved = [tensor for tensor in inputs if tensor.name in shapes]
    lines = [f"input {t.key}: {show_shape(old[t.name])} is now {show_shape(t.shape)}" for t in moved]
    if freed is not None and freed.changed:
        lines.append(f"the batch size is no constant any more in {list_some(freed.changed)}")
    result = replace(result, changes=(*ready.changes, *lines))
    return result, origin and _reshape_source(origin, ready.signature, old, inputs, freed, batched)


def _find_first_axes(old: Mapping[str, Shape | None], shapes: Mapping[str, Shape]) -> dict[str, int]:
    """The inputs, by tensor, whose fixed first size changes, each with that axis; and others, if they change alike."""
    changed = {name: _list_changes(old[name], shape) for name, shape in shapes.items()}
    found = {name: 0 for name, sizes in changed.items() if 0 in sizes}
    known = {changed[name][0] for name in found}
    more = _find_other_axes(old, {name: shape for name, shape in shapes.items() if name not in found})
    return found | {name: axis for name, axis in more.items() if known == {changed[name][axis]}}


def _find_other_axes(old: Mapping[str, Shape | None], shapes: Mapping[str, Shape]) -> dict[str, int]:
    """The axis of each input whose fixed size changes, by tensor; empty if these may be no batch, which has one."""
    changed = {name: _list_changes(old[name], shape) for name, shape in shapes.items()}
    sizes = [change for changes in changed.values() for change in changes.values()]
    alike = len(set(sizes)) == 1 and all(len(changes) == 1 for changes in changed.values())
    return {name: next(iter(changes)) for name, changes in changed.items()} if alike else {}


def _list_changes(old: Shape | None, new: Shape) -> dict[int, tuple[int, int | None]]:
    """The fixed sizes that change, with the new ones, by axis."""
    pairs = enumerate(zip(old or (), new, strict=False))
    return {axis: (before, after) for axis, (before, after) in pairs if before is not None and before != after}


def _free_batch(
    ready: PreparedFrozenModel, old: Mapping[str, Shape | None], batched: Mapping[str, int]
) -> FreeBatch | None:
    if not batched:
        return None
    sizes = {name: (old[name] or ())[axis] or 0 for name, axis in batched.items()}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{get_node_name(name)} {size}" for name, size in sizes.items())
        raise UserError(
            f"the first sizes of the inputs differ, so they are no batch: {listed}; name the shape of one by "
            "--input-shape"
        )
    outputs = [tensor.name for tensor in ready.signature.outputs]
    axes = {name: BatchAxis(axis) for name, axis in batched.items()}
    return free_batch_size(ready.graph_def, ready.signature.inputs, axes, next(iter(sizes.values())), outputs)


def _free_other_axes(
    ready: PreparedFrozenModel, old: Mapping[str, Shape | None], batched: Mapping[str, int], infer: Callable[[Any], Any]
) -> FreeBatch | None:
    """The same, None if the graph takes other sizes there as it is, or if not all outputs have rows of such a batch."""
    if any(shape is None or None in shape for shape in old.values()):
        return None
    wide = {name: _resize_shape(old[name] or (), axis, OTHER_SIZE) for name, axis in batched.items()}
    try:
        infer(_reshape_inputs(ready, None, wide))
    except ValueError:
        with suppress(UserError):
            freed = _free_batch(ready, old, batched)
            if freed is not None and all(tensor.name in freed.axes for tensor in ready.signature.outputs):
                return freed
    return None


def _reshape_inputs(ready: PreparedFrozenModel, freed: FreeBatch | None, shapes: Mapping[str, Shape]) -> Any:
    graph_def = protos.GraphDef()
    graph_def.CopyFrom(ready.graph_def if freed is None else freed.graph_def)
    for node in graph_def.node:
        if get_tensor_name(node.name) in shapes:
            _set_shape(node, shapes[get_tensor_name(node.name)])
        node.attr.pop("_output_shapes", None)
    return graph_def


def _resize_shape(shape: Shape, axis: int, size: int) -> Shape:
    return (*shape[:axis], size, *shape[axis + 1 :])


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
    batched: Mapping[str, int],
) -> Origin:
    """The source, which is fed what both take; in batches of its own size, if the result takes another one."""
    new = {tensor.key: tensor.shape or () for tensor in inputs}
    axis_of = {tensor.key: batched[tensor.name] for tensor in before.inputs if tensor.name in batched}
    fed = []
    for tensor in origin.signature.inputs:
        shape, wanted = tensor.shape, new[tensor.key]
        if shape is not None and len(shape) == len(wanted):
            pairs = list(enumerate(zip(shape, wanted, strict=True)))
            rows = axis_of.get(tensor.key, 0)
            wrong = [(a, b) for axis, (a, b) in pairs if axis != rows and None not in (a, b) and a != b]
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
    by_name = {tensor.name: tensor.key for tensor in before.outputs}
    name, axis = next(iter(batched.items()))
    size = (old[name] or ())[axis] or 0
    axes = {by_name[name]: axis for name, axis in freed.axes.items()}
    wanted_size = next(new[key][axis] for key, axis in axis_of.items())
    tried = tuple(n for n in (1, 2, 3) if n != size)[:2] if wanted_size is None else ()
    batches = Batches(size, axis_of, axes, tried)
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
    moved = (
        replace(t, shape=_resize_shape(t.shape or (), axis_of[t.key], wanted_size)) if t.key in axis_of else t
        for t in signature.inputs
    )
    return replace(
        origin,
        signature=replace(signature, inputs=tuple(moved)),
        predict=run_in_batches(origin.predict, batches, others[0]),
        repeat=origin.repeat and run_in_batches(origin.repeat, batches, others[0]),
        tolerance=BATCHES,
    )
