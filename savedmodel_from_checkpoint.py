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

import model
from checkpoint_restore import restore
from savedmodel_from_source import prove
from serialization import artifact, cli, publish, signature
from serialization.savedmodel import SERVE, SERVING_DEFAULT
from serialization.signature import Signature
from serialization.tensorflow import tf1


def save(session: Any, folder: Path, wanted: Signature) -> None:
    """What simple_save does inside: one MetaGraphDef with its variables, under a tag and with a SignatureDef."""
    builder = tf1.saved_model.Builder(str(folder))
    with session.graph.as_default():
        builder.add_meta_graph_and_variables(
            session,
            tags=[SERVE],
            signature_def_map={SERVING_DEFAULT: signature.to_def(session.graph, wanted)},
            clear_devices=True,
        )
    builder.save()


def main(argv: Sequence[str] | None = None) -> int:
    default = cli.RESULTS / "savedmodel_from_checkpoint"
    parser = cli.parser(
        __doc__,
        "overwrite",
        "trust-model",
        checkpoint=cli.RESULTS / "graph.ckpt",
        inputs=model.SIGNATURE_INPUTS,
        outputs=model.SIGNATURE_OUTPUTS,
        export_dir=default,
    )
    args = parser.parse_args(argv)

    with (
        publish.staged(args.export_dir, overwrite=args.overwrite or args.export_dir == default) as folder,
        restore(artifact.find_checkpoint(args.checkpoint), args.outputs, trust=args.trust_model) as session,
    ):
        wanted = signature.from_names(session.graph, args.inputs, args.outputs)
        save(session, folder, wanted)
        proof = prove(session, folder, wanted, trust=args.trust_model)
    cli.report_export(args.export_dir, proof)
    return 0


if __name__ == "__main__":
    cli.run(main)
