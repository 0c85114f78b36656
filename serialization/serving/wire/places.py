"""Where in a body a fault is, said as `x[3][2]: expected a number, got a string`."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

from serialization.console import make_printable
from serialization.graph.signature import Tensor
from serialization.tensorflow import tf

INPUT, OUTPUT = "x", "y"

_NAMES = {
    "float": "a number",
    "int": "a whole number",
    "str": "a string",
    "bytes": "a string in base64",
    "bool": "true or false",
    "null": "null",
    "array": "a list",
    "object": "an object",
}
_WRONG_TYPE = re.compile(r"Expected `([\w |]+)`, got `(\w+)`")
_WRONG_LENGTH = re.compile(r"Expected `array` of length")
_OUT_OF_BOUNDS = re.compile(r"Expected `\w+` [<>]= |Number out of range")
_WRONG_FIELD = re.compile(r"Object (missing required|contains unknown) field `(.*)`", re.DOTALL)


def explain_misfit(error: Exception, body: bytes, inputs: Sequence[Tensor], max_rows: int) -> str:
    """What msgspec found wrong with a body, in words for who wrote the body."""
    if not body.strip():
        return "the body is empty; expected a JSON object"
    if isinstance(error, RecursionError):
        return "the body is nested too deep"
    if not isinstance(error, msgspec.ValidationError):
        return f"the body is not JSON: {error}"
    text, _, path = str(error).partition(" - at `$.")
    place = path.removesuffix("`") or "the body"
    if match := _WRONG_TYPE.match(text):
        return f"{place}: expected {_names(match[1])}, got {_names(match[2])}"
    if match := _WRONG_FIELD.match(text):
        if match[1].startswith("missing"):
            return f"{place}: missing key {match[2]!r}"
        known = [INPUT] if not path else [tensor.key for tensor in inputs] if place == INPUT else ["b64"]
        expected = make_printable(" and ".join(map(repr, known)))
        return f"{place}: unknown key {make_printable(repr(match[2]))}; expected {expected}"
    if found := _find(place, inputs):
        tensor, indices = found
        if _OUT_OF_BOUNDS.match(text):
            dtype = tf.as_dtype(tensor.dtype)
            span = f", {int(dtype.min)} to {int(dtype.max)}" if dtype.is_integer else ""
            return f"{place}: the number is beyond what {tensor.dtype} holds{span}"
        if _WRONG_LENGTH.match(text):
            size = None if tensor.shape is None else tensor.shape[len(indices)]
            expected = f"1 to {max_rows} rows" if size is None else f"{size} values"
            return f"{place}: expected {expected}{_got(body, tensor.key if len(inputs) > 1 else None, indices)}"
    return f"{place}: {text[:1].lower()}{text[1:].replace('`', '')}"


def _names(types: str) -> str:
    """Msgspec's `str | object` as people say it."""
    return " or ".join(_NAMES.get(name, name) for name in types.split(" | "))


def _find(place: str, inputs: Sequence[Tensor]) -> tuple[Tensor, list[int]] | None:
    """Which input a place is in, and where; a key may look like an index itself."""
    for tensor in inputs:
        start = INPUT if len(inputs) == 1 else f"{INPUT}.{tensor.key}"
        indices = [int(index) for index in re.findall(r"\d+", place.removeprefix(start))]
        whole = start + "".join(f"[{index}]" for index in indices)
        if place == whole and (tensor.shape is None or len(indices) <= len(tensor.shape)):
            return tensor, indices
    return None


def _got(body: bytes, key: str | None, indices: Sequence[int]) -> str:
    """How many there are; nothing where that cannot be found again.

    A later part of the body may be no JSON, which msgspec had not come to, or the same key once more.
    """
    try:
        value = msgspec.json.decode(body)[INPUT]
        if key is not None:
            value = value[key]
        for index in indices:
            value = value[index]
        return f", got {len(value)}"
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, LookupError, TypeError):
        return ""
