"""Rewrites ops that later versions of GraphDef no longer have.

TensorFlow refuses such an op by the version that a graph records, and a tool that writes an old graph anew records its
own version.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from typing import Any

from serialization.console import format_count
from serialization.formats import protos
from serialization.graph.const_nodes import make_constant
from serialization.graph.graph_def import (
    change_op,
    find_free_name,
    get_node_name,
    iterate_nodes,
    list_control_edges,
    list_data_edges,
)
from serialization.graph.known_ops import load_ops_without_kernel, load_removed_ops
from serialization.tensorflow import np, tf

_BATCH_NORM = "BatchNormWithGlobalNormalization"
# Later ops under other names that compute the same; Batch... were for more than one matrix, which all are now.
_RENAMED = {
    f"Batch{op}": op
    for op in (
        *("Cholesky", "CholeskyGrad", "MatrixDeterminant", "MatrixInverse", "MatrixSolve", "MatrixSolveLs"),
        *("MatrixTriangularSolve", "SelfAdjointEigV2", "Svd", "MatrixBandPart", "MatrixDiag", "MatrixDiagPart"),
        *("MatrixSetDiag", "FFT", "FFT2D", "FFT3D", "IFFT", "IFFT2D", "IFFT3D"),
    )
}
_RENAMED["PlaceholderV2"] = "Placeholder"


def rewrite_removed_ops(graph_def: Any) -> list[str]:
    """Replace the ops that the GraphDef's version lacks: with the op of a new name, or with their arithmetic.

    For other such ops, the version is lowered to the last that has them, unless the graph has functions, which these
    versions lack in turn. Returns a line on each kind of change.
    """
    version = graph_def.versions.producer
    ended = {op for op, first in load_removed_ops().items() if version >= first}
    done: Counter[str] = Counter()
    names = {node.name for node in graph_def.node}
    for node in list(graph_def.node):
        if node.op in _RENAMED and (node.op in ended or node.op in load_ops_without_kernel()):
            done[node.op] += 1
            node.op = _RENAMED[node.op]
        elif node.op == _BATCH_NORM and node.op in ended:
            done[node.op] += 1
            graph_def.node.extend(_spell_out_batch_norm(node, names))
    lines = [
        f"replaced {format_count(count, f'{op} op')}, which TensorFlow has removed, with "
        f"{_RENAMED.get(op, 'its arithmetic')}"
        for op, count in done.items()
    ]
    left = {node.op: load_removed_ops()[node.op] for node in iterate_nodes(graph_def) if node.op in ended}
    if left and not graph_def.library.function:
        graph_def.versions.producer = min(left.values()) - 1
        listed = ", ".join(sorted(left))
        lines.append(f"lowered the version of the graph from {version} to {min(left.values()) - 1}, for {listed}")
    return lines


def _spell_out_batch_norm(node: Any, names: Collection[str]) -> list[Any]:
    """Make the node the last step of (x - mean) * rsqrt(variance + epsilon) * gamma + beta; returns the other steps.

    In the order of the op's own kernel: tensorflow/core/kernels/batch_norm_op.h.
    """
    x, mean, variance, beta, gamma = list_data_edges(node)
    dtype = node.attr["T"].type
    made: list[Any] = []

    def add(what: str, op: str, *inputs: str) -> str:
        step = protos.NodeDef(name=find_free_name(f"{node.name}/{what}", names), op=op, input=inputs)
        step.attr["T"].type = dtype
        made.append(step)
        return str(step.name)

    number = np.array(node.attr["variance_epsilon"].f, tf.as_dtype(dtype).as_numpy_dtype)
    epsilon = make_constant(find_free_name(f"{node.name}/epsilon", names), number, dtype)
    epsilon.input.append(f"^{get_node_name(x)}")  # in a loop, all that a node takes has to be of that loop
    made.append(epsilon)
    scale = add("rsqrt", "Rsqrt", add("variance", "AddV2", variance, epsilon.name))
    if node.attr["scale_after_normalization"].b:
        scale = add("scale", "Mul", scale, gamma)
    normal = add("normal", "Mul", add("centered", "Sub", x, mean), scale)
    change_op(node, "AddV2", [normal, beta, *list_control_edges(node)], T=dtype)
    return made
