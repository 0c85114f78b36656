"""Freeze a model: variables become constants, training ops go, one GraphDef in one file remains.

Teaches tf.compat.v1.graph_util.convert_variables_to_constants(session, graph_def, output_node_names).

    python freezemodel_save.py
    python freezemodel_save.py --checkpoint my/model.ckpt --inputs x --outputs softmax --frozen-model my/frozen_model.pb
    python freezemodel_save.py --saved-model my/exported/1 --frozen-model my/frozen_model.pb

A frozen model cannot be trained any more, needs no variables to be restored, and runs wherever a GraphDef is read.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import checkpoint_restore
import savedmodel_pretrained
from freezemodel_load import PREFIX, import_graph
from savedmodel_from_source import NOT_VERIFIED
from serialization import checkpoints, cli, freezing, frozen, large, publish, signature, verify
from serialization.checkpoints import Prepared
from serialization.graph import read_graph_def, training_nodes, variable_nodes
from serialization.origin import Origin
from serialization.predictor import Predictor, open_session
from serialization.signature import Signature, Tensor
from serialization.tensorflow import failures, tf1

PLAIN = 64_000_000  # bytes of variables up to which the plain call's several copies of them do not matter


def freeze(session: Any, graph_def: Any, wanted: Iterable[Tensor]) -> Any:
    """The GraphDef of what these tensors need, with the value of each variable in the place of the variable."""
    nodes = list(dict.fromkeys(tensor.name.partition(":")[0] for tensor in wanted))
    return tf1.graph_util.convert_variables_to_constants(session, graph_def, nodes)


def freeze_any(origin: Origin, path: Path) -> Signature:
    """What the plain call cannot: functions and tables inlined, references gone; one variable at a time.

    Returns the signature by the names in the file.
    """
    flat, wanted, notes = freezing.flatten(origin.graph_def, origin.signature, origin.session)
    cli.report(notes)
    freezing.write(path, flat, freezing.values_in(origin.session, flat))
    return wanted


def freeze_lean(prepared: Prepared, path: Path) -> None:
    """From the checkpoint to the file, without a session: for a graph without tables."""
    flat, _, notes = freezing.flatten(prepared.pruned, prepared.signature, None)
    cli.report(notes)
    freezing.write(path, flat, checkpoints.values_of(prepared))


def report(name: str, whole: Any, path: Path) -> None:
    """A table of what freezing removed. Raises cli.Error if a variable or a training op is left in the frozen graph."""
    frozen_def, _ = large.read(path)  # without the values, which have gone to the file one at a time
    rows = [
        (title, len(graph_def.node), size, len(variable_nodes(graph_def)), len(training_nodes(graph_def)))
        for title, graph_def, size in ((name, whole, whole.ByteSize()), ("frozen", frozen_def, path.stat().st_size))
    ]
    cli.table(("GraphDef", "nodes", "bytes", "variable nodes", "training nodes"), rows)
    left = variable_nodes(frozen_def) + training_nodes(frozen_def)
    if left:
        raise cli.Error(f"not frozen: {', '.join(left[:5])} would be left; name --outputs that do not train")


def freeze_checkpoint(args: argparse.Namespace, path: Path) -> tuple[Any, str]:
    """Write the frozen checkpoint to `path`. Returns the GraphDef that it was made of, and what was proved."""
    prepared = checkpoint_restore.prepare(args)
    cli.report(prepared.notes)
    way_out = cli.command("savedmodel_from_checkpoint.py", "--checkpoint", args.checkpoint)
    freezing.require_fits(prepared.size(), cli.show(args.checkpoint), way_out)
    if args.no_verify and not freezing.needs_session(prepared.pruned):
        freeze_lean(prepared, path)
        return prepared.whole, NOT_VERIFIED
    origin = checkpoint_restore.open_checkpoint(prepared, trust=args.trust_model)
    with origin.session:
        names = origin.signature
        if origin.plain and prepared.size() <= PLAIN:
            frozen_def = freeze(origin.session, origin.graph_def, (*names.outputs, *names.inputs))
            path.write_bytes(frozen_def.SerializeToString())
        else:
            names = freeze_any(origin, path)
        return prepared.whole, prove(origin, path, names, args)


def freeze_saved_model(args: argparse.Namespace, path: Path) -> tuple[Any, str]:
    """The same for a SavedModel, whose functions are inlined so that other runtimes read it."""
    origin, whole = savedmodel_pretrained.open_any(args)
    with origin.session:
        return whole, prove(origin, path, freeze_any(origin, path), args)


def prove(origin: Origin, path: Path, names: Signature, args: argparse.Namespace) -> str:
    """Read the file back, run it and its source on the same feeds, and compare. Returns the lines to print."""
    if args.no_verify:
        return NOT_VERIFIED
    ready = frozen.prepare(read_graph_def(path), path, *signature.to_flags(names))
    ready.require_safe(path, trust=args.trust_model)
    with failures("the frozen graph cannot be imported"):
        graph = import_graph(ready.graph_def)
    below = signature.in_graph(graph, ready.signature, PREFIX)
    result, optimized = (Predictor(open_session(graph, optimize=optimize), below) for optimize in (False, True))
    random = verify.random_outputs(ready.graph_def, ready.signature)
    return verify.prove(origin, result, optimized, args.feed, random, steady=True)


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(
        __doc__,
        *checkpoint_restore.FLAGS,
        "saved-model",
        "tag-set",
        "signature",
        "inputs",
        "outputs",
        "feed",
        "overwrite",
        "no-verify",
        "trust-model",
        checkpoint=cli.RESULTS / "graph.ckpt",
        frozen_model=cli.RESULTS / "frozen_model.pb",
    )
    args = parser.parse_args(argv)
    overwrite = args.overwrite or args.frozen_model == parser.get_default("frozen_model")

    with publish.staged(args.frozen_model, overwrite=overwrite) as path:
        if args.saved_model:
            whole, proof = freeze_saved_model(args, path)
        else:
            whole, proof = freeze_checkpoint(args, path)
        report("saved_model" if args.saved_model else "checkpoint", whole, path)
    print(f"wrote {cli.show(args.frozen_model)}")
    print(proof)
    print(f"next: {cli.command('freezemodel_load.py', *cli.unless_default(parser, args, 'frozen_model'))}")
    return 0


if __name__ == "__main__":
    cli.run(main)
