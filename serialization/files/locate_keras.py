"""Finds the Keras model at a path: a .keras or .h5 file, or the JSON of its layers and the weights beside it."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from serialization.console import list_some, make_printable, show_path
from serialization.errors import UserError
from serialization.files.model_names import is_prefix, is_saved_model, strip_to_prefix
from serialization.files.model_search import search_folder
from serialization.files.other_models import OtherModelError, advise_making, explain_folder, explain_other_kind
from serialization.files.publish import list_checkpoint_files
from serialization.files.unpacking import open_in_place
from serialization.formats import hdf5
from serialization.formats.file_kind import Kind, ModelFile, detect_kind, reopen_file
from serialization.formats.keras_files import CONFIG, METADATA, KerasModel, read_model
from serialization.formats.wire import DamagedError

_NAME = "name a .keras or .h5 file, or the JSON of a model's layers"
_LOOKED_AT = 200  # entries of a folder
_NAMES = (".keras", ".h5", ".hdf5", ".json")  # the endings of what is looked for in a folder; its bytes tell the kind
_WEIGHTS = (Kind.KERAS_WEIGHTS, Kind.KERAS)  # a whole model holds weights too


@dataclass(frozen=True)
class KerasFile:
    """The file of a Keras model, opened; what it says of the model; and the weights, where it holds the layers alone.

    `weights` is an HDF5 file, or the prefix of a checkpoint. `folder` is the folder of an unpacked .keras file.
    """

    file: ModelFile
    model: KerasModel
    weights: Path | None = None
    folder: Path | None = None

    @property
    def path(self) -> Path:
        return self.folder or self.file.path


@open_in_place
def find_keras(path: Path, weights: Path | None = None, say: Callable[[str], object] = print) -> KerasFile:
    """The Keras model at `path`: a file, or a folder that holds one. `weights` go with layers that are alone.

    Raises UserError if there is none, if it is damaged, or if the weights are missing or ambiguous.
    """
    if is_saved_model(path):
        raise OtherModelError(f"{show_path(path)} is a SavedModel, not a Keras model", "saved_model", path)
    if path.is_dir() and not list_keras_files(path):
        path = search_folder(path, "keras", "Keras models", say)
    file = find_keras_file(path)
    if file.kind is Kind.KERAS_WEIGHTS:
        raise UserError(
            f"{show_path(file.path)} is {file.kind.value}; name the JSON of its layers, model.to_json(), too: "
            f"--keras FILE.json --weights {show_path(file.path)}; or load it in Keras, and model.save the model"
        )
    if file.kind not in (Kind.KERAS, Kind.KERAS_LAYERS):
        raise explain_other_kind(file.path, file.kind, "a Keras model")
    model = read_keras(file)
    if file.kind is Kind.KERAS:
        if weights is not None:
            raise UserError(f"{show_path(file.path)} holds its own weights; --weights goes with layers alone")
        return KerasFile(file, model)
    if is_unpacked(file) and weights is None and model.major == 3:
        return KerasFile(file, model, folder=file.path.parent)
    return KerasFile(file, model, _find_weights(file.path) if weights is None else _check_weights(weights))


def list_keras_files(path: Path) -> list[Path]:
    """The files that belong to the Keras model at `path`, other than itself: those in its folder, or beside its layers.

    The weights of a .keras or .h5 file are in it, so nothing belongs to such a file.
    """
    if not path.is_dir() and not (path.is_file() and detect_kind(path) is Kind.KERAS_LAYERS):
        return []
    found = _list_of_kinds(path, Kind.KERAS, Kind.KERAS_LAYERS) if path.is_dir() else [path]
    layers = [file for file in found if file.suffix == ".json" or file == path]
    if not layers:
        return found
    folder = layers[0].parent
    weights = [file for found in _list_weights(folder) for file in (found, *list_checkpoint_files(found))]
    return [*found, folder / METADATA, folder / "assets", *weights]


def is_legacy(weights: Path) -> bool:
    """Whether an HDF5 file has its weights by layer, as `model.save_weights` wrote them before Keras 2.12."""
    data = ModelFile(weights).data
    names = ("layer_names", "layer_names0", "model_config")
    return any(hdf5.read_attribute(data, name) is not None for name in names)


def find_keras_file(path: Path) -> ModelFile:
    """The file at `path`, opened; of a folder, the Keras model in it. Raises UserError if there is none."""
    return reopen_file(_find_file(path))


def read_keras(file: ModelFile) -> KerasModel:
    """The layers in a file, and the version that is recorded there or beside it. Raises UserError if it is damaged."""
    beside = file.path.with_name(METADATA)
    try:
        return read_model(file.data, beside.read_bytes() if is_unpacked(file) else b"")
    except DamagedError as damage:
        raise UserError(f"{show_path(file.path)} is damaged; {damage}; copy it here again") from None


def is_unpacked(file: ModelFile) -> bool:
    """Whether a file is the config.json of a .keras archive that was unpacked."""
    unpacked = file.kind is Kind.KERAS_LAYERS and file.path.name == CONFIG
    return unpacked and file.path.with_name(METADATA).is_file()


def _find_file(path: Path) -> Path:
    if not path.is_dir():
        if path.is_file():
            return path
        if is_prefix(path):
            raise OtherModelError(f"{show_path(path)} is a checkpoint, not a Keras model", "checkpoint", path)
        make = advise_making(path, _NAME, "savedmodel_")
        raise UserError(f"no Keras model at {show_path(path)}; {make}")
    found = _list_of_kinds(path, Kind.KERAS, Kind.KERAS_LAYERS)
    whole = [file for file in found if file.suffix != ".json"]
    if not found:
        raise explain_folder(path, f"no Keras model in {show_path(path)}", _NAME)
    return _take_only(whole or found, f"{show_path(path)} holds several Keras models", "name one of them")


def _find_weights(layers: Path) -> Path:
    found = _list_weights(layers.parent)
    if not found:
        raise UserError(
            f"{show_path(layers)} is {Kind.KERAS_LAYERS.value}; found no weights beside it; name them with --weights"
        )
    alike = [path for path in found if path.name.startswith(f"{layers.stem}.") or path.name == layers.stem]
    return _take_only(alike or found, f"several files beside {show_path(layers)} hold weights", "choose with --weights")


def _check_weights(path: Path) -> Path:
    prefix = strip_to_prefix(path)
    if is_prefix(prefix):
        return prefix
    if not path.is_file():
        raise UserError(f"no weights at {show_path(path)}; name an HDF5 file, or the prefix of a checkpoint")
    kind = detect_kind(path)
    if kind not in _WEIGHTS:
        raise explain_other_kind(path, kind, "weights of a Keras model")
    if ModelFile(path).data[:8] != hdf5.MAGIC:
        raise UserError(
            f"{show_path(path)} is a whole Keras model, not an HDF5 file; name it with --keras, without --weights"
        )
    return path


def _list_weights(folder: Path) -> list[Path]:
    """The HDF5 files of weights in a folder, and the prefixes of its checkpoints."""
    prefixes = sorted(strip_to_prefix(file) for file in folder.glob("*.index"))
    return [*_list_of_kinds(folder, Kind.KERAS_WEIGHTS), *prefixes]


def _list_of_kinds(folder: Path, *kinds: Kind) -> list[Path]:
    """The files of these kinds among the first of a folder, those of the first kind first."""
    entries = sorted(path for path in folder.iterdir() if path.suffix in _NAMES and not path.name.startswith("."))
    readable = [path for path in entries[:_LOOKED_AT] if path.is_file() and os.access(path, os.R_OK)]
    found = [(detect_kind(path), path) for path in readable]
    return [path for kind in kinds for one, path in found if one is kind]


def _take_only(found: list[Path], what: str, advice: str) -> Path:
    if len(found) > 1:
        names = list_some([make_printable(path.name) for path in found])
        raise UserError(f"{what}: {names}; {advice}")
    return found[0]
