"""Tells what TensorFlow Serving would find wrong with the values of a body, in its own words.

Source: tensorflow_serving/util/json_tensor.cc. Its clients know these messages. Whatever is not a fault to it, such as
a number beyond float32, has the message of /api/predict.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from serialization.run.json_values import MAX_RANK, find_rule, has_base64_form
from serialization.serving.requests import RequestError

_LONGEST = 256  # characters of a value in a message
# The words for types; NaN and Infinity are of another type, and numbers to TensorFlow Serving.
_TYPES = {float: "Number", int: "Number", str: "String", type(None): "Null", list: "Array", dict: "Object"}
_DTYPES = {"float32": "float", "float64": "double", "float16": "half"}  # as TensorFlow's C++ code names them


class _FaultError(ValueError):
    """The reason in TensorFlow Serving's words."""


def split_rows(rows: Any, keys: Sequence[str], optional: Collection[str]) -> dict[str, list[Any]]:
    """The rows of "instances" as a list for each input. Raises RequestError.

    An input of `optional` may be left out of all rows. It is then left out of the result.
    """
    if not isinstance(rows, list):
        raise RequestError(400, "Expecting 'instances' to be an list/array")
    if not rows:
        raise RequestError(400, "No values in 'instances' array")
    if not _is_object(rows[0]):
        if len(keys) > 1:
            raise RequestError(
                400,
                "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
                "tensorinfo_map",
            )
        for i, row in enumerate(rows):
            if _is_object(row):
                raise RequestError(400, f"Expecting value/list but got object at item {i} of input list")
        return {keys[0]: rows}
    left_out = {key for key in optional if not any(isinstance(row, dict) and key in row for row in rows)}
    wanted = {key for key in keys if key not in left_out}
    for i, row in enumerate(rows):
        if not isinstance(row, dict):
            raise RequestError(400, f"Expecting object but got list at item {i} of input list")
        place = f"Failed to process element: {i} of 'instances' list. JSON object: "
        for key in row:
            if key not in wanted:
                raise RequestError(400, f"{place}does not have named input: {_shorten(key)}")
        if row.keys() != wanted:
            raise RequestError(400, f"{place}{_show(row)} keys must be equal to: {','.join(sorted(wanted))}")
    return {key: [row[key] for row in rows] for key in keys if key in wanted}


def split_columns(value: Any, keys: Sequence[str], optional: Collection[str]) -> dict[str, Any]:
    """The value of each input in "inputs". Raises RequestError. An input of `optional` may be left out."""
    if not _is_object(value):
        if len(keys) > 1:
            raise RequestError(
                400,
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map",
            )
        return {keys[0]: value}
    for key in keys:
        if key not in value and key not in optional:
            raise RequestError(400, f"Missing named input: {key} in 'inputs' object.")
    return {key: value[key] for key in keys if key in value}


def find_fault(dtype: str, value: Any, *, by_rows: bool) -> str | None:
    """What TensorFlow Serving would say of an input's value, or of its rows; None if it would run the model."""
    if not by_rows:
        try:
            _measure(dtype, value)
        except _FaultError as fault:
            return str(fault)
        return None
    first: tuple[int, list[int]] | None = None
    for i, row in enumerate(value):
        try:
            size, shape = _measure(dtype, row)
            first = first or (size, shape)
            if size != first[0]:
                raise _FaultError(f"Expecting tensor size: {first[0]} but got: {size}")
            if shape != first[1]:
                raise _FaultError(f"Expecting shape {_show_shape(first[1])} but got: {_show_shape(shape)}")
        except _FaultError as fault:
            return f"Failed to process element: {i} of 'instances' list. Error: INVALID_ARGUMENT: {fault}"
    return None


def refuse_other_than_object(document: Any) -> dict[str, Any]:
    """The document, if it is a JSON object. Raises RequestError."""
    if not isinstance(document, dict):
        raise RequestError(400, f"JSON Value: {_show(document)} Is not object")
    return document


def _measure(dtype: str, value: Any) -> tuple[int, list[int]]:
    """The number of values and the shape, which the first element of each list gives. Raises _FaultError."""
    shape: list[int] = []
    part = value
    while isinstance(part, list) and len(shape) <= MAX_RANK:
        shape.append(len(part))
        part = part[0] if part else None
    return _count(dtype, value, 0, shape), shape


def _count(dtype: str, value: Any, level: int, shape: Sequence[int]) -> int:
    rank = len(shape)
    if not isinstance(value, list):
        if level != rank:
            raise _FaultError(
                f"JSON Value: {_show(value)} found at incorrect level: {level + 1} in the JSON DOM. "
                f"Expected at level: {rank}"
            )
        _require_value(dtype, value)
        return 1
    if level >= rank:
        raise _FaultError(f"Encountered list at unexpected level: {level} expected < {rank}")
    if len(value) != shape[level]:
        raise _FaultError(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}"
        )
    return sum([_count(dtype, part, level + 1, shape) for part in value])


def _require_value(dtype: str, value: Any) -> None:
    rule = find_rule(dtype)
    assert rule is not None  # require_json_form has seen to it
    if rule.kind == "string" and isinstance(value, dict) and not _is_object(value):
        if not has_base64_form(value["b64"]):
            raise _FaultError("Unable to base64 decode")
        return
    kind = _TYPES.get(type(value), "Number") if not isinstance(value, bool) else str(value)
    if (type(value) in rule.types and kind != "Object") or (rule.kind == "float" and kind == "Number"):
        return
    shown = _DTYPES.get(dtype, dtype)
    raise _FaultError(f"JSON Value: {_show(value)} Type: {kind} is not of expected type: {shown}")


def _is_object(value: Any) -> bool:
    """Whether the value is an object other than a string in base64."""
    return isinstance(value, dict) and not (set(value) == {"b64"} and isinstance(value["b64"], str))


def _show(value: Any) -> str:
    try:
        return _shorten(json.dumps(value))
    except RecursionError:
        return "..."


def _shorten(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def _show_shape(shape: Sequence[int]) -> str:
    return f"[{','.join(map(str, shape))}]"
