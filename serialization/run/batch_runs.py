"""Runs a source of a fixed batch size on any number of rows, and compares a result of a free one with that."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from serialization.console import format_count
from serialization.errors import UserError
from serialization.graph.batch_axes import BatchAxis
from serialization.run.differences import BATCHES, Tolerance, find_largest, has_same_bits, is_alike, measure_gap
from serialization.run.failures import find_failed_node
from serialization.run.predictor import Run, Values
from serialization.tensorflow import format_reason, np, tf

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Batches:
    """How the rows of a model stand in its tensors, where its batch size was changed.

    The source takes `size` rows, which these axes of `inputs` hold; `axes` hold the rows of those outputs that have
    rows. The result is compared in batches of the sizes in `tried` too.
    """

    size: int
    inputs: Mapping[str, int]
    axes: Mapping[str, BatchAxis]
    tried: tuple[int, ...]


def run_in_batches(run: Run, batches: Batches, others: Values) -> Run:
    """A run that takes any number of rows, and hands the source as many as it takes: `others` fill up the last batch.

    They are rows with other values, so that a row which depends on its neighbours is noticed. It gives the outputs that
    have rows.
    """

    def predict(feeds: Values) -> Values:
        count = max(feeds[key].shape[axis] for key, axis in batches.inputs.items())
        found: dict[str, list[NDArray[Any]]] = {key: [] for key in batches.axes}
        for start in range(0, count, batches.size):
            rows = np.arange(start, start + batches.size)
            answers = run(_take_rows([feeds, others], batches, rows))
            for key, parts in found.items():
                answer = _split_rows(key, answers[key], batches.axes[key], batches.size)
                parts.append(_take(answer, batches.axes[key], np.arange(min(batches.size, count - start))))
        return {key: _join_rows(parts, batches.axes[key]) for key, parts in found.items()}

    return predict


def _take_rows(fed: Sequence[Values], batches: Batches, rows: NDArray[Any]) -> dict[str, NDArray[Any]]:
    """These rows of several batches, one behind the other; other inputs are those of the first one."""
    taken = dict(fed[0])
    for key, axis in batches.inputs.items():
        taken[key] = np.take(np.concatenate([feed[key] for feed in fed], axis), rows, axis)
    return taken


def _split_rows(key: str, value: NDArray[Any], how: BatchAxis, size: int) -> NDArray[Any]:
    """An output with an axis for the rows alone: the one behind the axis that holds them."""
    length = value.shape[how.axis]
    if length % (how.outer * size):
        raise UserError(
            f"the batch size cannot be changed; {key} has {length} numbers along its axis {how.axis}, which {size} "
            "rows do not share out; keep the size, or cut the graph with --outputs"
        )
    inner = length // (how.outer * size)
    return value.reshape(*value.shape[: how.axis], how.outer, size, inner, *value.shape[how.axis + 1 :])


def _take(value: NDArray[Any], how: BatchAxis, rows: NDArray[Any]) -> NDArray[Any]:
    taken: NDArray[Any] = np.take(value, rows, how.axis + 1)
    return taken


def _join_rows(parts: list[NDArray[Any]], how: BatchAxis) -> NDArray[Any]:
    joined = np.concatenate(parts, axis=how.axis + 1)
    shape = joined.shape
    return joined.reshape(*shape[: how.axis], -1, *shape[how.axis + 3 :])


def compare_batches(
    source: Run, result: Run, feeds: Sequence[Values], batches: Batches, tolerance: Tolerance | None = None
) -> str:
    """Compare the rows of the result in batches of other sizes with the source's rows, each fed among its neighbours.

    `feeds` are whole batches that the source takes. Returns the line to print, without its first word. Raises UserError
    if the result does not run, or if a row has other values than beside the source's other rows.
    """
    fed = [{**feed, **{key: feeds[0][key] for key in feed if key not in batches.inputs}} for feed in feeds]
    answers = [source(feed) for feed in fed]
    known = {
        key: np.concatenate([_split_rows(key, answer[key], how, batches.size) for answer in answers], how.axis + 1)
        for key, how in batches.axes.items()
    }
    accepted: dict[str, float] = {}
    for size in batches.tried:
        rows = np.arange(size) % (batches.size * len(fed))
        got = _run_rows(result, fed, batches, rows)
        for key, how in batches.axes.items():
            wanted = _join_rows([_take(known[key], how, rows)], how)
            gap = _measure(wanted, got[key], tolerance or BATCHES)
            if gap is None:
                shapes = "" if wanted.shape == got[key].shape else f" of shape {list(got[key].shape)}"
                raise UserError(
                    f"the batch size cannot be changed; of {format_count(size, 'row')} the model gives another {key}"
                    f"{shapes} than of the same rows in a batch of {batches.size}: its rows depend on each other, or "
                    "on their number; nothing was written"
                )
            accepted[key] = max(accepted.get(key, 0.0), gap)
    return f"against the source's rows in batches of {batches.size}: {_list_gaps(accepted)}"


def compare_summaries(
    source: Run,
    result: Run,
    feed: Values,
    batches: Batches,
    summaries: Sequence[str],
    tolerance: Tolerance | None = None,
) -> str:
    """Compare outputs without rows, such as a mean of all rows, in batches of other sizes.

    A batch of another size holds the same rows as the source's, in each of them as often as in the other. `feed` is a
    batch that the source takes. Returns the line to print, without its first word. Raises UserError if the result does
    not run, or if an output depends on the number of rows, as a sum does.
    """
    accepted: dict[str, float] = {}
    for size in batches.tried:
        count = math.gcd(size, batches.size)
        wanted = _run_rows(source, [feed], batches, np.arange(batches.size) % count)
        got = _run_rows(result, [feed], batches, np.arange(size) % count)
        for key in summaries:
            gap = _measure(wanted[key], got[key], tolerance or BATCHES)
            if gap is None:
                raise UserError(
                    f"the batch size cannot be changed; of {format_count(size, 'row')} the model gives another {key} "
                    f"than of a batch of {batches.size} that repeats them: it depends on the number of rows, or a "
                    f"constant holds the size {batches.size}; nothing was written"
                )
            accepted[key] = max(accepted.get(key, 0.0), gap)
    return f"against the source's batches of {batches.size}, which repeat these rows: {_list_gaps(accepted)}"


def _run_rows(run: Run, fed: Sequence[Values], batches: Batches, rows: NDArray[Any]) -> Values:
    """Run on some of the rows that are fed."""
    try:
        return run(_take_rows(fed, batches, rows))
    except tf.errors.OpError as error:
        node = find_failed_node(error) or "a node of the graph"
        raise UserError(
            f"the batch size cannot be changed; {node} holds the size {batches.size}: with "
            f"{format_count(len(rows), 'row')}: {format_reason(error)}; nothing was written"
        ) from None


def _measure(wanted: NDArray[Any], got: NDArray[Any], tolerance: Tolerance) -> float | None:
    """How far two arrays are apart, relative to the largest number; None if that is more than is tolerated."""
    if not is_alike(wanted, got) or not (has_same_bits(wanted, got) or tolerance.accepts(wanted, got)):
        return None
    largest = find_largest(wanted) if wanted.dtype.kind in "fc" else 0.0
    return measure_gap(wanted, got) / (largest or 1.0)


def _list_gaps(gaps: Mapping[str, float]) -> str:
    words = {key: f"within {gap:.2g} of its largest number" if gap else "the same bits" for key, gap in gaps.items()}
    return "; ".join(f"{key}: {said}" for key, said in words.items())
