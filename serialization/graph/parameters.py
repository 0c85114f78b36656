"""Finds the constants of a frozen graph that were variables: by the ops that read them, by what they are used for.

Freezing makes a variable a constant of the same name. Its read op stays as an Identity, unless an optimizer has folded
the two into one constant with the name of the read op.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

from serialization.formats import dtypes
from serialization.formats.dtypes import get_dtype_name
from serialization.graph.graph_def import get_node_name, list_data_edges
from serialization.graph.graph_index import GraphIndex
from serialization.graph.op_sets import BATCH_NORMS, ENTERS, IDENTITIES, SWITCHES
from serialization.graph.signature import Signature

# The inputs of an op that take weights and biases. Of element-wise ops each, if the other one depends on an input.
_SLOTS = {
    **dict.fromkeys(("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "SparseMatMul", "Einsum"), (0, 1)),
    "SparseTensorDenseMatMul": (3,),
    **dict.fromkeys(("Conv2D", "Conv3D", "DepthwiseConv2dNative", "Dilation2D", "BiasAdd", "BiasAddV1"), (1,)),
    **dict.fromkeys(("Conv2DBackpropInput", "DepthwiseConv2dNativeBackpropInput"), (1,)),
    **dict.fromkeys(("Conv3DBackpropInput", "Conv3DBackpropInputV2"), (1,)),
    **dict.fromkeys(("_FusedConv2D", "_FusedMatMul"), (1, 2)),
    **dict.fromkeys(BATCH_NORMS, (1, 2)),
    **dict.fromkeys(("Gather", "GatherV2", "GatherNd"), (0,)),
    "LSTMBlockCell": (3, 4, 5, 6, 7),
    **dict.fromkeys(("BlockLSTM", "BlockLSTMV2"), (4, 5, 6, 7, 8)),
    "GRUBlockCell": (2, 3, 4, 5),
    **dict.fromkeys(("CudnnRNN", "CudnnRNNV2", "CudnnRNNV3"), (3,)),
}
_STATISTICS = dict.fromkeys(BATCH_NORMS, (3, 4))
_ELEMENTWISE = frozenset({"Add", "AddV2", "Sub", "Mul"})
# What comes out of these is still the parameter, or a part of it.
_THROUGH = (
    IDENTITIES
    | ENTERS
    | SWITCHES
    | {"Cast", "ConcatV2", "ExpandDims", "Pack", "Reshape", "Slice", "Split", "SplitV", "Squeeze", "StridedSlice"}
    | {"Transpose", "Unpack"}
)
_READ = re.compile(r"(/Read)?/ReadVariableOp(_\d+)?$|/read$")  # the end of a read op's name
# The names that TensorFlow gives to the numbers of a program: `mul/y` in `x * 0.5`, `Const_1`.
_LITERAL = re.compile(r"(.*/)?(x|y|Const(_\d+)?)")
_AVERAGE = re.compile(r"(?i)(.*/)?((moving|running)\w*|pop(ulation)?_(mean|var)\w*|\w*average)")


@dataclass(frozen=True)
class Parameter:
    """A node that gives the value of a variable, and the variable: its name, dtype (TensorFlow's number) and shape.

    A variable that is not `trainable` is a statistic, such as a moving mean, or a counter.
    """

    node: str
    name: str
    dtype: int
    shape: tuple[int, ...]
    trainable: bool


def find_parameters(index: GraphIndex, wanted: Signature) -> list[Parameter]:
    """The constants that were variables, in the order of the graph, but for those that are outputs themselves.

    A constant was a variable if a read op takes it, or if it is of floating point and a weight, a bias or a statistic:
    it reaches an input of an op that takes those, as it is or sliced, cast or reshaped. Empty constants are none, nor
    those that wait for another op, as literals in loops do.
    """
    fed = index.downstream(get_node_name(tensor.name) for tensor in wanted.inputs)
    fetched = {get_node_name(tensor.name) for tensor in wanted.outputs}
    names = set(index.nodes)
    found = []
    for node in index.graph_def.node:
        if node.op != "Const" or node.input or node.name in fetched or not index.consumers(node.name):
            continue
        tensor = node.attr["value"].tensor
        shape = tuple(int(dim.size) for dim in tensor.tensor_shape.dim)
        if not math.prod(shape) or tensor.dtype == dtypes.STRING:
            continue
        uses = _find_uses(index, node, fed)
        if "read" not in uses and not (uses and _is_inexact(tensor.dtype)):
            continue
        name = _READ.sub("", node.name)
        name = node.name if name in names else name  # TensorFlow has an op of that name
        names.add(name)
        trained = "statistic" not in uses and may_be_trained(name, tensor.dtype)
        found.append(Parameter(node.name, name, tensor.dtype, shape, trained))
    return found


def may_be_trained(name: str, dtype: int) -> bool:
    """Whether a variable of this name and dtype (TensorFlow's number) is trained, and no counter or moving average."""
    return _is_inexact(dtype) and _AVERAGE.fullmatch(name) is None


def _is_inexact(dtype: int) -> bool:
    return get_dtype_name(dtype).startswith(("float", "bfloat", "complex"))


def _find_uses(index: GraphIndex, constant: Any, fed: set[str]) -> set[str]:
    """What a constant is used for: "read" by the read op of a variable, as a "weight", as a "statistic"."""
    uses = {"read"} if _READ.search(constant.name) else set[str]()
    scalar = not constant.attr["value"].tensor.tensor_shape.dim
    literal = scalar or _LITERAL.fullmatch(constant.name) is not None
    waiting, seen = [constant.name], {constant.name}
    while waiting:
        name = waiting.pop()
        for user in map(index.nodes.__getitem__, index.consumers(name)):
            at = [slot for slot, edge in enumerate(list_data_edges(user)) if get_node_name(edge) == name]
            if user.op in IDENTITIES and _READ.search(user.name):
                uses.add("read")
            if any(slot in _SLOTS.get(user.op, ()) for slot in at):
                uses.add("weight")
            if any(slot in _STATISTICS.get(user.op, ()) for slot in at):
                uses.add("statistic")
            if user.op in _ELEMENTWISE and not literal and not fed.isdisjoint(index.producers(user)):
                uses.add("weight")
            if user.op in _THROUGH and user.name not in seen:
                seen.add(user.name)
                waiting.append(user.name)
    return uses
