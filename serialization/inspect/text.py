"""Prints the report of serialization/inspect/report.py as text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from serialization.console import format_count, format_size, make_printable, print_table, show_path
from serialization.graph.signature import show_shape
from serialization.inspect import report as reports

MOST, OPS = 40, 12  # the most rows of a table, and of the table of ops; --json has all


def print_report(report: dict[str, Any], found: list[str]) -> None:
    """Print the whole report; `found` are the lines of `list_findings`."""
    print_heading(report)
    if report["exported"]:
        print_exported(report["exported"])
        return
    for graph in report["graphs"]:
        tags = ",".join(graph["tags"]) or "''"
        print_graph(graph, f"tag-set {tags}: " if report["kind"] == "saved_model" or graph["tags"] else "")
    if report["keras"]:
        print_layers(report["keras"])
    print_variable_rows(report)
    print_findings(found)
    print(report["confinement"])


def print_heading(report: dict[str, Any]) -> None:
    """Print kind, format, size and TensorFlow version."""
    kind = {
        "graph_def": "a GraphDef (frozen model)",
        "meta_graph": "a MetaGraphDef (the graph of a checkpoint)",
        "checkpoint": "a checkpoint",
        "saved_model": "a SavedModel",
        "onnx": "an ONNX model",
        "tflite": "a LiteRT model",
        "keras": "a Keras model",
    }[report["kind"]]
    title, writer = "TensorFlow version", report["tensorflow_version"]
    if report["kind"] == "keras":
        title, writer = "Keras version", (report["keras"] or {}).get("version")
    if report["exported"]:
        title, writer = "written by", report["exported"]["producer"]
    count = len(report["files"])
    size = f"{format_size(report['bytes'])} in {format_count(count, 'file')}"
    print(f"{show_path(Path(report['path']))}: {kind}, {report['format']}, {size}")
    print(f"{title}: {make_printable(writer) if writer else 'not recorded'}")
    for note in report["notes"]:
        print(note)


def print_rows(headings: Sequence[str], values: Iterable[Sequence[object]], most: int = MOST) -> None:
    """Print a table of at most `most` rows, without control characters."""
    lines = [[make_printable(str(value)) for value in row] for row in values]
    if lines:
        print()
        print_table(headings, lines[:most])
        if len(lines) > most:
            print(f"and {len(lines) - most:,} more; --json lists all")


def print_graph(graph: dict[str, Any], title: str) -> None:
    """Print one graph: its signatures or candidates, and its ops, functions, tables and assets."""
    functions = graph["functions"]
    inside = (
        f" and {sum(f['nodes'] for f in functions):,} in {format_count(len(functions), 'function')}"
        if functions
        else ""
    )
    print(
        f"\n{make_printable(title)}{format_count(graph['nodes'], 'node')}{inside}; GraphDef version {graph['producer']}"
    )
    for key, signature in graph["signatures"].items():
        called = [("input", t) for t in signature["inputs"]] + [("output", t) for t in signature["outputs"]]
        lines = [(role, t["key"], t["name"], t["dtype"], show_shape(t["shape"])) for role, t in called]
        print_rows((f"signature {make_printable(key)}", "key", "tensor", "dtype", "shape"), lines)
    if graph["candidates"] is not None:
        print_candidates(graph["candidates"])
    print_rows(("op", "count"), graph["ops"].items(), OPS)
    print_rows(("function", "nodes"), [(f["name"], f["nodes"]) for f in functions])
    print_rows(
        ("table", "op", "dtypes"),
        [(t["node"], t["op"], f"{t['key_dtype']} -> {t['value_dtype']}") for t in graph["tables"]],
    )
    print_rows(
        ("asset", "size"),
        [(a["file"], "missing" if a["bytes"] is None else format_size(a["bytes"])) for a in graph["assets"]],
    )
    print_rows(("pinned to", "nodes"), graph["devices"].items())
    print_rows(
        ("unknown op", "library", "nodes"), [(o["op"], o["library"], len(o["nodes"])) for o in graph["unknown_ops"]]
    )
    constants = graph["constants"]
    if constants["parameters"]:
        print(f"\nconstants: {constants['count']:,}, holding {format_count(constants['parameters'], 'number')}")


def print_exported(model: dict[str, Any]) -> None:
    """Print what an ONNX or LiteRT file holds: versions, signatures, metadata, ops, constants."""
    versions = ", ".join(f"{domain} {version}" for domain, version in model["versions"].items())
    print(f"versions of its ops: {make_printable(versions) or 'not recorded'}")
    for signature in model["signatures"]:
        called = [("input", t) for t in signature["inputs"]] + [("output", t) for t in signature["outputs"]]
        lines = [(role, t["key"], t["name"], t["dtype"], show_shape(t["shape"])) for role, t in called]
        print_rows((f"signature {make_printable(signature['key'])}".strip(), "key", "tensor", "dtype", "shape"), lines)
    if model["defaults"]:
        print(f"\nneed not be fed: {make_printable(', '.join(model['defaults']))}")
    print_rows(("metadata", "value"), model["metadata"].items())
    print_rows(("op", "count"), model["ops"].items(), OPS)
    numbers = format_count(model["parameters"], "number")
    print(f"\nconstants: {model['constants']:,}, holding {numbers}")


def print_layers(keras: dict[str, Any]) -> None:
    """Print the inputs, outputs and layers of a Keras model."""
    ends = [("input", one["name"], one["dtype"] or "", show_shape(one["shape"])) for one in keras["inputs"]]
    ends += [("output", name, "", "") for name in keras["outputs"]]
    print_rows((f"of the {make_printable(str(keras['class']))}", "layer", "dtype", "shape"), ends)
    print_rows(("layer", "class"), [(one["name"], one["class"]) for one in keras["layers"]])


def print_candidates(candidates: dict[str, Any]) -> None:
    """Print the likely inputs and outputs, best first, then the less likely ones."""
    doubt = " (ambiguous)" if candidates["ambiguous"] else ""
    listed = [
        *((c["role"], c) for c in candidates["inputs"]),
        *((f"output{doubt}", c) for c in candidates["outputs"]),
        *((f"less likely: {c['role']}", c) for c in candidates["others"]),
    ]
    lines = [(role, c["name"], c["dtype"], show_shape(c["shape"]), c["why"]) for role, c in listed]
    print_rows(("no signature; likely", "tensor", "dtype", "shape", "because"), lines)


def print_variable_rows(report: dict[str, Any]) -> None:
    """Print the variables of the checkpoint's index."""
    shown = [[v["name"], v["dtype"], show_shape(v["shape"]), f"{v['parameters']:,}"] for v in report["variables"]]
    titles = ["variable", "dtype", "shape", "parameters"]
    if any(v["role"] for v in report["variables"]):  # of an object checkpoint, or of Keras
        titles.append("is")
        shown = [[*row, _describe_role(v)] for row, v in zip(shown, report["variables"], strict=True)]
    print_rows(titles, shown)
    if shown:
        copies = sum(v["copy_of"] is not None for v in report["variables"])
        stored = f", and {format_count(copies, 'copy', 'copies')} of these" if copies else ""
        print(f"\nparameters: {report['parameters']:,} in {format_count(len(shown) - copies, 'variable')}{stored}")
        kept = [v["parameters"] for v in report["variables"] if str(v["role"]).startswith("optimizer")]
        if kept:
            print(f"of these the optimizer's: {sum(kept):,} in {format_count(len(kept), 'variable')}")
    if report["moving_averages"]:
        print(f"moving averages: {format_count(len(report['moving_averages']), 'variable')} named {reports.AVERAGES}")


def _describe_role(variable: dict[str, Any]) -> str:
    if variable["copy_of"]:
        return f"a copy of {variable['copy_of']}"
    if variable["slot"]:
        return f"slot {variable['slot']} of {variable['slot_of']}"
    name = variable["full_name"] or ""
    return f"{name} (optimizer)".strip() if variable["role"] == "optimizer" else name


def print_findings(found: list[str]) -> None:
    """Print the findings, a line each."""
    print(f"\n{format_count(len(found), 'finding')}:" if found else "\nsafety scan: nothing found")
    for line in found[:MOST]:
        print(f"  {make_printable(line, 400)}")
    if len(found) > MOST:
        print(f"  and {len(found) - MOST:,} more; --json lists all")
