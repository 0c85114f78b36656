"""Adds a Saver for exactly the given variables to a MetaGraphDef.

With it import_meta_graph, Saver.restore and the SavedModel builder work on a pruned graph as on a whole one, and on the
graph of a checkpoint that holds other variables than before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from serialization.formats import dtypes, protos
from serialization.graph.graph_index import GraphIndex
from serialization.graph.op_sets import IDENTITIES, VARIABLE_READERS, VARIABLES
from serialization.sources.variable_mapping import Restore

_SAVERS = "savers"  # a collection, in which a training script may keep its Saver


def add_saver(index: GraphIndex, restores: Sequence[Restore]) -> Any:
    """A MetaGraphDef of a copy of the graph, a Saver for exactly these variables, and collections that name them."""
    meta_graph = protos.MetaGraphDef()
    graph = meta_graph.graph_def
    graph.CopyFrom(index.graph_def)
    if not restores:
        return meta_graph
    scope = _add_restoring(meta_graph, restores)
    meta_graph.saver_def.save_tensor_name = meta_graph.saver_def.filename_tensor_name  # this Saver only restores
    for position, restore in enumerate(restores):
        _list_variable(meta_graph, index.nodes, restore, f"{scope}/assign_{position}")
    return meta_graph


def replace_saver(meta_graph: Any, restores: Sequence[Restore]) -> None:
    """Put a Saver for exactly these variables, in place, for the one that the MetaGraphDef records, if it has one.

    The new one restores and saves.
    """
    before = protos.SaverDef()
    before.CopyFrom(meta_graph.saver_def)
    _remove_saver(meta_graph)
    variables = {node.name: node for node in meta_graph.graph_def.node if node.op in VARIABLES}
    scope = _add_restoring(meta_graph, restores)
    graph, saver = meta_graph.graph_def, meta_graph.saver_def
    path, keys, specs = (f"{scope}/{name}" for name in ("path", "keys", "slices"))
    write = protos.NodeDef(name=f"{scope}/write", op="SaveV2", input=[path, keys, specs])
    write.attr["dtypes"].list.type.extend(restore.dtype for restore in restores)
    for position, restore in enumerate(restores):
        value = restore.node
        if variables[value].op == "VarHandleOp":
            value = f"{scope}/value_{position}"
            reader = graph.node.add(name=value, op="ReadVariableOp", input=[restore.node])
            reader.attr["dtype"].type = restore.dtype
        write.input.append(value)
    graph.node.append(write)
    saved = graph.node.add(name=f"{scope}/saved", op="Identity", input=[path, f"^{write.name}"])
    saved.attr["T"].type = dtypes.STRING
    saver.save_tensor_name = f"{saved.name}:0"
    saver.max_to_keep = before.max_to_keep or 5  # the default of Saver
    saver.keep_checkpoint_every_n_hours = before.keep_checkpoint_every_n_hours or 10_000.0
    if _SAVERS in meta_graph.collection_def:
        recorded = meta_graph.collection_def[_SAVERS].bytes_list.value
        recorded[:] = [saver.SerializeToString() if one == before.SerializeToString() else one for one in recorded]


def _remove_saver(meta_graph: Any) -> None:
    """Remove the nodes that only the recorded Saver needs, but for variables and what reads them."""
    graph, saver = meta_graph.graph_def, meta_graph.saver_def
    index = GraphIndex(graph)
    own = index.reachable([saver.restore_op_name, saver.save_tensor_name, saver.filename_tensor_name])
    named = [name for one in meta_graph.collection_def.values() for name in one.node_list.value]
    others = index.reachable([*(name for name in index.nodes if name not in own), *named])
    readers = {name for variable in own if index.nodes[variable].op in VARIABLES for name in index.consumers(variable)}
    readers = {name for name in readers if index.nodes[name].op in IDENTITIES | VARIABLE_READERS}
    kept = [n for n in graph.node if n.name not in own or n.name in others or n.name in readers or n.op in VARIABLES]
    del graph.node[:]
    graph.node.extend(kept)


def _add_restoring(meta_graph: Any, restores: Sequence[Restore]) -> str:
    """Add the ops that restore these variables, and a SaverDef that names them. Returns the scope of the ops."""
    graph = meta_graph.graph_def
    nodes = {node.name: node for node in graph.node}
    scope = next(name for name in _names("restore") if name not in nodes and f"{name}/all" not in nodes)
    path, keys, specs = (f"{scope}/{name}" for name in ("path", "keys", "slices"))
    _add_strings(graph, path, [b"model"], scalar=True)
    _add_strings(graph, keys, [restore.key.encode() for restore in restores])
    _add_strings(graph, specs, [restore.spec.encode() for restore in restores])
    graph.node.add(name=f"{scope}/read", op="RestoreV2", input=[path, keys, specs])
    graph.node[-1].attr["dtypes"].list.type.extend(restore.dtype for restore in restores)
    everything = protos.NodeDef(name=f"{scope}/all", op="NoOp")
    for position, restore in enumerate(restores):
        resource = nodes[restore.node].op == "VarHandleOp"
        assign = graph.node.add(
            name=f"{scope}/assign_{position}",
            op="AssignVariableOp" if resource else "Assign",
            input=[restore.node, f"{scope}/read:{position}"],
        )
        assign.attr["dtype" if resource else "T"].type = restore.dtype
        everything.input.append(f"^{assign.name}")
    graph.node.append(everything)
    meta_graph.saver_def.Clear()
    meta_graph.saver_def.filename_tensor_name = f"{path}:0"
    meta_graph.saver_def.restore_op_name = everything.name
    meta_graph.saver_def.version = 2  # SaverDef.V2
    return scope


def _list_variable(meta_graph: Any, nodes: Mapping[str, Any], restore: Restore, initializer: str) -> None:
    """Name a variable in the collection of variables, with an op that reads it, which is added if there is none."""
    variable, graph = nodes[restore.node], meta_graph.graph_def
    resource = variable.op == "VarHandleOp"
    read = f"{variable.name}/Read/ReadVariableOp" if resource else f"{variable.name}/read"
    if read not in nodes:
        reader = graph.node.add(name=read, op="ReadVariableOp" if resource else "Identity", input=[variable.name])
        reader.attr["dtype" if resource else "T"].type = restore.dtype
    definition = protos.VariableDef(
        variable_name=f"{variable.name}:0",
        initializer_name=initializer,
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
