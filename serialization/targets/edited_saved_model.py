"""Writes a SavedModel whose MetaGraphDef was edited: its variables, assets and extra files are those of the source."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from shutil import copyfile
from typing import Any

from serialization.checks import harm
from serialization.checks.what_loading_runs import list_asset_files
from serialization.console import make_printable, show_path
from serialization.errors import UserError
from serialization.files.locate import SavedModelFolder
from serialization.files.publish import list_checkpoint_files
from serialization.formats import protos
from serialization.graph.signature import list_signature_defs
from serialization.targets.edited_signatures import EditedSignature
from serialization.targets.signature_map import edit_signature_map

# Beside graph, variables and assets: requests that warm a server up, and what Keras records of its layers. Not
# fingerprint.pb, which holds the hash of the old graph.
_EXTRA = ("assets.extra", "keras_metadata.pb")


def edit_signature_defs(whole: Any, edited: Iterable[EditedSignature], tags: str | None = None) -> Any:
    """A copy of the MetaGraphDef with these signatures for its own, and with other tags, comma separated, if given.

    The ops that initialize it, which are recorded as SignatureDefs, stay.
    """
    edited = list(edited)
    meta_graph = protos.MetaGraphDef()
    meta_graph.CopyFrom(whole)
    edit_signature_map(meta_graph, edited)
    for key in list_signature_defs(whole):
        del meta_graph.signature_def[key]
    for one in edited:
        meta_graph.signature_def[one.key].CopyFrom(one.definition)
    if tags is not None:
        meta_graph.meta_info_def.tags[:] = tags.split(",") if tags else []
    return meta_graph


def write_saved_model(meta_graph: Any, found: SavedModelFolder, folder: Path, *, link: bool = False) -> Path:
    """Write a SavedModel of this MetaGraphDef, with copies of the source's other files, or links to them.

    Returns the folder. Raises UserError if an asset of the MetaGraphDef is missing, or if a link leads elsewhere: that
    may be any file of the user's.
    """
    (folder / "variables").mkdir(parents=True)
    saved_model = protos.SavedModel(saved_model_schema_version=1, meta_graphs=[meta_graph])
    (folder / "saved_model.pb").write_bytes(saved_model.SerializeToString())
    for place, file in _list_files(meta_graph, found.path):
        target = folder / place
        target.parent.mkdir(parents=True, exist_ok=True)
        if link:
            target.symlink_to(file.resolve())
        else:
            copyfile(file, target)
    return folder


def _list_files(meta_graph: Any, source: Path) -> Iterator[tuple[str, Path]]:
    """The files of the result, by their places in it, and where each is."""
    for file in list_checkpoint_files(source / "variables" / "variables"):
        yield f"variables/{file.name}", file
    for name in dict.fromkeys(asset.filename for asset in list_asset_files(meta_graph)):
        asset = harm.find_asset(source, name)
        if asset is None or not asset.is_file():
            missing = make_printable(name)
            raise UserError(f"{show_path(source)} is incomplete; its asset {missing} is missing; copy it here too")
        yield f"assets/{name}", asset
    for name in _EXTRA:
        extra = source / name
        for file in sorted(extra.rglob("*")) if extra.is_dir() else [extra]:
            if file.is_file():
                place = str(file.relative_to(source))
                if harm.find_own_file(source, place) is None:
                    raise UserError(f"{show_path(file)} is a link to a file elsewhere; put the file itself there")
                yield place, file
