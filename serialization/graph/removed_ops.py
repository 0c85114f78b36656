"""Rewrites ops that later versions of GraphDef no longer have.

TensorFlow refuses such an op by the version that a graph records, and a tool that writes an old graph anew records its
own version.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
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
RENAMED = {
    f"Batch{op}": op
    for op in (
        *("Cholesky", "CholeskyGrad", "MatrixDeterminant", "MatrixInverse", "MatrixSolve", "MatrixSolveLs"),
        *("MatrixTriangularSolve", "SelfAdjointEigV2", "Svd", "MatrixBandPart", "MatrixDiag", "MatrixDiagPart"),
        *("MatrixSetDiag", "FFT", "FFT2D", "FFT3D", "IFFT", "IFFT2D", "IFFT3D"),
    )
}
RENAMED["PlaceholderV2"] = "Placeholder"


def rewrite_removed_ops(graph_def: Any) -> list[str]:
    """Replace the ops that the GraphDef's version lacks: with the op of a new name, or with their arithmetic.

    For other such ops, the version is lowered to the last that has them. Changes the GraphDef, functions too, and
    returns a line on each kind of change.
    """
    version = graph_def.versions.producer
    ended = {op for op, first in load_removed_ops().items() if version >= first}
    done = _rewrite(graph_def.node, ended)
    for function in graph_def.library.function:
        old = {node.name for node in function.node_def if node.op == _BATCH_NORM}
        done += _rewrite(function.node_def, ended, [arg.name for arg in function.signature.input_arg])
        changed = old - {node.name for node in function.node_def if node.op == _BATCH_NORM}
        # In a function, an edge has the name of the output, which is another one for another op.
        for node in function.node_def if changed else ():
            node.input[:] = [_rename_result(edge, changed) for edge in node.input]
        for key, edge in list(function.ret.items()) if changed else ():
            function.ret[key] = _rename_result(edge, changed)
    lines = [
        f"replaced {format_count(count, f'{op} op')}, which TensorFlow has removed, with "
        f"{RENAMED.get(op, 'its arithmetic')}"
        for op, count in done.items()
    ]
    left = {node.op: load_removed_ops()[node.op] for node in iterate_nodes(graph_def) if node.op in ended}
    if left:
        graph_def.versions.producer = min(left.values()) - 1
        listed = ", ".join(sorted(left))
        lines.append(f"lowered the version of the graph from {version} to {min(left.values()) - 1}, for {listed}")
    return lines


def _rewrite(nodes: Any, ended: Collection[str], arguments: Sequence[str] | None = None) -> Counter[str]:
    """Rewrite the nodes of the graph, or those of a function with these arguments; returns how many of each op."""
    done: Counter[str] = Counter()
    names = {node.name for node in nodes}.union(arguments or ())
    for node in list(nodes):
        if node.op in RENAMED and (node.op in ended or node.op in load_ops_without_kernel()):
            done[node.op] += 1
            node.op = RENAMED[node.op]
        elif node.op == _BATCH_NORM and node.op in ended:
            done[node.op] += 1
            nodes.extend(_spell_out_batch_norm(node, names, arguments))
    return done


def _rename_result(edge: str, names: Collection[str]) -> str:
    return edge.replace(":result:", ":z:") if get_node_name(edge) in names else edge


def _spell_out_batch_norm(node: Any, names: Collection[str], arguments: Sequence[str] | None) -> list[Any]:
    """Make the node the last step of (x - mean) * rsqrt(variance + epsilon) * gamma + beta; returns the other steps.

    In the order of the op's own kernel: tensorflow/core/kernels/batch_norm_op.h. `arguments` are those of the function
    that the node is in, if it is in one.
    """
    x, mean, variance, beta, gamma = list_data_edges(node)
    dtype = node.attr["T"].type
    made: list[Any] = []

    def edge_to(name: str, output: str) -> str:
        return name if arguments is None else f"{name}:{output}:0"

    def add(what: str, op: str, *inputs: str) -> str:
        step = protos.NodeDef(name=find_free_name(f"{node.name}/{what}", names), op=op, input=inputs)
        step.attr["T"].type = dtype
        made.append(step)
        return edge_to(step.name, "y" if op == "Rsqrt" else "z")

    number = np.array(node.attr["variance_epsilon"].f, tf.as_dtype(dtype).as_numpy_dtype)
    epsilon = make_constant(find_free_name(f"{node.name}/epsilon", names), number, dtype)
    if get_node_name(x) not in (arguments or ()):
        epsilon.input.append(f"^{get_node_name(x)}")  # in a loop, all that a node takes has to be of that loop
    made.append(epsilon)
    scale = add("rsqrt", "Rsqrt", add("variance", "AddV2", variance, edge_to(epsilon.name, "output")))
    if node.attr["scale_after_normalization"].b:
        scale = add("scale", "Mul", scale, gamma)
    normal = add("normal", "Mul", add("centered", "Sub", x, mean), scale)
    change_op(node, "AddV2", [normal, beta, *list_control_edges(node)], T=dtype)
    return made
