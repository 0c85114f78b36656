"""Values to run a model with: as the user gives them, or generated from dtype and shape."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serialization import cli
from serialization.signature import Signature, Tensor, show_shape
from serialization.tensorflow import np, tf

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROWS = 1000
_NUMBERS = 1_000_000  # keeps the feeds of a model of large images small: fewer rows of more numbers


def parse(signature: Signature, texts: Sequence[str]) -> dict[str, NDArray[Any]]:
    """The feeds that `--feed KEY=VALUE` gives, one for each input. VALUE is JSON, `@file.npy` or `@file.json`.

    With a single input KEY= may be left out. Raises cli.Error that names the input and what it takes.
    """
    tensors = {tensor.key: tensor for tensor in signature.inputs}
    feeds: dict[str, NDArray[Any]] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals and len(tensors) == 1:
            key, value = next(iter(tensors)), text
        if key not in tensors:
            raise cli.Error(f"--feed {text}: no input {key!r}; the inputs are {', '.join(tensors)}")
        feeds[key] = to_array(tensors[key], _read(key, value))
    missing = [str(tensor) for key, tensor in tensors.items() if key not in feeds]
    if missing:
        raise cli.Error(f"--feed gives no value for {', '.join(missing)}")
    return feeds


def to_array(tensor: Tensor, value: Any) -> NDArray[Any]:
    """`value` (nested lists or an array) as an array of the tensor's dtype. Raises cli.Error where it does not fit."""
    try:
        array = np.asarray(value)
        if tensor.dtype == "string":
            array = np.asarray(value, dtype=object)
        elif not np.can_cast(array.dtype, wanted := numpy_dtype(tensor.dtype), "same_kind"):
            integers = np.issubdtype(array.dtype, np.integer) and np.issubdtype(wanted, np.integer)
            if not integers or not np.array_equal(array, array.astype(wanted)):
                raise ValueError(f"{array.dtype} values")
        array = array if tensor.dtype == "string" else array.astype(numpy_dtype(tensor.dtype))
    except (ValueError, OverflowError) as error:
        raise cli.Error(f"--feed: {tensor} takes no {cli.one_line(error)}") from None
    shape = tensor.shape
    if shape is not None and (
        len(shape) != array.ndim or any(w not in (None, g) for w, g in zip(shape, array.shape, strict=True))
    ):
        raise cli.Error(f"--feed: {tensor.key} takes the shape {show_shape(shape)}, not {list(array.shape)}")
    return array


def generate(signature: Signature, seed: int = 0) -> list[dict[str, NDArray[Any]]]:
    """Feeds for the inputs, from dtype and shape: batches of 1, 2 and up to 1,000 rows where the batch is free."""
    generator = np.random.default_rng(seed)
    row = max((int(np.prod(_dimensions(tensor, 1))) for tensor in signature.inputs), default=1)
    free = any(tensor.shape is None or tensor.shape[:1] == (None,) for tensor in signature.inputs)
    batches = sorted({1, 2, max(2, min(_ROWS, _NUMBERS // max(row, 1)))}) if free else [1]
    return [{t.key: _make_value(t, batch, generator) for t in signature.inputs} for batch in batches]


def numpy_dtype(name: str) -> np.dtype[Any]:
    """The numpy dtype for TensorFlow's name of it; for bfloat16 and the like the extension type of TensorFlow."""
    dtype: np.dtype[Any] = np.dtype(tf.as_dtype(name).as_numpy_dtype)
    return dtype


def _read(key: str, value: str) -> Any:
    try:
        if not value.startswith("@"):
            return json.loads(value)
        path = Path(value[1:])
        # allow_pickle would let the file run code.
        return np.load(path, allow_pickle=False) if path.suffix == ".npy" else json.loads(path.read_text())
    except ValueError as error:
        raise cli.Error(f"--feed {key}={value}: not JSON or .npy: {cli.one_line(error)}") from None


def _dimensions(tensor: Tensor, batch: int) -> tuple[int, ...]:
    """The shape to feed: `batch` for an unknown first dimension, 4 for the other unknown ones."""
    if tensor.shape is None:
        return (batch,)
    return tuple((batch if i == 0 else 4) if size is None else size for i, size in enumerate(tensor.shape))


def _make_value(tensor: Tensor, batch: int, generator: np.random.Generator) -> NDArray[Any]:
    shape = _dimensions(tensor, batch)
    if tensor.dtype == "string":
        return np.full(shape, b"text", dtype=object)
    if tensor.dtype == "bool":
        return generator.integers(0, 2, shape).astype(np.bool_)
    # From 0 to 10, whole where the dtype is: small enough for an index, not all alike as pixels or measurements.
    return np.asarray(generator.uniform(0, 10, shape)).astype(numpy_dtype(tensor.dtype))
