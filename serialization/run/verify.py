"""Runs the source and the result of a conversion on the same feeds, and compares them bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from serialization.console import format_count
from serialization.errors import UserError
from serialization.graph.graph_index import GraphIndex
from serialization.graph.op_sets import RANDOM_OPS
from serialization.graph.signature import Signature
from serialization.run.generated_feeds import format_feed_flags, generate_attempts
from serialization.run.given_feeds import Feed, read_feeds
from serialization.run.predictor import Run, Values
from serialization.tensorflow import format_reason, np, quiet, tf

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from serialization.run.origin import Origin

OpenResult = Callable[[bool], AbstractContextManager[Run]]
NOT_VERIFIED = "not verified, as --no-verify asks"
_UNSTEADY = 1e-3  # the most that an output may differ between two runs of the source, relative to its largest number
_ROUNDING = 1e-5  # the most that is put down to rounding, relative to the largest number


class NotVerifiedError(Exception):
    """The source does not run on the feeds, so the result cannot be compared."""


@dataclass(frozen=True)
class Proof:
    """The outcome of a comparison: a line to print, the feeds on which the source ran, and the result's answers."""

    line: str
    feeds: tuple[Values, ...]
    answers: tuple[Values, ...]


def prove_same(
    origin: Origin,
    open_result: OpenResult,
    given: Sequence[Feed] | None,
    random: Mapping[str, str] | None = None,
    *,
    steady: bool = False,
) -> str:
    """Compare source and result on the feeds of `--feed` or on generated feeds; then report the effect of optimizers.

    `open_result` opens the written model, once without and once with TensorFlow's default graph optimizers, so that one
    is in memory at a time. `steady` says that the result keeps no state, so two runs of the source must answer alike.

    Returns the lines to print. Raises UserError if the result differs, or if the source does not run on `given`.
    """
    wanted = origin.signature
    attempts = iter([[read_feeds(wanted, given)]]) if given else generate_attempts(wanted, origin.hints, origin.batches)
    repeat = origin.repeat if steady else None
    open_each = _afresh(open_result) if origin.repeat is not None and not steady else open_result

    def look(feed: Values) -> None:
        if repeat is not None:
            _require_steady(origin.predict, repeat, feed, random or {})

    try:
        with quiet(), open_each(False) as result:  # quiet: a graph may print
            proof = compare_runs(origin.predict, result, attempts, random, look, rounding=origin.compiled)
    except NotVerifiedError as failure:
        if given:
            raise UserError(
                f"the source does not run on the values of --feed: {failure}; nothing was written"
            ) from None
        advice = f"; to prove it, add {format_feed_flags(wanted)}" if wanted.inputs else ""
        return f"not verified: the source does not run on generated feeds: {failure}{advice}"
    with quiet(), open_each(True) as optimized:
        return "\n".join([f"proved: {proof.line}", *compare_optimized(proof, optimized, random)])


def _afresh(open_result: OpenResult) -> OpenResult:
    """Open the result anew for each run, as the source does, since a run changes its variables."""

    @contextmanager
    def open_each(optimize: bool) -> Iterator[Run]:
        def run(values: Values) -> Values:
            with open_result(optimize) as again:
                return again(values)

        yield run

    return open_each


def _require_steady(first: Run, second: Run, feed: Values, random: Mapping[str, str]) -> None:
    before, after = first(feed), second(feed)
    for key, value in before.items():
        if key not in random and not has_same_bits(value, after[key]):
            raise UserError(
                f"the model changes its variables as it runs, and {key} with them, so it cannot be frozen; "
                "keep it as a SavedModel; nothing was written"
            )


def find_random_outputs(index: GraphIndex, wanted: Signature) -> dict[str, str]:
    """The outputs that depend on a random op, by key, each with its first random op."""
    found = {}
    for tensor in wanted.outputs:
        nodes = [index.nodes[name] for name in index.reachable([tensor.name])]
        inner = (node for name in index.called_functions(nodes) for node in index.functions[name].node_def)
        node = next((node for node in (*nodes, *inner) if node.op in RANDOM_OPS), None)
        if node is not None:
            found[tensor.key] = f"{node.op} {node.name}"
    return found


def compare_runs(
    source: Run,
    result: Run,
    attempts: Iterable[Sequence[Values]],
    random: Mapping[str, str] | None = None,
    look: Callable[[Values], None] = lambda feed: None,
    *,
    rounding: bool = False,
) -> Proof:
    """Compare on the first feeds that the source runs on. `random` names the random ops that outputs depend on.

    `look` is called first, with the first of these feeds. `rounding` accepts differences as small as rounding.

    Raises UserError at the first output that differs, NotVerifiedError if the source runs on none of the feeds.
    """
    random = random or {}
    failure = None
    for batch in attempts:
        expected: list[tuple[Values, Values]] = []
        for feed in batch:
            try:
                expected.append((feed, source(feed)))
            except tf.errors.OpError as error:
                failure = failure or error
        if expected:
            look(expected[0][0])
            return _compare_all(source, result, expected, random, rounding=rounding)
    raise NotVerifiedError(format_reason(failure))


def compare_optimized(proof: Proof, optimized: Run, random: Mapping[str, str] | None = None) -> list[str]:
    """A line for each output that TensorFlow's default optimizers change by more than rounding."""
    worst: dict[str, float] = {}
    for feed, plain in zip(proof.feeds, proof.answers, strict=True):
        moved = optimized(feed)
        for key, value in plain.items():
            if key in (random or {}) or not np.issubdtype(value.dtype, np.number) or value.shape != moved[key].shape:
                continue
            difference = _difference(value, moved[key])
            scale = float(np.nanmax(np.abs(np.where(np.isfinite(value), value, 0)), initial=0.0))
            if difference > _ROUNDING * max(scale, 1e-30):
                worst[key] = max(worst.get(key, 0.0), difference)
    return [
        f"TensorFlow's default graph optimizers move {key} by up to {difference:.2g}; without them it is the source's"
        for key, difference in worst.items()
    ]


def has_same_bits(a: NDArray[Any], b: NDArray[Any]) -> bool:
    """Whether two arrays of the same dtype and shape hold the same bits."""
    # Bytes, since a NaN does not equal itself and 0.0 equals -0.0. Strings are objects, whose bytes are addresses.
    return bool(np.array_equal(a, b)) if a.dtype == object else bool(a.tobytes() == b.tobytes())


def _compare_all(
    source: Run,
    result: Run,
    expected: Sequence[tuple[Values, Values]],
    random: Mapping[str, str],
    *,
    rounding: bool,
) -> Proof:
    rows = 0
    differ: set[str] = set()
    tolerances: dict[str, float] = {}
    answers = []
    rounded: dict[str, float] = {}
    for feed, wanted in expected:
        try:
            got = result(feed)
        except tf.errors.OpError as error:
            raise UserError(
                f"the result does not run where its source does: {format_reason(error)}; nothing was written"
            ) from None
        answers.append(got)
        for key, value in wanted.items():
            if key in random and not has_same_bits(value, got[key]):
                differ.add(key)
            problem = _problem(key, value, got[key], shape_only=key in random)
            if problem:
                again = source(feed)[key]  # some ops add up in the order in which their threads finish
                own = _difference(value, again) if again.shape == value.shape else 0.0
                largest = float(np.max(np.abs(value), initial=0.0)) if value.dtype.kind in "fc" else 0.0
                if rounding and _difference(value, got[key]) <= _ROUNDING * largest:
                    rounded[key] = max(rounded.get(key, 0.0), _difference(value, got[key]))
                    continue
                if not own or _difference(value, got[key]) > 4 * own or own > _UNSTEADY * largest:
                    raise UserError(f"the result differs from its source: {problem}; nothing was written")
                tolerances[key] = max(tolerances.get(key, 0.0), _difference(value, got[key]))
        rows += _rows(feed)
    exact = [key for key in expected[0][1] if key not in differ | tolerances.keys() | rounded.keys()]
    parts = [f"{', '.join(exact)}: the same bits as the source, on {format_count(rows, 'row')}"] if exact else []
    parts += [
        f"{key}: within {t:.2g} of the source, which differs from itself as much" for key, t in tolerances.items()
    ]
    parts += [f"{key}: within {t:.2g} of the source, which XLA compiles and so rounds" for key, t in rounded.items()]
    parts += [f"{key}: only its shape and dtype, for {op} is random" for key, op in random.items() if key in differ]
    return Proof("; ".join(parts), tuple(feed for feed, _ in expected), tuple(answers))


def _rows(feed: Values) -> int:
    return max((len(value) for value in feed.values() if value.ndim), default=1)


def _problem(key: str, expected: NDArray[Any], actual: NDArray[Any], *, shape_only: bool) -> str:
    want, got = (f"{value.dtype}{list(value.shape)}" for value in (expected, actual))
    if want != got:
        return (
            ""
            if shape_only and expected.dtype == actual.dtype and expected.ndim == actual.ndim
            else f"{key} is {got}, not {want}"
        )
    if shape_only or has_same_bits(expected, actual):
        return ""
    how = f" by up to {_difference(expected, actual):.3g}" if np.issubdtype(expected.dtype, np.number) else ""
    return f"{key} is off{how}"


def _difference(a: NDArray[Any], b: NDArray[Any]) -> float:
    if a.shape != b.shape or a.dtype == object:
        return float("inf")
    if a.dtype == np.bool_:
        return float(np.any(a != b))
    with np.errstate(all="ignore"):
        # Equal infinities are no difference, nor are NaNs in the same places.
        gap = np.abs(a.astype(np.complex128) - b.astype(np.complex128))
        gap = np.where(
            (a == b) | (np.isnan(gap) & np.isnan(a) & np.isnan(b)) if a.dtype.kind in "fc" else (a == b), 0, gap
        )
    return float("inf") if np.isnan(gap).any() else float(np.max(gap, initial=0.0))
