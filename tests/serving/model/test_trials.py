"""Example values are found that a model takes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from serving_models import open_small, post, small_app

from freezemodel_serve import compile_session
from serialization.errors import UserError
from serialization.runtimes.runtime import ValuesError
from serialization.runtimes.tensorflow_runtime import TensorFlowRuntime
from serialization.serving.model.trials import find_example, has_same_answers, is_quicker, time_run
from serialization.tensorflow import np


def test_a_model_of_encoded_images_is_warmed_up_with_an_image() -> None:
    """The example of the page and of /openapi.json is an image that the model takes."""
    client = small_app("picture").test_client()
    document = client.get("/openapi.json").get_json()
    content = document["paths"]["/api/predict"]["post"]["requestBody"]["content"]["application/json"]
    assert list(content["example"]["x"][0]) == ["b64"]
    assert post(client, json.dumps(content["example"]))[0] == 200
    status, answer = post(client, '{"x": ["no picture"]}')
    assert status == 422
    assert answer["error"].startswith("the model refuses the values: ")


def test_a_model_that_refuses_all_examples_is_served_without_warm_up() -> None:
    client = small_app("particular").test_client()
    assert client.get("/readyz").get_json()["runs"] == "in TensorFlow's threads"
    assert post(client, '{"x": [[1000, 1]]}') == (200, {"y": [[1000, 1]]})
    status, answer = post(client, '{"x": [[1, 1]]}')
    assert status == 422
    assert "too small" in answer["error"]
    with pytest.raises(UserError, match=r"the model cannot run in batches: .*too small"):
        small_app("particular", max_batch_size=8)


def test_a_model_that_cannot_run_is_one_line() -> None:
    with pytest.raises(UserError, match=r"the model does not run: .*uninitialized"):
        small_app("unfinished")


def predictor(name: str) -> TensorFlowRuntime:
    return compile_session(*open_small(name), 30)


@pytest.mark.parametrize(
    ("name", "keys"), [("two", {"a", "b"}), ("scalar", {"x"}), ("embedding", {"ids"}), ("number", {"text"})]
)
def test_an_example_is_one_row_that_the_model_takes(name: str, keys: set[str]) -> None:
    predict = predictor(name)
    example, is_taken = find_example(predict)
    assert (set(example), is_taken) == (keys, True)
    assert all(value.shape[:1] in ((), (1,)) for value in example.values())
    predict(example)


def test_where_no_values_are_taken_there_is_an_example_all_the_same() -> None:
    predict = predictor("particular")
    example, is_taken = find_example(predict)
    assert (example["x"].shape, is_taken) == ((1, 2), False)
    with pytest.raises(ValuesError):
        predict(example)


class Timed:
    """Runs nothing, but moves the clock."""

    def __init__(self, clock: list[float], *seconds: float) -> None:
        self.clock = clock
        self.seconds = [*reversed(seconds)]

    def __call__(self, feeds: Mapping[str, Any]) -> Any:
        self.clock[0] += self.seconds.pop() if len(self.seconds) > 1 else self.seconds[0]
        return {}


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [0.0]
    monkeypatch.setattr("serialization.serving.model.trials.time.perf_counter", lambda: now[0])
    return now


def test_the_time_of_a_run_is_the_median(clock: list[float]) -> None:
    assert time_run(Timed(clock, 9.0, 1.0, 2.0), {}) == pytest.approx(2.0)
    assert time_run(Timed(clock, 0.05, 0.05, 0.05, 0.2), {}) == pytest.approx(0.05)
    few = Timed(clock, *[0.001] * 60)
    assert time_run(few, {}) == pytest.approx(0.001)
    assert len(few.seconds) == 60 - 51, "51 runs are enough"


def test_the_quicker_one_is_so_at_its_best(clock: list[float]) -> None:
    slow, disturbed = Timed(clock, 1.0), Timed(clock, *[5.0] * 6, 0.9)
    assert is_quicker(disturbed, slow, {})
    assert not is_quicker(slow, disturbed, {})


@pytest.mark.parametrize(
    ("name", "exactly", "same"),
    [
        ("text", True, True),
        ("numbers", True, True),
        ("matrices", False, True),
        ("log", False, True),
        ("centred", False, False),
        ("reversed", False, False),
        ("mean up to the longest", False, False),
        ("small and in order", False, False),
        ("words", False, False),  # an answer is as long as its text
    ],
)
def test_rows_are_independent_if_they_answer_the_same_together(name: str, exactly: bool, same: bool) -> None:
    predict = predictor(name)
    example, _ = find_example(predict)
    assert has_same_answers(predict, predict, example, 4, (1, 2, 5), exactly=exactly) == same


class Rounded:
    """Answers almost the same."""

    def __init__(self, predict: TensorFlowRuntime, by: float) -> None:
        self.predict, self.by = predict, by

    def __call__(self, feeds: Mapping[str, Any]) -> Any:
        return {key: value * np.float32(1 + self.by) for key, value in self.predict(feeds).items()}


@pytest.mark.parametrize(
    ("by", "exactly", "same"), [(1e-5, False, True), (1e-5, True, False), (1e-2, False, False), (0.0, True, True)]
)
def test_rounding_is_no_other_answer_unless_the_bits_have_to_be_the_same(by: float, exactly: bool, same: bool) -> None:
    predict = predictor("matrices")
    example = {"x": np.ones((1, 8), np.float32)}
    assert has_same_answers(Rounded(predict, by), predict, example, 2, (1,), exactly=exactly) == same
