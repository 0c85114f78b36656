"""Writes an ONNX file: the names of its tensors, and the constants that tf2onnx did not see.

Format: onnx/onnx.proto.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from serialization.console import format_size
from serialization.errors import UserError
from serialization.formats.messages import LIMIT
from serialization.formats.wire import write_varint
from serialization.graph.graph_def import find_free_name
from serialization.sources.frozen_reader import LargeConstant, read_constant
from serialization.tensorflow import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Value = LargeConstant | NDArray[Any]


def list_inner_graphs(node: Any) -> list[Any]:
    """The graphs in a node's attributes, such as the body of a loop."""
    return [graph for attribute in node.attribute for graph in (attribute.g, *attribute.graphs) if graph.node]


def _rename_tensors(graph: Any, names: Mapping[str, str]) -> dict[str, str]:
    """Give tensors of a GraphProto other names, in place. What has such a name already gets another one.

    Returns all new names by the old ones.
    """
    taken = {
        *_count_uses(graph),
        *(value.name for value in graph.input),
        *(out for n in graph.node for out in n.output),
    }
    new = dict(names)
    for name in names.values():
        if name in taken and name not in names:
            new[name] = find_free_name(name, taken | set(names.values()))
    waiting = [graph]
    while waiting:
        inner = waiting.pop()
        for value in (*inner.input, *inner.output, *inner.initializer, *inner.value_info):
            value.name = new.get(value.name, value.name)
        for node in inner.node:
            for edges in (node.input, node.output):
                edges[:] = [new.get(name, name) for name in edges]
            waiting += list_inner_graphs(node)
    return new


def write_onnx_file(
    path: Path, model: Any, names: Mapping[str, str], constants: Mapping[str, Value], required: Collection[str]
) -> None:
    """Write an onnx.ModelProto to a file, and change it on the way.

    Tensors get the new `names`. Inputs that are `constants` become initializers, those in `required` lose their default
    values. Raises UserError if it has more than the 2 GiB that protobuf takes.
    """
    graph = model.graph
    new = _rename_tensors(graph, names)
    constants = {new.get(name, name): value for name, value in constants.items()}
    defaults = {new.get(name, name) for name in required}
    kept = [initializer for initializer in graph.initializer if initializer.name not in defaults]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    types = {value.name: value.type.tensor_type.elem_type for value in graph.input if value.name in constants}
    inputs = [value for value in graph.input if value.name not in constants]
    del graph.input[:]
    graph.input.extend(inputs)
    turns = _fold_transposes(graph, constants)
    uses = _count_uses(graph)
    initializers = [
        (turns[name][0], types[name], value, turns[name][1]) if name in turns else (name, types[name], value, None)
        for name, value in constants.items()
        if name in turns or uses[name]
    ]
    heads = [_make_head(*initializer) for initializer in initializers]
    whole = graph.SerializeToString()
    model.ClearField("graph")
    size = len(whole) + sum(len(head) + _count_bytes(made[2]) for head, made in zip(heads, initializers, strict=True))
    if size + model.ByteSize() > LIMIT - (1 << 16):
        raise UserError(
            f"the model is too large for ONNX; its graph holds {format_size(size)}, one file at most 2.15 GB; "
            "keep the frozen model"
        )
    with path.open("wb") as file:
        file.write(model.SerializeToString() + b"\x3a" + write_varint(size) + whole)  # 7: ModelProto.graph
        for head, (_, _, value, turn) in zip(heads, initializers, strict=True):
            _write_values(file, head, value, turn)


def _write_values(file: BinaryIO, head: bytes, value: Value, turn: list[int] | None) -> None:
    array = read_constant(value).reshape(value.shape) if isinstance(value, LargeConstant) else value
    file.write(head)
    file.write(np.ascontiguousarray(array if turn is None else array.transpose(turn)).reshape(-1).view(np.uint8).data)


def _make_head(name: str, dtype: int, value: Value, turn: list[int] | None) -> bytes:
    """The GraphProto's field for an initializer, up to the first byte of its values."""
    import onnx

    shape = value.shape if turn is None else [value.shape[axis] for axis in turn]
    tensor = onnx.TensorProto(dims=shape, data_type=dtype, name=name)
    head: bytes = tensor.SerializeToString() + b"\x4a" + write_varint(_count_bytes(value))  # 9: TensorProto.raw_data
    return b"\x2a" + write_varint(len(head) + _count_bytes(value)) + head  # 5: GraphProto.initializer


def _count_bytes(value: Value) -> int:
    return value.length if isinstance(value, LargeConstant) else value.nbytes


def _fold_transposes(graph: Any, names: Mapping[str, object]) -> dict[str, tuple[str, list[int]]]:
    """Take away the transpositions of these tensors, where nothing else uses the tensor.

    Returns for each the name of the transposed tensor, and the order of its axes.
    """
    uses = _count_uses(graph)
    folded = {}
    for node in list(graph.node):
        if node.op_type == "Transpose" and node.input[0] in names and uses[node.input[0]] == 1 and node.attribute:
            folded[node.input[0]] = (node.output[0], list(node.attribute[0].ints))
            graph.node.remove(node)
    return folded


def _count_uses(graph: Any) -> Counter[str]:
    """How often each tensor is used: by nodes, by those of the graphs within them, as an output."""
    uses = Counter(value.name for value in graph.output)
    for node in graph.node:
        uses.update(node.input)
        for inner in list_inner_graphs(node):
            uses += _count_uses(inner)
    return uses
