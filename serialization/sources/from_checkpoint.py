"""Prepares a checkpoint: prunes and repairs its graph, compares the variables, adds a Saver for the needed ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from serialization.checks import harm
from serialization.checks.crashes import nests_deeply, remove_wrong_defaults
from serialization.console import format_count, show_path
from serialization.errors import UserError
from serialization.files.checkpoint_files import open_meta_graph_file
from serialization.formats import protos
from serialization.formats.checkpoint_index import Checkpoint, format_saver_path
from serialization.formats.dtypes import get_dtype_number
from serialization.formats.file_kind import ModelFile
from serialization.formats.object_graph import find_variable_keys
from serialization.graph import repair
from serialization.graph.function_optimizers import switch_off_optimizers, switch_on_optimizers
from serialization.graph.graph_def import list_training_nodes
from serialization.graph.graph_index import GraphIndex, prune_graph
from serialization.graph.lookup_tables import read_table_keys
from serialization.graph.signature import Signature, bind_signature
from serialization.graph.v0_signatures import add_v0_signatures
from serialization.run.feed_hints import find_batch_sizes, find_hints
from serialization.run.generated_feeds import Hint
from serialization.run.origin import Origin, find_state, read_state, run_from_first_state, takes_plain_calls
from serialization.run.predictor import Run, compile_later
from serialization.sources import restore_ops, variable_mapping
from serialization.sources.choose import NoOutputsError, prepare_graph
from serialization.sources.frozen_reader import GraphFile, read_graph_file
from serialization.sources.variable_mapping import Restore, check_mapping, map_variables, rename_keys, take_averages
from serialization.sources.variable_values import get_value_size

NOTHING = Signature((), ())


@dataclass(frozen=True)
class PreparedCheckpoint:
    """A checkpoint with a graph that TensorFlow can import and restore.

    `meta_graph` is for import_meta_graph. `held` is the checkpoint's index; `file` holds the graph. `whole` is the
    GraphDef in that file, and `index` the index of the part that the outputs need, without a Saver. `notes` report
    choices and repairs. `hints` and `batches` are for generate_attempts. `trust` is `--trust-model`.
    """

    held: Checkpoint
    file: Path
    meta_graph: Any
    index: GraphIndex
    whole: Any
    signature: Signature
    restores: tuple[Restore, ...]
    notes: tuple[str, ...]
    trust: bool
    initializers: tuple[str, ...] = ()
    hints: Mapping[str, Hint] = field(default_factory=dict)
    batches: tuple[int, ...] = ()

    @property
    def path(self) -> str:
        """The path for Saver.restore. Asked for where the model is loaded: there the links that it may need can go."""
        return format_saver_path(self.held)

    @property
    def pruned(self) -> Any:
        """The GraphDef that is imported, without the Saver."""
        return self.index.graph_def

    @property
    def size(self) -> int:
        """The size of all variables, in bytes."""
        return sum(get_value_size(self.held, restore) for restore in self.restores)

    @property
    def graph_size(self) -> int:
        """The size in bytes of the GraphDef that the signature needs."""
        return int(self.pruned.ByteSize())


def read_checkpoint_graph(held: Checkpoint, graph: Path | None = None) -> GraphFile:
    """The graph of a checkpoint, from the file that `--graph` names, or from PREFIX.meta."""
    file = read_graph_file(ModelFile(graph) if graph else open_meta_graph_file(held))
    if file.meta_graph is None:
        return file
    add_v0_signatures(file.meta_graph, file.index)
    lines = [*remove_wrong_defaults(file.meta_graph), *repair.make_version_readable(file.meta_graph)]
    return replace(file, notes=(*file.notes, *lines))


def take_whole_checkpoint(
    held: Checkpoint, file: GraphFile, wanted: Signature = NOTHING, *, trust: bool = False
) -> PreparedCheckpoint:
    """A checkpoint with the whole graph of its training, and the Saver that is recorded there."""
    return PreparedCheckpoint(
        held=held,
        file=file.path,
        meta_graph=file.meta_graph,
        index=file.index,
        whole=file.graph_def,
        signature=wanted,
        restores=tuple(one for one in map_variables(file.index, file.meta_graph.saver_def).values() if one.saved),
        notes=tuple(f"repaired: {line}" for line in file.notes),
        trust=trust,
    )


def prepare_checkpoint(
    held: Checkpoint,
    file: GraphFile,
    inputs: str | None = None,
    outputs: str | None = None,
    *,
    rename: Sequence[tuple[str, str]] | None = None,
    partial: bool = False,
    ema: bool = False,
    trust: bool = False,
    whole: bool = False,
    need_outputs: bool = True,
) -> PreparedCheckpoint:
    """Choose inputs and outputs, cut the graph down to them, repair it, and match its variables with the checkpoint's.

    The parameters are the flags of the same names, and `--trust-model`. `whole` keeps the graph as it is, if none of
    these flags changes the variables. Without `need_outputs` a graph that seems to have no outputs is kept as well.
    Raises UserError for each fault on the way.
    """
    keep = file.meta_graph is not None and not (rename or partial or ema)
    _require_safe_saver(file, trust=trust)
    keys = find_variable_keys(held)
    names = {key: name for name, key in keys.items()}
    shapes = {names[variable.name]: variable.shape for variable in held.variables}
    kinds = {names[variable.name]: get_dtype_number(variable.dtype) for variable in held.variables}
    plan, notes = _choose_names(held, file, names, shapes, rename, ema=ema)
    lacking = {node for node, restore in plan.items() if restore.key not in shapes}
    try:
        ready = prepare_graph(file, inputs, outputs, what=show_path(held.prefix), lacking=lacking)
    except NoOutputsError:
        if keep and not (need_outputs or inputs):
            return take_whole_checkpoint(held, file, trust=trust)
        raise
    needed = [name for name in ready.index.nodes if name in plan]
    notes += check_mapping(plan.values(), needed, shapes, kinds, show_path(held.prefix), partial=partial)
    if whole and keep:
        return take_whole_checkpoint(held, file, ready.signature, trust=trust)
    restores = tuple(_sized(plan[name], shapes, keys) for name in needed)
    meta_graph = restore_ops.add_saver(ready.index, restores)
    if ready.initializers:
        meta_graph.collection_def["table_initializer"].node_list.value.extend(ready.initializers)
    return PreparedCheckpoint(
        held=held,
        file=file.path,
        meta_graph=meta_graph,
        index=ready.index,
        whole=file.graph_def,
        signature=ready.signature,
        restores=restores,
        notes=(*ready.notes, *notes),
        trust=trust,
        initializers=ready.initializers,
        hints=find_hints(ready.index, ready.signature),
        batches=tuple(find_batch_sizes(file.graph_def)),
    )


def _choose_names(
    held: Checkpoint,
    file: GraphFile,
    names: Mapping[str, str],
    shapes: Mapping[str, tuple[int, ...]],
    rename: Sequence[tuple[str, str]] | None,
    *,
    ema: bool,
) -> tuple[dict[str, Restore], list[str]]:
    """Under which of its names, by key, the checkpoint holds each variable, and a line on moving averages."""
    mapped = map_variables(file.index, file.meta_graph.saver_def if file.meta_graph is not None else None)
    plan = {node: replace(restore, key=names.get(restore.key, restore.key)) for node, restore in mapped.items()}
    if rename:
        plan = rename_keys(plan, [(names.get(old, old), new) for old, new in rename], shapes)
    found = sum(key.endswith(variable_mapping.AVERAGE) for key in shapes)
    if not ema:
        averages = format_count(found, "moving average")
        return plan, [f"the checkpoint also holds {averages}; --ema takes these for raw values"] if found else []
    if not found:
        raise UserError(
            f"--ema: {show_path(held.prefix)} holds no moving averages; "
            f"found no name that ends in {variable_mapping.AVERAGE}"
        )
    raw, plan = plan, take_averages(plan, shapes)
    taken = sum(plan[node].key != raw[node].key for node in plan)
    return plan, [f"took {format_count(taken, 'moving average')} in place of raw values"]


def _require_safe_saver(file: GraphFile, *, trust: bool) -> None:
    """Raise UserError if the graph's own restore ops could do harm.

    They are never run, since prepare_checkpoint adds a Saver of its own. But a graph that hides harm there is refused.
    """
    if file.meta_graph is not None:
        saver_def = file.meta_graph.saver_def
        alone = protos.MetaGraphDef(graph_def=prune_graph(file.index, [saver_def.restore_op_name]), saver_def=saver_def)
        harm.require_safe(harm.scan_meta_graph(alone, [], folder=file.path.parent), file.path, trust=trust)


def _sized(restore: Restore, shapes: Mapping[str, tuple[int, ...]], keys: Mapping[str, str]) -> Restore:
    """The same with the key of its name, and with a shape: the checkpoint's, if the graph records none."""
    shape = tuple(shapes[restore.key]) if restore.shape is None else restore.shape
    return replace(restore, key=keys[restore.key], shape=shape)


def require_safe_checkpoint(prepared: PreparedCheckpoint) -> None:
    """Raise UserError if importing, restoring or running it could do harm, unless the user trusts it."""
    tensors = (prepared.signature.outputs, prepared.signature.inputs)
    outputs, inputs = ([tensor.name for tensor in side] for side in tensors)
    run = [*outputs, *prepared.initializers]
    index = prepared.index if prepared.pruned is prepared.whole else None  # else a Saver was added to a copy
    folder = prepared.held.prefix.parent
    findings = harm.scan_meta_graph(prepared.meta_graph, run, inputs, folder, index=index)
    harm.require_safe(findings, prepared.file, trust=prepared.trust)


def make_importable(prepared: PreparedCheckpoint, *, optimize: bool) -> bool:
    """Refuse a graph that could do harm, and whether to `optimize` it; if not, function bodies are not either."""
    require_safe_checkpoint(prepared)
    optimize = optimize and not nests_deeply(prepared.index)  # for these the optimizers take minutes
    if not optimize:
        switch_off_optimizers(prepared.meta_graph.graph_def)
    return optimize


def make_checkpoint_origin(session: Any, prepared: PreparedCheckpoint, fill: Callable[[], None]) -> Origin:
    """The checkpoint as the source of a conversion; `fill` restores the session's variables."""
    fill()
    wanted = bind_signature(session.graph, prepared.signature)
    predict = compile_later(session, wanted)

    @contextmanager
    def afresh() -> Iterator[Run]:
        fill()
        yield predict

    once, twice = predict, None
    if list_training_nodes(prepared.pruned):
        state = find_state(GraphIndex(prepared.pruned), wanted.outputs)
        once, twice = run_from_first_state(afresh, lambda _: read_state(session, state))
    held = read_table_keys(session, prepared.index)
    found = find_hints(prepared.index, wanted, held) if held else prepared.hints
    plain = takes_plain_calls(prepared.index)
    graph_def = session.graph.as_graph_def()
    switch_on_optimizers(graph_def)
    return Origin(session, GraphIndex(graph_def), wanted, once, plain, found, prepared.batches, twice)
