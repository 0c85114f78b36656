"""Removes what TPUs need around a computation, so that the computation itself runs on other devices.

`tf.compat.v1.tpu.rewrite` and TPUEstimator leave it in a graph: ops that hand each replica its inputs and collect its
outputs, and marks on the ops in between. Ops: tensorflow/core/tpu/ops and core/ops/tpu_*_ops.cc.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from serialization.console import format_count
from serialization.formats import dtypes
from serialization.graph.graph_def import change_op, list_control_edges, list_data_edges

# They tell a TPU how to run a computation; nothing on another device takes what they give.
_SETTINGS = frozenset({"TPUReplicateMetadata", "TPUCompilationResult", "TPUOrdinalSelector"})
_CALLS = frozenset({"TPUReplicate", "_TPUReplicate"})
_MARKS = (
    *("_tpu_replicate", "_replication_info", "_tpu_input_identity", "_tpu_output_identity", "_tpu_compilation_status"),
    *("_xla_compile_device_type", "_tpu_original_output"),
)


def remove_tpu_wrappers(graph_def: Any) -> list[str]:
    """Replace the wrappers where they only wrap: of one replica, or of several that take the same.

    Changes the GraphDef, functions too, and returns a line on it. What several replicas take apart stays as it is.
    """
    count = sum(_unwrap(node) for node in graph_def.node)
    for function in graph_def.library.function:
        names = {node.name for node in function.node_def if _unwrap(node)}
        count += len(names)
        # In a function, an edge has the name of the output, which is another one for another op.
        for node in function.node_def if names else ():
            node.input[:] = [_rename_output(edge, names) for edge in node.input]
        for key, edge in list(function.ret.items()) if names else ():
            function.ret[key] = _rename_output(edge, names)
    return [f"removed {format_count(count, 'op')} around a computation for TPUs"] if count else []


def _rename_output(edge: str, names: Collection[str]) -> str:
    node, _, output = edge.partition(":")
    return f"{node}:{output.replace('outputs:', 'output:')}" if node in names and output else edge


def _unwrap(node: Any) -> bool:
    """Whether the node was a wrapper; it has become one that does nothing, or the plain call of its function."""
    for mark in _MARKS:
        node.attr.pop(mark, None)
    data, control = list_data_edges(node), list_control_edges(node)
    collects_one = node.op == "TPUReplicatedOutput" and node.attr["num_replicas"].i == 1
    if collects_one or (node.op == "TPUReplicatedInput" and len(set(data)) == 1):
        change_op(node, "Identity", [data[0], *control], T=node.attr["T"].type)
    elif node.op == "TPUPartitionedCall":  # its last input is the number of the TPU
        node.op = "StatefulPartitionedCall"
        node.input[:] = [*data[:-1], *control]
        node.attr.pop("autotuner_thresh", None)
    elif node.op in _CALLS and node.attr["num_replicas"].i == 1:
        given = [*node.attr["Tinputs"].list.type, *node.attr["Tbroadcast_inputs"].list.type]
        given += [dtypes.RESOURCE] * node.attr["NumVariables"].i + list(node.attr["Tguaranteed_constants"].list.type)
        called, returned = node.attr["computation"].func.name, list(node.attr["output_types"].list.type)
        change_op(node, "StatefulPartitionedCall", node.input)
        node.attr["f"].func.name = called
        node.attr["Tin"].list.type.extend(given)
        node.attr["Tout"].list.type.extend(returned)
    elif node.op in _SETTINGS:
        change_op(node, "NoOp", control)
    else:
        return False
    return True
