"""Writes a GraphDef of gigabytes one node at a time, with no more than a slice of one variable in memory.

The nodes of a GraphDef are a repeated field, and protobuf merges messages that follow each other. So many serialized
GraphDefs of one node each, in one file, are one GraphDef with all nodes.
https://protobuf.dev/programming-guides/encoding/#last-one-wins
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serialization.console import show_progress
from serialization.formats import dtypes, protos
from serialization.formats.checkpoint_values import StoredValue
from serialization.formats.dtypes import get_base_dtype
from serialization.formats.wire import write_varint
from serialization.graph.const_nodes import make_constant
from serialization.graph.graph_def import change_op, measure_variables
from serialization.graph.op_sets import VARIABLES
from serialization.graph.recorded_signature import COUNT, RECORD, record_signature
from serialization.graph.repair import remove_lost_locations
from serialization.sources.frozen_reader import read_constant
from serialization.tensorflow import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from serialization.sources.from_frozen import PreparedFrozenModel

    Value = NDArray[Any] | StoredValue
    Piece = bytes | memoryview

_LARGE = 1 << 16  # bytes; smaller constants are written by protobuf itself


def write_frozen_graph(path: Path, graph_def: Any, value_of: Callable[[Any], Value], size: int) -> None:
    """Write the GraphDef to a file, with each variable's node replaced by a constant.

    `value_of` returns the value for the node of a variable, and is called once for each. `size` is about the number of
    bytes of all values.
    """
    with path.open("wb") as file:
        for piece in show_progress(_pieces(graph_def, value_of), "freezing", size, weigh=len):
            file.write(piece)


def write_prepared_model(path: Path, ready: PreparedFrozenModel) -> None:
    """Write the graph to a file, which records its signature; constants that stay in a large file are copied."""
    graph_def = protos.GraphDef()
    graph_def.CopyFrom(ready.graph_def)
    handles = {f"{name}/variable" for name in ready.constants}
    for node in graph_def.node:
        if node.name in ready.constants:
            constant = ready.constants[node.name]
            change_op(node, "VariableV2", [], dtype=constant.dtype)
            for size in constant.shape:
                node.attr["shape"].shape.dim.add(size=size)
    kept = [node for node in graph_def.node if node.name not in handles]
    copies = [type(node).FromString(node.SerializeToString()) for node in kept]
    del graph_def.node[:]
    graph_def.node.extend(copies)
    remove_lost_locations(graph_def)
    record_signature(graph_def, ready.signature)

    def read(node: Any) -> NDArray[Any]:
        constant = ready.constants[node.name]
        return read_constant(constant).reshape(constant.shape)

    write_frozen_graph(path, graph_def, read, measure_variables(graph_def))


def _pieces(graph_def: Any, value_of: Callable[[Any], Value]) -> Iterator[Piece]:
    yield _serialize(versions=graph_def.versions, library=graph_def.library)
    for node in graph_def.node:
        if node.op in VARIABLES:
            yield from _constant(node, value_of(node))
        else:
            yield _serialize(node=[node])


def _serialize(**fields: Any) -> bytes:
    return bytes(protos.GraphDef(**fields).SerializeToString(deterministic=True))


def _constant(variable: Any, value: Value) -> Iterator[Piece]:
    """A GraphDef with one constant, whose bytes are passed on as they are: protobuf would copy them three times."""
    dtype = get_base_dtype(variable.attr["dtype"].type)
    node = protos.NodeDef(name=variable.name, op="Const")
    node.attr["dtype"].type = dtype
    for name in (RECORD, COUNT):
        if name in variable.attr:
            node.attr[name].CopyFrom(variable.attr[name])
    if isinstance(value, StoredValue):
        yield _head(node, value, dtype)
        yield from value.pieces()
    elif dtype == dtypes.STRING or value.nbytes < _LARGE:
        node.attr["value"].CopyFrom(make_constant(variable.name, value, dtype).attr["value"])
        yield _serialize(node=[node])
    else:
        yield _head(node, value, dtype)
        yield np.ascontiguousarray(value).reshape(-1).view(np.uint8).data


def _head(node: Any, value: Value, dtype: int) -> bytes:
    """A GraphDef with one constant, up to the first byte of its value."""
    tensor = protos.TensorProto(dtype=dtype)
    tensor.tensor_shape.SetInParent()
    for size in value.shape:
        tensor.tensor_shape.dim.add(size=size)
    # 4: TensorProto.tensor_content
    head = tensor.SerializeToString(deterministic=True) + b"\x22" + write_varint(value.nbytes)
    length = len(head) + value.nbytes
    before = node.SerializeToString(deterministic=True)
    # The enclosing fields, from inside out: 8 AttrValue.tensor, 2 the map's value, 5 NodeDef.attr, 1 GraphDef.node.
    attribute = b"\x42" + write_varint(length)
    entry = b"\x0a\x05value\x12" + write_varint(len(attribute) + length) + attribute
    field = b"\x2a" + write_varint(len(entry) + length) + entry
    return bytes(b"\x0a" + write_varint(len(before) + len(field) + length) + before + field + head)
