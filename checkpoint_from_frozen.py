"""Turn a frozen model back into a checkpoint: constants become variables again, and training can go on.

Teaches get_variable, import_graph_def(graph_def, input_map={"w:0": variable}) and Saver.save, in this order.

    python checkpoint_from_frozen.py
    python checkpoint_from_frozen.py --frozen-model my/model.pb --inputs x --outputs softmax --out my/model.ckpt
    python checkpoint_from_frozen.py --frozen-model my/model.pb --object-based

Without --out, a model of your own called NAME becomes results/NAME.ckpt, which --overwrite alone replaces.
The variables have their old names. Statistics, such as the moving means of batch norm, are not trainable, and no op of
the graph updates them. A training script goes on from there:

    saver = tf.compat.v1.train.import_meta_graph("results/unfrozen.ckpt.meta")
    saver.restore(session, "results/unfrozen.ckpt")
    step = tf.compat.v1.train.GradientDescentOptimizer(0.01).minimize(loss)

--object-based writes a checkpoint of TensorFlow 2 beside it, results/unfrozen-object.ckpt, from which
tf.train.Checkpoint(variables={"w": w, "b": b}).read(PREFIX) restores by the same names.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

from freezemodel_load import read_given_model
from savedmodel_from_frozen import load
from serialization import cli, project
from serialization.console import format_command
from serialization.files.publish import list_staged, stage_checkpoint
from serialization.flags import CONVERSION_FLAGS, RESULT_FLAGS
from serialization.given_flags import name_target, repeat_flags
from serialization.graph.op_registry import load_op_library
from serialization.graph.parameters import Parameter
from serialization.graph.signature import SERVING_DEFAULT, build_signature_def
from serialization.parser import make_parser
from serialization.run.origin import Origin
from serialization.run.predictor import open_session
from serialization.run.verify import NOT_VERIFIED
from serialization.sources.from_frozen import PreparedFrozenModel
from serialization.targets.checkpoint_proof import prove_checkpoint, prove_objects
from serialization.targets.to_checkpoint import (
    Unfrozen,
    list_prefixes,
    name_in_graph,
    print_unfrozen,
    reserve_names,
    take_out_constants,
)
from serialization.tensorflow import OTHER_TENSORFLOW, explain_failures, tf, tf1


def make_variable(one: Parameter, name: str) -> Any:
    """A variable for a parameter, which holds nothing yet."""
    return tf1.get_variable(
        name,
        one.shape,
        tf.as_dtype(one.dtype),
        initializer=tf1.zeros_initializer(),
        trainable=one.trainable,
        collections=[tf1.GraphKeys.GLOBAL_VARIABLES, tf1.GraphKeys.MODEL_VARIABLES],
        use_resource=True,
    )


def import_graph(unfrozen: Unfrozen) -> tuple[Any, dict[str, Any]]:
    """A tf.Graph of the model in which the parameters are variables, and these by their old names."""
    with tf1.Graph().as_default() as graph, explain_failures("the graph cannot be imported", OTHER_TENSORFLOW):
        reserve_names(graph, unfrozen)
        parameters = {one.name: one for one in unfrozen.parameters}
        variables = {name: make_variable(one, name_in_graph(one, unfrozen)) for name, one in parameters.items()}
        values = {f"{one.node}:0": variables[one.name].value() for one in unfrozen.parameters}
        tf1.import_graph_def(unfrozen.rest, name="", input_map=values)
        for name in unfrozen.initializers:
            graph.add_to_collection(tf1.GraphKeys.TABLE_INITIALIZERS, graph.get_operation_by_name(name))
    return graph, variables


def save(unfrozen: Unfrozen, prefix: Path, objects: Sequence[Path], *, latest: bool) -> None:
    """Write the variables, and beside them the graph with its signature; to `objects` the variables for TensorFlow 2.

    `latest` has the folder's `checkpoint` file name this checkpoint.
    """
    graph, variables = import_graph(unfrozen)
    with graph.as_default(), open_session(graph) as session, explain_failures("the checkpoint cannot be written"):
        for one in unfrozen.parameters:
            variables[one.name].load(unfrozen.read(one, 0, math.prod(one.shape)).reshape(one.shape), session)
        saver = tf1.train.Saver(variables, save_relative_paths=True)
        meta_graph = saver.export_meta_graph()
        meta_graph.signature_def[SERVING_DEFAULT].CopyFrom(build_signature_def(graph, unfrozen.signature))
        saver.save(session, str(prefix), write_meta_graph=False, write_state=latest)
        for path in objects:
            tf1.train.Checkpoint(variables=variables).write(str(path), session)
    prefix.with_name(f"{prefix.name}.meta").write_bytes(meta_graph.SerializeToString())


@contextmanager
def open_frozen(ready: PreparedFrozenModel) -> Iterator[Origin]:
    """The frozen model, to be compared with; its session, which holds all constants, is closed after that."""
    origin = load(ready)
    with closing(origin.session):
        yield origin


def write(
    args: argparse.Namespace,
    unfrozen: Unfrozen,
    staged: Sequence[Path],
    open_source: Callable[[], AbstractContextManager[Origin]],
) -> list[str]:
    """Save to the staged prefixes, and prove both checkpoints against the source. Returns the lines to print."""
    prefix, *objects = staged
    # Not the latest of a folder that has one: that would be another model than the scripts there go on with.
    save(unfrozen, prefix, objects, latest=not (args.out.parent / "checkpoint").exists())
    if args.no_verify:
        return [NOT_VERIFIED]
    lines = prove_checkpoint(open_source, unfrozen, prefix, args.feed)
    return [*lines, *(prove_objects(unfrozen, path) for path in objects)]


def main(argv: Sequence[str] | None = None) -> int:
    frozen_model, out = (project.RESULTS / name for name in ("frozen_model.pb", "unfrozen.ckpt"))
    parser = make_parser(__doc__, "object-based", *CONVERSION_FLAGS, frozen_model=frozen_model, out=out)
    args = parser.parse_args(argv)
    name_target(parser, args, "out", "frozen_model")
    prefixes = list_prefixes(parser, args.out, objects=args.object_based)
    overwrite = args.overwrite or args.out == out

    with ExitStack() as stack:
        staged = [stack.enter_context(stage_checkpoint(prefix, overwrite=overwrite)) for prefix in prefixes]
        load_op_library(args.op_library)
        ready = read_given_model(args)
        unfrozen = take_out_constants(ready)
        proof = write(args, unfrozen, staged, lambda: open_frozen(ready))
        files = list_staged(staged, prefixes)
    print_unfrozen(files, unfrozen, proof)
    again = repeat_flags(parser, args, *RESULT_FLAGS)
    print(f"next: {format_command('checkpoint_restore.py', '--checkpoint', args.out, *again)}")
    return 0


if __name__ == "__main__":
    cli.run(main)
