"""Decodes and encodes tensors as JSON: `{"x": [[0,1,2,3,4,5,6,7,8,9]]}` is answered with `{"y": [[false]]}`.

With several inputs x is an object of tensors by key; so is y with several outputs. Strings may be `{"b64": "aGk="}`, as
in TensorFlow Serving. msgspec and simdjson decode the bodies that fit. All other bodies go through the rules of
run/json_values.py, like a value of `--feed`; these find the fault and its place.
"""

from __future__ import annotations

import codecs
import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from itertools import chain
from typing import TYPE_CHECKING, Any

import msgspec

from serialization.console import make_printable
from serialization.errors import UserError
from serialization.formats.numpy_dtypes import get_numpy_dtype
from serialization.graph.signature import Signature, Tensor
from serialization.run.generated_feeds import get_portable_dtype
from serialization.run.given_feeds import make_default
from serialization.run.json_values import (
    MAX_RANK,
    MisfitError,
    convert_json,
    find_rule,
    make_object,
    name_json_type,
    read_json,
)
from serialization.serving.requests import INPUT, OUTPUT, RequestError, require_row_count
from serialization.serving.wire import flat_json
from serialization.serving.wire.body_types import choose_array_maker, is_regular, make_body_decoder
from serialization.serving.wire.short_floats import shorten_floats
from serialization.serving.wire.tensor_rules import list_repeated_inputs, replace_nonfinite, require_equal
from serialization.tensorflow import np

if TYPE_CHECKING:
    from numpy.typing import NDArray


_GZIP = b"\x1f\x8b"  # RFC 1952, section 2.3.1
_MARKS = {  # that of UTF-32 begins as that of UTF-16 does
    **dict.fromkeys((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE), "UTF-32"),
    **dict.fromkeys((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE), "UTF-16"),
    codecs.BOM_UTF8: "UTF-8",
}
_OF_OTHERS = {"instances", "inputs"}  # the keys of TensorFlow Serving's bodies


class JsonFormat:
    """Decodes the inputs of a signature and encodes its outputs. Raises RequestError for a body that does not fit."""

    def __init__(
        self, signature: Signature, max_rows: int, nonfinite: str = "error", nonfinite_inputs: str = "error"
    ) -> None:
        self._inputs = signature.inputs
        self._outputs = signature.outputs
        self._max_rows = max_rows
        self._nonfinite = nonfinite
        self._takes_nonfinite = nonfinite_inputs == "allow"
        self._fields = [f"field{i}" for i in range(len(signature.inputs))]
        self._decoder_for_ranks = lru_cache(64)(partial(make_body_decoder, signature.inputs, max_rows))
        ranks = tuple(len(tensor.shape or ()) for tensor in signature.inputs)
        is_open = any(tensor.shape is None for tensor in signature.inputs)
        self._decode: Callable[[bytes], Any] = self._decode_open if is_open else self._decoder_for_ranks(ranks).decode
        self._defaults = {t.key: make_default(t.default) for t in signature.inputs if t.default is not None}
        self._makers = {tensor.key: choose_array_maker(tensor) for tensor in signature.inputs}
        self._repeated = list_repeated_inputs(signature.inputs)
        self._irregular = [tensor.key for tensor in signature.inputs if not is_regular(tensor)]
        self._flat = flat_json.make_decoder(signature.inputs[0], max_rows) if len(signature.inputs) == 1 else None
        # msgspec writes null for NaN and Infinity, which JSON does not have, and for nothing else.
        self._may_be_null = may_hold_nonfinite(signature, nonfinite)
        self._listers = {tensor.key: choose_lister(tensor) for tensor in signature.outputs}
        self._only_input = signature.inputs[0].key if len(signature.inputs) == 1 else None
        self._only_output = signature.outputs[0].key if len(signature.outputs) == 1 else None
        strings = any(_kind(tensor) == "string" for tensor in signature.inputs)
        # If all values are numbers, a body with this many quotes has each key once. Strings contain quotes themselves.
        self._quotes = -1 if strings else 2 + (0 if len(signature.inputs) == 1 else 2 * len(signature.inputs))
        # The array of images that stand in place of the rows of the only input; None where there are none.
        self.read_images: Callable[[Any], NDArray[Any] | None] = lambda _: None
        self._encode = msgspec.json.Encoder().encode

    def decode(self, body: bytes) -> dict[str, Any]:
        """The values of a request's body, by input key: arrays, or nested lists that are known to make an array."""
        if len(body) > flat_json.LONG and self._flat and (array := self._flat(body)) is not None:
            return {self._inputs[0].key: array}
        try:
            value = self._decode(body).field0
            if body.count(b'"') != self._quotes:
                json.loads(body, object_pairs_hook=make_object)  # msgspec would keep the last of a repeated key
            if self._only_input is not None:
                values = {self._only_input: value}
            else:
                values = {t.key: getattr(value, field) for t, field in zip(self._inputs, self._fields, strict=True)}
            for key in self._irregular:
                values[key] = self._makers[key](values[key])
        except (msgspec.DecodeError, ValueError, OverflowError, RecursionError):
            values = self._decode_by_rules(body)
        if self._repeated:
            require_equal(values, self._repeated, f"{INPUT}.{{}}".format)
        return values

    def stack(self, bodies: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
        """The arrays of several bodies, by input key, one body's rows after the other's.

        Raises ValueError if they do not fit together.
        """
        arrays = {}
        for key, make in self._makers.items():
            values = [body[key] for body in bodies]
            if np.ndarray in map(type, values):
                values = [value if isinstance(value, np.ndarray) else make(value) for value in values]
                arrays[key] = np.concatenate(values) if len(values) > 1 else values[0]
            else:
                arrays[key] = make(list(chain.from_iterable(values)) if len(values) > 1 else values[0])
        return arrays

    def lists(self, results: Mapping[str, Any]) -> dict[str, Any]:
        """Nested lists of the model's results, by output key."""
        return {key: lister(results[key]) for key, lister in self._listers.items()}

    def encode(self, lists: Mapping[str, Any], rows: slice | None) -> bytes:
        """The body of an answer, from nested lists by output key: these rows, or all if `rows` is None."""
        value: Any
        if self._only_output is None:
            value = lists if rows is None else {key: nested[rows] for key, nested in lists.items()}
        else:
            value = lists[self._only_output] if rows is None else lists[self._only_output][rows]
        body: bytes = self._encode({OUTPUT: value})
        return self._encode_nonfinite(value) if self._may_be_null and b"null" in body else body

    def _encode_nonfinite(self, value: Any) -> bytes:
        if self._only_output is None:
            return self._encode(
                {OUTPUT: replace_nonfinite(self._outputs, value, self._nonfinite, f"{OUTPUT}.{{}}".format)}
            )
        values = replace_nonfinite(self._outputs, {self._only_output: value}, self._nonfinite, lambda _: OUTPUT)
        return self._encode({OUTPUT: values[self._only_output]})

    def _decode_by_rules(self, body: bytes) -> dict[str, Any]:
        """The values of a body by the rules of run/json_values.py, which are slower, and find the place of a fault."""
        try:
            if not body.strip():
                raise MisfitError("the body is empty; expected a JSON object")
            value = _take_fields(read_body(body), [INPUT], "the body")[INPUT]
            if self._only_input is not None:
                images = self.read_images(value)
                return {self._only_input: self._convert(self._inputs[0], value if images is None else images, INPUT)}
            given = {**self._defaults, **value} if isinstance(value, dict) else value
            values = _take_fields(given, [tensor.key for tensor in self._inputs], INPUT)
            return {t.key: self._convert(t, values[t.key], f"{INPUT}.{t.key}") for t in self._inputs}
        except MisfitError as misfit:
            raise RequestError(400, str(misfit)) from None

    def _convert(self, tensor: Tensor, value: Any, place: str) -> NDArray[Any]:
        if isinstance(value, np.ndarray):  # a default value, or images
            return value
        if isinstance(value, list) and (tensor.shape is None or tensor.shape[:1] == (None,)):
            require_row_count(len(value), self._max_rows, place)
        return convert_json(tensor, value, place, nonfinite=self._takes_nonfinite)

    def _decode_open(self, body: bytes) -> Any:
        return self._decoder_for_ranks(self._ranks(body)).decode(body)

    def _ranks(self, body: bytes) -> tuple[int, ...]:
        """The depth of each input's lists, measured at their first elements."""
        value = msgspec.json.decode(body)
        value = value.get(INPUT) if isinstance(value, dict) else None
        ranks = []
        for tensor in self._inputs:
            part = value.get(tensor.key) if len(self._inputs) > 1 and isinstance(value, dict) else value
            rank = 0
            while isinstance(part, list) and rank < MAX_RANK:
                rank, part = rank + 1, part[0] if part else None
            ranks.append(rank)
        return tuple(ranks)


def make_example_body(signature: Signature, values: Mapping[str, Any]) -> str:
    """The body of a request with these arrays, for the user to copy."""
    lists = {tensor.key: choose_lister(tensor)(values[tensor.key]) for tensor in signature.inputs}
    return msgspec.json.encode({INPUT: next(iter(lists.values())) if len(lists) == 1 else lists}).decode()


def require_json_form(signature: Signature) -> None:
    """Raise UserError if JSON has no values of a dtype, or if a key cannot be the name of a msgspec field."""
    if not signature.inputs or not signature.outputs:
        missing = "outputs" if signature.inputs else "inputs"
        raise UserError(f"the signature has no {missing}, so it cannot be served; name some with --{missing}")
    for tensor in signature.inputs if len(signature.inputs) > 1 else ():
        if not tensor.key.isprintable() or set('"\\') & set(tensor.key):
            raise UserError(f"{tensor} cannot be served as {tensor.key!r}; choose another key, --inputs KEY=NAME")
    for tensor in (*signature.inputs, *signature.outputs):
        if find_rule(tensor.dtype) is None:
            raise UserError(f"{tensor} cannot be served; JSON has no {tensor.dtype}; name other tensors")


def _kind(tensor: Tensor) -> str:
    rule = find_rule(tensor.dtype)
    return rule.kind if rule else ""


def may_hold_nonfinite(signature: Signature, nonfinite: str) -> bool:
    """Whether an answer may hold NaN or Infinity, for which msgspec writes null, and is not to hold null."""
    return nonfinite != "null" and any(_kind(tensor) == "float" for tensor in signature.outputs)


def refuse_other_encodings(body: bytes) -> None:
    """Raise MisfitError for a body that is text in another encoding than UTF-8, as its first bytes tell, or packed."""
    for mark, encoding in _MARKS.items():
        if body.startswith(mark):
            raise MisfitError(f"the body begins with a byte order mark of {encoding}; send UTF-8 without one")
    if body.startswith(_GZIP):
        raise MisfitError("the body is gzip data; say so in Content-Encoding, and pack it once")
    if b"\0" in body[:4]:  # JSON begins with an ASCII character
        raise MisfitError("the body is in UTF-16 or UTF-32; send UTF-8")


def read_body(body: bytes) -> Any:
    """The JSON of a body. Raises MisfitError."""
    refuse_other_encodings(body)
    try:
        return read_json(body.decode())
    except MisfitError as misfit:
        raise MisfitError(f"the body: {misfit}") from None
    except UnicodeDecodeError as error:
        raise MisfitError(f"the body is not UTF-8: byte {error.object[error.start]:#04x} at {error.start}") from None
    except ValueError as error:
        raise MisfitError(f"the body is not JSON: {error}") from None


def _take_fields(value: Any, keys: Sequence[str], place: str) -> dict[str, Any]:
    """The value, if it is an object with exactly these keys. Raises MisfitError."""
    if not isinstance(value, dict):
        raise MisfitError(f"{place}: expected an object, got {name_json_type(value)}")
    for key in keys:
        if key not in value:
            other = next(
                (f"; {o!r} is TensorFlow Serving's key" for o in _OF_OTHERS if o in value and key == INPUT), ""
            )
            raise MisfitError(f"{place}: missing key {make_printable(repr(key))}{other}")
    for key in value:
        if key not in keys:
            expected = make_printable(" and ".join(map(repr, keys)))
            raise MisfitError(f"{place}: unknown key {make_printable(repr(key))}; expected {expected}")
    return value


def choose_lister(tensor: Tensor) -> Callable[[Any], Any]:
    """The function that makes nested lists of an output's array, or of TensorFlow's scalar for rank 0."""
    if tensor.dtype == "string":
        as_base64 = tensor.key.endswith("_bytes")

        def write(value: bytes) -> Any:
            try:
                return msgspec.Raw(msgspec.json.encode({"b64": value})) if as_base64 else value.decode()
            except UnicodeDecodeError:
                return msgspec.Raw(msgspec.json.encode({"b64": value}))

        def lists(value: Any) -> Any:
            if isinstance(value, np.ndarray):
                value = value.tolist()
            return [lists(part) for part in value] if isinstance(value, list) else write(value)

        return lists
    dtype = get_portable_dtype(tensor.dtype)
    if dtype == np.float32:
        return lambda value: shorten_floats(np.asarray(value).astype(dtype, copy=False))
    if dtype != get_numpy_dtype(tensor.dtype):  # numpy makes no Python numbers of bfloat16 and other short dtypes
        return lambda value: np.asarray(value).astype(dtype).tolist()
    return lambda value: value.tolist()
