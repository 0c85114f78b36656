"""A source is compared with its result: differences are found, rounding and random outputs are accepted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from serialization.errors import UserError
from serialization.run.compared_runs import NotVerifiedError, compare_optimized, compare_runs
from serialization.run.differences import Tolerance
from serialization.tensorflow import np, tf

FEEDS = [[{"x": np.ones(2, "f")}]]


def answer(*values: Any) -> Callable[[Any], dict[str, Any]]:
    """A model that answers with these values one after the other, and then always with the last."""
    left = [np.asarray(value) for value in values]
    return lambda feeds: {"y": left.pop(0) if len(left) > 1 else left[0]}


@pytest.mark.parametrize(
    "value", [np.array([1.0, np.nan, np.inf], "f"), np.array([b"a", b""], object), np.array([True])]
)
def test_equal_outputs_are_proved(value: Any) -> None:
    proof = compare_runs(answer(value), answer(value), FEEDS)
    assert proof.line == "y: the same bits as the source, on 2 rows"


@pytest.mark.parametrize(
    ("expected", "actual", "line"),
    [
        (np.array([1, 2], "f"), np.array([1, 2.5], "f"), "y is off by up to 0.5"),
        (np.array([0.0], "f"), np.array([-0.0], "f"), "y is off by up to 0"),
        (np.array([np.nan], "f"), np.array([1], "f"), "y is off by up to inf"),
        (np.array([1], "f"), np.array([1], "d"), "y is float64[1], not float32[1]"),
        (np.array([1], "f"), np.array([[1]], "f"), "y is float32[1, 1], not float32[1]"),
        (np.array([b"a"], object), np.array([b"b"], object), "y is off"),
        (np.array([True]), np.array([False]), "y is off"),
    ],
)
def test_different_outputs_are_reported(expected: Any, actual: Any, line: str) -> None:
    with pytest.raises(UserError) as caught:
        compare_runs(answer(expected), answer(actual), FEEDS)
    assert str(caught.value) == f"the result differs from its source: {line}; nothing was written"


def test_a_source_may_differ_from_itself_by_rounding() -> None:
    source = answer(np.array([1000], "f"), np.array([1000.0001], "f"))
    proof = compare_runs(source, answer(np.array([1000.0001], "f")), FEEDS)
    assert proof.line == "y: within 0.00012 of the source, which differs from itself as much; compared on 2 rows"


def test_a_counter_is_not_taken_for_rounding() -> None:
    with pytest.raises(UserError, match="y is off by up to 1; nothing was written"):
        compare_runs(answer(np.array([1], "f"), np.array([2], "f")), answer(np.array([2], "f")), FEEDS)


def test_an_infinite_number_makes_no_tolerance_infinite() -> None:
    source = answer(np.array([np.inf, 1], "f"), np.array([np.inf, 2], "f"))
    with pytest.raises(UserError, match="y is off by up to 3; nothing was written"):
        compare_runs(source, answer(np.array([np.inf, 4], "f")), FEEDS)
    infinite = answer(np.array([np.inf, 1], "f"))
    moved = compare_optimized(compare_runs(infinite, infinite, FEEDS), answer(np.array([np.inf, 2], "f")))
    assert moved == ["TensorFlow's default graph optimizers move y by up to 1; without them it is the source's"]


def test_a_source_that_differs_from_itself_now_and_then_is_said_to() -> None:
    """As a graph that reads a variable while it writes it."""
    seldom = answer(*(np.array([number], "f") for number in (1, 1, 1, 1, 1, 5, 1, 1)))
    with pytest.raises(UserError) as caught:
        compare_runs(seldom, answer(np.array([3], "f")), FEEDS)
    assert str(caught.value) == (
        "the result differs from its source, which differs from itself by up to 4: y is off by up to 2; "
        "nothing was written; --no-verify does without the comparison"
    )


def test_random_outputs_are_compared_in_shape() -> None:
    chance = answer(*(np.array([number], "f") for number in range(4)))
    proof = compare_runs(chance, answer(np.array([9], "f")), FEEDS, {"y": False})
    assert (proof.line, proof.random) == ("y: its shape and dtype are the source's; compared on 2 rows", frozenset("y"))
    with pytest.raises(UserError, match="not float32"):
        compare_runs(chance, answer(np.array([2], "i")), FEEDS, {"y": False})
    proof = compare_runs(answer(np.array([1], "f")), answer(np.array([1], "f")), FEEDS, {"y": False})
    assert (proof.line, proof.random) == ("y: the same bits as the source, on 2 rows", frozenset())


def test_what_differs_though_each_side_repeats_itself_is_not_put_down_to_chance() -> None:
    """As with dropout that a feed switches off, in front of a fault of the conversion."""
    with pytest.raises(UserError, match="the result differs from its source: y is off by up to 1"):
        compare_runs(answer(np.array([1], "f")), answer(np.array([2], "f")), FEEDS, {"y": False})


def test_a_class_that_is_drawn_twice_in_a_row_is_random_all_the_same() -> None:
    drawn = answer(*(np.array([number]) for number in (1, 1, 1, 2, 3)))
    assert compare_runs(drawn, answer(np.array([2])), FEEDS, {"y": False}).random == {"y"}


def test_a_seed_does_not_make_a_random_output_the_same() -> None:
    """Source and result give the same numbers, run for run; but the second run of one session gives others."""

    def seeded() -> Any:
        return answer(np.array([1], "f"), np.array([2], "f"))

    assert compare_runs(seeded(), seeded(), FEEDS, {"y": False}).random == {"y"}
    same = answer(np.array([1], "f"))
    assert compare_runs(same, same, FEEDS, {"y": True}).random == {"y"}, "the graph is certain to be random"


def test_the_first_feeds_that_run_are_compared() -> None:
    def picky(feeds: Any) -> dict[str, Any]:
        if len(feeds["x"]) != 3:
            raise tf.errors.InvalidArgumentError(None, None, "three rows, please")
        return {"y": feeds["x"]}

    proof = compare_runs(picky, picky, [FEEDS[0], [{"x": np.ones(3, "f")}]])
    assert proof.line == "y: the same bits as the source, on 3 rows"
    with pytest.raises(NotVerifiedError, match=r"^three rows, please$"):
        compare_runs(picky, picky, FEEDS)
    with pytest.raises(UserError, match="the result does not run where its source does: three rows, please"):
        compare_runs(answer(np.array([1], "f")), picky, FEEDS)


def test_an_answer_that_is_near_gets_the_advice_to_feed_real_values() -> None:
    tolerance = Tolerance(lambda _, actual: bool(np.all(actual == 1)), "", advice="; try --feed x=VALUE")
    for gap, end in ((0.001, "nothing was written; try --feed x=VALUE"), (0.5, "nothing was written")):
        with pytest.raises(UserError, match=f"{end}$"):
            compare_runs(answer(np.ones(2, "f")), answer(np.full(2, 1 - gap, "f")), FEEDS, tolerance=tolerance)


def test_empty_outputs_prove_nothing() -> None:
    def crop(feeds: Any) -> dict[str, Any]:
        return {"y": feeds["x"][2:-2]}

    short, long = {"x": np.ones(4, "f")}, {"x": np.ones(9, "f")}
    assert compare_runs(crop, crop, [[short], [long]]).line == "y: the same bits as the source, on 9 rows"
    with pytest.raises(NotVerifiedError, match="outputs are empty"):
        compare_runs(crop, crop, [[short]])


def test_differences_by_the_optimizers_are_reported() -> None:
    same = answer(np.array([1, 100], "f"))
    proof = compare_runs(same, same, FEEDS)
    moved = compare_optimized(proof, answer(np.array([1, 100.5], "f")))
    assert moved == ["TensorFlow's default graph optimizers move y by up to 0.5; without them it is the source's"]
    assert compare_optimized(proof, answer(np.array([1, 100.0001], "f"))) == []
