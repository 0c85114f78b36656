"""Finds the nodes that run when TensorFlow loads a MetaGraphDef, restores it and calls its signatures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from serialization.checks.what_runs import CallGraph, Reach, StringOrigin
from serialization.errors import UserError
from serialization.formats import protos
from serialization.graph.graph_index import GraphIndex

_INIT_COLLECTIONS = ("saved_model_main_op", "legacy_init_op", "table_initializer")
_INIT_SIGNATURE, _TRAIN_SIGNATURE = "__saved_model_init_op", "__saved_model_train_op"
_RUN_BY_LOADING = {"_create_resource", "_initialize", "_destroy_resource"}


def find_loading_reaches(
    meta_graph: Any,
    index: GraphIndex,
    outputs: Iterable[str] | None,
    inputs: Iterable[str],
    *,
    every_signature: bool = False,
) -> list[Reach]:
    """A Reach for each entry point: signatures or `outputs`, init ops, object graph, the Saver's restore op.

    `outputs` are fetched and `inputs` fed; `outputs` of None stands for the outputs of all recorded signatures, which
    `every_signature` adds to others. `index` is the index of the MetaGraphDef's graph.
    """
    assets = {asset.tensor_info.name: asset.filename for asset in list_asset_files(meta_graph)}
    graph = CallGraph(index, assets)
    reaches = [Reach(graph, inputs).fetch(outputs or ())]
    recorded = meta_graph.signature_def
    every_signature = every_signature or outputs is None
    wanted = set(recorded) - {_TRAIN_SIGNATURE} if every_signature else {_INIT_SIGNATURE} & set(recorded)
    for key in sorted(wanted):
        fed = [name for info in recorded[key].inputs.values() for name in _tensors(info)]
        reaches.append(Reach(graph, fed).fetch(n for info in recorded[key].outputs.values() for n in _tensors(info)))
    reaches.append(Reach(graph).fetch([*_init_ops(meta_graph), *_variables(meta_graph)]))
    reaches.append(_object_graph(graph, meta_graph))
    saver = meta_graph.saver_def
    restore = Reach(graph, [saver.filename_tensor_name], saver.filename_tensor_name).fetch([saver.restore_op_name])
    return [*reaches, restore]


def list_asset_files(meta_graph: Any) -> list[Any]:
    """The AssetFileDefs of a MetaGraphDef: in their own field, or before TensorFlow 1.8 in a collection."""
    from google.protobuf.message import DecodeError

    if meta_graph.asset_file_def or "saved_model_assets" not in meta_graph.collection_def:
        return list(meta_graph.asset_file_def)
    found = []
    for packed in meta_graph.collection_def["saved_model_assets"].any_list.value:
        asset = protos.AssetFileDef()
        try:
            if packed.Unpack(asset):
                found.append(asset)
        except DecodeError:
            raise UserError("the SavedModel is damaged; the record of an asset cannot be read; copy it again") from None
    return found


def _tensors(info: Any) -> Iterator[str]:
    """The tensors of a TensorInfo, which may name several."""
    kind = info.WhichOneof("encoding")
    if kind == "coo_sparse":
        yield from (info.coo_sparse.values_tensor_name, info.coo_sparse.indices_tensor_name)
        yield info.coo_sparse.dense_shape_tensor_name
    elif kind == "composite_tensor":
        for component in info.composite_tensor.components:
            yield from _tensors(component)
    elif info.name:
        yield info.name


def _init_ops(meta_graph: Any) -> Iterator[str]:
    """The ops in the collections of init ops, which a loader runs before the first prediction."""
    for name in _INIT_COLLECTIONS:
        if name in meta_graph.collection_def:
            yield from meta_graph.collection_def[name].node_list.value


def _variables(meta_graph: Any) -> Iterator[str]:
    """The variables' nodes, which a script runs to see whether they are initialized and what they hold."""
    from google.protobuf.message import DecodeError

    for name in ("variables", "local_variables"):
        for encoded in meta_graph.collection_def[name].bytes_list.value if name in meta_graph.collection_def else ():
            try:
                variable = protos.VariableDef.FromString(encoded)
            except DecodeError:  # TensorFlow cannot import it either, and reports it
                continue
            yield from (variable.variable_name, variable.snapshot_name)


def _object_graph(graph: CallGraph, meta_graph: Any) -> Reach:
    """The nodes that tf.saved_model.load runs: initializers, restore functions and signatures of the object graph."""
    reach = Reach(graph)
    nodes = meta_graph.object_graph_def.nodes

    def functions(index: int) -> Iterator[str]:
        if 0 <= index < len(nodes):
            yield from nodes[index].function.concrete_functions
            if name := nodes[index].bare_concrete_function.concrete_function_name:
                yield name

    def call(index: int) -> None:
        for name in functions(index):
            reach.call(name, _captured(graph, meta_graph, name))

    for number, node in enumerate(nodes):
        for child in node.children:
            if child.local_name in _RUN_BY_LOADING:
                call(child.node_id)
            if number == 0 and child.local_name == "signatures" and 0 <= child.node_id < len(nodes):
                for signature in nodes[child.node_id].children:
                    call(signature.node_id)
        for saveable in node.saveable_objects.values():
            call(saveable.restore_function)
    return reach


def _captured(graph: CallGraph, meta_graph: Any, name: str) -> dict[str, StringOrigin]:
    """The arguments of a concrete function that are captured assets, with the assets' filenames."""
    concrete = meta_graph.object_graph_def.concrete_functions
    if name not in concrete or name not in graph.functions:
        return {}
    captured = concrete[name].bound_inputs
    arguments = graph.functions[name].signature.input_arg
    bound = {}
    for argument, index in zip(arguments[max(0, len(arguments) - len(captured)) :], captured, strict=False):
        node = meta_graph.object_graph_def.nodes[index] if 0 <= index < len(meta_graph.object_graph_def.nodes) else None
        if node is not None and node.WhichOneof("kind") == "asset":
            number = node.asset.asset_file_def_index
            if 0 <= number < len(meta_graph.asset_file_def):
                bound[argument.name] = StringOrigin("asset", meta_graph.asset_file_def[number].filename.encode())
    return bound
