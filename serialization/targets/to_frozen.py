"""Freezes any graph: makes each op that takes a variable take its value, and replaces variables by constants."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serialization.console import format_command, format_size, print_notes, print_table, show_path
from serialization.errors import UserError
from serialization.formats import dtypes
from serialization.formats.file_kind import ModelFile
from serialization.formats.messages import LIMIT
from serialization.graph.const_nodes import make_constant
from serialization.graph.cut import cut_at_inputs
from serialization.graph.graph_def import (
    change_op,
    get_node_name,
    list_control_edges,
    list_data_edges,
    list_training_nodes,
    list_variable_nodes,
    measure_variables,
)
from serialization.graph.graph_index import GraphIndex, prune_graph
from serialization.graph.inlining import inline_functions
from serialization.graph.keys import name_by_keys
from serialization.graph.lookup_tables import inline_tables, list_table_nodes
from serialization.graph.op_sets import PASS_THROUGH, VARIABLES, is_update
from serialization.graph.recorded_signature import record_signature
from serialization.graph.repair import format_repairs, make_graph_loadable, remove_refs
from serialization.graph.signature import Signature
from serialization.run.origin import Origin
from serialization.sources.from_checkpoint import PreparedCheckpoint, require_safe_checkpoint
from serialization.sources.frozen_reader import read_large_graph_def
from serialization.sources.variable_values import read_stored_values
from serialization.targets.constant_datasets import fold_datasets, require_no_datasets
from serialization.targets.constant_files import inline_files
from serialization.targets.frozen_writer import write_frozen_graph
from serialization.tensorflow import format_reason, np, tf

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from serialization.sources.private_copy import PreparedSavedModel
    from serialization.targets.frozen_writer import Value

PLAIN = 64_000_000  # bytes of variables; up to this the several copies that the plain call makes do not matter


def suffices_plain_call(origin: Origin, size: int) -> bool:
    """Whether convert_variables_to_constants freezes this model well; `size` is the size of its variables in bytes.

    The call copies every variable several times, and keeps functions, tables and references. For a model with these,
    or with large variables, freeze_graph does the same, one variable at a time.
    """
    return origin.plain and size <= PLAIN


@contextmanager
def explain_missing_values() -> Iterator[None]:
    """Raise UserError for a variable that holds no value, which TensorFlow calls a failed precondition."""
    try:
        yield
    except tf.errors.FailedPreconditionError as error:
        found = format_reason(error).partition(". ")[0]
        raise UserError(f"a variable holds no value; {found}; name other --outputs") from None


def freeze_stored_values(path: Path, prepared: PreparedCheckpoint | PreparedSavedModel) -> bool:
    """Freeze a checkpoint by copying the values from its data files, without a session; whether that can be done.

    Lookup tables are filled in a session, and the functions of a SavedModel are inlined from one. Raises UserError if
    the graph could do harm: inlining imports it.
    """
    if not isinstance(prepared, PreparedCheckpoint) or list_table_nodes(prepared.pruned):
        return False
    require_safe_checkpoint(prepared)
    value_of = read_stored_values(prepared.held, prepared.restores)
    freeze_graph(path, prepared.index, prepared.signature, value_of=value_of)
    return True


def replace_variables(index: GraphIndex) -> list[str]:
    """Rewrite, in place, every op that takes a resource variable's handle to take its value. Returns notes on repairs.

    The nodes of the variables stay; write_frozen_graph replaces them by constants. The index keeps the right names, but
    not all edges. Raises UserError for ops that cannot be rewritten.
    """
    variables = {name: node for name, node in index.nodes.items() if node.op == "VarHandleOp"}
    done: Counter[tuple[str, str]] = Counter()
    added: list[Any] = []
    for name, variable in variables.items():
        dtype = variable.attr["dtype"].type
        waiting, seen = [name], {name}
        while waiting:
            for user in map(index.nodes.__getitem__, index.consumers(waiting.pop())):
                if user.name in seen:
                    continue
                seen.add(user.name)
                if user.op in PASS_THROUGH:
                    user.attr["T"].type = dtype
                    waiting.append(user.name)
                else:
                    added += _take_value(user, dtype, done)
    index.graph_def.node.extend(added)
    return format_repairs(done)


def freeze_graph(
    path: Path,
    index: GraphIndex,
    wanted: Signature,
    session: Any = None,
    value_of: Callable[[Any], Value] | None = None,
) -> None:
    """Freeze the part of the graph that the signature needs into a file, which records it, and print notes.

    `value_of` gives the values of variables, see write_frozen_graph; without it the session does. Tables always need
    the session.
    """
    flat, wanted, notes = flatten_graph(index, wanted, session)
    print_notes(notes)
    flat, wanted = name_by_keys(flat, wanted)
    record_signature(flat, wanted)
    write_frozen_graph(path, flat, value_of or read_session_values(session, flat), measure_variables(flat))


def measure_difference(name: str, whole: Any, path: Path) -> list[tuple[str, int, int, int, int]]:
    """Rows for `print_difference`: the source's GraphDef, called `name`, and the frozen file.

    Raises UserError if a variable or a training op is left in the frozen graph.
    """
    frozen, _ = read_large_graph_def(ModelFile(path))  # without the large values
    rows = [
        (title, len(graph_def.node), size, len(list_variable_nodes(graph_def)), len(list_training_nodes(graph_def)))
        for title, graph_def, size in ((name, whole, whole.ByteSize()), ("frozen", frozen, path.stat().st_size))
    ]
    left = list_variable_nodes(frozen) + list_training_nodes(frozen)
    if left:
        raise UserError(f"not frozen: {', '.join(left[:5])} would be left; name --outputs that do not train")
    return rows


def print_difference(rows: Sequence[tuple[str, int, int, int, int]]) -> None:
    print_table(("GraphDef", "nodes", "bytes", "variable nodes", "training nodes"), rows)


def require_frozen_functions(graph_def: Any) -> None:
    """Raise UserError if a function that was not inlined holds a variable."""
    for function in graph_def.library.function:
        left = [node.name for node in function.node_def if node.op in VARIABLES or node.op == "ReadVariableOp"]
        if left:
            raise UserError(
                f"the function {function.signature.name} reads variables ({', '.join(left[:5])}) and cannot be "
                "inlined, so it cannot be frozen; keep the SavedModel"
            )


def require_freezable(prepared: PreparedCheckpoint | PreparedSavedModel) -> None:
    """Raise UserError if the model is more than protobuf can hold in one GraphDef."""
    if isinstance(prepared, PreparedCheckpoint):
        path = prepared.held.prefix
        way_out = f"`{format_command('savedmodel_from_checkpoint.py', '--checkpoint', path)}`"
    else:
        path, way_out = prepared.folder, "use the SavedModel as it is"
    require_fits(prepared.graph_size, prepared.size, show_path(path), way_out)


def require_fits(graph_size: int, size: int, what: str, way_out: str) -> None:
    """Raise UserError if a graph of so many bytes and `size` bytes of variables are too much for one protobuf."""
    if size + graph_size > LIMIT - (1 << 16):
        raise UserError(
            f"{what} is too large to be frozen; its variables hold {format_size(size)}, a GraphDef at most 2.15 GB; "
            f"keep the variables beside the graph: {way_out}"
        )


def _take_value(node: Any, dtype: int, done: Counter[tuple[str, str]]) -> list[Any]:
    """Rewrite one op that takes a variable's handle. Returns the nodes to add to the graph."""
    attributes = {name: type(value).FromString(value.SerializeToString()) for name, value in node.attr.items()}
    data, control = list_data_edges(node), list_control_edges(node)
    if node.op == "ReadVariableOp":
        change_op(node, "Identity", [*data, *control], T=dtype)
        return []
    if node.op == "ResourceGather":
        axis = make_constant(
            f"{node.name}/axis",
            np.array(attributes["batch_dims"].i if "batch_dims" in attributes else 0, np.int32),
            dtypes.INT32,
        )
        axis.input.append(f"^{get_node_name(data[1])}")  # in a loop, all inputs of a node must belong to the loop
        change_op(
            node, "GatherV2", [*data, axis.name, *control], Tparams=dtype, Tindices=attributes["Tindices"].type, Taxis=3
        )
        node.attr["batch_dims"].i = attributes["batch_dims"].i if "batch_dims" in attributes else 0
        return [axis]
    if node.op == "ResourceGatherNd":
        change_op(node, "GatherNd", [*data, *control], Tparams=dtype, Tindices=attributes["Tindices"].type)
        return []
    if node.op == "VariableShape":
        change_op(node, "Shape", [*data, *control], T=dtype, out_type=attributes["out_type"].type or 3)
        return []
    if node.op == "VarIsInitializedOp":  # remove_refs makes it a constant
        return []
    if is_update(node.op) or node.op == "DestroyResourceOp":
        done["left out {}: the result changes no variable", f"{node.op} op"] += 1
        change_op(node, "NoOp", [f"^{get_node_name(data[0])}", *control])
        return []
    raise UserError(
        f"{node.name} is a {node.op}, which takes a variable and cannot take a constant, so it cannot be frozen; "
        "keep it as a SavedModel"
    )


def read_session_values(session: Any, graph_def: Any) -> Callable[[Any], NDArray[Any]]:
    """A `value_of` for write_frozen_graph that reads the GraphDef's variables from a session."""
    tensors = {}
    with session.graph.as_default():  # all ops before the first run: a session extends its graph after each new op
        for node in graph_def.node:
            if node.op in VARIABLES:
                tensor = session.graph.get_tensor_by_name(f"{node.name}:0")
                if tensor.dtype == tf.resource:
                    tensor = tf.raw_ops.ReadVariableOp(resource=tensor, dtype=tf.as_dtype(node.attr["dtype"].type))
                tensors[node.name] = tensor

    def read(node: Any) -> NDArray[Any]:
        try:
            return np.asarray(session.run(tensors[node.name]))
        except tf.errors.FailedPreconditionError:
            raise UserError(
                f"the variable {node.name} holds no value; nothing restores it; name other --outputs"
            ) from None

    return read


def flatten_graph(index: GraphIndex, wanted: Signature, session: Any) -> tuple[Any, Signature, list[str]]:
    """The GraphDef that the signature needs, with functions, tables and files inlined, without ops on variables.

    The nodes of the variables stay, for write_frozen_graph. Also returns the signature with the names in that GraphDef,
    which differ if it was cut at an input, and notes on repairs.
    """
    index, wanted, notes = cut_at_inputs(index, wanted)
    roots = [tensor.name for tensor in (*wanted.outputs, *wanted.inputs)]
    needed = GraphIndex(prune_graph(index, roots))
    if needed.functions:
        calls = len(needed.functions)
        needed = GraphIndex(prune_graph(GraphIndex(inline_functions(needed.graph_def, roots)), roots))
        if not needed.functions:
            notes.append(f"inlined {calls} functions")
    if inlined := [*inline_tables(needed, session), *inline_files(needed)]:
        needed = GraphIndex(needed.graph_def)
    notes += [*inlined, *replace_variables(needed), *(f"repaired: {line}" for line in remove_refs(needed))]
    needed = GraphIndex(needed.graph_def)
    notes += fold_datasets(needed)
    result = GraphIndex(prune_graph(GraphIndex(needed.graph_def), roots))
    make_graph_loadable(result)
    require_no_datasets(result.graph_def)
    require_frozen_functions(result.graph_def)
    return result.graph_def, wanted, notes
