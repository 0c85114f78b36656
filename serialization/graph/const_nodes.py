"""Makes and reads the NodeDef of a constant."""

from __future__ import annotations

import math
import sys
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from serialization.formats import dtypes, protos
from serialization.formats.wire import DamagedError, read_varint
from serialization.graph.graph_def import iterate_nodes
from serialization.tensorflow import np, tf

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


def read_strings(node: Any) -> list[bytes]:
    """The strings of a Const node; [] for any other node."""
    if node is None or node.op != "Const" or node.attr["value"].tensor.dtype != dtypes.STRING:
        return []
    tensor = node.attr["value"].tensor
    count = math.prod(max(0, dim.size) for dim in tensor.tensor_shape.dim)
    content = tensor.tensor_content  # TensorFlow takes it where both are there
    strings = split_string_content(content, count) if content else list(tensor.string_val)
    return strings * count if len(strings) == 1 else strings  # one stands for all


def read_array(node: Any) -> NDArray[Any]:
    """The value of a Const node, strings as objects."""
    tensor = node.attr["value"].tensor
    if tensor.dtype != dtypes.STRING:
        return np.asarray(tf.make_ndarray(tensor))
    return np.array(read_strings(node), object).reshape([dim.size for dim in tensor.tensor_shape.dim])


def unpack_strings(graph_def: Any) -> None:
    """Give every constant of strings the one form that all readers understand alike: `string_val` alone.

    Where both are there, TensorFlow reads `tensor_content`. Content that cannot be read stays, and no graph with it is
    loaded.
    """
    for node in iterate_nodes(graph_def):
        if node.op == "Const" and "value" in node.attr and node.attr["value"].tensor.dtype == dtypes.STRING:
            tensor = node.attr["value"].tensor
            if tensor.tensor_content:
                with suppress(DamagedError):
                    tensor.string_val[:] = read_strings(node)
                    tensor.ClearField("tensor_content")


def split_string_content(content: bytes, count: int) -> list[bytes]:
    """The strings of a tensor_content: the length of each, then the bytes of all. Raises DamagedError.

    Format: DecodeStringList in tensorflow/core/platform/tensor_coding.cc.
    """
    lengths, position = [], 0
    for _ in range(count if content else 0):
        length, position = read_varint(content, position, len(content))
        lengths.append(length)
    strings = []
    for length in lengths:
        strings.append(content[position : position + length])
        position += length
    if position != len(content):
        raise DamagedError("strings have other lengths than recorded")
    return strings
