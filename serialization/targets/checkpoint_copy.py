"""Copies a checkpoint part by part under other names, and proves the copy: a part, not the checkpoint, is in memory.

TensorFlow's ops read and write any dtype, strings among them. A variable that is stored in slices is read slice by
slice, and stored so again: the ops join slices of some dtypes only.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serialization.console import format_count, make_printable, show_path
from serialization.errors import UserError
from serialization.files.checkpoint_files import read_checkpoint_at
from serialization.formats.checkpoint_index import Checkpoint, format_saver_path
from serialization.formats.checkpoint_values import format_slice_spec
from serialization.formats.dtypes import get_dtype_number, get_dtype_size
from serialization.run.differences import has_same_bits
from serialization.sources.edited_names import EditedNames
from serialization.tensorflow import explain_failures, np, tf

PART_SIZE = 1 << 27  # bytes; a data file of the copy holds no more, but for a variable that is larger


@dataclass(frozen=True)
class Piece:
    """A variable, or a stored slice of one: `key` in the source, `name` in the copy, and its size in bytes.

    `spec` names the slice as RestoreV2 and SaveV2 take it; it is empty for a whole variable.
    """

    key: str
    name: str
    spec: str
    dtype: str
    nbytes: int


def list_parts(held: Checkpoint, names: EditedNames) -> list[list[Piece]]:
    """What is copied at a time: the pieces of the copy in the order of their names, by `PART_SIZE`."""
    parts: list[list[Piece]] = [[]]
    for name, variable in names.kept.items():
        width = get_dtype_size(get_dtype_number(variable.dtype))
        slices: Sequence[Any] = held.parts.get(variable.name, ())
        for extents in slices or [None]:
            spec, shape = "", variable.shape
            if extents is not None:
                spec = format_slice_spec(variable.shape, extents)
                shape = tuple(s if length < 0 else length for s, (_, length) in zip(shape, extents, strict=True))
            piece = Piece(variable.name, name, spec, variable.dtype, math.prod(shape) * width)
            if parts[-1] and sum(one.nbytes for one in parts[-1]) + piece.nbytes > PART_SIZE:
                parts.append([])
            parts[-1].append(piece)
    return parts


def name_latest(prefix: Path) -> None:
    """Have the folder's `checkpoint` file name this checkpoint, as Saver(save_relative_paths=True) does."""
    lines = (f'{key}: "{prefix.name}"\n' for key in ("model_checkpoint_path", "all_model_checkpoint_paths"))
    prefix.with_name("checkpoint").write_text("".join(lines), "utf-8")


def prove_copy(held: Checkpoint, names: EditedNames, parts: Iterable[Sequence[Piece]], prefix: Path) -> str:
    """Read source and copy, and compare each tensor, bit for bit. Returns the proof as a sentence.

    Raises UserError if a tensor differs, is missing, or is one too many.
    """
    copy = read_checkpoint_at(prefix)
    found = {variable.name: (variable.dtype, variable.shape) for variable in copy.variables}
    wanted = {name: (variable.dtype, variable.shape) for name, variable in names.kept.items()}
    if found != wanted or copy.object_graph:
        raise UserError(f"{show_path(prefix)} came back with other variables; nothing was written")
    for part in parts:
        before = _read(held, [one.key for one in part], part)
        after = _read(copy, [one.name for one in part], part)
        for piece, old, new in zip(part, before, after, strict=True):
            if not has_same_bits(*(_as_array(tensor) for tensor in (old, new))):
                name = make_printable(piece.name)
                raise UserError(f"{name} came back from the copy with another value; nothing was written")
    return f"{format_count(len(found), 'variable')} read back, the same bits, and nothing else"


def _read(held: Checkpoint, keys: list[str], part: Sequence[Piece]) -> Any:
    with explain_failures(f"the checkpoint {show_path(held.prefix)} cannot be read"):
        return tf.raw_ops.RestoreV2(
            prefix=format_saver_path(held),
            tensor_names=keys,
            shape_and_slices=[one.spec for one in part],
            dtypes=[tf.as_dtype(one.dtype) for one in part],
        )


def _as_array(tensor: Any) -> Any:
    value = tensor.numpy()
    return np.array(value, dtype=object) if isinstance(value, bytes) else value  # a scalar string
