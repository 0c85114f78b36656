"""Reads archives from their bytes: zip, and tar as it is or packed with gzip, bzip2 or xz. Nothing is unpacked here.

All entries are checked before the content of one is read: names that lead elsewhere, links, devices, doubles, sizes.
tarfile's own filter would do a part of this, in some patch levels of Python.
"""

from __future__ import annotations

import gzip
import io
import mmap
import stat
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import PurePosixPath
from typing import IO, Any

from serialization.formats.wire import DamagedError

# By zipfile, tarfile and zlib, of a damaged archive; and by Python, if it was built without a way of packing.
UNREADABLE = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, ImportError),
    *(EOFError, OSError, ValueError, NotImplementedError, OverflowError, RuntimeError),
)
_BLOCK = 512  # bytes of a tar
_MOST_ENTRIES = 100_000
_LONGEST_NAME, _LONGEST_PATH = 256, 3000  # bytes: Linux takes 255, and 4,095 with the folder for temporary files
_LONGEST_READ = 1 << 20  # bytes: a header of a tar may ask for any number, at once
# The bytes that a file may unpack to: weights hardly get smaller when they are packed.
_MOST, _MOST_TIMES = 64 << 20, 20
_OPENERS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": lambda file: import_module("bz2").BZ2File(file),
    b"\xfd7zXZ": lambda file: import_module("lzma").LZMAFile(file),
}


@dataclass(frozen=True)
class Entry:
    """A file or a folder in an archive: its size in bytes, the time of its last write in seconds, its content."""

    name: str
    size: int
    is_folder: bool
    modified: float
    open: Callable[[], IO[bytes]]


class MappedFile(io.RawIOBase):
    """Bytes in memory as a file that can be sought in; an mmap cannot say so before Python 3.13."""

    def __init__(self, data: bytes | mmap.mmap) -> None:
        self._data, self._position = data, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: len(self._data)}[whence]
        if start + offset < 0:
            raise OSError(f"no position {start + offset}")  # as a file does: zipfile tries such places
        self._position = start + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        part = self._data[self._position : self._position + len(buffer)]
        buffer[: len(part)] = part
        self._position += len(part)
        return len(part)


class _Bounded:
    """A file of which a header cannot have any number of bytes read into memory."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def read(self, size: int) -> bytes:
        if size > _LONGEST_READ:
            raise DamagedError(f"a header in it has {size:,} bytes")
        content: bytes = self._file.read(size)
        return content


def is_tar(head: bytes) -> bool:
    """Whether a file that begins with these bytes is a tar: the checksum of its first header tells."""
    try:
        tarfile.TarInfo.frombuf(head[:_BLOCK], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def open_zip(data: bytes | mmap.mmap) -> zipfile.ZipFile:
    """The zip archive. Raises one of UNREADABLE if it is damaged."""
    return zipfile.ZipFile(io.BufferedReader(MappedFile(data)))


def read_entries(data: bytes | mmap.mmap) -> list[Entry]:
    """The entries of an archive, checked. Raises DamagedError if one must not be unpacked, or cannot be read."""
    with explain_damage("the archive"):
        entries = list(_check(_list_zip(open_zip(data)) if data[:2] == b"PK" else _list_tar(data), len(data)))
    if all(entry.is_folder for entry in entries):
        raise DamagedError("it holds no file")
    return entries


def require_safe_zip(archive: zipfile.ZipFile, packed: int) -> None:
    """Raise DamagedError if a zip archive of `packed` bytes must not be unpacked."""
    for _ in _check(_list_zip(archive), packed):
        pass


@contextmanager
def explain_damage(what: str) -> Iterator[None]:
    """Raise what zipfile and tarfile find wrong with `what` as a DamagedError."""
    try:
        yield
    except DamagedError:
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno:  # of the system, not of the module
            raise
        if not isinstance(error, UNREADABLE) and type(error).__name__ != "LZMAError":  # of a module that may be missing
            raise
        raise DamagedError(f"{what} cannot be read: {str(error) or type(error).__name__}") from None


def require_modest_size(unpacked: int, packed: int) -> None:
    """Raise DamagedError if a file of `packed` bytes would become far more than that."""
    if unpacked > _MOST + _MOST_TIMES * packed:
        raise DamagedError(f"its {packed:,} bytes would become {unpacked:,}")


def _check(entries: Iterable[Entry], packed: int) -> Iterator[Entry]:
    """The entries, each when it was checked: to reach the next one, a packed tar is unpacked in memory."""
    files: set[PurePosixPath] = set()
    folders: set[PurePosixPath] = set()
    total = 0
    for entry in entries:
        parts = entry.name.replace("\\", "/").split("/")
        if parts[0] == "" or ".." in parts or ":" in parts[0] or "\0" in entry.name:
            raise DamagedError(f"its entry {entry.name!r} would be unpacked elsewhere")
        sizes = [len(part.encode(errors="replace")) + 1 for part in parts]
        if max(sizes) > _LONGEST_NAME or sum(sizes) > _LONGEST_PATH:
            raise DamagedError(f"the name of its entry {entry.name[:40]!r}... is too long")
        path = PurePosixPath(entry.name)
        folders |= {path, *path.parents} if entry.is_folder else {*path.parents}
        if not files.isdisjoint((path, *path.parents)) or (path in folders and not entry.is_folder):
            raise DamagedError(f"it has several entries {entry.name!r}")
        if not entry.is_folder:
            files.add(path)
        total += entry.size
        require_modest_size(total, packed)
        if len(files) + len(folders) > _MOST_ENTRIES:
            raise DamagedError(f"it has over {_MOST_ENTRIES:,} entries")
        yield entry


def _list_zip(archive: zipfile.ZipFile) -> Iterator[Entry]:
    for member in archive.infolist():
        if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise DamagedError(f"its entry {member.filename!r} is a link or a device")
        if member.flag_bits & 1:
            raise DamagedError(f"its entry {member.filename!r} is encrypted")
        modified = time.mktime((*member.date_time, 0, 0, -1))
        yield Entry(member.filename, member.file_size, member.is_dir(), modified, partial(archive.open, member))


def _list_tar(data: bytes | mmap.mmap) -> Iterator[Entry]:
    file: Any = io.BufferedReader(MappedFile(data))
    unpack = next((unpack for magic, unpack in _OPENERS.items() if data[: len(magic)] == magic), None)
    file = unpack(file) if unpack else file
    if unpack and not is_tar(file.read(_BLOCK)):
        raise DamagedError("it is one packed file, not a folder of files")
    file.seek(0)
    archive = tarfile.open(fileobj=_Bounded(file), mode="r:", encoding="utf-8")  # type: ignore[call-overload]  # noqa: SIM115
    for member in archive:
        if not (member.isreg() or member.isdir()):
            raise DamagedError(f"its entry {member.name!r} is a link or a device")
        yield Entry(member.name, member.size, member.isdir(), member.mtime, partial(archive.extractfile, member))
    file.seek(archive.offset)
    if file.read(_BLOCK) != bytes(_BLOCK):  # tarfile takes a header that is damaged, and a missing end, for the end
        raise DamagedError("it is cut off, or damaged behind its first entries")
