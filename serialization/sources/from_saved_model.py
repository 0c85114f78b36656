"""Prepares a SavedModel: chooses the MetaGraphDef and signature, scans them, flattens the graph for other formats."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from serialization.checks import harm
from serialization.checks.crashes import remove_wrong_defaults, require_sound_graph
from serialization.checks.memory import require_modest_tensors
from serialization.checks.what_loading_runs import find_what_loading_runs
from serialization.console import format_count, show_path
from serialization.files.locate import SavedModelFolder
from serialization.formats import protos
from serialization.formats.checkpoint_index import OBJECT_GRAPH, Checkpoint, format_saver_path
from serialization.formats.file_kind import ModelFile
from serialization.formats.messages import read_message
from serialization.graph import repair
from serialization.graph.const_nodes import unpack_strings
from serialization.graph.cut import add_default_values, cut_at_inputs
from serialization.graph.function_optimizers import switch_on_optimizers
from serialization.graph.graph_def import list_training_nodes, measure_variables
from serialization.graph.graph_index import GraphIndex, prune_graph
from serialization.graph.inlining import inline_functions, is_xla_compiled
from serialization.graph.kernels import require_kernels
from serialization.graph.lookup_tables import read_table_keys
from serialization.graph.op_registry import require_known_ops
from serialization.graph.recorded_signature import order_as_recorded, remove_record
from serialization.graph.repair import (
    record_sparse_sizes,
    remove_recorded_shapes,
    replace_absent_ops,
    require_dense_shapes,
)
from serialization.graph.signature import (
    Signature,
    bind_signature,
    choose_signature_key,
    list_signature_defs,
    read_signature_def,
)
from serialization.run.differences import XLA
from serialization.run.feed_hints import find_hints
from serialization.run.origin import Origin, find_state, read_state, run_from_first_state, takes_plain_calls
from serialization.run.predictor import Predictor, compile_later
from serialization.sources.choose import choose_signature, require_values
from serialization.sources.frozen_reader import GraphFile
from serialization.sources.meta_graph_choice import choose_meta_graph, require_variables
from serialization.sources.private_copy import PreparedSavedModel, cut_meta_graph, find_asset_files
from serialization.sources.saved_variables import bind_handles, name_variables
from serialization.sources.variable_mapping import Restore
from serialization.tensorflow import tf1


def prepare_saved_model(
    found: SavedModelFolder,
    tag_set: str | None = None,
    key: str | None = None,
    inputs: str | None = None,
    outputs: str | None = None,
    *,
    trust: bool = False,
) -> PreparedSavedModel:
    """Read the SavedModel that was found and choose its MetaGraphDef and signature.

    The parameters are the flags of the same names; `key` is `--signature`.

    Raises UserError if loading it or calling one of its signatures could do harm, unless `trust`; for ops that this
    TensorFlow does not know; and for a tag-set or signature that the folder does not have.
    """
    folder = found.path
    file = choose_meta_graph(read_saved_model(found.file), tag_set)
    whole = file.meta_graph
    if (inputs and outputs) or not (key or list_signature_defs(whole) or whole.object_graph_def.nodes):
        wanted, notes = choose_signature(file, inputs, outputs)
    else:
        chosen = choose_signature_key(whole, key)
        recorded = read_signature_def(whole.signature_def[chosen], chosen)
        wanted, notes = order_as_recorded(file.index, recorded), []
        if inputs or outputs:
            wanted, _ = choose_signature(file, inputs, outputs, wanted)
    require_values(wanted)
    outs, ins = ([tensor.name for tensor in side] for side in (wanted.outputs, wanted.inputs))
    # Tensors that the user named, or that were inferred, may be in no signature.
    reached, names = find_what_loading_runs(whole, file.index, outs, ins, every_signature=True, with_assets=True)
    findings = [*harm.scan_assets(whole, folder), *harm.scan_reached(reached, names)]
    harm.require_safe(findings, folder, trust=trust)
    needed = GraphIndex(prune_graph(file.index, [*outs, *ins]))
    require_known_ops(needed.graph_def, show_path(folder))
    require_modest_tensors(needed, show_path(folder))
    require_variables(found, file, needed)
    meta_graph = cut_meta_graph(whole, reached, wanted)
    assets = find_asset_files(meta_graph, names.list_asset_nodes(), folder)
    graph_def = meta_graph.graph_def
    remove_record(graph_def)  # it was read, and does not hold for a part
    lines = [*file.notes, *repair.make_version_readable(meta_graph)]
    lines += [*replace_absent_ops(graph_def), *remove_recorded_shapes(graph_def)]
    index = GraphIndex(graph_def)
    record_sparse_sizes(index, list_signature_defs(whole).values())
    require_kernels(prune_graph(index, [*outs, *ins]), show_path(folder))
    notes += [f"repaired: {line}" for line in lines]
    if left := find_left_out_variables(whole, found.variables, index):
        notes.append(
            f"repaired: restored {format_count(len(left), 'variable')} that the SavedModel's own restore op leaves out"
        )
    return PreparedSavedModel(
        folder,
        whole.graph_def,
        meta_graph,
        wanted,
        assets,
        found.variables,
        tuple(left),
        name_variables(whole, index),
        needed.graph_def.ByteSize(),
        measure_variables(needed.graph_def),
        tuple(notes),
    )


def make_saved_model_origin(
    session: Any, exported: PreparedSavedModel, afresh: Callable[[], AbstractContextManager[Predictor]]
) -> Origin:
    """The loaded SavedModel as the source of a conversion; `afresh` loads it once more, with its first state."""
    wanted = bind_signature(session.graph, exported.signature)
    index, names = _flatten(session.graph.as_graph_def(), wanted)
    switch_on_optimizers(index.graph_def)
    run, twice = compile_later(session, wanted), None
    if list_training_nodes(index.graph_def):
        state = find_state(index, names.outputs)
        run, twice = run_from_first_state(afresh, lambda again: read_state(again.session, state))
    found = find_hints(index, names, read_table_keys(session, index))
    tolerance = XLA if is_xla_compiled(exported.meta_graph.graph_def) else None
    plain = takes_plain_calls(index) and _is_read_plainly(index, session.graph)
    return Origin(session, index, names, run, plain, found, repeat=twice, tolerance=tolerance)


def _is_read_plainly(index: GraphIndex, graph: Any) -> bool:
    """Whether convert_variables_to_constants finds all values: it reads them by the op VARIABLE/Read/ReadVariableOp."""
    known = {operation.name for operation in graph.get_operations()}
    handles = [node.name for node in index.graph_def.node if node.op == "VarHandleOp"]
    users = {index.nodes[user].op for name in handles for user in index.consumers(name)}
    return users <= {"ReadVariableOp", "ResourceGather"} and known.issuperset(
        f"{n}/Read/ReadVariableOp" for n in handles
    )


def _flatten(graph_def: Any, wanted: Signature) -> tuple[GraphIndex, Signature]:
    """The part of a GraphDef that the signature needs, without functions. Cut first: inlining may remove inputs."""
    index, names, _ = cut_at_inputs(GraphIndex(graph_def), wanted)
    roots = [tensor.name for tensor in (*names.outputs, *names.inputs)]
    flat = GraphIndex(prune_graph(index, roots))
    if flat.functions:
        flat = GraphIndex(prune_graph(GraphIndex(inline_functions(flat.graph_def, roots)), roots))
    return add_default_values(flat, names.inputs), names


def read_saved_model(file: ModelFile) -> list[GraphFile]:
    """The graphs in a saved_model.pb or .pbtxt, with their MetaGraphDefs. Raises UserError if one would crash."""
    graphs = []
    for meta_graph in read_message(file).meta_graphs:
        unpack_strings(meta_graph.graph_def)
        index, notes = require_dense_shapes(GraphIndex(meta_graph.graph_def))
        require_sound_graph(index, show_path(file.path))
        graphs.append(GraphFile(index, meta_graph, file.path, (*notes, *remove_wrong_defaults(meta_graph))))
    return graphs


def find_left_out_variables(meta_graph: Any, variables: Checkpoint | None, index: GraphIndex) -> list[Restore]:
    """Variables that the signatures need, that the checkpoint holds, and that the graph's restore op does not fill.

    `tf.saved_model.save` writes such a graph for a Keras 3 model: its restore op fills copies of the variables.
    TensorFlow 2's own loader restores objects, so it is not affected. TensorFlow Serving runs the restore op, and is.
    `index` is the index of the MetaGraphDef's graph.
    """
    nodes, saved = index.nodes, meta_graph.object_graph_def
    filled = index.reachable([meta_graph.saver_def.restore_op_name])
    left = {handle: number for handle, number in bind_handles(meta_graph, index) if handle not in filled}
    keys = _keys_of_objects(variables) if left and variables is not None else {}
    return [
        Restore(name, keys[number], "", nodes[name].attr["dtype"].type, None)
        for name, number in left.items()
        if number in keys
        and number < len(saved.nodes)
        and saved.nodes[number].variable.dtype == nodes[name].attr["dtype"].type
    ]


def _keys_of_objects(held: Checkpoint) -> dict[int, str]:
    """The checkpoint keys of variables, by the numbers of their objects."""
    reader = tf1.train.NewCheckpointReader(format_saver_path(held))
    graph = reader.get_tensor(OBJECT_GRAPH) if reader.has_tensor(OBJECT_GRAPH) else b""
    nodes = protos.TrackableObjectGraph.FromString(graph).nodes
    return {n: a.checkpoint_key for n, node in enumerate(nodes) for a in node.attributes if a.name == "VARIABLE_VALUE"}
