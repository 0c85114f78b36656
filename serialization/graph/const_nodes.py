"""Makes and reads the NodeDef of a constant."""

from __future__ import annotations

import itertools
import math
import sys
from typing import TYPE_CHECKING, Any

from serialization.console import make_printable
from serialization.errors import UserError
from serialization.formats import dtypes, protos
from serialization.formats.wire import DamagedError, read_varint
from serialization.graph.graph_def import iterate_nodes

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


def unpack_strings(graph_def: Any) -> None:
    """Give every constant of strings the one form that all readers understand alike: `string_val` alone.

    Packed into `tensor_content`, they hide `string_val`: TensorFlow reads the first of the two. Raises UserError where
    they cannot be unpacked.
    """
    for node in iterate_nodes(graph_def):
        if node.op == "Const" and "value" in node.attr and node.attr["value"].tensor.tensor_content:
            tensor = node.attr["value"].tensor
            if tensor.dtype == dtypes.STRING:
                try:
                    values = _unpack(tensor.tensor_content, math.prod(max(0, d.size) for d in tensor.tensor_shape.dim))
                except DamagedError:
                    name = make_printable(node.name)
                    raise UserError(
                        f"the graph is damaged; its constant {name} cannot be read; copy it again"
                    ) from None
                tensor.ClearField("tensor_content")
                tensor.string_val[:] = values


def _unpack(packed: bytes, count: int) -> list[bytes]:
    """So many strings: their lengths first, then their bytes. Format: DecodeStringList in tensor_coding.cc."""
    if count > len(packed):
        raise DamagedError("strings are cut off")
    lengths, end = [], 0
    for _ in range(count):
        length, end = read_varint(packed, end, len(packed))
        lengths.append(length)
    if end + sum(lengths) != len(packed):
        raise DamagedError("strings are cut off")
    ends = itertools.accumulate(lengths, initial=end)
    return [packed[start:stop] for start, stop in itertools.pairwise(ends)]


def read_strings(node: Any) -> list[bytes]:
    """The strings of a Const node, the last one once where it is repeated; [] for any other node."""
    if node.op != "Const" or "value" not in node.attr or node.attr["value"].WhichOneof("value") != "tensor":
        return []
    tensor = node.attr["value"].tensor
    if tensor.dtype != dtypes.STRING or tensor.tensor_content:
        return []
    return list(tensor.string_val) or [b""]
