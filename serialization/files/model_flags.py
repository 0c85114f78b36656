"""Finds the model that a flag names; the error for a model of another kind shows the right flag."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

from serialization import project
from serialization.console import format_command, show_path
from serialization.errors import UserError
from serialization.files.locate import find_checkpoint, find_frozen_model, find_saved_model

# By attribute name, as argparse has them.
_FINDERS: dict[str, Callable[[Path], Any]] = {
    "frozen_model": find_frozen_model,
    "saved_model": find_saved_model,
    "checkpoint": find_checkpoint,
}
MODEL_KINDS = tuple(_FINDERS)


def find_model(kind: str, path: Path, script: str = "") -> Any:
    """The model of this kind at the path, opened: a ModelFile, a SavedModelFolder or a Checkpoint, each with a `path`.

    Raises UserError if there is none. If a model of another kind is there, the error shows the command of `script`.
    """
    try:
        return _FINDERS[kind](path)
    except UserError:
        if not script:
            raise
        for other in (name for name in MODEL_KINDS if name != kind):
            with suppress(UserError), redirect_stdout(None):
                _FINDERS[other](path)
                break
        else:
            raise
    right = format_command(script, f"--{other.replace('_', '-')}", path)
    raise UserError(f"{show_path(path)} is no {kind.replace('_', ' ')}; use `{right}`")


def find_given_model(**paths: Path | None) -> tuple[str, Any]:
    """The kind and the model of the first path that is given, by kind; without any the frozen model under results/."""
    given = [(kind, path) for kind, path in paths.items() if path is not None]
    kind, path = (given or [("frozen_model", project.RESULTS / "frozen_model.pb")])[0]
    return kind, find_model(kind, path)
