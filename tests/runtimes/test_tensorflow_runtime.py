"""The runtime runs sessions, and raises the errors of all runtimes."""

from __future__ import annotations

import pytest
from serving_models import open_small

from freezemodel_serve import compile_session
from serialization.errors import UserError
from serialization.runtimes.runtime import (
    ROWS_RUN,
    LateError,
    MemoryShortError,
    RunError,
    StateError,
    UnclearError,
    ValuesError,
)
from serialization.runtimes.tensorflow_runtime import TensorFlowRuntime
from serialization.targets import to_frozen
from serialization.tensorflow import np, tf

ROWS = {"x": np.ones((3, 8), np.float32)}


def open_model(name: str, timeout: float = 30) -> TensorFlowRuntime:
    return compile_session(*open_small(name), timeout)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        ("InvalidArgumentError", ValuesError),
        ("OutOfRangeError", ValuesError),
        ("AbortedError", ValuesError),
        ("UnimplementedError", ValuesError),
        ("DataLossError", ValuesError),
        ("FailedPreconditionError", StateError),
        ("InternalError", UnclearError),
        ("DeadlineExceededError", LateError),
        ("ResourceExhaustedError", MemoryShortError),
        ("CancelledError", RunError),
    ],
)
def test_each_error_has_its_kind(error: str, expected: type[RunError], monkeypatch: pytest.MonkeyPatch) -> None:
    run = open_model("matrices")

    def fail(_: object) -> None:
        raise getattr(tf.errors, error)(None, None, "why")

    monkeypatch.setattr(run, "_predict", fail)
    with pytest.raises(RunError, match="why") as caught:
        run(ROWS)
    assert type(caught.value) is expected


def test_all_ways_to_run_give_the_same_answers() -> None:
    run = open_model("matrices")
    expected = run(ROWS)["y"]
    batched = run.open_batched(8, 0)
    single = run.open_single()
    assert single is not None
    answers = batched(ROWS)
    assert answers.pop(ROWS_RUN).tolist() == [3, 3, 3]
    for other in (answers, single(ROWS), *(inline(ROWS) for inline in run.list_inline())):
        np.testing.assert_allclose(other["y"], expected, 1e-5)


def test_a_run_over_the_limit_is_cancelled() -> None:
    with pytest.raises(LateError):
        open_model("slow for large values", timeout=0.05)({"count": np.array([5_000_000], np.int32)})


def test_what_cannot_run_in_batches_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(to_frozen, "LIMIT", 1 << 16)
    with pytest.raises(UserError, match="the model is too large to be frozen"):
        open_model("matrices").open_batched(8, 0)
