"""Turn a frozen model into a SavedModel: a folder that servers and saved_model_cli understand.

Teaches import_graph_def(graph_def, name="") and tf.compat.v1.saved_model.simple_save.

    python savedmodel_from_frozen.py
    python savedmodel_from_frozen.py --frozen-model my/model.pb --inputs x --outputs y=softmax --export-dir my/1

The variables of a frozen model are constants in its graph, so the variables/ folder of the SavedModel holds none.
"""

from __future__ import annotations

from collections.abc import Sequence

import model
from savedmodel_from_checkpoint import save
from savedmodel_from_source import export, prove
from serialization import cli, project
from serialization.cli import make_parser
from serialization.console import print_export, print_notes
from serialization.files import locate
from serialization.files.publish import stage_output
from serialization.flags import CONVERSION_FLAGS
from serialization.graph.lookup_tables import run_table_initializers
from serialization.graph.op_registry import load_op_library
from serialization.graph.signature import bind_signature
from serialization.run.origin import Origin
from serialization.run.predictor import Predictor, open_session
from serialization.run.verify import NOT_VERIFIED
from serialization.sources.from_frozen import PreparedFrozenModel, prepare_frozen_model
from serialization.sources.frozen_reader import read_graph_file
from serialization.tensorflow import explain_failures, tf1


def load(ready: PreparedFrozenModel) -> Origin:
    """A session on the frozen graph, under the names that it has in the file: a SavedModel's tensors need no prefix."""
    with tf1.Graph().as_default() as graph, explain_failures("the frozen model cannot be imported"):
        tf1.import_graph_def(ready.graph_def, name="")
    session = open_session(graph, optimize=False)
    run_table_initializers(session, ready.initializers)
    wanted = bind_signature(graph, ready.signature)
    return Origin(session, ready.graph_def, wanted, Predictor(session, wanted), True, ready.hints, ready.batches)


def main(argv: Sequence[str] | None = None) -> int:
    default = project.RESULTS / "savedmodel_from_frozen"
    frozen_model = project.RESULTS / "frozen_model.pb"
    args = make_parser(__doc__, *CONVERSION_FLAGS, frozen_model=frozen_model, export_dir=default).parse_args(argv)

    with stage_output(args.export_dir, overwrite=args.overwrite or args.export_dir == default) as folder:
        load_op_library(args.op_library)
        file = read_graph_file(locate.find_frozen_model(args.frozen_model))
        names = model.names_of(file.graph_def, args.inputs, args.outputs, keys=True)
        ready = prepare_frozen_model(file, *names)
        print_notes(ready.notes)
        ready.require_safe(file.path, trust=args.trust_model)
        origin = load(ready)
        with origin.session:
            # simple_save takes no model without inputs, and fills no tables.
            write = export if origin.signature.inputs and not ready.initializers else save
            with explain_failures("the SavedModel cannot be written"):
                write(origin.session, folder, origin.signature)
            proof = NOT_VERIFIED if args.no_verify else prove(origin, folder, args.feed, trust=args.trust_model)
    print_export(args.export_dir, proof)
    return 0


if __name__ == "__main__":
    cli.run(main)
