"""Reads and prints the values of a checkpoint's variables, and compares them with a session's."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from functools import cache
from typing import TYPE_CHECKING, Any

from serialization.console import format_count, print_table, show_path
from serialization.errors import UserError
from serialization.formats import dtypes
from serialization.formats.checkpoint_index import Checkpoint, format_saver_path
from serialization.formats.checkpoint_values import StoredValue, find_stored_value, parse_slice_spec
from serialization.formats.dtypes import get_dtype_size
from serialization.graph.signature import show_shape
from serialization.run.verify import has_same_bits
from serialization.sources.variable_mapping import Restore
from serialization.tensorflow import explain_failures, np, tf, tf1

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FEW = 10  # numbers that fit on a line


def read_value(reader: Any, restore: Restore) -> NDArray[Any]:
    """The value of a variable, or of its slice of a partitioned variable, read by TensorFlow's reader."""
    value = reader.get_tensor(restore.key)
    if not restore.spec:
        return np.asarray(value)
    sizes, extents = parse_slice_spec(restore.spec)
    ends = [size if length < 0 else start + length for size, (start, length) in zip(sizes, extents, strict=True)]
    return np.ascontiguousarray(value[tuple(slice(start, end) for (start, _), end in zip(extents, ends, strict=True))])


def read_stored_values(held: Checkpoint, restores: Iterable[Restore]) -> Callable[[Any], NDArray[Any] | StoredValue]:
    """A function for write_frozen_graph that reads a variable's value, by its node, from the checkpoint's files."""
    by_node = {restore.node: restore for restore in restores}
    path = format_saver_path(held)
    reader = cache(lambda: tf1.train.NewCheckpointReader(path))  # opened if needed, since it imports TensorFlow

    def read(node: Any) -> NDArray[Any] | StoredValue:
        restore = by_node[node.name]
        found = find_stored_value(held, restore.key, restore.spec, restore.dtype, get_value_shape(restore))
        if found is not None:
            return found
        with explain_failures(f"the checkpoint {path} cannot be read"):
            return read_value(reader(), restore)

    return read


def get_value_shape(restore: Restore) -> tuple[int, ...]:
    """The shape of a variable's value, or of its slice of a partitioned variable."""
    if not restore.spec:
        return restore.shape or ()
    sizes, extents = parse_slice_spec(restore.spec)
    return tuple(size if length < 0 else length for size, (_, length) in zip(sizes, extents, strict=True))


def get_value_size(held: Checkpoint, restore: Restore) -> int:
    """The size of a variable's value, in bytes."""
    place = held.places.get(restore.key.encode())
    if place is not None and restore.dtype == dtypes.STRING:
        return place.size
    return math.prod(get_value_shape(restore)) * get_dtype_size(restore.dtype)


def require_same_variables(session: Any, path: str, restores: Collection[Restore]) -> str:
    """Compare each variable of a session with the checkpoint at `path`, bit for bit; return the proof as a sentence.

    Raises UserError with the first variable that differs.
    """
    reader = tf1.train.NewCheckpointReader(path)
    held = {variable.op.name: variable for variable in session.graph.get_collection(tf1.GraphKeys.GLOBAL_VARIABLES)}
    for restore in restores:
        if not has_same_bits(session.run(held[restore.node]), read_value(reader, restore)):
            raise UserError(f"the variable {restore.node} differs from {restore.key} in {path}")
    return (
        f"{format_count(len(restores), 'variable')} {'holds' if len(restores) == 1 else 'hold'} the checkpoint's bits"
    )


def print_uninitialized(step: str, session: Any) -> None:
    """Say how many of the graph's variables hold nothing in this session after a step."""
    with session.graph.as_default():
        empty = len(session.run(tf1.report_uninitialized_variables()))
    count = len(session.graph.get_collection(tf1.GraphKeys.GLOBAL_VARIABLES))
    print(f"{step}: {empty} of {format_count(count, 'variable')} {'is' if count == 1 else 'are'} uninitialized")


def print_variables(held: Checkpoint) -> None:
    """Print a table of all variables in the checkpoint, with the values of small ones."""
    with explain_failures(f"the checkpoint {show_path(held.prefix)} cannot be read"):
        reader = _open(held)
        kinds = reader.get_variable_to_dtype_map()
        rows = []
        for name, shape in sorted(reader.get_variable_to_shape_map().items()):
            few = np.prod(shape) <= _FEW
            values = np.array2string(reader.get_tensor(name).ravel(), precision=4, max_line_width=1000) if few else ""
            rows.append((name, tf.as_dtype(kinds[name]).name, show_shape(shape), values))
    print_table(("variable", "dtype", "shape", "values"), rows)


def print_variable(held: Checkpoint, name: str) -> None:
    """Print one variable of the checkpoint whole. For an unknown name raises UserError with the valid names."""
    name = name.removesuffix(":0")  # the graph's tensor has this suffix, the checkpoint's key does not
    with explain_failures(f"the checkpoint {show_path(held.prefix)} cannot be read"):
        reader = _open(held)
        if not reader.has_tensor(name):
            known = ", ".join(sorted(reader.get_variable_to_shape_map()))
            raise UserError(f"no variable {name} in {show_path(held.prefix)}; it has {known}")
        value = reader.get_tensor(name)
    print(f"{name} {value.dtype} {show_shape(value.shape)}")
    print(np.array2string(value, threshold=value.size + 1))


def _open(held: Checkpoint) -> Any:
    return tf1.train.NewCheckpointReader(format_saver_path(held))
