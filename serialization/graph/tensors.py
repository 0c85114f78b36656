"""dtype, shape and likely use of a node's tensors, from its NodeDef, without TensorFlow's op definitions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from serialization.formats.dtypes import get_dtype_name
from serialization.graph.graph_def import get_node_name, get_output_index
from serialization.graph.op_registry import get_output_dtypes
from serialization.graph.op_sets import ALL_PLACEHOLDERS, BATCH_NORMS, MERGES
from serialization.graph.signature import Tensor

_SWITCH_NAME = re.compile(
    r"(is_?|in_?)?(train|training|phase|phase_train|learning_phase|test|testing)(_\w+)?", re.IGNORECASE
)
_KEEP_NAME = re.compile(r"\w*(keep_?prob|dropout|drop_?prob|drop_?rate|keep_?rate)\w*", re.IGNORECASE)
# Their outputs after the first are for the gradient, or tell which branch or length it was.
_ONE_OF_SEVERAL = BATCH_NORMS | {"SoftmaxCrossEntropyWithLogits", "SparseSoftmaxCrossEntropyWithLogits"}
_ONE_OF_SEVERAL |= MERGES | {f"TensorArrayConcat{version}" for version in ("", "V2", "V3")}
_DTYPES_OF_UNKNOWN = ("dtype", "out_type", "output_type", "T")  # by custom, in the ops of other libraries


def describe_tensor(nodes: Mapping[str, Any], name: str) -> Tensor:
    """The tensor of that name; dtype and shape are unknown where the NodeDef does not record them."""
    node, index = nodes[get_node_name(name)], get_output_index(name)
    return Tensor(
        name.removesuffix(":0"), f"{node.name}:{index}", get_dtype_name(_dtype(node, index)), _shape(node, index)
    )


def is_training_switch(tensor: Tensor) -> bool:
    """Whether name and dtype are those of a switch between training and inference."""
    last = get_node_name(tensor.name).rpartition("/")[2]
    return tensor.dtype == "bool" and (tensor.shape in ((), None) or _SWITCH_NAME.fullmatch(last) is not None)


def is_keep_probability(tensor: Tensor) -> bool:
    """Whether the name is that of a dropout layer's keep or drop rate."""
    return _KEEP_NAME.fullmatch(get_node_name(tensor.name).rpartition("/")[2]) is not None


def count_outputs(node: Any) -> int:
    """How many of a node's outputs a caller may want; 1 for an unknown op without a list of dtypes."""
    if node.op in _ONE_OF_SEVERAL:
        return 1
    types = get_output_dtypes(node)
    return len(types) if types is not None else max(1, len(node.attr["Tout"].list.type if "Tout" in node.attr else ()))


def _dtype(node: Any, index: int) -> int:
    types = get_output_dtypes(node)
    if types is not None:
        return types[index] if index < len(types) else 0
    return next((int(node.attr[name].type) for name in _DTYPES_OF_UNKNOWN if name in node.attr), 0)


def _shape(node: Any, index: int) -> tuple[int | None, ...] | None:
    """The recorded shape; None if none is recorded or its rank is unknown."""
    shapes = node.attr["_output_shapes"].list.shape if "_output_shapes" in node.attr else ()
    if index < len(shapes):
        return _sizes(shapes[index])
    shapes = node.attr["output_shapes"].list.shape if "output_shapes" in node.attr else ()
    if index < len(shapes):
        return _sizes(shapes[index])
    if node.op in ALL_PLACEHOLDERS and "shape" in node.attr:
        return _sizes(node.attr["shape"].shape)
    return None


def _sizes(shape: Any) -> tuple[int | None, ...] | None:
    return None if shape.unknown_rank else tuple(None if dim.size < 0 else int(dim.size) for dim in shape.dim)
