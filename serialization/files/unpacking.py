"""Unpacks an archive of a model, whole, into a private folder, which stands for the archive until the run ends.

The folder lies where temporary files do. Messages show its files below the archive's name, as model.zip/1; a user may
name a place in an archive so too.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from functools import wraps
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from serialization.console import format_size, make_printable, show_as, show_path
from serialization.errors import UserError
from serialization.files.locked_folders import hold_new_folder
from serialization.formats.archives import Entry, explain_damage, read_entries
from serialization.formats.file_kind import ModelFile, reopen_file
from serialization.formats.foreign_files import Foreign
from serialization.formats.wire import DamagedError
from serialization.project import real_path

_PREFIX = "unpacked-model-"
_CHUNK = 1 << 20  # bytes
_folders = ExitStack()  # closing it removes them
_unpacked: dict[Path, Path] = {}  # the folder of each archive

Rest = ParamSpec("Rest")
Result = TypeVar("Result")


def open_in_place(find: Callable[Concatenate[Path, Rest], Result]) -> Callable[Concatenate[Path, Rest], Result]:
    """The same function of a path, which gets the place in the unpacked folder where the path leads into an archive."""

    @wraps(find)
    def find_unpacked(path: Path, /, *rest: Rest.args, **named: Rest.kwargs) -> Result:
        opened = reopen_file(path) if path.is_file() else None
        result = find(_unpack_if_archive(path), *rest, **named)
        del opened  # here, and not before: `find` reopens it, so that it is opened once
        return result

    return find_unpacked


def list_unpacked() -> dict[Path, Path]:
    """The private folder of each archive that this process has unpacked, by the archive's path."""
    return dict(_unpacked)


def show_unpacked(unpacked: Mapping[Path, Path]) -> None:
    """Show people the archives in place of these folders, in a process started by the one that has unpacked them."""
    for archive, folder in unpacked.items():
        show_as(folder, archive)


@atexit.register
def remove_unpacked() -> None:
    """Remove the private folders; in a process that was forked since, those of its own alone."""
    for folder in _unpacked.values():
        show_as(folder, None)
    _unpacked.clear()
    _folders.close()


def _unpack_if_archive(path: Path) -> Path:
    place = next((part for part in (path, *path.parents) if os.path.lexists(part)), path)
    if not place.is_file():
        return path
    file = reopen_file(place)
    if file.kind is not Foreign.ARCHIVE:
        return path
    return _unpack(file) / path.relative_to(place)


def _unpack(file: ModelFile) -> Path:
    """The private folder of an archive. Raises UserError if it must not be unpacked, or cannot be."""
    archive = real_path(file.path)
    if archive in _unpacked:
        return _unpacked[archive]
    parent = Path(tempfile.gettempdir())
    with ExitStack() as stack:
        try:
            with explain_damage("the archive"):
                entries = read_entries(file.data)
                _require_room(file.path, sum(entry.size for entry in entries), parent)
                folder = stack.enter_context(hold_new_folder(parent, _PREFIX))
                for entry in entries:
                    _write(entry, folder)
        except DamagedError as damage:
            why = make_printable(str(damage), 300)
            raise UserError(
                f"{show_path(file.path)} cannot be opened; {why}; copy it here again, or unpack it and name the model"
            ) from None
        except OSError as error:
            raise UserError(
                f"{show_path(file.path)} cannot be unpacked; {show_path(parent)}: {error.strerror}; "
                "set TMPDIR to a folder with room for it"
            ) from None
        _folders.push(stack.pop_all())
    _unpacked[archive] = folder
    show_as(folder, file.path)
    return folder


def _require_room(archive: Path, size: int, parent: Path) -> None:
    free = shutil.disk_usage(parent).free
    if size > free:
        raise UserError(
            f"{show_path(archive)} becomes {format_size(size)} when it is unpacked, and {show_path(parent)} has "
            f"{format_size(free)} free; set TMPDIR to a folder with more room"
        )


def _write(entry: Entry, folder: Path) -> None:
    """Write an entry, whose name was checked; nothing but this writes to the folder, so there are no links in it."""
    place = folder / entry.name
    if entry.is_folder:
        place.mkdir(parents=True, exist_ok=True)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    left = entry.size
    with entry.open() as source, place.open("xb") as target:
        while left >= 0 and (chunk := source.read(_CHUNK)):
            left -= len(chunk)
            target.write(chunk)
    if left:
        raise DamagedError(f"its entry {entry.name!r} has another size than its header says")
    with suppress(OSError, ValueError, OverflowError):  # a time that the file system does not take
        os.utime(place, (entry.modified, entry.modified))  # of several checkpoints the newest is taken
