"""Runs an ONNX model in onnxruntime, on the processor."""

from __future__ import annotations

import os
import re
import threading
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serialization.errors import UserError
from serialization.formats.onnx_file import find_external_files, read_onnx_file
from serialization.graph.row_facts import RowFacts
from serialization.project import real_path
from serialization.run.generated_feeds import generate_attempts
from serialization.run.images import PixelDecoder
from serialization.run.pillow_images import PillowDecoder
from serialization.runtimes.exported_file import ExportedFile, read_exported_file, require_numpy_dtypes
from serialization.runtimes.runtime import LateError, MemoryShortError, RunError, UnclearError, ValuesError
from serialization.tensorflow import np, quiet

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FATAL = 4  # of onnxruntime's levels; it writes its log to stderr
_NOISE = re.compile(
    r"\[ONNXRuntimeError\] : \d+ : \w+ : |Load model from .*? failed: ?|/\S*onnxruntime\S*:\d+ .*?\)(::<lambda\(\)>)? "
)
_LACKING = re.compile(r"Could not find an implementation for (\S+?)\(\d+\) node with name '(.*?)'")
_NEWER = re.compile(r"Opset (\d+) is under development")
_STATUS = re.compile(r"Name:'(.*?)' Status Message: ")


def load_onnx(path: Path) -> tuple[Any, ExportedFile]:
    """An onnxruntime.InferenceSession on the file, with all processors, and what the file says of its model.

    Raises UserError for a model that onnxruntime cannot run, with op and node.
    """
    return _open_session(path, len(os.sched_getaffinity(0))), read_exported_file(path, read_onnx_file)


def _open_session(path: Path, threads: int) -> Any:
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import onnxruntime
    onnxruntime.set_default_logger_severity(_FATAL)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _FATAL
    options.intra_op_num_threads = threads
    # A thread that waits for work would turn in a circle, and so take the processor from those that read requests.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # onnxruntime maps the files with constants: written in place, they would change the model that answers. It copies
    # what it is given instead, until the session is there.
    constants = {file.relative_to(path.parent).as_posix(): file.read_bytes() for file in _list_constants(path)}
    if constants:
        contents = list(constants.values())
        options.add_external_initializers_from_files_in_memory(list(constants), contents, list(map(len, contents)))
    try:
        with quiet():
            return onnxruntime.InferenceSession(str(path), options, ["CPUExecutionProvider"])
    except Exception as error:  # a class for each of onnxruntime's statuses, which share no public one
        raise UserError(f"onnxruntime cannot run the model: {_explain(error)}") from error


def _list_constants(path: Path) -> list[Path]:
    """The files with constants that lie below the model's folder; onnxruntime tells what is wrong with any other."""
    folder = real_path(path.parent)
    return [file for file in find_external_files(path) if file.is_file() and folder in real_path(file).parents]


class OnnxRuntime:
    """Runs a session of onnxruntime; see Runtime. A run that takes longer than `timeout` ends behind its next node."""

    name = "onnxruntime"
    platform = "onnx_onnxv1"
    threads = "in onnxruntime's threads"
    cancels = True
    decoder: type[PixelDecoder] = PillowDecoder

    def __init__(self, session: Any, file: ExportedFile, timeout: float | None = None) -> None:
        require_numpy_dtypes(file, self.name)
        self.signature, self.labels = file.signature, file.labels
        self._session = session
        self._file = file
        self._inputs = [(tensor.key, tensor.name, tensor.dtype == "string") for tensor in file.signature.inputs]
        self._outputs = [tensor.key for tensor in file.signature.outputs]
        self._names = [tensor.name for tensor in file.signature.outputs]
        self._limit = _Limit(timeout) if timeout is not None else None

    def __call__(self, values: Mapping[str, NDArray[Any]]) -> dict[str, Any]:
        try:
            given = {name: _decode(values[key]) if strings else values[key] for key, name, strings in self._inputs}
        except UnicodeDecodeError:
            raise ValuesError("ONNX takes strings in UTF-8 only") from None
        if self._limit is None:
            return self._run(given, None)
        with self._limit.watch() as options:
            return self._run(given, options)

    def _run(self, given: Mapping[str, Any], options: Any) -> dict[str, Any]:
        try:
            values = self._session.run(self._names, given, options)
        except Exception as error:
            raise _translate(error, late=options is not None and options.terminate) from error
        return dict(zip(self._outputs, map(_encode, values), strict=True))

    def find_row_facts(self) -> RowFacts:
        return self._file.facts

    def list_examples(self) -> Iterator[dict[str, NDArray[Any]]]:
        return (attempt[0] for attempt in generate_attempts(self.signature))

    def list_inline(self) -> Sequence[OnnxRuntime]:
        return [self.open_single()]

    def open_batched(self, batch_size: int, wait_ms: float) -> OnnxRuntime:
        """It runs each call alone: onnxruntime gathers none."""
        return self

    def open_single(self) -> OnnxRuntime:
        return OnnxRuntime(_open_session(self._file.path, 1), self._file)

    def close(self) -> None:
        self._session = None
        if self._limit is not None:
            self._limit.close()


class _Limit:
    """Ends the runs that take longer than `seconds`: one thread looks after all of them."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due: dict[int, tuple[float, Any]] = {}  # when each run has to end, the first one first; its options
        self._changed = threading.Condition()
        self._asleep = True  # the thread waits for a run
        self._closed = False
        threading.Thread(target=self._end_late_runs, name="time limit", daemon=True).start()

    @contextmanager
    def watch(self) -> Iterator[Any]:
        """The RunOptions of a run, which is told to end if it takes too long."""
        from onnxruntime import RunOptions

        options = RunOptions()
        options.log_severity_level = _FATAL
        with self._changed:
            self._due[id(options)] = time.perf_counter() + self._seconds, options
            if self._asleep:
                self._changed.notify()
        try:
            yield options
        finally:
            with self._changed:
                self._due.pop(id(options), None)

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _end_late_runs(self) -> None:
        with self._changed:
            while not self._closed:
                self._asleep = not self._due
                if self._asleep:
                    self._changed.wait()
                    continue
                due, options = next(iter(self._due.values()))
                left = due - time.perf_counter()
                if left > 0:
                    self._changed.wait(left)
                else:
                    options.terminate = True
                    self._due.pop(id(options))


def _translate(error: Exception, *, late: bool) -> RunError:
    text = str(error)
    if late:
        return LateError("it was ended at the time limit")
    if isinstance(error, MemoryError) or "bad_alloc" in text or "Failed to allocate memory" in text:
        return MemoryShortError(_explain(error))
    kind = ValuesError if type(error).__name__ == "InvalidArgument" else UnclearError
    return kind(_explain(error))


def _decode(value: NDArray[Any]) -> NDArray[Any]:
    return np.array([text.decode() for text in value.ravel()], object).reshape(value.shape)


def _encode(value: Any) -> NDArray[Any]:
    array = np.asarray(value)
    if array.dtype != object:
        return array
    return np.array([text.encode() for text in array.ravel()], object).reshape(array.shape)


def _explain(error: Exception) -> str:
    text = " ".join(str(error).split())
    if newer := _NEWER.search(text):
        return f"its opset {newer[1]} is newer than those that this onnxruntime knows"
    if lacking := _LACKING.search(text):
        return f"it has no implementation of {lacking[1]}, the op of node {lacking[2]}, for these dtypes"
    text = _STATUS.sub(r"node \1: ", _NOISE.sub("", text))
    return text.strip()[:300].rstrip(".:;, ")
