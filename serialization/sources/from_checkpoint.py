"""Prepares a checkpoint: prunes and repairs its graph, compares the variables, adds a Saver for the needed ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from serialization.checks import harm
from serialization.console import format_count, show_path
from serialization.errors import UserError
from serialization.files.locate import open_meta_graph_file
from serialization.formats import protos
from serialization.formats.checkpoint_index import Checkpoint, format_saver_path
from serialization.formats.dtypes import get_dtype_number
from serialization.formats.file_kind import ModelFile
from serialization.formats.object_graph import find_variable_keys
from serialization.graph import repair
from serialization.graph.graph_def import list_training_nodes
from serialization.graph.graph_index import GraphIndex, prune_graph
from serialization.graph.lookup_tables import read_table_keys
from serialization.graph.signature import Signature, bind_signature
from serialization.graph.v0_signatures import add_v0_signatures
from serialization.run.feed_hints import find_batch_sizes, find_hints
from serialization.run.generated_feeds import Hint
from serialization.run.origin import Origin, run_from_first_state, takes_plain_calls
from serialization.run.predictor import Predictor, Run
from serialization.sources import restore_ops, variable_mapping
from serialization.sources.choose import prepare_graph
from serialization.sources.frozen_reader import GraphFile, read_graph_file
from serialization.sources.variable_mapping import Restore, check_mapping, map_variables, rename_keys, take_averages
from serialization.sources.variable_values import get_value_size


@dataclass(frozen=True)
class PreparedCheckpoint:
    """`meta_graph` is one that import_meta_graph and Saver.restore(session, `path`) take; `notes` say what was done.

    `held` is what the checkpoint's index says. `file` is where the graph was found, `pruned` is its GraphDef without
    the Saver, `whole` the one it was made of.

    `hints` and `batches` are what the graph says about feeds, see generate_attempts.
    """

    path: str
    held: Checkpoint
    file: Path
    meta_graph: Any
    pruned: Any
    whole: Any
    signature: Signature
    restores: tuple[Restore, ...]
    initializers: tuple[str, ...]
    notes: tuple[str, ...]
    hints: dict[str, Hint]
    batches: tuple[int, ...]

    def size(self) -> int:
        """How many bytes the values of the variables have."""
        return sum(get_value_size(self.held, restore) for restore in self.restores)


def read_checkpoint_graph(held: Checkpoint, graph: Path | None = None) -> GraphFile:
    """The graph of a checkpoint: what `--graph` names, else PREFIX.meta."""
    file = read_graph_file(ModelFile(graph) if graph else open_meta_graph_file(held))
    if file.meta_graph is None:
        return file
    add_v0_signatures(file.meta_graph)
    return replace(file, notes=(*file.notes, *repair.make_version_readable(file.meta_graph)))


def take_whole_checkpoint(held: Checkpoint, file: GraphFile) -> PreparedCheckpoint:
    """A checkpoint as it is: with the graph that its training wrote, and the Saver that is recorded in it."""
    restores = map_variables(file.index, file.meta_graph.saver_def)
    graph_def = file.graph_def
    return PreparedCheckpoint(
        format_saver_path(held),
        held,
        file.path,
        file.meta_graph,
        graph_def,
        graph_def,
        Signature((), ()),
        tuple(restores.values()),
        (),
        tuple(f"repaired: {line}" for line in file.notes),
        {},
        (),
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
) -> PreparedCheckpoint:
    """Everything between reading a checkpoint's graph and importing it. Raises UserError for each fault on the way.

    The parameters are the flags of the same names, and `--trust-model`.
    """
    _require_safe_saver(file, trust=trust)
    ready = prepare_graph(file, inputs, outputs, what=show_path(held.prefix))
    keys = find_variable_keys(held)
    names = {key: name for name, key in keys.items()}
    shapes = {names[variable.name]: variable.shape for variable in held.variables}
    kinds = {names[variable.name]: get_dtype_number(variable.dtype) for variable in held.variables}
    saver_def = file.meta_graph.saver_def if file.meta_graph is not None else None
    mapped = map_variables(file.index, saver_def)
    plan = {node: replace(restore, key=names.get(restore.key, restore.key)) for node, restore in mapped.items()}
    if rename:
        plan = rename_keys(plan, [(names.get(old, old), new) for old, new in rename], shapes)
    notes = list(ready.notes)
    found = sum(key.endswith(variable_mapping.AVERAGE) for key in shapes)
    if ema:
        if not found:
            raise UserError(
                f"--ema: {show_path(held.prefix)} holds no moving averages; "
                f"found no name that ends in {variable_mapping.AVERAGE}"
            )
        raw, plan = plan, take_averages(plan, shapes)
        taken = sum(plan[node].key != raw[node].key for node in plan)
        notes.append(f"took {format_count(taken, 'moving average')} in place of raw values")
    elif found:
        notes.append(
            f"the checkpoint also holds {format_count(found, 'moving average')}; --ema takes these for raw values"
        )
    needed = [node.name for node in ready.graph_def.node if node.name in plan]
    notes += check_mapping(plan.values(), needed, shapes, kinds, show_path(held.prefix), partial=partial)
    restores = tuple(_sized(plan[name], shapes, keys) for name in needed)
    meta_graph = restore_ops.add_saver(ready.graph_def, restores)
    if ready.initializers:
        meta_graph.collection_def["table_initializer"].node_list.value.extend(ready.initializers)
    return PreparedCheckpoint(
        format_saver_path(held),
        held,
        file.path,
        meta_graph,
        ready.graph_def,
        file.graph_def,
        ready.signature,
        restores,
        ready.initializers,
        tuple(notes),
        find_hints(GraphIndex(ready.graph_def), ready.signature),
        tuple(find_batch_sizes(file.graph_def)),
    )


def _require_safe_saver(file: GraphFile, *, trust: bool) -> None:
    """Raise UserError where restoring as the graph itself says would do harm: such a graph is not to be trusted.

    What is restored here is restored by a Saver of our own; but nobody hides something there by chance.
    """
    if file.meta_graph is not None:
        saver_def = file.meta_graph.saver_def
        alone = protos.MetaGraphDef(graph_def=prune_graph(file.index, [saver_def.restore_op_name]), saver_def=saver_def)
        harm.require_safe(harm.scan_meta_graph(alone, [], folder=file.path.parent), file.path, trust=trust)


def _sized(restore: Restore, shapes: Mapping[str, tuple[int, ...]], keys: Mapping[str, str]) -> Restore:
    """With the key of its name, and with the shape that the checkpoint holds where the graph does not tell it."""
    shape = tuple(shapes[restore.key]) if restore.shape is None else restore.shape
    return replace(restore, key=keys[restore.key], shape=shape)


def require_safe_checkpoint(prepared: PreparedCheckpoint, fetched: Sequence[str] = (), *, trust: bool = False) -> None:
    """Raise UserError where importing, restoring or running it could do harm, unless `trust`.

    `fetched` are tensors that will be run beside those of its signature.
    """
    tensors = (prepared.signature.outputs, prepared.signature.inputs)
    outputs, inputs = ([tensor.name for tensor in side] for side in tensors)
    run = [*outputs, *prepared.initializers, *fetched]
    findings = harm.scan_meta_graph(prepared.meta_graph, run, inputs, folder=prepared.held.prefix.parent)
    harm.require_safe(findings, prepared.file, trust=trust)


def make_checkpoint_origin(session: Any, prepared: PreparedCheckpoint, fill: Callable[[], None]) -> Origin:
    """The checkpoint ready to be converted; `fill` gives the session all that the checkpoint holds."""
    fill()
    wanted = bind_signature(session.graph, prepared.signature)
    predict = Predictor(session, wanted)

    @contextmanager
    def afresh() -> Iterator[Run]:
        fill()
        yield predict

    once, twice = run_from_first_state(afresh) if list_training_nodes(prepared.pruned) else (predict, None)
    graph_def, index = session.graph.as_graph_def(), GraphIndex(prepared.pruned)
    held = read_table_keys(session, index)
    found = find_hints(index, wanted, held) if held else prepared.hints
    return Origin(session, graph_def, wanted, once, takes_plain_calls(index), found, prepared.batches, twice)
