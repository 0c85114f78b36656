"""Freeze a model: variables become constants, training ops go, one GraphDef in one file remains.

Teaches tf.compat.v1.graph_util.convert_variables_to_constants(session, graph_def, output_node_names).

    python freezemodel_save.py
    python freezemodel_save.py --checkpoint my/model.ckpt --inputs x --outputs softmax --frozen-model my/frozen_model.pb

A frozen model cannot be trained any more, needs no variables to be restored, and runs wherever a GraphDef is read.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import model
from checkpoint_restore import restore
from freezemodel_load import PREFIX, load
from serialization import artifact, cli, feeds, publish, signature, verify
from serialization.graph import training_nodes, variable_nodes
from serialization.predictor import Predictor, open_session
from serialization.signature import Tensor
from serialization.tensorflow import tf1


def freeze(session: Any, outputs: Iterable[Tensor]) -> Any:
    """The GraphDef of what the outputs need, with the value of each variable in the place of the variable."""
    nodes = [tensor.name.partition(":")[0] for tensor in outputs]
    return tf1.graph_util.convert_variables_to_constants(session, session.graph.as_graph_def(), nodes)


def report(graph_defs: dict[str, Any]) -> None:
    """A table of what freezing removed. Raises cli.Error if a variable or a training op is left in the frozen graph."""
    rows = [
        (
            name,
            len(graph_def.node),
            graph_def.ByteSize(),
            len(variable_nodes(graph_def)),
            len(training_nodes(graph_def)),
        )
        for name, graph_def in graph_defs.items()
    ]
    cli.table(("GraphDef", "nodes", "bytes", "variable nodes", "training nodes"), rows)
    left = variable_nodes(graph_defs["frozen"]) + training_nodes(graph_defs["frozen"])
    if left:
        raise cli.Error(f"not frozen: {', '.join(left[:5])} would be left; name --outputs that do not train")


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(
        __doc__,
        "overwrite",
        "no-verify",
        "trust-model",
        checkpoint=cli.RESULTS / "graph.ckpt",
        frozen_model=cli.RESULTS / "frozen_model.pb",
        inputs=model.INPUTS,
        outputs=model.PREDICTIONS,
    )
    args = parser.parse_args(argv)
    overwrite = args.overwrite or args.frozen_model == parser.get_default("frozen_model")

    with (
        publish.staged(args.frozen_model, overwrite=overwrite) as path,
        restore(artifact.find_checkpoint(args.checkpoint), args.outputs, trust=args.trust_model) as session,
    ):
        source = Predictor(session, signature.from_names(session.graph, args.inputs, args.outputs))
        frozen = freeze(session, source.signature.outputs)
        path.write_bytes(frozen.SerializeToString())
        report({"checkpoint": session.graph.as_graph_def(), "frozen": frozen})
        proof = "not verified, as --no-verify asks"
        if not args.no_verify:
            graph = load(path, trust=args.trust_model)
            names = signature.from_names(graph, args.inputs, args.outputs, scope=PREFIX)
            result = Predictor(open_session(graph, optimize=False), names)
            proof = f"proved: {verify.compare(source, result, feeds.generate(names))}"
    print(f"wrote {cli.show(args.frozen_model)}")
    print(proof)
    print(f"next: {cli.command('freezemodel_load.py', *cli.unless_default(parser, args, 'frozen_model'))}")
    return 0


if __name__ == "__main__":
    cli.run(main)
