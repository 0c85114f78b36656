"""The report on a model as plain data, which model_inspect.py prints as text or, with --json, as JSON.

It is read from the model's files without TensorFlow's runtime. docs/model_inspect.md is the schema of the report.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from serialization.checks import harm
from serialization.checks.crashes import find_crashes, find_loose_ends
from serialization.checks.harm import is_below_folder
from serialization.checks.what_loading_runs import list_asset_files
from serialization.console import show_path
from serialization.errors import UserError
from serialization.files import locate
from serialization.files.locate import (
    SavedModelFolder,
    find_saved_model,
    find_saved_model_file,
    list_versions,
    open_meta_graph_file,
    read_checkpoint_at,
    require_model_at,
    require_whole_checkpoint,
    strip_to_prefix,
)
from serialization.files.other_models import refuse_kind
from serialization.formats import protos
from serialization.formats.checkpoint_index import Checkpoint, list_v1_files
from serialization.formats.dtypes import get_dtype_name
from serialization.formats.file_kind import Kind, ModelFile
from serialization.formats.foreign_files import Foreign
from serialization.formats.messages import read_message
from serialization.formats.object_graph import ObjectVariable, find_copies, read_object_graph
from serialization.formats.wire import DamagedError
from serialization.graph.graph_def import CUT_OFF, iterate_nodes, may_be_cut_off
from serialization.graph.graph_index import GraphIndex
from serialization.graph.kernels import describe_devices, find_ops_without_kernel
from serialization.graph.known_ops import load_known_ops
from serialization.graph.op_libraries import guess_op_library
from serialization.graph.op_sets import PLACEHOLDERS, TABLES
from serialization.graph.repair import require_dense_shapes
from serialization.graph.signature import Tensor, list_signature_defs
from serialization.graph.tensors import describe_tensor
from serialization.graph.tpu_wrappers import remove_tpu_wrappers
from serialization.graph.v0_signatures import add_v0_signatures
from serialization.infer.candidates import infer_candidates
from serialization.sources import from_saved_model

AVERAGES = "/ExponentialMovingAverage"

Report = dict[str, Any]


def inspect_model(path: Path, tag_set: str | None = None) -> tuple[Report, Any]:
    """The report on the model at `path`, and its GraphDef; None if it has no graph.

    For a SavedModel the report has all MetaGraphDefs; the GraphDef is that of `tag_set`. Raises UserError if there is
    no model, or a damaged one.
    """
    notes: list[str] = []
    opened = ModelFile(path) if path.is_file() else None
    if opened is not None and opened.kind is Kind.GRAPH:
        return _of_graph(opened)
    if opened is not None and opened.kind is Kind.META_GRAPH and not _beside_a_checkpoint(path):
        return _of_meta_graph(opened)
    if _is_saved_model(path, opened):
        return _of_saved_model(find_saved_model(path, notes.append, whole=False, opened=opened), tag_set, notes)
    if opened is not None and (isinstance(opened.kind, Foreign) or opened.kind in (Kind.EMPTY, Kind.UNKNOWN)):
        raise refuse_kind(path, opened.kind, "a model of TensorFlow", path)
    prefix = locate.find_prefix(path, notes.append)
    require_model_at(path, prefix)
    return _of_checkpoint(read_checkpoint_at(prefix, opened), opened, notes)


def list_findings(report: Report) -> list[str]:
    """Faults, ops that are unknown or have no kernel, and what the safety scan found: `--strict` fails at any."""
    found = list(report["faults"])
    for graph in report["graphs"]:
        found += [f"unknown op {op['op']} ({op['library']})" for op in graph["unknown_ops"]]
        found += [f"{op['op']}, {op['why']} ({', '.join(op['nodes'][:3])})" for op in graph["without_kernel"]]
        found += [f"would {f['effect']}: {f['shown']}" for f in graph["findings"]]
    return found


def list_outputs(graph: Report) -> list[str]:
    """The names of the outputs of one of the report's graphs: those of its signatures, else the likely ones."""
    if graph["candidates"]:
        return [tensor["name"] for tensor in graph["candidates"]["outputs"]]
    return [tensor["name"] for signature in graph["signatures"].values() for tensor in signature["outputs"]]


def _is_saved_model(path: Path, opened: ModelFile | None) -> bool:
    if opened is not None:
        return path.name in locate.SAVED_MODEL_FILES or opened.kind is Kind.SAVED_MODEL
    return path.is_dir() and (find_saved_model_file(path) is not None or bool(list_versions(path)))


def _beside_a_checkpoint(meta: Path) -> bool:
    prefix = strip_to_prefix(meta)
    if prefix == meta:
        return False
    return prefix.with_name(f"{prefix.name}.index").is_file() or bool(list_v1_files(prefix))


def _report(kind: str, path: Path, form: str, files: Iterable[Path]) -> Report:
    listed = [{"file": show_path(file), "bytes": file.stat().st_size} for file in files if file.is_file()]
    return {
        "kind": kind,
        "path": show_path(path),
        "format": form,
        "tensorflow_version": None,
        "bytes": sum(file["bytes"] for file in listed),
        "files": listed,
        "notes": [],
        "faults": [],
        "graphs": [],
        "variables": [],
        "parameters": 0,
        "moving_averages": [],
    }


def _of_graph(file: ModelFile) -> tuple[Report, Any]:
    path = file.path
    graph_def = read_message(file)
    require_dense_shapes(graph_def)
    report = _report("graph_def", path, _form(file), [path])
    index = GraphIndex(graph_def)
    found = harm.scan_graph(index, folder=path.parent)
    report["notes"] += [CUT_OFF] if may_be_cut_off(graph_def) else []
    report["faults"] += [*find_crashes(index), *find_loose_ends(index)]
    report["graphs"] = [_graph(graph_def, None, found, _candidates(index))]
    return report, graph_def


def _of_meta_graph(file: ModelFile) -> tuple[Report, Any]:
    path = file.path
    meta_graph = read_message(file)
    report = _report("meta_graph", path, _form(file), [path])
    _add_meta_graph(report, meta_graph, path.parent)
    report["moving_averages"] = _averages(node.name for node in meta_graph.graph_def.node)
    return report, meta_graph.graph_def


def _of_checkpoint(found: Checkpoint, opened: ModelFile | None, notes: list[str]) -> tuple[Report, Any]:
    prefix = found.prefix
    meta = prefix.with_name(f"{prefix.name}.meta")
    index = prefix.with_name(f"{prefix.name}.index")
    report = _report("checkpoint", prefix, found.version, [index, *found.files, meta])
    report["notes"] += notes
    report["faults"] += _faults(lambda: require_whole_checkpoint(found))
    _add_variables(report, found)
    if found.object_graph:
        report["notes"].append("an object checkpoint of TensorFlow 2: its keys are paths through Python objects")
    if not meta.is_file():
        report["notes"].append(f"no graph: there is no {meta.name}")
        return report, None
    meta_graph = read_message(open_meta_graph_file(found, opened))
    _add_meta_graph(report, meta_graph, prefix.parent)
    return report, meta_graph.graph_def


def _of_saved_model(found: SavedModelFolder, tag_set: str | None, notes: list[str]) -> tuple[Report, Any]:
    folder = found.path
    saved_model = read_message(found.file)
    report = _report("saved_model", folder, _form(found.file), sorted(f for f in folder.rglob("*") if f.is_file()))
    report["notes"] += notes
    variables = found.variables
    if variables is not None:
        report["faults"] += _faults(lambda: require_whole_checkpoint(variables))
        _add_variables(report, variables)
    for meta_graph in saved_model.meta_graphs:
        _add_meta_graph(report, meta_graph, None, folder)
        check = partial(from_saved_model.require_variables, found, meta_graph, GraphIndex(meta_graph.graph_def))
        report["faults"] += _faults(check)
    if tag_set is not None:
        return report, from_saved_model.choose_meta_graph(saved_model, tag_set).graph_def
    first = saved_model.meta_graphs[0] if saved_model.meta_graphs else protos.MetaGraphDef()
    return report, (from_saved_model.find_usual_meta_graph(saved_model) or first).graph_def


def _faults(check: Any) -> list[str]:
    try:
        check()
    except UserError as error:
        return [str(error)]
    return []


def _form(file: ModelFile) -> str:
    return "text" if file.is_text else "binary"


def _add_variables(report: Report, found: Checkpoint) -> None:
    try:
        known = read_object_graph(found)
    except DamagedError as damage:
        known = {}
        if not report["faults"]:  # else the fault is a missing data file, which is listed already
            report["faults"].append(f"{show_path(found.prefix)} is damaged; {damage}; copy it here again")
    copies = find_copies(found, known)
    for v in found.variables:
        one = known.get(v.name, ObjectVariable(""))
        report["variables"].append(
            {
                "name": v.name,
                "full_name": one.full_name or None,
                "role": one.role if known else None,
                "slot": one.slot or None,
                "slot_of": one.owner or None,
                "copy_of": copies.get(v.name),
                "dtype": v.dtype,
                "shape": list(v.shape),
                "parameters": v.count,
                "slices": v.slices,
            }
        )
    report["parameters"] = sum(v.count for v in found.variables if v.dtype != "string" and v.name not in copies)
    report["moving_averages"] = _averages(v.name for v in found.variables)


def _averages(names: Iterable[str]) -> list[str]:
    return sorted(name for name in names if name.endswith(AVERAGES))


def _add_meta_graph(report: Report, meta_graph: Any, folder: Path | None, saved_model: Path | None = None) -> None:
    add_v0_signatures(meta_graph)
    require_dense_shapes(meta_graph.graph_def)
    recorded = list_signature_defs(meta_graph)
    index = GraphIndex(meta_graph.graph_def)
    likely = None if recorded else _candidates(index)
    outputs = [candidate["name"] for candidate in likely["outputs"]] if likely else None
    found = harm.scan_meta_graph(meta_graph, outputs, folder=folder, saved_model=saved_model, index=index)
    report["faults"] += [*find_crashes(index), *find_loose_ends(index)]
    report["graphs"].append(_graph(meta_graph.graph_def, meta_graph, found, likely, saved_model))
    report["tensorflow_version"] = report["tensorflow_version"] or meta_graph.meta_info_def.tensorflow_version or None


def _graph(
    graph_def: Any, meta_graph: Any, found: list[harm.Finding], likely: Report | None, folder: Path | None = None
) -> Report:
    recorded = {} if meta_graph is None else list_signature_defs(meta_graph)
    functions = graph_def.library.function
    return {
        "tags": [] if meta_graph is None else sorted(meta_graph.meta_info_def.tags),
        "producer": graph_def.versions.producer,
        "min_consumer": graph_def.versions.min_consumer,
        "nodes": len(graph_def.node),
        "signatures": {key: _signature(signature_def) for key, signature_def in recorded.items()},
        "candidates": likely,
        "placeholders": [str(describe_tensor({n.name: n}, n.name)) for n in graph_def.node if n.op in PLACEHOLDERS],
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


def _candidates(index: GraphIndex) -> Report | None:
    if any(find_crashes(index)):  # a node of 2**40 outputs has as many candidates
        return None
    found = infer_candidates(index)
    listed = {
        role: [{**_tensor(c.tensor), "role": c.role, "why": c.why} for c in candidates]
        for role, candidates in (("inputs", found.inputs), ("outputs", found.outputs), ("others", found.others))
    }
    return {**listed, "ambiguous": bool(found.rivals)}


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
        inside = folder is not None and is_below_folder(folder / "assets", asset.filename)
        file = folder / "assets" / asset.filename if folder is not None and inside else None
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
