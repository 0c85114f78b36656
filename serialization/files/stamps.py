"""Lists the versions of a model at a watched path, and takes a stamp of each, which shows a change."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import islice
from pathlib import Path

from serialization.files.model_names import SAVED_MODEL_FILES, find_saved_model_file, list_versions, strip_to_prefix
from serialization.files.publish import list_checkpoint_files
from serialization.formats.checkpoint_index import list_v1_files
from serialization.formats.onnx_file import find_external_files

_OF_A_CHECKPOINT = re.compile(r"^checkpoint$|\.(index|meta|data-\d{5}-of-\d{5})$")
_MOST = 10_000  # files of one version that are looked at

Stamp = tuple[tuple[str, int, int, int], ...]
"""Of each file: its path, the time of its last write in nanoseconds, its size in bytes, its inode."""


def get_watched_folder(kind: str, path: Path) -> Path:
    """The folder in which versions appear, or in which the file or the folder of the model is replaced."""
    folder = path.parent if path.name in SAVED_MODEL_FILES else path
    return folder if list_watched_versions(kind, folder) not in ([], [folder]) else folder.parent


def list_watched_versions(kind: str, path: Path) -> list[Path]:
    """The folders of numbered SavedModels at the path, the newest last, else the path itself; nothing if none is there.

    `kind` is "saved_model", "checkpoint", or that of a file: "frozen_model", "onnx" or "tflite".
    """
    if kind == "saved_model" and find_saved_model_file(path) is None and (versions := list_versions(path)):
        return versions
    return [path] if any(_stat_all(_list_files(kind, path))) else []


def take_stamp(kind: str, path: Path) -> Stamp:
    """The stamp of one version. Links are followed. Files that vanish meanwhile are left out."""
    return tuple(_stat_all(sorted(set(islice(_list_files(kind, path), _MOST)))))


def _list_files(kind: str, path: Path) -> Iterator[Path]:
    """The files of a version, and its folders: a new file in one gives it another time."""
    if path.name in (*SAVED_MODEL_FILES, "checkpoint"):
        path = path.parent
    if path.is_dir() and kind == "checkpoint":  # a training program writes other files beside it
        yield from (file for file in path.iterdir() if _OF_A_CHECKPOINT.search(file.name))
    elif path.is_dir():
        yield path
        if model := find_saved_model_file(path):  # a confined process may see it where it may not list the folder
            yield model
        for folder, folders, names in os.walk(path):
            yield from (Path(folder) / name for name in (*folders, *names))
    elif kind == "checkpoint":
        prefix = strip_to_prefix(path)
        yield from (*list_checkpoint_files(prefix), *list_v1_files(prefix))
    else:
        yield path
        if kind == "onnx":
            yield from _find_constants(path, *_stat_all([path]))


@lru_cache(64)
def _find_constants(onnx: Path, *_: tuple[str, int, int, int]) -> tuple[Path, ...]:
    """The files beside an ONNX model that hold its constants, as long as the model has this stamp."""
    try:
        return find_external_files(onnx) if onnx.is_file() else ()  # to open a pipe would wait for its writer
    except OSError:
        return ()


def _stat_all(paths: Iterable[Path]) -> Iterator[tuple[str, int, int, int]]:
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            continue
        yield str(path), status.st_mtime_ns, status.st_size, status.st_ino
