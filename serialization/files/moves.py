"""Moves a file or a folder to its place in one step, on the disk before it is seen, under a lock where it takes two."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serialization.console import show_path
from serialization.errors import UserError

_NOREPLACE, _EXCHANGE = 1, 2  # flags of renameat2(2)
_UNSUPPORTED = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)  # the answers of a kernel or file system without it
_REPLACED = "replaced"


def refuse_existing(target: Path, files: list[Path], overwrite: bool) -> None:
    """Raise UserError if one of the files of a target is there, unless it may be overwritten."""
    if not overwrite and any(os.path.lexists(file) for file in files):
        raise UserError(f"{show_path(target)} exists already; --overwrite replaces it")


@contextmanager
def hold_folder(folder: Path) -> Iterator[None]:
    """Have no other run of this project that asks for it move things in a folder meanwhile."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def sync_to_disk(path: Path) -> None:
    """Write everything to the disk before the rename makes it visible."""
    for file in [path, *path.rglob("*")]:
        _sync_one(file)


def move_into_place(new: Path, target: Path, overwrite: bool) -> None:
    """Rename what is complete to its target, which is never missing and never half. Raises UserError if it may not."""
    try:
        try:
            _rename(new, target, _NOREPLACE)
        except FileExistsError:
            _refuse_replacing(new, target, overwrite)  # it has appeared since the run began
            # One step, so the target is never missing. The old result is removed with the staging folder.
            _rename(new, target, _EXCHANGE)
    except OSError as error:  # some file systems have neither flag, exFAT and NTFS only the first
        if error.errno not in _UNSUPPORTED:
            raise
        with hold_folder(target.parent):
            _move_without_renameat2(new, target, overwrite)
    _sync_one(target.parent)


def _move_without_renameat2(new: Path, target: Path, overwrite: bool) -> None:
    """Move on file systems without renameat2's flags, under a lock that other runs of this project respect.

    A file is replaced in one step. A folder takes two, and between them the old one is in the staging folder. If this
    run is killed between them, the next run puts it back.
    """
    _refuse_replacing(new, target, overwrite)
    if target.is_dir() and not target.is_symlink():
        (new.parent / _REPLACED).mkdir()
        target.rename(new.parent / _REPLACED / target.name)
    new.replace(target)


def _refuse_replacing(new: Path, target: Path, overwrite: bool) -> None:
    """Raise UserError if the target is there and may not be overwritten, or is a file for a folder or the reverse."""
    refuse_existing(target, [target], overwrite)
    if os.path.lexists(target) and new.is_dir() != target.is_dir():
        kind = "folder" if target.is_dir() else "file"
        raise UserError(f"{show_path(target)} is a {kind}, which is not replaced; name another place")


def put_back_replaced(leftover: Path, target: Path) -> None:
    """Undo the first step of `_move_without_renameat2` if the run was killed before the second."""
    replaced = leftover / _REPLACED / target.name
    if replaced.exists() and not os.path.lexists(target):
        replaced.rename(target)


def _rename(source: Path, target: Path, flags: int) -> None:
    """Call renameat2(2), which Python does not have: refuse an existing target, or exchange the two."""
    libc = ctypes.CDLL(None, use_errno=True)
    at_fdcwd = -100
    if not hasattr(libc, "renameat2"):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), str(target))
    if libc.renameat2(at_fdcwd, os.fsencode(source), at_fdcwd, os.fsencode(target), flags) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(target))


def _sync_one(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:  # some file systems cannot sync a folder
            raise
    finally:
        os.close(handle)
