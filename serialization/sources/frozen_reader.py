"""Reads graphs from files; of a frozen graph of hundreds of megabytes without several copies of it in memory.

Parsing the file whole, importing the message and letting TensorFlow's optimizers fold it each copy every constant.
Here the large constants stay in the file while the rest is parsed; in the graph each becomes a resource variable of the
same name, and is read from the file straight into it. Running it computes the same.
Format: https://protobuf.dev/programming-guides/encoding/, tensorflow/core/framework/{graph,node_def,tensor}.proto.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serialization.checks.crashes import require_sound_graph
from serialization.console import show_path, show_progress
from serialization.errors import UserError
from serialization.formats import dtypes, protos, wire
from serialization.formats.dtypes import get_dtype_size
from serialization.formats.file_kind import Kind, ModelFile
from serialization.formats.messages import read_message
from serialization.formats.wire import iterate_fields
from serialization.graph.graph_index import GraphIndex
from serialization.graph.repair import require_dense_shapes
from serialization.tensorflow import np, tf, tf1

LARGE_FILE = 100_000_000  # bytes; below this TensorFlow's own way takes a second, and folds the constants
_LARGE_NODE = 1 << 20
_ALIGNED = 64  # bytes, EIGEN_MAX_ALIGN_BYTES
_NODE, _NAME, _ATTRIBUTE, _KEY, _VALUE, _TENSOR, _CONTENT = 1, 1, 5, 1, 2, 8, 4  # the numbers of the fields


@dataclass(frozen=True)
class LargeConstant:
    """Where the bytes of a constant lie in its file; `dtype` is TensorFlow's number."""

    file: ModelFile
    offset: int
    length: int
    dtype: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class GraphFile:
    """A graph that was read from a file: a GraphDef with its index, and the MetaGraphDef around it if there is one.

    The graph is not changed after that. `constants` were left in the file; they are here by their nodes' names. `notes`
    say what was repaired in the rest, one line each.
    """

    index: GraphIndex
    meta_graph: Any = None
    path: Path = Path()
    notes: tuple[str, ...] = ()
    constants: Mapping[str, LargeConstant] = field(default_factory=dict)

    @property
    def graph_def(self) -> Any:
        return self.index.graph_def


def read_graph_file(file: ModelFile, *, lean: bool = False) -> GraphFile:
    """The graph in a file that holds a GraphDef or a MetaGraphDef, binary or text.

    `lean` leaves the large constants of a large binary GraphDef in the file, as `constants`. Raises UserError where the
    file holds no graph, where it is damaged, and where TensorFlow's runtime would not survive the graph.
    """
    where = show_path(file.path)
    if file.kind is Kind.SAVED_MODEL:
        raise UserError(f"{where} is a SavedModel, not a graph alone; name its folder with --saved-model")
    constants: dict[str, LargeConstant] = {}
    if lean and file.kind is Kind.GRAPH and len(file.data) > LARGE_FILE and not file.is_text:
        message, constants = read_large_graph_def(file)
    else:
        message = read_message(file)
    meta_graph = message if file.kind is Kind.META_GRAPH else None
    graph_def = message if meta_graph is None else meta_graph.graph_def
    if not all(node.name and node.op for node in graph_def.node):
        raise UserError(f"{where} is damaged; it has nodes without a name or an op; copy it here again")
    notes = tuple(require_dense_shapes(graph_def))
    result = GraphFile(GraphIndex(graph_def), meta_graph, file.path, notes, constants)
    require_sound_graph(result.index, where, {name: left.length for name, left in constants.items()})
    return result


def read_large_graph_def(file: ModelFile) -> tuple[Any, dict[str, LargeConstant]]:
    """The GraphDef in a file with its large constants left empty, and where these lie, by name.

    Raises UserError where it cannot be read to its end.
    """
    from google.protobuf.message import DecodeError

    graph_def, constants = protos.GraphDef(), {}
    data = file.data
    try:
        for number, start, begin, end in _fields(data, 0, len(data)):
            found = _large_constant(file, begin, end) if number == _NODE and end - begin > _LARGE_NODE else None
            if found is None:
                graph_def.MergeFromString(data[start:end])
            else:
                node, constants[node.name] = found
                graph_def.node.append(node)
    except (wire.DamagedError, DecodeError):
        where = show_path(file.path)
        raise UserError(f"{where} is damaged: it cannot be read to its end; copy it here again") from None
    return graph_def, constants


def replace_constants(graph_def: Any, constants: Mapping[str, LargeConstant]) -> dict[str, LargeConstant]:
    """Put a variable in the place of each of these constants; change the GraphDef, return those that are in it."""
    used = {}
    for node in list(graph_def.node):
        if node.name not in constants or node.op != "Const":
            continue
        constant = constants[node.name]
        used[node.name] = constant
        handle = graph_def.node.add(name=f"{node.name}/variable", op="VarHandleOp")
        handle.attr["dtype"].type = constant.dtype
        handle.attr["shape"].shape.CopyFrom(node.attr["value"].tensor.tensor_shape)
        handle.attr["shared_name"].s = handle.name.encode()
        node.op = "ReadVariableOp"
        node.input.insert(0, handle.name)
        del node.attr["value"]
    return used


def fill_constants(session: Any, scope: str, constants: Mapping[str, LargeConstant]) -> None:
    """Read each constant from its file into its variable, one at a time, behind a progress bar.

    The graph was imported below `scope`, which may be empty. Its collection of global variables then holds these too,
    so that a Saver writes them.
    """
    if not constants:
        return
    from tensorflow.python.ops.resource_variable_ops import ResourceVariable  # tf1.Variable.from_proto takes none

    graph = session.graph
    assignments = []
    with graph.as_default():
        for name, constant in constants.items():
            read = f"{scope}/{name}" if scope else name
            handle = graph.get_tensor_by_name(f"{read}/variable:0")
            value = tf1.placeholder(constant.dtype, constant.shape, f"{read}/variable/value")
            assign = tf.raw_ops.AssignVariableOp(resource=handle, value=value, name=f"{read}/variable/Assign")
            assignments.append((assign, value, constant))
            known = protos.VariableDef(
                variable_name=handle.name, initializer_name=assign.name, snapshot_name=f"{read}:0", is_resource=True
            )
            graph.add_to_collection(tf1.GraphKeys.GLOBAL_VARIABLES, ResourceVariable.from_proto(known))
        nothing = tf.no_op()
    session.run(nothing)  # only here does TensorFlow let go of the arrays of sessions that are closed
    size = sum(constant.length for constant in constants.values())
    for assign, value, constant in show_progress(assignments, "loading", size, weigh=lambda step: step[2].length):
        session.run(assign, {value: _read_values(constant)})


def _read_values(constant: LargeConstant) -> Any:
    """The values, where TensorFlow takes them as they lie: of an array that begins elsewhere it makes a copy."""
    whole = np.empty(constant.length + _ALIGNED, np.uint8)
    start = -whole.ctypes.data % _ALIGNED
    content = whole[start : start + constant.length]
    if not constant.file.read_into(content.data, constant.offset):
        raise UserError(f"{show_path(constant.file.path)} has been changed while it was read; run this again")
    return content.view(tf.as_dtype(constant.dtype).as_numpy_dtype).reshape(constant.shape)


def _large_constant(file: ModelFile, begin: int, end: int) -> tuple[Any, LargeConstant] | None:
    """The NodeDef at this place without its large content, and where that is; None if it is no plain large constant."""
    node, data = protos.NodeDef(), file.data
    content = None
    for number, start, inner, stop in _fields(data, begin, end):
        if number == _ATTRIBUTE and stop - inner > _LARGE_NODE:
            found = _large_attribute(data, inner, stop)
            if found is None:
                return None
            tensor, content = found
            node.attr["value"].tensor.CopyFrom(tensor)
        else:
            node.MergeFromString(data[start:stop])
    if content is None or node.op != "Const" or any(edge.startswith("^") for edge in node.input):
        return None
    tensor = node.attr["value"].tensor
    shape = tuple(int(dim.size) for dim in tensor.tensor_shape.dim)
    dtype = tensor.dtype
    whole = dtype != dtypes.STRING and math.prod(shape) * get_dtype_size(dtype) == content[1] - content[0]
    return (node, LargeConstant(file, content[0], content[1] - content[0], dtype, shape)) if whole else None


def _large_attribute(data: bytes | mmap.mmap, begin: int, end: int) -> tuple[Any, tuple[int, int]] | None:
    """The tensor of an attribute called `value`, without its content, and where the content is."""
    fields = {number: (inner, stop) for number, _, inner, stop in _fields(data, begin, end)}
    if data[slice(*fields.get(_KEY, (0, 0)))] != b"value" or _VALUE not in fields:
        return None
    inside = {number: (inner, stop) for number, _, inner, stop in _fields(data, *fields[_VALUE])}
    if _TENSOR not in inside:
        return None
    tensor, content = protos.TensorProto(), None
    for number, start, inner, stop in _fields(data, *inside[_TENSOR]):
        if number == _CONTENT:
            content = (inner, stop)
        elif stop - inner > _LARGE_NODE:
            return None  # the values are in another field than TensorFlow uses for many
        else:
            tensor.MergeFromString(data[start:stop])
    return None if content is None else (tensor, content)


def _fields(data: bytes | mmap.mmap, position: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Each field of a message: its number, where it starts, and where what is inside it begins and ends."""
    for found in iterate_fields(data, position, end):
        if found.end > end:
            raise wire.DamagedError("a field is cut off")
        yield found.number, found.start, found.begin, found.end


def read_graph_def(path: Path) -> Any:
    """The GraphDef in a file, binary or text, of its own or in a MetaGraphDef. Raises UserError if there is none."""
    return read_graph_file(ModelFile(path)).graph_def
