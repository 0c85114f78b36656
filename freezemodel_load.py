"""Load a frozen model: one file, no variables to restore, ready to run.

Teaches tf.compat.v1.import_graph_def(graph_def, name="prefix").

    python freezemodel_load.py
    python freezemodel_load.py --feed '[[5,5,5,5,5,5,5,5,5,5]]'
    python freezemodel_load.py --frozen-model my/frozen_model.pb --inputs x --outputs y=softmax --feed x=@rows.npy

Every op is imported below `prefix/`, so that several models can live in one tf.Graph: what the file calls
Placeholder/inputs_placeholder:0 is fed as prefix/Placeholder/inputs_placeholder:0.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import model
from serialization import cli, project
from serialization.checks.crashes import nests_deeply
from serialization.console import format_command, print_notes
from serialization.files.locate import find_frozen_model
from serialization.flags import LOAD_FLAGS, RUN_FLAGS, SAVE_FLAGS
from serialization.formats.file_kind import ModelFile
from serialization.given_flags import repeat_flags
from serialization.graph.function_optimizers import switch_off_optimizers, switch_on_optimizers
from serialization.graph.op_registry import load_op_library
from serialization.graph.signature import Signature, bind_signature
from serialization.parser import make_parser
from serialization.run.given_feeds import parse_feed
from serialization.run.origin import Origin
from serialization.run.predictor import Predictor, open_session
from serialization.run.saved_predictions import stage_predictions
from serialization.run.show_predictions import print_predictions
from serialization.sources import from_frozen
from serialization.sources.from_frozen import PreparedFrozenModel
from serialization.sources.frozen_reader import read_graph_file
from serialization.tensorflow import OTHER_TENSORFLOW, explain_failures, tf1

PREFIX = "prefix"


@explain_failures("the frozen model cannot be imported", OTHER_TENSORFLOW)
def import_graph(graph_def: Any, prefix: str = PREFIX) -> Any:
    """A tf.Graph that holds the GraphDef below `prefix/`."""
    with tf1.Graph().as_default() as graph:
        tf1.import_graph_def(graph_def, name=prefix)
    return graph


def load(ready: PreparedFrozenModel, prefix: str = PREFIX, *, optimize: bool = True) -> tuple[Any, Signature]:
    """A session on the imported graph, and the signature that it is run by."""
    optimize = optimize and not nests_deeply(ready.index)  # for these the optimizers take minutes
    (switch_on_optimizers if optimize else switch_off_optimizers)(ready.graph_def)
    graph = import_graph(ready.graph_def, prefix)
    session = open_session(graph, optimize=optimize)
    # The plain call leaves lookup tables empty, and would hold the constants of a large file several times.
    from_frozen.complete_import(session, ready, prefix)
    return session, bind_signature(graph, ready.signature, prefix)


def read_frozen(
    opened: ModelFile,
    inputs: str | None = None,
    outputs: str | None = None,
    *,
    keys: bool = False,
    trust_model: bool = False,
) -> PreparedFrozenModel:
    """The graph in the file, ready to be imported. `keys` is what model.names_of takes."""
    file = read_graph_file(opened, lean=True)
    names = model.names_of(file.graph_def, inputs, outputs, keys=keys)
    return from_frozen.prepare_frozen_model(file, *names, trust=trust_model)


def open_frozen(
    opened: ModelFile, inputs: str | None = None, outputs: str | None = None, *, trust_model: bool = False
) -> tuple[Any, Signature]:
    """A session on the frozen model, and the signature that it is run by."""
    return load(read_frozen(opened, inputs, outputs, trust_model=trust_model))


def read_given_model(args: argparse.Namespace, *, keys: bool = True) -> PreparedFrozenModel:
    """The model that --frozen-model names, ready to be imported; prints notes on it. `keys` is for names_of."""
    opened = find_frozen_model(args.frozen_model)
    ready = read_frozen(opened, args.inputs, args.outputs, keys=keys, trust_model=args.trust_model)
    print_notes(ready.notes)
    return ready


@contextmanager
def open_frozen_source(args: argparse.Namespace) -> Iterator[tuple[PreparedFrozenModel, Origin | None]]:
    """The model that --frozen-model names: its graph, and open; None with --no-verify."""
    ready = read_given_model(args)
    if args.no_verify:
        yield ready, None
        return
    session, wanted = load(ready, "", optimize=False)
    with closing(session):
        yield ready, from_frozen.make_frozen_origin(session, ready, wanted)


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser(__doc__, *RUN_FLAGS, *SAVE_FLAGS, frozen_model=project.RESULTS / "frozen_model.pb")
    args = parser.parse_args(argv)

    with stage_predictions(parser, args) as save:
        load_op_library(args.op_library)
        ready = read_given_model(args, keys=False)
        predict = Predictor(*load(ready))
        toy = model.is_toy(ready.graph_def) and model.is_toys(ready.signature) and not (args.inputs or args.outputs)
        given = args.feed or ([parse_feed(model.EXAMPLES)] if toy else None)
        print_predictions(predict, predict.signature, ready.index, given, ready.hints, ready.batches, save)
    if toy:
        print(f"proved: {model.measure_accuracy(predict, 1000):.4f} of 1,000 fresh rows are predicted right")
    print(f"next: {format_command('freezemodel_serve.py', *repeat_flags(parser, args, 'frozen-model', *LOAD_FLAGS))}")
    return 0


if __name__ == "__main__":
    cli.run(main)
