"""Export a SavedModel straight from the code that builds and trains the model.

Teaches tf.compat.v1.saved_model.simple_save(session, export_dir, inputs, outputs).

    python savedmodel_from_source.py
    python savedmodel_from_source.py --epochs 20 --export-dir /tmp/toy/1

simple_save writes the variables with a Saver and the graph as a MetaGraphDef, both into one folder. To the MetaGraphDef
it adds the tag `serve` and a SignatureDef under the key `serving_default`, which says what to feed and what to fetch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import model
from savedmodel_pretrained import load
from serialization import cli, project
from serialization.console import format_count, list_export, print_export
from serialization.files.locate import find_saved_model
from serialization.files.publish import stage_output
from serialization.graph.graph_index import GraphIndex
from serialization.graph.signature import Signature, make_signature
from serialization.parser import make_parser
from serialization.run.given_feeds import Feed
from serialization.run.origin import Origin
from serialization.run.predictor import Predictor
from serialization.run.verify import prove_same
from serialization.sources.from_saved_model import prepare_saved_model
from serialization.tensorflow import explain_failures, tf1


def train(seed: int, epochs: int) -> Any:
    """A session in which the toy model is trained: what a training program holds at its end."""
    session = tf1.Session(graph=model.build_graph(seed), config=model.session_config())
    with session.graph.as_default():
        session.run(tf1.global_variables_initializer())
    model.train(session, epochs)
    return session


def export(session: Any, folder: Path, wanted: Signature) -> None:
    """Write graph, variables and signature. The keys of the two dictionaries are what callers will know."""
    tensor = session.graph.get_tensor_by_name
    with session.graph.as_default():
        tf1.saved_model.simple_save(
            session,
            str(folder),
            inputs={t.key: tensor(t.name) for t in wanted.inputs},
            outputs={t.key: tensor(t.name) for t in wanted.outputs},
        )


def prove(origin: Origin, folder: Path, given: Sequence[Feed] | None = None, *, trust: bool = False) -> str:
    """Load what was written, by its signature alone, and compare it with the session it came from."""
    with explain_failures("the export cannot be loaded"):
        prepared = prepare_saved_model(find_saved_model(folder), trust=trust)
    return prove_same(origin, lambda optimize: Predictor(*load(prepared, optimize=optimize)), given)


def main(argv: Sequence[str] | None = None) -> int:
    default = project.RESULTS / "savedmodel_from_source"
    parser = make_parser(__doc__, "overwrite", export_dir=default, epochs=10, seed=0)
    args = parser.parse_args(argv)

    with (
        stage_output(args.export_dir, overwrite=args.overwrite or args.export_dir == default) as folder,
        train(args.seed, args.epochs) as session,
    ):
        accuracy = model.evaluate(session)
        wanted = make_signature(session.graph, model.SIGNATURE_INPUTS, model.SIGNATURE_OUTPUTS)
        with explain_failures("the SavedModel cannot be written"):
            export(session, folder, wanted)
        index = GraphIndex(session.graph.as_graph_def())
        proof = prove(Origin(session, index, wanted, Predictor(session, wanted)), folder)
        files = list_export(folder, args.export_dir)
    print(f"trained {format_count(args.epochs, 'epoch')}; held-out accuracy {accuracy:.4f}")
    print_export(args.export_dir, files, proof)
    return 0


if __name__ == "__main__":
    cli.run(main)
