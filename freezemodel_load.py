"""Load a frozen model: one file, no variables to restore, ready to run.

Teaches tf.compat.v1.import_graph_def(graph_def, name="prefix").

    python freezemodel_load.py
    python freezemodel_load.py --feed '[[5,5,5,5,5,5,5,5,5,5]]'
    python freezemodel_load.py --frozen-model my/frozen_model.pb --inputs x --outputs y=softmax --feed x=@rows.npy

Every op is imported below `prefix/`, so that several models can live in one tf.Graph: what the file calls
Placeholder/inputs_placeholder:0 is fed as prefix/Placeholder/inputs_placeholder:0.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import model
from serialization import artifact, cli, feeds, safety, signature
from serialization.graph import read_graph_def
from serialization.predictor import Predictor, open_session
from serialization.tensorflow import tf1

PREFIX = "prefix"


def load(path: Path, *, trust: bool = False) -> Any:
    """A tf.Graph that holds the file's GraphDef below `prefix/`.

    Raises cli.Error where running it could do harm, unless `trust`.
    """
    graph_def = read_graph_def(path)
    safety.require_safe(safety.scan_graph_def(graph_def, folder=path.parent), path, trust=trust)
    with tf1.Graph().as_default() as graph:
        tf1.import_graph_def(graph_def, name=PREFIX)
    return graph


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(
        __doc__,
        "feed",
        "trust-model",
        frozen_model=cli.RESULTS / "frozen_model.pb",
        inputs=model.INPUTS,
        outputs=model.PREDICTIONS,
    )
    args = parser.parse_args(argv)

    path = artifact.find_file(args.frozen_model, "frozen model", "freezemodel_save.py")
    graph = load(path, trust=args.trust_model)
    wanted = signature.from_names(graph, args.inputs, args.outputs, scope=PREFIX)
    predict = Predictor(open_session(graph), wanted)
    toy = args.inputs == model.INPUTS and args.outputs == model.PREDICTIONS
    if args.feed or toy:
        given = feeds.parse(wanted, args.feed or [model.EXAMPLES])
    else:
        given = feeds.generate(wanted)[0]
        print("no --feed, so these values are generated:")
    results = predict(given)
    for tensor in (*wanted.inputs, *wanted.outputs):
        value = {**given, **results}[tensor.key]
        print(f"{tensor.name} {tensor.dtype} {list(value.shape)}", value, sep="\n")
    if toy:
        inputs, labels = model.make_rows(1000)
        right = predict({wanted.inputs[0].key: inputs})[wanted.outputs[0].key] == (labels > 0.5)
        print(f"proved: {right.mean():.4f} of 1,000 fresh rows are predicted right")
        print(f"next: {cli.command('freezemodel_serve.py')}")
    return 0


if __name__ == "__main__":
    cli.run(main)
