"""Runs a graph through one compiled callable of one session: the fastest way, and safe from many threads."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from serialization.checks.memory import require_memory
from serialization.errors import UserError
from serialization.graph.function_optimizers import make_unoptimized_config
from serialization.graph.signature import Signature
from serialization.run.generated_feeds import find_sparse_inputs
from serialization.tensorflow import config_pb2, explain_failures, np, tf, tf1

if TYPE_CHECKING:
    from numpy.typing import NDArray

Values = Mapping[str, "NDArray[Any]"]  # arrays by the keys of inputs, or of outputs
Run = Callable[[Values], Values]
DEFAULT_TIMEOUT = 600.0  # seconds for one run


class Predictor:
    """Runs a Signature's tensors: takes arrays by input key, returns arrays by output key.

    The arrays have the signature's dtypes, strings the dtype object. The graph is compiled once, and nothing is added
    to it. A session fetches nothing that is fed, so an output that is an input is handed on. A call raises
    tf.errors.OpError if the graph does. A run over `timeout` seconds is cancelled with tf.errors.DeadlineExceededError;
    without `timeout`, with UserError after 10 minutes.

    `inline` runs the graph in the calling thread. For a small graph that is much faster than TensorFlow's thread pool.
    But such a run cannot be cancelled, and it keeps denormal numbers (below 1.2e-38 as float32), which the pool makes
    zero.

    Raises UserError if the graph cannot be run, or needs more memory than there is. `with` closes the session.
    """

    def __init__(
        self, session: Any, signature: Signature, *, inline: bool = False, timeout: float | None = None
    ) -> None:
        self.session = session
        self.signature = signature
        # Two keys may name one tensor, which is fed once.
        self._inputs = tuple({tensor.name: tensor.key for tensor in signature.inputs}.values())
        fed = {tensor.name: tensor.key for tensor in signature.inputs}
        self._echoes = {tensor.key: fed[tensor.name] for tensor in signature.outputs if tensor.name in fed}
        self._outputs = tuple(tensor.key for tensor in signature.outputs)
        self._fetched = tuple(tensor.key for tensor in signature.outputs if tensor.name not in fed)
        self._strings = any(tensor.dtype == "string" for tensor in signature.outputs)
        self._dense_shapes = tuple(shape.key for _, _, shape in find_sparse_inputs(signature))
        self._timeout = timeout
        require_memory(session.graph, signature)
        with explain_failures("the model cannot be run here"):
            self._callable = _compile(session, signature, inline, timeout or DEFAULT_TIMEOUT)

    def __call__(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        for key in self._dense_shapes:
            if np.min(feeds[key], initial=0) < 0:  # the runtime would abort the process
                raise tf.errors.InvalidArgumentError(None, None, f"{key}: a dense shape has no negative sizes")
        try:
            values = self._callable(*map(feeds.__getitem__, self._inputs))
        except tf.errors.DeadlineExceededError:
            if self._timeout is not None:
                raise
            raise UserError(
                f"the model gave no answer in {DEFAULT_TIMEOUT:g} seconds; a loop in it may never end; "
                "feed it other values with --feed, or name other --outputs"
            ) from None
        except UnicodeDecodeError as error:  # TensorFlow's message quotes a value that is not UTF-8
            raise tf.errors.InvalidArgumentError(None, None, error.object.decode(errors="backslashreplace")) from None
        if self._strings:  # TensorFlow returns a scalar string as bytes
            values = [np.array(value, dtype=object) if isinstance(value, bytes) else value for value in values]
        answers = dict(zip(self._fetched, values, strict=True))
        if self._echoes:
            answers |= {key: feeds[fed] for key, fed in self._echoes.items()}
            return {key: answers[key] for key in self._outputs}
        return answers

    def __enter__(self) -> Predictor:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()


def compile_later(session: Any, signature: Signature) -> Run:
    """Runs what a Predictor runs, which is made in the first run: it holds a graph's constants several times."""
    make = cache(lambda: Predictor(session, signature))
    return lambda values: make()(values)


def give_sessions_own_threads() -> None:
    """Give each session its own threads for its ops; otherwise all share those of the first. Call before any session.

    TensorFlow (LocalDevice in core/common_runtime/local_device.cc) reads the variable once, and documents no other way.
    tests/run/test_predictor.py fails if TensorFlow no longer reads it.
    """
    os.environ["TF_OVERRIDE_GLOBAL_THREADPOOL"] = "1"


def open_session(graph: Any, **how: Any) -> Any:
    """A session on the graph; `how` are the arguments of `make_session_config`."""
    return tf1.Session(graph=graph, config=make_session_config(**how))


def make_session_config(
    *, optimize: bool = True, fuse: bool = True, in_order: bool = False, threads: int | None = None
) -> Any:
    """The ConfigProto of a session: ops of missing devices run elsewhere, GPU memory is taken as needed.

    `optimize=False` switches the graph optimizers off, so that two forms of a model compute the same bits;
    `switch_off_optimizers` does so in the bodies of functions.
    `fuse=False` switches off the optimizer that fuses ops into one kernel: fused kernels take longer to set up.
    `in_order` runs the ops in a fixed order, which saves the scheduler's time. A graph with TensorFlow 1's control flow
    cannot be run in order.
    `threads` compute one op, after `give_sessions_own_threads`; by default as many as there are processors.
    """
    config = tf1.ConfigProto(allow_soft_placement=True)
    config.gpu_options.allow_growth = True
    if in_order:
        config.experimental.executor_type = "SINGLE_THREADED_EXECUTOR"
    if threads is not None:
        config.intra_op_parallelism_threads = threads
    rewrites = config.graph_options.rewrite_options
    if not fuse:
        rewrites.remapping = rewrites.OFF
    if not optimize:
        config.MergeFrom(make_unoptimized_config())
    return config


def _compile(session: Any, signature: Signature, inline: bool, timeout: float) -> Any:
    """Compile by a private method of TensorFlow: `make_callable` takes no options, and each call 4 to 11 times as long.

    tests/run/test_predictor.py fails if TensorFlow changes the method.
    """
    feed = list(dict.fromkeys(tensor.name for tensor in signature.inputs))
    fetch = [tensor.name for tensor in signature.outputs if tensor.name not in feed]
    if signature.outputs and not fetch:  # nothing is left to be run
        return lambda *_: []
    options = config_pb2.CallableOptions(feed=feed, fetch=fetch)
    options.run_options.inter_op_thread_pool = -1 if inline else 0
    if not inline:
        options.run_options.timeout_in_ms = max(1, round(timeout * 1000))
    return session._make_callable_from_options(options)
