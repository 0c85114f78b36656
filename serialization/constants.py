"""The NodeDef of a constant."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serialization import dtypes, protos

if TYPE_CHECKING:
    from numpy.typing import NDArray


def constant(name: str, value: NDArray[Any], dtype: int) -> Any:
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
