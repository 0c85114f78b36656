"""Runs a graph in sessions of TensorFlow 1: in TensorFlow's pool, in the calling thread, in one thread, in batches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from serialization.errors import UserError
from serialization.graph.graph_def import get_node_name, measure_variables
from serialization.graph.graph_index import GraphIndex
from serialization.graph.op_sets import VARIABLES
from serialization.graph.row_facts import RowFacts, find_row_facts
from serialization.graph.signature import Signature, Tensor
from serialization.run.feed_hints import find_hints
from serialization.run.generated_feeds import generate_attempts
from serialization.run.images import ImageDecoder, PixelDecoder
from serialization.run.predictor import Predictor, open_session
from serialization.runtimes.runtime import (
    ROWS_RUN,
    LateError,
    MemoryShortError,
    RunError,
    StateError,
    UnclearError,
    ValuesError,
)
from serialization.targets import to_frozen
from serialization.tensorflow import tf, tf1

if TYPE_CHECKING:
    from numpy.typing import NDArray


class TensorFlowRuntime:
    """Runs what a Predictor runs, in the way that it does. The graph is finalized."""

    name = "TensorFlow"
    platform = ""
    threads = "in TensorFlow's threads"
    cancels = True
    labels: tuple[str, ...] = ()
    decoder: type[PixelDecoder] = ImageDecoder

    def __init__(self, predict: Predictor, timeout: float) -> None:
        self.signature = predict.signature
        self._predict = predict
        self._timeout = timeout
        self._session = predict.session
        self._session.graph.finalize()
        self._frozen: Any = None  # the GraphDef without variables, once it is needed

    def __call__(self, values: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        try:
            return self._predict(values)
        except tf.errors.OpError as error:
            raise _translate(error) from error

    def find_row_facts(self) -> RowFacts:
        return find_row_facts(self._session.graph.as_graph_def(), self.signature)

    def list_examples(self) -> Iterator[dict[str, NDArray[Any]]]:
        hints = find_hints(GraphIndex(self._session.graph.as_graph_def()), self.signature)
        return (attempt[0] for attempt in generate_attempts(self.signature, hints))

    def list_inline(self) -> Sequence[TensorFlowRuntime]:
        """In its own session, and in one for small models.

        Setting up a fused kernel takes longer than a small model computes: with fused kernels the toy takes twice as
        long. A model with state stays in its session.
        """
        graph = self._session.graph
        own = self._run_inline(self._session)
        if graph.as_graph_def().library.function or any(op.op_def.is_stateful for op in graph.get_operations()):
            return [own]
        one_device = len(self._session.list_devices()) == 1  # in order, ops on one could wait for ever for another
        return [self._run_inline(open_session(graph, fuse=False, in_order=one_device)), own]

    def _run_inline(self, session: Any) -> TensorFlowRuntime:
        return TensorFlowRuntime(Predictor(session, self.signature, inline=True), self._timeout)

    def open_batched(self, batch_size: int, wait_ms: float) -> TensorFlowRuntime:
        with _explain_refusal():
            self._frozen = _freeze(self._session, self.signature)
            batched = make_batched(self._frozen, self.signature, batch_size, wait_ms, self._timeout)
        return TensorFlowRuntime(batched, self._timeout)

    def open_single(self) -> TensorFlowRuntime | None:
        """In a session of its own, after `open_batched`; None where there is no memory for two."""
        if len(self._session.list_devices()) > 1:
            return None
        with tf1.Graph().as_default() as graph:
            tf1.import_graph_def(self._frozen, name="")
        own = open_session(graph, threads=1)
        with suppress(UserError):
            return self._run_inline(own)
        own.close()
        return None

    def close(self) -> None:
        self._session.close()


def _translate(error: Any) -> RunError:
    """The RunError for TensorFlow's error.

    Values that fit the signature may be an index beyond a table, of sizes that have to be equal or that a kernel does
    not support, a text that cannot be decoded.
    """
    values = (
        *(tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError, tf.errors.AbortedError),  # oneDNN aborts
        *(tf.errors.UnimplementedError, tf.errors.DataLossError),
    )
    if isinstance(error, tf.errors.FailedPreconditionError):
        kind: type[RunError] = StateError
    elif isinstance(error, tf.errors.DeadlineExceededError):
        kind = LateError
    elif isinstance(error, tf.errors.ResourceExhaustedError):
        kind = MemoryShortError
    elif isinstance(error, tf.errors.InternalError):
        kind = UnclearError
    else:
        kind = ValuesError if isinstance(error, values) else RunError
    return kind(str(error.message))


@contextmanager
def _explain_refusal() -> Iterator[None]:
    """Raise what TensorFlow raises about a graph as a UserError: too large for a GraphDef, say."""
    try:
        yield
    except (ValueError, tf.errors.OpError) as error:
        raise UserError(str(error).partition("\n")[0]) from error


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
    keys = [*(tensor.key for tensor in signature.outputs), ROWS_RUN]
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
