"""Makes a msgspec type for a request's body from the signature; msgspec decodes bodies of that type fast.

The type accepts only bodies that the rules of run/json_values.py accept, but for lists of different lengths and numbers
beyond a uint64. These are found when the array is made.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from serialization.formats.numpy_dtypes import get_numpy_dtype
from serialization.graph.signature import Tensor
from serialization.run.json_values import find_rule, flatten_lists, measure_shape
from serialization.serving.requests import INPUT
from serialization.tensorflow import np

if TYPE_CHECKING:
    from numpy.typing import NDArray


class _Base64(msgspec.Struct, forbid_unknown_fields=True):
    b64: bytes


def make_body_decoder(inputs: Sequence[Tensor], max_rows: int, ranks: Sequence[int]) -> msgspec.json.Decoder[Any]:
    """The decoder for bodies with inputs of these ranks; the signature may leave ranks open.

    It returns an object. Its field0 is the value of the only input; or, for several inputs, an object with their values
    in field0, field1, ...
    """
    types = [
        make_tensor_type(tensor, tensor.shape if tensor.shape is not None else (None,) * rank, max_rows)
        for tensor, rank in zip(inputs, ranks, strict=True)
    ]
    value = types[0] if len(types) == 1 else make_object_type([tensor.key for tensor in inputs], types)
    return msgspec.json.Decoder(make_object_type([INPUT], [value]))


def make_object_type(keys: Sequence[str], types: Sequence[Any]) -> Any:
    """A type for an object with exactly these keys. Its fields are field0, field1, ..., since a key may be any text."""
    fields = [(f"field{i}", type_) for i, type_ in enumerate(types)]
    renamed = {f"field{i}": key for i, key in enumerate(keys)}
    return msgspec.defstruct("Body", fields, rename=renamed.get, forbid_unknown_fields=True, gc=False)


def make_tensor_type(tensor: Tensor, shape: Sequence[int | None], max_rows: int | None) -> Any:
    """The type of nested lists of this shape, with values that the tensor's dtype can hold.

    The first size, if it is open, is the number of rows; unless `max_rows` is None.
    """
    result: Any = make_value_type(tensor)
    for axis, size in reversed(list(enumerate(shape))):
        if size is not None:
            result = Annotated[list[result], msgspec.Meta(min_length=size, max_length=size)]
        elif axis == 0 and max_rows is not None:
            result = Annotated[list[result], msgspec.Meta(min_length=1, max_length=max_rows)]
        else:
            result = list[result]
    return result


def make_value_type(tensor: Tensor) -> Any:
    """The type of one value that the tensor's dtype can hold."""
    rule = find_rule(tensor.dtype)
    if rule is None or rule.kind == "string":
        return str | _Base64
    if rule.kind == "bool":
        return bool
    # msgspec compares with an int64; a number beyond a uint64 is found when the array is made.
    most = None if tensor.dtype == "uint64" else rule.most
    return Annotated[int if rule.kind == "int" else float, msgspec.Meta(ge=rule.least, le=most)]


def is_regular(tensor: Tensor) -> bool:
    """Whether the decoder ensures that all lists of a dimension have one length and all numbers fit the dtype."""
    return tensor.shape is not None and None not in tensor.shape[1:] and tensor.dtype not in ("string", "uint64")


def choose_array_maker(tensor: Tensor) -> Callable[[Any], NDArray[Any]]:
    """The function that makes the array of this tensor from nested lists that the decoder has accepted.

    It raises MisfitError for lists of different lengths, and OverflowError for a number beyond a uint64.
    """
    strings = tensor.dtype == "string"
    dtype: Any = object if strings else get_numpy_dtype(tensor.dtype)
    if is_regular(tensor):
        sizes = [size or 0 for size in (tensor.shape or ())[1:]]
        if 0 in sizes:  # empty lists do not show the sizes below them
            return lambda value: np.empty((len(value), *sizes), dtype)
        if len(sizes) < 2:
            return lambda value: np.array(value, dtype)
        numbers = math.prod(sizes)

        def make_deep(value: Any) -> NDArray[Any]:
            """The array of deeply nested lists; numpy alone takes twice as long for an image."""
            count = len(value) * numbers
            for _ in sizes:
                value = chain.from_iterable(value)
            return np.fromiter(value, dtype, count).reshape(-1, *sizes)

        return make_deep

    def make(value: Any) -> NDArray[Any]:
        shape = measure_shape(value, tensor.shape, INPUT)
        flat = list(flatten_lists(value, len(shape)))
        if strings:
            array = np.empty(len(flat), object)
            array[:] = [v.encode() if isinstance(v, str) else v.b64 for v in flat]
        else:
            array = np.array(flat, dtype)
        return array.reshape(shape)

    return make
