"""What a SavedModel offers: its MetaGraphDefs by their tag-sets, and their SignatureDefs by their keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from serialization import cli, soundness
from serialization.kinds import Kind
from serialization.messages import read_message
from serialization.safety import asset_files

SERVE = "serve"
SERVING_DEFAULT = "serving_default"
_TABLES = "table_initializer"


def read_saved_model(folder: Path) -> Any:
    """The SavedModel message of the folder's saved_model.pb or saved_model.pbtxt. Raises cli.Error if it holds none."""
    binary, text = folder / "saved_model.pb", folder / "saved_model.pbtxt"
    file = binary if binary.is_file() else text  # the order in which TensorFlow's loader looks for them
    saved_model = read_message(file, Kind.SAVED_MODEL)
    for meta_graph in saved_model.meta_graphs:
        soundness.require_sound(meta_graph.graph_def, cli.show(file))
    return saved_model


def choose_meta_graph(saved_model: Any, tag_set: str | None = None) -> Any:
    """The MetaGraphDef with these tags (comma separated); by default the only one, else the one tagged `serve`."""
    by_tags = {frozenset(meta_graph.meta_info_def.tags): meta_graph for meta_graph in saved_model.meta_graphs}
    if tag_set is None and len(by_tags) == 1:
        return saved_model.meta_graphs[0]
    tags = frozenset((tag_set or SERVE).split(","))
    if tags not in by_tags:
        known = "; ".join(",".join(sorted(tags)) or "no tags" for tags in by_tags)
        raise cli.Error(f"the SavedModel has no tag-set {tag_set or SERVE}; it has {known}; choose with --tag-set")
    return by_tags[tags]


def choose_signature(meta_graph: Any, key: str | None = None) -> Any:
    """The SignatureDef with this key; by default serving_default, or the only one there is."""
    known = {k: s for k, s in meta_graph.signature_def.items() if k != "__saved_model_init_op"}
    if key is None:
        key = next(iter(known)) if len(known) == 1 else SERVING_DEFAULT
    if key not in known:
        listed = ", ".join(sorted(known)) or "none"
        raise cli.Error(f"the SavedModel has no signature {key}; it has {listed}; choose with --signature")
    return known[key]


def table_initializers(meta_graph: Any, folder: Path) -> tuple[list[str], dict[str, str]]:
    """What to run, and to feed, to fill the tables of an export that has no main op which does so at loading.

    The feeds are the paths of vocabularies in this folder, in the place of those where the model was trained.
    """
    main = [key for key in ("saved_model_main_op", "legacy_init_op") if key in meta_graph.collection_def]
    if main or "__saved_model_init_op" in meta_graph.signature_def or _TABLES not in meta_graph.collection_def:
        return [], {}
    paths = {file.tensor_info.name: str(folder / "assets" / file.filename) for file in asset_files(meta_graph)}
    return list(meta_graph.collection_def[_TABLES].node_list.value), paths
