"""Tensors as JSON: `{"x": [[0,1,2,3,4,5,6,7,8,9]]}` goes in, `{"y": [[false]]}` comes out.

With several inputs x is an object of tensors by key, with several outputs y is one. Strings may be `{"b64": "aGk="}`,
as in TensorFlow Serving. What a body must look like is a type, made once from the signature; msgspec decodes into it
and refuses what does not fit, place and all.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from serialization.errors import UserError
from serialization.graph.signature import Signature, Tensor
from serialization.run import nested_lists
from serialization.run.generated_feeds import get_numpy_dtype
from serialization.run.nested_lists import flatten_lists, measure_shape
from serialization.serving.requests import RequestError
from serialization.serving.wire import flat_json
from serialization.serving.wire.places import INPUT, OUTPUT, explain_misfit
from serialization.tensorflow import np, tf

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MAX_RANK = 32


class _Base64(msgspec.Struct, forbid_unknown_fields=True):
    b64: bytes


class JsonFormat:
    """Decodes the bodies that a signature takes, encodes what it gives. RequestError where one does not fit."""

    def __init__(self, signature: Signature, max_rows: int, nonfinite: str = "error") -> None:
        self._inputs = signature.inputs
        self._outputs = signature.outputs
        self._max_rows = max_rows
        self._nonfinite = nonfinite
        self._fields = [f"field{i}" for i in range(len(signature.inputs))]
        self._decoder_for_ranks = lru_cache(64)(self._make_decoder)
        ranks = tuple(len(tensor.shape or ()) for tensor in signature.inputs)
        is_open = any(tensor.shape is None for tensor in signature.inputs)
        self._decode: Callable[[bytes], Any] = self._decode_open if is_open else self._make_decoder(ranks).decode
        self._makers = {tensor.key: _array_maker(tensor) for tensor in signature.inputs}
        first = {tensor.name: tensor.key for tensor in reversed(signature.inputs)}
        self._repeated = [(t.key, first[t.name]) for t in signature.inputs if t.key != first[t.name]]
        self._irregular = [tensor.key for tensor in signature.inputs if not _is_regular(tensor)]
        self._flat = flat_json.make_decoder(signature.inputs[0], max_rows) if len(signature.inputs) == 1 else None
        # JSON has no NaN and no Infinity; msgspec writes null for them, and nothing else is null.
        self._may_be_null = nonfinite != "null" and any(_kind(tensor) == "float" for tensor in signature.outputs)
        self._listers = {tensor.key: _lister(tensor) for tensor in signature.outputs}
        self._only_input = signature.inputs[0].key if len(signature.inputs) == 1 else None
        self._only_output = signature.outputs[0].key if len(signature.outputs) == 1 else None
        strings = any(_kind(tensor) == "string" for tensor in signature.inputs)
        # Numbers hold no quotes: with as many quotes as keys need, each key is there once. Strings need a closer look.
        self._quotes = -1 if strings else 2 + (0 if len(signature.inputs) == 1 else 2 * len(signature.inputs))
        self._encode = msgspec.json.Encoder().encode

    def decode(self, body: bytes) -> dict[str, Any]:
        """The values of a request's body, by input key: arrays, or nested lists that are sure to make one."""
        if len(body) > flat_json.LONG and self._flat and (array := self._flat(body)) is not None:
            return {self._inputs[0].key: array}
        try:
            value = self._decode(body).field0
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise RequestError(400, explain_misfit(error, body, self._inputs, self._max_rows)) from None
        if body.count(b'"') != self._quotes:
            _require_each_key_once(body)
        if self._only_input is not None:
            values = {self._only_input: value}
        else:
            values = {t.key: getattr(value, field) for t, field in zip(self._inputs, self._fields, strict=True)}
        for key in self._irregular:
            values[key] = self._makers[key](values[key])
        for key, first in self._repeated:
            if not np.array_equal(values[key], values[first]):
                raise RequestError(400, f"{INPUT}.{key}: expected what {INPUT}.{first} has, for both feed one tensor")
        return values

    def stack(self, bodies: Sequence[Mapping[str, Any]]) -> dict[str, NDArray[Any]]:
        """The arrays of what came in several bodies, by input key: the rows of one after those of the other.

        Raises ValueError where they do not fit together.
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
        """The body of an answer, from nested lists by output key: these rows, or all there is."""
        value: Any
        if self._only_output is None:
            value = lists if rows is None else {key: nested[rows] for key, nested in lists.items()}
        else:
            value = lists[self._only_output] if rows is None else lists[self._only_output][rows]
        body: bytes = self._encode({OUTPUT: value})
        return self._encode_nonfinite(value) if self._may_be_null and b"null" in body else body

    def _encode_nonfinite(self, value: Any) -> bytes:
        values = dict(value) if self._only_output is None else {self._only_output: value}
        for tensor in self._outputs:
            if _kind(tensor) != "float":
                continue
            array = np.array(values[tensor.key], np.float64)
            bad = ~np.isfinite(array)
            if bad.any() and self._nonfinite == "error":
                place = f"{OUTPUT}.{tensor.key}" if self._only_output is None else OUTPUT
                index = tuple(np.argwhere(bad)[0])
                where = place + "".join(f"[{i}]" for i in index)
                raise RequestError(422, f"{where}: the model's answer is {_word(float(array[index]))}, not a number")
            words = array.astype(object)
            words[bad] = [_word(value) for value in array[bad]]
            values[tensor.key] = words.tolist()
        return self._encode({OUTPUT: values if self._only_output is None else values[self._only_output]})

    def _make_decoder(self, ranks: tuple[int, ...]) -> Any:
        """The decoder for bodies whose tensors have these ranks; a signature may leave a rank open."""
        types = [
            _tensor_type(tensor, tensor.shape if tensor.shape is not None else (None,) * rank, self._max_rows)
            for tensor, rank in zip(self._inputs, ranks, strict=True)
        ]
        value = types[0] if len(types) == 1 else _object([tensor.key for tensor in self._inputs], types)
        return msgspec.json.Decoder(_object([INPUT], [value]))

    def _decode_open(self, body: bytes) -> Any:
        return self._decoder_for_ranks(self._ranks(body)).decode(body)

    def _ranks(self, body: bytes) -> tuple[int, ...]:
        """How deep the lists of each input are; as deep as its first element."""
        value = msgspec.json.decode(body)
        value = value.get(INPUT) if isinstance(value, dict) else None
        ranks = []
        for tensor in self._inputs:
            part = value.get(tensor.key) if len(self._inputs) > 1 and isinstance(value, dict) else value
            rank = 0
            while isinstance(part, list) and rank < _MAX_RANK:
                rank, part = rank + 1, part[0] if part else None
            ranks.append(rank)
        return tuple(ranks)


def make_example_body(signature: Signature, values: Mapping[str, Any]) -> str:
    """The body of a request with these arrays, to show and to copy."""
    lists = {tensor.key: _lister(tensor)(values[tensor.key]) for tensor in signature.inputs}
    return msgspec.json.encode({INPUT: next(iter(lists.values())) if len(lists) == 1 else lists}).decode()


def require_json_form(signature: Signature) -> None:
    """Raises UserError where a dtype has no values in JSON, or a key is one that msgspec takes for no field."""
    if not signature.inputs or not signature.outputs:
        missing = "outputs" if signature.inputs else "inputs"
        raise UserError(f"the signature has no {missing}; nothing can be asked; name some with --{missing}")
    for tensor in signature.inputs if len(signature.inputs) > 1 else ():
        if not tensor.key.isprintable() or set('"\\') & set(tensor.key):
            raise UserError(f"{tensor} cannot be served as {tensor.key!r}; choose another key, --inputs KEY=NAME")
    for tensor in (*signature.inputs, *signature.outputs):
        if _kind(tensor) == "other":
            raise UserError(f"{tensor} cannot be served; JSON has nothing for {tensor.dtype}; name other tensors")


def _kind(tensor: Tensor) -> str:
    dtype = tf.as_dtype(tensor.dtype)
    if dtype.is_bool:
        return "bool"
    if dtype.is_integer:  # not the quantized ones
        return "int"
    if dtype.is_floating:
        return "float"
    return "string" if tensor.dtype == "string" else "other"


def _object(keys: Sequence[str], types: Sequence[Any]) -> Any:
    """A type for an object with exactly these keys; its fields are called field0, field1, for a key may be any text."""
    fields = [(f"field{i}", type_) for i, type_ in enumerate(types)]
    renamed = {f"field{i}": key for i, key in enumerate(keys)}
    return msgspec.defstruct("Body", fields, rename=renamed.get, forbid_unknown_fields=True, gc=False)


def _tensor_type(tensor: Tensor, shape: Sequence[int | None], max_rows: int) -> Any:
    """Nested lists of this shape, with values that the tensor's dtype can hold."""
    result: Any = _value_type(tensor)
    for axis, size in reversed(list(enumerate(shape))):
        if size is not None:
            result = Annotated[list[result], msgspec.Meta(min_length=size, max_length=size)]
        elif axis == 0:
            result = Annotated[list[result], msgspec.Meta(min_length=1, max_length=max_rows)]
        else:
            result = list[result]
    return result


def _value_type(tensor: Tensor) -> Any:
    dtype = tf.as_dtype(tensor.dtype)
    kind = _kind(tensor)
    if kind == "string":
        return str | _Base64
    if kind == "bool":
        return bool
    if kind == "int":
        # msgspec compares with an int64; what is beyond a uint64 is found when the array is made.
        most = None if tensor.dtype == "uint64" else int(dtype.max)
        return Annotated[int, msgspec.Meta(ge=int(dtype.min), le=most)]
    limit = float(dtype.max)
    return Annotated[float, msgspec.Meta(ge=-limit, le=limit)]


def _is_regular(tensor: Tensor) -> bool:
    """Whether the decoder has seen to it that all lists are of one length, and all numbers within the dtype."""
    return tensor.shape is not None and None not in tensor.shape[1:] and tensor.dtype not in ("string", "uint64")


def _array_maker(tensor: Tensor) -> Callable[[Any], NDArray[Any]]:
    """What makes the array of this tensor from nested lists that have passed the decoder."""
    strings = tensor.dtype == "string"
    dtype: Any = object if strings else get_numpy_dtype(tensor.dtype)
    if _is_regular(tensor):
        sizes = [size or 0 for size in (tensor.shape or ())[1:]]
        if 0 in sizes:  # the lists do not tell the sizes behind it
            return lambda value: np.empty((len(value), *sizes), dtype)
        if len(sizes) < 2:
            return lambda value: np.array(value, dtype)
        numbers = math.prod(sizes)

        def make_deep(value: Any) -> NDArray[Any]:
            """Numpy takes twice as long to walk through the lists of an image itself."""
            count = len(value) * numbers
            for _ in sizes:
                value = chain.from_iterable(value)
            return np.fromiter(value, dtype, count).reshape(-1, *sizes)

        return make_deep

    def make(value: Any) -> NDArray[Any]:
        try:
            shape = measure_shape(value, tensor.shape, INPUT)
        except nested_lists.MisfitError as misfit:
            raise RequestError(400, str(misfit)) from None
        flat = list(flatten_lists(value, len(shape)))
        if strings:
            array = np.empty(len(flat), object)
            array[:] = [v.encode() if isinstance(v, str) else v.b64 for v in flat]
        else:
            try:
                array = np.array(flat, dtype)
            except OverflowError:
                raise RequestError(400, f"{INPUT}: a number is beyond what {tensor.dtype} holds") from None
        return array.reshape(shape)

    return make


def _lister(tensor: Tensor) -> Callable[[Any], Any]:
    """What makes nested lists of an output's array (or of the scalar that TensorFlow gives for rank 0)."""
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
    if get_numpy_dtype(tensor.dtype).kind == "V":  # bfloat16 and the like, which numpy has no Python numbers for
        return lambda value: np.asarray(value).astype(np.float32).tolist()
    return lambda value: value.tolist()


def _word(value: float) -> str:
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def _require_each_key_once(body: bytes) -> None:
    def check(pairs: list[tuple[str, Any]]) -> None:
        seen = set()
        for key, _ in pairs:
            if key in seen:
                raise RequestError(400, f"the key {key!r} is there twice; JSON would keep one and say nothing")
            seen.add(key)

    json.loads(body, object_pairs_hook=check)
