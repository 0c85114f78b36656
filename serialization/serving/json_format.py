"""Tensors as JSON: `{"x": [[0,1,2,3,4,5,6,7,8,9]]}` goes in, `{"y": [[false]]}` comes out.

With several inputs x is an object of tensors by key, with several outputs y is one. What a body must look like is a
type, made once from the signature; msgspec decodes into it and refuses what does not fit, place and all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from serialization import cli, feeds
from serialization.serving.answers import RequestError
from serialization.signature import Signature, Tensor
from serialization.tensorflow import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

INPUT, OUTPUT = "x", "y"


class JsonFormat:
    """Decodes the bodies that a signature takes, encodes what it gives. RequestError where a body does not fit."""

    def __init__(self, signature: Signature, max_rows: int) -> None:
        self._tensors = {tensor.key: tensor for tensor in signature.inputs}
        self._inputs = [(tensor.key, feeds.numpy_dtype(tensor.dtype)) for tensor in signature.inputs]
        self._max_rows = max_rows
        self._only_input = len(self._inputs) == 1
        self._only_output = len(signature.outputs) == 1
        types = [_tensor_type(tensor, max_rows) for tensor in signature.inputs]
        value = types[0] if self._only_input else _object([tensor.key for tensor in signature.inputs], types)
        self._decoder = msgspec.json.Decoder(_object([INPUT], [value]))
        self._quotes = 2 + (0 if self._only_input else 2 * len(types))
        self._encode = msgspec.json.Encoder().encode

    def decode(self, body: bytes) -> dict[str, NDArray[Any]]:
        """The arrays of a request's body, by input key."""
        try:
            value = self._decoder.decode(body).field0
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RequestError(400, self._explain(error, body)) from None
        # Numbers hold no quotes, so each key is there once or a key is there twice.
        if body.count(b'"') != self._quotes:
            raise RequestError(400, "a key is there twice; JSON would keep one of the two and say nothing")
        values = [value] if self._only_input else [getattr(value, f"field{i}") for i in range(len(self._inputs))]
        return {key: _to_array(key, v, dtype) for (key, dtype), v in zip(self._inputs, values, strict=True)}

    def encode(self, results: Mapping[str, NDArray[Any]]) -> bytes:
        """The body of an answer, from the arrays by output key."""
        values = {key: array.tolist() for key, array in results.items()}
        return self._encode({OUTPUT: next(iter(values.values())) if self._only_output else values})

    def _explain(self, error: Exception, body: bytes) -> str:
        """What msgspec found, as `x[3][2]: expected a number, got a string`."""
        if not body.strip():
            return "the body is empty; expected a JSON object"
        if not isinstance(error, msgspec.ValidationError):
            return f"the body is not JSON: {error}"
        text, _, path = str(error).partition(" - at `$.")
        place = path.removesuffix("`") or "the body"
        if match := _WRONG_TYPE.match(text):
            return f"{place}: expected {_names(match[1])}, got {_names(match[2])}"
        if match := _WRONG_LENGTH.match(text):
            return f"{place}: {self._expected_length(body, place)}"
        if match := _WRONG_FIELD.match(text):
            return f"{place}: {'missing' if match[1].startswith('missing') else 'unknown'} key {match[2]!r}"
        return f"{place}: {text[:1].lower()}{text[1:].replace('`', '')}"

    def _expected_length(self, body: bytes, place: str) -> str:
        """How long the list at this place is, and how long it had to be."""
        key, indices = _INDICES.fullmatch(place.removeprefix(INPUT).removeprefix(".")).groups()  # type: ignore[union-attr]
        value = msgspec.json.decode(body)[INPUT]
        value = value[key] if key else value
        steps = [int(index) for index in re.findall(r"\d+", indices)]
        for step in steps:
            value = value[step]
        tensor = self._tensors[key] if key else next(iter(self._tensors.values()))
        assert tensor.shape is not None
        size = tensor.shape[len(steps)]
        return f"expected {f'1 to {self._max_rows} rows' if size is None else f'{size} values'}, got {len(value)}"


def _object(keys: Sequence[str], types: Sequence[Any]) -> Any:
    """A type for an object with exactly these keys; its fields are called field0, field1, for a key may be any text."""
    fields = [(f"field{i}", type_) for i, type_ in enumerate(types)]
    renamed = {f"field{i}": key for i, key in enumerate(keys)}
    return msgspec.defstruct("Body", fields, rename=renamed.get, forbid_unknown_fields=True, gc=False)


def _tensor_type(tensor: Tensor, max_rows: int) -> Any:
    """Nested lists of the tensor's shape, with numbers that its dtype can hold."""
    if tensor.shape is None:
        raise cli.Error(f"{tensor} has no known rank, so no request could be checked; name other --inputs")
    result: Any = _number_type(tensor)
    for axis, size in reversed(list(enumerate(tensor.shape))):
        if size is not None:
            result = Annotated[list[result], msgspec.Meta(min_length=size, max_length=size)]
        elif axis == 0:
            result = Annotated[list[result], msgspec.Meta(min_length=1, max_length=max_rows)]
        else:
            result = list[result]
    return result


def _number_type(tensor: Tensor) -> Any:
    dtype = feeds.numpy_dtype(tensor.dtype)
    if dtype.kind == "b":
        return bool
    if dtype.kind in "iu":
        bounds = np.iinfo(dtype)
        return Annotated[int, msgspec.Meta(ge=int(bounds.min), le=int(bounds.max))]
    if dtype.kind == "f":
        limit = float(np.finfo(dtype).max)
        return Annotated[float, msgspec.Meta(ge=-limit, le=limit)]
    raise cli.Error(f"{tensor} is of a dtype that JSON has no numbers for; name other --inputs")


def _to_array(key: str, value: Any, dtype: Any) -> NDArray[Any]:
    try:
        return np.array(value, dtype)
    except ValueError:  # a dimension that may have any size, but the same in all rows
        raise RequestError(400, f"{key}: expected lists of one length, got several lengths") from None


_NAMES = {
    "float": "a number",
    "int": "a whole number",
    "str": "a string",
    "bool": "true or false",
    "null": "null",
    "array": "a list",
    "object": "an object",
}
_WRONG_TYPE = re.compile(r"Expected `([\w |]+)`, got `(\w+)`")
_WRONG_LENGTH = re.compile(r"Expected `array` of length (<=|>=) (\d+)")
_WRONG_FIELD = re.compile(r"Object (missing required|contains unknown) field `(.*)`", re.DOTALL)


_NAMES = {
    "float": "a number",
    "int": "a whole number",
    "str": "a string",
    "bool": "true or false",
    "null": "null",
    "array": "a list",
    "object": "an object",
}
_WRONG_TYPE = re.compile(r"Expected `([\w |]+)`, got `(\w+)`")
_WRONG_LENGTH = re.compile(r"Expected `array` of length")
_WRONG_FIELD = re.compile(r"Object (missing required|contains unknown) field `(.*)`", re.DOTALL)
_INDICES = re.compile(r"(.*?)((?:\[\d+\])*)", re.DOTALL)


def _names(types: str) -> str:
    """Msgspec's `str | object` as people say it."""
    return " or ".join(_NAMES.get(name, name) for name in types.split(" | "))
