"""Generates values to run a model with, from dtypes, shapes and the graph's hints."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from serialization.checks.memory import require_memory_for_inputs
from serialization.formats.numpy_dtypes import get_limits, get_numpy_dtype
from serialization.graph.signature import Signature, Tensor, show_shape
from serialization.graph.tensors import is_keep_probability, is_training_switch
from serialization.tensorflow import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROWS = 1000
_NUMBERS = 1_000_000  # in one input at most: a model of large images gets fewer rows
_SIZES = (4, 32, 1, 64, 224, 16384)  # of open axes; the last for models that crop the ends of a sequence


@dataclass(frozen=True)
class Hint:
    """A graph's hint about the values of an input.

    Whole numbers are below `top`. `example` is a text that the graph can decode. `most` is the most rows to feed,
    `value` the only number to feed. `known` are keys of a lookup table. `sizes` are those of the sparse tensor whose
    dense shape the input is, negative for any.
    """

    shape: tuple[int | None, ...] | None = None
    top: int = 0
    example: bytes | None = None
    most: int = 0
    value: float | None = None
    known: tuple[Any, ...] = ()
    sizes: tuple[int, ...] = ()


def format_feed_flags(signature: Signature) -> str:
    """The `--feed` flags for these inputs, each with its dtype and shape."""
    return " ".join(f"--feed {t.key}=VALUE ({t.dtype} {show_shape(t.shape)})" for t in signature.inputs)


def generate_feed(signature: Signature, seed: int = 0) -> list[dict[str, NDArray[Any]]]:
    """Feeds for the inputs, from dtype and shape: batches of 1, 2 and up to 1,000 rows if the batch size is open."""
    return next(generate_attempts(signature, seed=seed))


def generate_attempts(
    signature: Signature, hints: Mapping[str, Hint] | None = None, batches: Iterable[int] = (), seed: int = 0
) -> Iterator[list[dict[str, NDArray[Any]]]]:
    """Different feeds for the inputs, likeliest first: a graph may take only some of the sizes that are open in shapes.

    `hints` are the graph's hints by input key; `batches` are further batch sizes to try. Raises UserError if a value
    needs more memory than there is.
    """
    require_memory_for_inputs(signature)
    hints = hints or {}
    free = any(tensor.shape is None or tensor.shape[:1] == (None,) for tensor in signature.inputs)
    whole = any(np.issubdtype(get_numpy_dtype(t.dtype), np.integer) for t in signature.inputs if t.dtype != "string")
    inner = any(t.shape is None or None in t.shape[1:] for t in signature.inputs)
    seen = []
    long = _count_numbers(signature, hints, _SIZES[-1]) > _NUMBERS
    for size in (_SIZES[:-1] if long else _SIZES) if inner else (4,):
        for top in (10, 2, 1) if whole else (10,):
            for sizes in (None, *((batch,) for batch in batches)) if free else ((1,),):
                wanted = sizes or _batches(signature, hints, size)
                if (wanted, size, top) not in seen:
                    seen.append((wanted, size, top))
                    generator = np.random.default_rng(seed)
                    values = [
                        {t.key: _make_value(t, hints.get(t.key), n, size, top, generator) for t in signature.inputs}
                        for n in wanted
                    ]
                    yield [_with_sparse(signature, feed, n, hints) for feed, n in zip(values, wanted, strict=True)]
    if any(_row_splits(values[0])):
        yield [_with_rows(feed) for feed in values]


def _with_sparse(
    signature: Signature, feed: dict[str, NDArray[Any]], batch: int, hints: Mapping[str, Hint]
) -> dict[str, NDArray[Any]]:
    """The feed with one value in each row of the sparse tensors; three inputs make up a sparse tensor."""
    for indices, values, shape in find_sparse_inputs(signature):
        rank = next((n for n in ((shape.shape or (None,))[0], (indices.shape or (None,))[-1]) if n), 2)
        sizes = hints.get(shape.key, Hint()).sizes or (-1,) * rank
        dense = [size if size >= 0 else 1 if axis else batch for axis, size in enumerate(sizes)]
        rows = np.arange(dense[0], dtype=np.int64)
        feed[indices.key] = np.stack([rows, *[np.zeros_like(rows)] * (len(dense) - 1)], axis=1)
        feed[values.key] = np.resize(feed[values.key], dense[0])
        feed[shape.key] = np.array(dense, np.int64)
    return feed


def find_sparse_inputs(signature: Signature) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Indices, values and dense shape of each sparse tensor, by their keys, or by TensorFlow's names in a graph."""
    for side in ("key", "name"):
        tensors = {getattr(tensor, side).removesuffix(":0"): tensor for tensor in signature.inputs}
        for name in tensors:
            stem = name.removesuffix("/indices")
            ends = ("/indices", "/values", "/dense_shape"), ("/indices", "/values", "/shape"), ("", "_1", "_2")
            for parts in ([tensors.get(f"{stem}{end}") for end in three] for three in ends):
                first, second, third = parts
                if first is not None and second is not None and third is not None and _fit(first, second, third):
                    yield first, second, third


def _fit(indices: Tensor, values: Tensor, shape: Tensor) -> bool:
    """Whether three tensors have the dtypes and ranks of the parts of a sparse tensor."""
    ranks = ((indices, 2), (values, 1), (shape, 1))
    fit = all(tensor.shape is None or len(tensor.shape) == rank for tensor, rank in ranks)
    return fit and indices.dtype == shape.dtype == "int64"


def _row_splits(feed: Mapping[str, NDArray[Any]]) -> list[tuple[str, str]]:
    """Pairs of values and row splits among the inputs: tf.function takes a ragged `r` as the inputs `r` and `r_1`."""
    ends = [(key.removesuffix("_1"), key) for key, value in feed.items() if value.dtype == np.int64 and value.ndim == 1]
    return [(values, splits) for values, splits in ends if values != splits and values in feed]


def _with_rows(feed: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
    """The feed with one value in each row of the ragged tensors."""
    return feed | {splits: np.arange(len(feed[values]) + 1, dtype=np.int64) for values, splits in _row_splits(feed)}


def _count_numbers(signature: Signature, hints: Mapping[str, Hint], size: int) -> int:
    """The numbers in a row of the largest input."""
    return max((math.prod(_dimensions(t, hints.get(t.key), 1, size)) for t in signature.inputs), default=1)


def _batches(signature: Signature, hints: Mapping[str, Hint], size: int) -> tuple[int, ...]:
    row = _count_numbers(signature, hints, size)
    most = min([_ROWS if size < _SIZES[-1] else 2, *(hint.most for hint in hints.values() if hint.most)])
    return tuple(sorted({1, 2, max(2, min(most, _NUMBERS // max(row, 1)))}))


def get_portable_dtype(name: str) -> np.dtype[Any]:
    """Numpy's own dtype for the values of a dtype: int8 or float32 for int4, bfloat16 and other short numbers."""
    dtype = get_numpy_dtype(name)
    if dtype.isbuiltin == 1:
        return dtype
    return np.dtype(np.int8 if get_limits(name)[0] == "int" else np.float32)


def _dimensions(tensor: Tensor, hint: Hint | None, batch: int, size: int) -> tuple[int, ...]:
    """The shape to feed: `batch` for an unknown first dimension, `size` for other unknown dimensions."""
    shape = tensor.shape
    if hint is not None and hint.value is not None:
        return ()
    if hint is not None and hint.shape is not None and (shape is None or len(shape) == len(hint.shape)):
        shape = tuple(s if s is not None else h for s, h in zip(shape or hint.shape, hint.shape, strict=True))
    if shape is None:
        return (batch,) if size == 4 else () if size == 1 else (batch, size)
    return tuple((batch if i == 0 else size) if length is None else length for i, length in enumerate(shape))


def _with_known(values: NDArray[Any], hint: Hint | None) -> NDArray[Any]:
    """The values with known keys of a table at every second position, from the first on."""
    if hint is not None and hint.known and values.size:
        half = values.reshape(-1)[::2]
        half[:] = np.resize(np.array(hint.known, dtype=values.dtype), half.size)
    return values


def _make_value(
    tensor: Tensor, hint: Hint | None, batch: int, size: int, top: int, generator: np.random.Generator
) -> NDArray[Any]:
    shape = _dimensions(tensor, hint, batch, size)
    if tensor.dtype == "string":
        value = hint.example if hint is not None and hint.example is not None else b"text"
        return _with_known(np.full(shape, value, dtype=object), hint)
    if is_training_switch(tensor):
        return np.zeros(shape, np.bool_)  # as for inference
    if tensor.dtype == "bool":
        return generator.integers(0, 2, shape).astype(np.bool_)
    dtype = get_numpy_dtype(tensor.dtype)
    if hint is not None and hint.value is not None:
        return np.array(hint.value, dtype)
    if is_keep_probability(tensor):
        rate = "rate" in tensor.name.lower() and "keep" not in tensor.name.lower()
        return np.full(shape, 0 if rate else 1, dtype)
    if np.issubdtype(dtype, np.integer):
        if "len" in tensor.name.lower().rpartition("/")[2]:
            return np.full(shape, size, dtype)  # the length of each sequence
        top = min(top, hint.top) if hint is not None and hint.top else top
        return _with_known(np.asarray(generator.integers(0, top, shape)).astype(dtype), hint)
    # From 0 to 10: different numbers, such as pixels or measurements. Of a large input the first ones are repeated.
    count = math.prod(shape)
    return np.resize(np.asarray(generator.uniform(0, 10, min(count, _NUMBERS))).astype(dtype), shape)
