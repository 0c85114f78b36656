"""What running a model tells about it: values that it takes, how long it takes, whether its rows are independent."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from serialization import feeds, hints
from serialization.predictor import Predictor
from serialization.signature import Signature
from serialization.tensorflow import failures, np, tf

if TYPE_CHECKING:
    from numpy.typing import NDArray


def find_example(predict: Predictor, graph: Any) -> tuple[dict[str, NDArray[Any]], bool]:
    """Values of one row, and whether the model takes them; running them is its warm-up.

    What a model that takes encoded pictures or the like wants of its strings, only its users may know.
    """
    for example in _examples(predict.signature, graph):
        with failures("the model does not run"):
            try:
                predict(example)
            except (tf.errors.InvalidArgumentError, tf.errors.AbortedError):
                continue  # it wants more of its inputs than the signature says; aborted is how oneDNN says it
            return example, True
    return next(_examples(predict.signature, graph)), False


def _examples(signature: Signature, graph: Any) -> Iterator[dict[str, NDArray[Any]]]:
    """Values of one row, likeliest first."""
    first = feeds.generate(signature)[0]
    yield first
    yield {key: value if value.dtype == object else np.zeros_like(value) for key, value in first.items()}
    for attempt in feeds.attempts(signature, hints.find(graph.as_graph_def(), signature)):
        yield attempt[0]


def seconds_of(predict: Predictor, values: Mapping[str, Any]) -> float:
    """The median of some runs."""
    times: list[float] = []
    started = time.perf_counter()
    while len(times) < 3 or (len(times) < 51 and time.perf_counter() - started < 0.2):
        before = time.perf_counter()
        predict(values)
        times.append(time.perf_counter() - before)
    return sorted(times)[len(times) // 2]


def is_quicker(one: Predictor, other: Predictor, example: Mapping[str, NDArray[Any]]) -> bool:
    """Measured in turns, for what else runs on the machine must not decide."""
    took = [(seconds_of(one, example), seconds_of(other, example)) for _ in range(3)]
    return min(seconds for seconds, _ in took) < min(seconds for _, seconds in took)


def answers_alike(
    together: Predictor, alone: Predictor, example: Mapping[str, NDArray[Any]], most: int, *, exactly: bool = False
) -> bool:
    """Whether rows, different ones where the model takes them, get the same answers, `most` together, as each alone."""
    rows, answers = [example], [alone(example)]
    for seed in range(1, most):
        other = feeds.generate(alone.signature, seed)[0]
        if any(other[key].shape != value.shape for key, value in example.items()):
            other = dict(example)
        try:
            answers.append(alone(other))
        except tf.errors.OpError:
            other = dict(example)
            answers.append(answers[0])
        rows.append(other)
    keys = [tensor.key for tensor in alone.signature.outputs]
    if any(len(answer[key]) != 1 for answer in answers for key in keys):
        return False
    # That the bits are the same for some numbers of rows says nothing of others: kernels are chosen by the number.
    for count in range(2, most + 1) if exactly else sorted({2, most}):
        results = together({key: np.concatenate([row[key] for row in rows[:count]]) for key in example})
        for key in keys:
            expected = np.concatenate([answer[key] for answer in answers[:count]])
            if not (_same if exactly else _close)(results[key], expected):
                return False
    return True


def _same(actual: Any, expected: Any) -> bool:
    """Bit for bit."""
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        return False
    return bool(np.array_equal(actual, expected)) if actual.dtype == object else actual.tobytes() == expected.tobytes()


def _close(actual: Any, expected: Any) -> bool:
    if actual.shape != expected.shape:
        return False
    if actual.dtype.kind in "fV":
        return bool(np.allclose(actual.astype(np.float64), expected.astype(np.float64), 1e-3, 1e-5, equal_nan=True))
    return bool(np.array_equal(actual, expected))
