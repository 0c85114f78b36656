"""Runs the source and the result of a conversion on the same feeds, and compares them bit for bit.

What another runtime runs is compared within a tolerance.

Each of them runs twice in one session: with a seed, random ops give the same numbers in the first run of both, and
others in the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from serialization.console import format_count, make_printable
from serialization.errors import UserError
from serialization.run.differences import (
    Tolerance,
    find_largest,
    find_problem,
    has_same_bits,
    is_alike,
    is_rounded,
    measure_gap,
)
from serialization.run.failures import find_failed_node
from serialization.run.predictor import Run, Values
from serialization.tensorflow import format_reason, tf

if TYPE_CHECKING:
    from numpy.typing import NDArray

_REPEATS = 4  # runs of the source that show whether it differs from itself
_NEAR = 1e-2  # relative to the largest number: a model may answer so to numbers that it was not trained on
_UNSTEADY = 1e-3  # the most that an output may differ between two runs of the source, relative to its largest number


class NotVerifiedError(Exception):
    """There is no answer of the source to compare the result with. The cause is the source's failure.

    Without a cause the source ran, and its outputs were empty.
    """


@dataclass(frozen=True)
class Proof:
    """The outcome of a comparison: a line to print, the feeds on which the source ran, and the result's answers.

    `covered` is the end of the line: on how many rows. `random` are the keys of the outputs of which only shape and
    dtype could be compared.
    """

    line: str
    covered: str
    feeds: tuple[Values, ...]
    answers: tuple[Values, ...]
    random: frozenset[str] = frozenset()


def compare_runs(
    source: Run,
    result: Run,
    attempts: Iterable[Sequence[Values]],
    random: Mapping[str, bool] | None = None,
    look: Callable[[Values], None] = lambda feed: None,
    *,
    tolerance: Tolerance | None = None,
    fed: str = "",
) -> Proof:
    """Compare on the first feeds that the source runs on. `random` are the outputs that depend on random ops.

    Of these, only shape and dtype are compared if a second run gives other values, and always if `random` says True.
    `look` is called first, with the first of these feeds. `tolerance` accepts other bits. `fed` is for the proof's
    line: the inputs that were fed.

    Raises UserError at the first output that differs, NotVerifiedError if the source runs on none of the feeds, or
    answers all of them with empty outputs.
    """
    failure, empty = None, False
    for batch in attempts:
        expected: list[tuple[Values, list[Values]]] = []
        for feed in batch:
            try:
                # Without random ops the first feed shows whether a run changes the next.
                expected.append((feed, [source(feed) for _ in range(2 if random or not expected else 1)]))
            except tf.errors.OpError as error:
                failure = failure or error
        if expected and not any(value.size for _, runs in expected for value in runs[0].values()):
            empty = True  # such as what is left of a short sequence whose ends are cropped
        elif expected:
            look(expected[0][0])
            return _Comparison(source, random or {}, tolerance).compare(result, expected, fed)
    if empty:
        raise NotVerifiedError("its outputs are empty")
    raise NotVerifiedError(format_reason(failure)) from failure


def compare_optimized(proof: Proof, optimized: Run) -> list[str]:
    """A line for each output that TensorFlow's default optimizers change by more than rounding."""
    worst: dict[str, float] = {}
    for feed, plain in zip(proof.feeds, proof.answers, strict=True):
        moved = optimized(feed)
        for key, value in plain.items():
            if key in proof.random or value.dtype.kind not in "iufc" or value.shape != moved[key].shape:
                continue
            if not is_rounded(value, moved[key]):
                worst[key] = max(worst.get(key, 0.0), measure_gap(value, moved[key]))
    return [
        f"TensorFlow's default graph optimizers move {key} by up to {difference:.2g}; without them it is the source's"
        for key, difference in worst.items()
    ]


class _Comparison:
    """What is seen of each output, by its key, feed by feed."""

    def __init__(self, source: Run, random: Mapping[str, bool], tolerance: Tolerance | None) -> None:
        self._source = source
        self._random = random
        self._tolerance = tolerance
        self._differ: set[str] = set()  # outputs that are random
        self._unsteady: dict[str, float] = {}  # how far the result is, where the source differs from itself as much
        self._accepted: dict[str, tuple[float, float]] = {}  # by the tolerance: how far, and relative to its numbers

    def compare(self, result: Run, expected: Sequence[tuple[Values, Sequence[Values]]], fed: str) -> Proof:
        """Run the result on the feeds, as often as the source was, and compare it with the source's answers."""
        answers = []
        for feed, runs in expected:
            got = [_run(result, feed) for _ in runs]
            answers.append(got[0])
            for key in runs[0]:
                # Where each side repeats itself, a difference between them is none of chance.
                random = self._random.get(key)
                if random or (random is not None and not (_all_same(key, runs) and _all_same(key, got))):
                    self._differ.add(key)
                for wanted, actual in zip(runs, got, strict=True):
                    problem = find_problem(key, wanted[key], actual[key], shape_only=key in self._differ)
                    if not problem or self._accept(key, wanted[key], actual[key]):
                        continue
                    if find_problem(key, wanted[key], actual[key], shape_only=True) or not self._is_chance(key, feed):
                        self._require_unsteady(key, feed, runs[0][key], measure_gap(wanted[key], actual[key]), problem)
        covered = f"on {format_count(sum(_rows(feed) for feed, _ in expected), 'row')}{fed}"
        line = self._describe(expected[0][1][0], covered)
        line, covered = (make_printable(text, len(text)) for text in (line, covered))
        return Proof(line, covered, tuple(feed for feed, _ in expected), tuple(answers), frozenset(self._differ))

    def _accept(self, key: str, wanted: NDArray[Any], actual: NDArray[Any]) -> bool:
        tolerance = self._tolerance
        if not (tolerance and is_alike(wanted, actual) and tolerance.accepts(wanted, actual)):
            return False
        gap, largest = measure_gap(wanted, actual), _find_largest(wanted)
        known = self._accepted.get(key, (0.0, 0.0))
        self._accepted[key] = (max(known[0], gap), max(known[1], gap / (largest or 1.0)))
        return True

    def _is_chance(self, key: str, feed: Values) -> bool:
        """Whether more runs of the source show that a random output is random: a class may be drawn twice in a row."""
        if key in self._random:
            value = self._source(feed)[key]
            if any(_measure_own_gap(self._source, feed, key, value) for _ in range(_REPEATS)):
                self._differ.add(key)
        return key in self._differ

    def _require_unsteady(self, key: str, feed: Values, value: NDArray[Any], gap: float, problem: str) -> None:
        """Raise UserError unless the source differs from itself as much: some ops add up as their threads finish."""
        own = _measure_own_gap(self._source, feed, key, value)
        if own and gap <= 4 * own and own <= _UNSTEADY * _find_largest(value):
            self._unsteady[key] = max(self._unsteady.get(key, 0.0), gap)
            return
        own = max(own, *(_measure_own_gap(self._source, feed, key, value) for _ in range(_REPEATS)))
        itself = f", which differs from itself by up to {own:.3g}" if own else ""
        without = "; --no-verify does without the comparison" if own else ""
        cause = f": {self._tolerance.cause}" if self._tolerance and self._tolerance.cause else ""
        advice = self._tolerance.advice if self._tolerance and gap <= _NEAR * _find_largest(value) else ""
        raise UserError(
            f"the result differs from its source{itself}: {problem}{cause}; nothing was written{without}{advice}"
        )

    def _describe(self, keys: Iterable[str], covered: str) -> str:
        exact = [key for key in keys if key not in self._differ | self._unsteady.keys() | self._accepted.keys()]
        parts = [f"{', '.join(exact)}: the same bits as the source, {covered}"] if exact else []
        parts += [
            f"{key}: within {gap:.2g} of the source, which differs from itself as much"
            for key, gap in self._unsteady.items()
        ]
        if self._tolerance:
            parts += [
                f"{key}: within {gap:.2g} of the source, {self._tolerance.words.format(relative)}"
                for key, (gap, relative) in self._accepted.items()
            ]
        parts += [f"{key}: its shape and dtype are the source's" for key in self._random if key in self._differ]
        parts += [f"compared {covered}"] if not exact else []
        return "; ".join(parts)


def _run(result: Run, feed: Values) -> Values:
    try:
        return result(feed)
    except tf.errors.OpError as error:
        node = find_failed_node(error)
        where = f"{node}: " if node else ""
        raise UserError(
            f"the result does not run where its source does: {where}{format_reason(error)}; nothing was written"
        ) from None


def _find_largest(value: NDArray[Any]) -> float:
    return find_largest(value) if value.dtype.kind in "fc" else 0.0


def _measure_own_gap(source: Run, feed: Values, key: str, value: NDArray[Any]) -> float:
    """How far one more run of the source is from its first answer."""
    again = source(feed)[key]
    if not is_alike(value, again) or has_same_bits(value, again):
        return 0.0
    return measure_gap(value, again)


def _all_same(key: str, runs: Sequence[Values]) -> bool:
    first = runs[0][key]
    same = (other[key].dtype == first.dtype and other[key].shape == first.shape for other in runs)
    return all(same) and all(has_same_bits(first, other[key]) for other in runs)


def _rows(feed: Values) -> int:
    return max((len(value) for value in feed.values() if value.ndim), default=1)
