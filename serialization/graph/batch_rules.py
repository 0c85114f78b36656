"""Rules for ops that may hold a batch size in a constant: each has it follow the batch.

A rule gets a look at the graph and a node. It changes the node if it has to, and says whether it did.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from serialization.formats import dtypes
from serialization.graph.batch_axes import BatchAxis, find_batch_axis, find_stride
from serialization.graph.batch_look import OTHER_SIZE, BatchLook
from serialization.graph.batch_rows import Rows
from serialization.graph.const_nodes import make_constant
from serialization.graph.graph_def import change_op, get_tensor_name, list_data_edges
from serialization.graph.op_sets import IDENTITIES
from serialization.graph.signature import show_shape
from serialization.tensorflow import np

_ARRAYS = ("TensorArrayV2", "TensorArrayV3", "TensorArrayGatherV2", "TensorArrayGatherV3")
# Which input says the shape of the result, and which may hold the batch.
_TOLD = {
    **dict.fromkeys(("Conv2DBackpropInput", "Conv3DBackpropInputV2"), (0, (2,))),
    "ScatterNd": (2, (0, 1)),
}
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
    if None in before or any(size is None for axis, size in enumerate(wanted) if axis != place.axis):
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
    for axis, how in look.axes.get(get_tensor_name(data), {}).items():
        if not starts or not sizes or sizes[axis] == -1:
            continue
        if starts[axis] == 0 and sizes[axis] == look.get_old_size(data, axis):
            sizes[axis] = -1
            return look.change(node, 2, look.nodes.add_sizes(node.name, sizes, look.get_dtype(size)))
        if how and (part := _find_part(look, how, starts[axis], starts[axis] + sizes[axis])):
            first, last = part
            look.made[node.name] = BatchAxis(axis, last - first, how.inner)
            _change_size(look, node, 1, starts, how, first)
            return _change_size(look, node, 2, sizes, how, last - first)
    return False


def _slice_by_strides(look: BatchLook, node: Any) -> bool:
    data, *edges = list_data_edges(node)
    begin, end, strides = map(look.read_sizes, edges)
    masks = {name: node.attr[f"{name}_mask"].i for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}
    if masks["ellipsis"] or masks["new_axis"] or not (begin and end and strides):
        return False
    for axis, how in look.axes.get(get_tensor_name(data), {}).items():
        bit, length = 1 << axis, look.get_old_size(data, axis)
        if axis >= len(end) or strides[axis] != 1 or masks["shrink_axis"] & bit or length is None:
            continue
        first, last = (value + length if value < 0 else value for value in (begin[axis], end[axis]))
        first, last = 0 if masks["begin"] & bit else first, length if masks["end"] & bit else min(last, length)
        if first == 0 and last == length:
            if masks["end"] & bit:
                return False
            node.attr["end_mask"].i |= bit
            look.changed.append(node.name)
            return True
        if how and (part := _find_part(look, how, first, last)):
            look.made[node.name] = BatchAxis(axis, part[1] - part[0], how.inner)
            if not masks["begin"] & bit:
                _change_size(look, node, 1, begin, how, part[0])
            return bool(masks["end"] & bit) or _change_size(look, node, 2, end, how, part[1])
    return False


def _find_part(look: BatchLook, how: BatchAxis, first: int, last: int) -> tuple[int, int] | None:
    """From which batch to which a slice reaches, where several lie behind each other along an axis."""
    if how.outer == 1:
        return None
    (start, before), (end, behind) = (divmod(value, look.size * how.inner) for value in (first, last))
    return (start, end) if not before and not behind and start < end else None


def _change_size(look: BatchLook, node: Any, number: int, sizes: list[int], how: BatchAxis, batches: int) -> bool:
    dtype = look.get_dtype(node.input[number])
    edge = look.nodes.add_shape(node.name, sizes, how.axis, batches * how.inner, dtype)
    return look.change(node, number, edge)


def _squeeze(look: BatchLook, node: Any) -> bool:
    """Axes of one element go, which are then named: in a batch of one row, its own would go too."""
    data = get_tensor_name(node.input[0])
    grown, shape = look.axes.get(data, {}), look.old.get_shape(data)
    if node.attr["squeeze_dims"].list.i or not shape or None in shape or not grown:
        return False
    axes = [axis for axis, size in enumerate(shape) if size == 1 and axis not in grown]
    look.begins_anew = any(shape[axis] == 1 for axis in grown)  # it keeps one axis more
    if axes:
        node.attr["squeeze_dims"].list.i.extend(axes)
    elif look.begins_anew:
        change_op(node, "Identity", node.input, T=node.attr["T"].type)
    else:
        return False
    look.changed.append(node.name)
    if look.begins_anew:
        _add_rows_as_rows(look, node)
    return True


def _add_rows_as_rows(look: BatchLook, squeezed: Any) -> None:
    """Keras adds what has one row as a bias, which has an axis less."""
    for user in map(look.index.nodes.__getitem__, look.index.consumers(squeezed.name)):
        if user.op == "BiasAdd" and get_tensor_name(user.input[1]) == f"{squeezed.name}:0":
            change_op(user, "AddV2", user.input, T=user.attr["T"].type)
            look.changed.append(user.name)


def _follow_told_shape(look: BatchLook, node: Any) -> bool:
    number, datas = _TOLD[node.op]
    sizes = look.read_sizes(node.input[number])
    if not sizes or sizes[0] != look.size or not any(0 in look.axes.get(_name(node, data), {}) for data in datas):
        return False
    return look.change(node, number, look.nodes.add_shape(node.name, sizes, 0, 1, look.get_dtype(node.input[number])))


def _name(node: Any, number: int) -> str:
    return get_tensor_name(node.input[number])


def _crop(look: BatchLook, node: Any) -> bool:
    """The boxes, and the numbers of the images in which they lie, go on for more images."""
    grown, boxes, numbers = (look.axes.get(_name(node, number)) for number in range(3))
    if not grown or boxes or numbers:
        return False
    for one in look.list_rows(node.input[2], ()):
        is_number = np.all(one.first == 0) if one.step is None else np.all(one.first == 0) and np.all(one.step == 1)
        if not is_number or (one.step is None and look.size > 1):
            continue
        same = [rows for rows in look.list_rows(node.input[1], ()) if rows.how == one.how and rows.step is None]
        if same:
            counted = Rows(one.how, one.first, np.ones_like(one.first))
            look.change(node, 1, look.add_rows(node.input[1], same[0]))
            return look.change(node, 2, look.add_rows(node.input[2], counted))
    return False


def _scatter_rows(look: BatchLook, node: Any) -> bool:
    if 0 in look.axes.get(_name(node, 2), {}) and look.read_sizes(node.input[1]) is not None:
        raise look.refuse(node.name, "it takes the rows one by one")
    return False


def _list_elements(look: BatchLook, node: Any) -> bool:
    number = _ELEMENT_SHAPES[node.op]
    sizes = look.read_sizes(node.input[number])
    if not sizes or sizes[0] != look.size:
        return False
    dtype = look.get_dtype(node.input[number])
    edge = look.nodes.add_sizes(node.name, [-1, *sizes[1:]], dtype)
    shown = [
        make_constant(edge, np.array([size, *sizes[1:]], dtypes.get_dtype_name(dtype)), dtype)
        for size in (look.size, OTHER_SIZE)
    ]
    look.nodes.shown[edge] = (shown[0], shown[1])
    return look.change(node, number, edge)


def _ensure_shape(look: BatchLook, node: Any) -> bool:
    name = "shape" if node.op == "EnsureShape" else "element_shape"
    shape = node.attr[name].shape
    if not shape.dim or shape.dim[0].size != look.size:
        return False
    shown = []
    for size in (look.size, OTHER_SIZE):
        shape.dim[0].size = size
        shown.append(type(node).FromString(node.SerializeToString()))
    look.nodes.shown[node.name] = (shown[0], shown[1])
    shape.dim[0].size = -1
    look.changed.append(node.name)
    return True


BATCH_RULES: Mapping[str, Callable[[BatchLook, Any], bool]] = {
    "Reshape": _reshape,
    "Slice": _slice,
    "StridedSlice": _slice_by_strides,
    "Squeeze": _squeeze,
    "CropAndResize": _crop,
    "TensorArrayScatterV3": _scatter_rows,
    **dict.fromkeys(_TOLD, _follow_told_shape),
    **dict.fromkeys(_ELEMENT_SHAPES, _list_elements),
    **dict.fromkeys(("EnsureShape", *_ARRAYS), _ensure_shape),
}
