"""Removes what TPUs need around a computation, so that the computation itself runs on other devices.

`tf.compat.v1.tpu.rewrite` and TPUEstimator leave it in a graph: ops that hand each replica its inputs and collect its
outputs, and marks on the ops in between. Ops: tensorflow/core/tpu/ops and core/ops/tpu_*_ops.cc.
"""

from __future__ import annotations

from typing import Any

from serialization.console import format_count
from serialization.graph.graph_def import iterate_nodes, list_data_edges

# They tell a TPU how to run a computation; nothing on another device takes what they give.
_SETTINGS = frozenset({"TPUReplicateMetadata", "TPUCompilationResult", "TPUOrdinalSelector"})
_MARKS = (
    *("_tpu_replicate", "_replication_info", "_tpu_input_identity", "_tpu_output_identity", "_tpu_compilation_status"),
    *("_xla_compile_device_type", "_tpu_original_output"),
)


def remove_tpu_wrappers(graph_def: Any) -> list[str]:
    """Replace the wrappers where they only wrap: of one replica, or of several that take the same.

    Changes the GraphDef, functions too, and returns a line on it. What several replicas take apart stays as it is.
    """
    count = sum(_unwrap(node) for node in iterate_nodes(graph_def))
    for function in graph_def.library.function if count else ():
        # In a function, an edge has the name of the output, which is another one for another op.
        gone = {
            f"{node.name}:outputs:0": f"{node.name}:output:0" for node in function.node_def if node.op == "Identity"
        }
        for node in function.node_def:
            node.input[:] = [gone.get(edge, edge) for edge in node.input]
        for key, edge in function.ret.items():
            function.ret[key] = gone.get(edge, edge)
    return [f"removed {format_count(count, 'op')} around a computation for TPUs"] if count else []


def _unwrap(node: Any) -> bool:
    """Whether the node was a wrapper; it has become one that does nothing, or the plain call of its function."""
    for mark in _MARKS:
        node.attr.pop(mark, None)
    data, control = list_data_edges(node), [edge for edge in node.input if edge.startswith("^")]
    collects_one = node.op == "TPUReplicatedOutput" and node.attr["num_replicas"].i == 1
    if collects_one or (node.op == "TPUReplicatedInput" and len(set(data)) == 1):
        dtype = node.attr["T"].type
        _become(node, "Identity", [data[0], *control])
        node.attr["T"].type = dtype
    elif node.op == "TPUPartitionedCall":  # its last input is the number of the TPU
        node.op = "StatefulPartitionedCall"
        node.input[:] = [*data[:-1], *control]
        node.attr.pop("autotuner_thresh", None)
    elif node.op in _SETTINGS:
        _become(node, "NoOp", control)
    else:
        return False
    return True


def _become(node: Any, op: str, inputs: list[str]) -> None:
    node.op = op
    node.input[:] = inputs
    node.attr.clear()
