"""The project's paths: its folder, the folder of its results, and the SavedModel that it ships."""

from __future__ import annotations

import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results"
PRETRAINED = ROOT / "pretrainedresnet"


def parse_path(text: str) -> Path:
    """The type of a flag that takes a path. A `~` that the shell did not expand becomes the home folder."""
    if not text:
        raise ValueError("expected a path, got an empty word")
    if scheme := re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text):
        raise ValueError(f"expected a path on this machine, got {text!r}; copy what is at {scheme[0]} here first")
    path = Path(text).expanduser()
    if text.endswith(("/", "/.")) and os.path.lexists(path) and not path.is_dir():
        raise ValueError(no_folder(text))
    return path


def no_folder(text: str) -> str:
    """The message for a path that ends like a folder's and is none."""
    return f"{text} is no folder; leave out the slash at its end"


def real_path(path: Path) -> Path:
    """The path with all links followed. Path.resolve raises for links in a circle before Python 3.13."""
    return Path(os.path.realpath(path))


def resolve_below(path: Path, *folders: Path) -> Path | None:
    """A path with its links followed; None if it is no valid one, or leads elsewhere than below these folders."""
    try:
        file = path.resolve()
    except (OSError, ValueError, RuntimeError):
        return None
    return file if any(folder.resolve() in file.parents for folder in folders) else None
