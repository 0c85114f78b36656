"""Names inputs and outputs by their keys, so that other readers of a GraphDef know the keys too."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from serialization.formats import protos
from serialization.formats.dtypes import get_dtype_number
from serialization.graph.graph_def import get_node_name
from serialization.graph.op_sets import ALL_PLACEHOLDERS
from serialization.graph.signature import Signature, Tensor

_NODE_NAME = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")


def name_by_keys(graph_def: Any, signature: Signature) -> tuple[Any, Signature]:
    """A copy of the GraphDef and the signature by its names; each placeholder and each output has the name of its key.

    What had another name has it still: an Identity hands the values on. A key stays a key alone where it is no name of
    a node, or where another node has it, in letters of either case: tf.saved_model.load takes `softmax` for `Softmax`.
    """
    result = protos.GraphDef()
    result.CopyFrom(graph_def)
    nodes = {node.name: node for node in result.node}
    taken = {name.lower() for name in nodes}

    def is_free(key: str) -> bool:
        return key.lower() not in taken and _NODE_NAME.fullmatch(key) is not None

    def hand_on(tensor: Tensor, source: str, name: str) -> None:
        nodes[name] = result.node.add(name=name, op="Identity", input=[source])
        nodes[name].attr["T"].type = get_dtype_number(tensor.dtype)
        taken.add(name.lower())

    inputs: dict[str, str] = {}
    for tensor in signature.inputs:
        name = get_node_name(tensor.name)
        if nodes[name].op in ALL_PLACEHOLDERS and is_free(tensor.key):
            nodes[tensor.key] = nodes[name]
            nodes[name].name = tensor.key
            taken.add(tensor.key.lower())
            hand_on(tensor, tensor.key, name)
            inputs[tensor.name] = f"{tensor.key}:0"
    outputs = []
    for tensor in signature.outputs:
        free = is_free(tensor.key)
        if free:
            hand_on(tensor, tensor.name, tensor.key)
        outputs.append(replace(tensor, name=f"{tensor.key}:0") if free else tensor)
    fed = (replace(tensor, name=inputs.get(tensor.name, tensor.name)) for tensor in signature.inputs)
    return result, Signature(tuple(fed), tuple(outputs))
