"""A source of a fixed batch size on any number of rows, and the comparison of a result with it."""

from __future__ import annotations

from typing import Any

import pytest

from serialization.errors import UserError
from serialization.graph.batch_axes import BatchAxis
from serialization.run.batch_runs import Batches, compare_batches, compare_summaries, run_in_batches
from serialization.tensorflow import np, tf

FEED = {"x": np.arange(12, dtype="f").reshape(4, 3), "k": np.float32(2)}
BATCHES = Batches(4, {"x": 0}, {"y": BatchAxis(0), "turned": BatchAxis(1), "heads": BatchAxis(0, 1, 2)}, (1, 2))


def source(feeds: Any) -> Any:
    x = feeds["x"]
    assert len(x) == 4, "it takes no other batch"
    return model(feeds)


def model(feeds: Any) -> Any:
    x = feeds["x"]
    return {"y": x * feeds["k"], "turned": x.T, "heads": np.repeat(x, 2, axis=0), "sum": x.sum()}


@pytest.mark.parametrize("count", [1, 3, 4, 5, 9])
def test_rows_in_batches_are_the_rows(count: int) -> None:
    feeds = {"x": np.arange(count * 3, dtype="f").reshape(count, 3), "k": np.float32(2)}
    found = run_in_batches(source, BATCHES, FEED)(feeds)
    assert found.keys() == {"y", "turned", "heads"}
    for key, value in found.items():
        np.testing.assert_array_equal(value, model(feeds)[key])


def test_the_same_rows_are_told() -> None:
    said = compare_batches(source, model, [FEED], BATCHES)
    assert said == (
        "against the source's rows in batches of 4: y: the same bits; turned: the same bits; heads: the same bits"
    )
    nearly = compare_batches(source, lambda f: {**model(f), "y": model(f)["y"] * np.float32(1.000001)}, [FEED], BATCHES)
    assert "y: within 9" in nearly


def test_rows_that_depend_on_others_are_refused() -> None:
    said = "of 1 row the model gives another y than of the same rows in a batch of 4: its rows depend on each other"
    with pytest.raises(UserError, match=said):
        compare_batches(source, lambda f: {**model(f), "y": f["x"] - f["x"].mean()}, [FEED], BATCHES)


def test_a_result_that_takes_one_size_is_refused_with_its_node() -> None:
    def fails(feeds: Any) -> Any:
        raise tf.errors.InvalidArgumentError(None, None, "Incompatible shapes: [1,3] vs. [4,3]\n\t [[{{node a/add}}]]")

    with pytest.raises(UserError, match="a/add holds the size 4: with 1 row: Incompatible shapes"):
        compare_batches(source, fails, [FEED], BATCHES)


def test_an_axis_that_does_not_share_out_is_refused() -> None:
    with pytest.raises(UserError, match="y has 3 numbers along its axis 0, which 4 rows do not share out"):
        run_in_batches(lambda f: {"y": f["x"][:3], "turned": f["x"], "heads": f["x"]}, BATCHES, FEED)(FEED)


def test_rows_of_another_shape_are_told() -> None:
    with pytest.raises(UserError, match=r"of 1 row the model gives another y of shape \[4, 3\] than of the same rows"):
        compare_batches(source, lambda f: {**model(f), "y": FEED["x"]}, [FEED], BATCHES)


def test_a_summary_is_the_same_of_repeated_rows() -> None:
    def summarize(feeds: Any) -> Any:
        return {"mean": feeds["x"].mean(0), "best": feeds["x"].argmax(0), "sum": feeds["x"].sum(0)}

    said = compare_summaries(summarize, summarize, FEED, BATCHES, ["mean", "best"])
    assert said == (
        "against the source's batches of 4, which repeat these rows: mean: the same bits; best: the same bits"
    )
    three = Batches(4, BATCHES.inputs, {}, (3,))
    assert compare_summaries(summarize, summarize, FEED, three, ["mean"]).endswith("mean: the same bits")
    with pytest.raises(UserError, match=r"gives another sum than .* it depends on the number of rows, or a constant"):
        compare_summaries(summarize, summarize, FEED, BATCHES, ["mean", "sum"])
