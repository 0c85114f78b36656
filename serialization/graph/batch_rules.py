"""Rules for ops that may hold a batch size in a constant: each has it follow the batch.

A rule gets a look at the graph and a node. It changes the node if it has to, and says whether it did.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from serialization.graph.batch_axes import BatchAxis, find_batch_axis, find_stride
from serialization.graph.batch_look import OTHER_SIZE, BatchLook
from serialization.graph.graph_def import get_tensor_name, list_data_edges
from serialization.graph.op_sets import IDENTITIES
from serialization.graph.signature import show_shape

_ARRAYS = ("TensorArrayV2", "TensorArrayV3", "TensorArrayGatherV2", "TensorArrayGatherV3")
_ELEMENT_SHAPES = {"TensorListReserve": 0, "TensorListStack": 1, "TensorListFromTensor": 1, "TensorListGetItem": 2}


def _reshape(look: BatchLook, node: Any) -> bool:
    data, shape = list_data_edges(node)
    grown, asked = look.axes.get(get_tensor_name(data)), look.read_sizes(shape)
    if not grown:  # of a tensor that a loop makes the sizes are unknown
        known = look.new.get_shape(data)
        is_open = look.size > 1 if known is None else known[:1] == (None,)
        if not is_open or not asked or asked[0] != look.size or -1 in asked:
            return False
        return look.change(node, 1, look.nodes.add_sizes(node.name, [-1, *asked[1:]], look.get_dtype(shape)))
    before, after = look.old.get_shape(data) or (), look.old.get_shape(node.name)
    if after is None:
        return False
    place = find_batch_axis(after, find_stride(before, grown), look.size, asked)
    if place is None:
        shapes = f"{show_shape(after)} of {show_shape(before)}"
        raise look.refuse(node.name, f"it makes {shapes}, where no axis holds it")
    look.made[node.name] = place
    if asked is None:
        return _reshape_computed(look, node, shape, place)
    if asked[place.axis] == -1:
        return False
    dtype = look.get_dtype(shape)
    wanted = [after[axis] if size == -1 else size for axis, size in enumerate(asked)]
    if any(size is None for axis, size in enumerate(wanted) if axis != place.axis):
        return look.change(node, 1, look.nodes.add_shape(node.name, asked, place.axis, place.times, dtype))
    wanted[place.axis] = -1
    return look.change(node, 1, look.nodes.add_sizes(node.name, wanted, dtype))


def _reshape_computed(look: BatchLook, node: Any, shape: str, place: BatchAxis) -> bool:
    """The same where the shape is computed: it may follow the batch, or hold the size among other numbers."""
    sizes = look.new.read_sizes(shape)
    if sizes is None or sizes[place.axis] in (None, place.times * OTHER_SIZE):
        return False
    pack = look.index.producer(look.index.trace_back(shape, IDENTITIES))
    if pack is None or pack.op != "Pack":
        raise look.refuse(node.name, "its shape is computed and does not follow the batch")
    dtype = pack.attr["T"].type
    copy = look.nodes.add(f"{node.name}/shape", "Pack", list_data_edges(pack), T=dtype)
    copy.attr["N"].i = pack.attr["N"].i
    copy.input[place.axis] = look.nodes.add_batch(node.name, place.times, dtype)
    return look.change(node, 1, copy.name)


def _slice(look: BatchLook, node: Any) -> bool:
    data, begin, size = list_data_edges(node)
    starts, sizes = look.read_sizes(begin), look.read_sizes(size)
    for axis in look.axes.get(get_tensor_name(data), {}):
        if starts and sizes and starts[axis] == 0 and sizes[axis] == look.get_old_size(data, axis):
            sizes[axis] = -1
            return look.change(node, 2, look.nodes.add_sizes(node.name, sizes, look.get_dtype(size)))
    return False


def _slice_by_strides(look: BatchLook, node: Any) -> bool:
    data, *edges = list_data_edges(node)
    begin, end, strides = map(look.read_sizes, edges)
    masks = {name: node.attr[f"{name}_mask"].i for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}
    if masks["ellipsis"] or masks["new_axis"] or not (begin and end and strides):
        return False
    for axis in look.axes.get(get_tensor_name(data), {}):
        bit = 1 << axis
        if axis >= len(end) or strides[axis] != 1 or (masks["end"] | masks["shrink_axis"]) & bit:
            continue
        if end[axis] == look.get_old_size(data, axis) and (masks["begin"] & bit or begin[axis] == 0):
            node.attr["end_mask"].i |= bit
            look.changed.append(node.name)
            return True
    return False


def _squeeze(look: BatchLook, node: Any) -> bool:
    """Axes of one element go, which are then named: in a batch of one row, its own would go too."""
    data = get_tensor_name(node.input[0])
    grown, shape = look.axes.get(data, {}), look.old.get_shape(data)
    if node.attr["squeeze_dims"].list.i or not shape or None in shape or any(shape[axis] == 1 for axis in grown):
        return False
    axes = [axis for axis, size in enumerate(shape) if size == 1]
    if not grown or not axes:
        return False
    node.attr["squeeze_dims"].list.i.extend(axes)
    look.changed.append(node.name)
    return True


def _deconvolve(look: BatchLook, node: Any) -> bool:
    sizes, grown = look.read_sizes(node.input[0]), look.axes.get(get_tensor_name(node.input[2]), {})
    if not sizes or sizes[0] != look.size or 0 not in grown:
        return False
    return look.change(node, 0, look.nodes.add_shape(node.name, sizes, 0, 1, look.get_dtype(node.input[0])))


def _list_elements(look: BatchLook, node: Any) -> bool:
    number = _ELEMENT_SHAPES[node.op]
    sizes = look.read_sizes(node.input[number])
    if not sizes or sizes[0] != look.size:
        return False
    edge = look.nodes.add_sizes(node.name, [-1, *sizes[1:]], look.get_dtype(node.input[number]))
    return look.change(node, number, edge)


def _ensure_shape(look: BatchLook, node: Any) -> bool:
    shape = node.attr["shape" if node.op == "EnsureShape" else "element_shape"].shape
    if not shape.dim or shape.dim[0].size != look.size:
        return False
    shape.dim[0].size = -1
    look.changed.append(node.name)
    return True


BATCH_RULES: Mapping[str, Callable[[BatchLook, Any], bool]] = {
    "Reshape": _reshape,
    "Slice": _slice,
    "StridedSlice": _slice_by_strides,
    "Squeeze": _squeeze,
    **dict.fromkeys(("Conv2DBackpropInput", "Conv3DBackpropInputV2"), _deconvolve),
    **dict.fromkeys(_ELEMENT_SHAPES, _list_elements),
    **dict.fromkeys(("EnsureShape", *_ARRAYS), _ensure_shape),
}
