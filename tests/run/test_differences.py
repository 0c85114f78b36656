"""Arrays are compared bit for bit, or as another runtime computes them."""

from __future__ import annotations

from typing import Any

import pytest

from serialization.run.differences import OPTIMIZED, find_problem, is_alike, is_close, is_rounded, measure_gap
from serialization.tensorflow import np


@pytest.mark.parametrize(
    ("expected", "actual", "close"),
    [
        ([1.0, 2.0], [1.0005, 2.001], True),
        ([1.0, 2.0], [1.0, 2.01], False),
        ([0.0, 1.0], [0.00005, 1.0], True),
        ([0.0, 1.0], [0.0005, 1.0], False),
        ([0.0, 1e4], [0.05, 1e4], True),  # what is left of large numbers
        ([np.nan, np.inf], [np.nan, np.inf], True),
        ([np.nan, 1.0], [0.0, 1.0], False),
        ([np.inf, 1.0], [1e30, 1.0], False),
        ([np.inf, 1.0], [-np.inf, 1.0], False),
    ],
)
def test_numbers_of_another_runtime(expected: Any, actual: Any, close: bool) -> None:
    assert is_close(np.array(expected, "f"), np.array(actual, "f")) == close


@pytest.mark.parametrize("dtype", ["i4", "u1", "?", "O"])
def test_whole_numbers_bools_and_strings_have_to_be_equal(dtype: str) -> None:
    one, other = np.array([1, 0], dtype), np.array([1, 1], dtype)
    assert is_close(one, one.copy())
    assert not is_close(one, other)
    assert measure_gap(one, other) >= 1


def test_rounding_is_relative_to_the_largest_number() -> None:
    assert is_rounded(np.array([0, 1e6], "f"), np.array([1, 1e6], "f"))
    assert not is_rounded(np.array([0, 1], "f"), np.array([1, 1], "f"))


def test_dtype_and_shape_are_part_of_the_form() -> None:
    one = np.zeros([2], "f")
    assert not is_alike(one, np.zeros([2], "d"))
    assert not is_alike(one, np.zeros([1, 2], "f"))
    assert find_problem("y", one, np.zeros([1, 2], "f"), shape_only=False) == "y is float32[1, 2], not float32[2]"
    assert find_problem("y", one, np.zeros([3], "f"), shape_only=True) == ""


def test_what_is_optimized_may_round_numbers_and_nothing_else() -> None:
    one = np.array([1.0, 100.0], "f")
    assert OPTIMIZED.accepts(one, one + np.float32(1e-4))
    assert not OPTIMIZED.accepts(one, one + np.float32(1e-2))
    assert not OPTIMIZED.accepts(np.array([1]), np.array([2]))
