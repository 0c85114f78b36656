"""Chooses how to run a model for requests: inline, in TensorFlow's pool with a time limit, or in batches.

The choice is measured once, at the start. A model runs inline, in the request's thread, if a run takes less time than
waking another thread. It runs in batches if many rows take little longer than one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from serialization.errors import UserError
from serialization.graph.graph_def import get_node_name, iterate_nodes, measure_variables
from serialization.graph.op_sets import VARIABLES, may_wait
from serialization.graph.row_independence import RowIndependence
from serialization.graph.signature import Signature, Tensor
from serialization.run.predictor import Predictor, open_session
from serialization.serving.limits import Settings
from serialization.serving.model.trials import find_example, has_same_answers, is_quicker, time_run
from serialization.targets import to_frozen
from serialization.tensorflow import np, tf, tf1

if TYPE_CHECKING:
    from numpy.typing import NDArray

QUICK = 0.001  # seconds; a shorter run is not worth another thread
_WORTH_BATCHING = 0.0003  # seconds; a shorter run of one row is not worth a batch
BATCH = 32  # rows of a batch without --max-batch-size
TRIED_ROWS = 16  # rows tried together at the start; a small model runs no more rows of several requests at once
_GAIN = 0.7  # a row in a batch must take less than this part of the time of a row alone
_ROWS_KEY = "rows run at once"


Predict = Callable[[Mapping[str, Any]], tuple[dict[str, Any], int]]
"""Runs the model; returns the results and the number of rows that ran at once, 0 if the model has no rows."""


@dataclass(frozen=True)
class Engine:
    """A model ready to answer.

    `runs` says that it took the example. `how` describes the choice, for /readyz. `inline` says that it runs in the
    request's thread, `together` that rows of several requests may run together. `predict_batch` runs such rows, best in
    `parallel_batches` runs at a time.
    """

    predict: Predict
    signature: Signature
    example: Mapping[str, NDArray[Any]]
    runs: bool
    how: str
    inline: bool = False
    together: bool = False
    batch_size: int = 1
    predict_batch: Predict | None = None
    parallel_batches: int = 1


def make_engine(pooled: Predictor, settings: Settings) -> Engine:
    """Warm the model up and choose how to run it; `pooled` runs it in TensorFlow's pool, with a time limit.

    The graph is finalized. Raises UserError if --max-batch-size asks for batches that the model cannot run in.
    """
    session, signature = pooled.session, pooled.signature
    session.graph.finalize()
    example, runs = find_example(pooled, session.graph)
    row = next((tensor.key for tensor in signature.inputs if tensor.shape and tensor.shape[0] is None), None)

    def counted(predict: Predictor) -> Predict:
        return lambda values: (predict(values), 0 if row is None else len(values[row]))

    make = partial(Engine, signature=signature, example=example, runs=runs)
    seconds = time_run(pooled, example) if runs else settings.timeout
    most_rows = max(settings.max_rows, settings.max_batch_size or BATCH)
    independent, bounded = _analyze_rows(session.graph, signature)
    sure_to_end = seconds * most_rows < settings.timeout and bounded
    may_combine = settings.max_batch_size is None and independent
    batch_size = settings.max_batch_size or (BATCH if runs and may_combine and _gains(pooled, example, seconds) else 1)
    if batch_size > 1:
        batching = _try_batching(session, signature, settings, batch_size, pooled, example)
        if batching is not None:
            batched, frozen = batching
            how = f"in batches of up to {batch_size} rows"
            if not independent:
                how += " by --max-batch-size, though rows may depend on each other"
            single = _with_one_thread(session, frozen, signature, pooled, example, batch_size) if sure_to_end else None
            if single:
                how += ", each in one thread"
            return make(
                batched,
                how=how,
                together=True,
                batch_size=batch_size,
                predict_batch=counted(single or pooled),
                # One processor is for reading requests.
                parallel_batches=max(1, len(os.sched_getaffinity(0)) - 1) if single else 1,
            )
    if seconds < QUICK and sure_to_end:
        inline = _quickest(session, signature, example)
        together = may_combine and _gives_the_same_bits(inline, example)
        return make(counted(inline), how="inline, in the request's thread", inline=True, together=together)
    return make(counted(pooled), how="in TensorFlow's threads")


def _quickest(session: Any, signature: Signature, example: Mapping[str, NDArray[Any]]) -> Predictor:
    """The model run inline, in its own session or in one for small models, whichever is faster.

    Setting up a fused kernel takes longer than a small model computes: with fused kernels the toy takes twice as long.
    A model with state stays in its session.
    """
    inline = Predictor(session, signature, inline=True)
    graph = session.graph
    if graph.as_graph_def().library.function or any(op.op_def.is_stateful for op in graph.get_operations()):
        inline(example)
        return inline
    one_device = len(session.list_devices()) == 1  # in order, ops on one device could wait for ever for another
    small = Predictor(open_session(graph, fuse=False, in_order=one_device), signature, inline=True)
    quicker, other = (small, inline) if is_quicker(small, inline, example) else (inline, small)
    other.session.close()
    return quicker


def _with_one_thread(
    session: Any,
    frozen: Any,
    signature: Signature,
    pooled: Predictor,
    example: Mapping[str, NDArray[Any]],
    batch_size: int,
) -> Predictor | None:
    """The model run by a single thread, if that answers a row as soon as all threads together.

    Then each batch leaves the other processors to other batches and to the thread that reads requests.
    """
    if len(session.list_devices()) > 1:
        return None
    with tf1.Graph().as_default() as graph:
        tf1.import_graph_def(frozen, name="")
    graph.finalize()
    own = open_session(graph, threads=1)
    rows = min(batch_size, TRIED_ROWS)
    with suppress(UserError, tf.errors.OpError):  # memory may not suffice for two
        single = Predictor(own, signature, inline=True)
        if is_quicker(single, pooled, example) and has_same_answers(single, pooled, example, rows, (2, rows)):
            return single
    own.close()
    return None


def _analyze_rows(graph: Any, signature: Signature) -> tuple[bool, bool]:
    """Whether rows are independent, and whether a run's time depends on the number of rows alone; False if unknown."""
    graph_def = graph.as_graph_def()
    needed = tf1.graph_util.extract_sub_graph(graph_def, [get_node_name(tensor.name) for tensor in signature.outputs])
    endless = any(may_wait(node.op) for node in iterate_nodes(needed))
    try:
        flow = RowIndependence(graph_def, signature)
    except UserError:
        return False, False
    independent = _have_rows(signature) and flow.has_independent_rows()
    fixed = _sizes_are_fixed(signature.inputs) and (independent or flow.has_fixed_sizes())
    return independent, fixed and not endless


def _have_rows(signature: Signature) -> bool:
    """Whether all inputs and outputs have an open number of rows, so that a batch can hold several requests."""
    return all(t.shape is not None and t.shape[:1] == (None,) for t in (*signature.inputs, *signature.outputs))


def _sizes_are_fixed(tensors: Sequence[Tensor]) -> bool:
    """Whether all rows have the same size; texts do not."""
    return all(t.dtype != "string" and t.shape is not None and None not in t.shape[1:] for t in tensors)


def _gives_the_same_bits(predict: Predictor, example: Mapping[str, NDArray[Any]]) -> bool:
    try:
        # Every number of rows is tried, since TensorFlow chooses kernels by it.
        return has_same_answers(predict, predict, example, TRIED_ROWS, range(2, TRIED_ROWS + 1), exactly=True)
    except (ValueError, tf.errors.OpError):  # for example, the model takes a single row only
        return False


def _gains(pooled: Predictor, example: Mapping[str, NDArray[Any]], seconds: float) -> bool:
    """Whether many rows take much less time than as many single rows, of `seconds` each."""
    if seconds < _WORTH_BATCHING or any(len(value) != 1 for value in example.values()):
        return False
    many = {key: np.repeat(value, TRIED_ROWS, axis=0) for key, value in example.items()}
    try:
        pooled(many)
        return time_run(pooled, many) < _GAIN * TRIED_ROWS * seconds
    except tf.errors.OpError:
        return False


def _try_batching(
    session: Any,
    signature: Signature,
    settings: Settings,
    batch_size: int,
    pooled: Predictor,
    example: Mapping[str, NDArray[Any]],
) -> tuple[Predict, Any] | None:
    """The model in batches, and its GraphDef without variables, if it gives the same answers.

    Otherwise returns None, or raises UserError if --max-batch-size asks for batches.
    """
    reason = "its inputs and outputs do not all have rows"
    if _have_rows(signature):
        try:
            frozen = _freeze(session, signature)
            batched = make_batched(frozen, signature, batch_size, settings.batch_timeout_ms, settings.timeout)
            if has_same_answers(batched, pooled, example, TRIED_ROWS, (2, batch_size)):
                return _in_batches(batched, pooled, batch_size), frozen
            reason = "it gives other answers"
        except (ValueError, UserError, tf.errors.OpError) as error:  # for example, too large for a GraphDef
            reason = str(error).partition("\n")[0]
    if settings.max_batch_size is not None:
        raise UserError(f"the model cannot run in batches: {reason}; leave --max-batch-size out")
    return None


def _in_batches(batched: Predictor, pooled: Predictor, batch_size: int) -> Predict:
    first = pooled.signature.inputs[0].key

    def run(values: Mapping[str, Any]) -> tuple[dict[str, Any], int]:
        rows = len(values[first])
        if rows >= batch_size:  # as large as a batch
            return pooled(values), rows
        try:
            results = batched(values)
        except tf.errors.DeadlineExceededError:
            raise
        except tf.errors.OpError:  # another request in the batch may have caused it
            return pooled(values), rows
        return results, int(results.pop(_ROWS_KEY)[0])

    return run


def make_batched(frozen: Any, signature: Signature, batch_size: int, wait_ms: float, timeout: float) -> Predictor:
    """The model behind TensorFlow's own batch scheduler, which runs the calls of several threads as one batch.

    The model becomes a function in a new graph, so `frozen` is a GraphDef without variables. Beside the model's outputs
    it returns the number of rows that ran at once.
    """
    with tf1.Graph().as_default() as graph:
        inputs = [tf1.placeholder(t.dtype, t.shape, name=f"input{i}") for i, t in enumerate(signature.inputs)]

        def run(*values: Any) -> Any:
            fed = {tensor.name: value for tensor, value in zip(signature.inputs, values, strict=True)}
            names = [tensor.name for tensor in signature.outputs]
            results = tf1.import_graph_def(frozen, input_map=fed, return_elements=names, name="")
            rows = tf.shape(values[0])[:1]
            return [*results, tf.fill(rows, rows[0])]

        in_batches = tf.nondifferentiable_batch_function(
            num_batch_threads=1, max_batch_size=batch_size, batch_timeout_micros=int(wait_ms * 1000)
        )
        results = [tf.identity(result, name=f"output{i}") for i, result in enumerate(in_batches(run)(*inputs))]
    graph.finalize()
    keys = [*(tensor.key for tensor in signature.outputs), _ROWS_KEY]
    batched = Signature(
        tuple(Tensor(t.key, p.name, t.dtype, t.shape) for t, p in zip(signature.inputs, inputs, strict=True)),
        tuple(Tensor(k, r.name, r.dtype.name, None) for k, r in zip(keys, results, strict=True)),
    )
    return Predictor(open_session(graph), batched, timeout=timeout)


def _freeze(session: Any, signature: Signature) -> Any:
    """The model with constants for its variables. Raises UserError if it has other state, or is too large."""
    nodes = [get_node_name(tensor.name) for tensor in (*signature.outputs, *signature.inputs)]
    graph_def = tf1.graph_util.extract_sub_graph(session.graph.as_graph_def(), nodes)
    needed = {node.name for node in graph_def.node}
    for op in session.graph.get_operations():
        is_state = op.name in needed and op.type not in VARIABLES
        if is_state and any(t.dtype == tf.resource or t.dtype != t.dtype.base_dtype for t in op.outputs):
            raise UserError(f"it has state that is not a variable: {op.name}, a {op.type}")
    to_frozen.require_fits(graph_def.ByteSize(), measure_variables(graph_def), "the model", "do without batches")
    return tf1.graph_util.convert_variables_to_constants(session, graph_def, nodes)
