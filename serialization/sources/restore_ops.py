"""Adds a Saver for exactly the variables of a pruned graph to its MetaGraphDef.

With it import_meta_graph, Saver.restore and the SavedModel builder work on a pruned graph as on a whole one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from serialization.formats import dtypes, protos
from serialization.graph.graph_index import GraphIndex
from serialization.sources.variable_mapping import Restore


def add_saver(index: GraphIndex, restores: Sequence[Restore]) -> Any:
    """A MetaGraphDef of a copy of the graph, a Saver for exactly these variables, and collections that name them."""
    meta_graph = protos.MetaGraphDef()
    graph = meta_graph.graph_def
    graph.CopyFrom(index.graph_def)
    if not restores:
        return meta_graph
    nodes = index.nodes
    scope = next(name for name in _names("restore") if name not in nodes and f"{name}/all" not in nodes)
    path, keys, specs = (f"{scope}/{name}" for name in ("path", "keys", "slices"))
    _add_strings(graph, path, [b"model"], scalar=True)
    _add_strings(graph, keys, [restore.key.encode() for restore in restores])
    _add_strings(graph, specs, [restore.spec.encode() for restore in restores])
    graph.node.add(name=f"{scope}/read", op="RestoreV2", input=[path, keys, specs])
    graph.node[-1].attr["dtypes"].list.type.extend(restore.dtype for restore in restores)
    everything = graph.node.add(name=f"{scope}/all", op="NoOp")
    for position, restore in enumerate(restores):
        _add_assignment(
            meta_graph, nodes[restore.node], restore, f"{scope}/read:{position}", f"{scope}/assign_{position}", nodes
        )
        everything.input.append(f"^{scope}/assign_{position}")
    meta_graph.saver_def.filename_tensor_name = f"{path}:0"
    meta_graph.saver_def.save_tensor_name = f"{path}:0"  # this Saver only restores
    meta_graph.saver_def.restore_op_name = everything.name
    meta_graph.saver_def.version = 2  # SaverDef.V2
    return meta_graph


def _add_assignment(
    meta_graph: Any, variable: Any, restore: Restore, value: str, name: str, taken: Collection[str]
) -> None:
    graph = meta_graph.graph_def
    resource = variable.op == "VarHandleOp"
    assign = graph.node.add(name=name, op="AssignVariableOp" if resource else "Assign", input=[variable.name, value])
    assign.attr["dtype" if resource else "T"].type = restore.dtype
    read = f"{variable.name}/Read/ReadVariableOp" if resource else f"{variable.name}/read"
    if read not in taken:
        reader = graph.node.add(name=read, op="ReadVariableOp" if resource else "Identity", input=[variable.name])
        reader.attr["dtype" if resource else "T"].type = restore.dtype
    definition = protos.VariableDef(
        variable_name=f"{variable.name}:0",
        initializer_name=name,
        snapshot_name=f"{read}:0",
        is_resource=resource,
        trainable=False,
    )
    meta_graph.collection_def["variables"].bytes_list.value.append(definition.SerializeToString())


def _names(stem: str) -> Iterator[str]:
    yield stem
    number = 0
    while True:
        number += 1
        yield f"{stem}_{number}"


def _add_strings(graph: Any, name: str, values: Sequence[bytes], *, scalar: bool = False) -> None:
    node = graph.node.add(name=name, op="Const")
    node.attr["dtype"].type = dtypes.STRING
    tensor = node.attr["value"].tensor
    tensor.dtype = dtypes.STRING
    tensor.tensor_shape.SetInParent()
    if not scalar:
        tensor.tensor_shape.dim.add(size=len(values))
    tensor.string_val.extend(values)
