"""TensorFlow and numpy, imported late and quietly.

`from serialization.tensorflow import np, tf, tf1` costs nothing until one of them is used: a script's `--help` and its
first errors need neither. `tf1` is `tf.compat.v1`, the graphs and sessions that this project is about.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from io import StringIO
from typing import TYPE_CHECKING, Any

from serialization.errors import UserError
from serialization.tensorflow_package import find_public_name, import_part, is_public

__all__ = [
    "OTHER_TENSORFLOW",
    "config_pb2",
    "explain_failures",
    "find_tensorflow_version",
    "format_reason",
    "get_held_back",
    "hold_log",
    "import_keras",
    "import_quietly",
    "np",
    "quiet",
    "saved_model_pb2",
    "tf",
    "tf1",
]

# For explain_failures, where a graph is imported that the checks have passed.
OTHER_TENSORFLOW = (
    "it may be made for another TensorFlow; `python model_inspect.py PATH` shows its version and ops; "
    "save it again with the program that made it, or cut it at other --outputs"
)

_held = StringIO()
_parts: set[str] = set()  # modules of TensorFlow that are imported with all that they need
_quiet_lock, _stderr_back, _quiet_depth = threading.Lock(), ExitStack(), 0


_DISTRIBUTIONS = (
    "tensorflow",
    "tensorflow-cpu",
    "tensorflow-cpu-aws",
    "tensorflow-rocm",
    "tf-nightly",
    "tf-nightly-cpu",
)


def find_tensorflow_version() -> str | None:
    """The installed version of TensorFlow, read without importing it; None if it is not installed."""
    from importlib import metadata

    for name in _DISTRIBUTIONS:
        with suppress(metadata.PackageNotFoundError):
            return metadata.version(name)
    return None


def get_held_back() -> str:
    """TensorFlow's output on stderr and in its log, which is shown only if the run fails."""
    return _held.getvalue()


@contextmanager
def explain_failures(what: str, advice: str = "") -> Iterator[None]:
    """Raise TensorFlow's errors about a model as a UserError of one line: `what` failed, TensorFlow's reason, `advice`.

    Compilers in TensorFlow write a line of their own to stderr before that, which is held back.
    """
    from google.protobuf.message import DecodeError

    try:
        with quiet():
            yield
    except (ValueError, TypeError, KeyError, NotImplementedError, DecodeError) as error:
        raise UserError(_join(what, error, advice)) from None
    except Exception as error:
        if not hasattr(error, "error_code"):  # not tf.errors.OpError, which needs TensorFlow imported
            raise
        raise UserError(_join(what, error, advice)) from None


def _join(what: str, error: BaseException, advice: str) -> str:
    return "; ".join([f"{what}: {format_reason(error)}", *([advice] if advice else [])])


def format_reason(error: BaseException | None) -> str:
    """TensorFlow's reason for an error, without the nodes and stacks that it adds."""
    text = str(getattr(error, "message", error)).partition("Original error:")[2] or str(
        getattr(error, "message", error)
    )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    noise = ("Detected at node", "(1)", "[[", "Original stack", "File ", "Node: ", "Graph execution error")
    reasons = [
        line.removeprefix("(0) ") for line in lines if not line.startswith(noise) and "root error(s) found" not in line
    ]
    first = reasons[0] if reasons else type(error).__name__
    first = re.sub(r"\{\{function_node [^}]+\}\} ?", "", first.split("[[{{")[0].split("[[node")[0])
    first = re.sub(r"\{\{node ([^}]+)\}\} ?", r"\1 ", first)
    first = re.sub(r"( for '\S+) += \w+\[.*", r"\1'", first)  # a node's attributes, inputs and shapes are a page
    return first.split(" with these attrs")[0].strip()[:300].rstrip(".:;, ")


class _Late:
    """A module that is imported when one of its attributes is first read.

    Of a package of TensorFlow's public names, only the module that defines the attribute is.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        value = self._import(attribute)
        setattr(self, attribute, value)  # the next look-up does not call __getattr__
        return value

    def _import(self, attribute: str) -> Any:
        found = find_public_name(self._name, attribute)
        if found is None:
            return getattr(import_quietly(self._name), attribute)
        module, name = found
        return _Late(f"{module}.{name}") if is_public(module) else getattr(import_quietly(module), name)


def import_quietly(name: str) -> Any:
    """The module of this full name. One of TensorFlow's writes nothing to stderr, though it is the first.

    For the private modules, where the public ones cannot do it.
    """
    if not name.startswith("tensorflow") or name in _parts:
        return import_module(name)
    # 3 silences all but fatal errors; a user who wants the log sets the variable.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with quiet(), _without_settings_of_keras():  # TensorFlow imports Keras
        module = import_part(name)
        import_module("tensorflow.python.platform.tf_logging").get_logger()  # has its handler from now on
    hold_log("tensorflow")
    _parts.add(name)
    return module


def import_keras(major: int) -> Any:
    """Keras 3, or Keras 2, which the package tf_keras is; on TensorFlow. Its messages and progress bars go to the log.

    Raises UserError if tf_keras is missing, which is optional.
    """
    os.environ["TF_USE_LEGACY_KERAS"] = str(int(major < 3))  # what `tf.keras` is, for custom classes
    import_quietly("tensorflow")
    try:
        with quiet(), _without_settings_of_keras():
            keras = import_module("keras" if major >= 3 else "tf_keras")
    except ModuleNotFoundError as error:
        if error.name != "tf_keras":
            raise
        raise UserError(
            "the model was saved by Keras 2, and the package tf-keras, which reads it, is not installed; "
            "`pip install 'tf-keras>=2.21,<2.22'` installs it"
        ) from None
    keras.utils.disable_interactive_logging()
    # Which would turn some errors of TensorFlow into others.
    (keras.config if major >= 3 else import_module("tensorflow").debugging).disable_traceback_filtering()
    return keras


@contextmanager
def _without_settings_of_keras() -> Iterator[None]:
    """Have Keras imported on TensorFlow and without keras.json, where users may choose another dtype or backend."""
    settings = {"KERAS_BACKEND": "tensorflow", "KERAS_HOME": f"{os.devnull}/keras"}  # a place where nothing can be
    before = {name: os.environ.get(name) for name in settings}
    os.environ.update(settings)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)  # it is gone where this process was confined meanwhile
            os.environ.update({} if value is None else {name: value})


def hold_log(name: str) -> None:
    """Hold back the log of a library: its handlers, such as TensorFlow's own, write to stderr."""
    import logging  # here, since few other modules of Python do

    hold = logging.StreamHandler(_held)
    hold.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    log = logging.getLogger(name)
    log.handlers[:] = [hold]
    log.propagate = False


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back file descriptor 2 (stderr): TensorFlow and its libraries write to it at every log level.

    Several threads may do so at a time: the last that ends gives it back.
    """
    import_module("numpy")  # before stderr is held: `cli.run` forks at this import, and both processes need it
    global _quiet_depth
    with _quiet_lock:
        if not _quiet_depth:
            _stderr_back.enter_context(_hold_stderr())
        _quiet_depth += 1
    try:
        yield
    finally:
        with _quiet_lock:
            _quiet_depth -= 1
            if not _quiet_depth:
                _stderr_back.close()


@contextmanager
def _hold_stderr() -> Iterator[None]:
    sys.stderr.flush()
    stderr = os.dup(2)
    with os.fdopen(os.memfd_create("stderr"), "w+b") as file:  # in memory: there may be no place for a file
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
            file.seek(0)
            _held.write(file.read().decode(errors="replace"))


if TYPE_CHECKING:
    import numpy as np

    config_pb2: Any
    saved_model_pb2: Any
    tf: Any
    tf1: Any
else:
    np = _Late("numpy")
    config_pb2 = _Late("tensorflow.core.protobuf.config_pb2")
    saved_model_pb2 = _Late("tensorflow.core.protobuf.saved_model_pb2")
    tf = _Late("tensorflow")
    tf1 = _Late("tensorflow._api.v2.compat.v1")
