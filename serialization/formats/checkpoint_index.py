"""Reads a checkpoint's index: its variables, and where in which data file the bytes of each are.

There are two formats. V2: PREFIX.index is a table of BundleEntryProtos, and PREFIX.data-00000-of-00001 holds the values
(tensorflow/core/util/tensor_bundle). V1, of TensorFlow before 0.12: PREFIX itself, or its shards PREFIX-00000-of-00002
and so on, are tables of SavedTensorSlices that hold the values too (tensorflow/core/util/tensor_slice_writer.h).
"""

from __future__ import annotations

import math
import re
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from serialization.console import format_error, make_printable, show_path
from serialization.errors import UserError
from serialization.formats import protos
from serialization.formats.dtypes import get_base_dtype, get_dtype_name
from serialization.formats.file_kind import ModelFile
from serialization.formats.sstable import check_sstable, read_sstable, unmask_crc32c
from serialization.formats.wire import DamagedError

Extent = tuple[int, int]  # start and length on one axis; the length -1 is all of it

OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_MOST = 2**63 - 1  # numbers in a tensor
_V1_SHARD = re.compile(r"-\d{5}-of-(\d{5})")


@dataclass(frozen=True)
class Variable:
    """A tensor in a checkpoint: `dtype` is TensorFlow's name for it, `slices` the number of parts it is stored in."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    slices: int = 1

    @property
    def count(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Place:
    """Where the bytes of a tensor or of a slice of it are, in bytes, and their CRC-32C."""

    file: Path
    offset: int
    size: int
    checksum: int


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint's index. `version` is "V1" or "V2"; `ends` is the least size of each data file in bytes.

    For V2, `places` has a key for each tensor: the variable's name, or `encode_slice_key` for each slice. `parts` lists
    the slices of each partitioned variable by its name.
    """

    prefix: Path
    version: str
    files: tuple[Path, ...]
    variables: tuple[Variable, ...]
    object_graph: bool
    ends: tuple[int, ...] = ()
    places: Mapping[bytes, Place] = field(default_factory=dict, repr=False)
    parts: Mapping[str, tuple[tuple[Extent, ...], ...]] = field(default_factory=dict)
    tables: tuple[ModelFile, ...] = field(default=(), repr=False, compare=False)

    @property
    def path(self) -> Path:
        """Its prefix, as the path of every other model."""
        return self.prefix

    @cached_property
    def links(self) -> Path:
        """A folder of links to its files, under the prefix `model`; it is removed with this object."""
        folder = Path(tempfile.mkdtemp(prefix="checkpoint-"))
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        # In the first format the tables are the files.
        for file in {*self.files, *(table.path for table in self.tables)}:
            (folder / f"model{file.name.removeprefix(self.prefix.name)}").symlink_to(file.absolute())
        return folder


def find_index_files(prefix: Path) -> list[Path]:
    """The index files of a checkpoint: PREFIX.index, else the files of a V1 checkpoint, if there are any."""
    index = prefix.with_name(f"{prefix.name}.index")
    return [index] if index.is_file() else list_v1_files(prefix)


def read_checkpoint_index(prefix: Path, files: Sequence[ModelFile]) -> Checkpoint:
    """The checkpoint with this prefix, from its opened index files. Raises UserError if one of them is damaged."""
    with _damage_as_error(files[0].path):
        if files[0].path.name == f"{prefix.name}.index":
            return _read_v2(prefix, files[0])
        return _read_v1(prefix, files)


def check_v1_blocks(checkpoint: Checkpoint) -> None:
    """Raise UserError if a block of a V1 checkpoint is damaged. The blocks hold the values.

    Each value of a V2 checkpoint has its own checksum, which the reader of the value compares.
    """
    for file in checkpoint.tables if checkpoint.version == "V1" else ():
        with _damage_as_error(file.path):
            check_sstable(file.data)


def list_v1_files(prefix: Path) -> list[Path]:
    """The files of a V1 checkpoint: the prefix itself, or its shards."""
    if prefix.is_file():
        return [prefix]
    if not prefix.name or not prefix.parent.is_dir():
        return []
    found = [file for file in prefix.parent.iterdir() if file.name.startswith(prefix.name)]
    return sorted(file for file in found if _V1_SHARD.fullmatch(file.name, len(prefix.name)))


def is_taken_for_pattern(path: Path) -> bool:
    """Whether TensorFlow takes the path of a checkpoint for a pattern of names, as Saver.restore and readers do."""
    return re.search(r"[][*?\\]", str(path)) is not None


def format_saver_path(checkpoint: Checkpoint) -> str:
    """The path that Saver.restore and readers take: the prefix, or the pattern of the names of V1 shards.

    Where the prefix itself would be taken for a pattern, it is that of links, which go with the Checkpoint.
    """
    prefix = f"{checkpoint.links}/model" if is_taken_for_pattern(checkpoint.prefix) else str(checkpoint.prefix)
    if checkpoint.version == "V1" and checkpoint.files != (checkpoint.prefix,):
        return f"{prefix}-?????-of-{len(checkpoint.files):05}"
    return prefix


def encode_slice_key(name: str, extents: Sequence[Extent]) -> bytes:
    """The key of a slice of a partitioned variable.

    Format: EncodeTensorNameSlice in tensorflow/core/util/saved_tensor_slice_util.cc. Keys sort in the slices' order.
    """
    escaped = name.encode().replace(b"\0", b"\0\xff")
    numbers = b"".join(_ordered(number) for extent in extents for number in extent)
    return b"\0" + escaped + b"\0\1" + bytes([1, len(extents)]) + numbers


def _ordered(number: int) -> bytes:
    """A signed number as tensorflow/core/lib/strings/ordered_code.cc writes it: one leading 1 bit for each byte."""
    length = (number if number >= 0 else ~number).bit_length() // 7 + 1
    bits = number & ((1 << 8 * length) - 1)
    return (bits ^ ((1 << 8 * length) - (1 << 7 * length))).to_bytes(length, "big")


@contextmanager
def _damage_as_error(file: Path) -> Iterator[None]:
    from google.protobuf.message import DecodeError

    try:
        yield
    except (DamagedError, DecodeError, UnicodeDecodeError, OverflowError) as error:
        raise UserError(
            f"{show_path(file)} is damaged or no part of a checkpoint; {format_error(error)}; copy it here again"
        ) from None


def _read_v2(prefix: Path, index: ModelFile) -> Checkpoint:
    pairs = read_sstable(index.data)
    key, value = next(pairs, (b"?", b""))
    header = protos.BundleHeaderProto.FromString(value)
    if key or header.num_shards < 1:
        raise DamagedError("it begins without a header")
    if header.endianness:
        raise DamagedError("it was written on a big-endian machine, which TensorFlow does not read here")
    variables, places, parts = [], {}, {}
    ends: dict[Path, int] = {}
    for key, value in pairs:
        entry = protos.BundleEntryProto.FromString(value)
        if not 0 <= entry.shard_id < header.num_shards or entry.offset < 0 or entry.size < 0:
            raise DamagedError("an entry points to a data file beyond the number of shards")
        if not entry.slices:
            file = prefix.with_name(f"{prefix.name}.data-{entry.shard_id:05}-of-{header.num_shards:05}")
            ends[file] = max(ends.get(file, 0), entry.offset + entry.size)
            places[key] = Place(file, entry.offset, entry.size, unmask_crc32c(entry.crc32c))
        if not key.startswith(b"\0"):  # else it is the key of one slice of a partitioned variable
            variable = _describe_variable(key.decode(), entry.dtype, entry.shape, entry.slices)
            variables.append(variable)
            if entry.slices:
                parts[variable.name] = tuple(tuple(_list_extents(part)) for part in entry.slices)
    object_graph = any(variable.name == OBJECT_GRAPH for variable in variables)
    named = tuple(variable for variable in variables if variable.name != OBJECT_GRAPH)
    files = tuple(sorted(ends))  # no others are read: a shard may be without values, and the number of shards may lie
    return Checkpoint(
        prefix, "V2", files, named, object_graph, tuple(ends[file] for file in files), places, parts, (index,)
    )


def _describe_variable(name: str, dtype: int, shape: Any, slices: Sequence[Any]) -> Variable:
    """A variable as an index describes it. Raises DamagedError where TensorFlow would abort at the description."""
    variable = Variable(name, get_dtype_name(dtype), tuple(dim.size for dim in shape.dim), max(1, len(slices)))
    if variable.dtype == "unknown" or get_base_dtype(dtype) != dtype:  # no value is a reference
        raise DamagedError(f"{make_printable(name)} is of the dtype {dtype}, which TensorFlow does not have")
    if shape.unknown_rank or min(variable.shape, default=0) < 0 or variable.count > _MOST:
        raise DamagedError(f"{make_printable(name)} has no shape")
    for part in slices:
        extents = _list_extents(part)
        if len(extents) != len(variable.shape) or not all(map(_is_within, extents, variable.shape)):
            raise DamagedError(f"{make_printable(name)} has a slice beyond its shape {list(variable.shape)}")
    return variable


def _list_extents(part: Any) -> list[Extent]:
    """The extents of a TensorSliceProto."""
    return [(e.start, e.length if e.HasField("length") else -1) for e in part.extent]


def _is_within(extent: Extent, size: int) -> bool:
    start, length = extent
    return extent == (0, -1) or (start >= 0 and length >= 0 and start + length <= size)


def _read_v1(prefix: Path, shards: Sequence[ModelFile]) -> Checkpoint:
    found: dict[str, Variable] = {}
    for shard in shards:
        for variable in _list_v1_variables(shard):
            before = found[variable.name].slices if variable.name in found else 0
            found[variable.name] = replace(variable, slices=before + variable.slices)
    files = tuple(shard.path for shard in shards)
    match = _V1_SHARD.fullmatch(files[0].name, len(prefix.name)) if files != (prefix,) else None
    if match is not None:
        count = int(match[1])
        files = tuple(prefix.with_name(f"{prefix.name}-{shard:05}-of-{count:05}") for shard in range(count))
    named = tuple(found[name] for name in sorted(found))
    return Checkpoint(prefix, "V1", files, named, False, tables=tuple(shards))


def _list_v1_variables(file: ModelFile) -> Iterator[Variable]:
    # The first key is empty, and its value describes the tensors. The values after it are not decoded.
    if not file.data:
        raise DamagedError("it is empty")
    key, value = next(read_sstable(file.data), (b"?", b""))
    slices = protos.SavedTensorSlices.FromString(value)
    if not key and not slices.HasField("meta") and protos.BundleHeaderProto.FromString(value).num_shards:
        raise UserError(
            f"{show_path(file.path)} is the index of a checkpoint under another name; call it NAME.index, put the data "
            "files NAME.data-... beside it, and name NAME"
        )
    if key or not slices.HasField("meta"):
        raise DamagedError("it begins without a description")
    for tensor in slices.meta.tensor:
        yield _describe_variable(tensor.name, tensor.type, tensor.shape, tensor.slice)
