"""Runs a LiteRT model in ai-edge-litert, on the processor.

An interpreter runs one call at a time, and nothing ends a run of it.
"""

from __future__ import annotations

import os
import queue
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as LateResult
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serialization.errors import UserError
from serialization.formats.tflite_file import read_tflite_file
from serialization.graph.row_facts import RowFacts
from serialization.run.generated_feeds import generate_attempts
from serialization.run.images import PixelDecoder
from serialization.run.pillow_images import PillowDecoder
from serialization.runtimes.exported_file import ExportedFile, read_exported_file, require_numpy_dtypes
from serialization.runtimes.runtime import LateError, UnclearError
from serialization.tensorflow import quiet

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LACKING = re.compile("unresolved custom op|Select TensorFlow op")
Call = Callable[..., Mapping[str, Any]]


def load_tflite(path: Path) -> ExportedFile:
    """What the file says of its model. Raises UserError for a damaged one."""
    # LiteRT would map the file: written in place, it would change the model that answers, or end the process.
    return read_exported_file(path, read_tflite_file, content=path.read_bytes())


class LiteRTRuntime:
    """Runs interpreters on a file, at most `most` at once, each with so many `threads`; see Runtime.

    Inputs are resized to the arrays. A run that takes longer than `timeout` goes on in its thread when LateError is
    raised. It is the only one: those that come after it wait, and end with LateError at their own limit.

    Raises UserError for a model that LiteRT cannot run.
    """

    name = "LiteRT"
    platform = "litert_tflite"
    threads = "in LiteRT's threads"
    cancels = False
    decoder: type[PixelDecoder] = PillowDecoder

    def __init__(
        self, file: ExportedFile, timeout: float | None = None, *, threads: int | None = None, most: int = 1
    ) -> None:
        require_numpy_dtypes(file, self.name)
        self.signature, self.labels = file.signature, file.labels
        self._file = file
        self._timeout = timeout
        self._free: queue.LifoQueue[Call] = queue.LifoQueue()
        threads = threads or len(os.sched_getaffinity(0))
        for _ in range(most):
            self._free.put(_open_interpreter(file, threads))
        self._inputs = [(tensor.key, tensor.name) for tensor in self.signature.inputs]
        self._outputs = [(tensor.key, tensor.name) for tensor in self.signature.outputs]
        self._turn = threading.Lock()  # held while a run with a time limit goes on
        self._next: queue.SimpleQueue[tuple[Future[dict[str, Any]], Mapping[str, Any]] | None] = queue.SimpleQueue()
        if timeout is not None:
            # Not a pool of Python's: the process would not end before a run that never does.
            threading.Thread(target=self._work, name="LiteRT", daemon=True).start()

    def __call__(self, values: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        if self._timeout is None:
            return self._run(values)
        due = time.perf_counter() + self._timeout
        if not self._turn.acquire(timeout=self._timeout):
            raise LateError("another run goes on; LiteRT has no way to end it")
        future: Future[dict[str, Any]] = Future()
        self._next.put((future, values))
        try:
            return future.result(max(0.0, due - time.perf_counter()))
        except LateResult:
            raise LateError("it goes on; LiteRT has no way to end it") from None

    def _work(self) -> None:
        while (taken := self._next.get()) is not None:
            future, values = taken
            try:
                future.set_result(self._run(values))
            except Exception as error:  # for the thread that waits
                future.set_exception(error)
            finally:
                self._turn.release()

    def _run(self, values: Mapping[str, Any]) -> dict[str, Any]:
        call = self._free.get()
        try:
            results = call(**{name: values[key] for key, name in self._inputs})
        except (ValueError, RuntimeError) as error:
            raise UnclearError(_explain(error)) from error
        finally:
            self._free.put(call)
        return {key: results[name] for key, name in self._outputs}

    def find_row_facts(self) -> RowFacts:
        return self._file.facts

    def list_examples(self) -> Iterator[dict[str, NDArray[Any]]]:
        return (attempt[0] for attempt in generate_attempts(self.signature))

    def list_inline(self) -> Sequence[LiteRTRuntime]:
        return [LiteRTRuntime(self._file, threads=1)]

    def open_batched(self, batch_size: int, wait_ms: float) -> LiteRTRuntime:
        """It runs each call alone: LiteRT gathers none."""
        return self

    def open_single(self) -> LiteRTRuntime:
        return LiteRTRuntime(self._file, threads=1, most=max(1, len(os.sched_getaffinity(0)) - 1))

    def close(self) -> None:
        self._free = queue.LifoQueue()
        self._next.put(None)  # ends the thread


def _open_interpreter(file: ExportedFile, threads: int) -> Call:
    """A function that runs a new interpreter: it takes arrays by the keys of inputs, and copies the results.

    Without a signature in the file, the keys are the names of tensors.
    """
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ai_edge_litert.interpreter import Interpreter
    try:
        with quiet():
            interpreter = Interpreter(model_content=file.content, num_threads=threads)
            _require_ops(interpreter)
            if file.key:
                runner: Call = interpreter.get_signature_runner(file.key)
                return lambda **values: runner(**values)
    except (ValueError, RuntimeError) as error:
        raise UserError(f"LiteRT cannot run the model: {_explain(error)}") from error
    places = {details["name"]: details["index"] for details in interpreter.get_input_details()}
    results = {details["name"]: details["index"] for details in interpreter.get_output_details()}

    def run(**values: NDArray[Any]) -> Mapping[str, Any]:
        for name, value in values.items():
            interpreter.resize_tensor_input(places[name], value.shape)
        interpreter.allocate_tensors()
        for name, value in values.items():
            interpreter.set_tensor(places[name], value)
        interpreter.invoke()
        return {name: interpreter.get_tensor(index) for name, index in results.items()}

    return run


def _require_ops(interpreter: Any) -> None:
    """Raise RuntimeError if LiteRT lacks an op, which it finds when it gives the tensors of the graph their memory.

    What fails there for the sizes that the file has may run with those of a request.
    """
    try:
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        if _LACKING.search(str(error)):
            raise


def _explain(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".:;, ") or type(error).__name__
