"""Runs a script, and goes on in a child process that confines itself; this process publishes what the child writes.

The child loads the model and may die of it. This process loads none: it publishes the staging folders, passes signals
on, and says in one line of which signal the child died.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from serialization.console import explain_death, make_printable
from serialization.files.publisher import have_parent_publish, list_staging_folders, publish_for_child
from serialization.files.unpacking import remove_unpacked

if TYPE_CHECKING:
    from socket import socket

# The signals that are passed on, and as which. A terminal sends SIGINT to both processes; the child ignores its own.
_PASSED_ON = {signal.SIGINT: signal.SIGUSR1}
_PASSED_ON |= {number: number for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)}


def run_with_child(work: Callable[[], int], list_readable: Callable[[], list[Path] | None]) -> int:
    """Call `work`, which goes on in a child once something imports numpy or TensorFlow; its status there.

    The child may read what `list_readable` gives, unless that is None. On a system that is not Linux there is no child.
    """
    if sys.platform != "linux":
        return run_tidily(work)
    sys.meta_path.insert(0, _BeforeLoading(list_readable))
    try:
        return run_tidily(work)
    finally:
        signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # an interrupt comes too late: the work is done


def run_tidily(work: Callable[[], int]) -> int:
    """Call `work`; its status. A signal that ends this process leaves no folder of a kind that is removed at the end.

    These are staging folders and unpacked archives.
    """
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, _unwind)
    try:
        return work()
    except _KilledError as killed:
        _die_of(killed.number)


class _BeforeLoading:
    """Forks when something imports numpy or TensorFlow for the first time: importing them starts threads."""

    def __init__(self, list_readable: Callable[[], list[Path] | None]) -> None:
        self._list_readable = list_readable

    def find_spec(self, name: str, *_: object) -> None:
        """Called before each import; finds nothing, so that the import goes on."""
        if name in ("numpy", "tensorflow") and self in sys.meta_path:
            _go_on_in_child(self._list_readable())
            sys.meta_path.remove(self)  # last: where it fails, nothing is imported


class _KilledError(BaseException):
    """Unwinds the stack after a signal that ends the process, so that staging folders are removed."""

    def __init__(self, number: int) -> None:
        self.number = number


def _unwind(number: int, _: FrameType | None) -> NoReturn:
    raise _KilledError(number)


def _go_on_in_child(readable: list[Path] | None) -> None:
    """Fork: the child goes on from here, and this process ends with the child's exit status.

    The child may read `readable`, and write the folders that are staged and one for temporary files; None does not
    confine it. It is the child of a process without threads: numpy and TensorFlow are not imported yet.
    """
    import socket  # here, with all that a run which loads nothing does without

    from serialization.checks.confinement import confine
    from serialization.checks.system_calls import die_with_parent

    sys.stdout.flush()  # else both write what is in the buffer
    sys.stderr.flush()
    parent = os.getpid()
    here, there = socket.socketpair()
    said = os.memfd_create("stderr")
    heard: set[int] = {number for number in _PASSED_ON if signal.getsignal(number) is not signal.SIG_IGN}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*heard, signal.SIGUSR1})
    temporary = None if readable is None else Path(tempfile.mkdtemp(prefix="loading-"))
    gc.freeze()  # else the child's collector writes to all that both processes share, and each page is copied for it
    child = os.fork()
    if child != 0:
        there.close()
        status = 1
        try:
            status = _watch(child, here, said, heard, before, temporary)
        except BaseException:
            traceback.print_exc()
        finally:  # not further up: main goes on in the child
            sys.stderr.flush()
            os._exit(status)
    here.close()
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGUSR1, signal.default_int_handler)
    for number in heard - {signal.SIGINT}:  # at once, also in TensorFlow; the parent removes what is left
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "3") == "3":  # else the user wants to see the log as it comes
        _hold_stderr(said)
    # What is published stays, so an interrupt comes too late: the rest is to say what was written.
    have_parent_publish(there, partial(signal.signal, signal.SIGUSR1, signal.SIG_IGN))
    if readable is not None and temporary is not None:
        confine(readable, [temporary, *list_staging_folders()])


def _hold_stderr(said: int) -> None:
    """Have libraries write to `said`, and Python to stderr: TensorFlow says there why it aborts."""
    stderr = os.dup(2)
    os.dup2(said, 2)
    sys.stderr = os.fdopen(stderr, "w", 1, sys.stderr.encoding, "backslashreplace")


def _watch(child: int, channel: socket, said: int, heard: set[int], mask: set[int], temporary: Path | None) -> int:
    """In the parent: serve the child until it ends; its exit status."""
    passed: set[int] = set()

    def pass_on(number: int, _: FrameType | None) -> None:
        passed.add(number)
        with suppress(ProcessLookupError):
            os.kill(child, _PASSED_ON[signal.Signals(number)])

    for number in heard:
        signal.signal(number, pass_on)
    signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    publish_for_child(channel, may_stage=temporary is None)
    remove_unpacked()
    if temporary is not None:
        shutil.rmtree(temporary, ignore_errors=True)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    text = os.pread(said, 1 << 20, 0)
    if status >= 0:
        os.write(2, text)
        return status
    if -status in passed:
        _die_of(-status)
    line = explain_death(-status, text.decode(errors="replace"))
    print(f"error: {make_printable(line, len(line))}", file=sys.stderr)
    return 1


def _die_of(number: int) -> NoReturn:
    """End this process by a signal, as if nothing had handled it."""
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    raise AssertionError("a signal with its default action did not end the process")
