"""Removes what TPUs need around a computation, so that the computation itself runs on other devices.

`tf.compat.v1.tpu.rewrite`, `replicate` and TPUEstimator leave it in a graph: ops that hand each replica its inputs and
collect its outputs, and marks on the ops in between, which stand there once for all replicas. Ops:
tensorflow/core/tpu/ops and core/ops/tpu_*_ops.cc.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from serialization.console import format_count
from serialization.formats import dtypes, protos
from serialization.graph.const_nodes import make_constant
from serialization.graph.graph_def import (
    change_op,
    find_free_name,
    get_node_name,
    list_control_edges,
    list_data_edges,
)
from serialization.graph.graph_index import GraphIndex
from serialization.graph.op_sets import TABLES, VARIABLES
from serialization.tensorflow import np

# They tell a TPU how to run a computation; nothing on another device takes what they give.
_SETTINGS = frozenset({"TPUReplicateMetadata", "TPUCompilationResult", "TPUOrdinalSelector", "TPURoundRobin"})
_CALLS = frozenset({"TPUReplicate", "_TPUReplicate"})
_IN, _OUT = "TPUReplicatedInput", "TPUReplicatedOutput"
_SHARED = VARIABLES | TABLES | _SETTINGS
_MARKS = (
    *("_tpu_replicate", "_replication_info", "_tpu_input_identity", "_tpu_output_identity", "_tpu_compilation_status"),
    *("_xla_compile_device_type", "_tpu_original_output"),
)


def remove_tpu_wrappers(graph_def: Any) -> list[str]:
    """Replace the wrappers by what they mean: plain edges, a copy of the computation for each replica, calls.

    Changes the GraphDef, functions too, and returns a line on each kind of change. A wrapper stays where its replicas
    differ and nothing collects their outputs, or where it divides a tensor along more than one axis.
    """
    copied = _copy_replicas(graph_def.node)
    count = len(_unwrap_all(graph_def.node, ""))
    for function in graph_def.library.function:
        copied += _copy_replicas(function.node_def)
        names = _unwrap_all(function.node_def, ":output:0")
        count += len(names)
        # In a function, an edge has the name of the output, which is another one for another op.
        for node in function.node_def if names else ():
            node.input[:] = [_rename_output(edge, names) for edge in node.input]
        for key, edge in list(function.ret.items()) if names else ():
            function.ret[key] = _rename_output(edge, names)
    lines = [f"removed {format_count(count, 'op')} around a computation for TPUs"] if count else []
    return lines + ([f"copied the computation for {format_count(copied, 'more replica')}"] if copied else [])


def _copy_replicas(nodes: Any) -> int:
    """Copy what replicas compute from inputs of their own, for each but the first; returns how many were copied.

    `nodes` are those of the graph or of a function; copies are added to them.
    """
    outputs = [node for node in nodes if node.op == _OUT and node.attr["num_replicas"].i > 1]
    index = GraphIndex(protos.GraphDef(node=nodes)) if outputs else GraphIndex(protos.GraphDef())
    ends = {name for name, node in index.nodes.items() if node.op in (_IN, _OUT)}
    copied = 0
    for replicas in sorted({node.attr["num_replicas"].i for node in outputs}):
        own = {n: list_data_edges(index.nodes[n]) for n in ends if _differs(index.nodes[n], replicas)}
        collected = [node for node in outputs if node.attr["num_replicas"].i == replicas]
        needed = index.reachable((edge for node in collected for edge in list_data_edges(node)), ends)
        below = index.downstream(own)
        # A loop is copied whole, with what enters it: all its nodes have a mark.
        again = [n for n in needed if n in below or (n not in ends and own and _belongs_to_replica(index, n))]
        for replica in range(1, replicas):
            names = {name: find_free_name(f"{name}/replica_{replica}", index.nodes) for name in again}
            nodes.extend(_copy(index.nodes[name], names, own, replica) for name in again)
            for node in collected:
                node.input.insert(replica, _rename_node(list_data_edges(node)[0], names))
        for node in nodes:
            if node.name in own and node.name in needed:  # what is left of it is for the first
                change_op(node, "Identity", own[node.name][:1], T=node.attr["T"].type)
        copied += replicas - 1 if again else 0
    return copied


def _differs(node: Any, replicas: int) -> bool:
    """Whether a node hands each of so many replicas another input; mirrored variables have the same values."""
    edges = list_data_edges(node)
    return node.op == _IN and len(set(edges)) > 1 and len(edges) == replicas and not _is_mirrored(node)


def _is_mirrored(node: Any) -> bool:
    return "is_mirrored_variable" in node.attr and bool(node.attr["is_mirrored_variable"].b)


def _belongs_to_replica(index: GraphIndex, name: str) -> bool:
    """Whether a node has a mark and may be there once for each replica; variables, tables and constants are not."""
    node = index.nodes[name]
    waits = any(edge[1:] in index.nodes and index.nodes[edge[1:]].op not in _SETTINGS for edge in node.input)
    return any(mark in node.attr for mark in _MARKS) and node.op not in _SHARED and (node.op != "Const" or waits)


def _copy(node: Any, names: dict[str, str], own: Mapping[str, Sequence[str]], replica: int) -> Any:
    made = protos.NodeDef()
    made.CopyFrom(node)
    made.name = names[node.name]
    if node.name in own:
        change_op(made, "Identity", [own[node.name][replica]], T=node.attr["T"].type)
        return made
    made.input[:] = [_rename_node(edge, names) for edge in node.input]
    if "frame_name" in made.attr:  # two loops of one frame would be one
        made.attr["frame_name"].s += f"/replica_{replica}".encode()
    return made


def _rename_node(edge: str, names: dict[str, str]) -> str:
    name = get_node_name(edge)
    return edge.replace(name, names[name], 1) if name in names else edge


def _rename_output(edge: str, names: Collection[str]) -> str:
    node, _, output = edge.partition(":")
    return f"{node}:{output.replace('outputs:', 'output:')}" if node in names and output else edge


def _unwrap_all(nodes: Any, ending: str) -> set[str]:
    """The names of the wrappers among the nodes; each has become one that does nothing, or a plain call.

    `ending` is what an edge has after the name of a constant.
    """
    found, taken, added = set(), {node.name for node in nodes}, list[Any]()
    for node in nodes:
        for mark in _MARKS:
            node.attr.pop(mark, None)
        if _unwrap(node, taken, added, ending):
            found.add(node.name)
    nodes.extend(added)
    return found


def _unwrap(node: Any, taken: Collection[str], added: list[Any], ending: str) -> bool:
    """Whether the node was a wrapper; what it needs beside itself is added."""
    data, control = list_data_edges(node), list_control_edges(node)
    if node.op.startswith(("TPUPartitionedInput", "TPUPartitionedOutput")):
        return _put_together(node, taken, added, ending)
    if node.op == _IN and (len(set(data)) == 1 or _is_mirrored(node)):
        change_op(node, "Identity", [data[0], *control], T=node.attr["T"].type)
    elif node.op == _OUT and node.attr["num_replicas"].i == 1:
        change_op(node, "Identity", [*data, *control], T=node.attr["T"].type)
    elif node.op == _OUT:
        dtype, replicas = node.attr["T"].type, node.attr["num_replicas"].i
        edges = data if len(data) == replicas else data * replicas  # without copies, all compute the same
        change_op(node, "IdentityN", [*edges, *control])
        node.attr["T"].list.type.extend([dtype] * replicas)
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


def _put_together(node: Any, taken: Collection[str], added: list[Any], ending: str) -> bool:
    """Turn what divides a tensor among cores, or joins their parts, into Split or ConcatV2, or into nothing."""
    data, control = list_data_edges(node), list_control_edges(node)
    dtype, sizes = node.attr["T"].type, list(node.attr["partition_dims"].list.i)
    axes = [axis for axis, size in enumerate(sizes) if size > 1] if sizes else [node.attr["partition_dim"].i]
    parts = max(len(data), node.attr["num_splits"].i)
    divides = "Output" in node.op
    if parts == 1 or axes == [-1]:  # -1: each core has the whole
        change_op(node, "IdentityN" if divides else "Identity", [*data[:1] * (parts if divides else 1), *control])
        if divides:
            node.attr["T"].list.type.extend([dtype] * parts)
        else:
            node.attr["T"].type = dtype
        return True
    if len(axes) != 1 or dtype == dtypes.RESOURCE:
        return False
    axis = make_constant(find_free_name(f"{node.name}/axis", taken), np.array(axes[0], np.int32), dtypes.INT32)
    added.append(axis)
    if divides:
        change_op(node, "Split", [axis.name + ending, *data, *control], T=dtype)
        node.attr["num_split"].i = parts
    else:
        change_op(node, "ConcatV2", [*data, axis.name + ending, *control], T=dtype, Tidx=dtypes.INT32)
        node.attr["N"].i = parts
    return True
