"""Load a frozen model: one file, no variables to restore, ready to run.

Teaches tf.compat.v1.import_graph_def(graph_def, name="prefix").

    python freezemodel_load.py
    python freezemodel_load.py --feed '[[5,5,5,5,5,5,5,5,5,5]]'
    python freezemodel_load.py --frozen-model my/frozen_model.pb --inputs x --outputs y=softmax --feed x=@rows.npy

Every op is imported below `prefix/`, so that several models can live in one tf.Graph: what the file calls
Placeholder/inputs_placeholder:0 is fed as prefix/Placeholder/inputs_placeholder:0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import model
from serialization import cli, project
from serialization.cli import make_parser, repeat_flags
from serialization.console import format_command, print_notes
from serialization.files import locate
from serialization.flags import RUN_FLAGS
from serialization.formats.file_kind import ModelFile
from serialization.graph.function_optimizers import switch_off_optimizers, switch_on_optimizers
from serialization.graph.lookup_tables import run_table_initializers
from serialization.graph.op_registry import load_op_library
from serialization.graph.signature import Signature, bind_signature
from serialization.run.given_feeds import parse_feed
from serialization.run.predictor import Predictor, open_session
from serialization.run.show_predictions import print_predictions
from serialization.sources.from_frozen import PreparedFrozenModel, prepare_frozen_model
from serialization.sources.frozen_reader import (
    LargeConstant,
    fill_constants,
    read_graph_file,
    replace_constants,
)
from serialization.tensorflow import explain_failures, tf1

PREFIX = "prefix"


@explain_failures("the frozen model cannot be imported")
def import_graph(graph_def: Any) -> Any:
    """A tf.Graph that holds the GraphDef below `prefix/`."""
    with tf1.Graph().as_default() as graph:
        tf1.import_graph_def(graph_def, name=PREFIX)
    return graph


def read_frozen(
    opened: ModelFile,
    inputs: str | None = None,
    outputs: str | None = None,
    known: Signature | None = None,
    *,
    keys: bool = False,
    trust: bool = False,
) -> tuple[PreparedFrozenModel, dict[str, LargeConstant]]:
    """What is in the file, ready to be imported, with the `known` signature, else as the flags say.

    Of a large file the constants are left where they are: there is a variable in the place of each, and where its
    value lies in the file. `keys` is what model.names_of takes.
    """
    file = read_graph_file(opened, lean=True)
    ready = prepare_frozen_model(file, *model.names_of(file.graph_def, inputs, outputs, keys=keys), known=known)
    ready.require_safe(file.path, trust=trust)
    return ready, replace_constants(ready.graph_def, file.constants)


def fill_session(
    session: Any, ready: PreparedFrozenModel, constants: Mapping[str, LargeConstant], scope: str = PREFIX
) -> None:
    """Give the session the constants that were left in a large file, then fill the graph's lookup tables.

    The graph was imported below `scope`, which may be empty.
    """
    with explain_failures("the model cannot be run here"):
        fill_constants(session, scope, constants)
    run_table_initializers(session, [f"{scope}/{name}" if scope else name for name in ready.initializers])


def start(ready: PreparedFrozenModel, constants: Mapping[str, LargeConstant], *, optimize: bool = True) -> Predictor:
    """The graph imported, in a session of its own, and ready to be run."""
    (switch_on_optimizers if optimize else switch_off_optimizers)(ready.graph_def)
    graph = import_graph(ready.graph_def)
    session = open_session(graph, optimize=optimize)
    fill_session(session, ready, constants)
    return Predictor(session, bind_signature(graph, ready.signature, PREFIX))


def open_frozen(
    opened: ModelFile, inputs: str | None, outputs: str | None, *, trust: bool = False
) -> tuple[Predictor, PreparedFrozenModel]:
    """A frozen model of any size, ready to be run, and what was found in its file."""
    ready, constants = read_frozen(opened, inputs, outputs, trust=trust)
    return start(ready, constants), ready


def main(argv: Sequence[str] | None = None) -> int:
    default = project.RESULTS / "frozen_model.pb"
    parser = make_parser(__doc__, *RUN_FLAGS, frozen_model=default)
    args = parser.parse_args(argv)

    load_op_library(args.op_library)
    opened = locate.find_frozen_model(args.frozen_model)
    predict, ready = open_frozen(opened, args.inputs, args.outputs, trust=args.trust_model)
    print_notes(ready.notes)
    toy = model.is_toy(ready.graph_def) and not (args.inputs or args.outputs)
    given = args.feed or ([parse_feed(model.EXAMPLES)] if toy else None)
    print_predictions(predict, predict.signature, given, ready.hints, ready.batches)
    if toy:
        (wanted,), (answer,) = predict.signature.inputs, predict.signature.outputs
        inputs, labels = model.make_rows(1000)
        right = predict({wanted.key: inputs})[answer.key] == (labels > 0.5)
        print(f"proved: {right.mean():.4f} of 1,000 fresh rows are predicted right")
        print(f"next: {format_command('freezemodel_serve.py', *repeat_flags(parser, args, 'frozen_model'))}")
    return 0


if __name__ == "__main__":
    cli.run(main)
