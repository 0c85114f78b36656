"""Prepares a SavedModel: chooses the MetaGraphDef and signature, scans them, flattens the graph for other formats."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from serialization.checks import harm
from serialization.checks.crashes import require_sound_graph
from serialization.checks.memory import require_modest_tensors
from serialization.checks.what_loading_runs import list_asset_files
from serialization.console import format_count, show_path
from serialization.errors import UserError
from serialization.files.locate import SavedModelFolder
from serialization.formats import protos
from serialization.formats.checkpoint_index import OBJECT_GRAPH, Checkpoint, format_saver_path, is_taken_for_pattern
from serialization.formats.file_kind import ModelFile
from serialization.formats.messages import read_message
from serialization.graph import repair
from serialization.graph.cut import add_default_values, cut_at_inputs
from serialization.graph.graph_def import list_training_nodes
from serialization.graph.graph_index import GraphIndex, prune_graph
from serialization.graph.inlining import inline_functions, is_xla_compiled
from serialization.graph.kernels import require_kernels
from serialization.graph.lookup_tables import read_table_keys
from serialization.graph.op_registry import require_known_ops
from serialization.graph.op_sets import VARIABLES
from serialization.graph.removed_ops import rewrite_removed_ops
from serialization.graph.repair import record_sparse_sizes, remove_recorded_shapes, require_dense_shapes
from serialization.graph.signature import (
    Signature,
    bind_signature,
    choose_signature_def,
    list_signature_defs,
    read_signature_def,
)
from serialization.graph.tpu_wrappers import remove_tpu_wrappers
from serialization.run.feed_hints import find_hints
from serialization.run.origin import Origin, run_from_first_state, takes_plain_calls
from serialization.run.predictor import Predictor, Run
from serialization.sources.choose import choose_signature
from serialization.sources.frozen_reader import GraphFile
from serialization.sources.variable_mapping import Restore
from serialization.tensorflow import tf, tf1

SERVE = "serve"
_TABLES = "table_initializer"


@dataclass(frozen=True)
class PreparedSavedModel:
    """The MetaGraphDef of a SavedModel, read and scanned once, and the tensors to feed and to fetch.

    `repaired` is the MetaGraphDef that TensorFlow's loader is given in place of the file's; None where the file needs
    no repair. `left_out` are those of its `variables` that its own restore op does not fill. `notes` list the repairs.
    """

    folder: Path
    meta_graph: Any
    signature: Signature
    repaired: Any
    left_out: tuple[Restore, ...]
    variables: Checkpoint | None
    notes: tuple[str, ...] = ()

    @property
    def tags(self) -> list[str]:
        """The tag-set of the MetaGraphDef."""
        return list(self.meta_graph.meta_info_def.tags)


def prepare_saved_model(
    found: SavedModelFolder,
    tag_set: str | None = None,
    key: str | None = None,
    inputs: str | None = None,
    outputs: str | None = None,
    *,
    trust: bool = False,
    check: Callable[[Any], None] = lambda graph_def: None,
) -> PreparedSavedModel:
    """Read the SavedModel that was found and choose its MetaGraphDef and signature.

    The parameters are the flags of the same names; `key` is `--signature`.

    `check` is given the GraphDef that the signature needs, and may raise UserError.

    Raises UserError where loading it or calling one of its signatures could do harm, unless `trust`; for ops that this
    TensorFlow does not know; and where the folder has no such tag-set or signature.
    """
    folder = found.path
    meta_graph = choose_meta_graph(read_saved_model(found.file), tag_set)
    file = GraphFile(GraphIndex(meta_graph.graph_def))
    if (inputs and outputs) or not (key or list_signature_defs(meta_graph) or meta_graph.object_graph_def.nodes):
        wanted, notes = choose_signature(file, inputs, outputs)
    else:
        wanted, notes = read_signature_def(choose_signature_def(meta_graph, key)), []
        if inputs or outputs:
            wanted, _ = choose_signature(file, inputs, outputs, wanted)
    outs, ins = ([tensor.name for tensor in side] for side in (wanted.outputs, wanted.inputs))
    # The chosen tensors may be those of no signature: named by the user, or inferred.
    findings = harm.scan_meta_graph(meta_graph, outs, ins, saved_model=folder, index=file.index, every_signature=True)
    harm.require_safe(findings, folder, trust=trust)
    needed = prune_graph(file.index, [*outs, *ins])
    require_known_ops(needed, show_path(folder))
    require_modest_tensors(needed, show_path(folder))
    require_variables(found, meta_graph, GraphIndex(needed))
    check(needed)
    repaired, lines = _repair(meta_graph)
    require_kernels(prune_graph(GraphIndex(repaired.graph_def), [*outs, *ins]), show_path(folder))
    notes += [f"repaired: {line}" for line in lines]
    if left := find_left_out_variables(meta_graph, found.variables, file.index):
        notes.append(
            f"repaired: restored {format_count(len(left), 'variable')} that the SavedModel's own restore op leaves out"
        )
    return PreparedSavedModel(
        folder, meta_graph, wanted, repaired if lines else None, tuple(left), found.variables, tuple(notes)
    )


def require_variables(found: SavedModelFolder, meta_graph: Any, needed: GraphIndex) -> None:
    """Raise UserError where the folder lacks the variables that the MetaGraphDef's Saver restores for a graph."""
    restored = GraphIndex(meta_graph.graph_def).reachable([meta_graph.saver_def.restore_op_name])
    names = [node.name for node in needed.graph_def.node if node.op in VARIABLES and node.name in restored]
    if names and found.variables is None:
        listed = f"{', '.join(names[:3])}{', ...' if names[3:] else ''}"
        raise UserError(
            f"the SavedModel {show_path(found.path)} is incomplete; its graph restores "
            f"{format_count(len(names), 'variable')} ({listed}), and there is no variables/variables.index; "
            "copy the whole folder variables here too"
        )


@contextmanager
def link_repaired_folder(prepared: PreparedSavedModel) -> Iterator[Path]:
    """The folder that TensorFlow's loader takes: its own, or one with the repaired graph and links to the rest."""
    if prepared.repaired is None and not is_taken_for_pattern(prepared.folder):
        yield prepared.folder
        return
    with TemporaryDirectory(prefix="repaired-") as name:
        place = Path(name)
        for part in prepared.folder.iterdir():
            if part.is_dir():
                (place / part.name).symlink_to(part.resolve())
        meta_graph = prepared.repaired if prepared.repaired is not None else prepared.meta_graph
        saved_model = protos.SavedModel(saved_model_schema_version=1, meta_graphs=[meta_graph])
        (place / "saved_model.pb").write_bytes(saved_model.SerializeToString())
        yield place


def _repair(meta_graph: Any) -> tuple[Any, list[str]]:
    copy = protos.MetaGraphDef()
    copy.CopyFrom(meta_graph)
    repairs = (require_dense_shapes, remove_tpu_wrappers, rewrite_removed_ops, remove_recorded_shapes)
    return copy, [*repair.make_version_readable(copy), *(line for mend in repairs for line in mend(copy.graph_def))]


def make_saved_model_origin(
    session: Any, exported: PreparedSavedModel, afresh: Callable[[], AbstractContextManager[Run]]
) -> Origin:
    """The loaded SavedModel ready to be converted; `afresh` gives one that runs and is loaded anew."""
    wanted = bind_signature(session.graph, exported.signature)
    flat, names = _flatten(session.graph.as_graph_def(), wanted)
    run, twice = run_from_first_state(afresh) if list_training_nodes(flat) else (Predictor(session, wanted), None)
    record_sparse_sizes(flat, list_signature_defs(exported.meta_graph).values())
    index = GraphIndex(flat)
    found = find_hints(index, names, read_table_keys(session, index))
    compiled = is_xla_compiled(exported.meta_graph.graph_def)
    plain = takes_plain_calls(index) and _is_read_plainly(index, session.graph)
    return Origin(session, flat, names, run, plain, found, repeat=twice, compiled=compiled)


def _is_read_plainly(index: GraphIndex, graph: Any) -> bool:
    """Whether convert_variables_to_constants finds the values: it runs VARIABLE/Read/ReadVariableOp in the session."""
    known = {operation.name for operation in graph.get_operations()}
    handles = [node.name for node in index.graph_def.node if node.op == "VarHandleOp"]
    users = {index.nodes[user].op for name in handles for user in index.consumers(name)}
    return users <= {"ReadVariableOp", "ResourceGather"} and known.issuperset(
        f"{n}/Read/ReadVariableOp" for n in handles
    )


def _flatten(graph_def: Any, wanted: Signature) -> tuple[Any, Signature]:
    """What the signature needs of a GraphDef, without functions; cut first, while the inputs are there to be cut at."""
    index, names, _ = cut_at_inputs(GraphIndex(graph_def), wanted)
    roots = [tensor.name for tensor in (*names.outputs, *names.inputs)]
    flat = prune_graph(GraphIndex(inline_functions(prune_graph(index, roots), roots)), roots)
    add_default_values(flat, names.inputs)
    return flat, names


def read_saved_model(file: ModelFile) -> Any:
    """The SavedModel message in a saved_model.pb or .pbtxt. Raises UserError where it is damaged or unsound."""
    saved_model = read_message(file)
    for meta_graph in saved_model.meta_graphs:
        require_sound_graph(GraphIndex(meta_graph.graph_def), show_path(file.path))
    return saved_model


def choose_meta_graph(saved_model: Any, tag_set: str | None = None) -> Any:
    """The MetaGraphDef with these tags (comma separated, "" for none); by default the usual one."""
    by_tags = {frozenset(meta_graph.meta_info_def.tags): meta_graph for meta_graph in saved_model.meta_graphs}
    if tag_set is None and (usual := find_usual_meta_graph(saved_model)) is not None:
        return usual
    wanted = SERVE if tag_set is None else tag_set
    tags = frozenset(wanted.split(",")) if wanted else frozenset()
    if tags not in by_tags:
        known = "; ".join(",".join(sorted(tags)) or "'' (without tags)" for tags in by_tags)
        raise UserError(f"the SavedModel has no tag-set {wanted or repr('')}; it has {known}; choose with --tag-set")
    return by_tags[tags]


def find_usual_meta_graph(saved_model: Any) -> Any:
    """The only MetaGraphDef, else the one tagged `serve`, else the one without tags; None if there is none of these.

    A module of TensorFlow Hub's first format has one without tags, for inference, and one tagged `train`.
    """
    if len(saved_model.meta_graphs) == 1:
        return saved_model.meta_graphs[0]
    by_tags = {tuple(meta_graph.meta_info_def.tags): meta_graph for meta_graph in saved_model.meta_graphs}
    return by_tags.get((SERVE,), by_tags.get(()))


def complete_loading(session: Any, prepared: PreparedSavedModel) -> None:
    """Fill the lookup tables and the variables that TensorFlow's loader leaves empty, in a session that it loaded."""
    initializers, vocabularies = _find_table_initializers(prepared.meta_graph, prepared.folder)
    session.run(initializers, vocabularies)
    held = prepared.variables
    if held is None:
        return
    for one in prepared.left_out:
        (value,) = tf.raw_ops.RestoreV2(
            prefix=format_saver_path(held),
            tensor_names=[one.key],
            shape_and_slices=[one.spec],
            dtypes=[tf.as_dtype(one.dtype)],
        )
        handle = session.graph.get_tensor_by_name(f"{one.node}:0")
        session.run(tf.raw_ops.AssignVariableOp(resource=handle, value=value))


def _find_table_initializers(meta_graph: Any, folder: Path) -> tuple[list[str], dict[str, str]]:
    """The ops that fill the tables of an export without a main op, and the paths of vocabularies to feed.

    The paths lie in this folder; the graph's constants name the folder where the model was trained.
    """
    main = [key for key in ("saved_model_main_op", "legacy_init_op") if key in meta_graph.collection_def]
    if main or "__saved_model_init_op" in meta_graph.signature_def or _TABLES not in meta_graph.collection_def:
        return [], {}
    paths = {file.tensor_info.name: str(folder / "assets" / file.filename) for file in list_asset_files(meta_graph)}
    return list(meta_graph.collection_def[_TABLES].node_list.value), paths


def find_left_out_variables(meta_graph: Any, held: Checkpoint | None, index: GraphIndex) -> list[Restore]:
    """Variables that the signatures need, that the checkpoint holds, and that the graph's restore op does not fill.

    `tf.saved_model.save` writes such a graph of a Keras 3 model: it restores copies of the variables. TensorFlow 2's
    own loader does not see it, for it restores objects; TensorFlow Serving and all others that run the graph do.
    `index` is that of its graph.
    """
    nodes, saved = index.nodes, meta_graph.object_graph_def
    outputs = [info.name for one in meta_graph.signature_def.values() for info in one.outputs.values()]
    filled = index.reachable([meta_graph.saver_def.restore_op_name])
    left: dict[str, int] = {}
    for name in index.reachable(outputs):
        function = nodes[name].attr["f"].func.name if "f" in nodes[name].attr else ""
        objects = saved.concrete_functions[function].bound_inputs if function in saved.concrete_functions else ()
        handles = index.producers(nodes[name])[-len(objects) or None :]
        left |= {h: o for h, o in zip(handles, objects, strict=False) if h in nodes and h not in filled}
    keys = _keys_of_objects(held) if left and held is not None else {}
    return [
        Restore(name, keys[number], "", nodes[name].attr["dtype"].type, None)
        for name, number in left.items()
        if number in keys
        and number < len(saved.nodes)
        and saved.nodes[number].variable.dtype == nodes[name].attr["dtype"].type
    ]


def _keys_of_objects(held: Checkpoint) -> dict[int, str]:
    """Under which key the SavedModel's checkpoint holds the value of a variable, by the number of its object."""
    reader = tf1.train.NewCheckpointReader(format_saver_path(held))
    graph = reader.get_tensor(OBJECT_GRAPH) if reader.has_tensor(OBJECT_GRAPH) else b""
    nodes = protos.TrackableObjectGraph.FromString(graph).nodes
    return {n: a.checkpoint_key for n, node in enumerate(nodes) for a in node.attributes if a.name == "VARIABLE_VALUE"}
