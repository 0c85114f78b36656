"""Finds the model at a path that a user gives, and checks that all its files are there, without TensorFlow.

Each fault has its own error. Some are repaired, such as a `checkpoint` file that points to the folder where the model
was trained; `say` is then called with a line about it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PosixPath

from serialization import project
from serialization.console import format_command, format_count, make_printable, show_path
from serialization.errors import UserError
from serialization.files import publish
from serialization.files.other_models import OtherModelError, describe_contents, refuse_kind
from serialization.files.publish import list_checkpoint_files
from serialization.formats.checkpoint_index import (
    Checkpoint,
    check_v1_blocks,
    find_index_files,
    list_v1_files,
    read_checkpoint_index,
)
from serialization.formats.file_kind import Kind, ModelFile, detect_kind
from serialization.formats.foreign_files import Foreign
from serialization.project import real_path

SAVED_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")
_EXPORTS = ("source", "checkpoint", "frozen")
_NAME_PREFIX = "name its prefix, one of its files, or its folder"
_CHECKPOINT_FILE = re.compile(r"(?P<prefix>.*?)\.(index|meta|meta\.json|data-\d{5}-of-\d{5})")
_V1_FILE = re.compile(r"(?P<prefix>.+)-\d{5}-of-\d{5}")

Say = Callable[[str], None]


class FolderPrefix(PosixPath):
    """The checkpoint prefix `folder/`: its files are folder/.index, folder/.meta and so on. A Path drops the slash."""

    @property
    def name(self) -> str:
        return ""

    @property
    def parent(self) -> Path:  # type: ignore[override]
        return Path(super().__str__())

    def with_name(self, name: str) -> Path:  # type: ignore[override]
        return self.parent / name

    def is_file(self) -> bool:
        return False

    def is_dir(self) -> bool:
        return False

    def __str__(self) -> str:
        return f"{super().__str__()}/"


@dataclass(frozen=True)
class SavedModelFolder:
    """The folder of a SavedModel, its opened saved_model.pb or .pbtxt, and the index of its variables if it has any."""

    path: Path
    file: ModelFile
    variables: Checkpoint | None


def find_checkpoint(path: Path, say: Say = print) -> Checkpoint:
    """The checkpoint at `path`, which is a prefix, any of the checkpoint's files, or its folder; its index is read.

    A prefix is no file: `results/graph.ckpt` stands for `results/graph.ckpt.index`, `.data-00000-of-00001` and `.meta`.
    Raises UserError if there is no checkpoint, or if one of its files is missing or cut short.
    """
    held = read_checkpoint_at(find_prefix(path, say))
    require_whole_checkpoint(held)
    return held


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


def require_model_at(path: Path, prefix: Path) -> None:
    """Raise UserError if there is neither a file, nor a folder, nor any file of a checkpoint."""
    if not (path.exists() or list_checkpoint_files(prefix) or list_v1_files(prefix)):
        otherwise = "name a file or the folder of a model, or the prefix of a checkpoint"
        raise UserError(f"nothing at {show_path(path)}; {_make_or(path, otherwise)}")


def read_checkpoint_at(prefix: Path, opened: ModelFile | None = None) -> Checkpoint:
    """The checkpoint with this prefix, from its index; its data files are not looked at.

    `opened` is a file that was opened before; it may be one of the checkpoint's. Raises UserError if it has no index.
    """
    files = [_open_file(file, opened) for file in find_index_files(prefix)]
    for file in files:
        if file.kind is not Kind.TABLE:
            raise _other_kind(file.path, file.kind, "a checkpoint")
    if not files:
        raise _no_checkpoint(prefix)
    return read_checkpoint_index(prefix, files)


def _open_file(path: Path, opened: ModelFile | None) -> ModelFile:
    return opened if opened is not None and opened.path == path else ModelFile(path)


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
                raise _other_kind(file, kind, "a data file of a checkpoint")
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
        file = _open_file(path, opened)
        if file.kind is not Kind.META_GRAPH:
            raise _other_kind(path, file.kind, "the graph of a checkpoint")
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


def find_frozen_model(path: Path) -> ModelFile:
    """The opened file of a GraphDef. Raises UserError that names the kind of file that `path` is instead."""
    if find_saved_model_file(path) is not None or list_versions(path):
        raise OtherModelError(f"{show_path(path)} is a SavedModel, not a frozen model", "saved_model", path)
    if path.is_dir():
        there = describe_contents(path)
        raise UserError(f"{show_path(path)} is a folder, not a frozen model; {there}; name the file itself")
    if not path.is_file():
        if list_checkpoint_files(path):
            raise OtherModelError(f"{show_path(path)} is a checkpoint, not a frozen model", "checkpoint", path)
        make = _make_or(path, "name the file of a GraphDef", "freezemodel_")
        raise UserError(f"no frozen model at {show_path(path)}; {make}")
    file = ModelFile(path)
    if file.kind is not Kind.GRAPH:
        raise _other_kind(path, file.kind, "a frozen model")
    return file


def find_saved_model(
    path: Path, say: Say = print, *, whole: bool = True, opened: ModelFile | None = None
) -> SavedModelFolder:
    """The SavedModel at `path`, which is its folder, its saved_model.pb or .pbtxt, or a folder of versions.

    `opened` is a file that was opened before; it may be one of the SavedModel's. Of numbered versions (models/NAME/1,
    /2) the newest is taken. Raises UserError if there is no SavedModel or, with `whole`, if a file of its variables is
    missing, cut short or damaged.
    """
    folder = path.parent if path.name in SAVED_MODEL_FILES or path.name == "variables" else path
    if find_saved_model_file(folder) is None and (found := list_versions(folder)):
        folder = found[-1]
        count = format_count(len(found), "version")
        say(f"{show_path(path)} holds {count} of a SavedModel; using {show_path(folder)}")
    found_file = find_saved_model_file(folder)
    if found_file is None:
        if path.is_file():
            raise _other_kind(path, detect_kind(path), "a SavedModel")
        if list_checkpoint_files(path) or (path.is_dir() and next(path.glob("*.index"), None) is not None):
            what = "the folder of a checkpoint" if path.is_dir() else "a checkpoint"
            raise OtherModelError(f"{show_path(path)} is {what}, not a SavedModel", "checkpoint", path)
        make = _make_or(path, f"name the folder that holds {SAVED_MODEL_FILES[0]}", "savedmodel_", "pretrained")
        there = f"; {describe_contents(path)}" if path.is_dir() else ""
        raise UserError(f"no SavedModel at {show_path(path)}; found no {SAVED_MODEL_FILES[0]}{there}; {make}")
    file = _open_file(found_file, opened)
    if file.kind is not Kind.SAVED_MODEL:
        raise _other_kind(file.path, file.kind, "a SavedModel")
    prefix = folder / "variables" / "variables"
    variables = read_checkpoint_at(prefix) if prefix.with_name("variables.index").exists() else None
    if whole and variables is not None:
        require_whole_checkpoint(variables)
    return SavedModelFolder(folder, file, variables)


def find_saved_model_file(folder: Path) -> Path | None:
    """The file of a folder's SavedModel, which TensorFlow would read; None if there is none."""
    return next((folder / name for name in SAVED_MODEL_FILES if (folder / name).is_file()), None)


def list_versions(folder: Path) -> list[Path]:
    """The numbered SavedModels in a folder, the newest last."""
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted((f for f in found if f.name.isdecimal() and find_saved_model_file(f)), key=lambda f: int(f.name))


def strip_to_prefix(path: Path) -> Path:
    """The prefix of the checkpoint that a file belongs to; `path` itself if it belongs to none."""
    match = _CHECKPOINT_FILE.fullmatch(path.name)
    if match is None and not path.with_name(f"{path.name}.index").is_file() and path.is_file():
        match = _V1_FILE.fullmatch(path.name)
    if match is None:
        return path
    return path.with_name(match["prefix"]) if match["prefix"] else FolderPrefix(path.parent)


def _latest_in_folder(folder: Path, say: Say) -> Path:
    """The checkpoint that the folder's `checkpoint` file names, always in this folder."""
    state = folder / "checkpoint"
    named = _named_in(state) if state.is_file() else None
    found = sorted(set(_prefixes_in(folder)), key=_modified)
    if named is not None:
        here = FolderPrefix(folder) if named.endswith("/") else folder / Path(named).name
        if any(str(prefix) == str(here) for prefix in found):
            pointed = folder / named
            if real_path(pointed.parent) != real_path(folder):
                say(f"{show_path(state)} points to {make_printable(named)}; using the one here, {show_path(here)}")
            return here
    if not found and (find_saved_model_file(folder) is not None or list_versions(folder)):
        raise OtherModelError(f"{show_path(folder)} is a SavedModel, not a checkpoint", "saved_model", folder)
    if not found:
        state_names = f"; its `checkpoint` file names {make_printable(named)}" if named else ""
        make = _make_or(folder / "graph.ckpt", _NAME_PREFIX, "checkpoint_")
        there = describe_contents(folder)
        raise UserError(f"no checkpoint in {show_path(folder)}; found no *.index{state_names}; {there}; {make}")
    if named is not None:
        away = f"{show_path(state)} names {make_printable(named)}, which is not here"
        say(f"{away}; using the newest, {show_path(found[-1])}")
    return found[-1]


def _named_in(state: Path) -> str | None:
    from google.protobuf.text_encoding import CUnescape

    # The text form of tensorflow/python/training/checkpoint_state.proto.
    match = re.search(r'^model_checkpoint_path: "(.*)"', state.read_text(errors="replace"), re.MULTILINE)
    if match is None:
        return None
    try:
        named = os.fsdecode(CUnescape(match[1]))
    except ValueError:  # somebody has written it by hand
        named = match[1]
    if "\0" in named:  # no path holds a NUL
        return None
    return re.sub(r"-\?{5}-of-\d{5}$", "", named)  # the first format names its shards with this pattern


def _prefixes_in(folder: Path) -> Iterator[Path]:
    """The prefixes of a folder's checkpoints: each has an index, or in the first format a .meta beside its tables."""
    for file in folder.iterdir():
        if (file.suffix == ".index" or file.name == ".index") and file.is_file():
            yield strip_to_prefix(file)
        elif file.suffix == ".meta" and list_v1_files(file.with_suffix("")):
            yield file.with_suffix("")


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
    if graph.is_file():
        return UserError(
            f"the checkpoint {show_path(prefix)} holds a graph and no variables; found {graph.name} and no "
            f"{prefix.name}.index; copy the index and the data files here too"
        )
    if find_saved_model_file(prefix.parent) is not None and prefix.name in SAVED_MODEL_FILES:
        return OtherModelError(f"{show_path(prefix)} is a SavedModel, not a checkpoint", "saved_model", prefix.parent)
    make = _make_or(prefix, _NAME_PREFIX, "checkpoint_")
    return UserError(f"no checkpoint at {show_path(prefix)}; found no {prefix.name}.index; {make}")


def _make_or(path: Path, otherwise: str, *scripts: str) -> str:
    """The advice for a missing model: the script that writes this path, else `otherwise`.

    Only scripts whose names begin with one of `scripts` are advised; without any, all are.
    """
    made = {
        project.RESULTS / "graph.ckpt": "checkpoint_save.py",
        project.RESULTS / "frozen_model.pb": "freezemodel_save.py",
    }
    made |= {project.RESULTS / f"savedmodel_from_{name}": f"savedmodel_from_{name}.py" for name in _EXPORTS}
    made |= {project.PRETRAINED / "1": "pretrainedresnet/train.py"}
    script = next((script for place, script in made.items() if real_path(place) == real_path(path)), "")
    return f"make it with `{format_command(script)}`" if script and script.startswith(scripts or "") else otherwise


def _other_kind(file: Path, kind: Kind | Foreign, wanted: str) -> UserError:
    """The error for a file of another kind than the wanted one."""
    if kind is Kind.SAVED_MODEL:
        return refuse_kind(file, kind, wanted, file.parent if file.name in SAVED_MODEL_FILES else file)
    return refuse_kind(file, kind, wanted, file if kind in (Kind.GRAPH, Kind.STATE) else strip_to_prefix(file))
