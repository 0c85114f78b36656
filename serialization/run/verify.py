"""Runs the source and the result of a conversion on the same feeds, and compares them bit for bit.

What another runtime runs is compared within a tolerance.

Each of them runs twice in one session: with a seed, random ops give the same numbers in the first run of both, and
others in the next.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from serialization.console import format_count, list_some, make_printable
from serialization.errors import UserError
from serialization.graph.random_ops import find_dropout_layers, find_random_outputs
from serialization.graph.shape_probe import find_named_node
from serialization.run.batch_runs import compare_batches, compare_summaries
from serialization.run.differences import (
    Tolerance,
    find_largest,
    find_problem,
    has_same_bits,
    is_alike,
    is_rounded,
    measure_gap,
)
from serialization.run.edited_source import find_feeds
from serialization.run.failures import may_be_mended, require_mendable
from serialization.run.generated_feeds import format_feed_flags, generate_attempts
from serialization.run.given_feeds import Feed, read_rows
from serialization.run.predictor import Run, Values
from serialization.tensorflow import format_reason, quiet, tf

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from serialization.run.origin import Origin

OpenResult = Callable[[bool], AbstractContextManager[Run]]
NOT_VERIFIED = "not verified, as --no-verify asks"
_REPEATS = 4  # runs of the source that show whether it differs from itself
_UNSTEADY = 1e-3  # the most that an output may differ between two runs of the source, relative to its largest number


class NotVerifiedError(Exception):
    """The source does not run on the feeds, so the result cannot be compared. The cause is the source's failure."""


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


def prove_same(
    origin: Origin,
    open_result: OpenResult,
    given: Sequence[Feed] | None = None,
    *,
    steady: bool = False,
    tolerance: Tolerance | None = None,
    report: Callable[[Run, Proof], str] | None = None,
) -> str:
    """Compare source and result on the feeds of `--feed` or on generated feeds; then report the effect of optimizers.

    `open_result` opens the written model, once without and once with TensorFlow's default graph optimizers, so that one
    is in memory at a time. `steady` says that the result keeps no state, so two runs of the source must answer alike.
    `tolerance` is for what another runtime runs: it is opened once, as if without optimizers. `report` makes the line
    on what was compared, from the source and the proof.

    Returns the lines to print. Raises UserError if the result differs, if the source does not run on `given`, or if no
    feed could make it run.
    """
    wanted, index = origin.signature, origin.index
    ops, layers = find_random_outputs(index, wanted), find_dropout_layers(index, wanted)
    random = {key: any(layers.get(name) for name in names) for key, names in ops.items()}
    generated = (_flip(batch, origin.switches) for batch in generate_attempts(wanted, origin.hints, origin.batches))
    attempts: Iterable[Sequence[Values]] = [[read_rows(wanted, given)]] if given else generated
    runtime, tolerance = tolerance, tolerance or origin.tolerance
    repeat = origin.repeat if steady else None
    open_each = _afresh(open_result) if origin.repeat is not None and not steady else open_result

    def look(feed: Values) -> None:
        if repeat is not None:
            _require_steady(origin.predict, repeat, feed, random)

    fed = f" {'given' if given else 'generated'} for {list_some([t.key for t in wanted.inputs], 10)}" * bool(
        wanted.inputs
    )
    try:
        with quiet(), open_each(False) as result:  # quiet: a graph may print
            proof = compare_runs(origin.predict, result, attempts, random, look, tolerance=tolerance, fed=fed)
            verdict = "measured" if report else "proved"
            freed = _compare_freed(origin, result, proof, tolerance, given=bool(given), verdict=verdict)
    except NotVerifiedError as failure:
        return _explain_failure(origin, failure, given=bool(given))
    lines = [report(origin.predict, proof)] if report and not proof.random else _judge(proof, ops, layers)
    lines += freed
    if runtime is None:
        with quiet(), open_each(True) as optimized:
            lines += compare_optimized(proof, optimized)
    return "\n".join(make_printable(line, len(line)) for line in lines)


def _explain_failure(origin: Origin, failure: NotVerifiedError, *, given: bool) -> str:
    """The line for a source that does not run on the feeds. Raises UserError if the feeds were given, or if no feed or
    another value of --pin may make it run.
    """
    wanted, error = origin.signature, failure.__cause__
    if given:
        require_mendable(error, origin.index, wanted)
        raise UserError(f"the source does not run on the values of --feed: {failure}; nothing was written")
    if origin.unpinned is not None and find_feeds(origin.unpinned, range(1)):
        pins = [f"--pin {t.key}" for t in origin.unpinned.signature.inputs if t not in wanted.inputs]
        with_feed = f", or {format_feed_flags(wanted)} on which it runs" * bool(wanted.inputs)
        raise UserError(
            f"the model does not run with the value of {' and '.join(pins)}: {failure}; it runs with others; give "
            f"another value{with_feed}; nothing was written"
        )
    require_mendable(error, origin.index, wanted)
    helps = wanted.inputs and may_be_mended(error)
    advice = f"; to prove it, add {format_feed_flags(wanted)}" if helps else ""
    return f"not verified: the source does not run on generated feeds: {failure}{advice}"


def _judge(proof: Proof, ops: Mapping[str, tuple[str, ...]], layers: Mapping[str, bool]) -> list[str]:
    """The line of a comparison, and one on dropout; `ops` are the random ops behind each output."""
    if not proof.random:
        return [f"proved: {proof.line}"]
    names = list(dict.fromkeys(name for key in ops if key in proof.random for name in ops[key]))
    lines = [f"not verified: random: {list_some(names)}; {proof.line}"]
    if on := [name for name in names if name in layers]:
        which = "layer of this graph drops" if len(on) == 1 else "layers of this graph drop"
        lines.append(
            f"dropout is on: {len(on):,} {which} out at inference; --no-dropout of freezemodel_edit.py and "
            "freezemodel_save.py switches it off"
        )
    return lines


def _flip(batch: Sequence[Values], switches: Sequence[str]) -> Sequence[Values]:
    """The feeds; where there are switches, the first once more with the other value of each."""
    return [*batch, {**batch[0], **{key: ~batch[0][key] for key in switches}}] if switches else batch


def _compare_freed(
    origin: Origin, result: Run, proof: Proof, tolerance: Tolerance | None, *, given: bool, verdict: str
) -> list[str]:
    """The lines on batches of other sizes, where the result takes these and the source does not."""
    if origin.freed is None:
        return []
    freed, sizes = origin.freed, " and ".join(map(str, origin.freed.tried))
    steady = {key: how for key, how in freed.axes.items() if key not in proof.random}
    summaries = [t.key for t in origin.signature.outputs if t.key not in freed.axes and t.key not in proof.random]
    lines = []
    if steady and freed.tried:
        feeds = [proof.feeds[0], *([] if given else find_feeds(origin, range(1, 3)))]
        lines.append(compare_batches(origin.predict, result, feeds, replace(freed, axes=steady), tolerance))
    if summaries and freed.tried:
        lines.append(compare_summaries(origin.predict, result, proof.feeds[0], freed, summaries, tolerance))
    return [f"{verdict} in batches of {sizes}, {line}" for line in lines]


def _afresh(open_result: OpenResult) -> OpenResult:
    """Open the result anew for each run, as the source does, since a run changes its variables."""

    @contextmanager
    def open_each(optimize: bool) -> Iterator[Run]:
        def run(values: Values) -> Values:
            with open_result(optimize) as again:
                return again(values)

        yield run

    return open_each


def _require_steady(first: Run, second: Run, feed: Values, random: Mapping[str, bool]) -> None:
    before, after = first(feed), second(feed)
    for key, value in before.items():
        if key not in random and not has_same_bits(value, after[key]):
            raise UserError(
                f"the model changes its variables as it runs, and {key} with them, so it cannot be frozen; "
                "keep it as a SavedModel; nothing was written"
            )


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

    Raises UserError at the first output that differs, NotVerifiedError if the source runs on none of the feeds.
    """
    failure = None
    for batch in attempts:
        expected: list[tuple[Values, list[Values]]] = []
        for feed in batch:
            try:
                # Without random ops the first feed shows whether a run changes the next.
                expected.append((feed, [source(feed) for _ in range(2 if random or not expected else 1)]))
            except tf.errors.OpError as error:
                failure = failure or error
        if expected:
            look(expected[0][0])
            return _compare_all(source, result, expected, random or {}, tolerance=tolerance, fed=fed)
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


def _compare_all(
    source: Run,
    result: Run,
    expected: Sequence[tuple[Values, Sequence[Values]]],
    random: Mapping[str, bool],
    *,
    tolerance: Tolerance | None,
    fed: str,
) -> Proof:
    rows = 0
    differ: set[str] = set()
    tolerances: dict[str, float] = {}
    answers = []
    accepted: dict[str, tuple[float, float]] = {}
    for feed, runs in expected:
        try:
            got = [result(feed) for _ in runs]
        except tf.errors.OpError as error:
            node = find_named_node(str(error.message))
            where = f"{node}: " if node else ""
            raise UserError(
                f"the result does not run where its source does: {where}{format_reason(error)}; nothing was written"
            ) from None
        answers.append(got[0])
        for key, value in runs[0].items():
            # Where each side repeats itself, a difference between them is none of chance.
            if key in random and (random[key] or not (_all_same(key, runs) and _all_same(key, got))):
                differ.add(key)
            for wanted, actual in zip(runs, got, strict=True):
                problem = find_problem(key, wanted[key], actual[key], shape_only=key in differ)
                if problem:
                    gap = measure_gap(wanted[key], actual[key])
                    largest = find_largest(value) if value.dtype.kind in "fc" else 0.0
                    if tolerance and is_alike(wanted[key], actual[key]) and tolerance.accepts(wanted[key], actual[key]):
                        known = accepted.get(key, (0.0, 0.0))
                        accepted[key] = (max(known[0], gap), max(known[1], gap / (largest or 1.0)))
                        continue
                    # Some ops add up in the order in which their threads finish.
                    own = _measure_own_gap(source, feed, key, value)
                    if not own or gap > 4 * own or own > _UNSTEADY * largest:
                        own = max(own, *(_measure_own_gap(source, feed, key, value) for _ in range(_REPEATS)))
                        itself = f", which differs from itself by up to {own:.3g}" if own else ""
                        without = "; --no-verify does without the comparison" if own else ""
                        cause = f": {tolerance.cause}" if tolerance and tolerance.cause else ""
                        raise UserError(
                            f"the result differs from its source{itself}: {problem}{cause}; nothing was written"
                            f"{without}"
                        )
                    tolerances[key] = max(tolerances.get(key, 0.0), gap)
        rows += _rows(feed)
    exact = [key for key in expected[0][1][0] if key not in differ | tolerances.keys() | accepted.keys()]
    covered = f"on {format_count(rows, 'row')}{fed}"
    parts = [f"{', '.join(exact)}: the same bits as the source, {covered}"] if exact else []
    parts += [
        f"{key}: within {t:.2g} of the source, which differs from itself as much" for key, t in tolerances.items()
    ]
    if tolerance:
        parts += [
            f"{key}: within {gap:.2g} of the source, {tolerance.words.format(relative)}"
            for key, (gap, relative) in accepted.items()
        ]
    parts += [f"{key}: its shape and dtype are the source's" for key in random if key in differ]
    parts += [f"compared {covered}"] if not exact else []
    line, covered = (make_printable(text, len(text)) for text in ("; ".join(parts), covered))
    return Proof(line, covered, tuple(feed for feed, _ in expected), tuple(answers), frozenset(differ))


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
