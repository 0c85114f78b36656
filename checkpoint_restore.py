"""Restore a checkpoint: the graph from its MetaGraphDef, then the variables from its data files.

Teaches tf.compat.v1.train.import_meta_graph(PREFIX.meta) and Saver.restore(session, PREFIX).

    python checkpoint_restore.py
    python checkpoint_restore.py --tensor NN/W1
    python checkpoint_restore.py --checkpoint my/model.ckpt --outputs softmax --feed x=@rows.npy
    python checkpoint_restore.py --checkpoint my/model.ckpt --graph my/graph.pbtxt --rename old_scope=new_scope

Importing gives the graph, with variables that hold nothing yet. Restoring is one way to initialize them: it fills the
variables of one session, and does nothing else. A graph of your own is made ready before: only what the outputs need is
imported, without what other machines and other versions left in it, and compared with the checkpoint.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import model
from serialization import (
    artifact,
    checkpoint,
    checkpoints,
    cli,
    freezing,
    inference,
    ops,
    predictions,
    safety,
    signature,
    tables,
    verify,
)
from serialization.checkpoints import Prepared
from serialization.graph import training_nodes
from serialization.origin import Origin
from serialization.predictor import Predictor, open_session
from serialization.signature import show_shape
from serialization.tensorflow import failures, np, tf, tf1

FLAGS = ("graph", "rename", "partial", "ema", "op-library")  # what a checkpoint may need, in each script that reads one


def prepare(args: argparse.Namespace, *, keys: bool = False) -> Prepared:
    """Find the checkpoint, choose inputs and outputs, and make its graph one that the two calls below take."""
    ops.load_library(args.op_library)
    prefix = artifact.find_checkpoint(args.checkpoint)
    file = checkpoints.read_graph_of(prefix, args.graph)
    checkpoints.require_safe_saver(file, trust=args.trust_model)
    inputs, outputs = model.names_of(file.graph_def, args.inputs, args.outputs, keys=keys)
    flags = {"rename": args.rename or (), "partial": args.partial, "ema": args.ema}
    prepared = checkpoints.prepare(prefix, file, inputs=inputs, outputs=outputs, **flags)
    if keys and model.is_toy(file.graph_def) and file.meta_graph is not None:
        # Exported, the toy keeps what only its training needs, as TensorFlow's own calls do.
        return replace(checkpoints.whole(prefix, file), signature=prepared.signature)
    return prepared


def import_graph(meta_graph: Any) -> tuple[Any, Any]:
    """The tf.Graph of a MetaGraphDef, and the Saver that is recorded in it; variables hold nothing yet."""
    with tf1.Graph().as_default() as graph:
        saver = tf1.train.import_meta_graph(meta_graph, clear_devices=True)
    return graph, saver


def fill_variables(session: Any, saver: Any, path: str) -> None:
    """Run the graph's own restore op, which reads the data files; fetching a variable before that is an error."""
    with session.graph.as_default():  # elsewhere TensorFlow 2 takes the Saver for one that is not built yet
        saver.restore(session, path)


def start(
    prepared: Prepared, *, fetched: Sequence[str] = (), trust: bool = False, optimize: bool = False
) -> tuple[Any, Any]:
    """A session on the imported graph, and its Saver, which is None where there is no variable to restore.

    Raises cli.Error where importing, restoring or running it could do harm, unless `trust`; `fetched` are tensors that
    will be run beside those of its signature.
    """
    tensors = (prepared.signature.outputs, prepared.signature.inputs)
    outputs, inputs = ([tensor.name for tensor in side] for side in tensors)
    run = [*outputs, *prepared.initializers, *fetched]
    findings = safety.scan_meta_graph(prepared.meta_graph, run, inputs, folder=Path(prepared.path).parent)
    safety.require_safe(findings, prepared.file, trust=trust)
    with failures("the graph cannot be imported"):
        graph, saver = import_graph(prepared.meta_graph)
    return open_session(graph, optimize=optimize), saver


def fill(session: Any, saver: Any, prepared: Prepared) -> None:
    """Give the session all that the checkpoint holds: variables, then the lookup tables, which may need them."""
    if saver is not None:
        with failures(f"the checkpoint {prepared.path} cannot be restored"):
            fill_variables(session, saver, prepared.path)
    tables.run_initializers(session, prepared.initializers)


def restore(prefix: Path, *, trust: bool = False) -> Any:
    """A session on the checkpoint's whole graph, in which the variables hold what the checkpoint holds."""
    prepared = checkpoints.whole(prefix, checkpoints.read_graph_of(prefix))
    session, saver = start(prepared, trust=trust)
    fill(session, saver, prepared)
    return session


def open_checkpoint(prepared: Prepared, *, trust: bool = False) -> Origin:
    """The restored checkpoint, ready to be converted. Where a run changes variables, each begins by restoring them."""
    session, saver = start(prepared, trust=trust)
    fill(session, saver, prepared)
    wanted = signature.in_graph(session.graph, prepared.signature)
    predict = Predictor(session, wanted)

    def run(values: verify.Values) -> verify.Values:
        fill(session, saver, prepared)
        return predict(values)

    def run_twice(values: verify.Values) -> verify.Values:
        run(values)
        return predict(values)

    changes = bool(training_nodes(prepared.pruned))
    plain = freezing.is_plain(prepared.pruned)
    graph_def = session.graph.as_graph_def()
    return Origin(
        session,
        graph_def,
        wanted,
        run if changes else predict,
        plain,
        prepared.hints,
        prepared.batches,
        run_twice if changes else None,
    )


def uninitialized(session: Any) -> list[str]:
    """The names of the graph's variables that hold nothing in this session."""
    with session.graph.as_default():
        return [name.decode() for name in session.run(tf1.report_uninitialized_variables())]


def show_variables(prefix: Path) -> None:
    """A table of the variables as the checkpoint's index has them, with values where these are few."""
    reader = tf1.train.NewCheckpointReader(checkpoint.saver_path(artifact.require_checkpoint(prefix)))
    dtypes = reader.get_variable_to_dtype_map()
    rows = []
    for name, shape in sorted(reader.get_variable_to_shape_map().items()):
        few = np.prod(shape) <= 10
        values = np.array2string(reader.get_tensor(name).ravel(), precision=4, max_line_width=1000) if few else ""
        rows.append((name, tf.as_dtype(dtypes[name]).name, show_shape(shape), values))
    cli.table(("variable", "dtype", "shape", "values"), rows)


def show_tensor(prefix: Path, name: str) -> None:
    """One variable of the checkpoint, whole. Raises cli.Error with the names that would have been valid."""
    name = name.removesuffix(":0")  # which a variable has as a tensor of the graph, and not in a checkpoint
    reader = tf1.train.NewCheckpointReader(checkpoint.saver_path(artifact.require_checkpoint(prefix)))
    if not reader.has_tensor(name):
        known = ", ".join(sorted(reader.get_variable_to_shape_map()))
        raise cli.Error(f"no variable {name} in {cli.show(prefix)}; it has {known}")
    value = reader.get_tensor(name)
    print(f"{name} {value.dtype} {show_shape(value.shape)}")
    print(np.array2string(value, threshold=value.size + 1))


def prove(session: Any, prepared: Prepared) -> str:
    """Compare each variable of the session with the checkpoint, bit for bit; the toy model is also evaluated."""
    reader = tf1.train.NewCheckpointReader(prepared.path)
    variables = {
        variable.op.name: variable for variable in session.graph.get_collection(tf1.GraphKeys.GLOBAL_VARIABLES)
    }
    for one in prepared.restores:
        expected = checkpoints.read_value(reader, one)
        if not verify.same_bits(session.run(variables[one.node]), expected):
            raise cli.Error(f"{one.node} does not hold what {prepared.path} holds under {one.key}")
    proof = f"{len(prepared.restores)} variables hold the checkpoint's bits"
    if session.graph.get_collection(model.SEED):
        proof += f"; accuracy on 10,000 fresh rows: {model.evaluate(session):.4f}"
    return proof


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(
        __doc__, "tensor", *FLAGS, "trust-model", "inputs", "outputs", "feed", checkpoint=cli.RESULTS / "graph.ckpt"
    )
    args = parser.parse_args(argv)
    prefix = artifact.find_checkpoint(args.checkpoint)
    if args.tensor:
        with failures(f"the checkpoint {cli.show(prefix)} cannot be read"):
            show_tensor(prefix, args.tensor)
        return 0

    file = checkpoints.read_graph_of(prefix, args.graph)
    asked = args.inputs or args.outputs or args.feed
    # The toy is restored whole, to show all of it; so is a graph that has nothing but variables.
    bare = file.meta_graph is not None and not asked and not inference.infer(file.graph_def).outputs
    toy = model.is_toy(file.graph_def) and not asked
    prepared = checkpoints.whole(prefix, file) if toy or bare else prepare(args)
    cli.report(prepared.notes)
    session, saver = start(prepared, fetched=[model.ACCURACY] if toy else [], trust=args.trust_model)
    with session:
        count = len(session.graph.get_collection(tf1.GraphKeys.GLOBAL_VARIABLES))
        print(f"imported {cli.show(prefix)}.meta: {len(uninitialized(session))} of {count} variables are uninitialized")
        fill(session, saver, prepared)
        print(f"restored {cli.show(prefix)}: {len(uninitialized(session))} of {count} variables are uninitialized")
        with failures(f"the checkpoint {cli.show(prefix)} cannot be read"):
            show_variables(prefix)
            print(f"proved: {prove(session, prepared)}")
        if not (toy or bare):
            predict = Predictor(session, signature.in_graph(session.graph, prepared.signature))
            predictions.show(predict, predict.signature, args.feed, prepared.hints, prepared.batches)
    print(f"next: {cli.command('freezemodel_save.py', *cli.unless_default(parser, args, 'checkpoint'))}")
    return 0


if __name__ == "__main__":
    cli.run(main)
