"""Tells a request that names another model, version or label apart, in TensorFlow Serving's words.

Source: server_core.cc and get_model_status_impl.cc of tensorflow/serving.
"""

from __future__ import annotations

from serialization.console import make_printable
from serialization.serving.requests import RequestError
from serialization.serving.wire.protocol import ServedModel


def require_served(served: ServedModel, name: str, version: int | None, label: str | None) -> None:
    """Raise RequestError if a prediction names another model; `version` and `label` are None if it names none."""
    if label is not None and name == served.name and label != served.label:
        raise RequestError(400, f"Unrecognized servable version label: {make_printable(label)}")
    if version is not None and (name, version) != (served.name, int(served.version)):
        raise RequestError(404, f"Servable not found for request: Specific({make_printable(name)}, {version})")
    if name != served.name:
        raise RequestError(404, f"Servable not found for request: Latest({make_printable(name)})")


def list_states(served: ServedModel, name: str, version: int | None) -> dict[str, str]:
    """Each version that is asked for, the newest first, and why it is not served, "" if it is.

    Raises RequestError if the state of another model, or of a version that is not there, is asked for.
    """
    if name != served.name:
        raise RequestError(404, f"Could not find any versions of model {make_printable(name)}")
    states = {**served.list_others(), served.version: ""}
    found = [number for number in states if version in (None, int(number))]
    if not found:
        raise RequestError(404, f"Could not find version {version} of model {make_printable(name)}")
    return {number: states[number] for number in sorted(found, key=int, reverse=True)}
