"""Lists the files of the model that a flag names: a confined process may read these of the user's files."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from serialization.files.locate_keras import list_keras_files
from serialization.files.model_names import find_saved_model_file, is_saved_model, list_versions, strip_to_prefix
from serialization.files.model_search import list_models_inside
from serialization.files.publish import list_checkpoint_files
from serialization.files.unpacking import list_unpacked
from serialization.formats.checkpoint_index import list_v1_files
from serialization.formats.file_kind import reopen_file
from serialization.formats.foreign_files import Foreign
from serialization.formats.onnx_file import read_onnx_file
from serialization.formats.wire import DamagedError
from serialization.graph.op_sets import TEXT_FILE_INITIALIZERS
from serialization.project import real_path

_MOST = 10_000  # files beside a model that are looked at for its vocabularies


def list_readable_files(paths: Iterable[Path]) -> list[Path]:
    """The files of the models at these paths, and the folders of which every file belongs to a model.

    Opening one of them follows its links.
    """
    return [*list_unpacked().values(), *(file for path in paths for file in _list_files_at(path))]


def _list_files_at(path: Path) -> Iterator[Path]:
    yield from _list_files_of(path)
    inside = [found for _, found in list_models_inside(path)] if path.is_dir() and not is_saved_model(path) else []
    if path not in inside:  # else it is the model, and the others lie below it by chance
        yield from (file for found in inside for file in _list_files_of(found))


def _list_files_of(path: Path) -> Iterator[Path]:
    folder = path.parent if path.name == "variables" or path.name.startswith("saved_model.pb") else path
    exports = [folder] if find_saved_model_file(folder) else list_versions(folder)
    for export in exports:
        yield export
        yield from _list_linked_files(export)
    if exports:
        return
    yield from list_keras_files(path)
    if path.suffix == ".so":  # a library finds those it needs beside itself
        yield from path.parent.glob("*.so*")
    elif path.suffix == ".py":  # of the user's own, as are the modules beside it
        yield from path.parent.glob("*.py")
    elif path.is_dir():
        beside = list(path.iterdir())
        prefixes = {strip_to_prefix(file) for file in beside if file.name.endswith((".index", ".meta"))}
        yield path / "checkpoint"
        for prefix in prefixes:
            yield from _list_files_of_prefix(prefix)
    else:
        yield path
        yield from _list_files_of_prefix(strip_to_prefix(path))
        if path.is_file() and reopen_file(path).kind is Foreign.ONNX:
            yield from _list_constants_of_onnx(path)


def _list_files_of_prefix(prefix: Path) -> Iterator[Path]:
    graph = prefix.with_name(f"{prefix.name}.meta")
    yield prefix.parent / "checkpoint"
    yield from (*list_checkpoint_files(prefix), *list_v1_files(prefix))
    for file in (prefix, graph):
        if file.is_file():
            yield from _list_vocabularies(file)


def _list_constants_of_onnx(path: Path) -> Iterator[Path]:
    """The files below the folder of an ONNX model that hold its constants."""
    with suppress(DamagedError):  # the error comes where it is loaded
        for name in read_onnx_file(reopen_file(path).data).beside:
            if not Path(name).is_absolute() and ".." not in Path(name).parts:
                yield path.parent / name


def _list_linked_files(export: Path) -> Iterator[Path]:
    """The files elsewhere that links in a SavedModel lead to, as in the caches of models; of linked folders none."""
    for folder, folders, names in os.walk(export):
        yield from (real_path(Path(folder) / name) for name in names if (Path(folder) / name).is_symlink())
        for name in folders:
            linked = Path(folder) / name
            if linked.is_symlink() and name == "variables":
                yield from map(real_path, list_checkpoint_files(linked / "variables"))


def _list_vocabularies(graph: Path) -> Iterator[Path]:
    """The files below the folder of a graph that it names, if it has an op that fills a table from a file."""
    data = reopen_file(graph).data
    if any(data.find(op.encode()) >= 0 for op in TEXT_FILE_INITIALIZERS):
        beside = (Path(folder) / name for folder, _, names in os.walk(graph.parent) for name in names)
        yield from (file for file in islice(beside, _MOST) if data.find(os.fsencode(file.name)) >= 0)
    if isinstance(data, mmap.mmap):
        data.madvise(mmap.MADV_DONTNEED)  # all of it was read, and would count as memory of this process
