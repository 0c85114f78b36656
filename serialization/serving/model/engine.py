"""Chooses how to run a model for requests: inline, in its runtime's threads with a time limit, or in batches.

The choice is measured once, at the start. A model runs inline, in the request's thread, if a run takes less time than
waking another thread. It runs in batches if many rows take little longer than one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from serialization.errors import UserError
from serialization.graph.row_facts import have_rows
from serialization.graph.signature import Signature
from serialization.run.images import PixelDecoder
from serialization.runtimes.runtime import ROWS_RUN, LateError, RunError, Runtime
from serialization.serving.limits import Settings
from serialization.serving.model.trials import find_example, has_same_answers, is_quicker, time_run
from serialization.tensorflow import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

QUICK = 0.001  # seconds; a shorter run is not worth another thread
# Seconds of a processor. A row that takes less, alone and in a batch, is not worth being handed to another thread.
_ALONE, _IN_A_BATCH = 0.0003, 0.0001
BATCH = 32  # rows of a batch without --max-batch-size
TRIED_ROWS = 16  # rows tried together at the start; a small model runs no more rows of several requests at once
_GAIN = 0.9  # a row in a batch must take less than this part of a row alone


Predict = Callable[[Mapping[str, Any]], tuple[dict[str, Any], int]]
"""Runs the model; returns the results and the number of rows that ran at once, 0 if the model has no rows."""


@dataclass(frozen=True)
class Engine:
    """A model ready to answer.

    `runtime` is the name of what runs it, `platform` and `decoder` are the runtime's. `runs` says that it took the
    example. `how` describes the choice, for /readyz. `cancels` says that a run over the time limit is cancelled.
    `inline` says that it runs in the request's thread, `together` that rows of several requests may run together.
    `predict_batch` runs such rows, best in `parallel_batches` runs at a time. `runtimes` are those that it runs in.
    """

    predict: Predict
    signature: Signature
    example: Mapping[str, NDArray[Any]]
    runs: bool
    how: str
    runtime: str
    platform: str
    decoder: type[PixelDecoder]
    cancels: bool
    inline: bool = False
    together: bool = False
    batch_size: int = 1
    predict_batch: Predict | None = None
    parallel_batches: int = 1
    runtimes: tuple[Runtime, ...] = ()

    def close(self) -> None:
        """Give back what the model takes, once no run is under way."""
        for runtime in self.runtimes:
            runtime.close()


def make_engine(pooled: Runtime, settings: Settings) -> Engine:
    """Warm the model up and choose how to run it; `pooled` runs it with a time limit.

    Raises UserError if --max-batch-size asks for batches that the model cannot run in.
    """
    signature = pooled.signature
    example, runs = find_example(pooled)
    row = next((tensor.key for tensor in signature.inputs if tensor.shape and tensor.shape[0] is None), None)

    def counted(predict: Runtime) -> Predict:
        return lambda values: (predict(values), 0 if row is None else len(values[row]))

    make = partial(
        Engine,
        signature=signature,
        example=example,
        runs=runs,
        runtime=pooled.name,
        platform=pooled.platform,
        decoder=pooled.decoder,
        cancels=pooled.cancels,
    )
    seconds = time_run(pooled, example) if runs else settings.timeout
    most_rows = max(settings.max_rows, settings.max_batch_size or BATCH)
    facts = pooled.find_row_facts()
    sure_to_end = seconds * most_rows < settings.timeout and facts.bounded
    may_combine = settings.max_batch_size is None and facts.independent
    batch_size = settings.max_batch_size or (BATCH if runs and may_combine and _gains(pooled, example) else 1)
    if batch_size > 1:
        batched = _try_batching(pooled, settings, batch_size, example)
        if batched is not None:
            how = f"in batches of up to {batch_size} rows"
            if not facts.independent:
                how += " by --max-batch-size, though rows may depend on each other"
            single = _with_one_thread(pooled, example, batch_size) if sure_to_end else None
            if single:
                how += ", each in one thread"
            return make(
                _in_batches(batched, pooled, batch_size),
                how=how,
                runtimes=(pooled, batched, single) if single else (pooled, batched),
                together=True,
                batch_size=batch_size,
                predict_batch=counted(single or pooled),
                # One processor is for reading requests.
                parallel_batches=max(1, len(os.sched_getaffinity(0)) - 1) if single else 1,
            )
    if seconds < QUICK and sure_to_end:
        inline = _quickest(pooled, example)
        together = may_combine and _gives_the_same_bits(inline, example)
        how, used = "inline, in the request's thread", (pooled, inline)
        return make(counted(inline), how=how, inline=True, together=together, runtimes=used)
    return make(counted(pooled), how=pooled.threads, runtimes=(pooled,))


def _quickest(pooled: Runtime, example: Mapping[str, NDArray[Any]]) -> Runtime:
    """The model run inline, in the fastest way; the others are closed."""
    best, *others = pooled.list_inline()
    best(example)
    for other in others:
        best, slower = (best, other) if is_quicker(best, other, example) else (other, best)
        slower.close()
    return best


def _with_one_thread(pooled: Runtime, example: Mapping[str, NDArray[Any]], batch_size: int) -> Runtime | None:
    """The model run by a single thread, if that answers a row as soon as all threads together.

    Then each batch leaves the other processors to other batches and to the thread that reads requests.
    """
    single = pooled.open_single()
    if single is None:
        return None
    rows = min(batch_size, TRIED_ROWS)
    try:
        if is_quicker(single, pooled, example) and has_same_answers(single, pooled, example, rows, (2, rows)):
            return single
    except RunError:  # memory may not suffice for two
        pass
    single.close()
    return None


def _gives_the_same_bits(predict: Runtime, example: Mapping[str, NDArray[Any]]) -> bool:
    try:
        # Every number of rows is tried, since TensorFlow chooses kernels by it.
        return has_same_answers(predict, predict, example, TRIED_ROWS, range(2, TRIED_ROWS + 1), exactly=True)
    except (ValueError, RunError):  # for example, the model takes a single row only
        return False


def _gains(pooled: Runtime, example: Mapping[str, NDArray[Any]]) -> bool:
    """Whether a row takes long enough, and less of the processors in a batch than alone.

    By processor time: by the clock, other programs would decide, which take the processors from one of the two.
    """
    if any(len(value) != 1 for value in example.values()):
        return False
    many = {key: np.repeat(value, TRIED_ROWS, axis=0) for key, value in example.items()}
    try:
        pooled(many)
        alone = time_run(pooled, example, time.process_time)
        in_a_batch = time_run(pooled, many, time.process_time) / TRIED_ROWS
    except RunError:
        return False
    return (alone > _ALONE or in_a_batch > _IN_A_BATCH) and in_a_batch < _GAIN * alone


def _try_batching(
    pooled: Runtime, settings: Settings, batch_size: int, example: Mapping[str, NDArray[Any]]
) -> Runtime | None:
    """The model in batches, if it gives the same answers.

    Otherwise returns None, or raises UserError if --max-batch-size asks for batches.
    """
    reason = "its inputs and outputs do not all have rows"
    if have_rows(pooled.signature):
        try:
            batched = pooled.open_batched(batch_size, settings.batch_timeout_ms)
            if has_same_answers(batched, pooled, example, TRIED_ROWS, (2, batch_size)):
                return batched
            if batched is not pooled:
                batched.close()
            reason = "it gives other answers"
        except (ValueError, UserError, RunError) as error:  # for example, too large for a GraphDef
            reason = str(error).partition("\n")[0]
    if settings.max_batch_size is not None:
        raise UserError(f"the model cannot run in batches: {reason}; leave --max-batch-size out")
    return None


def _in_batches(batched: Runtime, pooled: Runtime, batch_size: int) -> Predict:
    first = pooled.signature.inputs[0].key

    def run(values: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
        rows = len(values[first])
        if rows >= batch_size:  # as large as a batch
            return pooled(values), rows
        try:
            results = batched(values)
        except LateError:
            raise
        except RunError:  # another request in the batch may have caused it
            return pooled(values), rows
        ran = results.pop(ROWS_RUN, None)
        return results, rows if ran is None else int(ran[0])

    return run
