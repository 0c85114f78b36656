"""Finds the model that a flag names."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from serialization import project
from serialization.errors import UserError
from serialization.files.locate import (
    find_checkpoint,
    find_exported_model,
    find_frozen_model,
    find_saved_model,
    require_model_at,
)
from serialization.files.locate_keras import find_keras
from serialization.files.model_names import is_saved_model, strip_to_prefix
from serialization.files.model_search import search_folder
from serialization.files.publish import list_checkpoint_files
from serialization.files.stamps import list_watched_versions
from serialization.formats.checkpoint_index import list_v1_files
from serialization.formats.file_kind import Kind, detect_kind
from serialization.formats.foreign_files import Foreign

# By attribute name, as argparse has them.
_FINDERS: dict[str, Callable[..., Any]] = {
    "frozen_model": find_frozen_model,
    "saved_model": find_saved_model,
    "checkpoint": find_checkpoint,
}
MODEL_KINDS = tuple(_FINDERS)
# Files of other runtimes: the server alone reads them.
_EXPORTED = {
    "onnx": partial(find_exported_model, kind=Foreign.ONNX),
    "tflite": partial(find_exported_model, kind=Foreign.TFLITE),
}
EXPORTED_KINDS = tuple(_EXPORTED)
_ALL = _FINDERS | _EXPORTED
_KINDS: dict[Kind | Foreign, str] = {
    Kind.SAVED_MODEL: "saved_model",
    **dict.fromkeys((Kind.META_GRAPH, Kind.TABLE, Kind.DATA, Kind.STATE), "checkpoint"),
    Foreign.ONNX: "onnx",
    Foreign.TFLITE: "tflite",
}


def find_model(kind: str, path: Path) -> Any:
    """The model of this kind at the path, opened: a ModelFile, a SavedModelFolder or a Checkpoint, each with a `path`.

    Raises UserError if there is none.
    """
    return _ALL[kind](path)


def choose_given_path(**paths: Path | None) -> tuple[str, Path]:
    """The first path that is given, and its kind; without any the frozen model under results/."""
    given = [(kind, path) for kind, path in paths.items() if path is not None]
    return (given or [("frozen_model", project.RESULTS / "frozen_model.pb")])[0]


def detect_model_kind(path: Path) -> str:
    """The kind of the model at a path, for `find_model`. Raises UserError if there is none, or one of another kind."""
    require_model_at(path, strip_to_prefix(path))
    if path.is_file():
        return _KINDS.get(detect_kind(path), "frozen_model")  # whose finder names any other kind
    if path.is_dir():
        path = search_folder(path, "", "models", lambda _: None)
        return "saved_model" if is_saved_model(path) else "frozen_model" if path.is_file() else "checkpoint"
    return "checkpoint"


def find_newest_model(kind: str, path: Path) -> Any:
    """The newest version at a watched path that is whole. Raises UserError about the newest one if none is."""
    for version in reversed(list_watched_versions(kind, path)):
        with suppress(UserError, OSError):
            return find_model(kind, version)
    return find_model(kind, path)


def require_something(kind: str, path: Path | None) -> None:
    """Raise the error for a model that is missing if nothing lies at the path. A file that is there is not opened."""
    if path is not None and not (os.path.lexists(path) or list_checkpoint_files(path) or list_v1_files(path)):
        find = find_keras if kind == "keras" else _FINDERS[kind]
        find(path, say=lambda _: None)
