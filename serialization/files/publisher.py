"""Publishes for a child process, which may write its staging folders and nothing else.

The child asks its parent to make a staging folder, and to publish it when it is complete. Both are a line of JSON on a
pair of sockets, and the answer is a line too: the parent runs no code that the child sends.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import wraps
from pathlib import Path
from socket import socket
from typing import IO, Any

from serialization.console import format_error
from serialization.errors import UserError

Stage = Callable[..., AbstractContextManager[Path]]

_stages: dict[str, Stage] = {}
_parent: Publisher | None = None  # set in a child


class _AbandonedError(Exception):
    """The child ended before it asked for publishing."""


class Publisher:
    """The child's end: the lines to its parent, and the staging folders that it was given."""

    def __init__(self, channel: socket) -> None:
        self._lines: IO[str] = channel.makefile("rw", encoding="ascii")
        self.folders: list[Path] = []

    @contextmanager
    def stage(self, how: str, target: Path, *, overwrite: bool) -> Iterator[Path]:
        """Have the parent stage the target; on leaving without an exception, have it published."""
        new = self._ask(stage=how, target=str(target), overwrite=overwrite)
        self.folders.append(Path(new).parent)
        yield Path(new)
        self._ask(publish=new)

    def begin_loading(self, temporary: Path) -> None:
        """Have the parent give no more folders to a process that runs a model, and remove this one at the end."""
        self._ask(loads=str(temporary))

    def _ask(self, **request: Any) -> str:
        print(json.dumps(request), file=self._lines, flush=True)
        answer = json.loads(self._lines.readline())
        if "error" in answer:
            raise UserError(answer["error"])
        return str(answer["path"])


def staged_by_parent(stage: Stage) -> Stage:
    """The same, but done by the parent in a process that has one for it."""
    _stages[stage.__name__] = stage

    @wraps(stage)
    def choose(target: Path, *, overwrite: bool) -> AbstractContextManager[Path]:
        if _parent is None:
            return stage(target, overwrite=overwrite)
        return _parent.stage(stage.__name__, target, overwrite=overwrite)

    return choose


def have_parent_publish(channel: socket) -> Publisher:
    """In a child: from now on its parent, at the other end of the channel, stages and publishes."""
    global _parent
    _parent = Publisher(channel)
    return _parent


def publish_for_child(channel: socket) -> None:
    """In the parent: do as the child asks until it ends, then remove the rest of what was staged."""
    staged: dict[str, ExitStack] = {}
    temporary: Path | None = None
    with channel.makefile("rw", encoding="ascii") as lines:
        for line in lines:
            request, answer = json.loads(line), {"path": ""}
            try:
                if request.get("publish") in staged:
                    staged.pop(request["publish"]).close()
                elif temporary is not None:  # a model may have made the child ask
                    raise UserError("what is written has to be staged before the model is loaded; nothing was written")
                elif "loads" in request:
                    temporary = Path(request["loads"])
                else:
                    stack = ExitStack()
                    staging = _stages[request["stage"]](Path(request["target"]), overwrite=request["overwrite"])
                    answer["path"] = str(stack.enter_context(staging))
                    staged[answer["path"]] = stack
            except (UserError, OSError) as error:
                answer = {"error": format_error(error)}
            print(json.dumps(answer), file=lines, flush=True)
    for stack in staged.values():
        with suppress(_AbandonedError), stack:
            raise _AbandonedError
    if temporary:
        shutil.rmtree(temporary, ignore_errors=True)
