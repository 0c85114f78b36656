"""Prepares a Keras model: what is scanned before Keras loads it, and how its inputs and outputs are called."""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from serialization.checks.hdf5_files import list_datasets, open_hdf5
from serialization.checks.keras_layers import is_of_keras, require_safe_layers
from serialization.console import make_printable, show_path
from serialization.errors import UserError
from serialization.files.locate import find_saved_model
from serialization.files.locate_keras import KerasFile, is_legacy
from serialization.formats import hdf5, protos
from serialization.formats.keras_files import iterate_objects, parse_json
from serialization.graph.recorded_signature import record_signature
from serialization.graph.signature import SERVING_DEFAULT, Signature, read_signature_def
from serialization.run.differences import KERAS
from serialization.run.origin import Origin
from serialization.sources.from_saved_model import prepare_saved_model
from serialization.sources.keras_ends import Ends
from serialization.sources.private_copy import PreparedSavedModel
from serialization.tensorflow import explain_failures, format_reason, import_keras, import_quietly, quiet

_UNKNOWN = re.compile(r"Unknown \w+:? '?([\w>.]+)'?|Could not locate (?:class|function) '([^']+)'")
# By words of Keras, what a user can do about its errors.
_ADVICE = (
    (
        "no defined inputs",
        "it was saved before it was built: put keras.Input(shape) first, or call it once, and save it again",
    ),
    ("has not yet been built", "call it once on an example, which builds its layers, and save it again"),
)
_OTHER_WEIGHTS = "the weights may be those of other layers; name the file that was saved with this JSON with --weights"
_OTHERWISE = "load it with the Keras that saved it, and save it again as .keras"


@dataclass(frozen=True)
class PreparedKeras:
    """A Keras model that was scanned: `keras` is the Keras that reads it, `custom_objects` are the user's own classes.

    `file` is a private link, by a name that tells Keras the format; None where `layers` are JSON. Then `weights` is
    such a link to an HDF5 file, or the prefix of a checkpoint.
    """

    found: KerasFile
    keras: Any
    custom_objects: Mapping[str, Any]
    file: Path | None
    layers: str
    weights: Path | None


@contextmanager
def prepare_keras(
    found: KerasFile, custom_objects: Path | None = None, *, trust: bool = False
) -> Iterator[PreparedKeras]:
    """Scan the model that was found, and import the Keras that it needs and the user's own classes.

    Raises UserError for layers that hold code, unless `trust`; for HDF5 files that read others; for classes that
    nothing defines; and if the model is Keras 2's, and the package tf-keras is missing.
    """
    require_safe_layers(found, trust=trust)
    keras = import_keras(found.model.major)
    in_hdf5 = _is_in_hdf5(found)
    if found.folder or found.weights is None:
        list_datasets(found.folder / "model.weights.h5" if found.folder else found.file.path)
    elif found.weights.is_file():
        list_datasets(found.weights)
    if in_hdf5:
        _require_scanned(found)
    own = _find_old_layers(found, keras) | (load_custom_objects(custom_objects) if custom_objects else {})
    _require_classes(found, keras, own)
    with TemporaryDirectory(prefix="keras-") as folder:
        place = Path(folder)
        if found.folder:
            yield PreparedKeras(found, keras, own, found.folder, "", None)
        elif found.weights is None:
            file = _link(place / f"model.{'h5' if in_hdf5 else 'keras'}", found.file.path)
            yield PreparedKeras(found, keras, own, file, "", None)
        else:
            weights = found.weights
            if weights.is_file():
                weights = _link(place / ("weights.h5" if is_legacy(weights) else "model.weights.h5"), weights)
            yield PreparedKeras(found, keras, own, None, json.dumps(found.model.config), weights)


def _is_in_hdf5(found: KerasFile) -> bool:
    """Whether the layers are in an HDF5 file."""
    return found.file.data[:8] == hdf5.MAGIC


def _find_old_layers(found: KerasFile, keras: Any) -> dict[str, Any]:
    """The GRU layer as Keras 2.0 had it, for files that do not say `reset_after`: today's default is the other one."""
    objects = iterate_objects(found.model.config)
    if not any(one["class_name"] == "GRU" and "reset_after" not in one["config"] for one in objects):
        return {}

    class GRU(keras.layers.GRU):
        def __init__(self, *arguments: Any, reset_after: bool = False, **more: Any) -> None:
            super().__init__(*arguments, reset_after=reset_after, **more)

    return {"GRU": GRU}


def load_custom_objects(path: Path) -> dict[str, Any]:
    """The classes and functions that a Python file defines, by name. Raises UserError if it cannot be run."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise UserError(f"no Python file at {show_path(path)}; --custom-objects takes one that defines the classes")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise UserError(f"{show_path(path)} failed: {type(error).__name__}: {format_reason(error)}") from None
    finally:
        sys.path.remove(str(path.parent))
    return {
        name: value
        for name, value in vars(module).items()
        if callable(value) and getattr(value, "__module__", "") == path.stem
    }


@contextmanager
def seek_in_members() -> Iterator[None]:
    """Have zipfile seek from where a member's reader stands.

    Python 3.12.1 and 3.13.0 seek from where the archive was read last: Keras reads vocabularies while its weights are
    open.
    """
    shared = getattr(zipfile, "_SharedFile")  # noqa: B009  # of no stub
    seek = shared.seek

    def seek_here(self: Any, offset: int, whence: int = os.SEEK_SET) -> Any:
        return seek(self, self.tell() + offset) if whence == os.SEEK_CUR else seek(self, offset, whence)

    shared.seek = seek_here
    try:
        yield
    finally:
        shared.seek = seek


@contextmanager
def explain_keras(found: KerasFile) -> Iterator[None]:
    """Raise what Keras finds wrong with a model as a UserError of one line. Keras says it in any kind of error."""
    where = show_path(found.path)
    try:
        with quiet(), seek_in_members():
            yield
    except (UserError, OSError, MemoryError):
        raise
    except Exception as error:
        if missing := _UNKNOWN.search(str(error)):
            more = "; if it is an operation of Keras, save the model as .keras" if _is_in_hdf5(found) else ""
            raise UserError(f"{_make_missing(where, missing[1] or missing[2])}{more}") from None
        reason = make_printable(format_reason(error), 300)
        advice = next((text for words, text in _ADVICE if words in reason), _OTHERWISE)
        if found.weights is not None and advice is _OTHERWISE:
            reason, advice = f"{show_path(found.weights)}: {reason}", _OTHER_WEIGHTS
        raise UserError(f"{where} of Keras {_show_version(found)} cannot be loaded; {reason}; {advice}") from None


@dataclass(frozen=True, kw_only=True)
class ExportedKeras(PreparedSavedModel):
    """A Keras model that was exported, read back and scanned. `ends` call it in Keras.

    They are None where it was cut at other inputs and outputs than its own.
    """

    ends: Ends | None


def record_order(folder: Path, ends: Ends) -> None:
    """Record the model's order of inputs and outputs in an export: a SignatureDef holds them in maps, without one."""
    file = folder / "saved_model.pb"
    saved_model = protos.SavedModel.FromString(file.read_bytes())
    for meta_graph in saved_model.meta_graphs:
        signature = read_signature_def(meta_graph.signature_def[SERVING_DEFAULT])
        keys = [spec.name for spec in ends.specs], ends.outputs
        places = [{key: place for place, key in enumerate(side)} for side in keys]
        sides = zip((signature.inputs, signature.outputs), places, strict=True)
        ordered = (tuple(sorted(side, key=lambda tensor: places[tensor.key])) for side, places in sides)
        record_signature(meta_graph.graph_def, Signature(*ordered))
    file.write_bytes(saved_model.SerializeToString(deterministic=True))
    if (folder / "fingerprint.pb").is_file():  # of the file as it was; only a private function writes one
        module = import_quietly("tensorflow.python.saved_model.fingerprinting_utils")
        with quiet():
            module.write_fingerprint(str(folder))


def read_export(folder: Path, ends: Ends, args: argparse.Namespace) -> ExportedKeras:
    """The exported model in a folder, read back and scanned. Raises UserError if it could do harm."""
    inputs, outputs = getattr(args, "inputs", None), getattr(args, "outputs", None)
    with explain_failures("the export cannot be loaded"):
        exported = prepare_saved_model(find_saved_model(folder), inputs=inputs, outputs=outputs, trust=args.trust_model)
    return ExportedKeras(**vars(exported), ends=None if inputs or outputs else ends)


def compare_with_keras(loaded: Origin, exported: ExportedKeras) -> Origin:
    """The loaded export as the source of a conversion, with the answers of the Keras model that it was made of."""
    if exported.ends is None:
        return loaded
    changes_variables = loaded.repeat is not None
    predict = exported.ends.predict_afresh() if changes_variables else exported.ends.predict
    return replace(loaded, predict=predict, tolerance=loaded.tolerance or KERAS)


def _link(link: Path, target: Path) -> Path:
    link.symlink_to(target.resolve())
    return link


def _show_version(found: KerasFile) -> str:
    return make_printable(found.model.version) or str(found.model.major)


def _require_scanned(found: KerasFile) -> None:
    """Raise UserError if HDF5's library reads other layers in the file than were scanned."""
    with open_hdf5(found.file.path) as root:
        text = root.attrs.get("model_config", "")
    if parse_json(text if isinstance(text, bytes) else str(text).encode(), "model_config") != found.model.config:
        raise UserError(f"{show_path(found.path)} is damaged; it holds two model_config; save it again with Keras")


def _require_classes(found: KerasFile, keras: Any, own: Mapping[str, Any]) -> None:
    """Raise UserError if a class is neither of Keras nor the user's own: Keras 2 would import it from any module."""
    for one in iterate_objects(found.model.config):
        module, registered = str(one.get("module") or ""), str(one.get("registered_name") or "")
        name = str(one["config"]) if one["class_name"] == "function" else one["class_name"]
        if is_of_keras(module) or not (module or ">" in registered):
            continue
        if not any(keras.saving.get_registered_object(n, own) for n in (registered, name) if n):
            raise _make_missing(show_path(found.path), f"{module}.{name}" if module else registered)


def _make_missing(where: str, name: str) -> UserError:
    return UserError(
        f"{where} needs {make_printable(name)}, which Keras does not have; name the Python file that defines it: "
        "--custom-objects FILE.py"
    )
