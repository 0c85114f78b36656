"""Gives TensorFlow the scanned part of a SavedModel, the nodes that may run, as a folder or from memory."""

from __future__ import annotations

import os
import weakref
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shutil import copyfile
from tempfile import TemporaryDirectory
from typing import Any

from serialization.checks import harm
from serialization.checks.what_loading_runs import list_init_ops
from serialization.checks.what_runs import Reached
from serialization.console import make_printable, show_path
from serialization.errors import UserError
from serialization.formats import dtypes, protos
from serialization.formats.checkpoint_index import Checkpoint, format_saver_path
from serialization.graph.const_nodes import make_constant
from serialization.graph.cut import keep_nodes
from serialization.graph.function_optimizers import switch_off_optimizers
from serialization.graph.graph_def import find_free_name, get_node_name
from serialization.graph.repair import remove_lost_locations
from serialization.graph.signature import Signature, Tensor
from serialization.sources.variable_mapping import Restore
from serialization.tensorflow import np, tf, tf1

_MAIN_OP = "saved_model_main_op"


@dataclass(frozen=True)
class PreparedSavedModel:
    """The MetaGraphDef of a SavedModel, read and scanned once, and the tensors to feed and to fetch.

    `whole` is the GraphDef as it is in the file, `meta_graph` what TensorFlow gets of it: what was scanned, no more.
    `assets` are the files of its assets, by the nodes whose values are to be their paths. `variables` is the index of
    its checkpoint, if it has one. `left_out` are the variables that the SavedModel's own restore op does not fill.
    `known_variables` are the names of variables, and whether they are trained, by the names of their nodes. `notes`
    report choices and repairs.

    `graph_size` is the size in bytes of the GraphDef that the signature needs, `size` the size of its variables.
    """

    folder: Path
    whole: Any
    meta_graph: Any
    signature: Signature
    assets: Mapping[str, Path]
    variables: Checkpoint | None
    left_out: tuple[Restore, ...]
    known_variables: Mapping[str, tuple[str, bool]]
    graph_size: int
    size: int
    notes: tuple[str, ...] = ()

    @property
    def tags(self) -> list[str]:
        """The tag-set of the MetaGraphDef."""
        return list(self.meta_graph.meta_info_def.tags)


def cut_meta_graph(whole: Any, reached: Reached, wanted: Signature) -> Any:
    """A MetaGraphDef of what may run, which was scanned; its main op is the one op that initializes it."""
    shown = {tensor.name: tensor for tensor in wanted.inputs}
    fed = [shown.get(name, Tensor(name, name, "unknown", None)) for run in reached.runs for name in sorted(run.fed)]
    cut = protos.MetaGraphDef(meta_info_def=whole.meta_info_def)
    cut.graph_def.CopyFrom(keep_nodes(reached.index, reached.nodes, fed))
    if whole.saver_def.restore_op_name in reached.nodes:
        cut.saver_def.CopyFrom(whole.saver_def)
    if init := list_init_ops(whole):
        main = cut.graph_def.node.add(name=find_free_name(_MAIN_OP, reached.index.nodes), op="NoOp")
        main.input.extend(f"^{get_node_name(name)}" for name in init)
        cut.collection_def[_MAIN_OP].node_list.value.append(main.name)
    remove_lost_locations(cut.graph_def)
    return cut


def find_asset_files(meta_graph: Any, nodes: Mapping[str, str], folder: Path) -> dict[str, Path]:
    """The files of the assets that a graph takes. `nodes` has the asset's name for each node that gives its path."""
    found = {}
    for node in meta_graph.graph_def.node:
        if name := nodes.get(node.name):
            found[node.name] = harm.find_asset(folder, name) or folder / "assets" / name  # of a trusted model
            if not found[node.name].is_file():
                missing = make_printable(name)
                raise UserError(f"{show_path(folder)} is incomplete; its asset {missing} is missing; copy it here too")
    return found


def _complete_meta_graph(prepared: PreparedSavedModel, paths: Mapping[str, Path], *, optimize: bool) -> Any:
    """The MetaGraphDef to load. No feed and no variable can change the path of an asset: the nodes are constants.

    Without `optimize`, no function in its graph is optimized.
    """
    meta_graph = protos.MetaGraphDef()
    meta_graph.CopyFrom(prepared.meta_graph)
    for node in meta_graph.graph_def.node:
        if node.name in paths:
            path = np.array(os.fsencode(paths[node.name]))
            node.CopyFrom(make_constant(node.name, path, dtypes.STRING))
    if not optimize:
        switch_off_optimizers(meta_graph.graph_def)
    return meta_graph


def make_private_copy(session: Any, prepared: PreparedSavedModel, *, optimize: bool = True) -> Path | None:
    """A SavedModel folder that TensorFlow's loader takes in place of the user's; None where nothing can be written.

    In it are what was scanned, the assets as plain files, and links to the files of the variables. It lasts as long as
    the session, whose functions may read the assets.
    """
    try:
        copy = TemporaryDirectory(prefix="model-")
    except OSError:  # a read-only file system
        return None
    weakref.finalize(session, copy.cleanup)
    place = Path(copy.name)
    (place / "assets").mkdir()
    copies = {}
    for number, file in enumerate(dict.fromkeys(prepared.assets.values())):
        copies[file] = Path(copyfile(file, place / "assets" / f"{number}-{file.name}"))
    (place / "variables").mkdir()
    for file in (prepared.folder / "variables").glob("variables.*"):
        if file.is_file():
            (place / "variables" / file.name).symlink_to(file.resolve())
    paths = {name: copies[file] for name, file in prepared.assets.items()}
    meta_graph = _complete_meta_graph(prepared, paths, optimize=optimize)
    saved_model = protos.SavedModel(saved_model_schema_version=1, meta_graphs=[meta_graph])
    (place / "saved_model.pb").write_bytes(saved_model.SerializeToString())
    return place


def load_from_memory(session: Any, prepared: PreparedSavedModel, *, optimize: bool = True) -> None:
    """Load from memory, where no folder can be written, as TensorFlow's loader does from one."""
    saver = tf1.train.import_meta_graph(_complete_meta_graph(prepared, prepared.assets, optimize=optimize))
    if saver is not None and prepared.variables is not None:
        saver.restore(session, format_saver_path(prepared.variables))
    session.run(session.graph.get_collection(_MAIN_OP))


def restore_left_out(session: Any, prepared: PreparedSavedModel) -> None:
    """Fill the variables that the SavedModel's own restore op leaves empty, in a session that it is loaded in."""
    if prepared.variables is None:
        return
    path = format_saver_path(prepared.variables)
    for one in prepared.left_out:
        (value,) = tf.raw_ops.RestoreV2(
            prefix=path,
            tensor_names=[one.key],
            shape_and_slices=[one.spec],
            dtypes=[tf.as_dtype(one.dtype)],
        )
        handle = session.graph.get_tensor_by_name(f"{one.node}:0")
        session.run(tf.raw_ops.AssignVariableOp(resource=handle, value=value))
