"""Turn a SavedModel into a checkpoint of its variables with the graph beside it, from which training can go on.

Teaches saved_model.load, get_variable, import_graph_def(graph_def, input_map) and Saver.save, in this order.

    python checkpoint_from_savedmodel.py
    python checkpoint_from_savedmodel.py --saved-model my/exported/1 --signature serving_default --out my/model.ckpt
    python checkpoint_from_savedmodel.py --saved-model my/exported/1 --object-based

Without --out, a model of your own called NAME becomes results/NAME.ckpt, which --overwrite alone replaces.
The checkpoint is the one that checkpoint_from_frozen.py writes: TensorFlow 1 and tf.compat.v1 restore it by names, and
functions are inlined as in freezing. The variables are those of the SavedModel with its names; where two have the same
one, each is called by its path in the SavedModel's object graph.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing, nullcontext

from checkpoint_from_frozen import write
from savedmodel_pretrained import open_saved_model, read_saved_model
from serialization import cli, project
from serialization.console import format_command, print_notes
from serialization.files.publish import list_staged, stage_checkpoint
from serialization.flags import CONVERSION_FLAGS, RESULT_FLAGS, SAVED_MODEL_FLAGS
from serialization.given_flags import name_target, repeat_flags
from serialization.graph.op_registry import load_op_library
from serialization.parser import make_parser
from serialization.targets.to_checkpoint import list_prefixes, print_unfrozen, take_out_variables


def main(argv: Sequence[str] | None = None) -> int:
    saved_model, out = project.PRETRAINED / "1", project.RESULTS / "from_savedmodel.ckpt"
    flags = ("object-based", *SAVED_MODEL_FLAGS, *CONVERSION_FLAGS)
    parser = make_parser(__doc__, *flags, saved_model=saved_model, out=out)
    args = parser.parse_args(argv)
    name_target(parser, args, "out", "saved_model")
    prefixes = list_prefixes(parser, args.out, objects=args.object_based)
    overwrite = args.overwrite or args.out == out

    with ExitStack() as stack:
        staged = [stack.enter_context(stage_checkpoint(prefix, overwrite=overwrite)) for prefix in prefixes]
        load_op_library(args.op_library)
        prepared = read_saved_model(args)
        origin = open_saved_model(prepared)
        with closing(origin.session):  # `with origin.session` would make its graph the default one
            unfrozen, notes = take_out_variables(origin, prepared.known_variables)
            print_notes(notes)
            proof = write(args, unfrozen, staged, lambda: nullcontext(origin))
        files = list_staged(staged, prefixes)
    print_unfrozen(files, unfrozen, proof)
    again = repeat_flags(parser, args, *RESULT_FLAGS)
    print(f"next: {format_command('checkpoint_restore.py', '--checkpoint', args.out, *again)}")
    return 0


if __name__ == "__main__":
    cli.run(main)
