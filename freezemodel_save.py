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
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from checkpoint_restore import open_checkpoint, read_checkpoint
from freezemodel_load import load
from savedmodel_pretrained import open_saved_model, read_saved_model
from serialization import cli, project
from serialization.cli import make_parser, name_target, refuse_flags, repeat_flags
from serialization.console import format_command, show_path
from serialization.errors import UserError
from serialization.files.publish import stage_output
from serialization.flags import CHECKPOINT_FLAGS, CONVERSION_FLAGS, SAVED_MODEL_FLAGS
from serialization.formats.file_kind import ModelFile
from serialization.graph.keys import name_by_keys
from serialization.graph.op_registry import load_op_library
from serialization.graph.recorded_signature import record_signature
from serialization.graph.signature import Tensor
from serialization.run.origin import Origin
from serialization.run.predictor import Predictor
from serialization.run.verify import NOT_VERIFIED, prove_same
from serialization.sources.from_checkpoint import PreparedCheckpoint
from serialization.sources.from_frozen import prepare_frozen_model
from serialization.sources.frozen_reader import read_graph_file
from serialization.sources.private_copy import PreparedSavedModel
from serialization.targets.to_frozen import (
    freeze_graph,
    freeze_stored_values,
    measure_difference,
    print_difference,
    require_freezable,
    require_same_keys,
    suffices_plain_call,
)
from serialization.tensorflow import format_reason, tf, tf1

Source = PreparedCheckpoint | PreparedSavedModel  # read; a checkpoint's graph is scanned when it is opened


def open_source(prepared: Source) -> Origin:
    """The model with its variables, in a session: restored or loaded."""
    if isinstance(prepared, PreparedCheckpoint):
        return open_checkpoint(prepared)
    return open_saved_model(prepared)


def freeze(session: Any, graph_def: Any, wanted: Iterable[Tensor]) -> Any:
    """The GraphDef of what these tensors need, with the value of each variable in the place of the variable."""
    nodes = list(dict.fromkeys(tensor.name.partition(":")[0] for tensor in wanted))
    return tf1.graph_util.convert_variables_to_constants(session, graph_def, nodes)


def write_frozen(origin: Origin, path: Path, size: int) -> None:
    """Freeze a model with `size` bytes of variables into a file, which records the signature."""
    if suffices_plain_call(origin, size):
        graph_def, names = name_by_keys(origin.graph_def, origin.signature)
        try:
            # Inputs too: the call drops a placeholder that no output needs, and callers feed it all the same.
            frozen_def = freeze(origin.session, graph_def, (*names.outputs, *names.inputs))
        except tf.errors.FailedPreconditionError as error:
            found = format_reason(error).partition(". ")[0]
            raise UserError(f"a variable holds no value; {found}; name other --outputs") from None
        record_signature(frozen_def, names)  # a GraphDef has no place for it but the nodes' own attributes
        path.write_bytes(frozen_def.SerializeToString())
    else:  # the plain call would leave functions, tables and references, and hold large variables several times
        freeze_graph(path, origin.index, origin.signature, origin.session)


def prove(origin: Origin, path: Path, args: argparse.Namespace) -> str:
    """Read the file back, run it and its source on the same feeds, and compare. Returns the lines to print."""
    file = read_graph_file(ModelFile(path), lean=True)  # the constants of a large file stay in it
    ready = prepare_frozen_model(file, trust=args.trust_model)
    require_same_keys(ready.signature, origin.signature)  # which the file records

    def run_again(optimize: bool) -> Predictor:
        return Predictor(*load(ready, optimize=optimize))

    return prove_same(origin, run_again, args.feed, steady=True)  # a frozen model keeps no state from run to run


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
        prepared: Source = read_saved_model(args) if args.saved_model else read_checkpoint(args)
        require_freezable(prepared, args.saved_model or args.checkpoint)
        if args.no_verify and freeze_stored_values(path, prepared):  # from file to file, which needs no session
            proof = NOT_VERIFIED
        else:
            origin = open_source(prepared)
            with origin.session:
                write_frozen(origin, path, prepared.size)
                proof = NOT_VERIFIED if args.no_verify else prove(origin, path, args)
        difference = measure_difference("saved_model" if args.saved_model else "checkpoint", prepared.whole, path)
    print_difference(difference)
    print(f"wrote {show_path(args.frozen_model)}")
    print(proof)
    print(f"next: {format_command('freezemodel_load.py', *repeat_flags(parser, args, 'frozen_model'))}")
    return 0


if __name__ == "__main__":
    cli.run(main)
