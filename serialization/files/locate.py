"""Finds the model at a path that a user gives, and checks that all its files are there, without TensorFlow.

Each fault has its own error. Some are repaired, such as a `checkpoint` file that points to the folder where the model
was trained; `say` is then called with a line about it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from serialization.console import format_count, show_path
from serialization.errors import UserError
from serialization.files.checkpoint_files import (
    Say,
    find_prefix,
    open_file,
    read_checkpoint_at,
    require_whole_checkpoint,
)
from serialization.files.locate_keras import list_keras_files
from serialization.files.model_names import (
    SAVED_MODEL_FILES,
    find_saved_model_file,
    is_prefix,
    is_saved_model,
    list_prefixes,
    list_versions,
)
from serialization.files.model_search import list_models_inside, search_folder
from serialization.files.other_models import (
    OtherModelError,
    advise_making,
    explain_folder,
    explain_other_kind,
)
from serialization.files.publish import list_checkpoint_files
from serialization.files.unpacking import open_in_place
from serialization.formats.checkpoint_index import Checkpoint, list_v1_files
from serialization.formats.file_kind import Kind, ModelFile, detect_kind, reopen_file
from serialization.formats.foreign_files import Foreign

_EXPORTS = {
    Foreign.ONNX: ("ONNX model", "onnx_from_frozen"),
    Foreign.TFLITE: ("LiteRT model", "tflite_from_frozen"),
}

_NAME_MODEL = "name a file or the folder of a model, or the prefix of a checkpoint"


@dataclass(frozen=True)
class SavedModelFolder:
    """The folder of a SavedModel, its opened saved_model.pb or .pbtxt, and the index of its variables if it has any."""

    path: Path
    file: ModelFile
    variables: Checkpoint | None


@open_in_place
def find_checkpoint(path: Path, say: Say = print) -> Checkpoint:
    """The checkpoint at `path`, which is a prefix, any of the checkpoint's files, or its folder; its index is read.

    A prefix is no file: `results/graph.ckpt` stands for `results/graph.ckpt.index`, `.data-00000-of-00001` and `.meta`.
    Raises UserError if there is no checkpoint, or if one of its files is missing or cut short.
    """
    if path.is_dir() and not is_saved_model(path) and not any(list_prefixes(path)):
        path = search_folder(path, "checkpoint", "checkpoints", say)
    held = read_checkpoint_at(find_prefix(path, say))
    require_whole_checkpoint(held)
    return held


def require_model_at(path: Path, prefix: Path) -> None:
    """Raise UserError if there is neither a file, nor a folder, nor any file of a checkpoint."""
    if not (path.exists() or list_checkpoint_files(prefix) or list_v1_files(prefix)):
        raise UserError(f"nothing at {show_path(path)}; {advise_making(path, _NAME_MODEL)}")


def find_place(path: Path, say: Say = print) -> Path:
    """The path; of a folder that holds no model of TensorFlow itself, the only model below it.

    Raises UserError if a folder holds no model, or several.
    """
    if not path.is_dir() or is_saved_model(path) or any(list_prefixes(path)) or list_keras_files(path):
        return path
    if not list_models_inside(path):
        raise explain_folder(path, f"no model in {show_path(path)}", _NAME_MODEL)
    return search_folder(path, "", "models", say)


@open_in_place
def find_frozen_model(path: Path, say: Say = print) -> ModelFile:
    """The opened file of a GraphDef; of a folder, the only one in it.

    Raises UserError that names the kind of file that `path` is instead.
    """
    if is_saved_model(path):
        raise OtherModelError(f"{show_path(path)} is a SavedModel, not a frozen model", "saved_model", path)
    if path.is_dir():
        path = search_folder(path, "frozen_model", "frozen models", say)
    if path.is_dir():
        raise explain_folder(path, f"no frozen model in {show_path(path)}", "name the file of a GraphDef")
    if not path.is_file():
        if is_prefix(path):
            raise OtherModelError(f"{show_path(path)} is a checkpoint, not a frozen model", "checkpoint", path)
        make = advise_making(path, "name the file of a GraphDef", "freezemodel_")
        raise UserError(f"no frozen model at {show_path(path)}; {make}")
    file = reopen_file(path)
    if file.kind is not Kind.GRAPH:
        raise explain_other_kind(path, file.kind, "a frozen model")
    return file


@open_in_place
def find_exported_model(path: Path, say: Say = print, *, kind: Foreign = Foreign.ONNX) -> ModelFile:
    """The opened file of a model for another runtime, of this kind.

    Raises UserError that names the kind of file that `path` is instead.
    """
    if not path.is_file():
        name, script = _EXPORTS[kind]
        what = f"no {name} at {show_path(path)}"
        make = advise_making(path, f"name the file; {script}.py makes one", script)
        raise explain_folder(path, what, make) if path.is_dir() else UserError(f"{what}; {make}")
    file = reopen_file(path)
    if file.kind is not kind:
        raise explain_other_kind(path, file.kind, kind.value)
    return file


@open_in_place
def find_saved_model(
    path: Path, say: Say = print, *, whole: bool = True, opened: ModelFile | None = None
) -> SavedModelFolder:
    """The SavedModel at `path`, which is its folder, its saved_model.pb or .pbtxt, or a folder of versions.

    `opened` is a file that was opened before; it may be one of the SavedModel's. Of numbered versions (models/NAME/1,
    /2) the newest is taken. Raises UserError if there is no SavedModel or, with `whole`, if a file of its variables is
    missing, cut short or damaged.
    """
    folder = path.parent if path.name in SAVED_MODEL_FILES or path.name == "variables" else path
    if folder.is_dir() and not is_saved_model(folder):
        folder = search_folder(folder, "saved_model", "SavedModels", say)
    if find_saved_model_file(folder) is None and (found := list_versions(folder)):
        folder = found[-1]
        count = format_count(len(found), "version")
        say(f"{show_path(path)} holds {count} of a SavedModel; using {show_path(folder)}")
    found_file = find_saved_model_file(folder)
    if found_file is None:
        if path.is_file():
            raise explain_other_kind(path, detect_kind(path), "a SavedModel")
        if is_prefix(path) or (path.is_dir() and next(path.glob("*.index"), None) is not None):
            what = "the folder of a checkpoint" if path.is_dir() else "a checkpoint"
            raise OtherModelError(f"{show_path(path)} is {what}, not a SavedModel", "checkpoint", path)
        make = advise_making(path, f"name the folder that holds {SAVED_MODEL_FILES[0]}", "savedmodel_", "pretrained")
        what = f"no SavedModel at {show_path(path)}; found no {SAVED_MODEL_FILES[0]}"
        raise explain_folder(path, what, make) if path.is_dir() else UserError(f"{what}; {make}")
    if not found_file.is_file():
        raise UserError(f"{show_path(found_file)} is no plain file; TensorFlow would wait for it; put the model there")
    file = open_file(found_file, opened)
    if file.kind is not Kind.SAVED_MODEL:
        raise explain_other_kind(file.path, file.kind, "a SavedModel")
    prefix = folder / "variables" / "variables"
    variables = read_checkpoint_at(prefix) if prefix.with_name("variables.index").exists() else None
    if whole and variables is not None:
        require_whole_checkpoint(variables)
    return SavedModelFolder(folder, file, variables)
