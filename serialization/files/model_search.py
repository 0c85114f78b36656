"""Finds the only model in a folder that holds it among other things, or deeper, as downloads and archives do."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from serialization.console import list_some, show_path
from serialization.errors import UserError
from serialization.files.model_names import find_saved_model_file, list_prefixes, list_versions
from serialization.formats.file_kind import Kind, detect_kind, reopen_file
from serialization.formats.foreign_files import Foreign

_MOST_FOLDERS, _MOST_FILES = 1_000, 200  # the files are those of one folder
_OF_VARIABLES = (b"VariableV2", b"VarHandleOp")  # a graph with these ops is not frozen
_KINDS: dict[Kind | Foreign | None, str] = {
    Kind.GRAPH: "frozen_model",
    **dict.fromkeys((Kind.KERAS, Kind.KERAS_LAYERS), "keras"),
    **dict.fromkeys((Foreign.ONNX, Foreign.TFLITE), "other"),
}


def search_folder(folder: Path, kind: str, what: str, say: Callable[[str], object]) -> Path:
    """The only model of a kind in a folder or below it; the folder itself if there is none. `say` gets a line on it.

    The kind is "checkpoint", "saved_model", "frozen_model", "keras", or "" for any. Raises UserError if there are
    several, which it lists; `what` is how they are called in that line.
    """
    found = [path for one, path in list_models_inside(folder) if kind in (one, "")]
    if len(found) > 1:
        names = list_some([show_path(path) for path in found])
        raise UserError(f"{show_path(folder)} holds several {what}: {names}; name one of them")
    if found and found[0] != folder:
        say(f"using {show_path(found[0])}, the only one in {show_path(folder)}")
    return found[0] if found else folder


def list_models_inside(folder: Path) -> tuple[tuple[str, Path], ...]:
    """Each model in a folder or below it: its kind, as search_folder has them or "other", and its file or folder.

    Of graphs in files those without variables, if there are any. What is hidden is left out, and what lies in a model.
    """
    found: list[tuple[str, Path]] = []
    graphs: list[Path] = []
    for number, (place, folders, names) in enumerate(os.walk(folder)):
        if number == _MOST_FOLDERS:
            break
        here = Path(place)
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__")))
        if find_saved_model_file(here) is not None:
            found.append(("saved_model", here))
            folders.clear()
            continue
        if versions := list_versions(here):
            found.append(("saved_model", here))
            folders[:] = [name for name in folders if here / name not in versions]
        if any(list_prefixes(here)):
            found.append(("checkpoint", here))
        files = [here / name for name in sorted(names) if not name.startswith(".") and ".data-" not in name]
        kinds = [(_KINDS.get(_detect(file), ""), file) for file in files[:_MOST_FILES]]
        graphs += [file for kind, file in kinds if kind == "frozen_model"]
        if any(kind == "keras" for kind, _ in kinds):
            found.append(("keras", here))
        found += [(kind, file) for kind, file in kinds if kind == "other"]
    frozen = [file for file in graphs if not _has_variables(file)] if len(graphs) > 1 else []
    return (*found, *(("frozen_model", file) for file in frozen or graphs))


def _detect(file: Path) -> Kind | Foreign | None:
    with suppress(OSError):  # a file that this process may not read is none of the model's
        return detect_kind(file) if file.is_file() else None
    return None


def _has_variables(file: Path) -> bool:
    data = reopen_file(file).data
    return any(data.find(op) >= 0 for op in _OF_VARIABLES)
