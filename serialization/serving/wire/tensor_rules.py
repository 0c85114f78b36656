"""The rules that tensors keep in every wire format: shapes, finite numbers, inputs that feed one tensor."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from serialization.console import make_printable
from serialization.formats.numpy_dtypes import get_limits, get_numpy_dtype
from serialization.graph.signature import Tensor, show_shape
from serialization.run.json_values import find_rule
from serialization.serving.requests import RequestError, require_row_count
from serialization.tensorflow import np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def require_shape(tensor: Tensor, shape: Sequence[int], max_rows: int, place: str) -> None:
    """Raise RequestError if the tensor does not take this shape, or not as many rows."""
    expected = tensor.shape
    if expected is not None and (
        len(expected) != len(shape) or any(e not in (None, s) for e, s in zip(expected, shape, strict=True))
    ):
        raise RequestError(400, f"{place}: expected the shape {show_shape(expected)}, got {list(shape)}")
    if shape and (expected is None or expected[0] is None):
        require_row_count(shape[0], max_rows, place)


def reshape(array: NDArray[Any], shape: Sequence[int], place: str) -> NDArray[Any]:
    """The array in this shape, for which it has as many values. Raises RequestError if no array has the shape."""
    try:
        return array.reshape(shape)
    except ValueError:  # too many dimensions, or an empty one beside one too long
        raise RequestError(400, f"{place}: no array has the shape {list(shape)}") from None


def require_numbers(tensor: Tensor, array: NDArray[Any], place: str, *, nonfinite: bool) -> None:
    """Raise RequestError with the place of the first number that is beyond the tensor's dtype, or not finite.

    With `nonfinite` a tensor of floats takes NaN and Infinity.
    """
    is_floating = get_limits(tensor.dtype)[0] == "float"
    if is_floating and not nonfinite:
        reason = "expected a number, got NaN or Infinity; the server takes them with --nonfinite-inputs allow"
        _require_all(np.isfinite(array), reason, place)
    if not np.can_cast(array.dtype, get_numpy_dtype(tensor.dtype), "equiv"):
        rule = find_rule(tensor.dtype)
        assert rule is not None
        within = (array >= rule.least) & (array <= rule.most)
        if is_floating:  # NaN and Infinity, if they have come so far
            within |= ~np.isfinite(array)
        _require_all(within, f"the number is beyond the range of {tensor.dtype}", place)


def _require_all(right: NDArray[np.bool_], reason: str, place: str) -> None:
    if not right.all():
        where = "".join(f"[{i}]" for i in np.argwhere(~right)[0])
        raise RequestError(400, f"{place}{where}: {reason}")


def require_known(key: str, known: Collection[str], what: str) -> None:
    """Raise RequestError if no `what`, an input or an output, has this key."""
    if key not in known:
        expected = make_printable(" and ".join(map(repr, known)))
        raise RequestError(400, f"unknown {what} {make_printable(key)!r}; expected {expected}")


def take_defaults(given: Collection[str], keys: Iterable[str], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """The values of the inputs that are not given. Raises RequestError for one that has no default value."""
    left_out = [key for key in keys if key not in given]
    for key in left_out:
        if key not in defaults:
            raise RequestError(400, f"missing input {make_printable(key)!r}")
    return {key: defaults[key] for key in left_out}


def list_repeated_inputs(inputs: Sequence[Tensor]) -> list[tuple[str, str]]:
    """The keys of inputs that feed a tensor which another key feeds too, each with the first such key."""
    first = {tensor.name: tensor.key for tensor in reversed(inputs)}
    return [(tensor.key, first[tensor.name]) for tensor in inputs if tensor.key != first[tensor.name]]


def require_equal(values: Mapping[str, Any], repeated: Sequence[tuple[str, str]], name: Callable[[str], str]) -> None:
    """Raise RequestError if two inputs that feed one tensor differ; `name` gives the place of a key."""
    for key, first in repeated:
        if not np.array_equal(values[key], values[first]):
            raise RequestError(400, f"{name(key)}: expected the values of {name(first)}; both feed one tensor")


def replace_nonfinite(
    outputs: Sequence[Tensor], values: Mapping[str, Any], nonfinite: str, name: Callable[[str], str]
) -> dict[str, Any]:
    """Nested lists by output key, in which NaN and Infinity are words.

    Raises RequestError with the place of the first if `nonfinite` is "error"; `name` gives the place of a key.
    """
    replaced = dict(values)
    for tensor in outputs:
        rule = find_rule(tensor.dtype)
        if rule is None or rule.kind != "float" or tensor.key not in replaced:
            continue
        array = np.array(replaced[tensor.key], np.float64)
        bad = ~np.isfinite(array)
        if bad.any() and nonfinite == "error":
            index = tuple(np.argwhere(bad)[0])
            where = name(tensor.key) + "".join(f"[{i}]" for i in index)
            raise RequestError(422, f"{where}: the model's answer is {_word(float(array[index]))}, not a number")
        words = array.astype(object)
        words[bad] = [_word(value) for value in array[bad]]
        replaced[tensor.key] = words.tolist()
    return replaced


def _word(value: float) -> str:
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
