"""Turn a checkpoint into a SavedModel: the same variables, and a signature that says how to call the model.

Teaches import_meta_graph, Saver.restore, build_signature_def and tf.compat.v1.saved_model.Builder, in this order.

    python savedmodel_from_checkpoint.py
    python savedmodel_from_checkpoint.py --checkpoint my/model.ckpt --inputs x --outputs y=softmax --export-dir my/1

A checkpoint's MetaGraphDef knows the graph, but not which tensors matter to a caller: that is what a signature adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import checkpoint_restore
from savedmodel_from_source import NOT_VERIFIED, prove
from serialization import cli, publish, signature, tables
from serialization.savedmodel import SERVE, SERVING_DEFAULT
from serialization.signature import Signature
from serialization.tensorflow import failures, tf1


def save(session: Any, folder: Path, wanted: Signature) -> None:
    """What simple_save does inside: one MetaGraphDef with its variables, under a tag and with a SignatureDef.

    Lookup tables are filled by the main op, which runs at loading, from vocabulary files that are copied into assets/.
    """
    builder = tf1.saved_model.Builder(str(folder))
    with session.graph.as_default():
        builder.add_meta_graph_and_variables(
            session,
            tags=[SERVE],
            signature_def_map={SERVING_DEFAULT: signature.to_def(session.graph, wanted)},
            assets_collection=tables.vocabulary_files(session.graph),
            main_op=tables.initializer(session.graph),
            clear_devices=True,
        )
    builder.save()


def main(argv: Sequence[str] | None = None) -> int:
    default = cli.RESULTS / "savedmodel_from_checkpoint"
    parser = cli.parser(
        __doc__,
        *checkpoint_restore.FLAGS,
        "inputs",
        "outputs",
        "feed",
        "overwrite",
        "no-verify",
        "trust-model",
        checkpoint=cli.RESULTS / "graph.ckpt",
        export_dir=default,
    )
    args = parser.parse_args(argv)

    with publish.staged(args.export_dir, overwrite=args.overwrite or args.export_dir == default) as folder:
        prepared = checkpoint_restore.prepare(args, keys=True)
        cli.report(prepared.notes)
        origin = checkpoint_restore.open_checkpoint(prepared, trust=args.trust_model)
        with origin.session:
            with failures("the SavedModel cannot be written"):
                save(origin.session, folder, origin.signature)
            proof = NOT_VERIFIED if args.no_verify else prove(origin, folder, args.feed, trust=args.trust_model)
    cli.report_export(args.export_dir, proof)
    return 0


if __name__ == "__main__":
    cli.run(main)
