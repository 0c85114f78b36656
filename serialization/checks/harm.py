"""The safety scan: finds ops that could harm the machine, before TensorFlow loads the model.

Loading a model runs parts of it: init ops, table initializers, and even stateless ops of which import_graph_def infers
shapes. So the protobuf is scanned before TensorFlow gets it. A listed op is refused wherever it may run, unless
`file_names` knows its filename as harmless, or `_HARMLESS` its attribute. docs/safety.md lists the refused ops, and the
limits of the scan.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serialization.checks.file_names import ASSET, CONSTANT, OWN_CHECKPOINT, FileName, FileNames
from serialization.checks.harmful_ops import CONNECTS, EFFECTS, FILE_INPUTS, READS, RUNS, WRITES
from serialization.checks.stablehlo import find_foreign_call
from serialization.checks.what_loading_runs import find_what_loading_runs, list_asset_files
from serialization.checks.what_runs import FETCH, GRAPH, Reached, find_session_run
from serialization.console import make_printable, show_path
from serialization.errors import UserError
from serialization.files.model_names import find_saved_model_file
from serialization.graph import op_sets
from serialization.graph.graph_index import GraphIndex
from serialization.graph.known_ops import load_known_ops
from serialization.project import resolve_below

_NAMELESS = "an asset without a name"
_HIDDEN = "a file name that is computed, carried or renamed"
# Ops that harm by an attribute: its name, and its harmless values; `*` stands for any ending.
_HARMLESS = {
    "PrintV2": ("output_stream", ("stderr", "stdout", "log(info)", "log(warning)", "log(error)")),  # tf.print
    "DecodeProtoV2": ("descriptor_source", ("", "local://", "bytes://*")),  # tf.io.decode_proto
    "EncodeProto": ("descriptor_source", ("", "local://", "bytes://*")),  # tf.Transform's quantiles
    "FixedUnigramCandidateSampler": ("vocab_file", ("",)),  # tf.nn.fixed_unigram_candidate_sampler(unigrams=...)
}
_CACHES = {"CacheDataset", "CacheDatasetV2"}


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
    fetched = index.nodes if outputs is None else outputs
    reached = Reached(index, [find_session_run(index, FETCH, fetched, inputs)])
    return scan_reached(reached, FileNames(reached), folder)


def scan_meta_graph(
    meta_graph: Any,
    outputs: Iterable[str] | None = None,
    inputs: Iterable[str] = (),
    folder: Path | None = None,
    *,
    saved_model: Path | None = None,
    index: GraphIndex | None = None,
) -> list[Finding]:
    """The findings in a MetaGraphDef that is imported, restored and initialized, when `outputs` are fetched.

    `outputs` of None stands for the outputs of all recorded signatures. `saved_model` is the SavedModel's folder, whose
    assets may be read. Files below `folder` may fill tables. `index` is the index of its graph, if there is one.
    """
    index = index or GraphIndex(meta_graph.graph_def)
    reached, names = find_what_loading_runs(meta_graph, index, outputs, inputs, with_assets=saved_model is not None)
    assets = [] if saved_model is None else scan_assets(meta_graph, saved_model)
    return [*assets, *scan_reached(reached, names, folder)]


def scan_reached(reached: Reached, names: FileNames, beside: Path | None = None) -> list[Finding]:
    """The findings in the nodes that may run, and in the nodes that TensorFlow may evaluate during an import.

    Files below `beside` may fill tables.
    """
    found: dict[Finding, None] = {}
    for scope, node in reached.iterate_nodes():
        if node.op in EFFECTS and (detail := _find_harm(names, scope, node, beside)) is not None:
            found[Finding(EFFECTS[node.op], node.op, node.name, scope, detail)] = None
    others = (node for name, node in reached.index.nodes.items() if node.op in EFFECTS and name not in reached.nodes)
    for node in others:
        if _may_run_at_import(reached.index, node) and _find_harm(names, GRAPH, node, beside) is not None:
            found[Finding(EFFECTS[node.op], node.op, node.name, "", "evaluated while the graph is imported")] = None
    return sorted(found, key=lambda finding: (finding.function, finding.node))


def scan_assets(meta_graph: Any, saved_model: Path) -> list[Finding]:
    """The assets that lie outside of the SavedModel, or are no plain files."""
    found = []
    for name in dict.fromkeys(asset.filename for asset in list_asset_files(meta_graph)):
        file = find_asset(saved_model, name)
        if file is None:
            found.append(Finding(READS, "", name or _NAMELESS, detail="(an asset path that leaves the folder)"))
        elif file.exists() and not file.is_file():  # reading a pipe may never end
            found.append(Finding(READS, "", name, detail="(an asset that is no plain file)"))
    return found


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


def find_asset(saved_model: Path, name: str) -> Path | None:
    """The asset of a SavedModel, links followed; None where it leaves the model's folder."""
    file = find_own_file(saved_model, f"assets/{name}")
    return file if name and not Path(name).is_absolute() and ".." not in Path(name).parts else None


def find_own_file(saved_model: Path, place: str) -> Path | None:
    """A file at a place in a SavedModel, links followed; None where it leaves the model's folder.

    In a cache of models each file is a link into one other folder: there saved_model.pb shows which.
    """
    main = find_saved_model_file(saved_model) or saved_model / "saved_model.pb"
    return resolve_below(saved_model / place, saved_model, main.resolve().parent)


def _some(found: list[str], most: int = 5) -> str:
    return ", ".join(found[:most]) + (f" and {len(found) - most} more" if len(found) > most else "")


def _find_harm(names: FileNames, scope: str, node: Any, beside: Path | None) -> str | None:
    """None if this use of a listed op is harmless; else the detail of the finding, which may be empty."""
    if node.op in _HARMLESS:
        return _find_harm_by_attribute(node, *_HARMLESS[node.op])
    if node.op == "XlaCallModule":
        return find_foreign_call(node)
    if node.op not in FILE_INPUTS:
        return ""
    file = names.find_file_name(scope, node, FILE_INPUTS[node.op])
    if file is None:
        return _HIDDEN
    if node.op in op_sets.RESTORE_OPS:
        allowed = file == OWN_CHECKPOINT
    elif node.op in _CACHES:
        allowed = file == FileName(CONSTANT, b"")  # kept in memory
    else:
        table = node.op in op_sets.TEXT_FILE_INITIALIZERS
        allowed = file.kind == ASSET or (table and file.kind == CONSTANT and _lies_below(beside, file.value))
    return None if allowed else f"file {make_printable(file.value.decode(errors='replace'))}".rstrip()


def _find_harm_by_attribute(node: Any, name: str, harmless: tuple[str, ...]) -> str | None:
    if name not in node.attr:
        return None
    if node.attr[name].WhichOneof("value") != "s":
        return f"its {name} is given by its caller"
    value = node.attr[name].s.decode(errors="replace")
    if any(value == one or (one.endswith("*") and value.startswith(one[:-1])) for one in harmless):
        return None
    return f"{name} {make_printable(value)}"


def _lies_below(folder: Path | None, name: bytes) -> bool:
    """Whether a name is that of a plain file below a folder, or of none. One with :// is an address for TensorFlow."""
    if folder is None or not name or b"://" in name:
        return False
    file = resolve_below(Path.cwd() / name.decode(errors="surrogateescape"), folder)
    return file is not None and (file.is_file() or not file.exists())


def _may_run_at_import(index: GraphIndex, node: Any) -> bool:
    """Whether TensorFlow may run a node while it infers shapes: nothing before it is stateful, or a placeholder.

    It does not for MatchingFiles, whose values only fill datasets and variables.
    """
    known = load_known_ops()
    before = {index.nodes[name].op for name in index.upstream(node.name)}
    return node.op != "MatchingFiles" and not any(
        known.get(op, True) or op in op_sets.ALL_PLACEHOLDERS for op in before
    )
