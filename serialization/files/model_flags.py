"""Finds the model that a flag names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from serialization.files.locate import find_checkpoint, find_frozen_model, find_saved_model

# By attribute name, as argparse has them.
_FINDERS: dict[str, Callable[[Path], Any]] = {
    "frozen_model": find_frozen_model,
    "saved_model": find_saved_model,
    "checkpoint": find_checkpoint,
}
MODEL_KINDS = tuple(_FINDERS)


def find_model(kind: str, path: Path) -> Any:
    """The model of this kind at the path, opened: a ModelFile, a SavedModelFolder or a Checkpoint, each with a `path`.

    Raises UserError if there is none.
    """
    return _FINDERS[kind](path)
