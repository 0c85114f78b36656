"""Loads and runs a new version of a model in a process of its own first, since TensorFlow may abort in it.

A worker asks the supervisor, which starts that process, confined as a worker is, and remembers what became of it: one
process for all workers. A worker that is replaced knows from its start which versions ended theirs.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path

from serialization.checks.confinement import explain_error
from serialization.checks.system_calls import die_with_parent
from serialization.console import explain_death
from serialization.errors import UserError
from serialization.files.stamps import Stamp, take_stamp

LONGEST = 600  # seconds that a rehearsal may take
_LONGEST_QUESTION = 1 << 14  # bytes

Load = Callable[[int, Path], object]
"""Loads the version at a path, of the model of this number, and runs it."""


class Asker:
    """In a worker: asks the supervisor. `known` is what it has found, as far as it had when the worker started."""

    def __init__(self, questions: socket.socket) -> None:
        self._questions = questions
        self.known: Mapping[str, str | None] = {}

    def ask(self, model: int, kind: str, path: Path, stamp: Stamp, rehearse: bool) -> str | None:
        """Why the version at a path, of this kind and in this state, cannot be served; None if nothing was found.

        Without `rehearse`, None too if there was no rehearsal before this worker started.
        """
        state = _name_state(model, stamp)
        if not rehearse:
            return self.known.get(state)
        reading, writing = multiprocessing.Pipe(duplex=False)
        with reading:
            with writing:
                question = json.dumps([model, kind, str(path), state]).encode()
                socket.send_fds(self._questions, [question], [writing.fileno()])
            fault: str | None = reading.recv()  # EOFError: the supervisor has ended
        return fault


class Rehearsals:
    """In the supervisor: answers the workers' questions, one after the other. `asker` is for them."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._received, questions = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.asker = Asker(questions)

    def start(self, restrict: Callable[[], None] | None) -> None:
        """Answer from now on; a process confines itself by `restrict` before it loads."""
        threading.Thread(target=self._answer_all, args=[restrict], name="rehearsals", daemon=True).start()

    def _answer_all(self, restrict: Callable[[], None] | None) -> None:
        while True:
            question, descriptors, _, _ = socket.recv_fds(self._received, _LONGEST_QUESTION, 1)
            model, kind, path, state = json.loads(question)
            if state in self.asker.known:
                fault = self.asker.known[state]
            else:
                fault = _rehearse(self._load, model, Path(path), restrict)
                if _name_state(model, take_stamp(kind, Path(path))) == state:  # else it says nothing about this state
                    self.asker.known = {**self.asker.known, state: fault}  # another thread may start a worker with it
            # A worker that has ended takes no answer.
            with Connection(descriptors[0], readable=False) as answer, suppress(BrokenPipeError):
                answer.send(fault)


def _name_state(model: int, stamp: Stamp) -> str:
    return f"{model}:{hashlib.sha256(repr(stamp).encode()).hexdigest()}"


def _rehearse(load: Load, model: int, path: Path, restrict: Callable[[], None] | None) -> str | None:
    """Start the process, and wait for it; what went wrong, or None."""
    reading, writing = multiprocessing.Pipe(duplex=False)
    with reading, Connection(os.memfd_create("stderr")) as said:
        with writing:
            arguments = (load, model, path, restrict, os.getpid(), writing, said)
            process = multiprocessing.get_context("spawn").Process(target=_try, args=arguments, daemon=True)
            process.start()
        process.join(LONGEST)
        if process.exitcode is None:
            process.kill()
            process.join()
            return f"it was not loaded and run within {LONGEST} seconds"
        if process.exitcode < 0:
            return explain_death(-process.exitcode, os.pread(said.fileno(), 1 << 20, 0).decode(errors="replace"))
        try:
            fault: str | None = reading.recv()
        except EOFError:
            fault = f"the process that loaded it ended with status {process.exitcode}"
        return fault


def _try(
    load: Load,
    model: int,
    path: Path,
    restrict: Callable[[], None] | None,
    supervisor: int,
    result: Connection,
    said: Connection,
) -> None:
    """In the process: load the version, and send what is wrong with it.

    What is not an error of a user's is not sent: it comes again in the worker, which shows its traceback.
    """
    fault = None
    die_with_parent(supervisor)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.setpgid(0, 0)  # Ctrl-C goes to the supervisor alone
    os.dup2(said.fileno(), 2)
    if restrict is not None:
        restrict()
    try:
        load(model, path)
    except (UserError, OSError) as error:
        fault = explain_error(error)
    finally:
        result.send(fault)
        os._exit(0)  # at once: a thread of the model may never end
