"""Publishes for a child process, which may write its staging folders and nothing else.

A process stages its outputs, forks before it loads a model, and leaves publishing to its parent. The child asks for it
by the staged path; one that is not confined may ask for more staging folders. Each is a line of JSON on a pair of
sockets, and the answer is a line too: the parent runs no code that the child sends.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import reduce, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serialization.console import format_error, show_path
from serialization.errors import UserError

if TYPE_CHECKING:
    from socket import socket

Stage = Callable[..., AbstractContextManager[Path]]

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_stages: dict[str, Stage] = {}
_staged: dict[str, ExitStack] = {}  # by staged path; closing it publishes
_parent: Publisher | None = None  # set in a child


class _LeftError(Exception):
    """Ends staging without publishing, because another process has done it, or nobody asked for it."""


class Publisher:
    """The child's end of the lines to its parent."""

    def __init__(self, channel: socket, before_publishing: Callable[[], object]) -> None:
        self._channel = channel
        self._before_publishing = before_publishing

    @contextmanager
    def stage(self, how: str, target: Path, *, overwrite: bool) -> Iterator[Path]:
        """Have the parent stage the target; on leaving without an exception, have it published."""
        new = Path(self._ask(stage=how, target=str(target), overwrite=overwrite))
        try:
            yield new
        except (OSError, UserError) as error:
            raise name_target(error, new.parent, (new,), target) from None
        self.publish(new)

    def publish(self, new: Path) -> None:
        """Have the parent publish what is complete at this staged path."""
        self._before_publishing()
        self._ask(publish=str(new))

    def _ask(self, **request: Any) -> str:
        # Not by a file: Python 3.13.0 says at its end that the module is gone which would close one.
        self._channel.sendall(f"{json.dumps(request)}\n".encode("ascii"))
        said = b""
        while not said.endswith(b"\n") and (part := self._channel.recv(4096)):
            said += part
        answer = json.loads(said)
        if "error" in answer:
            raise UserError(answer["error"])
        return str(answer["path"])


def name_target(error: OSError | UserError, folder: Path, staged: Iterable[Path], target: Path) -> Exception:
    """The error with the target in the place of the staged files, which are gone when the user reads it.

    `folder` is the staging folder, `staged` the paths in it that stand for the target.
    """
    if isinstance(error, UserError):
        text = reduce(lambda text, path: text.replace(str(path), str(target)), staged, str(error))
        return error if text == str(error) else UserError(text)  # a kind of UserError stays one: its advice differs
    full = error.filename is None and error.errno in _FULL  # write(2) fails without the file's name
    if not full and not str(error.filename).startswith(f"{folder}{os.sep}"):
        return error
    return UserError(f"cannot write {show_path(target)}; {error.strerror}; name another place")


def staged_by_parent(stage: Stage) -> Stage:
    """The same; but if the process has forked since, or before, the parent publishes."""
    _stages[stage.__name__] = stage

    @wraps(stage)
    @contextmanager
    def choose(target: Path, *, overwrite: bool) -> Iterator[Path]:
        if _parent is not None:
            with _parent.stage(stage.__name__, target, overwrite=overwrite) as new:
                yield new
            return
        with suppress(_LeftError), ExitStack() as stack:
            new = _stage(stack, stage, target, overwrite=overwrite)
            yield new
            if _parent is not None:
                _parent.publish(new)
                raise _LeftError

    return choose


def _stage(stack: ExitStack, stage: Stage, target: Path, *, overwrite: bool) -> Path:
    """Stage the target until the stack is closed."""
    new = stack.enter_context(stage(target, overwrite=overwrite))
    _staged[str(new)] = stack
    stack.callback(_staged.pop, str(new), None)
    return new


def list_staging_folders() -> list[Path]:
    """The folders in which this process has staged outputs."""
    return [Path(new).parent for new in _staged]


def have_parent_publish(channel: socket, before_publishing: Callable[[], object] = lambda: None) -> Publisher:
    """In a child: from now on its parent, at the other end of the channel, stages and publishes."""
    global _parent
    _parent = Publisher(channel, before_publishing)
    return _parent


def publish_for_child(channel: socket, *, may_stage: bool) -> None:
    """In the parent: do as the child asks until it ends, then remove the rest of what was staged.

    A child that runs a model may not have more staged: the model could ask for it.
    """
    with channel.makefile("rw", encoding="ascii") as lines:
        for line in lines:
            request, answer = json.loads(line), {"path": ""}
            try:
                if request.get("publish") in _staged:
                    _staged[request["publish"]].close()
                elif not may_stage:
                    raise UserError("what is written has to be staged before the model is loaded; nothing was written")
                else:
                    how, target = _stages[request["stage"]], Path(request["target"])
                    answer["path"] = str(_stage(ExitStack(), how, target, overwrite=request["overwrite"]))
            except (UserError, OSError) as error:
                answer = {"error": format_error(error)}
            print(json.dumps(answer), file=lines, flush=True)
    for stack in list(_staged.values()):
        with suppress(_LeftError), stack:
            raise _LeftError
