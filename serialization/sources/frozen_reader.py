"""Reads graphs from files, and large frozen graphs without several copies in memory.

Parsing the file, importing the message, and constant folding each copy every constant. So the large constants stay in
the file while the rest is parsed. In the graph each becomes a resource variable of the same name, and is read from the
file straight into that variable. The graph computes the same.
Format: https://protobuf.dev/programming-guides/encoding/, tensorflow/core/framework/{graph,node_def,tensor}.proto.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serialization.checks.crashes import require_sound_graph
from serialization.console import show_path, show_progress
from serialization.errors import UserError
from serialization.formats import dtypes, protos, wire
from serialization.formats.dtypes import get_dtype_size
from serialization.formats.file_kind import Kind, ModelFile
from serialization.formats.messages import read_message
from serialization.formats.wire import iterate_fields
from serialization.graph.const_nodes import unpack_strings
from serialization.graph.graph_index import GraphIndex
from serialization.graph.repair import require_dense_shapes
from serialization.tensorflow import np, tf, tf1

if TYPE_CHECKING:
    from numpy.typing import NDArray

LARGE_FILE = 32_000_000  # bytes; below this a few copies do not matter, and TensorFlow folds the constants
_LARGE_NODE = 1 << 20
_ALIGNED = 64  # bytes, EIGEN_MAX_ALIGN_BYTES
_NODE, _NAME, _ATTRIBUTE, _KEY, _VALUE, _TENSOR, _CONTENT = 1, 1, 5, 1, 2, 8, 4  # the numbers of the fields


@dataclass(frozen=True)
class LargeConstant:
    """The place of a constant's bytes in its file; `dtype` is TensorFlow's number."""

    file: ModelFile
    offset: int
    length: int
    dtype: int
    shape: tuple[int, ...]

    def read_tensor(self) -> bytes:
        """The constant as a serialized TensorProto."""
        tensor = protos.TensorProto(
            dtype=self.dtype, tensor_content=self.file.data[self.offset : self.offset + self.length]
        )
        for size in self.shape:
            tensor.tensor_shape.dim.add(size=size)
        return bytes(tensor.SerializeToString(deterministic=True))


@dataclass(frozen=True)
class GraphFile:
    """A graph that was read from a file: a GraphDef with its index, and the MetaGraphDef around it if there is one.

    The graph is not changed afterwards. `constants` are the constants left in the file, by their nodes' names. `notes`
    report repairs, one line each.
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

    `lean` leaves the large constants of a large binary GraphDef in the file, as `constants`. Raises UserError for a
    file without a graph, for a damaged file, and for a graph that would crash TensorFlow's runtime.
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
    unpack_strings(graph_def)
    index, notes = require_dense_shapes(GraphIndex(graph_def))
    result = GraphFile(index, meta_graph, file.path, tuple(notes), constants)
    require_sound_graph(result.index, where, {name: left.length for name, left in constants.items()})
    return result


def read_large_graph_def(file: ModelFile) -> tuple[Any, dict[str, LargeConstant]]:
    """The GraphDef in a file with its large constants left empty, and the places of these constants, by name.

    Raises UserError if the file cannot be read to its end.
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
    """Replace these constants of the GraphDef, in place, by variables. Returns the constants that were in it."""
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


def put_back_constants(graph_def: Any, constants: Mapping[str, LargeConstant]) -> None:
    """Undo `replace_constants`, in place: the variables are constants again, with dtype and shape but without a value.

    `read_constant` reads the value.
    """
    handles = {f"{name}/variable" for name in constants}
    for position in reversed(range(len(graph_def.node))):
        node = graph_def.node[position]
        if node.name in handles:
            del graph_def.node[position]
        elif node.name in constants:
            node.op = "Const"
            del node.input[0]
            tensor = node.attr["value"].tensor
            tensor.dtype = constants[node.name].dtype
            tensor.tensor_shape.SetInParent()
            for size in constants[node.name].shape:
                tensor.tensor_shape.dim.add(size=size)


def fill_constants(session: Any, scope: str, constants: Mapping[str, LargeConstant]) -> None:
    """Read each constant from its file into its variable, one at a time, behind a progress bar.

    The graph was imported below `scope`, which may be empty. The variables are added to its collection of global
    variables, so that a Saver writes them.
    """
    if not constants:
        return
    from tensorflow.python.ops.resource_variable_ops import ResourceVariable  # tf1.Variable.from_proto refuses

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
    session.run(nothing)  # TensorFlow frees the arrays of closed sessions only when another session runs
    size = sum(constant.length for constant in constants.values())
    for assign, value, constant in show_progress(assignments, "loading", size, weigh=lambda step: step[2].length):
        session.run(assign, {value: read_constant(constant).reshape(constant.shape)})


def read_constant(constant: LargeConstant, first: int = 0, count: int | None = None) -> NDArray[Any]:
    """The values, or `count` of them from `first` on, as an aligned array of one axis: TensorFlow would copy any other.

    Raises UserError if the file has changed.
    """
    dtype = np.dtype(tf.as_dtype(constant.dtype).as_numpy_dtype)
    skipped = first * dtype.itemsize
    length = constant.length - skipped if count is None else min(count * dtype.itemsize, constant.length - skipped)
    buffer = np.empty(length + _ALIGNED, np.uint8)
    start = -buffer.ctypes.data % _ALIGNED
    content = buffer[start : start + length]
    if not constant.file.read_into(content.data, constant.offset + skipped):
        raise UserError(f"{show_path(constant.file.path)} was changed while it was read; run this again")
    return np.asarray(content.view(dtype))


def _large_constant(file: ModelFile, begin: int, end: int) -> tuple[Any, LargeConstant] | None:
    """The NodeDef at this place without its large content, and the content's place; None for any other node."""
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
    length = content[1] - content[0]
    if dtype == dtypes.STRING or math.prod(shape) * get_dtype_size(dtype) != length:
        return None
    return node, LargeConstant(file, content[0], length, dtype, shape)


def _large_attribute(data: bytes | mmap.mmap, begin: int, end: int) -> tuple[Any, tuple[int, int]] | None:
    """The tensor of an attribute called `value`, without its content, and the content's place."""
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
            return None  # the values are in a field that TensorFlow does not use for large tensors
        else:
            tensor.MergeFromString(data[start:stop])
    return None if content is None else (tensor, content)


def _fields(data: bytes | mmap.mmap, position: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Each field of a message: its number, its start, and the begin and end of its content."""
    for found in iterate_fields(data, position, end):
        if found.end > end:
            raise wire.DamagedError("a field is cut off")
        yield found.number, found.start, found.begin, found.end


def read_graph_def(path: Path) -> Any:
    """The GraphDef in a file, binary or text, alone or in a MetaGraphDef. Raises UserError if there is none."""
    return read_graph_file(ModelFile(path)).graph_def
