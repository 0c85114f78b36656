"""The rules that tensors keep in every wire format; each format's tests show them in its own words."""

from __future__ import annotations

import pytest

from serialization.graph.signature import Tensor
from serialization.serving.requests import RequestError
from serialization.serving.wire.tensor_rules import (
    list_repeated_inputs,
    replace_nonfinite,
    require_equal,
    require_known,
    require_numbers,
    require_shape,
    reshape,
    take_defaults,
)
from serialization.tensorflow import np

ROWS = Tensor("x", "x:0", "float32", (None, 2))


@pytest.mark.parametrize(
    ("tensor", "shape", "error"),
    [
        (ROWS, (3, 2), None),
        (ROWS, (3, 3), "x: expected the shape [None, 2], got [3, 3]"),
        (ROWS, (2,), "x: expected the shape [None, 2], got [2]"),
        (ROWS, (0, 2), "x: expected 1 to 8 rows, got 0"),
        (ROWS, (9, 2), "x: expected 1 to 8 rows, got 9"),
        (Tensor("x", "x:0", "float32", None), (9,), "x: expected 1 to 8 rows, got 9"),
        (Tensor("x", "x:0", "float32", None), (), None),
        (Tensor("x", "x:0", "float32", (9,)), (9,), None),
    ],
)
def test_a_shape_that_does_not_fit_is_refused(tensor: Tensor, shape: tuple[int, ...], error: str | None) -> None:
    if error is None:
        require_shape(tensor, shape, 8, "x")
        return
    with pytest.raises(RequestError) as refused:
        require_shape(tensor, shape, 8, "x")
    assert str(refused.value) == error


def test_numbers_are_finite_and_within_the_dtype() -> None:
    require_numbers(ROWS, np.zeros((1, 2), np.float32), "x", nonfinite=False)
    require_numbers(Tensor("x", "x:0", "int32", (None,)), np.array([1], np.int32), "x", nonfinite=False)
    with pytest.raises(RequestError, match=r"x\[1\]\[0\]: expected a number, got NaN or Infinity"):
        require_numbers(ROWS, np.array([[0, 1], [np.nan, 1]], np.float32), "x", nonfinite=False)
    half = Tensor("x", "x:0", "bfloat16", (None,))
    with pytest.raises(RequestError, match=r"x\[1\]: the number is beyond the range of bfloat16"):
        require_numbers(half, np.array([1, 3.4028e38], np.float32), "x", nonfinite=False)


def test_inputs_that_feed_one_tensor_are_equal() -> None:
    inputs = [Tensor(key, name, "int32", (None,)) for key, name in (("a", "t:0"), ("b", "u:0"), ("c", "t:0"))]
    repeated = list_repeated_inputs(inputs)
    assert repeated == [("c", "a")]
    require_equal({"a": [1], "b": [2], "c": [1]}, repeated, str)
    with pytest.raises(RequestError, match=r"x\.c: expected the values of x\.a; both feed one tensor"):
        require_equal({"a": [1], "b": [2], "c": [2]}, repeated, "x.{}".format)


def test_nan_and_infinity_are_words_or_refused() -> None:
    outputs = [Tensor("f", "f:0", "float32", (None,)), Tensor("n", "n:0", "int32", (None,))]
    values = {"f": [1.0, float("nan"), float("-inf")], "n": [1]}
    assert replace_nonfinite(outputs, values, "string", str) == {"f": [1.0, "NaN", "-Infinity"], "n": [1]}
    with pytest.raises(RequestError, match=r"y\.f\[1\]: the model's answer is NaN, not a number") as refused:
        replace_nonfinite(outputs, values, "error", "y.{}".format)
    assert refused.value.status == 422
    assert replace_nonfinite(outputs, {"n": [1]}, "error", str) == {"n": [1]}


def test_inputs_are_known_and_whole() -> None:
    require_known("a", ("a", "b"), "input")
    with pytest.raises(RequestError, match=r"^unknown output 'c\?'; expected 'a' and 'b'$"):
        require_known("c\n", ("a", "b"), "output")
    assert take_defaults(("a",), ("a", "b"), {"a": 1, "b": 2}) == {"b": 2}
    with pytest.raises(RequestError, match=r"^missing input 'b'$"):
        take_defaults(("a",), ("a", "b"), {"a": 1})


def test_a_shape_that_no_array_has_is_refused() -> None:
    assert reshape(np.arange(4), [2, 2], "x").tolist() == [[0, 1], [2, 3]]
    for shape in ([1] * 65 + [4], [0, 2**62, 2**62]):
        with pytest.raises(RequestError, match=r"^x: no array has the shape \["):
            reshape(np.arange(0 if 0 in shape else 4), shape, "x")
