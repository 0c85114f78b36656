"""What to do where a path holds no model, or a model of another kind than the wanted one."""

from __future__ import annotations

import os
from pathlib import Path

from serialization import project
from serialization.console import format_command, show_path
from serialization.files.model_names import SAVED_MODEL_FILES, strip_to_prefix
from serialization.formats.file_kind import Kind
from serialization.project import real_path

_EXPORTS = ("source", "checkpoint", "frozen")


def advise_making(path: Path, otherwise: str, *scripts: str) -> str:
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


def explain_other_kind(file: Path, kind: Kind, wanted: str) -> str:
    """The error for a file of another kind than the wanted one."""
    if kind is Kind.EMPTY:
        return f"{show_path(file)} is empty, not {wanted}; copy it here again"
    return f"{show_path(file)} is {kind.value}, not {wanted}; {advise_use(kind, file)}"


def advise_use(kind: Kind, file: Path) -> str:
    """The command for a file of this kind, or what else helps."""
    if kind is Kind.SAVED_MODEL:
        folder = file.parent if file.name in SAVED_MODEL_FILES else file
        return f"use `{format_command('savedmodel_pretrained.py', '--saved-model', folder)}`"
    if kind in (Kind.META_GRAPH, Kind.TABLE, Kind.DATA, Kind.STATE):
        return advise_restoring(strip_to_prefix(file) if kind is not Kind.STATE else file)
    return {
        Kind.GRAPH: f"use `{format_command('freezemodel_load.py', '--frozen-model', file)}`",
        Kind.LFS: "fetch the file with `git lfs pull`",
        Kind.KERAS: "load it with Keras and export it as a SavedModel: model.export(DIR)",
        Kind.HDF5: "load it with Keras and export it as a SavedModel: model.export(DIR)",
        Kind.TFLITE: "it runs in TensorFlow Lite only; name the model that it was converted from",
        Kind.ARCHIVE: "unpack it first",
        Kind.HTML: "the download went wrong; fetch the file itself",
        Kind.JSON: "name the binary file beside it",
    }.get(kind, "it may be damaged; copy it here again, or name another file")


def advise_restoring(path: Path) -> str:
    """The command for a checkpoint."""
    return f"use `{format_command('checkpoint_restore.py', '--checkpoint', os.fspath(path))}`"
