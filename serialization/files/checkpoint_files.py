"""The files of a checkpoint: the prefix at a path, the index, the data files, the file of the graph."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from serialization.console import format_count, make_printable, show_path
from serialization.errors import UserError
from serialization.files import publish
from serialization.files.model_names import (
    SAVED_MODEL_FILES,
    FolderPrefix,
    find_saved_model_file,
    is_saved_model,
    list_prefixes,
    strip_to_prefix,
)
from serialization.files.other_models import (
    OtherModelError,
    advise_making,
    explain_folder,
    explain_other_kind,
)
from serialization.files.publish import list_checkpoint_files
from serialization.formats.checkpoint_index import (
    Checkpoint,
    check_v1_blocks,
    find_index_files,
    list_v1_files,
    read_checkpoint_index,
)
from serialization.formats.file_kind import Kind, ModelFile, detect_kind, reopen_file
from serialization.formats.foreign_files import Foreign
from serialization.project import real_path

NAME_PREFIX = "name its prefix, one of its files, or its folder"

Say = Callable[[str], None]


def find_prefix(path: Path, say: Say = print) -> Path:
    """The prefix as `find_checkpoint` finds it, but without a check of the checkpoint's files."""
    if path.is_dir():
        prefix = _latest_in_folder(path, say)
    elif path.name == "checkpoint" and path.is_file():
        prefix = _latest_in_folder(path.parent, say)
    else:
        prefix = strip_to_prefix(path)
    publish.finish_checkpoint(prefix)
    return prefix


def read_checkpoint_at(prefix: Path, opened: ModelFile | None = None) -> Checkpoint:
    """The checkpoint with this prefix, from its index; its data files are not looked at.

    `opened` is a file that was opened before; it may be one of the checkpoint's. Raises UserError if it has no index.
    """
    files = [open_file(file, opened) for file in find_index_files(prefix)]
    for file in files:
        if file.kind is not Kind.TABLE:
            raise explain_other_kind(file.path, file.kind, "a checkpoint")
    if not files:
        raise _no_checkpoint(prefix)
    return read_checkpoint_index(prefix, files)


def open_file(path: Path, opened: ModelFile | None) -> ModelFile:
    """The file at the path, which may be the one that was opened before."""
    return opened if opened is not None and opened.path == path else reopen_file(path)


def require_whole_checkpoint(held: Checkpoint) -> None:
    """Raise UserError that names the file of a checkpoint which is missing, cut short or damaged."""
    prefix = held.prefix
    for file, end in zip(held.files, held.ends or [0] * len(held.files), strict=True):
        if not file.is_file():
            raise UserError(
                f"the checkpoint {show_path(prefix)} is incomplete; its data file {file.name} is missing; "
                "copy it here too"
            )
        size = file.stat().st_size
        if size < end:
            if size and (kind := detect_kind(file)) in (Foreign.LFS, Foreign.HTML):
                raise explain_other_kind(file, kind, "a data file of a checkpoint")
            raise UserError(
                f"the checkpoint {show_path(prefix)} is cut short; its data file {file.name} has "
                f"{format_count(size, 'byte')}, its index needs {end}; copy it here again"
            )
    check_v1_blocks(held)


def open_meta_graph_file(held: Checkpoint, opened: ModelFile | None = None) -> ModelFile:
    """The file of a checkpoint's graph, PREFIX.meta. Raises UserError if there is none, or a file of another kind."""
    prefix = held.prefix
    path = prefix.with_name(f"{prefix.name}.meta")
    if path.is_file():
        file = open_file(path, opened)
        if file.kind is not Kind.META_GRAPH:
            raise explain_other_kind(path, file.kind, "the graph of a checkpoint")
        return file
    saved_model = prefix.parent.parent
    if prefix.name == prefix.parent.name == "variables" and find_saved_model_file(saved_model) is not None:
        what = f"the checkpoint {show_path(prefix)} holds the variables of a SavedModel and no graph"
        raise OtherModelError(what, "saved_model", saved_model)
    if held.object_graph:
        raise UserError(
            f"{show_path(prefix)} is an object checkpoint of TensorFlow 2, which holds variables and no graph; found "
            f"no {path.name}; save a SavedModel from the program that builds the model, or name the graph with --graph"
        )
    raise UserError(
        f"the checkpoint {show_path(prefix)} holds variables and no graph; found no {path.name}; "
        "copy it here, or name the graph with --graph"
    )


def _latest_in_folder(folder: Path, say: Say) -> Path:
    """The checkpoint that the folder's `checkpoint` file names, always in this folder."""
    state = folder / "checkpoint"
    named = _named_in(state) if state.is_file() else None
    found = sorted(set(list_prefixes(folder)), key=_modified)
    if named is not None:
        here = FolderPrefix(folder) if named.endswith("/") else folder / Path(named).name
        if any(str(prefix) == str(here) for prefix in found):
            pointed = folder / named
            if real_path(pointed.parent) != real_path(folder):
                say(f"{show_path(state)} points to {make_printable(named)}; using the one here, {show_path(here)}")
            return here
    if not found and is_saved_model(folder):
        raise OtherModelError(f"{show_path(folder)} is a SavedModel, not a checkpoint", "saved_model", folder)
    if not found:
        state_names = f"; its `checkpoint` file names {make_printable(named)}" if named else ""
        make = advise_making(folder / "graph.ckpt", NAME_PREFIX, "checkpoint_")
        raise explain_folder(folder, f"no checkpoint in {show_path(folder)}; found no *.index{state_names}", make)
    if named is not None:
        away = f"{show_path(state)} names {make_printable(named)}, which is not here"
        say(f"{away}; using the newest, {show_path(found[-1])}")
    return found[-1]


def _named_in(state: Path) -> str | None:
    from google.protobuf.text_encoding import CUnescape

    # The text form of tensorflow/python/training/checkpoint_state.proto.
    match = re.search(r'^model_checkpoint_path: "(.*)"', state.read_text("utf-8", "surrogateescape"), re.MULTILINE)
    if match is None:
        return None
    try:
        named = os.fsdecode(CUnescape(match[1]))
    except ValueError:  # somebody has written it by hand
        named = match[1]
    if "\0" in named:  # no path holds a NUL
        return None
    return re.sub(r"-\?{5}-of-\d{5}$", "", named) or None  # the first format names its shards with this pattern


def _modified(prefix: Path) -> tuple[float, str]:
    files = [prefix.with_name(f"{prefix.name}.index"), *list_v1_files(prefix)]
    return max(file.stat().st_mtime for file in files if file.is_file()), prefix.name


def _no_checkpoint(prefix: Path) -> UserError:
    graph = prefix.with_name(f"{prefix.name}.meta")
    data = [file for file in list_checkpoint_files(prefix) if ".data-" in file.name]
    if data:
        return UserError(
            f"the checkpoint {show_path(prefix)} is incomplete; found {data[0].name} and no {prefix.name}.index; "
            "copy it here too"
        )
    if graph.is_file() and (kind := detect_kind(graph)) is not Kind.META_GRAPH:
        return explain_other_kind(graph, kind, "a checkpoint")
    if graph.is_file():
        return UserError(
            f"the checkpoint {show_path(prefix)} holds a graph and no variables; found {graph.name} and no "
            f"{prefix.name}.index; copy the index and the data files here too"
        )
    if find_saved_model_file(prefix.parent) is not None and prefix.name in SAVED_MODEL_FILES:
        return OtherModelError(f"{show_path(prefix)} is a SavedModel, not a checkpoint", "saved_model", prefix.parent)
    make = advise_making(prefix, NAME_PREFIX, "checkpoint_")
    return UserError(f"no checkpoint at {show_path(prefix)}; found no {prefix.name}.index; {make}")
