"""Proves a checkpoint that was made of another model: it runs as its source, holds its values, and can be trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from serialization.console import format_count
from serialization.errors import UserError
from serialization.files.checkpoint_files import read_checkpoint_at
from serialization.formats.checkpoint_index import format_saver_path
from serialization.formats.file_kind import ModelFile
from serialization.formats.messages import read_message
from serialization.graph.function_optimizers import switch_off_optimizers
from serialization.graph.parameters import Parameter
from serialization.graph.signature import SERVING_DEFAULT, Signature, bind_signature, read_signature_def
from serialization.run.differences import has_same_bits
from serialization.run.generated_feeds import generate_attempts
from serialization.run.given_feeds import Feed, read_feeds
from serialization.run.origin import Origin
from serialization.run.predictor import Predictor, open_session
from serialization.run.training_step import train_one_step
from serialization.run.variables import holds_values
from serialization.run.verify import prove_same
from serialization.targets.to_checkpoint import Unfrozen, name_in_graph
from serialization.tensorflow import explain_failures, tf, tf1

if TYPE_CHECKING:
    from numpy.typing import NDArray


def restore_plainly(prefix: Path, *, optimize: bool = False) -> tuple[Any, Signature]:
    """A session on a checkpoint, opened as a training script does, and the signature that its .meta records."""
    meta_graph = read_message(ModelFile(prefix.with_name(f"{prefix.name}.meta")))
    held = read_checkpoint_at(prefix)  # TensorFlow would take some prefixes for patterns
    wanted = read_signature_def(meta_graph.signature_def[SERVING_DEFAULT])
    if not optimize:
        switch_off_optimizers(meta_graph.graph_def)
    session = open_session(tf1.Graph(), optimize=optimize)
    with session.graph.as_default(), explain_failures("the checkpoint cannot be restored"):
        saver = tf1.train.import_meta_graph(meta_graph)
        saver.restore(session, format_saver_path(held))
        session.run(tf1.tables_initializer())
    return session, bind_signature(session.graph, wanted)


def prove_checkpoint(
    open_source: Callable[[], AbstractContextManager[Origin]],
    unfrozen: Unfrozen,
    prefix: Path,
    given: Sequence[Feed] | None,
) -> list[str]:
    """Restore the checkpoint in a fresh graph and run it beside its source, compare its variables, train it for a step.

    Returns the lines to print. Raises UserError if an output or a variable has other bits.
    """

    def open_result(optimize: bool) -> Predictor:
        return Predictor(*restore_plainly(prefix, optimize=optimize))

    with open_source() as origin:
        hints, batches = origin.hints, origin.batches
        # The result keeps no state from run to run, as a frozen model.
        lines = [prove_same(origin, open_result, given, steady=True)]
    del origin
    known = {name_in_graph(one, unfrozen): one for one in unfrozen.parameters}

    def read(name: str, first: int, count: int) -> NDArray[Any]:
        return unfrozen.read(known[name], first, count)

    session, wanted = restore_plainly(prefix)
    with session:
        for variable in session.graph.get_collection(tf1.GraphKeys.GLOBAL_VARIABLES):
            name = variable.op.name
            _require(holds_values(session, variable, partial(read, name)), known[name])
        lines.append(f"proved: {format_count(len(known), 'variable')} restored, the same bits")
        attempts = [[read_feeds(wanted, given)]] if given else generate_attempts(wanted, hints, batches)
        return [*lines, *train_one_step(session, wanted, attempts, read, generated=not given)]


def prove_objects(unfrozen: Unfrozen, prefix: Path) -> str:
    """Restore an object-based checkpoint as TensorFlow 2 does, by the names of the variables. Returns a line to print.

    Raises UserError if a variable is missing or has other bits.
    """
    held = read_checkpoint_at(prefix)
    variables = {one.name: tf.Variable(tf.zeros(one.shape, one.dtype)) for one in unfrozen.parameters}
    with explain_failures("the object-based checkpoint cannot be restored"):
        tf.train.Checkpoint(variables=variables).read(format_saver_path(held)).assert_consumed()
    for one in unfrozen.parameters:
        value = variables[one.name].numpy().reshape(-1)
        _require(has_same_bits(unfrozen.read(one, 0, value.size), value), one)
    return f"proved: {format_count(len(variables), 'variable')} restored by tf.train.Checkpoint, the same bits"


def _require(same: bool, parameter: Parameter) -> None:
    if not same:
        raise UserError(f"{parameter.name} came back from the checkpoint with another value; nothing was written")
