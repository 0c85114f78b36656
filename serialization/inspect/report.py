"""The report on a model as plain data, which model_inspect.py prints as text or, with --json, as JSON.

It is read from the model's files without TensorFlow's runtime. docs/model_inspect.md is the schema of the report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from serialization.checks import harm
from serialization.checks.confinement import describe_confinement
from serialization.checks.crashes import find_crashes, find_loose_ends, find_lost_end, remove_wrong_defaults
from serialization.console import shorten_path, show_path
from serialization.errors import UserError
from serialization.files.checkpoint_files import (
    find_prefix,
    open_meta_graph_file,
    read_checkpoint_at,
    require_whole_checkpoint,
)
from serialization.files.locate import SavedModelFolder, find_place, find_saved_model, require_model_at
from serialization.files.locate_keras import find_keras_file, list_keras_files, read_keras
from serialization.files.model_names import SAVED_MODEL_FILES, is_saved_model, strip_to_prefix
from serialization.files.other_models import describe_others, explain_other_kind
from serialization.files.unpacking import open_in_place
from serialization.formats import hdf5
from serialization.formats.checkpoint_index import Checkpoint, list_v1_files
from serialization.formats.exported import ExportedModel, list_misplaced_files
from serialization.formats.file_kind import Kind, ModelFile, reopen_file
from serialization.formats.foreign_files import Foreign
from serialization.formats.messages import read_message
from serialization.formats.object_graph import ObjectVariable, find_copies, read_object_graph
from serialization.formats.onnx_file import read_onnx_file
from serialization.formats.tflite_file import read_tflite_file
from serialization.formats.wire import DamagedError
from serialization.graph.const_nodes import unpack_strings
from serialization.graph.graph_def import CUT_OFF, may_be_cut_off
from serialization.graph.graph_index import GraphIndex
from serialization.graph.recorded_signature import read_recorded_signature
from serialization.graph.repair import require_dense_shapes
from serialization.graph.signature import list_signature_defs
from serialization.graph.v0_signatures import add_v0_signatures
from serialization.inspect.graph_report import Report, describe_candidates, describe_graph
from serialization.inspect.keras_report import describe_layers, list_weights
from serialization.sources.frozen_reader import GraphFile
from serialization.sources.meta_graph_choice import choose_meta_graph, find_usual_meta_graph, require_variables

_EXPORTED: dict[Kind | Foreign, tuple[str, Callable[[Any], ExportedModel]]] = {
    Foreign.ONNX: ("onnx", read_onnx_file),
    Foreign.TFLITE: ("tflite", read_tflite_file),
}
KERAS = (Kind.KERAS, Kind.KERAS_LAYERS, Kind.KERAS_WEIGHTS)
AVERAGES = "/ExponentialMovingAverage"


def _open_inspected(path: Path) -> ModelFile | None:
    """The file at the path, opened once; of a folder, the Keras model in it. None if there is neither."""
    is_keras = path.is_dir() and not is_saved_model(path) and list_keras_files(path)
    return find_keras_file(path) if is_keras else reopen_file(path) if path.is_file() else None


@open_in_place
def inspect_model(path: Path, tag_set: str | None = None) -> tuple[Report, GraphIndex | None]:
    """The report on the model at `path`, and the index of its GraphDef; None if it has no graph.

    Of a SavedModel it has all MetaGraphDefs; the index is that of `tag_set`. Raises UserError without a whole model.
    """
    notes: list[str] = []
    path = find_place(path, notes.append)
    report, index = _inspect_place(path, tag_set, notes)
    report["notes"] += describe_others(path, report["kind"], [Path(file["file"]).name for file in report["files"]])
    return report, index


def _inspect_place(path: Path, tag_set: str | None, notes: list[str]) -> tuple[Report, GraphIndex | None]:
    opened = _open_inspected(path)
    if opened is not None and opened.kind in KERAS:
        return _of_keras(opened), None
    if opened is not None and opened.kind is Kind.GRAPH:
        return _of_graph(opened)
    if opened is not None and opened.kind is Kind.META_GRAPH and not _beside_a_checkpoint(path):
        return _of_meta_graph(opened)
    if opened is not None and opened.kind in _EXPORTED:
        return _of_exported(opened), None
    if _is_saved_model(path, opened):
        return _of_saved_model(find_saved_model(path, notes.append, whole=False, opened=opened), tag_set, notes)
    if opened is not None and (isinstance(opened.kind, Foreign) or opened.kind in (Kind.EMPTY, Kind.UNKNOWN)):
        raise explain_other_kind(path, opened.kind, "a model of TensorFlow")
    prefix = find_prefix(path, notes.append)
    require_model_at(path, prefix)
    return _of_checkpoint(read_checkpoint_at(prefix, opened), opened, notes)


def _of_exported(file: ModelFile) -> Report:
    kind, read = _EXPORTED[file.kind]
    try:
        model = read(file.data)
    except DamagedError as damage:
        raise UserError(f"{show_path(file.path)} is damaged; {damage}; copy it here again") from None
    report = _report(kind, file.path, _form(file), [file.path, *(file.path.parent / name for name in model.beside)])
    report["faults"] += list_misplaced_files(file.path, model.beside)
    return report | {"parameters": model.parameters, "exported": asdict(model)}


def list_findings(report: Report) -> list[str]:
    """Faults, ops that are unknown or have no kernel, and the findings of the safety scan, a line each.

    `--strict` fails if there are any.
    """
    found = list(report["faults"])
    found += [f"would run code or read files: {finding}" for finding in (report["keras"] or {}).get("findings", ())]
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
        return path.name in SAVED_MODEL_FILES or opened.kind is Kind.SAVED_MODEL
    return path.is_dir() and is_saved_model(path)


def _beside_a_checkpoint(meta: Path) -> bool:
    prefix = strip_to_prefix(meta)
    has_index = prefix.with_name(f"{prefix.name}.index").is_file()
    return prefix != meta and (has_index or bool(list_v1_files(prefix)))


def _report(kind: str, path: Path, form: str, files: Iterable[Path]) -> Report:
    listed = [{"file": shorten_path(file), "bytes": file.stat().st_size} for file in files if file.is_file()]
    return {
        "kind": kind,
        "path": shorten_path(path),
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
        "exported": None,
        "confinement": describe_confinement(),
        "keras": None,
    }


def _of_graph(file: ModelFile) -> tuple[Report, GraphIndex]:
    path = file.path
    graph_def = read_message(file)
    unpack_strings(graph_def)
    index, _ = require_dense_shapes(GraphIndex(graph_def))
    report = _report("graph_def", path, _form(file), [path])
    found = harm.scan_graph(index, folder=path.parent)
    report["notes"] += [CUT_OFF] if may_be_cut_off(graph_def) else []
    crashes = list(find_crashes(index))
    loose = list(find_loose_ends(index))  # of which find_lost_end tells too
    report["faults"] += [*crashes, *(loose or [f"the file is cut off; {why}" for why in [find_lost_end(index)] if why])]
    recorded, ignored = (None, []) if crashes else read_recorded_signature(index)
    report["notes"] += ignored
    likely = None if recorded else describe_candidates(index, crashes)
    report["graphs"] = [describe_graph(graph_def, None, found, likely, recorded=recorded)]
    return report, index


def _of_meta_graph(file: ModelFile) -> tuple[Report, GraphIndex]:
    report = _report("meta_graph", file.path, _form(file), [file.path])
    index = _add_meta_graph(report, read_message(file), file.path.parent)
    report["moving_averages"] = _averages(index.nodes)
    return report, index


def _of_checkpoint(found: Checkpoint, opened: ModelFile | None, notes: list[str]) -> tuple[Report, GraphIndex | None]:
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
    return report, _add_meta_graph(report, read_message(open_meta_graph_file(found, opened)), prefix.parent)


def _of_saved_model(found: SavedModelFolder, tag_set: str | None, notes: list[str]) -> tuple[Report, GraphIndex | None]:
    folder = found.path
    saved_model = read_message(found.file)
    report = _report("saved_model", folder, _form(found.file), sorted(f for f in folder.rglob("*") if f.is_file()))
    report["notes"] += notes
    variables = found.variables
    if variables is not None:
        report["faults"] += _faults(lambda: require_whole_checkpoint(variables))
        _add_variables(report, variables)
    graphs = [GraphFile(_add_meta_graph(report, graph, None, folder), graph) for graph in saved_model.meta_graphs]
    for graph in graphs:
        report["faults"] += _faults(partial(require_variables, found, graph, graph.index))
    if tag_set is not None:
        return report, choose_meta_graph(graphs, tag_set).index
    shown = find_usual_meta_graph(graphs) or next(iter(graphs), None)
    return report, shown.index if shown is not None else None


def _of_keras(file: ModelFile) -> Report:
    form = "JSON" if file.kind is Kind.KERAS_LAYERS else "HDF5" if file.data[:8] == hdf5.MAGIC else ".keras"
    report = _report("keras", file.path, form, [file.path])
    if file.kind is Kind.KERAS_WEIGHTS:
        report["notes"].append("weights alone, without the layers of the model")
    else:
        report["keras"] = describe_layers(read_keras(file))
    if file.kind is Kind.KERAS_LAYERS:
        report["notes"].append("layers alone, without their weights")
        return report
    report["faults"] += _faults(lambda: report["variables"].extend(list_weights(file.path)))
    report["parameters"] = sum(row["parameters"] for row in report["variables"])
    return report


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


def _add_meta_graph(
    report: Report, meta_graph: Any, folder: Path | None, saved_model: Path | None = None
) -> GraphIndex:
    unpack_strings(meta_graph.graph_def)
    index, _ = require_dense_shapes(GraphIndex(meta_graph.graph_def))
    add_v0_signatures(meta_graph, index)
    wrong_defaults = remove_wrong_defaults(meta_graph)
    recorded = list_signature_defs(meta_graph)
    crashes = list(find_crashes(index))
    likely = None if recorded else describe_candidates(index, crashes)
    outputs = None
    if likely:  # the less likely outputs too: users may name these
        others = [candidate for candidate in likely["others"] if candidate["role"] == "output"]
        outputs = [candidate["name"] for candidate in (*likely["outputs"], *others)]
    found = harm.scan_meta_graph(meta_graph, outputs, folder=folder, saved_model=saved_model, index=index)
    report["faults"] += [*crashes, *find_loose_ends(index), *wrong_defaults]
    report["graphs"].append(describe_graph(meta_graph.graph_def, meta_graph, found, likely, saved_model))
    report["tensorflow_version"] = report["tensorflow_version"] or meta_graph.meta_info_def.tensorflow_version or None
    return index
