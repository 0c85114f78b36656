"""Prepares a frozen graph for TFLiteConverter, and explains what it refuses."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from serialization.console import list_some
from serialization.errors import UserError
from serialization.formats import protos
from serialization.formats.dtypes import DOUBLE
from serialization.graph.const_nodes import make_constant
from serialization.graph.graph_def import change_op, get_node_name, iterate_nodes
from serialization.graph.graph_index import GraphIndex
from serialization.graph.list_shapes import say_list_shapes
from serialization.graph.op_registry import get_output_dtypes
from serialization.graph.signature import Signature
from serialization.graph.single_precision import narrow_to_float32
from serialization.graph.spelled_out_ops import spell_out
from serialization.graph.tensor_arrays import raise_tensor_arrays
from serialization.run.edited_source import fix_inputs
from serialization.run.given_feeds import make_default
from serialization.run.origin import Origin
from serialization.run.predictor import Values
from serialization.sources.from_frozen import PreparedFrozenModel, list_roots
from serialization.sources.frozen_reader import put_back_constants, read_constant
from serialization.tensorflow import format_reason, hold_log, import_quietly, quiet

_LACKING = re.compile(r"^(?:TF Select|Custom) ops: (.+)$", re.MULTILINE)
_SPELLED_OUT = frozenset(
    """
    AccumulateNV2 Acos Acosh AdjustContrastv2 AdjustHue AdjustSaturation Asin Asinh Atan Atanh Bucketize Cosh Cross Diag
    DiagPart Erf Erfc EuclideanNorm ExtractImagePatches HSVToRGB Inv Invert InvertPermutation LinSpace LowerBound
    MatrixDiagPart MatrixDiagPartV2 MatrixDiagPartV3 Mod ParallelConcat RGBToHSV Sinh Tan TruncateMod UnravelIndex
    UpperBound
    """.split()  # noqa: SIM905
)
_DOUBLE = re.compile(r"tensor<[^>]*f64")  # an op may be there for float32
_ERROR = re.compile(r"error: (?:loc\(.*?\): )?(?:error: )?('?\S.*)")


def fix_defaults(ready: PreparedFrozenModel, named: str | None) -> PreparedFrozenModel:
    """The same without the inputs that have a default value, which are fixed to it: LiteRT has none of these.

    Of several keys for one tensor the last is left, which a Predictor is fed by. `named` is the value of --inputs: an
    input that it names stays an input, which has to be fed.
    """
    graph_def = protos.GraphDef()
    graph_def.CopyFrom(ready.graph_def)
    wanted = {tensor.name: tensor for tensor in ready.signature.inputs}
    inputs = tuple(
        tensor
        for tensor in ready.signature.inputs
        if wanted[tensor.name] is tensor and (tensor.default is None or named is not None)
    )
    kept = {get_node_name(tensor.name) for tensor in inputs}
    for node in graph_def.node:
        if node.op == "PlaceholderWithDefault" and node.name not in kept:
            change_op(node, "Identity", node.input, T=node.attr["dtype"].type)
    signature = replace(ready.signature, inputs=tuple(replace(tensor, default=None) for tensor in inputs))
    return replace(ready, index=GraphIndex(graph_def), signature=signature)


def fix_lists(ready: PreparedFrozenModel) -> PreparedFrozenModel:
    """The same with lists of tensors, also in the place of TensorArrays, which LiteRT lacks.

    The lists say the shapes of their elements, where the sizes of inputs show these.
    """
    graph_def = say_list_shapes(raise_tensor_arrays(ready.graph_def), list_roots(ready, ready.signature))
    return ready if graph_def is ready.graph_def else replace(ready, index=GraphIndex(graph_def))


class LackingOpsError(UserError):
    """TFLiteConverter has no built-in op for these `ops`."""

    def __init__(self, message: str, ops: Collection[str]) -> None:
        super().__init__(message)
        self.ops = ops


def spell_out_ops(ready: PreparedFrozenModel, lacking: LackingOpsError) -> PreparedFrozenModel:
    """The same with the ops that are lacking spelled out in others; `changes` says which.

    Not before the converter lacks them: it makes one op of some that it lacks, as of the Erf in a GELU. Raises the
    error if there is no formula for any.
    """
    graph_def = protos.GraphDef()
    graph_def.CopyFrom(ready.graph_def)
    if changes := spell_out(graph_def, _SPELLED_OUT.intersection(lacking.ops)):
        return replace(ready, index=GraphIndex(graph_def), changes=(*ready.changes, *changes))
    raise lacking


def narrow_doubles(ready: PreparedFrozenModel) -> PreparedFrozenModel:
    """The same computed in float32, if it computes in float64, which LiteRT's ops lack; `changes` says so.

    Inputs and outputs keep their dtypes.
    """
    if not any(DOUBLE in (get_output_dtypes(node) or ()) for node in iterate_nodes(ready.graph_def)):
        return ready
    graph_def = protos.GraphDef()
    graph_def.CopyFrom(ready.graph_def)
    put_back_constants(graph_def, ready.constants)
    for node in graph_def.node:
        if (constant := ready.constants.get(node.name)) is not None:
            value = read_constant(constant).reshape(constant.shape)
            node.CopyFrom(make_constant(node.name, value, constant.dtype))
    signature = ready.signature
    inputs = [get_node_name(tensor.name) for tensor in signature.inputs if tensor.dtype == "float64"]
    for node in graph_def.node:
        if node.op == "PlaceholderWithDefault" and node.name in inputs:  # its default value is float32 now
            del node.input[:]
            node.op = "Placeholder"
    named = [tensor.name for tensor in signature.outputs if tensor.dtype == "float64"]
    names = narrow_to_float32(graph_def, inputs, named)
    outputs = tuple(replace(tensor, name=names.get(tensor.name, tensor.name)) for tensor in signature.outputs)
    return replace(
        ready,
        index=GraphIndex(graph_def),
        signature=replace(signature, outputs=outputs),
        constants={},
        changes=(*ready.changes, "computed in float32: LiteRT's ops lack float64, which inputs and outputs keep"),
    )


def add_metadata(model: bytes, name: str, value: bytes) -> bytes:
    """The .tflite file with one more entry in its metadata."""
    utils = import_quietly("tensorflow.lite.tools.flatbuffer_utils")
    schema = import_quietly("tensorflow.lite.python.schema_py_generated")
    parsed = utils.convert_bytearray_to_object(bytearray(model))
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data, entry.name, entry.buffer = list(value), name, len(parsed.buffers)
    parsed.buffers.append(buffer)
    parsed.metadata = [*(parsed.metadata or ()), entry]
    return bytes(utils.convert_object_to_bytearray(parsed))


def split_rows(values: Values) -> Iterator[dict[str, Any]]:
    """The rows of several inputs, one after the other, each with a batch of one; a scalar goes with every row."""
    count = max((len(value) for value in values.values() if value.ndim), default=1)
    for row in range(count):
        yield {key: value[row : row + 1] if value.ndim else value for key, value in values.items()}


def feed_defaults(origin: Origin, wanted: Signature) -> Origin:
    """The source with the inputs of `wanted` alone: the others get their default values."""
    keys = {tensor.key for tensor in wanted.inputs}
    fixed = {t.key: make_default(t.default) for t in origin.signature.inputs if t.key not in keys and t.default}

    return fix_inputs(origin, fixed)


# Layers of Keras that repeat, such as LSTM, keep their steps in such a list, which LiteRT has with fixed sizes alone.
_FIX_BATCH = "a layer such as an LSTM is the reason, and takes a batch of a fixed size alone: add --batch-size 1"
_FIX_SIZES = (
    "a layer such as an LSTM is the reason: build the model again in Keras with a fixed length, Input((LENGTH, SIZE)), "
    "and unroll=True in that layer, give it the weights with set_weights(model.get_weights()), and save that"
)


@contextmanager
def explain_conversion(signature: Signature) -> Iterator[None]:
    """Raise what TFLiteConverter raises about a model as a UserError; its log and its warnings are held back."""
    for name in ("absl", "tensorflow"):
        hold_log(name)
    try:
        with quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except Exception as error:  # its compilers raise a class of their own, and whatever else they run into
        text = str(error)
        ops = [op.strip() for line in _LACKING.findall(text) for op in line.split(",")]
        why, double = _ERROR.search(text), " in float64" if _DOUBLE.search(text) else ""
        reason = (
            f"LiteRT's built-in ops lack {list_some(sorted(set(ops)), 8)}{double}"
            if ops
            else f"TFLiteConverter says: {why[1].strip()[:300].rstrip('.:;, ') if why else format_reason(error)}"
        )
        is_free = any(tensor.shape is None or tensor.shape[:1] == (None,) for tensor in signature.inputs)
        fixing = _FIX_BATCH if is_free else _FIX_SIZES
        is_sized = "TensorList" in reason and "element_dtype" not in reason  # a list of strings has no size that fits
        advice = fixing if is_sized else "cut the graph with --inputs or --outputs"
        line = f"the model cannot be a LiteRT model; {reason}; {advice}; nothing was written"
        raise (LackingOpsError(line, ops) if ops else UserError(line)) from error
