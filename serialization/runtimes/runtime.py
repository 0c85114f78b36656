"""The interface of a runtime: what the server, and the proof of an export, need of a model that is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from serialization.errors import UserError
from serialization.graph.row_facts import RowFacts
from serialization.graph.signature import Signature
from serialization.run.images import PixelDecoder
from serialization.tensorflow import tf

if TYPE_CHECKING:
    from numpy.typing import NDArray

Answers = Callable[[Mapping[str, Any]], dict[str, Any]]
"""Runs a model: takes arrays by input key, returns arrays by output key. Raises RunError."""
ROWS_RUN = "rows run at once"  # the key of a result, beside the model's, of one that runs calls together


class RunError(Exception):
    """A run failed; the message is the runtime's reason."""


class ValuesError(RunError):
    """The model does not take these values."""


class StateError(ValuesError):
    """The model lacks what it needs to run, such as the value of a variable or of a table."""


class UnclearError(RunError):
    """The values or the model may be at fault: a run on values that it took before tells."""


class LateError(RunError):
    """The run took longer than its time limit."""


class MemoryShortError(RunError):
    """There is not enough memory for this run."""


class Runtime(Protocol):
    """A loaded model. Any number of threads may run it at once.

    A call takes arrays by input key and returns arrays by output key, of the signature's dtypes; strings are bytes in
    arrays of the dtype object. It raises RunError, and LateError if it takes longer than the time limit. `name` is the
    runtime's, `platform` the Open Inference Protocol's name for it, if one holds for all its models. `threads` says in
    which threads it runs a request. `cancels` says that a run over the limit ends there; else it goes on unseen.
    `labels` are the names of the classes, where the model's file has them. `decoder` decodes images.
    """

    signature: Signature
    name: str
    platform: str
    threads: str
    cancels: bool
    labels: tuple[str, ...]
    decoder: type[PixelDecoder]

    def __call__(self, values: Mapping[str, NDArray[Any]]) -> dict[str, Any]: ...

    def find_row_facts(self) -> RowFacts: ...

    def list_examples(self) -> Iterator[dict[str, NDArray[Any]]]:
        """Values of one row that it may take, likeliest first."""

    def list_inline(self) -> Sequence[Runtime]:
        """The ways to run it in the calling thread, without a time limit."""

    def open_batched(self, batch_size: int, wait_ms: float) -> Runtime:
        """The model for servers whose threads ask one by one: it may run their rows together.

        Its results then have ROWS_RUN as well. Raises UserError if the model cannot run so.
        """

    def open_single(self) -> Runtime | None:
        """The model run by a single thread, the calling one, without a time limit; None where it cannot be."""

    def close(self) -> None: ...


@contextmanager
def open_for_proof(open_runtime: Callable[[], Runtime]) -> Iterator[Answers]:
    """An exported model as `prove_same` takes it: what it has no input for is left out, errors are TensorFlow's."""
    try:
        runtime = open_runtime()
    except UserError as error:
        raise UserError(f"{error}; nothing was written") from error
    keys = [tensor.key for tensor in runtime.signature.inputs]

    def run(values: Mapping[str, Any]) -> dict[str, Any]:
        try:
            return runtime({key: values[key] for key in keys})
        except RunError as error:
            raise tf.errors.InternalError(None, None, str(error)) from error

    with closing(runtime):
        yield run
