"""Folders that a run holds under a lock (flock), which the kernel releases however the run ends.

So a later run recognises a folder that was left behind by one that was killed.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path


@contextmanager
def hold_new_folder(
    parent: Path, prefix: str, before_removal: Callable[[Path], object] = lambda _: None
) -> Iterator[Path]:
    """Yield a new folder, locked, which is removed on leaving. Those that killed runs have left are removed first.

    `before_removal` is called with each of these.
    """
    for leftover in parent.glob(f"{prefix}*"):
        with _try_lock(leftover) as abandoned:
            if abandoned:
                before_removal(leftover)
                shutil.rmtree(leftover, ignore_errors=True)
    with ExitStack() as stack:
        ours = False
        while not ours:  # else another run took it for a left-over before it was locked
            folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
            ours = stack.enter_context(_try_lock(folder))
        owner = os.getpid()
        try:
            yield folder
        finally:
            if os.getpid() == owner:  # not in a process that was forked meanwhile
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _try_lock(folder: Path) -> Iterator[bool]:
    """Whether this process got the folder's lock; False if another has it, or the folder is gone or another user's."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            locked = folder.exists()  # else the lock is on a folder that another run removed in between
        except BlockingIOError:
            locked = False
        yield locked
    finally:
        os.close(handle)
