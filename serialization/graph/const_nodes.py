"""Makes and reads the NodeDef of a constant."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

from serialization.formats import dtypes, protos

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST = 256  # a tensor has at most 254 axes


def make_constant(name: str, value: NDArray[Any], dtype: int) -> Any:
    """A Const node that holds `value`; `dtype` is TensorFlow's number for it."""
    node = protos.NodeDef(name=name, op="Const")
    node.attr["dtype"].type = dtype
    tensor = node.attr["value"].tensor
    tensor.dtype = dtype
    tensor.tensor_shape.SetInParent()
    for size in value.shape:
        tensor.tensor_shape.dim.add(size=size)
    if dtype == dtypes.STRING:
        tensor.string_val.extend(value.ravel().tolist())
    else:
        tensor.tensor_content = value.tobytes()
    return node


def read_integers(node: Any) -> list[int]:
    """The numbers of a Const node that holds at most 256 int32 or int64, such as a shape; [] for any other node."""
    if node is None or node.op != "Const" or "value" not in node.attr:
        return []
    tensor: Any = node.attr["value"].tensor
    if tensor.dtype not in (dtypes.INT32, dtypes.INT64):
        return []
    count: int = math.prod(max(0, dim.size) for dim in tensor.tensor_shape.dim)
    width, listed = (4, tensor.int_val) if tensor.dtype == dtypes.INT32 else (8, tensor.int64_val)
    content = tensor.tensor_content
    if count > _MOST or len(content) > width * _MOST or len(listed) > _MOST:
        return []
    if content:
        starts = range(0, len(content), width)
        return [int.from_bytes(content[start : start + width], sys.byteorder, signed=True) for start in starts]
    values: list[int] = list(listed)
    return values + values[-1:] * (count - len(values))  # the last one is repeated for those that are missing
