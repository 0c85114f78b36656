"""The advice for a path without a model or with a model of another kind than the wanted one; a folder's content."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path

from serialization import project
from serialization.console import format_command, list_some, make_printable, show_path
from serialization.errors import UserError
from serialization.files.model_names import SAVED_MODEL_FILES, find_saved_model_file, list_versions, strip_to_prefix
from serialization.files.model_search import list_models_inside
from serialization.formats.file_kind import Kind, detect_kind
from serialization.formats.foreign_files import Foreign
from serialization.project import real_path

_EXPORTS = ("source", "checkpoint", "frozen", "keras")
_LISTED, _LOOKED_AT = 5, 200  # entries of a folder
_CHECKPOINT_FILE = re.compile(r"(.+)\.(index|meta|data-\d{5}-of-\d{5})")
_CHECKPOINT = "a checkpoint"
_OF_A_SAVED_MODEL = (*SAVED_MODEL_FILES, "variables", "assets", "assets.extra", "keras_metadata.pb", "fingerprint.pb")
_FOREIGN = {kind.value for kind in Foreign}
_NO_MODELS = (Kind.EMPTY, Kind.STATE, Kind.UNKNOWN, Foreign.TEXT, Foreign.JSON, Foreign.HTML, Foreign.XML)
_FLAGS = {
    "checkpoint": "--checkpoint",
    "saved_model": "--saved-model",
    "frozen_model": "--frozen-model",
    "keras": "--keras",
}
_MODELS = {
    "checkpoint": "a checkpoint",
    "saved_model": "a SavedModel",
    "frozen_model": "a frozen model",
    "keras": "a Keras model",
}
# The script that runs a model of each kind, and the ones that go on with the step of the script that asks.
_RUN = {
    "checkpoint": "checkpoint_restore.py",
    "saved_model": "savedmodel_pretrained.py",
    "frozen_model": "freezemodel_load.py",
    "keras": "savedmodel_from_keras.py",
}
_EXPORT = {"checkpoint": "savedmodel_from_checkpoint.py", "frozen_model": "savedmodel_from_frozen.py"}
_UNFREEZE = {"frozen_model": "checkpoint_from_frozen.py", "saved_model": "checkpoint_from_savedmodel.py"}
_TAKEN = {
    Kind.SAVED_MODEL: "saved_model",
    Kind.GRAPH: "frozen_model",
    **dict.fromkeys((Kind.KERAS, Kind.KERAS_LAYERS), "keras"),
}
_SAME_STEP = {
    "checkpoint_from_frozen": _UNFREEZE,
    "checkpoint_from_savedmodel": _UNFREEZE,
    "checkpoint_edit": _UNFREEZE,
    "savedmodel_edit": {**_EXPORT, "saved_model": "savedmodel_edit.py"},
    "freezemodel_edit": {**dict.fromkeys(_FLAGS, "freezemodel_save.py"), "frozen_model": "freezemodel_edit.py"},
    "freezemodel_save": dict.fromkeys(("checkpoint", "saved_model", "keras"), "freezemodel_save.py"),
    "freezemodel_serve": dict.fromkeys(_FLAGS, "freezemodel_serve.py"),
    "onnx_from_frozen": dict.fromkeys(_FLAGS, "onnx_from_frozen.py"),
    "tflite_from_frozen": dict.fromkeys(_FLAGS, "tflite_from_frozen.py"),
    "savedmodel_from_checkpoint": _EXPORT,
    "savedmodel_from_frozen": _EXPORT,
    "savedmodel_from_keras": _EXPORT,
}


def advise_making(path: Path, otherwise: str, *scripts: str) -> str:
    """The advice for a missing model: the script that writes this path, else `otherwise`.

    Only scripts whose names begin with one of `scripts` are advised; without any, all are.
    """
    if special := _describe_special(path):
        return special
    made = {
        project.RESULTS / "graph.ckpt": "checkpoint_save.py",
        project.RESULTS / "frozen_model.pb": "freezemodel_save.py",
        project.RESULTS / "unfrozen.ckpt": "checkpoint_from_frozen.py",
        project.RESULTS / "from_savedmodel.ckpt": "checkpoint_from_savedmodel.py",
        project.RESULTS / "model.onnx": "onnx_from_frozen.py",
        project.RESULTS / "model.tflite": "tflite_from_frozen.py",
        project.RESULTS / "edited.ckpt": "checkpoint_edit.py",
        project.RESULTS / "edited": "savedmodel_edit.py",
    }
    made |= {project.RESULTS / f"savedmodel_from_{name}": f"savedmodel_from_{name}.py" for name in _EXPORTS}
    made |= {project.PRETRAINED / "1": "pretrainedresnet/train.py"}
    script = next((script for place, script in made.items() if real_path(place) == real_path(path)), "")
    return f"make it with `{format_command(script)}`" if script and script.startswith(scripts or "") else otherwise


def _describe_special(path: Path) -> str:
    """What lies at a path that is there and is neither a file nor a folder, as a clause with the advice; else empty."""
    if path.is_symlink() and not path.exists():
        return f"it is a link to {make_printable(str(path.readlink()))}, where nothing is; copy the model itself here"
    if not path.exists() or path.is_file() or path.is_dir():
        return ""
    kind = "a pipe" if path.is_fifo() else "a socket" if path.is_socket() else "a device"
    return f"it is {kind}, which is not read; put its content into a file, and name that"


class OtherModelError(UserError):
    """At `path` lies a model of another `kind`, "checkpoint", "saved_model", "frozen_model" or "keras"; `what` says so.

    Its message names the script that runs such a model; `advise` the one that does what another script would do.
    """

    def __init__(self, what: str, kind: str, path: Path) -> None:
        self.what, self.kind, self.path = what, kind, path
        super().__init__(self.advise(""))

    def advise(self, script: str) -> str:
        """The whole line, for a script by its name without `.py`."""
        right = _SAME_STEP.get(script, {}).get(self.kind, _RUN[self.kind])
        return f"{self.what}; use `{format_command(right, _FLAGS[self.kind], self.path)}`"


def explain_other_kind(file: Path, kind: Kind | Foreign, wanted: str) -> UserError:
    """The error for a file of another kind than the wanted one."""
    if kind is Kind.EMPTY:
        return UserError(f"{show_path(file)} is empty, not {wanted}; copy it here again")
    what = f"{show_path(file)} is {kind.value}, not {wanted}"
    if isinstance(kind, Foreign):
        return UserError(f"{what}; {kind.advice}")
    if kind is Kind.UNKNOWN and find_saved_model_file(file.parent) is not None:
        return OtherModelError(f"{show_path(file)} is a part of a SavedModel, not {wanted}", "saved_model", file.parent)
    if kind is Kind.KERAS_WEIGHTS:
        return UserError(
            f"{what}; savedmodel_from_keras.py takes it as --weights, with the JSON of the layers as --keras; "
            "or build the model in Keras, model.load_weights(FILE), and model.save it"
        )
    if kind is Kind.UNKNOWN:
        return UserError(f"{what}; it may be damaged; copy it here again, or name another file")
    saved_model = file.parent.parent
    if file.parent.name == "variables" and find_saved_model_file(saved_model) is not None:
        rest = "" if wanted == "a SavedModel" else f", not {wanted}"
        return OtherModelError(f"{show_path(file)} is a part of a SavedModel{rest}", "saved_model", saved_model)
    model = _find_owner(file, kind)
    if kind is Kind.SAVED_MODEL and model == file:
        return UserError(
            f"{show_path(file)} is the graph of a SavedModel under another name; call it saved_model.pb, "
            "put it beside the SavedModel's folder variables, and name the folder of both"
        )
    if kind is Kind.META_GRAPH and model == file:
        restore = format_command("checkpoint_restore.py", "--checkpoint", "PREFIX", "--graph", os.fspath(file))
        return UserError(f"{what}; name the checkpoint too: `{restore}`")
    return OtherModelError(what, _TAKEN.get(kind, "checkpoint"), model)


def _find_owner(file: Path, kind: Kind) -> Path:
    """The model that a file belongs to: a folder, a prefix, or the file itself."""
    if kind is Kind.SAVED_MODEL:
        return file.parent if file.name in SAVED_MODEL_FILES else file
    return file if kind in (Kind.STATE, *_TAKEN) else strip_to_prefix(file)


def explain_folder(folder: Path, what: str, otherwise: str) -> UserError:
    """The error for a folder that holds no model of the wanted kind, as `what` says: about the only model in it.

    `otherwise` is the advice for a folder of no model, or of several.
    """
    models = list_models_inside(folder)
    if len(models) != 1:
        return UserError(f"{what}; {describe_contents(folder)}; {otherwise}")
    kind, path = models[0]
    if kind == "other":
        foreign = detect_kind(path)
        advice = foreign.advice if isinstance(foreign, Foreign) else otherwise
        return UserError(f"{what}; it holds {foreign.value}, {show_path(path)}; {advice}")
    if path.name == "variables" and find_saved_model_file(path.parent) is not None:
        return OtherModelError(f"{what}; it is a part of a SavedModel", "saved_model", path.parent)
    return OtherModelError(f"{what}; it holds {_MODELS[kind]}", kind, path)


def describe_contents(folder: Path) -> str:
    """The content of a folder that is no model itself: the models in it, each with its kind, else any files."""
    found = list_contents(folder)
    models = sorted(found.items(), key=lambda item: item[1] in _FOREIGN)  # TensorFlow's own come first
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    listed = [f"{make_printable(name)} ({kind})" for name, kind in models]
    listed = listed or [make_printable(path.name) for path in entries]
    if not listed:
        return "it is empty"
    more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return f"it holds {'' if found else 'no model, but '}{', '.join(listed[:_LISTED])}{more}"


def list_contents(folder: Path, known: Collection[str] = ()) -> dict[str, str]:
    """The kinds of the models in a folder, by the names of their files or folders, or the prefix of a checkpoint.

    Files of the `known` names are not opened.
    """
    found: dict[str, str] = {}
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    for path in entries[:_LOOKED_AT]:
        if path.name in known:
            continue
        prefix = _CHECKPOINT_FILE.fullmatch(path.name)
        if prefix and path.is_file():
            whole = path.with_name(f"{prefix[1]}.index").is_file()
            found[prefix[1]] = _CHECKPOINT if whole else f"{_CHECKPOINT} without its .index"
        elif kind := _describe_entry(path):
            found[path.name] = kind
    return found


def describe_others(folder: Path, kind: str, files: Collection[str]) -> list[str]:
    """A line on the models in a folder beside the one of this `kind` and of these `files`; none for a file.

    What belongs to the model counts as one with it: of a checkpoint those of other steps, of a SavedModel its files.
    """
    if not folder.is_dir():
        return []
    if kind == "saved_model":  # its `files` are all of the folder
        found = list_contents(folder, {*_OF_A_SAVED_MODEL, *(path.name for path in list_versions(folder))})
    else:
        found = list_contents(folder, {*files, "checkpoint"})

    def is_own(what: str) -> bool:
        if kind == "saved_model":
            return False
        return what.startswith(_CHECKPOINT) if kind == "checkpoint" else "Keras" in what

    others = [f"{make_printable(name)} ({what})" for name, what in found.items() if not is_own(what)]
    if not others:
        return []
    return [f"{_MODELS[kind]} was taken; the folder also holds {list_some(others)}; name one of these to see it"]


def _describe_entry(path: Path) -> str:
    """The kind of the model that a file or a folder is; empty if it is no model."""
    if path.is_dir():
        if any(path.glob("saved_model.pb*")) or any(path.glob("*/saved_model.pb*")):
            return Kind.SAVED_MODEL.value
        return "the folder of a checkpoint" if any(path.glob("*.index")) else ""
    if not (path.is_file() and os.access(path, os.R_OK)):
        return ""
    kind = detect_kind(path)
    return "" if kind in _NO_MODELS else kind.value
