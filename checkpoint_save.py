"""Train the toy model and save it as a checkpoint: all variables, from which training can go on.

Teaches tf.compat.v1.train.Saver().save(session, prefix).

    python checkpoint_save.py
    python checkpoint_save.py --epochs 20 --resume
    python checkpoint_save.py --shards 3 --checkpoint /tmp/sharded/graph.ckpt

A prefix is no file. `results/graph.ckpt` stands for
    graph.ckpt.index                which variable lies where in the data files
    graph.ckpt.data-00000-of-00001  the values; --shards makes more of these files
    graph.ckpt.meta                 the graph, as a MetaGraphDef
    graph.ckpt.meta.json            the same, to read
    checkpoint                      which checkpoint of the folder is the latest
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import model
from serialization import cli, project
from serialization.console import format_command, format_count, format_size, print_table, show_path
from serialization.errors import UserError
from serialization.files import locate
from serialization.files.checkpoint_files import open_meta_graph_file, read_checkpoint_at
from serialization.files.publish import list_checkpoint_files, stage_checkpoint
from serialization.formats.checkpoint_index import Checkpoint, format_saver_path
from serialization.formats.file_kind import ModelFile
from serialization.formats.messages import read_message
from serialization.given_flags import repeat_flags
from serialization.parser import make_parser
from serialization.tensorflow import explain_failures, np, tf1


def save(session: Any, saver: Any, prefix: Path) -> None:
    """Write the variables and beside them the graph, which is also written as JSON that parses back into the same."""
    from google.protobuf import json_format

    with explain_failures("the checkpoint cannot be written"):
        saver.save(session, str(prefix))
    meta_graph = read_message(ModelFile(prefix.with_name(f"{prefix.name}.meta")))
    text = json_format.MessageToJson(meta_graph, indent=1, sort_keys=True)
    prefix.with_name(f"{prefix.name}.meta.json").write_text(f"{text}\n", "utf-8")


def prove(session: Any, prefix: Path) -> str:
    """Read every variable back from the data files and compare it with the session's, bit for bit."""
    held = read_checkpoint_at(prefix)
    reader = tf1.train.load_checkpoint(format_saver_path(held))
    variables = session.graph.get_collection(tf1.GraphKeys.GLOBAL_VARIABLES)
    for variable in variables:
        if not np.array_equal(reader.get_tensor(variable.op.name), session.run(variable)):
            raise UserError(f"{variable.op.name} came back from the checkpoint with another value; nothing was saved")
    return f"{format_count(len(variables), 'variable')} read back, the same bits"


def seed_of(held: Checkpoint) -> int:
    """The seed that a checkpoint was trained with, from the collections of its MetaGraphDef."""
    recorded = read_message(open_meta_graph_file(held)).collection_def[model.SEED].int64_list.value
    if not recorded:
        raise UserError(f"{show_path(held.prefix)} is not the toy model's; --resume goes on from its checkpoints only")
    return int(recorded[0])


def main(argv: Sequence[str] | None = None) -> int:
    parser = make_parser(
        __doc__, "seed", "resume", "overwrite", checkpoint=project.RESULTS / "graph.ckpt", epochs=10, shards=1
    )
    args = parser.parse_args(argv)
    if not 1 <= args.shards <= model.MAX_SHARDS:
        parser.error(f"--shards {args.shards}: the toy model has variables for 1 to {model.MAX_SHARDS} shards")
    resumed = locate.find_checkpoint(args.checkpoint) if args.resume else None
    seed = seed_of(resumed) if resumed else args.seed or 0
    if args.seed not in (None, seed):
        parser.error(f"--seed {args.seed}: {args.checkpoint} was trained with seed {seed} and resumes with it")
    target = resumed.prefix if resumed else args.checkpoint
    if target.is_dir():
        parser.error(
            f"--checkpoint {args.checkpoint} is a folder; a prefix in it would be {args.checkpoint}/graph.ckpt"
        )
    overwrite = args.overwrite or args.resume or target == parser.get_default("checkpoint")

    graph = model.build_graph(seed, args.shards)
    with (
        stage_checkpoint(target, overwrite=overwrite) as prefix,
        tf1.Session(graph=graph, config=model.session_config(args.shards)) as session,
        graph.as_default(),
    ):
        initialize = tf1.global_variables_initializer()
        saver = tf1.train.Saver(sharded=args.shards > 1, save_relative_paths=True)
        if resumed:
            with explain_failures(f"the checkpoint {show_path(target)} cannot be restored"):
                saver.restore(session, format_saver_path(resumed))
        else:
            session.run(initialize)
        done = model.epochs_done(session)
        if done >= args.epochs:
            raise UserError(f"{format_count(done, 'epoch')} done already; --epochs {done + 5} goes on from there")
        model.train(session, args.epochs)
        accuracy = model.evaluate(session)
        save(session, saver, prefix)
        proof = prove(session, prefix)
    print(f"trained epochs {done + 1} to {args.epochs}; held-out accuracy {accuracy:.4f}")
    print_table(
        ("file", "size"), [(show_path(f), format_size(f.stat().st_size)) for f in list_checkpoint_files(target)]
    )
    print(f"proved: {proof}")
    print(f"next: {format_command('checkpoint_restore.py', *repeat_flags(parser, args, 'checkpoint'))}")
    return 0


if __name__ == "__main__":
    cli.run(main)
