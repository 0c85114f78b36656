"""Runs a source of a fixed batch size on any number of rows, and compares a result of a free one with that."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from serialization.console import format_count, list_some
from serialization.errors import UserError
from serialization.graph.batch_axes import BatchAxis
from serialization.graph.shape_probe import find_named_node
from serialization.run.differences import BATCHES, Tolerance, find_largest, has_same_bits, is_alike, measure_gap
from serialization.run.predictor import Run, Values
from serialization.tensorflow import format_reason, np, tf

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Batches:
    """How the rows of a model stand in its tensors, where its batch size was changed.

    The source takes `size` rows, the first axis of these `inputs`; `axes` hold the rows of those outputs that have
    rows. The result is compared in batches of the sizes in `tried` too.
    """

    size: int
    inputs: frozenset[str]
    axes: Mapping[str, BatchAxis]
    tried: tuple[int, ...]


def run_in_batches(run: Run, batches: Batches, others: Values) -> Run:
    """A run that takes any number of rows, and hands the source as many as it takes: `others` fill up the last batch.

    They are rows with other values, so that a row which depends on its neighbours is noticed. It gives the outputs that
    have rows.
    """

    def predict(feeds: Values) -> Values:
        count = max(len(feeds[key]) for key in batches.inputs)
        found: dict[str, list[NDArray[Any]]] = {key: [] for key in batches.axes}
        for start in range(0, count, batches.size):
            whole = {
                key: np.concatenate([value[start:], others[key]])[: batches.size] if key in batches.inputs else value
                for key, value in feeds.items()
            }
            answers = run(whole)
            for key, parts in found.items():
                rows = _split_rows(answers[key], batches.axes[key], batches.size)
                parts.append(_take(rows, batches.axes[key], np.arange(min(batches.size, count - start))))
        return {key: _join_rows(parts, batches.axes[key]) for key, parts in found.items()}

    return predict


def _split_rows(value: NDArray[Any], how: BatchAxis, size: int) -> NDArray[Any]:
    """An output with an axis for the rows alone: the one behind the axis that holds them."""
    length = value.shape[how.axis]
    if length % (how.outer * size):
        raise UserError(f"an output has {length} numbers along its axis {how.axis}, which {size} rows do not share out")
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
    tolerance = tolerance or BATCHES
    fed = [{**feed, **{key: feeds[0][key] for key in feed if key not in batches.inputs}} for feed in feeds]
    answers = [source(feed) for feed in fed]
    known = {
        key: np.concatenate([_split_rows(answer[key], how, batches.size) for answer in answers], how.axis + 1)
        for key, how in batches.axes.items()
    }
    accepted: dict[str, float] = {}
    for size in batches.tried:
        rows = np.arange(size) % (batches.size * len(fed))
        some = {k: np.concatenate([f[k] for f in fed])[rows] if k in batches.inputs else v for k, v in fed[0].items()}
        try:
            got = result(some)
        except tf.errors.OpError as error:
            node = find_named_node(str(error.message)) or "a node of the graph"
            raise UserError(
                f"the batch size cannot be changed; {node} holds the size {batches.size}: with "
                f"{format_count(size, 'row')}: {format_reason(error)}; nothing was written"
            ) from None
        for key, how in batches.axes.items():
            wanted = _join_rows([_take(known[key], how, rows)], how)
            if not is_alike(wanted, got[key]) or not (
                has_same_bits(wanted, got[key]) or tolerance.accepts(wanted, got[key])
            ):
                raise UserError(
                    f"the batch size cannot be changed; of {format_count(size, 'row')} the model gives another {key} "
                    f"than of the same rows in a batch of {batches.size}: its rows depend on each other, or on their "
                    "number; nothing was written"
                )
            largest = find_largest(wanted) if wanted.dtype.kind in "fc" else 0.0
            accepted[key] = max(accepted.get(key, 0.0), measure_gap(wanted, got[key]) / (largest or 1.0))
    parts = [
        f"{key}: within {gap:.2g} of its largest number" if gap else f"{key}: the same bits"
        for key, gap in accepted.items()
    ]
    sizes = " and ".join(map(str, batches.tried))
    return f"in batches of {sizes}, against the source's rows in batches of {batches.size}: {'; '.join(parts)}"


def list_without_rows(batches: Batches, outputs: list[str]) -> str:
    """A line on the outputs that have no rows; empty if there are none."""
    left = [key for key in outputs if key not in batches.axes]
    return f"no rows in {list_some(left)}: compared in batches of {batches.size} alone" if left else ""
