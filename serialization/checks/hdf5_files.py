"""Refuses HDF5 files of weights that read other files, or that become far more in memory than they are.

A link or a dataset of HDF5 may lie in another file, which the library opens by itself. This reads the file with h5py,
in a process that is confined like one that loads a model.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from serialization.console import make_printable, show_path
from serialization.errors import UserError
from serialization.formats import hdf5
from serialization.formats.archives import require_modest_size
from serialization.formats.file_kind import ModelFile
from serialization.formats.keras_files import open_archive
from serialization.formats.wire import DamagedError
from serialization.tensorflow import import_quietly

_MOST = 1_000_000  # objects in a file


def list_datasets(path: Path) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of each dataset, by its path in an HDF5 file, or in the archives entries that are such files.

    Raises UserError for a file that is damaged, that reads others, or that would need far more memory than its size.
    """
    found: dict[str, tuple[tuple[int, ...], str]] = {}
    unpacked = 0
    try:
        with open_hdf5(path) as root:
            for name, dataset in _walk(root, show_path(path)):
                found[name] = (tuple(dataset.shape or ()), str(dataset.dtype))
                unpacked += int(dataset.nbytes)
        require_modest_size(unpacked, path.stat().st_size)
    except (OSError, RuntimeError, KeyError, ValueError) as error:  # as h5py reports what HDF5 finds
        raise UserError(f"{show_path(path)} is damaged; its weights cannot be read: {error}") from None
    return found


@contextmanager
def open_hdf5(path: Path) -> Iterator[Any]:
    """The root of an HDF5 file, or of the weights in a .keras archive."""
    h5py = import_quietly("h5py")
    file = ModelFile(path)
    if file.data[:8] == hdf5.MAGIC:
        with h5py.File(path, "r") as root:
            yield root
        return
    archive = open_archive(file.data)
    names = [name for name in archive.namelist() if name.endswith(".h5")]
    if names != ["model.weights.h5"]:
        raise DamagedError(f"the archive holds {len(names)} files of weights, not one model.weights.h5")
    try:
        with archive.open(names[0]) as member, h5py.File(member, "r") as root:
            yield root
    except zipfile.BadZipFile as error:
        raise DamagedError(str(error)) from None


def _walk(root: Any, where: str) -> Iterator[tuple[str, Any]]:
    """Each dataset below a group, by its path. Raises UserError at one that lies in another file."""
    h5py = import_quietly("h5py")
    groups, seen = [("", root)], set()
    while groups:
        path, group = groups.pop()
        for name in group:
            place = f"{path}/{name}"
            link = group.get(name, getlink=True)
            if isinstance(link, h5py.ExternalLink):
                into = f"is a link into the file {make_printable(link.filename)}"
                raise UserError(f"{where} is refused; {make_printable(place)} {into}; save the model in one file")
            if isinstance(link, h5py.SoftLink):
                continue  # it leads to an object that has a link of its own, if to any
            one = group[name]
            address = h5py.h5o.get_info(one.id).addr
            if address in seen:
                continue
            seen.add(address)
            if len(seen) > _MOST:
                raise ValueError(f"it holds over {_MOST:,} objects")
            if isinstance(one, h5py.Group):
                groups.append((place, one))
            elif isinstance(one, h5py.Dataset):
                if one.external or one.is_virtual:
                    raise UserError(
                        f"{where} is refused; {make_printable(place)} lies in another file; save the model in one file"
                    )
                yield place, one
