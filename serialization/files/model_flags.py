"""Finds the model that a flag names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from serialization import project
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


def find_given_model(**paths: Path | None) -> tuple[str, Any]:
    """The kind and the model of the first path that is given, by kind; without any the frozen model under results/."""
    given = [(kind, path) for kind, path in paths.items() if path is not None]
    kind, path = (given or [("frozen_model", project.RESULTS / "frozen_model.pb")])[0]
    return kind, find_model(kind, path)
