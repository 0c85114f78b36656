"""Restore a checkpoint: the graph from its MetaGraphDef, then the variables from its data files.

Teaches tf.compat.v1.train.import_meta_graph(PREFIX.meta) and Saver.restore(session, PREFIX).

    python checkpoint_restore.py
    python checkpoint_restore.py --tensor NN/W1
    python checkpoint_restore.py --checkpoint my/model.ckpt --outputs softmax --feed x=@rows.npy
    python checkpoint_restore.py --checkpoint my/model.ckpt --graph my/graph.pbtxt --rename old_scope=new_scope

Importing gives the graph, with variables that hold nothing yet. Restoring is one way to initialize them: it fills the
variables of one session, and does nothing else. A graph of your own is made ready before: only what the outputs need is
imported, without what other machines and other versions left in it, and compared with the checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import model
from serialization import cli, project
from serialization.cli import make_parser, refuse_flags, repeat_flags, select_values
from serialization.console import format_command, format_count, print_notes, show_path
from serialization.files import locate
from serialization.flags import CHECKPOINT_FLAGS, RUN_FLAGS
from serialization.formats.checkpoint_index import Checkpoint
from serialization.graph.lookup_tables import run_table_initializers
from serialization.graph.op_registry import load_op_library
from serialization.graph.signature import Signature, bind_signature
from serialization.infer.candidates import infer_candidates
from serialization.run.origin import Origin
from serialization.run.predictor import Predictor, open_session
from serialization.run.show_predictions import print_predictions
from serialization.sources.from_checkpoint import (
    PreparedCheckpoint,
    make_checkpoint_origin,
    prepare_checkpoint,
    read_checkpoint_graph,
    require_safe_checkpoint,
    take_whole_checkpoint,
)
from serialization.sources.variable_values import print_variable, print_variables, require_same_variables
from serialization.tensorflow import explain_failures, tf1


def import_graph(meta_graph: Any) -> tuple[Any, Any]:
    """The tf.Graph of a MetaGraphDef, and the Saver that is recorded in it; variables hold nothing yet."""
    with tf1.Graph().as_default() as graph:
        saver = tf1.train.import_meta_graph(meta_graph, clear_devices=True)
    return graph, saver


def fill_variables(session: Any, saver: Any, path: str) -> None:
    """Run the graph's own restore op, which reads the data files; fetching a variable before that is an error."""
    with session.graph.as_default():  # elsewhere TensorFlow 2 takes the Saver for one that is not built yet
        saver.restore(session, path)


def start(
    prepared: PreparedCheckpoint, *, fetched: Sequence[str] = (), trust: bool = False, optimize: bool = False
) -> tuple[Any, Any]:
    """A session on the imported graph, and its Saver, which is None where there is no variable to restore.

    Raises UserError where importing, restoring or running it could do harm, unless `trust`; `fetched` are tensors that
    will be run beside those of its signature.
    """
    require_safe_checkpoint(prepared, fetched, trust=trust)
    with explain_failures("the graph cannot be imported"):
        graph, saver = import_graph(prepared.meta_graph)
    return open_session(graph, optimize=optimize), saver


def fill(session: Any, saver: Any, prepared: PreparedCheckpoint) -> None:
    """Give the session all that the checkpoint holds: variables, then the lookup tables, which may need them."""
    if saver is not None:
        with explain_failures(f"the checkpoint {show_path(prepared.held.prefix)} cannot be restored"):
            fill_variables(session, saver, prepared.path)
    run_table_initializers(session, prepared.initializers)


def open_checkpoint(prepared: PreparedCheckpoint, *, trust: bool = False) -> Origin:
    """The restored checkpoint, ready to be converted."""
    session, saver = start(prepared, trust=trust)
    return make_checkpoint_origin(session, prepared, partial(fill, session, saver, prepared))


def restore_session(held: Checkpoint, inputs: str | None, outputs: str | None, *, trust: bool) -> tuple[Any, Signature]:
    """A session on the restored checkpoint, which holds its variables, and the signature that it is run by."""
    file = read_checkpoint_graph(held)
    prepared = prepare_checkpoint(held, file, *model.names_of(file.graph_def, inputs, outputs), trust=trust)
    session, saver = start(prepared, trust=trust, optimize=True)
    fill(session, saver, prepared)
    return session, bind_signature(session.graph, prepared.signature)


def show_uninitialized(step: str, session: Any) -> None:
    """How many of the graph's variables hold nothing in this session."""
    with session.graph.as_default():
        empty = len(session.run(tf1.report_uninitialized_variables()))
    count = len(session.graph.get_collection(tf1.GraphKeys.GLOBAL_VARIABLES))
    print(f"{step}: {empty} of {format_count(count, 'variable')} {'is' if count == 1 else 'are'} uninitialized")


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, "tensor", *CHECKPOINT_FLAGS, *RUN_FLAGS, checkpoint=project.RESULTS / "graph.ckpt")
    args = parser.parse_args(argv)
    if args.tensor:
        refuse_flags(parser, args, (*CHECKPOINT_FLAGS, *RUN_FLAGS), "does not go with --tensor, which runs nothing")
    held = locate.find_checkpoint(args.checkpoint)
    if args.tensor:
        print_variable(held, args.tensor)
        return 0

    load_op_library(args.op_library)
    file = read_checkpoint_graph(held, args.graph)
    names, flags = (args.inputs, args.outputs), select_values(args, "rename", "partial", "ema")
    asked = any((*names, *flags.values(), args.feed))
    toy = model.is_toy(file.graph_def)
    # The toy is restored whole, to show all of it; so is a graph that has nothing but variables.
    whole = file.meta_graph is not None and not asked and (toy or not infer_candidates(file.index).outputs)
    if whole:
        prepared = take_whole_checkpoint(held, file)
    else:
        names = model.names_of(file.graph_def, *names)
        prepared = prepare_checkpoint(held, file, *names, trust=args.trust_model, **flags)
    print_notes(prepared.notes)
    session, saver = start(prepared, fetched=[model.ACCURACY] if whole and toy else [], trust=args.trust_model)
    with session:
        show_uninitialized(f"imported {show_path(prepared.file)}", session)
        fill(session, saver, prepared)
        show_uninitialized(f"restored {show_path(held.prefix)}", session)
        print_variables(held)
        proof = require_same_variables(session, held, prepared.restores)
        if whole and toy:
            proof += f"; accuracy on 10,000 fresh rows: {model.evaluate(session):.4f}"
        print(f"proved: {proof}")
        if not whole:
            predict = Predictor(session, bind_signature(session.graph, prepared.signature))
            print_predictions(predict, predict.signature, args.feed, prepared.hints, prepared.batches)
    print(f"next: {format_command('freezemodel_save.py', *repeat_flags(parser, args, 'checkpoint'))}")
    return 0


if __name__ == "__main__":
    cli.run(main)
