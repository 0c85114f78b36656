"""Makes the graph beside an edited copy of a checkpoint: its variables renamed, its Saver for those of the copy."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from serialization.console import format_count, list_some, make_printable, show_path
from serialization.errors import UserError
from serialization.files.checkpoint_files import open_meta_graph_file
from serialization.formats import protos
from serialization.formats.checkpoint_index import Checkpoint
from serialization.formats.dtypes import get_dtype_number
from serialization.graph.graph_index import GraphIndex
from serialization.graph.op_sets import VARIABLES
from serialization.graph.rename_nodes import rename_nodes
from serialization.sources.edited_names import EditedNames
from serialization.sources.frozen_reader import GraphFile, read_graph_file
from serialization.sources.restore_ops import replace_saver
from serialization.sources.variable_mapping import Restore, check_mapping, map_variables


@dataclass(frozen=True)
class EditedGraph:
    """A MetaGraphDef, what its Saver restores, and notes on what it does not."""

    meta_graph: Any
    restores: tuple[Restore, ...]
    notes: tuple[str, ...]


def read_edited_graph(held: Checkpoint, names: EditedNames) -> tuple[EditedGraph | None, tuple[str, ...]]:
    """The graph beside the checkpoint, edited, or None if there is none; and the lines to print about it."""
    meta = held.prefix.with_name(f"{held.prefix.name}.meta")
    if not meta.exists():
        return None, (f"no graph: nothing is at {show_path(meta)}, so the copy has no .meta either",)
    graph = edit_meta_graph(held, read_graph_file(open_meta_graph_file(held)), names)
    return graph, graph.notes


def edit_meta_graph(held: Checkpoint, file: GraphFile, names: EditedNames) -> EditedGraph:
    """The graph of the copy; `file` is that of the checkpoint `held`.

    Variables of the graph that the copy does not hold stay in the graph, and no Saver restores them. Raises UserError
    if the graph's variables are not those of the checkpoint.
    """
    plan = map_variables(file.index, file.meta_graph.saver_def)
    kept = {node: restore for node, restore in plan.items() if restore.key in names.new}
    stored = {old: names.kept[new] for old, new in names.new.items()}
    shapes = {old: variable.shape for old, variable in stored.items()}
    kinds = {old: get_dtype_number(variable.dtype) for old, variable in stored.items()}
    notes = check_mapping(kept.values(), kept, shapes, kinds, show_path(held.prefix))
    if not kept:
        raise UserError(
            f"{show_path(file.path)} has none of the variables that {show_path(held.prefix)} holds; put the graph of "
            "this checkpoint in its place, or move it away"
        )
    moved = _find_renamed_nodes(kept.values(), names)
    meta_graph = protos.MetaGraphDef()
    meta_graph.CopyFrom(file.meta_graph)
    rename_nodes(meta_graph, moved)
    new_nodes = _list_variables(meta_graph)
    renamed = dict(zip(_list_variables(file.meta_graph), new_nodes, strict=True))  # their order stays
    restores = tuple(
        replace(one, node=renamed[one.node], key=names.new[one.key], saved=True)
        for one in sorted(kept.values(), key=lambda one: (names.new[one.key], one.spec, one.node))
    )
    replace_saver(meta_graph, restores)
    if left := sorted(make_printable(renamed[node]) for node, one in plan.items() if one.saved and node not in kept):
        notes.append(
            f"the graph also has {format_count(len(left), 'variable')} that no Saver restores now: {list_some(left)}; "
            "initialize them before restoring"
        )
    return EditedGraph(meta_graph, restores, tuple(notes))


def write_edited_graph(edited: EditedGraph, path: Path) -> str:
    """Write the MetaGraphDef, read it back, and see what its Saver restores. Returns a line for that.

    Raises UserError if the Saver restores another variable, or from another name.
    """
    path.write_bytes(edited.meta_graph.SerializeToString())
    again = protos.MetaGraphDef.FromString(path.read_bytes())
    found = map_variables(GraphIndex(again.graph_def), again.saver_def)
    restored = {node: restore for node, restore in found.items() if restore.saved}
    if restored != {one.node: one for one in edited.restores}:
        raise UserError(f"{show_path(path)} came back with another Saver; nothing was written")
    return f"the Saver of its graph restores {format_count(len(restored), 'variable')}"


def _find_renamed_nodes(restores: Iterable[Restore], names: EditedNames) -> dict[str, str]:
    """The new names of the nodes that are called as their variables; others keep theirs, and the Saver maps them."""
    renamed = names.renamed
    return {
        one.key: renamed[one.key]
        for one in restores
        if one.key in renamed and (one.node == one.key or one.node.startswith(f"{one.key}/part_"))
    }


def _list_variables(meta_graph: Any) -> list[str]:
    return [node.name for node in meta_graph.graph_def.node if node.op in VARIABLES]
