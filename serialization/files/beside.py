"""Finds what lies beside a model for people: the names of its classes, and a sample picture."""

from __future__ import annotations

import base64
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from serialization.files.model_names import find_saved_model_file
from serialization.project import real_path, resolve_below

_MOST_BYTES = 1_000_000  # of either file
_PICTURES = {".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}


def read_beside(model: Path) -> dict[str, Any]:
    """The `labels`, one for each class, and the `sample` picture as a data: URL; empty where nothing is found.

    Labels are the lines of labels.txt, in the model's folder or, for a numbered version of it, in the one above. The
    sample is the first picture of a folder `samples` there. Both are shown to others. So a link to a file elsewhere is
    not followed: it may be any file of the user's.
    """
    main = real_path(find_saved_model_file(model) or model)
    own = main if main.is_dir() else main.parent  # in a cache of models each file is a link there
    labels: tuple[str, ...] = ()
    sample = ""
    for folder in _list_folders(model):
        try:
            if not labels and (text := _read(folder / "labels.txt", folder, own)):
                labels = tuple(text.decode().splitlines())
            if not sample:
                sample = _read_sample(folder / "samples", folder, own)
        except (OSError, UnicodeDecodeError):  # it is not there, not readable, or not text: the page does without it
            continue
    return {"labels": labels, "sample": sample}


def _list_folders(model: Path) -> Iterator[Path]:
    folder = model.absolute()
    if folder.is_dir():
        yield folder
    if not folder.is_dir() or folder.name.isdecimal():
        yield folder.parent


def _read_sample(folder: Path, *own: Path) -> str:
    for file in sorted(itertools.islice(folder.iterdir(), 1000)) if folder.is_dir() else ():
        if file.suffix.lower() in _PICTURES and (data := _read(file, *own)):
            return f"data:{_PICTURES[file.suffix.lower()]};base64,{base64.b64encode(data).decode()}"
    return ""


def _read(file: Path, *own: Path) -> bytes:
    """The bytes of a plain file below these folders that is not too long; none of any other."""
    is_own = file.is_file() and resolve_below(file, *own) is not None
    return file.read_bytes() if is_own and file.stat().st_size <= _MOST_BYTES else b""
