"""The fields of a body's JSON in the Open Inference Protocol, and the rules that find a field of a wrong type.

Fields that the protocol does not have are ignored; null stands for an optional field that is left out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from serialization.run.json_values import WHOLE, MisfitError, tell_misfit
from serialization.serving.requests import RequestError
from serialization.serving.wire.json_format import read_body

_NAMES = {str: "a string", list: "a list", dict: "an object", int: WHOLE, bool: "true or false"}
_REFUSED = ("classification", "shared_memory_region")  # parameters that would change what an answer is
_REQUIRED = object()


class Input(msgspec.Struct, gc=False):
    """A tensor that is given. Its data may be bytes behind the JSON."""

    name: str
    shape: list[int]
    datatype: str
    data: Any = msgspec.UNSET
    parameters: dict[str, Any] | None = None


class Output(msgspec.Struct, gc=False):
    """A tensor that is asked for."""

    name: str
    parameters: dict[str, Any] | None = None


class Body(msgspec.Struct, gc=False):
    """A request."""

    inputs: list[Input]
    id: str | None = None
    outputs: list[Output] | None = None
    parameters: dict[str, Any] | None = None


class _QuickInput(Input, gc=False):
    data: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class QuickBody(Body, gc=False):
    """The same, with the text of the data in place of its values."""

    inputs: list[_QuickInput]  # type: ignore[assignment]


def read_by_rules(text: bytes) -> Body:
    """A body whose keys are there once. Raises RequestError for a field that is missing, or of another type."""
    try:
        if not text.strip():
            raise MisfitError("the body is empty; expected a JSON object")
        document = read_body(text)
    except MisfitError as misfit:
        raise RequestError(400, str(misfit)) from None
    body = _require(document, dict, "the body")
    inputs, outputs = _take(body, "inputs", list), _take(body, "outputs", list, None)
    return Body(
        inputs=[_read_input(given, f"inputs[{i}]") for i, given in enumerate(inputs)],
        id=_take(body, "id", str, None),
        outputs=outputs and [_read_output(asked, f"outputs[{i}]") for i, asked in enumerate(outputs)],
        parameters=_take(body, "parameters", dict, None),
    )


def _read_input(value: Any, place: str) -> Input:
    given = _require(value, dict, place)
    shape = _take(given, "shape", list, place=place)
    return Input(
        name=_take(given, "name", str, place=place),
        shape=[_require(size, int, f"{place}.shape[{i}]") for i, size in enumerate(shape)],
        datatype=_take(given, "datatype", str, place=place),
        data=given.get("data", msgspec.UNSET),
        parameters=_take(given, "parameters", dict, None, place),
    )


def _read_output(value: Any, place: str) -> Output:
    asked = _require(value, dict, place)
    return Output(_take(asked, "name", str, place=place), _take(asked, "parameters", dict, None, place))


def _take(fields: Mapping[str, Any], key: str, kind: type, default: Any = _REQUIRED, place: str = "") -> Any:
    """A field of this type; the default for one that is left out, or null. Raises RequestError."""
    value = fields.get(key)
    if value is None and default is not _REQUIRED:
        return default
    if key not in fields:
        raise RequestError(400, f"{place or 'the body'}: missing key {key!r}")
    return _require(value, kind, f"{place}.{key}" if place else key)


def _require(value: Any, kind: type, place: str) -> Any:
    if type(value) is not kind:
        raise RequestError(400, f"{place}: {tell_misfit(_NAMES[kind], value)}")
    return value


def read_flag(parameters: Mapping[str, Any] | None, name: str, place: str, *, default: bool) -> bool:
    """Whether the answer is to be bytes. Raises RequestError for parameters that ask for another answer."""
    refuse_parameters(parameters or (), place)
    return bool(_take(parameters or {}, name, bool, default, place))


def read_size(parameters: Mapping[str, Any] | None, place: str) -> int | None:
    """The number of bytes that a tensor has behind the JSON, None if it has data. Raises RequestError."""
    refuse_parameters(parameters or (), place)
    size = _take(parameters or {}, "binary_data_size", int, None, place)
    if size is not None and size < 0:
        raise RequestError(400, f"{place}.binary_data_size: expected 0 or more, got {size}")
    return None if size is None else int(size)


def refuse_parameters(names: Collection[str], place: str) -> None:
    """Raise RequestError if one of these parameters asks for another answer than this server has."""
    for name in _REFUSED:
        if name in names:
            raise RequestError(400, f"{place}: the parameter {name} is not supported here")
