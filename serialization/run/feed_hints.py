"""Finds hints in a graph about the values that its inputs take, beside dtype and shape, for generated feeds."""

from __future__ import annotations

import base64
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from serialization.formats import dtypes, protos
from serialization.graph.const_nodes import read_integers, read_strings
from serialization.graph.graph_def import get_node_name, get_tensor_name, iterate_nodes, list_data_edges
from serialization.graph.graph_index import GraphIndex
from serialization.graph.op_sets import ENTERS, IDENTITIES, MERGES, PASS_THROUGH, TABLE_LOOKUPS, VARIABLES, VIEWS
from serialization.graph.repair import SPARSE_SIZES
from serialization.graph.signature import Signature
from serialization.run.generated_feeds import Hint

# A shape after a Reshape or an Unpack says nothing about the shape of the input.
_NUMBER_VIEWS = VIEWS - {"Reshape", "Unpack"} | {"Cast", "StopGradient", "PlaceholderWithDefault"}
_TEXT_VIEWS = VIEWS | {"StringStrip"}
# tf.matmul writes a BatchMatMul for an input of unknown rank.
_PRODUCTS = {"MatMul", "SparseMatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3"}
_PARSERS = ("ParseExample", "ParseExampleV2", "ParseSingleExample", "ParseSequenceExample")
_IMAGES = {"DecodeJpeg", "DecodePng", "DecodeImage", "DecodeAndCropJpeg"}
_BASE64 = b"AAAA"
_KNOWN = 50  # keys of a table that are fed
_ROWS_OF_IMAGES = 32  # enough for a proof; each image takes long
# One white pixel.
_PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c49444154789c63f8ffff3f0005fe02fe0def46b8"
    "0000000049454e44ae426082"
)


def find_hints(index: GraphIndex, wanted: Signature, keys: Mapping[str, Any] | None = None) -> dict[str, Hint]:
    """Hints for inputs, by key, from the ops that consume them.

    `keys` are the keys of lookup tables, by the tables' nodes: unknown keys get the same answer from every table.
    """
    keys = keys or {}
    ops = {node.op for node in iterate_nodes(index.graph_def)}
    hints = {}
    for tensor in wanted.inputs:
        hint = Hint()
        waiting, seen = [tensor.name], {tensor.name}
        while waiting:
            for node, position in _takers(index, waiting.pop()):
                looked_up = keys.get(_table_of(node, index)) if node.op in TABLE_LOOKUPS else None
                known = () if looked_up is None or position != 1 else tuple(looked_up[:_KNOWN].tolist())
                hint = _merge(hint, Hint(known=known) if known else _ask(node, position, index))
                follow = node.op in _TEXT_VIEWS if tensor.dtype == "string" else node.op in _NUMBER_VIEWS
                if follow and f"{node.name}:0" not in seen:
                    seen.add(f"{node.name}:0")
                    waiting.append(f"{node.name}:0")
        # The graph may split or decode a text before it looks it up.
        if tensor.dtype == "string" and hint.example is None and not hint.known:
            words = [word for held in keys.values() if held.dtype == object for word in held[:_KNOWN].tolist()]
            hint = replace(hint, known=tuple(words), example=_BASE64 if "DecodeBase64" in ops else None)
        if tensor.dtype == "string" and hint.example in (None, _BASE64) and _IMAGES & ops:
            hint = replace(hint, example=_PNG if hint.example is None else base64.urlsafe_b64encode(_PNG).rstrip(b"="))
        if tensor.dtype.startswith("float") and not tensor.shape:
            hint = replace(hint, value=_share(tensor.name, index))
        attributes = index.nodes[get_node_name(tensor.name)].attr
        if SPARSE_SIZES in attributes:
            hint = replace(hint, sizes=tuple(attributes[SPARSE_SIZES].list.i))
        if any("Conv" in op for op in ops):
            hint = replace(hint, most=_ROWS_OF_IMAGES)
        if hint != Hint():
            hints[tensor.key] = hint
    return hints


def _takers(index: GraphIndex, tensor: str) -> Iterator[tuple[Any, int]]:
    """The nodes that take a tensor, each with the number of its input."""
    for name in index.consumers(get_node_name(tensor)):
        for position, edge in enumerate(list_data_edges(index.nodes[name])):
            if get_tensor_name(edge) == tensor:
                yield index.nodes[name], position


def _share(tensor: str, index: GraphIndex) -> float | None:
    """The value that switches dropout off: 1 if the tensor is the share that is kept, 0 if it is the share dropped."""
    seen, waiting = {tensor}, [(tensor, 1.0)]
    while waiting:
        name, value = waiting.pop()
        for node, position in _takers(index, name):
            if node.op in ("RealDiv", "Div") and position == 1 and "dropout" in node.name.lower():
                return value  # dropout divides the kept numbers by the kept share
            follow = (
                value if node.op in _NUMBER_VIEWS | ENTERS else 1 - value if (node.op, position) == ("Sub", 1) else None
            )
            if follow is not None and f"{node.name}:0" not in seen:
                seen.add(f"{node.name}:0")
                waiting.append((f"{node.name}:0", follow))
    return None


def find_batch_sizes(graph_def: Any) -> list[int]:
    """The most frequent first dimensions of recorded shapes and of initial states: the graph may need one of them."""
    found: Counter[int] = Counter()
    for node in graph_def.node:
        if node.op == "Const" and _is_splat(node.attr["value"].tensor):
            found[node.attr["value"].tensor.tensor_shape.dim[0].size] += 1
        for shape in node.attr["_output_shapes"].list.shape if "_output_shapes" in node.attr else ():
            if len(shape.dim) > 1 and shape.dim[0].size > 1 and node.op not in VARIABLES | IDENTITIES | {"Const"}:
                found[shape.dim[0].size] += 1
    return [size for size, _ in found.most_common(3)]


def _is_splat(tensor: Any) -> bool:
    """Whether it is one number many times, such as a loop's first state, or the first token of each row."""
    dims = tensor.tensor_shape.dim
    rank = {dtypes.FLOAT: 2, dtypes.INT32: 1, dtypes.INT64: 1}.get(tensor.dtype, 0)
    stored = len(tensor.float_val) + len(tensor.int_val) + len(tensor.int64_val)
    alike = stored < 2 and not tensor.tensor_content.strip(b"\0")
    return bool(rank) and len(dims) >= rank and dims[0].size > 1 and alike


def _ask(node: Any, position: int, index: GraphIndex) -> Hint:
    """The hint of one consumer about its input at this position."""
    if node.op in _PRODUCTS and position == 0:
        weights = _shape_of(node.input[1], index)
        if weights is not None and len(weights) == 2:
            turned = any(node.attr[name].b for name in ("transpose_b", "adj_y") if name in node.attr)
            return Hint((None, weights[1] if turned else weights[0]))
    if node.op == "Reshape" and position == 0:
        sizes = read_integers(index.producer(node.input[1]))
        if sizes and sizes[0] == -1 and len(sizes) > 1 and min(sizes[1:]) > 0:
            product = 1
            for size in sizes[1:]:
                product *= size
            return Hint((None, product))
    if node.op in ("Conv2D", "DepthwiseConv2dNative") and position == 0:
        weights = _shape_of(node.input[1], index)
        if weights is not None and len(weights) == 4 and node.attr["data_format"].s != b"NCHW":
            return Hint((None, None, None, weights[2]))
    if node.op in ("Add", "AddV2", "BiasAdd", "Sub", "Mul"):
        return Hint()
    if node.op in ("Gather", "GatherV2", "ResourceGather") and position == 1:
        table = _shape_of(node.input[0], index)
        axes = read_integers(index.producer(node.input[2])) if node.op == "GatherV2" else [0]
        known = table and axes and -len(table) <= axes[0] < len(table)
        return Hint(top=max(0, table[axes[0]])) if known and table and axes else Hint()
    if node.op in _PARSERS and position == 0:
        return Hint(example=_example(node, index))
    if node.op == "DecodeWav":
        return Hint(example=_wav())
    if node.op in _IMAGES:
        return Hint(example=_PNG)
    if node.op == "DecodeRaw":
        return Hint(example=bytes(4096))
    if node.op == "DecodeCSV":
        return Hint(example=b",".join([b"1"] * len(node.attr["OUT_TYPE"].list.type)))
    if node.op == "StringToNumber":
        return Hint(example=b"1")
    if node.op == "DecodeBase64":
        return Hint(example=_BASE64)
    return Hint()


def _table_of(node: Any, index: GraphIndex) -> str:
    """The node of the table that a lookup reads; ops between them may pass the handle on."""
    return get_node_name(index.trace_back(node.input[0], PASS_THROUGH - MERGES))


def _merge(a: Hint, b: Hint) -> Hint:
    tops = [top for top in (a.top, b.top) if top]
    return Hint(a.shape or b.shape, min(tops, default=0), a.example or b.example, known=a.known or b.known)


def _shape_of(edge: str, index: GraphIndex) -> tuple[int, ...] | None:
    """The shape of a variable or a constant, also if ops between only read it."""
    node = index.producer(index.trace_back(edge, IDENTITIES | ENTERS | {"ReadVariableOp", "Cast"}))
    if node is None:
        return None
    if node.op == "Const":
        return tuple(int(dim.size) for dim in node.attr["value"].tensor.tensor_shape.dim)
    shape = node.attr["shape"].shape if "shape" in node.attr else None
    return tuple(int(dim.size) for dim in shape.dim) if shape is not None and not shape.unknown_rank else None


def _example(node: Any, index: GraphIndex) -> bytes:
    """A serialized tf.train.Example with a value for each feature that the op parses."""
    names, shapes = _features(node, index)
    example = protos.Example()
    for (name, number), shape in zip(names, shapes, strict=True):
        count = 1
        for size in shape or (1,):
            count *= max(1, size)
        feature = example.features.feature[name]
        if number == dtypes.STRING:
            feature.bytes_list.value.extend([b"text"] * count)
        elif number == dtypes.INT64:
            feature.int64_list.value.extend([1] * count)
        else:
            feature.float_list.value.extend([1.0] * count)
    return bytes(example.SerializeToString(deterministic=True))


def _features(node: Any, index: GraphIndex) -> tuple[list[tuple[str, int]], list[tuple[int, ...]]]:
    """The names and dtypes of the features, the sparse ones first, and the shapes of the features."""

    def strings(edge: str) -> list[str]:
        return [value.decode(errors="replace") for value in read_strings(index.producer(edge))]

    data = list_data_edges(node)
    sparse_types = list(node.attr["sparse_types"].list.type)
    dense_types = list(node.attr["Tdense"].list.type)
    if node.op == "ParseExample":
        sparse = [name for edge in data[2 : 2 + len(sparse_types)] for name in strings(edge)]
        dense = [name for edge in data[2 + len(sparse_types) :][: len(dense_types)] for name in strings(edge)]
    elif node.op == "ParseExampleV2":
        sparse, dense = strings(data[2]), strings(data[3])
    elif node.op == "ParseSingleExample":
        sparse = [key.decode(errors="replace") for key in node.attr["sparse_keys"].list.s]
        dense = [key.decode(errors="replace") for key in node.attr["dense_keys"].list.s]
    else:
        return [], []
    shapes = [tuple(int(dim.size) for dim in shape.dim) for shape in node.attr["dense_shapes"].list.shape]
    names = [*zip(sparse, sparse_types, strict=False), *zip(dense, dense_types, strict=False)]
    return names, [(1,)] * len(list(zip(sparse, sparse_types, strict=False))) + shapes[: len(dense)]


def _wav() -> bytes:
    """One second of 16 kHz mono, a sawtooth. Format: http://soundfile.sapp.org/doc/WaveFormat/."""
    samples = struct.pack("<16000h", *(position * 97 % 4096 - 2048 for position in range(16000)))
    head = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        36 + len(samples),
        b"WAVE",
        b"fmt ",
        16,
        1,
        1,
        16000,
        32000,
        2,
        16,
        b"data",
        len(samples),
    )
    return head + samples
