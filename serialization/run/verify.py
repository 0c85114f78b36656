"""Proves that the result of a conversion answers as its source does, and says so, or why it could not be compared."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from serialization.console import list_some, make_printable
from serialization.errors import UserError
from serialization.graph.random_ops import find_dropout_layers, find_random_outputs
from serialization.run.batch_runs import compare_batches, compare_summaries
from serialization.run.compared_runs import NotVerifiedError, Proof, compare_optimized, compare_runs
from serialization.run.differences import Tolerance, has_same_bits
from serialization.run.edited_source import find_feeds
from serialization.run.failures import may_be_mended, require_mendable
from serialization.run.generated_feeds import format_feed_flags, generate_attempts
from serialization.run.given_feeds import Feed, read_rows
from serialization.run.predictor import Run, Values
from serialization.tensorflow import quiet

if TYPE_CHECKING:
    from serialization.run.origin import Origin

OpenResult = Callable[[bool], AbstractContextManager[Run]]
NOT_VERIFIED = "not verified, as --no-verify asks"


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
    if tolerance and not given and wanted.inputs:
        advice = f"; on values of your own it may be nearer: {format_feed_flags(wanted)}"
        tolerance = replace(tolerance, advice=advice)
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
    """The line on why nothing was compared.

    Raises UserError if the source does not run on the feeds that were given, or if no feed may make it run: what it
    needs is not here, or a value of --pin is to blame.
    """
    wanted, error = origin.signature, failure.__cause__
    if error is None:
        on, advice = "the values of --feed" if given else "generated feeds", format_feed_flags(wanted)
        return f"not verified: on {on} all outputs of the source are empty; to prove it, add {advice}"
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
                f"the model changes its variables as it runs, and {key} with them, which the result would "
                "not; keep it as a SavedModel; nothing was written"
            )
