"""The names of a model's files: the prefix that a checkpoint's file belongs to, the file of a SavedModel."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PosixPath

from serialization.formats.checkpoint_index import list_v1_files

SAVED_MODEL_FILES = ("saved_model.pb", "saved_model.pbtxt")
_CHECKPOINT_FILE = re.compile(r"(?P<prefix>.*?)\.(index|meta|meta\.json|data-\d{5}-of-\d{5})", re.DOTALL)
_V1_FILE = re.compile(r"(?P<prefix>.+)-\d{5}-of-\d{5}", re.DOTALL)


class FolderPrefix(PosixPath):
    """The checkpoint prefix `folder/`: its files are folder/.index, folder/.meta and so on. A Path drops the slash."""

    @property
    def name(self) -> str:
        return ""

    @property
    def parent(self) -> Path:  # type: ignore[override]
        return Path(super().__str__())

    def with_name(self, name: str) -> Path:  # type: ignore[override]
        return self.parent / name

    def is_file(self) -> bool:
        return False

    def is_dir(self) -> bool:
        return False

    def __str__(self) -> str:
        return f"{super().__str__()}/"


def strip_to_prefix(path: Path) -> Path:
    """The prefix of the checkpoint that a file belongs to; `path` itself if it belongs to none."""
    match = _CHECKPOINT_FILE.fullmatch(path.name)
    if match is None and not path.with_name(f"{path.name}.index").is_file() and path.is_file():
        match = _V1_FILE.fullmatch(path.name)
    if match is None:
        return path
    return path.with_name(match["prefix"]) if match["prefix"] else FolderPrefix(path.parent)


def is_prefix(path: Path) -> bool:
    """Whether a checkpoint has this prefix. The folder is not listed, which a confined process may not do."""
    return path.with_name(f"{path.name}.index").is_file()


def list_prefixes(folder: Path) -> Iterator[Path]:
    """The prefixes of a folder's checkpoints: each has an index, or in the first format a .meta beside its tables."""
    for file in folder.iterdir():
        if file.name.endswith(".index") and file.is_file():
            yield strip_to_prefix(file)
        elif file.suffix == ".meta" and list_v1_files(file.with_suffix("")):
            yield file.with_suffix("")


def find_saved_model_file(folder: Path) -> Path | None:
    """The file of a folder's SavedModel, which TensorFlow would read; None if there is none."""
    return next((folder / name for name in SAVED_MODEL_FILES if (folder / name).exists()), None)


def read_version(folder: Path) -> int | None:
    """The number of the version that a folder is by its name, as TensorFlow Serving reads it: an int64 from 0 on."""
    name = folder.name
    return int(name) if name.isascii() and name.isdecimal() and int(name) < 1 << 63 else None


def list_versions(folder: Path) -> list[Path]:
    """The numbered SavedModels in a folder, the newest last; of `7` and `007`, which are one number, the first."""
    found = sorted(folder.iterdir(), key=lambda f: -len(f.name)) if folder.is_dir() else ()
    numbered = {number: f for f in found if (number := read_version(f)) is not None and find_saved_model_file(f)}
    return [numbered[number] for number in sorted(numbered)]


def is_saved_model(folder: Path) -> bool:
    """Whether a folder is that of a SavedModel, or of numbered versions of one."""
    return find_saved_model_file(folder) is not None or bool(list_versions(folder))
