"""Reports on a Keras model from the JSON of its layers and the HDF5 file of its weights, without Keras."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

from serialization.checks.hdf5_files import list_datasets
from serialization.checks.keras_layers import scan_layers
from serialization.formats.keras_files import KerasModel

_OPTIMIZER = ("/optimizer/", "/optimizer_weights/", "/_optimizer/")
_NO_PARAMETERS = ("seed_generator",)  # the state of a random generator
_MODELS = ("Functional", "Model", "Sequential")


def describe_layers(model: KerasModel) -> dict[str, Any]:
    """The class, version, layers, inputs and outputs of a Keras model, and what the safety scan found in its layers."""
    layers = list(_list_layers(model.config))
    return {
        "version": model.version or None,
        "class": model.config.get("class_name"),
        "layers": [{"name": path, "class": one["class_name"]} for path, one in layers],
        "inputs": list(_list_inputs(layers)),
        "outputs": _list_outputs(model.config),
        "findings": list(dict.fromkeys(scan_layers(model.config))),
    }


def list_weights(path: Path) -> list[dict[str, Any]]:
    """The rows of `variables[]` for the datasets of an HDF5 file or a .keras archive, read by HDF5's own library."""
    rows = []
    for name, (shape, dtype) in list_datasets(path).items():
        role = "optimizer" if name.startswith(_OPTIMIZER) else None
        counted = role is None and not any(word in name for word in _NO_PARAMETERS)
        rows.append(
            {
                "name": name.strip("/"),
                "full_name": None,
                "role": role,
                "slot": None,
                "slot_of": None,
                "copy_of": None,
                "dtype": "string" if dtype == "object" else dtype,
                "shape": list(shape),
                "parameters": prod(shape) if counted else 0,
                "slices": 1,
            }
        )
    return rows


def _list_layers(config: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """The layers of a model, those of models in it too, each with the names that lead to it."""
    inner = config.get("config")
    layers = inner.get("layers") if isinstance(inner, dict) else inner  # of an old Sequential it is the list itself
    for one in layers if isinstance(layers, list) else ():
        if isinstance(one, dict) and isinstance(one.get("class_name"), str) and isinstance(one.get("config"), dict):
            name = f"{path}{one['config'].get('name') or one.get('name') or one['class_name']}"
            yield name, one
            yield from _list_layers(one, f"{name}/")


def _list_inputs(layers: list[tuple[str, dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    outer = _outer(layers)
    for name, one in [pair for pair in outer if pair[1]["class_name"] == "InputLayer"] or outer[:1]:
        config = one["config"]
        shape = config.get("batch_shape", config.get("batch_input_shape"))
        if isinstance(shape, list):
            yield {"name": name, "dtype": _name_dtype(config.get("dtype")), "shape": shape}


def _outer(layers: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, dict[str, Any]]]:
    return [(name, one) for name, one in layers if "/" not in name]


def _list_outputs(config: dict[str, Any]) -> list[str]:
    """The names of the layers whose results a model answers with; of a dict its keys."""
    inner = config.get("config")
    ends = inner.get("output_layers") if isinstance(inner, dict) else None
    if isinstance(ends, dict):
        return [str(key) for key in ends]
    if isinstance(ends, list):
        nodes = [ends] if ends and isinstance(ends[0], str) else ends
        return [str(node[0]) for node in nodes if isinstance(node, list) and node]
    layers = _outer(list(_list_layers(config))) if config.get("class_name") in _MODELS else []
    return [layers[-1][0]] if layers else []


def _name_dtype(dtype: Any) -> str | None:
    """The name of a dtype, which Keras 3 writes as a policy where it is one."""
    if isinstance(dtype, dict):
        config = dtype.get("config")
        dtype = config.get("name") if isinstance(config, dict) else None
    return dtype if isinstance(dtype, str) else None
