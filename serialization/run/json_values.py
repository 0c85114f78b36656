"""Converts JSON to the array of a tensor, by the same rules for `--feed` and for the bodies of requests.

An error names the place of the value: `x[3][2]: expected a number, got a string`. The server decodes bodies that fit
faster. These rules decide about all other bodies, and give the messages.
"""

from __future__ import annotations

import base64
import json
import math
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

from serialization.console import format_count, make_printable
from serialization.formats.numpy_dtypes import get_limits, get_numpy_dtype
from serialization.graph.signature import Tensor, show_shape
from serialization.tensorflow import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAX_RANK = 32  # of a tensor of unknown rank; numpy 1 allows no more dimensions
_MAX_DIGITS = 400  # of a whole number; a longer one is beyond every dtype
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")  # RFC 4648, section 4
_WEB_SAFE = re.compile("[A-Za-z0-9_-]*={0,2}")  # RFC 4648, section 5, with the padding left out or not
_DATA_URL = re.compile(r"\Adata:[^,]*;base64,", re.IGNORECASE)  # RFC 2397
_NONFINITE = {None: math.nan, "NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
WHOLE = "a whole number"
_NAMES = {
    float: "a number",
    int: "a number",
    str: "a string",
    bool: "true or false",
    type(None): "null",
    list: "a list",
    dict: "an object",
}


class MisfitError(ValueError):
    """`PLACE: expected ONE THING, got ANOTHER`."""


class DtypeRule(NamedTuple):
    """The JSON values that a tensor of one dtype takes: their Python types, and of numbers the least and the most."""

    kind: str  # "bool", "int", "float" or "string"
    expected: str
    types: tuple[type, ...]
    least: float = 0
    most: float = 1


class _Nonfinite(str):
    """NaN, Infinity or -Infinity, which Python's parser accepts although they are not JSON."""


@lru_cache
def find_rule(dtype: str) -> DtypeRule | None:
    """The rule for a dtype by TensorFlow's name; None if JSON has no values of it, such as of complex64 or qint8."""
    kind, least, most = get_limits(dtype)
    if kind == "bool":
        return DtypeRule("bool", "true or false", (bool,))
    if kind == "int":
        return DtypeRule("int", WHOLE, (int,), least, most)
    if kind == "float":
        most = _find_most(get_numpy_dtype(dtype), most)
        return DtypeRule("float", "a number", (int, float), -most, most)
    return DtypeRule("string", "a string", (str, dict)) if kind == "string" else None


def _find_most(dtype: np.dtype[Any], last: float) -> float:
    """The greatest number that a float of this dtype takes: a bit more than its `last`, to which it rounds it.

    3.4028235e38, as many languages print the last float32, is such a number.
    """
    beyond = 2 * last
    with np.errstate(over="ignore"):
        while (middle := last + (beyond - last) / 2) not in (last, beyond):
            if math.isfinite(float(np.float64(middle).astype(dtype))):
                last = middle
            else:
                beyond = middle
    return last


def read_json(text: str) -> Any:
    """A JSON value. Raises json.JSONDecodeError, and MisfitError for a repeated key or lists nested too deep.

    A whole number of over 400 digits is cut to 400, still beyond every dtype. NaN and Infinity become strings of a type
    that no dtype takes, so the message about them can name their place.
    """
    try:
        return json.loads(text, parse_int=_parse_int, parse_constant=_Nonfinite, object_pairs_hook=make_object)
    except RecursionError:
        raise MisfitError("nested too deep") from None


def make_object(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these pairs. Raises MisfitError for a repeated key; a dict would keep only the last value."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise MisfitError(f"the key {make_printable(repr(key))} is there twice")
        found[key] = value
    return found


def convert_json(tensor: Tensor, value: Any, place: str, *, nonfinite: bool = False) -> NDArray[Any]:
    """A JSON value as an array of the tensor's dtype, of a shape that fits; strings become bytes, as objects.

    With `nonfinite` a tensor of floats takes NaN and Infinity, also as strings, and null as NaN: JavaScript and pandas
    write it so. Raises MisfitError with the place of the wrong value, below `place`.
    """
    rule = find_rule(tensor.dtype)
    if rule is None:
        raise MisfitError(f"{place}: JSON has no values of {tensor.dtype}; give @file.npy")
    shape = measure_shape(value, tensor.shape, place)
    flat = list(flatten_lists(value, len(shape)))
    if nonfinite and rule.kind == "float":
        flat = [_read_nonfinite(item) for item in flat]
    for position, item in enumerate(flat):
        misfit = ""
        if type(item) not in rule.types:
            misfit = tell_misfit(rule.expected, item)
        elif rule.kind == "string":
            try:
                flat[position] = _to_bytes(item)
            except ValueError as error:
                misfit = str(error)
        elif not rule.least <= item <= rule.most and not (nonfinite and rule.kind == "float" and _is_nonfinite(item)):
            span = f", {rule.least} to {rule.most}" if rule.kind == "int" else ""
            misfit = f"the number is beyond the range of {tensor.dtype}{span}"
        if misfit:
            raise MisfitError(f"{format_place(place, position, shape)}: {misfit}")
    if rule.kind == "string":
        array = np.empty(len(flat), object)
        array[:] = flat
    else:
        # From floats, as in the server's decoder: bfloat16 and other short floats take no Python int above 2**63.
        array = np.array(list(map(float, flat)) if rule.kind == "float" else flat, get_numpy_dtype(tensor.dtype))
    return array.reshape(shape)


def measure_shape(value: Any, expected: Sequence[int | None] | None, place: str) -> tuple[int, ...]:
    """The shape of nested lists. Raises MisfitError if it does not fit the expected shape, or if lists are ragged."""
    shape: list[int] = []
    level = [value]
    depth = MAX_RANK if expected is None else len(expected)
    while level and len(shape) < depth and (expected is not None or isinstance(level[0], list)):
        lists = [isinstance(part, list) for part in level]
        if not any(lists):
            if shape and _is_typed_array(level[0]):
                raise MisfitError(f"{format_place(place, 0, shape)}: expected a list, got {name_json_type(level[0])}")
            raise MisfitError(
                f"{place}: expected the shape {show_shape(expected)}, got {shape or name_json_type(value)}"
            )
        if not all(lists):
            odd = lists.index(False)
            raise MisfitError(f"{format_place(place, odd, shape)}: expected a list, got {name_json_type(level[odd])}")
        fixed = expected[len(shape)] if expected is not None else None
        size = len(level[0]) if fixed is None else fixed
        odd = next((i for i, part in enumerate(level) if len(part) != size), -1)
        if odd >= 0:
            like = f" as in {format_place(place, 0, shape)}" if fixed is None else ""
            found = f"expected {format_count(size, 'value')}{like}, got {len(level[odd])}"
            raise MisfitError(f"{format_place(place, odd, shape)}: {found}")
        shape.append(size)
        level = list(chain.from_iterable(level))
    # An empty list does not show the sizes of the dimensions below it.
    return (*shape, *(size or 0 for size in (expected or ())[len(shape) :]))


def flatten_lists(value: Any, rank: int) -> Iterable[Any]:
    """The innermost values of lists nested `rank` deep."""
    flat: Iterable[Any] = [value]
    for _ in range(rank):
        flat = chain.from_iterable(flat)
    return flat


def format_place(name: str, position: int, shape: Sequence[int]) -> str:
    """`x[3][2]` for the position in the flat values of this shape."""
    indices = []
    for size in reversed(shape):
        position, index = divmod(position, size)
        indices.append(index)
    return name + "".join(f"[{index}]" for index in reversed(indices))


def name_json_type(value: Any) -> str:
    """The name of a JSON value's type in messages, such as `a list`."""
    if isinstance(value, _Nonfinite):
        return str(value)
    if _is_typed_array(value):
        return "an object with the keys 0, 1, ... (a JavaScript typed array; send Array.from(it))"
    return _NAMES[type(value)]


def tell_misfit(expected: str, value: Any) -> str:
    """`expected ONE THING, got ANOTHER`; 1.0 is no whole number, so it is shown."""
    shown = expected == WHOLE and isinstance(value, float) and math.isfinite(value)
    return f"expected {expected}, got {value if shown else name_json_type(value)}"


def _is_typed_array(value: Any) -> bool:
    """Whether JavaScript has written this object for an array of numbers, such as a Float32Array."""
    return isinstance(value, dict) and len(value) > 0 and list(value) == list(map(str, range(len(value))))


def _read_nonfinite(item: Any) -> Any:
    """The float that this item of JSON stands for, if it is null or a word for a number that is not finite."""
    return _NONFINITE.get(item, item) if item is None or isinstance(item, str) else item


def _is_nonfinite(number: float) -> bool:
    """Whether it is NaN or Infinity; a whole number of 400 digits, which float() refuses, is not."""
    return isinstance(number, float) and not math.isfinite(number)


def has_base64_form(text: str) -> bool:
    """Whether the text is base64 with its padding (RFC 4648, section 4)."""
    return _BASE64.fullmatch(text) is not None


def _parse_int(digits: str) -> int:
    return int(digits[:_MAX_DIGITS])


def _to_bytes(value: str | dict[str, Any]) -> bytes:
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError:  # half of a surrogate pair
            half = ascii(next(character for character in value if "\ud800" <= character <= "\udfff"))
            raise ValueError(
                f"the string is no Unicode text: {half} is half of a surrogate pair; "
                'give other bytes as {"b64": their base64}'
            ) from None
    encoded = value.get("b64")
    if len(value) != 1 or not isinstance(encoded, str):
        raise ValueError('expected a string, or {"b64": its bytes in base64}')
    return decode_base64(encoded)


def decode_base64(text: str) -> bytes:
    """The bytes of base64, plain or web-safe (RFC 4648, sections 4 and 5), or of a data: URL. Raises ValueError."""
    encoded = _DATA_URL.sub("", text)
    if _WEB_SAFE.fullmatch(encoded) and (len(encoded) % 4 == 0 if "=" in encoded else len(encoded) % 4 != 1):
        plain = encoded.rstrip("=").replace("-", "+").replace("_", "/")
        return base64.b64decode(plain + "=" * (-len(plain) % 4))
    if not has_base64_form(encoded):
        raise ValueError('expected a string, or {"b64": its bytes in base64}')
    return base64.b64decode(encoded)
