"""The part of the report that is about one graph: its ops, signatures, candidates, tables, assets and findings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from serialization.checks import harm
from serialization.checks.harm import find_asset
from serialization.checks.what_loading_runs import list_asset_files
from serialization.formats.dtypes import get_dtype_name
from serialization.graph.graph_def import iterate_nodes
from serialization.graph.graph_index import GraphIndex
from serialization.graph.kernels import describe_devices, find_ops_without_kernel
from serialization.graph.known_ops import load_known_ops
from serialization.graph.op_libraries import guess_op_library
from serialization.graph.op_sets import PLACEHOLDERS, TABLES
from serialization.graph.signature import Signature, Tensor, list_signature_defs
from serialization.graph.tensors import describe_tensor
from serialization.graph.tpu_wrappers import remove_tpu_wrappers
from serialization.infer.candidates import infer_candidates

Report = dict[str, Any]


def describe_graph(
    graph_def: Any,
    meta_graph: Any,
    found: list[harm.Finding],
    likely: Report | None,
    folder: Path | None = None,
    recorded: Signature | None = None,
) -> Report:
    """One of the report's graphs. `found` is what the safety scan found, `folder` that of a SavedModel.

    `recorded` is the signature that the nodes of a frozen graph record.
    """
    signature_defs = {} if meta_graph is None else list_signature_defs(meta_graph)
    signatures = {key: _signature(signature_def) for key, signature_def in signature_defs.items()}
    if recorded is not None:
        sides = {"inputs": recorded.inputs, "outputs": recorded.outputs}
        signatures["recorded"] = {"method": "", **{side: [*map(_tensor, tensors)] for side, tensors in sides.items()}}
    functions = graph_def.library.function
    return {
        "tags": [] if meta_graph is None else sorted(meta_graph.meta_info_def.tags),
        "producer": graph_def.versions.producer,
        "min_consumer": graph_def.versions.min_consumer,
        "nodes": len(graph_def.node),
        "signatures": signatures,
        "candidates": likely,
        "placeholders": [str(describe_tensor({"": n}, "")) for n in graph_def.node if n.op in PLACEHOLDERS],
        "constants": _constants(graph_def),
        "ops": dict(Counter(node.op for node in iterate_nodes(graph_def)).most_common()),
        "functions": [_function(function) for function in functions],
        "tables": _tables(graph_def),
        "assets": [] if meta_graph is None else list(_assets(meta_graph, folder)),
        "devices": dict(Counter(node.device for node in iterate_nodes(graph_def) if node.device).most_common()),
        "unknown_ops": _unknown(graph_def),
        "without_kernel": _without_kernel(graph_def),
        "findings": [
            {
                "effect": f.effect,
                "op": f.op,
                "node": f.node,
                "function": f.function,
                "detail": f.detail,
                "shown": str(f),
            }
            for f in found
        ],
    }


def describe_candidates(index: GraphIndex, crashes: Sequence[str]) -> Report | None:
    """The likely inputs and outputs; None if `find_crashes` found something in the graph."""
    if crashes:  # a node of 2**40 outputs has as many candidates
        return None
    found = infer_candidates(index)
    listed = {
        role: [{**_tensor(c.tensor), "role": c.role, "why": c.why} for c in candidates]
        for role, candidates in (("inputs", found.inputs), ("outputs", found.outputs), ("others", found.others))
    }
    return {**listed, "ambiguous": bool(found.rivals)}


def _signature(signature_def: Any) -> Report:
    return {
        "method": signature_def.method_name,
        "inputs": [_recorded(key, signature_def.inputs[key]) for key in sorted(signature_def.inputs)],
        "outputs": [_recorded(key, signature_def.outputs[key]) for key in sorted(signature_def.outputs)],
    }


def _recorded(key: str, info: Any) -> Report:
    shape = None if info.tensor_shape.unknown_rank else [d.size if d.size >= 0 else None for d in info.tensor_shape.dim]
    name = info.name or f"a {(info.WhichOneof('encoding') or 'tensor').replace('_', ' ')}"
    return _tensor(Tensor(key, name, get_dtype_name(info.dtype), None if shape is None else tuple(shape)))


def _tensor(tensor: Tensor) -> Report:
    shape = None if tensor.shape is None else list(tensor.shape)
    return {"key": tensor.key, "name": tensor.name, "dtype": tensor.dtype, "shape": shape}


def _constants(graph_def: Any) -> Report:
    """The number of constants, their bytes, and their floating-point numbers: the parameters of a frozen graph."""
    count = parameters = size = 0
    for node in iterate_nodes(graph_def):
        if node.op == "Const":
            tensor = node.attr["value"].tensor
            count += 1
            size += tensor.ByteSize()
            if get_dtype_name(tensor.dtype).startswith(("float", "bfloat")):
                parameters += _elements(tensor.tensor_shape)
    return {"count": count, "parameters": parameters, "bytes": size}


def _elements(shape: Any) -> int:
    total = 1
    for dim in shape.dim:
        total *= max(0, dim.size)
    return total


def _function(function: Any) -> Report:
    return {
        "name": function.signature.name,
        "nodes": len(function.node_def),
        "inputs": [argument.name for argument in function.signature.input_arg],
        "outputs": [argument.name for argument in function.signature.output_arg],
    }


def _tables(graph_def: Any) -> list[Report]:
    return [
        {
            "node": node.name,
            "op": node.op,
            "key_dtype": get_dtype_name(node.attr["key_dtype"].type) if "key_dtype" in node.attr else "unknown",
            "value_dtype": get_dtype_name(node.attr["value_dtype"].type) if "value_dtype" in node.attr else "unknown",
        }
        for node in iterate_nodes(graph_def)
        if node.op in TABLES
    ]


def _assets(meta_graph: Any, folder: Path | None) -> Iterator[Report]:
    for asset in list_asset_files(meta_graph):
        file = find_asset(folder, asset.filename) if folder is not None else None
        size = file.stat().st_size if file is not None and file.is_file() else None
        yield {"file": asset.filename, "tensor": asset.tensor_info.name, "bytes": size}


def _unknown(graph_def: Any) -> list[Report]:
    functions = {function.signature.name for function in graph_def.library.function}
    found: dict[str, list[str]] = {}
    for node in iterate_nodes(graph_def):
        if node.op not in load_known_ops() and node.op not in functions:
            found.setdefault(node.op, []).append(node.name)
    return [{"op": op, "nodes": names, "library": guess_op_library(op)} for op, names in sorted(found.items())]


def _without_kernel(graph_def: Any) -> list[Report]:
    """The ops without a kernel for CPU, but for those around a computation for TPUs that the scripts remove."""
    if any(node.op.startswith("TPU") for node in iterate_nodes(graph_def)):
        graph_def = type(graph_def).FromString(graph_def.SerializeToString())
        remove_tpu_wrappers(graph_def)
    found = find_ops_without_kernel(graph_def)
    return [{"op": op, "nodes": names, "why": describe_devices(op)} for op, names in sorted(found.items())]
