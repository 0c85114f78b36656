"""A SavedModel made ready: its MetaGraphDef and signature chosen, scanned, and flattened for other formats."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from serialization import cli, hints, inlining, ops, origin, protos, repair, room, safety, signature, soundness, source
from serialization.graph import GraphFile, prune, training_nodes
from serialization.kinds import Kind
from serialization.messages import read_message
from serialization.origin import Origin
from serialization.predictor import Predictor
from serialization.signature import Signature
from serialization.verify import Run

SERVE = "serve"
_TABLES = "table_initializer"


@dataclass(frozen=True)
class Exported:
    """The MetaGraphDef that is to be loaded, and the tensors that are to be fed and fetched.

    `notes` say what has to be repaired before TensorFlow loads it.
    """

    meta_graph: Any
    signature: Signature
    notes: tuple[str, ...] = ()


def prepare(
    folder: Path,
    tag_set: str | None = None,
    key: str | None = None,
    inputs: str | None = None,
    outputs: str | None = None,
    *,
    trust: bool = False,
    check: Callable[[Any], None] = lambda graph_def: None,
) -> Exported:
    """Choose what to load and to run; the parameters are the flags, `key` is `--signature`.

    `check` is given the GraphDef of what the signature needs, and may raise cli.Error.

    Raises cli.Error where it could do harm, unless `trust`, and for ops that this TensorFlow does not know.
    """
    meta_graph = choose_meta_graph(read_saved_model(folder), tag_set)
    wanted = signature.from_def(signature.choose(meta_graph, key))
    if inputs or outputs:
        recorded = signature.to_flags(wanted)
        wanted, _ = source.choose(GraphFile(meta_graph.graph_def), inputs or recorded[0], outputs or recorded[1])
    outs, ins = ([tensor.name for tensor in side] for side in (wanted.outputs, wanted.inputs))
    safety.require_safe(safety.scan_meta_graph(meta_graph, outs, ins, saved_model=folder), folder, trust=trust)
    needed = prune(meta_graph.graph_def, [*outs, *ins])
    ops.require_known(needed, cli.show(folder))
    room.require_modest(needed, cli.show(folder))
    check(needed)
    return Exported(meta_graph, wanted, tuple(f"repaired: {line}" for line in _repaired(meta_graph)[1]))


@contextmanager
def loadable(folder: Path, meta_graph: Any) -> Iterator[Path]:
    """The folder that TensorFlow's loader takes: this one, or where its graph must be repaired one that links to it."""
    repaired, lines = _repaired(meta_graph)
    if not lines:
        yield folder
        return
    with TemporaryDirectory(prefix="repaired-") as name:
        place = Path(name)
        for part in folder.iterdir():
            if part.is_dir():
                (place / part.name).symlink_to(part.resolve())
        saved_model = protos.SavedModel(saved_model_schema_version=1, meta_graphs=[repaired])
        (place / "saved_model.pb").write_bytes(saved_model.SerializeToString())
        yield place


def _repaired(meta_graph: Any) -> tuple[Any, list[str]]:
    copy = protos.MetaGraphDef()
    copy.CopyFrom(meta_graph)
    return copy, [*repair.make_version_readable(copy), *repair.take_shapes_off(copy.graph_def)]


def to_origin(session: Any, exported: Exported, afresh: Callable[[], AbstractContextManager[Run]]) -> Origin:
    """The loaded SavedModel ready to be converted; `afresh` gives one that runs and is loaded anew."""
    wanted = signature.in_graph(session.graph, exported.signature)
    flat, names = _flatten(session.graph.as_graph_def(), wanted)
    run, twice = origin.from_first_state(afresh) if training_nodes(flat) else (Predictor(session, wanted), None)
    return Origin(session, flat, names, run, False, hints.find(flat, names), repeat=twice)


def _flatten(graph_def: Any, wanted: Signature) -> tuple[Any, Signature]:
    """What the signature needs of a GraphDef, without functions; cut first, while the inputs are there to be cut at."""
    cut, names, _ = source.cut(graph_def, wanted)
    roots = [tensor.name for tensor in (*names.outputs, *names.inputs)]
    return prune(inlining.inline(prune(cut, roots), roots), roots), names


def read_saved_model(folder: Path) -> Any:
    """The SavedModel message of the folder's saved_model.pb or saved_model.pbtxt. Raises cli.Error if it holds none."""
    binary, text = folder / "saved_model.pb", folder / "saved_model.pbtxt"
    file = binary if binary.is_file() else text  # the order in which TensorFlow's loader looks for them
    saved_model = read_message(file, Kind.SAVED_MODEL)
    for meta_graph in saved_model.meta_graphs:
        soundness.require_sound(meta_graph.graph_def, cli.show(file))
    return saved_model


def choose_meta_graph(saved_model: Any, tag_set: str | None = None) -> Any:
    """The MetaGraphDef with these tags (comma separated); by default the only one, else the one tagged `serve`."""
    by_tags = {frozenset(meta_graph.meta_info_def.tags): meta_graph for meta_graph in saved_model.meta_graphs}
    if tag_set is None and len(by_tags) == 1:
        return saved_model.meta_graphs[0]
    tags = frozenset((tag_set or SERVE).split(","))
    if tags not in by_tags:
        known = "; ".join(",".join(sorted(tags)) or "no tags" for tags in by_tags)
        raise cli.Error(f"the SavedModel has no tag-set {tag_set or SERVE}; it has {known}; choose with --tag-set")
    return by_tags[tags]


def table_initializers(meta_graph: Any, folder: Path) -> tuple[list[str], dict[str, str]]:
    """What to run, and to feed, to fill the tables of an export that has no main op which does so at loading.

    The feeds are the paths of vocabularies in this folder, in the place of those where the model was trained.
    """
    main = [key for key in ("saved_model_main_op", "legacy_init_op") if key in meta_graph.collection_def]
    if main or "__saved_model_init_op" in meta_graph.signature_def or _TABLES not in meta_graph.collection_def:
        return [], {}
    paths = {file.tensor_info.name: str(folder / "assets" / file.filename) for file in safety.asset_files(meta_graph)}
    return list(meta_graph.collection_def[_TABLES].node_list.value), paths
