"""Makes a frozen graph fill its lookup tables from constants, without an initializer or a vocabulary file.

A table is usually filled by an initializer that the caller runs after loading, often from a vocabulary file. Here each
table's keys and values become constants, and its handle depends on an op that fills the table from them. Every run does
so again, which does nothing for a table that is filled (InitializableLookupTable::Initialize).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from serialization.console import format_error
from serialization.errors import UserError
from serialization.formats import dtypes
from serialization.graph import op_sets
from serialization.graph.const_nodes import make_constant, read_array
from serialization.graph.graph_def import change_op, find_free_name, get_node_name
from serialization.graph.graph_index import GraphIndex
from serialization.tensorflow import np, tf, tf1

_TABLES = op_sets.TABLES - op_sets.ANONYMOUS_TABLES  # the graph makes and fills these anew in each run
_V2 = {
    "LookupTableFind": "LookupTableFindV2",
    "LookupTableSize": "LookupTableSizeV2",
    "LookupTableExport": "LookupTableExportV2",
}


def list_table_nodes(graph_def: Any) -> list[Any]:
    """The nodes of the graph's lookup tables."""
    return [node for node in graph_def.node if node.op in _TABLES]


def list_table_initializers(index: GraphIndex) -> list[Any]:
    """The nodes that fill tables before the first run."""
    writers = [node for node in index.graph_def.node if node.op in op_sets.TABLE_WRITERS and node.input]
    tables = [(node, index.producer(node.input[0])) for node in writers]
    return [node for node, table in tables if table is not None and op_sets.is_table_initializer(node.op, table.op)]


def inline_tables(index: GraphIndex, session: Any) -> list[str]:
    """Make the GraphDef fill its tables with their contents in the session. Returns a line for each table.

    The index is right afterwards if there is no line.
    """
    graph_def, notes = index.graph_def, []
    for table, (keys, values) in [(table, _read(session, table, index)) for table in list_table_nodes(graph_def)]:
        notes.append(f"inlined the lookup table {table.name}: {len(keys):,} {'entry' if len(keys) == 1 else 'entries'}")
        _inline_one(GraphIndex(graph_def), table, keys, values)
    return notes


def read_constant_keys(index: GraphIndex) -> dict[str, Any]:
    """The keys of the tables that the graph fills from constants, by the names of the tables' nodes."""
    found = {}
    for node in index.graph_def.node:
        if node.op in op_sets.TABLE_WRITERS and len(node.input) > 1:
            keys = index.producer(node.input[1])
            if keys is not None and keys.op == "Const":
                found[get_node_name(node.input[0])] = read_array(keys).ravel()
    return found


def read_table_keys(session: Any, index: GraphIndex) -> dict[str, Any]:
    """The keys of the tables that are filled in the session, by the names of the tables' nodes."""
    found = {}
    for table in list_table_nodes(index.graph_def):
        try:
            found[table.name], _ = _read(session, table, index)
        except UserError:  # it is empty; freezing reports it
            continue
    return found


def _read(session: Any, table: Any, index: GraphIndex) -> tuple[Any, Any]:
    marks = [index.nodes[name] for name in dict.fromkeys(map(get_node_name, table.input))]
    try:
        handle = session.graph.get_tensor_by_name(f"{table.name}:0")
    except KeyError:  # it is in a function; a node with the same shared name is the same table
        alone = tf1.NodeDef(name=table.name, op=table.op, attr=table.attr, input=table.input)
        graph = tf1.GraphDef(node=[alone, *(tf1.NodeDef(name=n.name, op=n.op, attr=n.attr) for n in marks)])
        with session.graph.as_default():
            (handle,) = tf1.import_graph_def(graph, return_elements=[f"{table.name}:0"], name="")
    _fill_as_a_run_would(session, table, index)
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
        raise UserError(
            f"the lookup table {table.name} is empty; found no initializer that fills it; it cannot be frozen"
        ) from None
    if table.op in op_sets.DENSE_TABLES:  # the export has all slots, also those marked as empty
        nothing = [read_array(mark) for mark in marks if mark.op == "Const"]
        held = ~np.isin(keys.ravel(), nothing)
        shape = [dim.size for dim in table.attr["value_shape"].shape.dim] if "value_shape" in table.attr else []
        keys, values = keys.ravel()[held], values.reshape([-1, *shape])[held]
    order = np.argsort(keys, kind="stable")  # a hash table has no fixed order; sorted, the file is always the same
    return keys[order], values[order]


def _fill_as_a_run_would(session: Any, table: Any, index: GraphIndex) -> None:
    """Fill a table that the graph fills from constants in each run, as a graph that was frozen before does."""
    if table.name in read_constant_keys(index):
        known = {operation.name: operation for operation in session.graph.get_operations()}
        for name in index.consumers(table.name):
            if index.nodes[name].op in op_sets.TABLE_WRITERS and name in known:
                session.run(known[name])


def _inline_one(index: GraphIndex, table: Any, keys: Any, values: Any) -> None:
    graph_def = index.graph_def
    # A graph that was frozen before has such nodes already.
    given = {what: find_free_name(f"{table.name}/{what}", index.nodes) for what in ("keys", "values", "fill", "ready")}
    ready = given["ready"]
    takers: dict[str, None] = {}
    waiting = [table.name]
    while waiting:
        for name in index.consumers(waiting.pop()):
            if name not in takers:
                takers[name] = None
                if index.nodes[name].op in op_sets.PASS_THROUGH:  # the handle may pass a tf.cond or a loop
                    waiting.append(name)
    for node in map(index.nodes.__getitem__, takers):
        if node.op in op_sets.TABLE_WRITERS:
            # It waits for the table, so that a node in a loop stays in that loop.
            change_op(node, "NoOp", [f"^{get_node_name(node.input[0])}"])
            continue
        if node.op in op_sets.PASS_THROUGH:
            node.op = node.op.removeprefix("Ref")
            node.attr["T"].type = dtypes.RESOURCE
        node.op = _V2.get(node.op, node.op)
        node.attr.pop("_class", None)
        node.input[:] = [ready if edge in (table.name, f"{table.name}:0") else edge for edge in node.input]
    key_type, value_type = table.attr["key_dtype"].type, table.attr["value_dtype"].type
    del table.input[:]  # a dense table takes the keys that mark empty and deleted slots
    table.attr.clear()
    table.attr["key_dtype"].type, table.attr["value_dtype"].type = key_type, value_type
    table.attr["use_node_name_sharing"].b = True  # one table for all calls, not a new one for each
    if values.ndim > 1:  # only a mutable table holds more than one number for each key
        table.op, filling, types = "MutableHashTableOfTensorsV2", "LookupTableImportV2", ("Tin", "Tout")
        for size in values.shape[1:]:
            table.attr["value_shape"].shape.dim.add(size=size)
    elif len(keys):
        table.op, filling, types = "HashTableV2", "InitializeTableV2", ("Tkey", "Tval")
    else:  # a HashTable cannot be filled with no entries
        table.op, filling, types = "MutableHashTableV2", "LookupTableImportV2", ("Tin", "Tout")
    graph_def.node.append(make_constant(given["keys"], keys, key_type))
    graph_def.node.append(make_constant(given["values"], values, value_type))
    fill = graph_def.node.add(name=given["fill"], op=filling)
    fill.input.extend([table.name, given["keys"], given["values"]])
    fill.attr[types[0]].type, fill.attr[types[1]].type = key_type, value_type
    guard = graph_def.node.add(name=ready, op="Identity", input=[table.name, f"^{fill.name}"])
    guard.attr["T"].type = dtypes.RESOURCE


def run_table_initializers(session: Any, names: Sequence[str]) -> None:
    """Fill the tables of a session. Raises UserError if one cannot be filled: its file is missing, say."""
    pending = list(names)
    while pending:  # the values of a table may come from another table
        failed = []
        for name in pending:
            try:
                session.run(session.graph.get_operation_by_name(name))
            except tf.errors.FailedPreconditionError as error:
                failed.append((name, error))
            except tf.errors.OpError as error:
                raise UserError(f"the lookup table of {name} cannot be filled: {format_error(error)}") from None
        if len(failed) == len(pending):
            raise UserError(f"the lookup table of {failed[0][0]} cannot be filled: {format_error(failed[0][1])}")
        pending = [name for name, _ in failed]


def collect_vocabulary_files(graph: Any) -> list[Any]:
    """The constants that name the tables' vocabulary files, which the SavedModel builder copies into assets/."""
    paths = [op.inputs[1] for op in graph.get_operations() if op.type in op_sets.TEXT_FILE_INITIALIZERS]
    return list({path.op.name: path for path in paths if path.op.type == "Const"}.values())


def make_table_initializer(graph: Any) -> Any:
    """An op that fills all tables of the graph; None if it has none."""
    operations = [op for op in graph.get_operations() if op.type in op_sets.TABLE_WRITERS]
    fills = [op for op in operations if op_sets.is_table_initializer(op.type, op.inputs[0].op.type)]
    return tf.group(*fills, name="fill_tables") if fills else None
