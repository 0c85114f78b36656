"""Restore a checkpoint: the graph from its MetaGraphDef, then the variables from its data files.

Teaches tf.compat.v1.train.import_meta_graph(PREFIX.meta) and Saver.restore(session, PREFIX).

    python checkpoint_restore.py
    python checkpoint_restore.py --tensor NN/W1
    python checkpoint_restore.py --checkpoint my/model.ckpt --outputs softmax --feed x=@rows.npy
    python checkpoint_restore.py --checkpoint my/model.ckpt --graph my/graph.pbtxt --rename old_scope=new_scope

Importing gives the graph, with variables that hold nothing yet. Restoring fills the variables of one session, and does
nothing else. Of a graph of your own only what the outputs need is imported, repaired and compared with the checkpoint.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import model
from serialization import cli, project
from serialization.console import format_command, print_notes, show_path
from serialization.files.locate import find_checkpoint
from serialization.flags import CHECKPOINT_FLAGS, RUN_FLAGS, SAVE_FLAGS
from serialization.formats.checkpoint_index import Checkpoint
from serialization.given_flags import refuse_flags, repeat_flags, select_values
from serialization.graph.lookup_tables import run_table_initializers
from serialization.graph.op_registry import load_op_library
from serialization.graph.signature import Signature, bind_signature
from serialization.parser import make_parser
from serialization.run.origin import Origin
from serialization.run.predictor import Predictor, open_session
from serialization.run.saved_predictions import stage_predictions
from serialization.run.show_predictions import print_predictions
from serialization.sources import from_checkpoint, variable_values
from serialization.sources.from_checkpoint import PreparedCheckpoint
from serialization.tensorflow import OTHER_TENSORFLOW, explain_failures, tf1


def import_graph(prepared: PreparedCheckpoint, *, optimize: bool = False) -> tuple[Any, Any]:
    """A session on the graph of a MetaGraphDef, and the Saver that is recorded in it; variables hold nothing yet.

    The Saver is None where there is no variable. Raises UserError where importing, restoring or running could do harm.
    """
    optimize = from_checkpoint.make_importable(prepared, optimize=optimize)
    with tf1.Graph().as_default() as graph, explain_failures("the graph cannot be imported", OTHER_TENSORFLOW):
        saver = tf1.train.import_meta_graph(prepared.meta_graph, clear_devices=True)
    return open_session(graph, optimize=optimize), saver


def restore(session: Any, saver: Any, prepared: PreparedCheckpoint) -> None:
    """Run the graph's own restore op, which reads the data files; fetching a variable before that is an error."""
    if saver is not None:
        failed = f"the checkpoint {show_path(prepared.held.prefix)} cannot be restored"
        with session.graph.as_default(), explain_failures(failed):  # elsewhere TensorFlow 2 takes it for not built yet
            saver.restore(session, prepared.path)
    # The plain call leaves lookup tables empty. Their values may come from variables, so they are filled now.
    run_table_initializers(session, prepared.initializers)


def open_checkpoint(prepared: PreparedCheckpoint) -> Origin:
    """The restored checkpoint, ready to be converted."""
    session, saver = import_graph(prepared)
    return from_checkpoint.make_checkpoint_origin(session, prepared, lambda: restore(session, saver, prepared))


def restore_session(
    held: Checkpoint, inputs: str | None = None, outputs: str | None = None, *, trust_model: bool = False
) -> tuple[Any, Signature]:
    """A session on the restored checkpoint, and the signature that it is run by."""
    file = from_checkpoint.read_checkpoint_graph(held)
    names = model.names_of(file.graph_def, inputs, outputs)
    prepared = from_checkpoint.prepare_checkpoint(held, file, *names, trust=trust_model)
    session, saver = import_graph(prepared, optimize=True)
    restore(session, saver, prepared)
    return session, bind_signature(session.graph, prepared.signature)


def read_checkpoint(
    args: argparse.Namespace, *, keys: bool = False, whole_toy: bool = False, need_outputs: bool = True
) -> PreparedCheckpoint:
    """The checkpoint that the flags name, made ready. `keys` is for names_of; `whole_toy` keeps all of the toy."""
    held = find_checkpoint(args.checkpoint)
    file = from_checkpoint.read_checkpoint_graph(held, args.graph)
    names = model.names_of(file.graph_def, args.inputs, args.outputs, keys=keys)
    how = select_values(args, "rename", "partial", "ema") | {"trust": args.trust_model, "need_outputs": need_outputs}
    whole = whole_toy and model.is_toy(file.graph_def)
    prepared = from_checkpoint.prepare_checkpoint(held, file, *names, whole=whole, **how)
    print_notes(prepared.notes)
    return prepared


def main(argv: Sequence[str] | None = None) -> int:
    flags = (*CHECKPOINT_FLAGS, *RUN_FLAGS, *SAVE_FLAGS)
    parser = make_parser(__doc__, "tensor", *flags, checkpoint=project.RESULTS / "graph.ckpt")
    args = parser.parse_args(argv)
    if args.tensor:
        refuse_flags(parser, args, flags, "does not go with --tensor, which runs nothing")
        variable_values.print_variable(find_checkpoint(args.checkpoint), args.tensor)
        return 0

    asked = any(select_values(args, "inputs", "outputs", "feed", "save", "rename", "partial", "ema").values())
    with stage_predictions(parser, args) as save:
        load_op_library(args.op_library)
        prepared = read_checkpoint(args, whole_toy=not asked, need_outputs=asked)
        session, saver = import_graph(prepared)
        with session:
            variable_values.print_uninitialized(f"imported {show_path(prepared.file)}", session)
            restore(session, saver, prepared)
            variable_values.print_uninitialized(f"restored {show_path(prepared.held.prefix)}", session)
            proof = variable_values.show_variables(session, prepared.held, prepared.restores)
            wanted = bind_signature(session.graph, prepared.signature)
            if toy := model.is_toy(prepared.whole) and not asked:
                accuracy = model.measure_accuracy(Predictor(session, wanted), 10_000)
                proof += f"; accuracy on 10,000 fresh rows: {accuracy:.4f}"
            print(f"proved: {proof}")
            if wanted.outputs and not toy:
                predict, hints, batches = Predictor(session, wanted), prepared.hints, prepared.batches
                print_predictions(predict, wanted, prepared.index, args.feed, hints, batches, save)
    again = ["freezemodel_save.py", *repeat_flags(parser, args, "checkpoint", *CHECKPOINT_FLAGS, *RUN_FLAGS)]
    print(f"next: {format_command(*(again if wanted.outputs else ['model_inspect.py', args.checkpoint]))}")
    return 0


if __name__ == "__main__":
    cli.run(main)
