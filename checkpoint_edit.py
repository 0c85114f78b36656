"""Rewrite a checkpoint: variables get other names, moving averages take their places, an optimizer's slots go.

Teaches tf.raw_ops.RestoreV2, SaveV2 and MergeV2Checkpoints, the ops of every Saver.

    python checkpoint_edit.py
    python checkpoint_edit.py --checkpoint my/model.ckpt --rename old_scope=new_scope --rename w=dense/kernel
    python checkpoint_edit.py --checkpoint my/model.ckpt --ema --no-slots --out my/averaged.ckpt

Without flags it calls the scope NN of the toy Net. Without --out, a model of your own called NAME becomes
results/NAME.ckpt, which --overwrite alone replaces.
--rename takes a variable, or a scope with all below it; of several that fit, the longest decides. `--rename scope=`
leaves the scope out of the names, and `--rename =scope` puts all variables into it.
--ema calls each X/ExponentialMovingAverage X, in place of the raw value.
--no-slots leaves out what an optimizer keeps for itself: X/Adam, X/Momentum, beta1_power and so on.

The copy is always in the second format, by names: it is what a Saver of TensorFlow 1 and tf.compat.v1 restores. So the
first format becomes the second, shards become one data file (or one for every 134 MB), and an object-based checkpoint
of TensorFlow 2 becomes one of names. If PREFIX.meta lies beside the checkpoint, the copy has one too: its variables are
renamed, and its Saver restores those that the copy holds. The graph is edited as data; none of it is run.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from serialization import cli, project
from serialization.console import format_command, print_notes, print_table, show_path
from serialization.errors import UserError
from serialization.files.locate import find_checkpoint
from serialization.files.publish import list_staged, stage_checkpoint
from serialization.flags import CONFINEMENT_FLAGS
from serialization.formats.checkpoint_index import Checkpoint, format_saver_path
from serialization.given_flags import name_target, repeat_flags
from serialization.parser import make_parser
from serialization.project import real_path
from serialization.run.verify import NOT_VERIFIED
from serialization.sources.edited_names import EditedNames, choose_edited_names
from serialization.targets.checkpoint_copy import Piece, list_parts, name_latest, prove_copy
from serialization.targets.edited_meta_graph import EditedGraph, read_edited_graph, write_edited_graph
from serialization.targets.to_checkpoint import list_prefixes
from serialization.tensorflow import explain_failures, tf

TOY_RENAMES = [("NN", "Net")]


def copy(held: Checkpoint, parts: Sequence[Sequence[Piece]], prefix: Path) -> None:
    """Read each part from the source and write it under its new names; then make the parts one checkpoint."""
    written = [prefix.with_name(f"{prefix.name}-{number}") for number in range(len(parts))] if parts[1:] else [prefix]
    for part, place in zip(parts, written, strict=True):
        specs = [piece.spec for piece in part]  # empty, or one slice of a partitioned variable
        with explain_failures(f"the checkpoint {show_path(held.prefix)} cannot be read"):
            tensors = tf.raw_ops.RestoreV2(
                prefix=format_saver_path(held),
                tensor_names=[piece.key for piece in part],
                shape_and_slices=specs,
                dtypes=[tf.as_dtype(piece.dtype) for piece in part],
            )
        with explain_failures("the checkpoint cannot be written"):
            names = [piece.name for piece in part]
            tf.raw_ops.SaveV2(prefix=str(place), tensor_names=names, shape_and_slices=specs, tensors=tensors)
    with explain_failures("the checkpoint cannot be written"):
        if parts[1:]:
            prefixes = [str(place) for place in written]
            tf.raw_ops.MergeV2Checkpoints(
                checkpoint_prefixes=prefixes, destination_prefix=str(prefix), delete_old_dirs=False
            )


def write(
    args: argparse.Namespace, held: Checkpoint, prefix: Path, names: EditedNames, graph: EditedGraph | None
) -> list[str]:
    """Write the copy and its graph to the staged prefix, and prove them. Returns the lines to print."""
    parts = list_parts(held, names)
    copy(held, parts, prefix)
    if not (args.out.parent / "checkpoint").exists():  # else the scripts there would go on with another model
        name_latest(prefix)
    restores = write_edited_graph(graph, prefix.with_name(f"{prefix.name}.meta")) if graph else ""
    if args.no_verify:
        return [NOT_VERIFIED]
    return [f"proved: {line}" for line in (prove_copy(held, names, parts, prefix), restores) if line]


def main(argv: Sequence[str] | None = None) -> int:
    toy, out = project.RESULTS / "graph.ckpt", project.RESULTS / "edited.ckpt"
    flags = ("rename", "ema", "no-slots", *CONFINEMENT_FLAGS, "overwrite", "no-verify")
    parser = make_parser(__doc__, *flags, checkpoint=toy, out=out)
    args = parser.parse_args(argv)
    name_target(parser, args, "out", "checkpoint")
    prefixes = list_prefixes(parser, args.out)
    if args.checkpoint == toy and not (args.rename or args.ema or args.no_slots):
        args.rename = TOY_RENAMES

    with stage_checkpoint(args.out, overwrite=args.overwrite or args.out == out) as prefix:
        held = find_checkpoint(args.checkpoint)
        if real_path(held.prefix) == real_path(args.out):
            raise UserError("--out names the checkpoint that --checkpoint reads; name another place")
        names = choose_edited_names(held, args.rename or (), ema=args.ema, slots=not args.no_slots)
        graph, notes = read_edited_graph(held, names)
        proof = write(args, held, prefix, names, graph)
        files = list_staged([prefix], prefixes)
    print_notes([*names.notes, *notes])
    print_table(("file", "size"), files)
    print("\n".join(proof))
    again = repeat_flags(parser, args, *CONFINEMENT_FLAGS)
    restore = ["checkpoint_restore.py", "--checkpoint", args.out, *again]
    print(f"next: {format_command(*(restore if graph else ['model_inspect.py', args.out]))}")
    return 0


if __name__ == "__main__":
    cli.run(main)
