"""Tries a model: finds values that it takes, times a run, compares rows run together with rows run alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from serialization.errors import UserError
from serialization.graph.signature import Signature
from serialization.run.generated_feeds import generate_feed
from serialization.runtimes.runtime import Answers, RunError, Runtime, StateError, UnclearError, ValuesError
from serialization.tensorflow import format_reason, np, quiet

if TYPE_CHECKING:
    from numpy.typing import NDArray


def find_example(predict: Runtime) -> tuple[dict[str, NDArray[Any]], bool]:
    """Values of one row, and whether the model takes them; the run warms the model up.

    A model may want strings of a format that neither its signature nor its graph shows. Raises UserError if it cannot
    run at all.
    """
    for example in _examples(predict):
        try:
            with quiet():
                predict(example)
        except RunError as error:
            if isinstance(error, StateError) or not isinstance(error, (ValuesError, UnclearError)):
                raise UserError(f"the model does not run: {format_reason(error)}") from None
            continue  # the signature does not show all that the model wants
        return example, True
    return next(_examples(predict)), False


def _examples(predict: Runtime) -> Iterator[dict[str, NDArray[Any]]]:
    """Values of one row, likeliest first."""
    first = generate_feed(predict.signature)[0]
    yield first
    yield {key: value if value.dtype == object else np.zeros_like(value) for key, value in first.items()}
    yield from predict.list_examples()


def time_run(predict: Answers, values: Mapping[str, Any], clock: Callable[[], float] | None = None) -> float:
    """The median time of some runs, in seconds of the wall clock or another one."""
    clock = clock or time.perf_counter
    times: list[float] = []
    started = time.perf_counter()
    while len(times) < 3 or (len(times) < 51 and time.perf_counter() - started < 0.2):
        before = clock()
        predict(values)
        times.append(clock() - before)
    return sorted(times)[len(times) // 2]


def is_quicker(one: Answers, other: Answers, example: Mapping[str, NDArray[Any]]) -> bool:
    """Whether `one` runs faster than `other`. They run in turns, so that other programs slow both."""
    took = [(time_run(one, example), time_run(other, example)) for _ in range(3)]
    return min(seconds for seconds, _ in took) < min(seconds for _, seconds in took)


def has_same_answers(
    together: Answers,
    alone: Runtime,
    example: Mapping[str, NDArray[Any]],
    most: int,
    counts: Iterable[int],
    *,
    exactly: bool = False,
) -> bool:
    """Whether rows get the same answers together as alone, for each number of rows in `counts`.

    Up to `most` different rows are tried, as far as the model takes them.
    """
    rows, answers = [example], [alone(example)]
    for seed in range(1, most):
        for other in _other_rows(alone.signature, example, seed):
            with suppress(RunError):
                answers.append(alone(other))
                rows.append(other)
                break
    keys = [tensor.key for tensor in alone.signature.outputs]
    if any(len({answer[key].shape for answer in answers}) > 1 or len(answers[0][key]) != 1 for key in keys):
        return False
    for count in counts:
        chosen = [i % len(rows) for i in range(count)]
        results = together({key: np.concatenate([rows[i][key] for i in chosen]) for key in example})
        for key in keys:
            expected = np.concatenate([answers[i][key] for i in chosen])
            if not (_same if exactly else _close)(results[key], expected):
                return False
    return True


def _other_rows(
    signature: Signature, example: Mapping[str, NDArray[Any]], seed: int
) -> Iterator[Mapping[str, NDArray[Any]]]:
    """Rows of the example's shapes with other values, which differ in lengths, sizes and signs."""
    made = generate_feed(signature, seed)[0]
    generator = np.random.default_rng(seed)
    row = {}
    for key, value in example.items():
        row[key] = other = made[key] if made[key].shape == value.shape else value
        if value.dtype == object:
            row[key] = np.full_like(value, b" ".join([b"text%d" % seed] * (1 + seed % 5)))
        elif np.issubdtype(value.dtype, np.integer) and np.array_equal(other, value):  # for example a length
            row[key] = generator.integers(0, np.maximum(value, 1), endpoint=True).astype(value.dtype)
    yield row
    for scale in (-1, 0.1, 0.01):
        yield {key: value * value.dtype.type(scale) if value.dtype.kind == "f" else value for key, value in row.items()}


def _same(actual: Any, expected: Any) -> bool:
    """Whether the arrays hold the same bits."""
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        return False
    return bool(np.array_equal(actual, expected)) if actual.dtype == object else actual.tobytes() == expected.tobytes()


def _close(actual: Any, expected: Any) -> bool:
    if actual.shape != expected.shape:
        return False
    if actual.dtype.kind in "fV":
        actual, expected = actual.astype(np.float64), expected.astype(np.float64)
        finite = np.abs(expected[np.isfinite(expected)])
        return bool(np.allclose(actual, expected, 1e-3, 1e-5 * finite.max(initial=0), equal_nan=True))
    return bool(np.array_equal(actual, expected))
