"""The values of a checkpoint's variables: read, shown, and compared with those of a session."""

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

_FEW = 10  # numbers that fit into a line


def read_value(reader: Any, restore: Restore) -> NDArray[Any]:
    """A variable's value, or its slice of a partitioned one, by TensorFlow's reader."""
    value = reader.get_tensor(restore.key)
    if not restore.spec:
        return np.asarray(value)
    sizes, extents = parse_slice_spec(restore.spec)
    ends = [size if length < 0 else start + length for size, (start, length) in zip(sizes, extents, strict=True)]
    return np.ascontiguousarray(value[tuple(slice(start, end) for (start, _), end in zip(extents, ends, strict=True))])


def read_stored_values(held: Checkpoint, restores: Iterable[Restore]) -> Callable[[Any], NDArray[Any] | StoredValue]:
    """The value of a variable's node, straight from the checkpoint, for write_frozen_graph."""
    by_node = {restore.node: restore for restore in restores}
    path = format_saver_path(held)
    reader = cache(lambda: tf1.train.NewCheckpointReader(path))  # which needs TensorFlow, so only where needed

    def read(node: Any) -> NDArray[Any] | StoredValue:
        restore = by_node[node.name]
        found = find_stored_value(held, restore.key, restore.spec, restore.dtype, get_value_shape(restore))
        if found is not None:
            return found
        with explain_failures(f"the checkpoint {path} cannot be read"):
            return read_value(reader(), restore)

    return read


def get_value_shape(restore: Restore) -> tuple[int, ...]:
    """The shape of a variable's value, or of its slice of a partitioned one."""
    if not restore.spec:
        return restore.shape or ()
    sizes, extents = parse_slice_spec(restore.spec)
    return tuple(size if length < 0 else length for size, (_, length) in zip(sizes, extents, strict=True))


def get_value_size(held: Checkpoint, restore: Restore) -> int:
    """How many bytes a variable's value has."""
    place = held.places.get(restore.key.encode())
    if place is not None and restore.dtype == dtypes.STRING:
        return place.size
    return math.prod(get_value_shape(restore)) * get_dtype_size(restore.dtype)


def require_same_variables(session: Any, path: str, restores: Collection[Restore]) -> str:
    """Compare each variable of a session with the checkpoint at `path`, bit for bit; return what was proved.

    Raises UserError that names the first one that differs.
    """
    reader = tf1.train.NewCheckpointReader(path)
    held = {variable.op.name: variable for variable in session.graph.get_collection(tf1.GraphKeys.GLOBAL_VARIABLES)}
    for restore in restores:
        if not has_same_bits(session.run(held[restore.node]), read_value(reader, restore)):
            raise UserError(f"{restore.node} does not hold what {path} holds under {restore.key}")
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
    """A table of the variables as the checkpoint's index has them, with values where these are few."""
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
    """One variable of the checkpoint, whole. Raises UserError with the names that would have been valid."""
    name = name.removesuffix(":0")  # which a variable has as a tensor of the graph, and not in a checkpoint
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
