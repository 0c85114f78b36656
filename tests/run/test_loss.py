"""What quantizing loses: per output, in numbers."""

from __future__ import annotations

from typing import Any

from serialization.run.compared_runs import compare_runs
from serialization.run.loss import ANY, describe_loss
from serialization.tensorflow import np

FEEDS = [[{"x": np.zeros([4, 2], "f")}]]


def measure(expected: Any, actual: Any) -> str:
    def source(_: Any) -> Any:
        return {"y": expected}

    return describe_loss(source, compare_runs(source, lambda _: {"y": actual}, FEEDS, tolerance=ANY))


def test_numbers_and_the_place_of_the_largest() -> None:
    expected = np.array([[0, 1], [0, 1], [1, 0], [1, 0]], "f")
    actual = np.array([[0, 1.5], [0, 1], [1, 0], [0, 0.25]], "f")
    assert measure(expected, actual) == (
        "measured: y: at most 1 from the source, 0.22 on average, its largest number in the same place in 75 % of the "
        "rows; on 4 rows"
    )


def test_whole_numbers_are_equal_or_not() -> None:
    assert measure(np.arange(4), np.array([0, 1, 2, 4])) == "measured: y: equal in 75 % of its values; on 4 rows"


def test_a_vector_has_no_place_of_the_largest() -> None:
    line = "measured: y: at most 0 from the source, 0 on average; on 4 rows"
    assert measure(np.ones(3, "f"), np.ones(3, "f")) == line
