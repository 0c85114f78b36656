"""Layers that hold code, load other models or name functions beyond Keras's layers are found and named."""

from __future__ import annotations

from typing import Any

import pytest

from serialization.checks.keras_layers import is_of_keras, scan_layers


def layer(kind: str, module: str | None = "keras.layers", **config: Any) -> dict[str, Any]:
    return {"class_name": kind, "module": module, "config": {"name": "mine", **config}}


def function(module: str, name: str) -> dict[str, Any]:
    return {"class_name": "function", "module": module, "config": name}


CODE = {"class_name": "__lambda__", "config": {"code": "4wE="}}
POLICY = {"class_name": "DTypePolicy", "module": "keras", "config": {"name": "float32"}}


@pytest.mark.parametrize(
    ("config", "found"),
    [
        (layer("Lambda", dtype=POLICY, function=CODE), ["the layer mine holds Python code (Lambda)"]),
        (
            layer("Lambda", None, function=["4wE=", None, None], function_type="lambda"),
            ["the layer mine holds Python code (Lambda)"],
        ),
        (layer("Lambda", output_shape_type="lambda"), ["the layer mine holds Python code (Lambda)"]),
        (layer("ResidualWrapper", residual_fn_type="lambda"), ["the layer mine holds Python code (Lambda)"]),
        (
            layer(
                "Sequential", "keras", layers=[layer("Dense", name="in"), layer("Lambda", name="deep", function=CODE)]
            ),
            ["the layer deep holds Python code (Lambda)"],
        ),
        (layer("TFSMLayer", filepath="/x"), ["the layer mine loads a model from elsewhere (TFSMLayer)"]),
        (layer("FlaxLayer"), ["the layer mine loads a model from elsewhere (FlaxLayer)"]),
        (layer("StringLookup", None, vocabulary="/x"), ["the layer mine reads its words from a file (/x)"]),
        (layer("StringLookup", vocabulary=["a"]), []),
        (
            layer("Dense", activation=function("keras.utils", "get_file")),
            ["the layer mine names keras.utils.get_file, which is no part of a model"],
        ),
        (
            layer("Dense", activation=function("tf_keras.src.utils.data_utils", "get_file")),
            ["the layer mine names tf_keras.src.utils.data_utils.get_file, which is no part of a model"],
        ),
        (
            layer("Dense", activation=function("keras.models", "load_model")),
            ["the layer mine names keras.models.load_model, which is no part of a model"],
        ),
        (layer("Lambda", function="relu", function_type="function"), []),
        (
            layer(
                "Dense",
                activation=function("builtins", "relu"),
                kernel_initializer=layer("Zeros", "keras.initializers"),
            ),
            [],
        ),
        (layer("Functional", "keras.src.models.functional"), []),
        (layer("Functional", "tf_keras.src.engine.functional"), []),
        (layer("Functional", "keras.src.engine.functional"), []),
        (layer("Greater", "keras.src.ops.numpy"), []),
        (layer("Mine", "my.layers"), []),  # nothing of Keras: it is refused unless the user's own file defines it
    ],
)
def test_what_is_found_in_layers(config: Any, found: list[str]) -> None:
    assert list(dict.fromkeys(scan_layers(config))) == found


def test_the_modules_of_keras() -> None:
    ours = ("keras", "keras.layers", "tf_keras.src.engine", "keras_hub.models", "builtins")
    assert [m for m in (*ours, "kerasx", "os", "", "mykeras", "builtins.x") if is_of_keras(m)] == list(ours)
