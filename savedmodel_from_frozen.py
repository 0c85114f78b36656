"""Turn a frozen model into a SavedModel: a folder that servers and saved_model_cli understand.

Teaches import_graph_def(graph_def, name="") and tf.compat.v1.saved_model.simple_save.

    python savedmodel_from_frozen.py
    python savedmodel_from_frozen.py --frozen-model my/model.pb --inputs x --outputs y=softmax --export-dir my/1

Without --export-dir, a model of your own called NAME becomes results/NAME, which --overwrite alone replaces.
The variables of a frozen model are constants in its graph, so the variables/ folder of the SavedModel holds none. Of a
graph over 32 MB, each constant over 1 MiB becomes a variable there: in the graph, each step would copy all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from freezemodel_load import read_given_model
from savedmodel_from_checkpoint import save
from savedmodel_from_source import prove
from serialization import cli, project
from serialization.console import list_export, print_export
from serialization.files.publish import stage_output
from serialization.flags import CONVERSION_FLAGS
from serialization.given_flags import name_target
from serialization.graph.function_optimizers import switch_off_optimizers, switch_on_exported_optimizers
from serialization.graph.op_registry import load_op_library
from serialization.graph.signature import Signature, bind_signature
from serialization.parser import make_parser
from serialization.run.origin import Origin
from serialization.run.predictor import open_session
from serialization.run.verify import NOT_VERIFIED
from serialization.sources.from_frozen import PreparedFrozenModel, complete_import, make_frozen_origin
from serialization.tensorflow import OTHER_TENSORFLOW, explain_failures, tf1


def load(ready: PreparedFrozenModel) -> Origin:
    """A session on the frozen graph, under the names that it has in the file: a SavedModel's tensors need no prefix."""
    # So that the proof compares the same bits. `main` switches them on again in the written SavedModel.
    switch_off_optimizers(ready.graph_def)
    with tf1.Graph().as_default() as graph, explain_failures("the frozen model cannot be imported", OTHER_TENSORFLOW):
        tf1.import_graph_def(ready.graph_def, name="")
    session = open_session(graph, optimize=False)
    complete_import(session, ready, scope="")
    return make_frozen_origin(session, ready, bind_signature(graph, ready.signature))


def export(session: Any, folder: Path, wanted: Signature) -> None:
    """Write the graph and its signature, and the variables of a large graph."""
    tensor = session.graph.get_tensor_by_name
    with session.graph.as_default():
        tf1.saved_model.simple_save(
            session,
            str(folder),
            inputs={t.key: tensor(t.name) for t in wanted.inputs},
            outputs={t.key: tensor(t.name) for t in wanted.outputs},
        )


def main(argv: Sequence[str] | None = None) -> int:
    default = project.RESULTS / "savedmodel_from_frozen"
    frozen_model = project.RESULTS / "frozen_model.pb"
    parser = make_parser(__doc__, *CONVERSION_FLAGS, frozen_model=frozen_model, export_dir=default)
    args = parser.parse_args(argv)
    name_target(parser, args, "export_dir", "frozen_model")

    with stage_output(args.export_dir, overwrite=args.overwrite or args.export_dir == default) as folder:
        load_op_library(args.op_library)
        ready = read_given_model(args)
        origin = load(ready)
        with origin.session:
            # simple_save refuses a model without inputs, records no default values, and would leave the lookup tables
            # empty at loading: it takes no main op. `save` writes such a model with the Builder that it uses inside.
            inputs = origin.signature.inputs
            plain = inputs and not any(tensor.default for tensor in inputs) and not ready.initializers
            write = export if plain else save
            with explain_failures("the SavedModel cannot be written"):
                write(origin.session, folder, origin.signature)
                switch_on_exported_optimizers(folder)
            proof = NOT_VERIFIED if args.no_verify else prove(origin, folder, args.feed, trust=args.trust_model)
        files = list_export(folder, args.export_dir)
    print_export(args.export_dir, files, proof)
    return 0


if __name__ == "__main__":
    cli.run(main)
