"""Freeze a model: variables become constants, training ops go, one GraphDef in one file remains.

Teaches tf.compat.v1.graph_util.convert_variables_to_constants(session, graph_def, output_node_names).

    python freezemodel_save.py
    python freezemodel_save.py --checkpoint my/model.ckpt --inputs x --outputs softmax --frozen-model my/frozen_model.pb
    python freezemodel_save.py --saved-model my/exported/1 --frozen-model my/frozen_model.pb

Without --frozen-model, a model of your own called NAME becomes results/NAME.pb, which --overwrite alone replaces.
A frozen model cannot be trained any more, needs no variables to be restored, and runs wherever a GraphDef is read.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import model
from checkpoint_restore import open_checkpoint
from freezemodel_load import read_frozen, start
from savedmodel_pretrained import open_any as open_saved_model
from serialization import cli, project
from serialization.cli import make_parser, name_target, refuse_flags, repeat_flags, select_values
from serialization.console import format_command, print_notes, show_path
from serialization.errors import UserError
from serialization.files import locate
from serialization.files.publish import stage_output
from serialization.flags import CHECKPOINT_FLAGS, CONVERSION_FLAGS, SAVED_MODEL_FLAGS
from serialization.formats.file_kind import ModelFile
from serialization.graph.op_registry import load_op_library
from serialization.graph.signature import Signature, Tensor
from serialization.run.origin import Origin
from serialization.run.predictor import Predictor
from serialization.run.verify import NOT_VERIFIED, prove_same
from serialization.sources.from_checkpoint import prepare_checkpoint, read_checkpoint_graph
from serialization.sources.variable_values import read_stored_values
from serialization.targets import to_frozen
from serialization.targets.to_frozen import (
    freeze_graph,
    is_streamable,
    measure_difference,
    measure_variables,
    print_difference,
    suffices_plain_call,
)
from serialization.tensorflow import format_reason, tf, tf1


def freeze(session: Any, graph_def: Any, wanted: Iterable[Tensor]) -> Any:
    """The GraphDef of what these tensors need, with the value of each variable in the place of the variable."""
    nodes = list(dict.fromkeys(tensor.name.partition(":")[0] for tensor in wanted))
    return tf1.graph_util.convert_variables_to_constants(session, graph_def, nodes)


def write_frozen(origin: Origin, path: Path, size: int) -> Signature:
    """Freeze a model with `size` bytes of variables into a file; returns the signature by the names there."""
    if suffices_plain_call(origin, size):
        names = origin.signature
        try:
            frozen_def = freeze(origin.session, origin.graph_def, (*names.outputs, *names.inputs))
        except tf.errors.FailedPreconditionError as error:
            found = format_reason(error).partition(". ")[0]
            raise UserError(f"a variable holds no value; {found}; name other --outputs") from None
        path.write_bytes(frozen_def.SerializeToString())
        return names
    # The plain call would leave functions, tables and references in the graph, and hold large variables several times.
    return freeze_graph(path, origin.graph_def, origin.signature, origin.session)


def freeze_checkpoint(args: argparse.Namespace, path: Path) -> tuple[Any, str]:
    """Write the frozen checkpoint to `path`. Returns the GraphDef that it was made of, and what was proved."""
    held = locate.find_checkpoint(args.checkpoint)
    file = read_checkpoint_graph(held, args.graph)
    asked = model.names_of(file.graph_def, args.inputs, args.outputs)
    flags = select_values(args, "rename", "partial", "ema")
    prepared = prepare_checkpoint(held, file, *asked, trust=args.trust_model, **flags)
    print_notes(prepared.notes)
    way_out = format_command("savedmodel_from_checkpoint.py", "--checkpoint", args.checkpoint)
    to_frozen.require_fits(prepared.pruned, prepared.size(), show_path(args.checkpoint), f"`{way_out}`")
    names = None
    if is_streamable(prepared.pruned, prepared.size(), verified=not args.no_verify):
        value_of = read_stored_values(prepared.held, prepared.restores)
        names = freeze_graph(path, prepared.pruned, prepared.signature, value_of=value_of)
        if args.no_verify:
            return prepared.whole, NOT_VERIFIED
    origin = open_checkpoint(prepared, trust=args.trust_model)
    with origin.session:
        names = names or write_frozen(origin, path, prepared.size())
        return prepared.whole, prove(origin, path, names, args)


def freeze_saved_model(args: argparse.Namespace, path: Path) -> tuple[Any, str]:
    """The same for a SavedModel, whose functions are inlined so that other runtimes read it."""

    def require_fits(graph_def: Any) -> None:
        size = measure_variables(graph_def)
        to_frozen.require_fits(graph_def, size, show_path(args.saved_model), "use the SavedModel as it is")

    origin, whole = open_saved_model(locate.find_saved_model(args.saved_model), args, require_fits)
    with origin.session:
        names = write_frozen(origin, path, measure_variables(origin.graph_def))
        return whole, prove(origin, path, names, args)


def prove(origin: Origin, path: Path, names: Signature, args: argparse.Namespace) -> str:
    """Read the file back, run it and its source on the same feeds, and compare. Returns the lines to print."""
    if args.no_verify:
        return NOT_VERIFIED
    ready, constants = read_frozen(ModelFile(path), known=names, trust=args.trust_model)

    @contextmanager
    def run_again(optimize: bool) -> Iterator[Predictor]:
        predict = start(ready, constants, optimize=optimize)
        with predict.session:
            yield predict

    return prove_same(origin, run_again, args.feed, steady=True)


def main(argv: Sequence[str] | None = None) -> int:
    flags = ("saved-model", *CHECKPOINT_FLAGS, *SAVED_MODEL_FLAGS, *CONVERSION_FLAGS)
    defaults = {"checkpoint": project.RESULTS / "graph.ckpt", "frozen_model": project.RESULTS / "frozen_model.pb"}
    parser = make_parser(__doc__, *flags, **defaults)
    args = parser.parse_args(argv)
    if args.saved_model:
        either = "does not go with --saved-model; give either --checkpoint or --saved-model"
        refuse_flags(parser, args, ("checkpoint", *CHECKPOINT_FLAGS), either)
    else:
        refuse_flags(parser, args, SAVED_MODEL_FLAGS, "goes with --saved-model")
    name_target(parser, args, "frozen_model", "checkpoint", "saved_model")
    overwrite = args.overwrite or args.frozen_model == parser.get_default("frozen_model")

    with stage_output(args.frozen_model, overwrite=overwrite) as path:
        load_op_library(args.op_library)
        whole, proof = (freeze_saved_model if args.saved_model else freeze_checkpoint)(args, path)
        difference = measure_difference("saved_model" if args.saved_model else "checkpoint", whole, path)
    print_difference(difference)
    print(f"wrote {show_path(args.frozen_model)}")
    print(proof)
    print(f"next: {format_command('freezemodel_load.py', *repeat_flags(parser, args, 'frozen_model'))}")
    return 0


if __name__ == "__main__":
    cli.run(main)
