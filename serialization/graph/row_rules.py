"""Rules for single ops: whether an op makes row i of its result from row i of its inputs.

Each input is of one of three kinds: FIXED, COUNT or ROWS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from serialization.graph.op_sets import BATCH_NORMS, IDENTITIES, STATIC_TABLES, VARIABLES
from serialization.tensorflow import np, tf

FIXED, COUNT, ROWS = "the same whatever is fed", "depends on the number of rows", "row by row"

# Their values do not change: an op that changes them takes a reference or is stateful, and so ends the proof.
STATES = VARIABLES | STATIC_TABLES | {"ReadVariableOp"}
# Number i of the result comes from number i of each broadcast input.
_ELEMENTWISE = set(
    """
    Abs Acos Acosh Add AddN AddV2 AsString Asin Asinh Atan Atan2 Atanh Bucketize Cast Ceil ClipByValue Cos
    Cosh Div DivNoNan Elu EnsureShape Equal Erf Erfc Exp Expm1 FakeQuantWithMinMaxArgs FakeQuantWithMinMaxVars Floor
    FloorDiv FloorMod Greater GreaterEqual Identity IsFinite IsInf IsNan LeakyRelu Less LessEqual Lgamma Log
    Log1p LogicalAnd LogicalNot LogicalOr Maximum Minimum Mod Mul MulNoNan Neg NotEqual OnesLike Pow PreventGradient
    RealDiv Reciprocal RegexReplace Relu Relu6 Rint Round Rsqrt SelectV2 Selu Sigmoid Sign Sin Sinh Snapshot Softplus
    Softsign Sqrt Square SquaredDifference StaticRegexReplace StopGradient StringJoin StringLength StringLower
    StringStrip StringToHashBucketFast StringToHashBucketStrong StringToNumber StringUpper Sub Substr Tan Tanh
    TruncateDiv TruncateMod Xdivy Xlogy ZerosLike
    """.split()  # noqa: SIM905
)
# They treat each row of the first input by itself; the other inputs are weights and sizes. Windows span one row.
_WINDOWS = set(
    """
    AvgPool AvgPool3D BiasAdd BiasAddV1 Conv2D Conv3D DepthToSpace DepthwiseConv2dNative FusedBatchNorm FusedBatchNormV2
    FusedBatchNormV3 LRN MaxPool MaxPool3D MaxPoolV2 ResizeArea ResizeBicubic ResizeBilinear ResizeNearestNeighbor
    SpaceToDepth
    """.split()  # noqa: SIM905
)
_ALONG_AXES = set(
    "All Any ArgMax ArgMin Cumprod Cumsum EuclideanNorm Max Mean Min Prod ReverseV2 Sum".split()  # noqa: SIM905
)
_LAST_AXIS = {"LogSoftmax", "Softmax", "TopK", "TopKV2"}  # which is not the first


def has_free_rows(tensor: Any) -> bool:
    """Whether the first axis of a tensor of the graph has an unknown size, as rows have."""
    return bool(tensor.shape.rank) and tensor.shape[0] is None


def _is_first_alone(given: list[str]) -> bool:
    return given[0] == ROWS and set(given[1:]) <= {FIXED}


def _are_aligned(op: Any, given: list[str]) -> bool:
    """Whether inputs are broadcast so that rows meet rows."""
    rank = op.outputs[0].shape.rank
    for tensor, kind in zip(op.inputs, given, strict=True):
        if not rank or tensor.shape.rank is None or kind == COUNT:
            return False
        if kind == ROWS and tensor.shape.rank != rank:
            return False
        if kind == FIXED and tensor.shape.rank == rank and tensor.shape[0] != 1:
            return False
    return True


def _are_windows_in_rows(op: Any) -> bool:
    if op.type in BATCH_NORMS:
        return not op.get_attr("is_training")
    names = {attribute.name for attribute in op.op_def.attr} & {"ksize", "strides", "dilations"}
    return (op.outputs[0].shape.rank or 0) > 1 and all(op.get_attr(name)[0] == 1 for name in names)


def _value(tensor: Any) -> Any:
    """The values of a constant as a flat list; None if they are not known without a run."""
    value = tf.get_static_value(tensor)
    return None if value is None else np.reshape(value, -1).tolist()


def _axes(axes: list[int] | None, rank: int | None) -> list[int]:
    """Axes counted from the first; [0] if they are unknown."""
    return [0] if axes is None or rank is None else [axis % max(rank, 1) for axis in axes]


def _is_matmul_of_rows(op: Any, given: list[str]) -> bool:
    turned = op.get_attr("transpose_a" if op.type == "MatMul" else "adj_x")
    if op.outputs[0].shape.rank == 2:
        return given == [ROWS, FIXED] and not turned
    return _are_aligned(op, given)


def _is_einsum_of_rows(op: Any, given: list[str]) -> bool:
    """Whether the letter of the rows is the first letter of each input with rows and of the result, and only there."""
    takes, _, makes = op.get_attr("equation").decode().replace(" ", "").partition("->")
    row = makes[:1]
    for letters, kind in zip(takes.split(","), given, strict=True):
        if (letters[:1] == row) != (kind == ROWS) or row in letters[1:] or kind == COUNT:
            return False
    return row.isalpha() and row not in makes[1:]


def _is_reshaped_in_rows(op: Any, given: list[str]) -> bool:
    """Whether each row keeps its numbers: it has as many as before."""
    before, after = op.inputs[0].shape[1:], op.outputs[0].shape[1:]
    known = before.is_fully_defined() and after.is_fully_defined()
    return given[0] == ROWS and known and before.num_elements() == after.num_elements() != 0


def _is_sliced_in_rows(op: Any, given: list[str]) -> bool:
    strides = _value(op.inputs[3])
    if not _is_first_alone(given) or strides is None:
        return False
    if op.get_attr("ellipsis_mask") & 1:
        return len(strides) - 1 < (op.inputs[0].shape.rank or 0)
    whole = op.get_attr("begin_mask") & op.get_attr("end_mask") & 1
    return bool(whole) and strides[0] == 1 and not (op.get_attr("shrink_axis_mask") | op.get_attr("new_axis_mask")) & 1


def _is_gathered_in_rows(op: Any, given: list[str]) -> bool:
    axis = _value(op.inputs[2]) if op.type == "GatherV2" else [0]
    batch_dims = op.get_attr("batch_dims") if op.type in ("GatherV2", "ResourceGather") else 0
    if given[:2] == [FIXED, ROWS]:  # from a table
        return axis == [0] and batch_dims == 0
    if op.type != "GatherV2" or batch_dims < 0:
        return False
    (first,) = _axes(axis, op.inputs[0].shape.rank)
    return first > 0 and (given[:2] == [ROWS, FIXED] if batch_dims == 0 else given[:2] == [ROWS, ROWS])


def _is_selected_in_rows(op: Any, given: list[str]) -> bool:
    rank = op.outputs[0].shape.rank
    return set(given) == {ROWS} and op.inputs[0].shape.rank in (1, rank) and op.inputs[1].shape.rank == rank


def fills_rows(op: Any, kinds: Mapping[str, str]) -> bool:
    """Whether a Fill makes one equal row for each row of an input: its shape begins with the number of rows."""
    dims, value = op.inputs
    first = dims.op
    if first.type not in ("Pack", "ConcatV2") or kinds[value.name] != FIXED or not has_free_rows(op.outputs[0]):
        return False
    rest = first.inputs[1:]
    while first.type in ("Pack", "ConcatV2", "ExpandDims", "Identity"):
        first = first.inputs[0].op
    return (
        first.type == "StridedSlice"
        and first.inputs[0].op.type == "Shape"
        and kinds[first.inputs[0].op.inputs[0].name] == ROWS
        and [_value(tensor) for tensor in first.inputs[1:]] == [[0], [1], [1]]
        and all(kinds[tensor.name] == FIXED for tensor in rest)
        and op.outputs[0].shape[1:].is_fully_defined()
    )


def _is_looked_up(op: Any, given: list[str]) -> bool:
    table = op.inputs[0].op
    while table.type in IDENTITIES:
        table = table.inputs[0].op
    return given == [FIXED, ROWS, FIXED] and table.type in STATES


def _along_other_axes(at: int) -> Callable[[Any, list[str]], bool]:
    """A rule for ops that work along the axes in input `at`."""
    return lambda op, given: _is_first_alone(given) and 0 not in _axes(_value(op.inputs[at]), op.inputs[0].shape.rank)


def _joins_along(at: int) -> Callable[[Any, list[str]], bool]:
    """A rule for ops that join or split tensors along the axis in input `at`."""

    def check(op: Any, given: list[str]) -> bool:
        place = at % len(given)
        parts = [i for i in range(len(given)) if i != place]
        axis = _axes(_value(op.inputs[place]), op.inputs[parts[0]].shape.rank)
        return {given[i] for i in parts} == {ROWS} and 0 not in axis

    return check


def _is_packed_along_another_axis(op: Any, given: list[str]) -> bool:
    rank = op.outputs[0].shape.rank if op.type == "Pack" else op.inputs[0].shape.rank
    return set(given) == {ROWS} and 0 not in _axes([op.get_attr("axis")], rank)


def _first_value_is(at: int, wanted: list[int]) -> Callable[[Any, list[str]], bool]:
    """A rule for ops that leave the first axis alone if the values of input `at` begin with `wanted`."""

    def check(op: Any, given: list[str]) -> bool:
        value = _value(op.inputs[at])
        return _is_first_alone(given) and value is not None and value[: len(wanted)] == wanted

    return check


# A rule takes an op and the kinds of its inputs, of which at least one is ROWS, and says whether it keeps rows apart.
RULES: Mapping[str, Callable[[Any, list[str]], bool]] = {
    **dict.fromkeys(_ELEMENTWISE, _are_aligned),
    **dict.fromkeys(_WINDOWS, lambda op, given: _is_first_alone(given) and _are_windows_in_rows(op)),
    "BatchMatMul": _is_matmul_of_rows,
    "BatchMatMulV2": _is_matmul_of_rows,
    "BatchMatMulV3": _is_matmul_of_rows,
    "Concat": _joins_along(0),
    "ConcatV2": _joins_along(-1),
    "Conv2DBackpropInput": lambda op, given: (
        given[1:] == [FIXED, ROWS] and _are_windows_in_rows(op) and op.outputs[0].shape[1:].is_fully_defined()
    ),
    "Einsum": _is_einsum_of_rows,
    "ExpandDims": lambda op, given: (
        _is_first_alone(given) and 0 not in _axes(_value(op.inputs[1]), op.outputs[0].shape.rank)
    ),
    "Gather": _is_gathered_in_rows,
    "GatherV2": _is_gathered_in_rows,
    "LookupTableFind": _is_looked_up,
    "LookupTableFindV2": _is_looked_up,
    "MatMul": _is_matmul_of_rows,
    "MirrorPad": _first_value_is(1, [0, 0]),
    "OneHot": lambda op, given: _is_first_alone(given) and op.get_attr("axis") != 0,
    "Pack": _is_packed_along_another_axis,
    "Pad": _first_value_is(1, [0, 0]),
    "PadV2": _first_value_is(1, [0, 0]),
    "Reshape": _is_reshaped_in_rows,
    "ResourceGather": _is_gathered_in_rows,
    "Select": _is_selected_in_rows,
    "Split": _joins_along(0),
    "SplitV": _along_other_axes(2),
    "Squeeze": lambda op, _: 0 not in _axes(list(op.get_attr("squeeze_dims")) or None, op.inputs[0].shape.rank),
    "StridedSlice": _is_sliced_in_rows,
    "Tile": _first_value_is(1, [1]),
    "Transpose": _first_value_is(1, [0]),
    "Unpack": _is_packed_along_another_axis,
    **dict.fromkeys(_ALONG_AXES, _along_other_axes(1)),
    **dict.fromkeys(_LAST_AXIS, lambda op, given: _is_first_alone(given) and (op.inputs[0].shape.rank or 0) > 1),
}
