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
from pathlib import Path
from typing import Any

import model
from serialization import cli, project
from serialization.console import format_command, print_notes
from serialization.files import locate
from serialization.flags import OF_A_RUN
from serialization.graph import lookup_tables, op_registry, signature
from serialization.graph.signature import Signature
from serialization.run import show_predictions
from serialization.run.given_feeds import parse_feed
from serialization.run.predictor import Predictor, open_session
from serialization.sources import from_frozen, frozen_reader
from serialization.sources.from_frozen import Frozen
from serialization.sources.frozen_reader import Constant, read_graph_def
from serialization.tensorflow import failures, tf1

PREFIX = "prefix"


def import_graph(graph_def: Any) -> Any:
    """A tf.Graph that holds the GraphDef below `prefix/`."""
    with tf1.Graph().as_default() as graph:
        tf1.import_graph_def(graph_def, name=PREFIX)
    return graph


def read_frozen(
    path: Path,
    inputs: str | None = None,
    outputs: str | None = None,
    known: Signature | None = None,
    *,
    trust: bool = False,
) -> tuple[Frozen, dict[str, Constant]]:
    """What is in the file, ready to be imported, with the `known` signature, else as the flags say.

    Of a large file the constants are left where they are: there is a variable in the place of each, and where its
    value lies in the file.
    """
    graph_def, constants = frozen_reader.read(path) if frozen_reader.is_large(path) else (read_graph_def(path), {})
    ready = from_frozen.prepare(graph_def, path, *model.names_of(graph_def, inputs, outputs), known=known)
    ready.require_safe(path, trust=trust)
    return ready, frozen_reader.as_variables(ready.graph_def, constants)


def start(ready: Frozen, constants: Mapping[str, Constant], *, optimize: bool = True) -> Predictor:
    """The graph imported, in a session of its own, and ready to be run."""
    with failures("the frozen model cannot be imported"):
        graph = import_graph(ready.graph_def)
    session = open_session(graph, optimize=optimize)
    with failures("the model cannot be run here"):
        frozen_reader.fill(session, PREFIX, constants)
    return Predictor(session, signature.in_graph(graph, ready.signature, PREFIX))


def open_frozen(
    path: Path, inputs: str | None, outputs: str | None, *, trust: bool = False
) -> tuple[Predictor, Frozen]:
    """A frozen model of any size, ready to be run, and what was found in its file."""
    ready, constants = read_frozen(path, inputs, outputs, trust=trust)
    predict = start(ready, constants)
    lookup_tables.run_initializers(predict.session, [f"{PREFIX}/{name}" for name in ready.initializers])
    return predict, ready


def main(argv: Sequence[str] | None = None) -> int:
    default = project.RESULTS / "frozen_model.pb"
    parser = cli.parser(__doc__, *OF_A_RUN, frozen_model=default)
    args = parser.parse_args(argv)

    op_registry.load_library(args.op_library)
    path = locate.find_frozen_model(args.frozen_model)
    predict, ready = open_frozen(path, args.inputs, args.outputs, trust=args.trust_model)
    print_notes(ready.notes)
    toy = model.is_toy(ready.graph_def) and not (args.inputs or args.outputs)
    given = args.feed or ([parse_feed(model.EXAMPLES)] if toy else None)
    show_predictions.show(predict, predict.signature, given, ready.hints, ready.batches)
    if toy:
        (wanted,), (answer,) = predict.signature.inputs, predict.signature.outputs
        inputs, labels = model.make_rows(1000)
        right = predict({wanted.key: inputs})[answer.key] == (labels > 0.5)
        print(f"proved: {right.mean():.4f} of 1,000 fresh rows are predicted right")
        print(f"next: {format_command('freezemodel_serve.py', *cli.unless_default(parser, args, 'frozen_model'))}")
    return 0


if __name__ == "__main__":
    cli.run(main)
