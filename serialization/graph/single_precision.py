"""Turns the float64 ops of a graph into float32 ones, for a runtime that has no float64 ops.

Inputs and outputs keep their dtype: a Cast follows such an input, and another one makes such an output.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from serialization.formats.dtypes import DOUBLE, FLOAT
from serialization.graph.const_nodes import make_constant
from serialization.graph.graph_def import find_free_name, get_tensor_name, iterate_nodes
from serialization.tensorflow import np, tf


def narrow_to_float32(graph_def: Any, inputs: Iterable[str], outputs: Iterable[str]) -> dict[str, str]:
    """Change the float64 tensors of a GraphDef to float32, in place, but for these inputs and outputs.

    `inputs` are the names of nodes without inputs that give float64, `outputs` those of float64 tensors. Returns the
    new name of each output. Constants beyond the range of float32 become its largest numbers.
    """
    for node in iterate_nodes(graph_def):
        for attribute in node.attr.values():
            _narrow(attribute)
    for function in graph_def.library.function:
        for argument in (*function.signature.input_arg, *function.signature.output_arg):
            argument.type = _narrow_dtype(argument.type)
    nodes = {node.name: node for node in graph_def.node}

    def cast(tensor: str, source: int, target: int) -> str:
        name = find_free_name(f"{tensor.partition(':')[0]}/{'float32' if target == FLOAT else 'float64'}", nodes)
        node = nodes[name] = graph_def.node.add(name=name, op="Cast", input=[tensor])
        node.attr["SrcT"].type, node.attr["DstT"].type = source, target
        return name

    wide = {f"{name}:0": name for name in inputs}
    users = list(graph_def.node)
    narrowed = {tensor: cast(tensor, DOUBLE, FLOAT) for tensor in wide}
    for name in wide.values():
        nodes[name].attr["dtype"].type = DOUBLE
    for node in users:
        node.input[:] = [edge if edge[0] == "^" else narrowed.get(get_tensor_name(edge), edge) for edge in node.input]
    return {name: f"{cast(narrowed.get(name, name), FLOAT, DOUBLE)}:0" for name in dict.fromkeys(outputs)}


def _narrow_dtype(dtype: int) -> int:
    return FLOAT if dtype == DOUBLE else dtype


def _narrow(attribute: Any) -> None:
    """Change DT_DOUBLE to DT_FLOAT in an AttrValue, also in lists and in the attributes of a function that it names."""
    held = attribute.WhichOneof("value")
    if held == "type":
        attribute.type = _narrow_dtype(attribute.type)
    elif held == "tensor" and attribute.tensor.dtype == DOUBLE:
        largest = np.finfo(np.float32).max
        value = tf.make_ndarray(attribute.tensor)
        value = np.where(np.isfinite(value), np.clip(value, -largest, largest), value).astype(np.float32)
        attribute.tensor.CopyFrom(make_constant("", value, FLOAT).attr["value"].tensor)
    elif held == "func":
        for inner in attribute.func.attr.values():
            _narrow(inner)
    elif held == "list":
        attribute.list.type[:] = [_narrow_dtype(dtype) for dtype in attribute.list.type]
        for function in attribute.list.func:
            for inner in function.attr.values():
                _narrow(inner)
