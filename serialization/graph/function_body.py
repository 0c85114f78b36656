"""Makes a function of a part of a graph: some of its tensors become arguments, others what the function returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from serialization.console import make_printable
from serialization.errors import UserError
from serialization.formats import protos
from serialization.graph.graph_def import get_node_name, get_output_index, get_tensor_name
from serialization.graph.graph_index import GraphIndex
from serialization.graph.known_ops import load_known_ops
from serialization.graph.op_registry import get_op_def, get_output_dtype
from serialization.graph.op_sets import PLACEHOLDERS


def make_function(index: GraphIndex, name: str, arguments: Sequence[str], results: Sequence[str]) -> Any:
    """The FunctionDef of this name; `arguments` and `results` are names of tensors of the graph, in their order.

    The nodes between them keep their names. Raises UserError if a result needs a placeholder that is no argument.
    """
    known = {tensor: f"argument_{number}" for number, tensor in enumerate(arguments)}
    made = protos.FunctionDef()
    made.signature.name = name
    for tensor, argument in known.items():
        made.signature.input_arg.add(name=argument, type=_get_dtype(index, tensor))
    outside = {get_node_name(tensor) for tensor in arguments}
    computed = [tensor for tensor in results if tensor not in known]
    body = [n for n in index.reachable(computed, stop=outside) if n not in outside]
    for node in (index.nodes[one] for one in index.nodes if one in set(body)):
        if node.op in PLACEHOLDERS:
            raise UserError(f"{make_printable(node.name)} is not among the inputs; name it in --inputs")
        copy = made.node_def.add()
        copy.CopyFrom(node)
        copy.attr.pop("_class", None)
        copy.input[:] = [
            edge if edge.startswith("^") else _name_in_body(index, edge, known)
            for edge in node.input
            if not (edge.startswith("^") and get_node_name(edge) in outside)
        ]
        if load_known_ops().get(node.op, True):
            made.signature.is_stateful = True
            made.signature.control_output.append(node.name)
            made.control_ret[node.name] = node.name
    for number, tensor in enumerate(results):
        made.signature.output_arg.add(name=f"result_{number}", type=_get_dtype(index, tensor))
        made.ret[f"result_{number}"] = _name_in_body(index, tensor, known)
    return made


def _get_dtype(index: GraphIndex, tensor: str) -> int:
    return get_output_dtype(index.nodes[get_node_name(tensor)], get_output_index(tensor))


def _name_in_body(index: GraphIndex, tensor: str, arguments: Mapping[str, str]) -> str:
    """A tensor as the body of a function names it: an argument, or `NODE:OUTPUT:INDEX`.

    Format: FunctionDef in tensorflow/core/framework/function.proto.
    """
    tensor = get_tensor_name(tensor)
    if tensor in arguments:
        return arguments[tensor]
    node, left = index.nodes[get_node_name(tensor)], get_output_index(tensor)
    for output in get_op_def(node.op).output_arg:
        count = len(node.attr[output.type_list_attr].list.type) if output.type_list_attr else 1
        count = node.attr[output.number_attr].i if output.number_attr else count
        if left < count:
            return f"{node.name}:{output.name}:{left}"
        left -= count
    raise UserError(f"no tensor {make_printable(tensor)} in the graph; {node.name} has fewer outputs")
