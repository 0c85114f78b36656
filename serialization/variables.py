"""The values of a checkpoint's variables: read, shown, and compared with those of a session."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

from serialization import artifact, checkpoint, cli, verify
from serialization.restoring import Restore
from serialization.signature import show_shape
from serialization.tensorflow import failures, np, tf, tf1

_FEW = 10  # numbers that fit into a line


def read_value(reader: Any, restore: Restore) -> Any:
    """A variable's value, or its slice of a partitioned one (`spec`: the whole shape, then `start,length:...`)."""
    value = reader.get_tensor(restore.key)
    if not restore.spec:
        return value
    slices = []
    for part in restore.spec.rpartition(" ")[2].split(":"):
        start, _, length = part.partition(",")
        slices.append(slice(None) if part == "-" else slice(int(start), int(start) + int(length)))
    return np.ascontiguousarray(value[tuple(slices)])


def values_of(path: str, restores: Iterable[Restore]) -> Callable[[Any], Any]:
    """The value of a variable's node, straight from the checkpoint at `path`, for freezing.write."""
    reader = tf1.train.NewCheckpointReader(path)
    by_node = {restore.node: restore for restore in restores}
    return lambda node: read_value(reader, by_node[node.name])


def require_same(session: Any, path: str, restores: Collection[Restore]) -> str:
    """Compare each variable of a session with the checkpoint at `path`, bit for bit; return what was proved.

    Raises cli.Error that names the first one that differs.
    """
    reader = tf1.train.NewCheckpointReader(path)
    held = {variable.op.name: variable for variable in session.graph.get_collection(tf1.GraphKeys.GLOBAL_VARIABLES)}
    for restore in restores:
        if not verify.same_bits(session.run(held[restore.node]), read_value(reader, restore)):
            raise cli.Error(f"{restore.node} does not hold what {path} holds under {restore.key}")
    return f"{len(restores)} variables hold the checkpoint's bits"


def show_all(prefix: Path) -> None:
    """A table of the variables as the checkpoint's index has them, with values where these are few."""
    with failures(f"the checkpoint {cli.show(prefix)} cannot be read"):
        reader = _open(prefix)
        dtypes = reader.get_variable_to_dtype_map()
        rows = []
        for name, shape in sorted(reader.get_variable_to_shape_map().items()):
            few = np.prod(shape) <= _FEW
            values = np.array2string(reader.get_tensor(name).ravel(), precision=4, max_line_width=1000) if few else ""
            rows.append((name, tf.as_dtype(dtypes[name]).name, show_shape(shape), values))
    cli.table(("variable", "dtype", "shape", "values"), rows)


def show_one(prefix: Path, name: str) -> None:
    """One variable of the checkpoint, whole. Raises cli.Error with the names that would have been valid."""
    name = name.removesuffix(":0")  # which a variable has as a tensor of the graph, and not in a checkpoint
    with failures(f"the checkpoint {cli.show(prefix)} cannot be read"):
        reader = _open(prefix)
        if not reader.has_tensor(name):
            known = ", ".join(sorted(reader.get_variable_to_shape_map()))
            raise cli.Error(f"no variable {name} in {cli.show(prefix)}; it has {known}")
        value = reader.get_tensor(name)
    print(f"{name} {value.dtype} {show_shape(value.shape)}")
    print(np.array2string(value, threshold=value.size + 1))


def _open(prefix: Path) -> Any:
    return tf1.train.NewCheckpointReader(checkpoint.saver_path(artifact.require_checkpoint(prefix)))
