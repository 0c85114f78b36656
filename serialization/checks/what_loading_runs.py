"""Finds what TensorFlow runs when it loads a MetaGraphDef, restores it and calls its signatures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from serialization.checks.file_names import FileNames
from serialization.checks.what_runs import FETCH, INIT, RESTORE, Reached, find_session_run
from serialization.errors import UserError
from serialization.formats import protos
from serialization.graph.graph_def import get_tensor_name
from serialization.graph.graph_index import GraphIndex

_INIT_COLLECTIONS = ("saved_model_main_op", "legacy_init_op", "table_initializer")
_INIT_SIGNATURE, _TRAIN_SIGNATURE = "__saved_model_init_op", "__saved_model_train_op"
_RUN_BY_LOADING = {"_create_resource", "_initialize", "_destroy_resource"}


def find_what_loading_runs(
    meta_graph: Any,
    index: GraphIndex,
    outputs: Iterable[str] | None,
    inputs: Iterable[str],
    *,
    every_signature: bool = False,
    with_assets: bool = False,
) -> tuple[Reached, FileNames]:
    """All that may run: `outputs` or signatures, variables, init ops, the object graph's functions, the restore op.

    `outputs` are fetched and `inputs` fed; `outputs` of None stands for the outputs of all recorded signatures, which
    `every_signature` adds to others. `index` is the index of the MetaGraphDef's graph. The loader of a SavedModel feeds
    its assets, `with_assets`.
    """
    recorded, saver = meta_graph.signature_def, meta_graph.saver_def
    init = [name for names in _init_ops(meta_graph) for name in names]
    runs = [find_session_run(index, FETCH, outputs or (), inputs)]
    for key in sorted(recorded):
        sides = (recorded[key].outputs, recorded[key].inputs)
        fetched, fed = ([name for info in side.values() for name in _tensors(info)] for side in sides)
        if key not in (_INIT_SIGNATURE, _TRAIN_SIGNATURE) and (every_signature or outputs is None):
            runs.append(find_session_run(index, FETCH, fetched, fed))
    runs.append(find_session_run(index, FETCH, _variables(meta_graph)))
    runs.append(find_session_run(index, INIT, init))
    runs.append(find_session_run(index, RESTORE, [saver.restore_op_name]))
    called = dict.fromkeys(_object_graph(meta_graph))
    reached = Reached(index, runs, called)
    assets = {get_tensor_name(a.tensor_info.name): a.filename for a in list_asset_files(meta_graph)}
    checkpoint = get_tensor_name(saver.filename_tensor_name) if saver.filename_tensor_name else ""
    if not with_assets:
        return reached, FileNames(reached, checkpoint=checkpoint)
    captured = {name: _captured(meta_graph, index, name) for name in called}
    return reached, FileNames(reached, assets, checkpoint, captured)


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


def _init_ops(meta_graph: Any) -> Iterator[list[str]]:
    """The ops that may initialize the model, the ones that TensorFlow's loader prefers first."""
    if _INIT_SIGNATURE in meta_graph.signature_def:
        yield [name for info in meta_graph.signature_def[_INIT_SIGNATURE].outputs.values() for name in _tensors(info)]
    for key in _INIT_COLLECTIONS:
        if key in meta_graph.collection_def:
            yield list(meta_graph.collection_def[key].node_list.value)


def list_init_ops(meta_graph: Any) -> list[str]:
    """The ops that initialize the model: its main op; of an export without one, those that fill its tables."""
    return next(_init_ops(meta_graph), [])


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


def _object_graph(meta_graph: Any) -> Iterator[str]:
    """The functions that tf.saved_model.load calls: initializers, restore functions and signatures."""
    nodes = meta_graph.object_graph_def.nodes

    def functions(index: int) -> Iterator[str]:
        if 0 <= index < len(nodes):
            yield from nodes[index].function.concrete_functions
            if name := nodes[index].bare_concrete_function.concrete_function_name:
                yield name

    for number, node in enumerate(nodes):
        for child in node.children:
            if child.local_name in _RUN_BY_LOADING:
                yield from functions(child.node_id)
            if number == 0 and child.local_name == "signatures" and 0 <= child.node_id < len(nodes):
                for signature in nodes[child.node_id].children:
                    yield from functions(signature.node_id)
        for saveable in node.saveable_objects.values():
            yield from functions(saveable.restore_function)


def _captured(meta_graph: Any, index: GraphIndex, name: str) -> dict[str, str]:
    """The arguments of a concrete function that are captured assets, with the assets' filenames."""
    concrete, nodes = meta_graph.object_graph_def.concrete_functions, meta_graph.object_graph_def.nodes
    if name not in concrete or name not in index.functions:
        return {}
    captured = concrete[name].bound_inputs
    arguments = index.functions[name].signature.input_arg
    bound = {}
    for argument, number in zip(arguments[max(0, len(arguments) - len(captured)) :], captured, strict=False):
        if 0 <= number < len(nodes) and nodes[number].WhichOneof("kind") == "asset":
            place = nodes[number].asset.asset_file_def_index
            if 0 <= place < len(meta_graph.asset_file_def):
                bound[argument.name] = meta_graph.asset_file_def[place].filename
    return bound
