"""Lookup tables in a frozen graph: filled by the graph itself, from constants, whoever runs it.

A table is filled by an initializer that somebody has to run after loading, often from a vocabulary file that is not
there any more. Here each table's keys and values become constants, and its handle waits for them: filling a table
that is filled already with the same is nothing (InitializableLookupTable::Initialize), so each call may ask for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serialization import cli, dtypes
from serialization.constants import constant
from serialization.graph import node_of
from serialization.tensorflow import np, tf, tf1

_TABLES = {
    "HashTable",
    "HashTableV2",
    "MutableHashTable",
    "MutableHashTableV2",
    "MutableDenseHashTable",
    "MutableDenseHashTableV2",
}
_V2 = {
    "LookupTableFind": "LookupTableFindV2",
    "LookupTableSize": "LookupTableSizeV2",
    "LookupTableExport": "LookupTableExportV2",
}
_PASS_ON = {"Identity", "Switch", "Enter", "Merge", "Exit", "NextIteration", "RefSwitch", "RefEnter", "RefIdentity"}
_FILL = ("InitializeTable", "LookupTableImport", "LookupTableInsert", "LookupTableRemove")


def table_nodes(graph_def: Any) -> list[Any]:
    """The nodes of the graph's lookup tables."""
    return [node for node in graph_def.node if node.op in _TABLES]


def inline(graph_def: Any, session: Any) -> list[str]:
    """Make the GraphDef fill its tables with what they hold in the session. Returns a line for each table."""
    notes = []
    for table in table_nodes(graph_def):
        keys, values = _read(session, table)
        notes.append(f"inlined the lookup table {table.name}: {len(keys):,} entries")
        _inline_one(graph_def, table, keys, values)
    return notes


def _read(session: Any, table: Any) -> tuple[Any, Any]:
    try:
        handle = session.graph.get_tensor_by_name(f"{table.name}:0")
    except KeyError:  # it was in a function; a node of the same shared name is the same table
        alone = tf1.NodeDef(name=table.name, op=table.op, attr=table.attr)
        with session.graph.as_default():
            (handle,) = tf1.import_graph_def(tf1.GraphDef(node=[alone]), return_elements=[f"{table.name}:0"], name="")
    export = tf.raw_ops.LookupTableExportV2 if handle.dtype == tf.resource else tf.raw_ops.LookupTableExport
    with session.graph.as_default():
        exported = export(
            table_handle=handle,
            Tkeys=tf.as_dtype(table.attr["key_dtype"].type),
            Tvalues=tf.as_dtype(table.attr["value_dtype"].type),
        )
    try:
        keys, values = session.run([exported.keys, exported.values])
    except (tf.errors.FailedPreconditionError, tf.errors.AbortedError):
        raise cli.Error(
            f"the lookup table {table.name} is empty; found no initializer that fills it; it cannot be frozen"
        ) from None
    order = np.argsort(keys, kind="stable")  # a hash table has no order of its own; sorted, the file is always the same
    return keys[order], values[order]


def _inline_one(graph_def: Any, table: Any, keys: Any, values: Any) -> None:
    ready = f"{table.name}/ready"
    handles = {table.name}
    grown = True
    while grown:  # the handle may pass a tf.cond or a loop
        grown = False
        for node in graph_def.node:
            takes = any(node_of(edge) in handles for edge in node.input if not edge.startswith("^"))
            if takes and node.op in _PASS_ON and node.name not in handles:
                handles.add(node.name)
                grown = True
    for node in list(graph_def.node):
        takes = any(node_of(edge) in handles for edge in node.input if not edge.startswith("^"))
        if takes and node.op.startswith(_FILL):
            _make_nothing(node)
        elif takes:
            node.op = _V2.get(node.op, node.op.removeprefix("Ref") if node.op in _PASS_ON else node.op)
            if node.name in handles:
                node.attr["T"].type = dtypes.RESOURCE
            node.attr.pop("_class", None)
            node.input[:] = [ready if edge in (table.name, f"{table.name}:0") else edge for edge in node.input]
    table.op = "HashTableV2"
    for name in list(table.attr):
        if name not in ("key_dtype", "value_dtype"):
            del table.attr[name]
    table.attr["use_node_name_sharing"].b = True  # one table for all calls, not a new one for each
    key_type, value_type = table.attr["key_dtype"].type, table.attr["value_dtype"].type
    graph_def.node.append(constant(f"{table.name}/keys", keys, key_type))
    graph_def.node.append(constant(f"{table.name}/values", values, value_type))
    fill = graph_def.node.add(name=f"{table.name}/fill", op="InitializeTableV2")
    fill.input.extend([table.name, f"{table.name}/keys", f"{table.name}/values"])
    fill.attr["Tkey"].type, fill.attr["Tval"].type = key_type, value_type
    guard = graph_def.node.add(name=ready, op="Identity", input=[table.name, f"^{fill.name}"])
    guard.attr["T"].type = dtypes.RESOURCE


def _make_nothing(node: Any) -> None:
    node.op = "NoOp"
    del node.input[:]
    node.attr.clear()


def run_initializers(session: Any, names: Sequence[str]) -> None:
    """Fill the tables of a session. Raises cli.Error where a file that they are read from is not there."""
    pending = list(names)
    while pending:  # a table's values may come out of another table
        failed = []
        for name in pending:
            try:
                session.run(session.graph.get_operation_by_name(name))
            except tf.errors.FailedPreconditionError as error:
                failed.append((name, error))
            except tf.errors.OpError as error:
                raise cli.Error(f"the lookup table of {name} cannot be filled: {cli.one_line(error)}") from None
        if len(failed) == len(pending):
            raise cli.Error(f"the lookup table of {failed[0][0]} cannot be filled: {cli.one_line(failed[0][1])}")
        pending = [name for name, _ in failed]


def vocabulary_files(graph: Any) -> list[Any]:
    """The constants that name the files which tables are read from, for the SavedModel builder to take along."""
    paths = [op.inputs[1] for op in graph.get_operations() if op.type.startswith("InitializeTableFromTextFile")]
    return list({path.op.name: path for path in paths if path.op.type == "Const"}.values())


def initializer(graph: Any) -> Any:
    """An op that fills all tables of the graph; None where there is none."""
    fills = [op for op in graph.get_operations() if op.type.startswith("InitializeTable")]
    return tf.group(*fills, name="fill_tables") if fills else None
