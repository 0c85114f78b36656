"""Run scripts in processes of their own, forked from one that has TensorFlow imported: that takes most of the time.

A script of the project is confined as it is when a user runs it, but may write anywhere below the folder for temporary
files.
"""

from __future__ import annotations

import gc
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from serialization.checks.confinement import confine
from serialization.checks.readable_files import list_readable_files
from serialization.cli import call_main

LIMIT = 180  # seconds for one step
VERIFIED, UNVERIFIED, REFUSED, FAILED = "verified", "not verified", "refused", "FAILED"

Main = Callable[[Sequence[str] | None], int]


@dataclass(frozen=True)
class Step:
    """How one script ended on one artefact."""

    what: str
    outcome: str
    why: str
    seconds: float


def run(what: str, main: Main, *words: object, quiet: bool = True) -> Step:
    """Run a script's main in a process of its own. Its last words say what became of the artefact.

    `quiet` asks for what scripts of the project promise: nothing on stderr but the line of an error.
    """
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        started = time.monotonic()
        child = os.fork()
        if child == 0:
            become(main, [str(word) for word in words], stdout.fileno(), stderr.fileno(), confined=quiet)
        status = wait(child, started + LIMIT)
        seconds = time.monotonic() - started
        stdout.seek(0)
        stderr.seek(0)
        out, lines = stdout.read().decode(errors="replace"), stderr.read().decode(errors="replace").splitlines()
    if status is None:
        return Step(what, FAILED, f"no answer after {LIMIT} s", seconds)
    if status == 1 and len(lines) == 1 and lines[0].startswith("error: "):
        return Step(what, REFUSED, lines[0].removeprefix("error: "), seconds)
    if status == 0 and not (lines and quiet):
        proofs = re.findall(
            r"^(proved|not verified|not trained): ?(.*(?:\nTensorFlow's default.*)*)", out, re.MULTILINE
        )
        outcome = UNVERIFIED if proofs and proofs[0][0] == "not verified" else VERIFIED
        lines = [text if word in ("proved", "not verified") else f"{word}: {text}" for word, text in proofs]
        return Step(what, outcome, "; ".join(lines).replace("\n", "; "), seconds)
    ended = signal.Signals(-status).name if status < 0 else f"status {status}"
    return Step(what, FAILED, f"{ended}: {lines[-1] if lines else 'no message'}", seconds)


def become(main: Main, words: list[str], stdout: int, stderr: int, *, confined: bool) -> NoReturn:
    """Go on as the script with these words."""
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    status = 70
    try:
        given = [Path(word.partition("=@")[2] or word) for word in words]
        if confined:
            there = list_readable_files(path for path in given if os.path.lexists(path))
            confine(there, [Path(tempfile.gettempdir())])
        status = call_main(main, words)
        gc.collect()  # the private copy of a SavedModel goes with its session, which may be in a cycle
        sys.stdout.flush()
    finally:
        sys.stderr.flush()
        os._exit(status)


def wait(child: int, until: float) -> int | None:
    """The exit status of a process, minus the signal that ended it; None if it had to be killed for its time."""
    while time.monotonic() < until:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.02)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None
