"""Renders the page at `/`: the model, its signature, and a request to try, in one file without external assets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from serialization.errors import UserError
from serialization.graph.signature import Signature, Tensor, show_shape
from serialization.run.images import describe_image_input
from serialization.serving.http.predict_route import PREDICT
from serialization.serving.requests import INPUT, OUTPUT

if TYPE_CHECKING:
    from serialization.serving.http.version import Version
    from serialization.serving.model.engine import Engine

_TEMPLATE = Path(__file__).with_name("page.html")


def render_page(version: Version, names: Sequence[str]) -> str:
    """The page's HTML for one of the models with these names, the first of which answers at /api/predict."""
    engine, settings, name = version.engine, version.settings, version.served.name
    signature = engine.signature
    route = PREDICT if name == names[0] else f"{PREDICT}/{quote(name)}"
    data = {
        "name": version.path,
        "models": names if len(names) > 1 else [],
        "how": _explain_runs(engine, settings.timeout),
        "route": route.lstrip("/"),  # from where the page is: a proxy may have it below a path
        "inputs": _rows(INPUT, signature.inputs),
        "outputs": _rows(OUTPUT, signature.outputs),
        "example": version.example,
        "image": _image(signature),
        "labels": settings.labels,
        "sample": settings.sample,
    }
    # Inside <script> only `<` can end the data; JSON reads the escape as the same character.
    return _TEMPLATE.read_text("utf-8").replace("__MODEL__", json.dumps(data).replace("<", "\\u003c"))


def _explain_runs(engine: Engine, timeout: float) -> str:
    """How the model runs, in a sentence for people."""
    if engine.predict_batch:
        return f"Rows of requests that arrive together run as one batch, of up to {engine.batch_size} rows."
    if engine.inline:
        return "Each request is answered at once: the model takes less than a millisecond."
    end = "cancelled" if engine.cancels else "answered with an error"
    return f"Each request runs by itself, and is {end} after {timeout:g} seconds."


def _rows(place: str, tensors: Sequence[Tensor]) -> list[dict[str, str]]:
    """The rows of the page's table: each tensor's place in a body, and its name, dtype and shape in the graph."""
    return [
        {
            "place": place if len(tensors) == 1 else f"{place}.{tensor.key}",
            "name": tensor.name,
            "dtype": tensor.dtype,
            "shape": show_shape(tensor.shape),
        }
        for tensor in tensors
    ]


def _image(signature: Signature) -> dict[str, Any] | None:
    """The size and layout of the images that the model takes; None if it takes no images."""
    if len(signature.inputs) != 1:
        return None
    try:
        image_input = describe_image_input(signature.inputs[0])
    except UserError:
        return None
    return {
        "height": image_input.height,
        "width": image_input.width,
        "channels": image_input.channels,
        "first": image_input.channels_first,
        "whole": not image_input.tensor.dtype.startswith(("float", "bfloat", "half")),
    }
