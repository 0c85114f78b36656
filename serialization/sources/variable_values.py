"""Reads and prints the values of a checkpoint's variables, and compares them with a session's."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any

from serialization.console import format_count, list_known, make_printable, print_table, show_path
from serialization.errors import UserError
from serialization.formats import dtypes
from serialization.formats.checkpoint_index import Checkpoint, format_saver_path
from serialization.formats.checkpoint_values import StoredValue, find_stored_value, parse_slice_spec
from serialization.formats.dtypes import get_dtype_size
from serialization.formats.object_graph import find_variable_keys
from serialization.graph.signature import show_shape
from serialization.run.differences import has_same_bits
from serialization.sources.variable_mapping import Restore
from serialization.tensorflow import explain_failures, np, tf1

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FEW = 10  # numbers that fit on a line
_LINE = 300  # characters; a text may have any length


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
    stored = {
        node: find_stored_value(held, one.key, one.spec, one.dtype, get_value_shape(one))
        for node, one in by_node.items()
    }
    explained = partial(explain_failures, f"the checkpoint {show_path(held.prefix)} cannot be read")
    reader: Any = None
    if None in stored.values():  # TensorFlow is imported only then, and before there are threads
        with explained():
            reader = _open(held)

    def read(node: Any) -> NDArray[Any] | StoredValue:
        found = stored[node.name]
        if found is not None:
            return found
        with explained():
            return read_value(reader, by_node[node.name])

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


def show_variables(session: Any, held: Checkpoint, restores: Collection[Restore]) -> str:
    """Print the checkpoint's variables, and return the proof that the session holds those of its graph."""
    print_variables(held)
    proof = require_same_variables(session, held, restores)
    left = len(set(find_variable_keys(held).values()) - {restore.key for restore in restores})
    others = f"; {format_count(left, 'other')} of the checkpoint {'is' if left == 1 else 'are'} not restored"
    return f"{proof}{others}" if left else proof


def require_same_variables(session: Any, held: Checkpoint, restores: Collection[Restore]) -> str:
    """Compare each variable of a session with the checkpoint, bit for bit; return the proof as a sentence.

    Raises UserError with the first variable that differs.
    """
    reader = _open(held)
    variables = {one.op.name: one for one in session.graph.get_collection(tf1.GraphKeys.GLOBAL_VARIABLES)}
    for restore in restores:
        if not has_same_bits(session.run(variables[restore.node]), read_value(reader, restore)):
            where = show_path(held.prefix)
            raise UserError(f"the variable {restore.node} differs from {restore.key} in {where}")
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
    keys, variables = find_variable_keys(held), {variable.name: variable for variable in held.variables}
    rows = []
    with explain_failures(f"the checkpoint {show_path(held.prefix)} cannot be read"):
        reader = _open(held)
        for name, key in sorted(keys.items()):
            one = variables[key]
            value = np.asarray(reader.get_tensor(key)).ravel() if one.count <= _FEW else None  # a string is bytes
            shown = "" if value is None else np.array2string(value, precision=4, max_line_width=1000)
            shown = shown if one.shape else shown.strip("[]")
            rows.append((make_printable(name), one.dtype, show_shape(one.shape), make_printable(shown, _LINE)))
    print_table(("variable", "dtype", "shape", "values"), rows)


def print_variable(held: Checkpoint, name: str) -> None:
    """Print one variable of the checkpoint whole, by its key or its own name.

    For an unknown name raises UserError with the valid names.
    """
    name = name.removesuffix(":0")  # the graph's tensor has this suffix, the checkpoint's key does not
    keys = find_variable_keys(held)
    key = keys.get(name, name)
    with explain_failures(f"the checkpoint {show_path(held.prefix)} cannot be read"):
        reader = _open(held)
        if not reader.has_tensor(key):
            raise UserError(f"no variable {name} in {show_path(held.prefix)}; it has {list_known(name, sorted(keys))}")
        value = np.asarray(reader.get_tensor(key))
    print(f"{make_printable(name)} {value.dtype} {show_shape(value.shape)}")
    print(np.array2string(value, threshold=value.size + 1))


def _open(held: Checkpoint) -> Any:
    return tf1.train.NewCheckpointReader(format_saver_path(held))
