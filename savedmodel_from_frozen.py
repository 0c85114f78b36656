"""Turn a frozen model into a SavedModel: a folder that servers and saved_model_cli understand.

Teaches import_graph_def(graph_def, name="") and tf.compat.v1.saved_model.simple_save.

    python savedmodel_from_frozen.py
    python savedmodel_from_frozen.py --frozen-model my/model.pb --inputs x --outputs y=softmax --export-dir my/1

The variables of a frozen model are constants in its graph, so the variables/ folder of the SavedModel holds none.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import model
from savedmodel_from_source import export, prove
from serialization import artifact, cli, publish, safety, signature
from serialization.graph import read_graph_def
from serialization.predictor import open_session
from serialization.tensorflow import tf1


def load(path: Path, *, trust: bool = False) -> Any:
    """A session on the frozen graph, under the names that it has in the file: a SavedModel's tensors need no prefix."""
    graph_def = read_graph_def(path)
    safety.require_safe(safety.scan_graph_def(graph_def, folder=path.parent), path, trust=trust)
    with tf1.Graph().as_default() as graph:
        tf1.import_graph_def(graph_def, name="")
    return open_session(graph, optimize=False)


def main(argv: Sequence[str] | None = None) -> int:
    default = cli.RESULTS / "savedmodel_from_frozen"
    parser = cli.parser(
        __doc__,
        "overwrite",
        "trust-model",
        frozen_model=cli.RESULTS / "frozen_model.pb",
        inputs=model.SIGNATURE_INPUTS,
        outputs=model.SIGNATURE_OUTPUTS,
        export_dir=default,
    )
    args = parser.parse_args(argv)

    with (
        publish.staged(args.export_dir, overwrite=args.overwrite or args.export_dir == default) as folder,
        load(
            artifact.find_file(args.frozen_model, "frozen model", "freezemodel_save.py"), trust=args.trust_model
        ) as session,
    ):
        wanted = signature.from_names(session.graph, args.inputs, args.outputs)
        export(session, folder, wanted)
        proof = prove(session, folder, wanted, trust=args.trust_model)
    cli.report_export(args.export_dir, proof)
    return 0


if __name__ == "__main__":
    cli.run(main)
