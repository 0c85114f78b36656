"""The safety scan: finds ops that could harm the machine, before TensorFlow loads the model.

Loading a model runs parts of it: init ops, table initializers, and even stateless ops of which import_graph_def infers
shapes. So the protobuf is scanned before TensorFlow gets it. The scan looks at the ops that would run, not at all ops:
an honest SavedModel has SaveV2 and RestoreV2 for its Saver. docs/safety.md lists what is refused, and the limits.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serialization.checks.harmful_ops import CONNECTS, EFFECTS, FILE_INPUTS, READS, RUNS, WRITES
from serialization.checks.what_loading_runs import find_loading_reaches, list_asset_files
from serialization.checks.what_runs import GRAPH, CallGraph, Reach, StringOrigin
from serialization.console import make_printable, show_path
from serialization.errors import UserError
from serialization.graph import op_sets
from serialization.graph.graph_index import GraphIndex
from serialization.graph.known_ops import load_known_ops

_FORWARDS = op_sets.IDENTITIES | {"IdentityN"}
_STORES = op_sets.ASSIGNMENTS | op_sets.ENQUEUES | {"RandomShuffle", "TensorSliceDataset"}
_NAMELESS = "an asset without a name"


@dataclass(frozen=True)
class Finding:
    """One reason to refuse a model: the effect, the op, its node and function; `detail` may be empty."""

    effect: str
    op: str
    node: str
    function: str = ""
    detail: str = ""

    def __str__(self) -> str:
        if not self.op:
            return f"{make_printable(self.node)} {self.detail}"
        where = (
            f"{make_printable(self.function)}/{make_printable(self.node)}"
            if self.function
            else make_printable(self.node)
        )
        return f"{self.op} at {where}{f' ({self.detail})' if self.detail else ''}"


def scan_graph(
    index: GraphIndex, outputs: Iterable[str] | None = None, inputs: Iterable[str] = (), folder: Path | None = None
) -> list[Finding]:
    """The findings in a graph that is imported, when `outputs` are fetched and `inputs` fed.

    `outputs` of None stands for every node. Give the graph as it will be imported: pruned, if it is going to be pruned.
    Files below `folder` may fill tables.
    """
    reach = Reach(CallGraph(index), inputs).fetch(index.nodes if outputs is None else outputs)
    return _report([reach], folder, folder)


def scan_meta_graph(
    meta_graph: Any,
    outputs: Iterable[str] | None = None,
    inputs: Iterable[str] = (),
    folder: Path | None = None,
    *,
    saved_model: Path | None = None,
    index: GraphIndex | None = None,
    every_signature: bool = False,
) -> list[Finding]:
    """The findings in a MetaGraphDef that is imported, restored and initialized, when `outputs` are fetched.

    `outputs` of None stands for the outputs of all recorded signatures, which `every_signature` adds to others.
    `saved_model` is the SavedModel's folder, whose assets may be read. Files below `folder` may fill tables. `index` is
    the index of its graph, if there is one already.
    """
    index = index or GraphIndex(meta_graph.graph_def)
    reaches = find_loading_reaches(meta_graph, index, outputs, inputs, every_signature=every_signature)
    return _assets(meta_graph, saved_model) + _report(reaches, folder, saved_model and saved_model / "assets")


def require_safe(findings: Iterable[Finding], path: Path, *, trust: bool = False) -> None:
    """Raise UserError that names the ops of the findings, unless the user trusts the model (`--trust-model`)."""
    findings = list(findings)
    if trust or not findings:
        return
    effects = {effect: [str(f) for f in findings if f.effect == effect] for effect in (WRITES, READS, CONNECTS, RUNS)}
    parts = [f"{effect}: {_some(found)}" for effect, found in effects.items() if found]
    raise UserError(
        f"{show_path(path)} is not safe to load; it would {' and '.join(parts)}; "
        "nothing was loaded; --trust-model loads it all the same"
    )


def _some(found: list[str], most: int = 5) -> str:
    return ", ".join(found[:most]) + (f" and {len(found) - most} more" if len(found) > most else "")


def _report(reaches: list[Reach], folder: Path | None, assets: Path | None) -> list[Finding]:
    """The findings among the reached nodes, and among nodes that TensorFlow evaluates during the import."""
    graph = reaches[0].graph
    found: dict[Finding, None] = {}
    for reach in reaches:
        for (scope, name), node in reach.run.items():
            if node.op in EFFECTS and (detail := _harm(reach, scope, node, folder, assets)) is not None:
                found[Finding(EFFECTS[node.op], node.op, name, scope, detail)] = None
    reached = {name for reach in reaches for scope, name in reach.run if scope == GRAPH}
    for name, node in graph.index.nodes.items():
        if name not in reached and node.op in EFFECTS and not load_known_ops().get(node.op, True):
            importing = Reach(graph)
            if _evaluated_at_import(graph.index, node) and _harm(importing, GRAPH, node, folder, assets) is not None:
                found[Finding(EFFECTS[node.op], node.op, name, "", "evaluated while the graph is imported")] = None
    return sorted(found, key=lambda finding: (finding.function, finding.node))


def _harm(reach: Reach, scope: str, node: Any, folder: Path | None, assets: Path | None) -> str | None:
    """None if this use of a listed op is harmless; else the detail of the finding, which may be empty."""
    if node.op == "PrintV2":
        stream = node.attr["output_stream"].s.decode(errors="replace") if "output_stream" in node.attr else "stderr"
        return None if not stream.startswith("file:") else f"to {make_printable(stream)}"
    if node.op.startswith("Debug"):
        urls = node.attr["debug_urls"].list.s if "debug_urls" in node.attr else []
        return f"to {make_printable(urls[0].decode(errors='replace'))}" if urls else None
    if node.op in ("DecodeProtoV2", "EncodeProto"):
        source = node.attr["descriptor_source"].s if "descriptor_source" in node.attr else b""
        return None if source in (b"", b"local://") or source.startswith(b"bytes://") else ""
    if node.op == "FixedUnigramCandidateSampler":
        return None if "vocab_file" not in node.attr or not node.attr["vocab_file"].s else ""
    if node.op == "XlaCallModule":  # compiled arithmetic, unless it calls code that is registered in the process
        return "custom_call" if b"custom_call" in node.attr["module"].s else None
    inputs = FILE_INPUTS[node.op]
    sources: set[StringOrigin] = set()
    for index in inputs:
        sources |= reach.sources(scope, node, index)
    if node.op in op_sets.RESTORE_OPS and sources == {StringOrigin("saver")}:
        return None
    table = node.op in op_sets.TEXT_FILE_INITIALIZERS
    if sources and all(_may_be_read(source, node.op, folder if table else None, assets) for source in sources):
        return None
    paths = sorted(make_printable(source.value.decode(errors="replace")) for source in sources if source.value)
    return f"file {_some(paths, 2)}" if paths else ""


def _may_be_read(source: StringOrigin, op: str, folder: Path | None, assets: Path | None) -> bool:
    name = source.value.decode(errors="surrogateescape")
    if source.kind == "asset":
        return assets is not None and is_below_folder(assets, name)
    if op.startswith("CacheDataset"):
        return source == StringOrigin("constant", b"")  # kept in memory
    return (
        source.kind == "constant" and folder is not None and bool(name) and is_below_folder(folder, Path.cwd() / name)
    )


def is_below_folder(folder: Path, name: str | Path) -> bool:
    """Whether a file lies below a folder, links followed; False for a name that is no valid path."""
    try:
        return (folder / name).resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):
        return False


def _evaluated_at_import(index: GraphIndex, node: Any) -> bool:
    """Whether TensorFlow may run a node while it infers shapes, because a shape depends on the node's value.

    It cannot if an op before the node is stateful or a placeholder. It does not if the value is only stored, as
    match_filenames_once stores that of a MatchingFiles in a variable.
    """
    known = load_known_ops()
    before = {index.nodes[name].op for name in index.upstream(node.name)}
    if any(known.get(op, True) or op in op_sets.ALL_PLACEHOLDERS for op in before):
        return False
    seen, waiting = set[str](), [node.name]
    while waiting:
        for name in index.consumers(waiting.pop()):
            op = index.nodes[name].op
            if op not in _STORES | _FORWARDS:
                return True
            if op in _FORWARDS and name not in seen:
                seen.add(name)
                waiting.append(name)
    return False


def _assets(meta_graph: Any, saved_model: Path | None) -> list[Finding]:
    """The assets that lie outside of the SavedModel, or are no plain files."""
    if saved_model is None:
        return []
    names = dict.fromkeys(asset.filename for asset in list_asset_files(meta_graph))
    folder = saved_model / "assets"
    found = []
    for name in names:
        if not name or not is_below_folder(folder, name):
            found.append(Finding(READS, "", name or _NAMELESS, detail="(an asset path that leaves the folder)"))
        elif (folder / name).exists() and not (folder / name).is_file():  # reading a pipe may never end
            found.append(Finding(READS, "", name, detail="(an asset that is no plain file)"))
    return found
