"""Runs a script as a process: confined, with one-line errors and exit codes."""

from __future__ import annotations

import argparse
import inspect
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from serialization import end_interrupted
from serialization.child import run_tidily, run_with_child
from serialization.console import show_path
from serialization.errors import UserError
from serialization.files.unpacking import remove_unpacked
from serialization.flag_types import NamedPath
from serialization.parser import Given
from serialization.project import ROOT
from serialization.run.given_feeds import Feed

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_STDOUT = "standard output"
# Where packages are listed that requirements.txt has not.
_OTHER_FILES = {
    **dict.fromkeys(("tf2onnx", "onnx", "onnxruntime", "ai_edge_litert"), "requirements-export.txt"),
    "grpc": "requirements-grpc.txt",
}


def run(main: Callable[[Sequence[str] | None], int], *, loads_model: bool = True) -> NoReturn:
    """Run a script's `main` as the process: exit 0 done, 1 failed, 2 wrong flags, 130 interrupted.

    A script that `loads_model` goes on in a child process, confined, once something imports numpy or TensorFlow.
    """
    _open_standard_streams()
    work = partial(call_main, main)
    sys.exit(run_with_child(work, _list_readable_if_confined) if loads_model else run_tidily(work))


def _list_readable_if_confined() -> list[Path] | None:
    """The files and folders that the flags let this process read; None in a script that is not confined."""
    return None if getattr(Given.values, "unconfined", True) else list_readable(Given.values)


def list_readable(args: argparse.Namespace) -> list[Path]:
    """The files and folders that the flags let a confined process read."""
    from serialization.checks.readable_files import list_readable_files

    opened = args.allow_read or []
    for path in opened:
        if not path.exists():
            raise UserError(f"--allow-read {path}: nothing is there; name the file or folder that the model reads")
    values = [value for name, value in vars(args).items() if name != "allow_read"]
    values += [inner for value in values if isinstance(value, list) for inner in value]
    values += [value.path for value in values if isinstance(value, NamedPath)]
    paths = [value.file if isinstance(value, Feed) else value for value in values]
    return [*opened, *list_readable_files(path for path in paths if isinstance(path, Path))]


class _StandardOutput(io.FileIO):
    """Descriptor 1, whose errors name it: else the line of a full disk does not say what cannot be written."""

    def __init__(self) -> None:
        super().__init__(1, "w", closefd=False)

    def write(self, data: ReadableBuffer, /) -> int:
        try:
            return super().write(data)
        except OSError as error:
            error.filename = _STDOUT
            raise


def _open_standard_streams() -> None:
    """Open descriptors 0, 1 and 2 if they are closed, for child processes too: `>&-` does not fail the script.

    Otherwise the next file that is opened gets one of these numbers.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # open takes the lowest free number
    at_once = isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.write_through  # as `python -u` asks
    file = _StandardOutput()
    sys.stdout = io.TextIOWrapper(
        file if at_once else io.BufferedWriter(file),
        sys.stdout.encoding if sys.stdout else None,
        sys.stdout.errors if sys.stdout else None,
        line_buffering=at_once or file.isatty(),
        write_through=at_once,
    )
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115


def call_main(main: Callable[[Sequence[str] | None], int], argv: Sequence[str] | None = None) -> int:
    """Run `main(argv)` and return its status. A UserError becomes one line on stderr; a bug keeps its traceback."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a character that its encoding lacks does not fail the script
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        if signal.getsignal(signal.SIGINT) is end_interrupted:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        status = main(argv)
        sys.stdout.flush()
        return status
    except (UserError, OSError) as error:
        from serialization.checks.confinement import explain_error

        if isinstance(error, OSError) and error.filename == _STDOUT:  # what is in its buffer is written nowhere
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):  # `script.py | head`: the reader has left, and needs no message
            return 128 + signal.SIGPIPE
        if isinstance(error, UserError):
            error = UserError(error.advise(Path(inspect.getfile(main)).stem))
        print(f"error: {explain_error(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 128 + signal.SIGINT
    except ModuleNotFoundError as error:
        if not _is_third_party(error.name or ""):
            raise
        print(f"error: {_explain_missing_module(error.name or '')}", file=sys.stderr)
        return 1
    except Exception:
        from serialization import tensorflow

        traceback.print_exc()
        sys.stderr.write(tensorflow.get_held_back())  # TensorFlow's log may hold the reason
        return 1
    finally:
        remove_unpacked()


def require_installed(*modules: str, requirements: str = "") -> None:
    """Raise ModuleNotFoundError, which `call_main` explains, for the first of these modules that is not there.

    From now on the file `requirements`, if one is given, is advised for any module that is missing.
    """
    Given.requirements = requirements
    for name in modules:
        if find_spec(name) is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def _is_third_party(module: str) -> bool:
    top = module.partition(".")[0]
    return bool(top) and not any((ROOT / name).exists() for name in (top, f"{top}.py"))


def _explain_missing_module(module: str) -> str:
    environment = ROOT / ".venv"
    is_elsewhere = environment.is_dir() and Path(sys.prefix).resolve() != environment.resolve()
    top = module.partition(".")[0]
    file = Given.requirements or _OTHER_FILES.get(top, "requirements.txt")
    advice = (
        f"use {show_path(environment / 'bin' / 'python')}"
        if is_elsewhere
        else f"`pip install -r {file}` installs all it needs"
    )
    return f"{sys.executable} has no module {top}; {advice}"
