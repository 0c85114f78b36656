"""Cuts a graph at its inputs, or at all fed tensors, so that the ops which compute them are left out."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from typing import Any

from serialization.errors import UserError
from serialization.formats import protos
from serialization.formats.dtypes import get_dtype_number
from serialization.graph.graph_def import find_free_name, get_node_name, get_output_index, get_tensor_name
from serialization.graph.graph_index import GraphIndex, take_nodes
from serialization.graph.op_registry import get_output_dtypes
from serialization.graph.op_sets import ALL_PLACEHOLDERS, PIPELINES, PLACEHOLDERS
from serialization.graph.signature import Signature, Tensor


def cut_at_inputs(index: GraphIndex, wanted: Signature) -> tuple[GraphIndex, Signature, list[str]]:
    """Replace each input that is no placeholder with one, so that the ops which compute it are not needed.

    No input pipeline stays because other ops waited for it. Returns the graph (the given one if nothing is cut), the
    signature with the new names, and a line on the cut. Raises UserError for an input of unknown dtype.
    """
    nodes = index.nodes
    inner = [tensor for tensor in wanted.inputs if _is_computed(index, tensor.name)]
    if not inner:
        return index, wanted, []
    inner = list({tensor.name: tensor for tensor in inner}.values())  # two keys may stand for one tensor
    unknown = next((tensor for tensor in inner if tensor.dtype == "unknown"), None)
    if unknown is not None:
        op = nodes[get_node_name(unknown.name)].op
        raise UserError(
            f"the graph cannot be cut at {unknown.name}; its dtype is unknown, as the op {op} is; "
            "load its library with --op-library FILE.so"
        )
    copy = protos.GraphDef()
    copy.CopyFrom(index.graph_def)
    names = {
        tensor.name: find_free_name(f"{get_node_name(tensor.name)}_input", nodes, get_output_index(tensor.name))
        for tensor in inner
    }
    ends = {get_node_name(name) for name in names} | {node.name for node in copy.node if node.op in PIPELINES}
    for node in copy.node:
        edges = [edge for edge in node.input if not (edge.startswith("^") and get_node_name(edge) in ends)]
        node.input[:] = [edge if edge.startswith("^") else names.get(get_tensor_name(edge), edge) for edge in edges]
    for tensor in inner:
        _add_placeholder(copy, names[tensor.name], get_dtype_number(tensor.dtype), tensor.shape)
    kept = GraphIndex(copy).reachable(tensor.name for tensor in wanted.outputs)
    for tensor in inner:  # the old name is free if nothing needs the old node
        node, new = get_node_name(tensor.name), names[tensor.name]
        if node not in kept and sum(get_node_name(other.name) == node for other in inner) == 1:
            names[tensor.name] = node
            _rename_node(copy, new, node, kept)
    inputs = tuple(replace(t, name=f"{names[t.name]}:0") if t.name in names else t for t in wanted.inputs)
    note = f"cut at {', '.join(sorted(t.name for t in inner))}; the ops before it are left out"
    if any(get_node_name(name) != names[name] for name in names):
        note += f"; fed as {', '.join(sorted(names.values()))}"
    return GraphIndex(copy), Signature(inputs, wanted.outputs), [note]


def add_default_values(index: GraphIndex, inputs: Iterable[Tensor]) -> GraphIndex:
    """Give the placeholders of inputs with a default value that value: then they need not be fed.

    Returns the index of the changed GraphDef, or the given one if no input has a default value.
    """
    nodes, added = index.nodes, []
    for tensor in inputs:
        node = nodes[get_node_name(tensor.name)]
        if tensor.default is not None and node.op in ("Placeholder", "PlaceholderWithDefault"):
            value = protos.NodeDef(name=find_free_name(f"{node.name}/default", nodes), op="Const")
            value.attr["value"].tensor.ParseFromString(tensor.default)
            value.attr["dtype"].type = value.attr["value"].tensor.dtype
            node.op = "PlaceholderWithDefault"
            node.input[:] = [value.name]
            added.append(value)
    index.graph_def.node.extend(added)
    return GraphIndex(index.graph_def) if added else index


def _is_computed(index: GraphIndex, tensor: str) -> bool:
    """Whether the graph computes the tensor; or the default of a placeholder, from other inputs or a pipeline."""
    name = get_node_name(tensor)
    if index.nodes[name].op not in ALL_PLACEHOLDERS:
        return True
    return any(index.nodes[other].op in PLACEHOLDERS | PIPELINES for other in index.upstream(name) - {name})


def keep_nodes(index: GraphIndex, keep: Collection[str], fed: Iterable[Tensor]) -> Any:
    """A new GraphDef of these nodes and of the fed tensors, without what would compute the latter.

    A node whose outputs are only fed becomes a placeholder; one for each output, where it has several.
    """
    stand_ins: dict[str, Tensor] = {}
    for tensor in fed:
        name = get_node_name(tensor.name)
        if name in index.nodes and name not in keep:
            stand_ins.setdefault(name, tensor)
    plain = {name for name in stand_ins if index.nodes[name].op in PLACEHOLDERS and not index.nodes[name].input}
    graph_def = take_nodes(index, {*keep, *plain})
    for name, tensor in stand_ins.items():
        dtypes = get_output_dtypes(index.nodes[name])
        if name in plain or not dtypes:  # an unknown op is refused, where its output is needed
            continue
        if len(dtypes) == 1:
            _add_placeholder(graph_def, name, dtypes[0], tensor.shape)
            continue
        inputs = [find_free_name(f"{name}_input", index.nodes, number) for number in range(len(dtypes))]
        for one, dtype in zip(inputs, dtypes, strict=True):
            _add_placeholder(graph_def, one, dtype, None)
        graph_def.node.add(name=name, op="IdentityN", input=inputs).attr["T"].list.type.extend(dtypes)
    return graph_def


def _add_placeholder(graph_def: Any, name: str, dtype: int, shape: tuple[int | None, ...] | None) -> None:
    node = graph_def.node.add(name=name, op="Placeholder")
    node.attr["dtype"].type = dtype
    node.attr["shape"].shape.unknown_rank = shape is None
    for size in shape or ():
        node.attr["shape"].shape.dim.add(size=-1 if size is None else size)


def _rename_node(graph_def: Any, old: str, new: str, kept: Collection[str]) -> None:
    """Remove the node called `new`, and give its name to the node called `old`."""
    for position in reversed(range(len(graph_def.node))):
        if graph_def.node[position].name == new:
            del graph_def.node[position]
    for node in graph_def.node:
        if node.name == old:
            node.name = new
        if node.name in kept or node.name == new:
            node.input[:] = [new if edge == old else edge for edge in node.input]
