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
from serialization.formats.object_graph import find_variable_keys
from serialization.graph.signature import show_shape
from serialization.run.verify import has_same_bits
from serialization.sources.variable_mapping import Restore
from serialization.tensorflow import explain_failures, np, tf1

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
    reader = cache(lambda: _open(held))  # which needs TensorFlow, so only where needed

    def read(node: Any) -> NDArray[Any] | StoredValue:
        restore = by_node[node.name]
        found = find_stored_value(held, restore.key, restore.spec, restore.dtype, get_value_shape(restore))
        if found is not None:
            return found
        with explain_failures(f"the checkpoint {show_path(held.prefix)} cannot be read"):
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


def require_same_variables(session: Any, held: Checkpoint, restores: Collection[Restore]) -> str:
    """Compare each variable of a session with the checkpoint, bit for bit; return what was proved.

    Raises UserError that names the first one that differs.
    """
    reader = _open(held)
    variables = {one.op.name: one for one in session.graph.get_collection(tf1.GraphKeys.GLOBAL_VARIABLES)}
    for restore in restores:
        if not has_same_bits(session.run(variables[restore.node]), read_value(reader, restore)):
            raise UserError(f"{restore.node} does not hold what {show_path(held.prefix)} holds under {restore.key}")
    return (
        f"{format_count(len(restores), 'variable')} {'holds' if len(restores) == 1 else 'hold'} the checkpoint's bits"
    )


def print_variables(held: Checkpoint) -> None:
    """A table of the variables as the checkpoint's index has them, with values where these are few."""
    keys, variables = find_variable_keys(held), {variable.name: variable for variable in held.variables}
    rows = []
    with explain_failures(f"the checkpoint {show_path(held.prefix)} cannot be read"):
        reader = _open(held)
        for name, key in sorted(keys.items()):
            one = variables[key]
            value = np.asarray(reader.get_tensor(key)).ravel() if one.count <= _FEW else None  # a string is bytes
            shown = "" if value is None else np.array2string(value, precision=4, max_line_width=1000)
            rows.append((name, one.dtype, show_shape(one.shape), shown))
    print_table(("variable", "dtype", "shape", "values"), rows)


def print_variable(held: Checkpoint, name: str) -> None:
    """One variable of the checkpoint, whole, by its key or its own name. Raises UserError with the valid names."""
    name = name.removesuffix(":0")  # which a variable has as a tensor of the graph, and not in a checkpoint
    keys = find_variable_keys(held)
    key = keys.get(name, name)
    with explain_failures(f"the checkpoint {show_path(held.prefix)} cannot be read"):
        reader = _open(held)
        if not reader.has_tensor(key):
            known = ", ".join(sorted(keys))
            raise UserError(f"no variable {name} in {show_path(held.prefix)}; it has {known}")
        value = np.asarray(reader.get_tensor(key))
    print(f"{name} {value.dtype} {show_shape(value.shape)}")
    print(np.array2string(value, threshold=value.size + 1))


def _open(held: Checkpoint) -> Any:
    return tf1.train.NewCheckpointReader(format_saver_path(held))
