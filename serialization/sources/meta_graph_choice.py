"""Chooses a MetaGraphDef of a SavedModel by its tags, and tells whether the variables that it restores are there."""

from __future__ import annotations

from collections.abc import Sequence

from serialization.console import format_count, show_path
from serialization.errors import UserError
from serialization.files.locate import SavedModelFolder
from serialization.graph.graph_index import GraphIndex
from serialization.graph.op_sets import VARIABLES
from serialization.sources.frozen_reader import GraphFile

SERVE = "serve"


def choose_meta_graph(graphs: Sequence[GraphFile], tag_set: str | None = None) -> GraphFile:
    """The graph with these tags (comma separated, "" for none); by default the usual one."""
    by_tags = _by_tags(graphs)
    if tag_set is None and (usual := find_usual_meta_graph(graphs)) is not None:
        return usual
    wanted = SERVE if tag_set is None else tag_set
    tags = frozenset(wanted.split(",")) if wanted else frozenset()
    if tags not in by_tags:
        known = "; ".join(",".join(sorted(tags)) or "'' (without tags)" for tags in by_tags)
        raise UserError(f"the SavedModel has no tag-set {wanted or repr('')}; it has {known}; choose with --tag-set")
    return by_tags[tags]


def find_usual_meta_graph(graphs: Sequence[GraphFile]) -> GraphFile | None:
    """The only graph, else the one tagged `serve`, else the one without tags; None if there is none of these.

    A module of TensorFlow Hub's first format has one without tags, for inference, and one tagged `train`.
    """
    by_tags = _by_tags(graphs)
    if len(graphs) == 1:
        return graphs[0]
    return by_tags.get(frozenset([SERVE]), by_tags.get(frozenset()))


def _by_tags(graphs: Sequence[GraphFile]) -> dict[frozenset[str], GraphFile]:
    found = {frozenset(graph.meta_graph.meta_info_def.tags): graph for graph in graphs}
    if len(found) < len(graphs):
        raise UserError(
            f"the SavedModel is damaged; of its {len(graphs)} MetaGraphDefs several have the same "
            "tag-set, and loaders differ in which they take; export it again"
        )
    return found


def require_variables(found: SavedModelFolder, file: GraphFile, needed: GraphIndex) -> None:
    """Raise UserError if the folder lacks the variables of the `needed` part that the graph's own Saver restores."""
    restored = file.index.reachable([file.meta_graph.saver_def.restore_op_name])
    names = [node.name for node in needed.graph_def.node if node.op in VARIABLES and node.name in restored]
    if names and found.variables is None:
        listed = f"{', '.join(names[:3])}{', ...' if names[3:] else ''}"
        raise UserError(
            f"the SavedModel {show_path(found.path)} is incomplete; its graph restores "
            f"{format_count(len(names), 'variable')} ({listed}), and there is no variables/variables.index; "
            "copy the whole folder variables here too"
        )
