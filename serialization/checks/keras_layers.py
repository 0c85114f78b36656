"""Refuses layers of a Keras model that hold code, or name functions that are no part of a model.

Keras makes each object of a config by the names of its module and class, and Keras 2 imports any module. A Lambda layer
holds the bytecode of a Python function, and Keras 2 runs that of an .h5 file without asking. So all of the config is
looked at before Keras gets it. docs/safety.md says what is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from serialization.console import list_some, make_printable, show_path
from serialization.errors import UserError
from serialization.files.locate_keras import KerasFile
from serialization.formats.keras_files import iterate_objects

# Layers that load another model from a path in their config.
_LOADERS = ("TFSMLayer", "JaxLayer", "FlaxLayer", "TorchModuleWrapper")
# The parts of Keras of which models consist; others, such as keras.utils, read files and fetch them.
_PARTS = (
    *("activations", "constraints", "dtype_policies", "experimental", "initializers", "layers", "losses"),
    *("metrics", "mixed_precision", "models", "nn", "ops", "optimizers", "quantizers", "random", "regularizers"),
    *("src.activations", "src.constraints", "src.dtype_policies", "src.engine", "src.initializers", "src.layers"),
    *(
        "src.losses",
        "src.metrics",
        "src.mixed_precision",
        "src.models",
        "src.ops",
        "src.optimizers",
        "src.premade_models",
    ),
    *("src.quantizers", "src.random", "src.regularizers", "engine", "premade_models"),
)
_KERAS = re.compile(rf"(tf_)?keras(\.({'|'.join(map(re.escape, _PARTS))})(\.\w+)*)?|builtins")
_FILES = re.compile(r"load|save|file|download|export", re.IGNORECASE)


def is_of_keras(module: str) -> bool:
    """Whether Keras itself, or a library of models of its makers, has the classes of this module."""
    return re.match(r"(tf_)?keras(_hub|_cv|_nlp)?(\.|$)|builtins$", module) is not None


def require_safe_layers(found: KerasFile, *, trust: bool) -> None:
    """Raise UserError that names the layers that could do harm, unless `trust`."""
    findings = list(dict.fromkeys(scan_layers(found.model.config)))
    if findings and not trust:
        raise UserError(
            f"{show_path(found.path)} is refused; {list_some(findings)}; if you trust its maker, add --trust-model "
            "(docs/safety.md)"
        )


def scan_layers(config: Any) -> Iterator[str]:
    """The harmful parts of a tree of layers, each with the name of its layer."""
    layer = "the model"
    for one in iterate_objects(config):
        inner, kind = one["config"], one["class_name"]
        if isinstance(inner, dict) and isinstance(inner.get("name"), str) and not kind.endswith("Policy"):
            layer = f"the layer {make_printable(inner['name'])}"
        if kind == "__lambda__" or (isinstance(inner, dict) and _holds_code(inner)):
            yield f"{layer} holds Python code (Lambda)"
        elif kind in _LOADERS:
            yield f"{layer} loads a model from elsewhere ({kind})"
        elif isinstance(inner, dict) and isinstance(inner.get("vocabulary"), str):  # Keras 2 reads it
            yield f"{layer} reads its words from a file ({make_printable(inner['vocabulary'])})"
        module, name = str(one.get("module") or ""), str(inner) if kind == "function" else kind
        if is_of_keras(module) and (not _KERAS.fullmatch(module) or (kind == "function" and _FILES.search(name))):
            yield f"{layer} names {make_printable(f'{module}.{name}')}, which is no part of a model"


def _holds_code(config: dict[str, Any]) -> bool:
    """Whether a layer of Keras 2 holds bytecode: a Lambda's function, shape or mask, the function of a wrapper."""
    return any(key.endswith("_type") and value == "lambda" for key, value in config.items())
