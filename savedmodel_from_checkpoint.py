"""Turn a checkpoint into a SavedModel: the same variables, and a signature that says how to call the model.

Teaches import_meta_graph, Saver.restore, build_signature_def and tf.compat.v1.saved_model.Builder, in this order.

    python savedmodel_from_checkpoint.py
    python savedmodel_from_checkpoint.py --checkpoint my/model.ckpt --inputs x --outputs y=softmax --export-dir my/1

Without --export-dir, a model of your own called NAME becomes results/NAME, which --overwrite alone replaces.
A checkpoint's MetaGraphDef knows the graph, but not which tensors matter to a caller: that is what a signature adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from checkpoint_restore import open_checkpoint, read_checkpoint
from savedmodel_from_source import prove
from serialization import cli, project
from serialization.console import list_export, print_export
from serialization.files.publish import stage_output
from serialization.flags import CHECKPOINT_FLAGS, CONVERSION_FLAGS
from serialization.given_flags import name_target
from serialization.graph.function_optimizers import switch_on_exported_optimizers
from serialization.graph.lookup_tables import collect_vocabulary_files, make_table_initializer
from serialization.graph.op_registry import load_op_library
from serialization.graph.signature import SERVING_DEFAULT, Signature, build_signature_def
from serialization.parser import make_parser
from serialization.run.verify import NOT_VERIFIED
from serialization.sources.meta_graph_choice import SERVE
from serialization.tensorflow import explain_failures, tf1


def save(session: Any, folder: Path, wanted: Signature) -> None:
    """What simple_save does inside: one MetaGraphDef with its variables, under a tag and with a SignatureDef.

    Lookup tables are filled by the main op, which runs at loading, from vocabulary files that are copied into assets/.
    """
    builder = tf1.saved_model.Builder(str(folder))
    with session.graph.as_default():
        builder.add_meta_graph_and_variables(
            session,
            tags=[SERVE],
            signature_def_map={SERVING_DEFAULT: build_signature_def(session.graph, wanted)},
            assets_collection=collect_vocabulary_files(session.graph),
            main_op=make_table_initializer(session.graph),
            clear_devices=True,
        )
    builder.save()


def main(argv: Sequence[str] | None = None) -> int:
    default = project.RESULTS / "savedmodel_from_checkpoint"
    flags = (*CHECKPOINT_FLAGS, *CONVERSION_FLAGS)
    parser = make_parser(__doc__, *flags, checkpoint=project.RESULTS / "graph.ckpt", export_dir=default)
    args = parser.parse_args(argv)
    name_target(parser, args, "export_dir", "checkpoint")

    with stage_output(args.export_dir, overwrite=args.overwrite or args.export_dir == default) as folder:
        load_op_library(args.op_library)
        # The toy stays whole, as TensorFlow's own calls leave it.
        origin = open_checkpoint(read_checkpoint(args, keys=True, whole_toy=True))
        with origin.session:
            with explain_failures("the SavedModel cannot be written"):
                save(origin.session, folder, origin.signature)
                switch_on_exported_optimizers(folder)
            proof = NOT_VERIFIED if args.no_verify else prove(origin, folder, args.feed, trust=args.trust_model)
        files = list_export(folder, args.export_dir)
    print_export(args.export_dir, files, proof)
    return 0


if __name__ == "__main__":
    cli.run(main)
