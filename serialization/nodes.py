"""What a NodeDef says about its own tensors: dtype, shape, what they are for; without TensorFlow's op definitions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from serialization import dtypes
from serialization.graph import index_of, node_of
from serialization.signature import Tensor

PLACEHOLDERS = {"Placeholder", "PlaceholderV2"}
PIPELINES = {"IteratorGetNext", "IteratorGetNextSync"}  # and the Queue...Dequeue ops

_SWITCH_NAME = re.compile(
    r"(is_?|in_?)?(train|training|phase|phase_train|learning_phase|test|testing)(_\w+)?", re.IGNORECASE
)
_KEEP_NAME = re.compile(r"\w*(keep_?prob|dropout|drop_?prob|drop_?rate|keep_?rate)\w*", re.IGNORECASE)
_SEVERAL = {"TopK": 2, "TopKV2": 2, "Unique": 2, "UniqueV2": 2, "UniqueWithCounts": 3, "ListDiff": 2, "Svd": 3}
_SEVERAL |= {
    "Qr": 2,
    "SelfAdjointEigV2": 2,
    "Moments": 2,
    "Switch": 2,
    "LogMatrixDeterminant": 2,
    "NonMaxSuppressionV5": 3,
}
_SEVERAL |= {"SoftmaxCrossEntropyWithLogits": 1, "FusedBatchNorm": 1}  # the others are for the gradient
_COUNTS = ("num_split", "num", "N")


def describe(nodes: Mapping[str, Any], name: str) -> Tensor:
    """The tensor of that name with dtype and shape as far as the node itself tells them."""
    node, index = nodes[node_of(name)], index_of(name)
    return Tensor(
        name.removesuffix(":0"), f"{node.name}:{index}", dtypes.name_of(_dtype(node, index)), _shape(node, index)
    )


def is_pipeline(op: str) -> bool:
    """Whether the op takes values from a queue or an iterator."""
    return op in PIPELINES or (op.startswith(("QueueDequeue", "ReaderRead")))


def is_switch(tensor: Tensor) -> bool:
    """Whether a name and a dtype say "training or not"."""
    last = node_of(tensor.name).rpartition("/")[2]
    return tensor.dtype == "bool" and (tensor.shape in ((), None) or _SWITCH_NAME.fullmatch(last) is not None)


def is_keep_probability(tensor: Tensor) -> bool:
    """Whether a name says that it is the share of a dropout layer."""
    return _KEEP_NAME.fullmatch(node_of(tensor.name).rpartition("/")[2]) is not None


def output_count(node: Any) -> int:
    """How many outputs a node has, as far as it says itself."""
    if node.op in _SEVERAL:
        return _SEVERAL[node.op]
    if node.op.startswith(("Split", "Unpack", "Unstack")):
        return int(next((node.attr[name].i for name in _COUNTS if name in node.attr), 1))
    listed = node.attr["Tout"].list.type if "Tout" in node.attr else ()
    return max(1, len(listed))


_BOOLEAN = {
    "Greater",
    "GreaterEqual",
    "Less",
    "LessEqual",
    "Equal",
    "NotEqual",
    "LogicalAnd",
    "LogicalOr",
    "LogicalNot",
}
_BOOLEAN |= {"InTopK", "InTopKV2", "IsNan", "IsInf", "IsFinite", "All", "Any"}
_DTYPE_ATTRIBUTES = (
    "DstT",
    "output_type",
    "dtype",
    "out_type",
    "Tparams",
    "output_dtype",
    "type",
    "T",
    "Tidx",
    "Tvalues",
)
_LISTS = ("component_types", "output_types", "Tout")


def _dtype(node: Any, index: int) -> int:
    for name in _LISTS:
        listed = node.attr[name].list.type if name in node.attr else ()
        if index < len(listed):
            return int(listed[index])
    if node.op in _BOOLEAN:
        return dtypes.BOOL
    if node.op in ("ArgMax", "ArgMin") and "output_type" not in node.attr:
        return dtypes.INT64
    if node.op in ("TopKV2", "TopK") and index == 1:
        return dtypes.INT32
    return next(
        (int(node.attr[name].type) for name in _DTYPE_ATTRIBUTES if name in node.attr and node.attr[name].type), 0
    )


def _shape(node: Any, index: int) -> tuple[int | None, ...] | None:
    """The recorded shape. A placeholder's empty shape in a graph of TensorFlow 0.x and 1.x may stand for "unknown"."""
    shapes = node.attr["_output_shapes"].list.shape if "_output_shapes" in node.attr else ()
    if index < len(shapes):
        return _sizes(shapes[index])
    shapes = node.attr["output_shapes"].list.shape if "output_shapes" in node.attr else ()
    if index < len(shapes):
        return _sizes(shapes[index])
    if node.op in PLACEHOLDERS and "shape" in node.attr:
        return _sizes(node.attr["shape"].shape)
    return None


def _sizes(shape: Any) -> tuple[int | None, ...] | None:
    return None if shape.unknown_rank else tuple(None if dim.size < 0 else int(dim.size) for dim in shape.dim)
