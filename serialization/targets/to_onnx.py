"""Prepares a frozen graph for tf2onnx, and writes the ONNX file.

tf2onnx holds each constant a dozen times or more. So in a large graph those whose numbers do not matter to it are cut
out before: each becomes an input, and after the conversion an initializer, which is written straight into the file.
Format: onnx/onnx.proto.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from serialization.errors import UserError
from serialization.formats import dtypes, protos
from serialization.formats.numpy_dtypes import get_numpy_dtype
from serialization.graph.const_nodes import make_constant
from serialization.graph.functional_loops import raise_list_loops
from serialization.graph.graph_def import change_op, find_free_name, get_node_name
from serialization.graph.graph_index import GraphIndex
from serialization.graph.op_sets import IDENTITIES
from serialization.graph.signature import Signature, show_shape
from serialization.graph.spelled_out_ops import spell_out
from serialization.graph.tensor_arrays import raise_tensor_arrays
from serialization.sources.frozen_reader import LARGE_FILE, LargeConstant, read_constant
from serialization.targets.onnx_tables import make_table_handlers
from serialization.targets.onnx_writer import list_inner_graphs
from serialization.tensorflow import format_reason, hold_log, import_quietly, np, quiet, tf

if TYPE_CHECKING:
    from serialization.sources.from_frozen import PreparedFrozenModel
    from serialization.targets.onnx_writer import Value

_SCALARS = 24  # the producer of graphs from which on a Placeholder of shape [] is a scalar
_LARGE = 1 << 16  # bytes of a constant; what tf2onnx has to know, such as shapes, is smaller
# They take a constant as numbers: tf2onnx chooses ONNX's ops without knowing them.
_TAKERS = frozenset(
    """
    Add AddV2 BatchMatMul BatchMatMulV2 BatchMatMulV3 BiasAdd Conv2D Conv2DBackpropInput Conv3D Conv3DBackpropInputV2
    DepthwiseConv2dNative GatherV2 MatMul Mul RealDiv Sub
    """.split()  # noqa: SIM905
)

# Ops that ONNX, or tf2onnx, has no form for.
_LACKING = frozenset(
    """
    AdjustHue AdjustSaturation Bucketize Cross Diag DiagPart Erfc EuclideanNorm Expm1 HSVToRGB Inv InvertPermutation
    L2Loss Log1p LowerBound MatrixSetDiag Mod MulNoNan ParallelConcat RGBToHSV TruncateMod UnravelIndex UpperBound Xdivy
    Xlog1py Xlogy
    """.split()  # noqa: SIM905
)
# onnxruntime has them in float32 alone.
_FLOAT32 = frozenset("Acos Acosh Asin Asinh Atan Atanh Cosh Erf Sinh Tan".split())  # noqa: SIM905


@dataclass(frozen=True)
class OnnxGraph:
    """A GraphDef as tf2onnx takes it.

    `inputs` and `outputs` are the names of its tensors, in order; `names` gives each its name in the ONNX file.
    `constants` were cut out, by the names of their tensors: these are the last of the inputs. `handlers` are tf2onnx's
    custom_op_handlers for lookups in tables. `required` are inputs whose default value, in the graph, means nothing.
    `notes` are on ops, names and shapes that had to be changed.
    """

    graph_def: Any
    inputs: list[str]
    outputs: list[str]
    names: dict[str, str]
    constants: Mapping[str, Value]
    handlers: Mapping[str, Any]
    required: frozenset[str]
    notes: tuple[str, ...]


def prepare_onnx_graph(ready: PreparedFrozenModel, *, as_lists: bool = False) -> OnnxGraph:
    """The graph for tf2onnx, with lists in the place of TensorArrays if `as_lists`. The given graph stays as it is.

    The keys of the signature become the names in the ONNX file. Raises UserError for a table that ONNX has no form for.
    """
    graph_def = protos.GraphDef()
    graph_def.CopyFrom(ready.graph_def)
    spelled = spell_out(graph_def, _LACKING, _FLOAT32)
    graph_def = raise_list_loops(raise_tensor_arrays(graph_def) if as_lists else graph_def)
    for node in graph_def.node:
        node.attr.pop("_output_shapes", None)  # stale ones break tf2onnx's inference
    handlers = make_table_handlers(graph_def)
    notes, required = _give_ranks(graph_def, ready)
    names, more = _name_tensors(graph_def, ready.signature)
    constants = _cut_constants(graph_def, ready.constants, {get_node_name(name) for name in names})
    wanted = {get_node_name(tensor.name) for tensor in ready.signature.inputs}
    for node in graph_def.node:
        if node.op == "PlaceholderWithDefault" and node.name not in wanted:
            change_op(node, "Identity", node.input, T=node.attr["dtype"].type)
    outputs = list(names)[-len(ready.signature.outputs) :]
    inputs = [*list(names)[: -len(outputs)], *constants]
    if not inputs:  # tf2onnx wants one
        none = find_free_name("none", GraphIndex(graph_def).nodes)
        placeholder = graph_def.node.add(name=none, op="Placeholder")
        placeholder.attr["dtype"].type = dtypes.FLOAT
        inputs, constants = [f"{none}:0"], {f"{none}:0": np.zeros([], np.float32)}
    return OnnxGraph(graph_def, inputs, outputs, names, constants, handlers, required, (*spelled, *notes, *more))


def _give_ranks(graph_def: Any, ready: PreparedFrozenModel) -> tuple[list[str], frozenset[str]]:
    """Give placeholders of unknown rank, in place, the shape that the graph suggests; else have a default value.

    tf2onnx takes a Placeholder of unknown rank for a scalar. Returns notes on shapes, and the tensors with defaults.
    """
    nodes = GraphIndex(graph_def).nodes
    notes, required = [], set()
    for tensor in ready.signature.inputs:
        node = nodes[get_node_name(tensor.name)]
        shape = node.attr["shape"].shape
        # In an old graph the shape [] means any.
        if node.op != "Placeholder" or not (
            shape.unknown_rank or (graph_def.versions.producer < _SCALARS and not shape.dim)
        ):
            continue
        shape.Clear()
        hint = ready.hints.get(tensor.key)
        if hint is not None and hint.shape:
            notes.append(
                f"input {tensor.key}: of unknown shape, {show_shape(hint.shape)} in the file, as the ops need it"
            )
            for size in hint.shape:
                shape.dim.add(size=-1 if size is None else size)
            continue
        shape.unknown_rank = True
        value = make_constant(
            find_free_name(f"{node.name}/default", nodes),
            np.array(b"" if tensor.dtype == "string" else 0, get_numpy_dtype(tensor.dtype)),
            node.attr["dtype"].type,
        )
        graph_def.node.append(value)
        node.op = "PlaceholderWithDefault"
        node.input.append(value.name)
        required.add(tensor.name)
    return notes, frozenset(required)


def _name_tensors(graph_def: Any, signature: Signature) -> tuple[dict[str, str], list[str]]:
    """The names in the ONNX file of the inputs, and then of the outputs; each output gets a node of its own."""
    nodes = {node.name for node in graph_def.node}
    names: dict[str, str] = {}
    notes = []
    for tensor in signature.inputs:
        if tensor.name in names:  # a Predictor is fed by the last key
            notes.append(f"input {names[tensor.name]}: the tensor of {tensor.key}, which alone is an input of the file")
        names[tensor.name] = tensor.key
    taken = set(names.values())
    for tensor in signature.outputs:
        name = find_free_name(tensor.key, taken)
        if name != tensor.key:
            notes.append(f"output {tensor.key}: called {name} in the file, where an input has its key")
        taken.add(name)
        node = graph_def.node.add(name=find_free_name("output", nodes, len(nodes)), op="Identity", input=[tensor.name])
        node.attr["T"].type = dtypes.get_dtype_number(tensor.dtype)
        nodes.add(node.name)
        names[f"{node.name}:0"] = name
    return names, notes


def _cut_constants(graph_def: Any, left: Mapping[str, LargeConstant], kept: set[str]) -> dict[str, Value]:
    """Make inputs of the large constants of a large graph, in place, and constants of the others `left` in the file.

    Nodes in `kept` stay. Returns the constants that were cut out, by their tensors' names.
    """
    index = GraphIndex(graph_def)
    is_large = graph_def.ByteSize() + sum(constant.length for constant in left.values()) > LARGE_FILE
    cut: dict[str, Value] = {}
    for name, node in index.nodes.items():
        tensor = node.attr["value"].tensor if node.op == "Const" and not node.input else None
        value: Value | None = left.get(name)
        if value is None and tensor is not None and is_large and len(tensor.tensor_content) >= _LARGE:
            value = tf.make_ndarray(tensor)
        if value is None:
            continue
        dtype = value.dtype if isinstance(value, LargeConstant) else node.attr["dtype"].type
        if name not in kept and _feeds_takers(index, name):
            change_op(node, "Placeholder", [], dtype=dtype)
            for size in value.shape:
                node.attr["shape"].shape.dim.add(size=size)
            cut[f"{name}:0"] = value
        elif isinstance(value, LargeConstant):
            node.CopyFrom(make_constant(name, read_constant(value).reshape(value.shape), dtype))
    handles = {f"{name}/variable" for name in left}
    rest = [node for node in graph_def.node if node.name not in handles]
    del graph_def.node[:]
    graph_def.node.extend(rest)
    return cut


def _feeds_takers(index: GraphIndex, name: str) -> bool:
    """Whether nothing but ops that take numbers uses a constant."""
    users = [index.nodes[user] for user in index.consumers(name)]
    return all(
        user.op in _TAKERS or (user.op in IDENTITIES and _feeds_takers(index, user.name)) for user in users
    ) and bool(users)


@contextmanager
def explain_conversion() -> Iterator[None]:
    """Raise what tf2onnx raises about a model as a UserError; its log and its warnings are held back."""
    import_quietly("tensorflow")  # before tf2onnx does so aloud
    hold_log("tf2onnx")
    try:
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except ModuleNotFoundError:
        raise
    except Exception as error:  # it raises whatever a handler of an op runs into
        raise UserError(
            f"tf2onnx cannot convert the graph: {format_reason(error)}; cut the graph with --inputs or --outputs; "
            "nothing was written"
        ) from error


def has_tensor_arrays(model: Any) -> bool:
    """Whether tf2onnx has left TensorArrays in an onnx.ModelProto: it knows those of the loops of `dynamic_rnn`."""
    return any(node.op_type.startswith("TensorArray") for node in model.graph.node)


def require_onnx_ops(model: Any) -> None:
    """Raise UserError with the op and the node if an onnx.ModelProto has an op that its opsets do not have.

    tf2onnx leaves an op of TensorFlow in the model where it has no other form for it.
    """
    versions = {opset.domain: opset.version for opset in model.opset_import}
    node = next(_iterate_unknown(model.graph, versions), None)
    if node is not None:
        raise UserError(
            f"the model cannot be an ONNX model; ONNX's opset {versions['']} has no {node.op_type}, the op of node "
            f"{node.name}; cut the graph around it with --inputs or --outputs; nothing was written"
        )


def _iterate_unknown(graph: Any, versions: Mapping[str, int]) -> Iterator[Any]:
    import onnx

    for node in graph.node:
        try:
            onnx.defs.get_schema(node.op_type, versions.get(node.domain, 0), node.domain)
        except onnx.defs.SchemaError:
            yield node
        for inner in list_inner_graphs(node):
            yield from _iterate_unknown(inner, versions)
