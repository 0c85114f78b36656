"""Which ops of a model could harm the machine that loads it: looked for before TensorFlow loads it.

Loading is running: an init op, an initialiser of a table, even a stateless op while TensorFlow infers shapes during
import_graph_def runs before anybody asks for a prediction. So the protobuf is scanned before TensorFlow gets it, by
reachability: an honest SavedModel contains SaveV2 and RestoreV2 for its saver, and nothing else may reach them.
docs/safety.md says what is refused, and why a scan is no sandbox.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from serialization.checks.harmful_ops import CONNECTS, EFFECTS, FILE_INPUTS, READS, RUNS, WRITES
from serialization.checks.what_runs import GRAPH, CallGraph, Reach, StringOrigin
from serialization.console import make_printable, show_path
from serialization.errors import UserError
from serialization.formats import protos
from serialization.graph import op_sets
from serialization.graph.graph_index import GraphIndex
from serialization.graph.known_ops import load_known_ops

_FORWARDS = op_sets.IDENTITIES | {"IdentityN"}
_STORES = op_sets.ASSIGNMENTS | op_sets.ENQUEUES | {"RandomShuffle", "TensorSliceDataset"}
_INIT_COLLECTIONS = ("saved_model_main_op", "legacy_init_op", "table_initializer")
_INIT_SIGNATURE, _TRAIN_SIGNATURE = "__saved_model_init_op", "__saved_model_train_op"
_NAMELESS = "an asset without a name"
_RUN_BY_LOADING = {"_create_resource", "_initialize", "_destroy_resource"}


@dataclass(frozen=True)
class Finding:
    """One reason to refuse a model: the effect, the op and where it stands; `detail` is empty or says more."""

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
    """What in a graph could do harm when `outputs` are fetched and `inputs` fed; None stands for every node.

    Give the graph that is to be imported, pruned if it is to be pruned. Files below `folder` may fill tables.
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
) -> list[Finding]:
    """What in a MetaGraphDef could do harm when it is imported, restored, initialised, and `outputs` are fetched.

    `outputs` of None stands for those of all recorded signatures. `saved_model` is the SavedModel's folder, whose
    assets may be read, `folder` one whose files may fill tables. `index` is that of its graph, if there is one.
    """
    assets = {asset.tensor_info.name: asset.filename for asset in list_asset_files(meta_graph)}
    graph = CallGraph(index or GraphIndex(meta_graph.graph_def), assets)
    reaches = [Reach(graph, inputs).fetch(outputs or ())]
    recorded = meta_graph.signature_def
    wanted = set(recorded) - {_TRAIN_SIGNATURE} if outputs is None else {_INIT_SIGNATURE} & set(recorded)
    for key in sorted(wanted):
        fed = [name for info in recorded[key].inputs.values() for name in _tensors(info)]
        reaches.append(Reach(graph, fed).fetch(n for info in recorded[key].outputs.values() for n in _tensors(info)))
    reaches.append(Reach(graph).fetch([*_init_ops(meta_graph), *_variables(meta_graph)]))
    reaches.append(_object_graph(graph, meta_graph))
    saver = meta_graph.saver_def
    restore = Reach(graph, [saver.filename_tensor_name], saver.filename_tensor_name).fetch([saver.restore_op_name])
    return _assets(meta_graph, saved_model) + _report(
        [*reaches, restore], folder, saved_model and saved_model / "assets"
    )


def require_safe(findings: Iterable[Finding], path: Path, *, trust: bool = False) -> None:
    """Raise UserError that names the ops, unless there are none or the user trusts the model (`--trust-model`)."""
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
    """The findings of all that is reached, and of what TensorFlow evaluates while it imports the graph."""
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
    """None where this use of a listed op is harmless, else a word on why it is not, or nothing more to say."""
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
    if node.op == "XlaCallModule":  # compiled arithmetic, unless it calls what is registered in the process
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
    """Whether a file lies below a folder, links followed; a name that is no path at all lies nowhere."""
    try:
        return (folder / name).resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):
        return False


def _evaluated_at_import(index: GraphIndex, node: Any) -> bool:
    """Whether TensorFlow may run a node while it infers shapes, which it does for values that the shapes depend on.

    It can where nothing before the node is stateful or a placeholder, and has no reason to where its value is only
    stored: match_filenames_once puts that of a MatchingFiles into a variable.
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


def list_asset_files(meta_graph: Any) -> list[Any]:
    """The AssetFileDefs of a MetaGraphDef: in their own field, or before TensorFlow 1.8 in a collection."""
    from google.protobuf.message import DecodeError

    if meta_graph.asset_file_def or "saved_model_assets" not in meta_graph.collection_def:
        return list(meta_graph.asset_file_def)
    found = []
    for packed in meta_graph.collection_def["saved_model_assets"].any_list.value:
        asset = protos.AssetFileDef()
        try:
            if packed.Unpack(asset):
                found.append(asset)
        except DecodeError:
            raise UserError("the SavedModel is damaged; the record of an asset cannot be read; copy it again") from None
    return found


def _tensors(info: Any) -> Iterator[str]:
    """The tensors of a TensorInfo, which may stand for several."""
    kind = info.WhichOneof("encoding")
    if kind == "coo_sparse":
        yield from (info.coo_sparse.values_tensor_name, info.coo_sparse.indices_tensor_name)
        yield info.coo_sparse.dense_shape_tensor_name
    elif kind == "composite_tensor":
        for component in info.composite_tensor.components:
            yield from _tensors(component)
    elif info.name:
        yield info.name


def _init_ops(meta_graph: Any) -> Iterator[str]:
    """What a loader runs before the first prediction, as collections record it."""
    for name in _INIT_COLLECTIONS:
        if name in meta_graph.collection_def:
            yield from meta_graph.collection_def[name].node_list.value


def _variables(meta_graph: Any) -> Iterator[str]:
    """What a script reads to see whether a variable is initialized and what it holds."""
    from google.protobuf.message import DecodeError

    for name in ("variables", "local_variables"):
        for encoded in meta_graph.collection_def[name].bytes_list.value if name in meta_graph.collection_def else ():
            try:
                variable = protos.VariableDef.FromString(encoded)
            except DecodeError:  # TensorFlow cannot import it either, and says so
                continue
            yield from (variable.variable_name, variable.snapshot_name)


def _object_graph(graph: CallGraph, meta_graph: Any) -> Reach:
    """What tf.saved_model.load runs of a TensorFlow 2 SavedModel: initialisers, restore functions, its signatures."""
    reach = Reach(graph)
    nodes = meta_graph.object_graph_def.nodes

    def functions(index: int) -> Iterator[str]:
        if 0 <= index < len(nodes):
            yield from nodes[index].function.concrete_functions
            if name := nodes[index].bare_concrete_function.concrete_function_name:
                yield name

    def call(index: int) -> None:
        for name in functions(index):
            reach.call(name, _captured(graph, meta_graph, name))

    for number, node in enumerate(nodes):
        for child in node.children:
            if child.local_name in _RUN_BY_LOADING:
                call(child.node_id)
            if number == 0 and child.local_name == "signatures" and 0 <= child.node_id < len(nodes):
                for signature in nodes[child.node_id].children:
                    call(signature.node_id)
        for saveable in node.saveable_objects.values():
            call(saveable.restore_function)
    return reach


def _captured(graph: CallGraph, meta_graph: Any, name: str) -> dict[str, StringOrigin]:
    """The arguments of a concrete function that stand for captured assets."""
    concrete = meta_graph.object_graph_def.concrete_functions
    if name not in concrete or name not in graph.functions:
        return {}
    captured = concrete[name].bound_inputs
    arguments = graph.functions[name].signature.input_arg
    bound = {}
    for argument, index in zip(arguments[max(0, len(arguments) - len(captured)) :], captured, strict=False):
        node = meta_graph.object_graph_def.nodes[index] if 0 <= index < len(meta_graph.object_graph_def.nodes) else None
        if node is not None and node.WhichOneof("kind") == "asset":
            number = node.asset.asset_file_def_index
            if 0 <= number < len(meta_graph.asset_file_def):
                bound[argument.name] = StringOrigin("asset", meta_graph.asset_file_def[number].filename.encode())
    return bound


def _assets(meta_graph: Any, saved_model: Path | None) -> list[Finding]:
    """The assets that lie outside of the SavedModel."""
    if saved_model is None:
        return []
    names = dict.fromkeys(asset.filename for asset in list_asset_files(meta_graph))
    folder = saved_model / "assets"
    found = []
    for name in names:
        if not name or not is_below_folder(folder, name):
            found.append(Finding(READS, "", name or _NAMELESS, detail="(an asset path that leaves the folder)"))
        elif (folder / name).exists() and not (folder / name).is_file():  # to read a pipe may never end
            found.append(Finding(READS, "", name, detail="(an asset that is no plain file)"))
    return found
