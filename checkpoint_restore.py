"""Restore a checkpoint: the graph from its MetaGraphDef, then the variables from its data files.

Teaches tf.compat.v1.train.import_meta_graph(PREFIX.meta) and Saver.restore(session, PREFIX).

    python checkpoint_restore.py
    python checkpoint_restore.py --tensor NN/W1
    python checkpoint_restore.py --checkpoint my/model.ckpt

Importing gives the graph, with variables that hold nothing yet. Restoring is one way to initialize them: it fills the
variables of one session, and does nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import model
from serialization import artifact, checkpoint, cli, safety, signature
from serialization.messages import read_message
from serialization.predictor import open_session
from serialization.signature import show_shape
from serialization.tensorflow import np, tf, tf1


def import_graph(prefix: Path, outputs: str = "", *, trust: bool = False) -> tuple[Any, Any]:
    """The tf.Graph of PREFIX.meta, and the Saver that is recorded in it; variables hold nothing yet.

    Raises cli.Error where importing, restoring or fetching `outputs` could do harm, unless `trust`.
    """
    file = artifact.find_meta_graph(prefix)
    meta_graph = read_message(file)
    names = [name for _, name in signature.parse_names(outputs)] if outputs else []
    safety.require_safe(safety.scan_meta_graph(meta_graph, names, folder=prefix.parent), file, trust=trust)
    with tf1.Graph().as_default() as graph:
        saver = tf1.train.import_meta_graph(meta_graph, clear_devices=True)
    return graph, saver


def fill_variables(session: Any, saver: Any, prefix: Path) -> None:
    """Run the graph's own restore op, which reads the data files; fetching a variable before that is an error."""
    with session.graph.as_default():  # elsewhere TensorFlow 2 takes the Saver for one that is not built yet
        saver.restore(session, checkpoint.saver_path(artifact.require_checkpoint(prefix)))


def restore(prefix: Path, outputs: str = "", *, trust: bool = False) -> Any:
    """A session on the imported graph in which the variables hold what the checkpoint holds."""
    graph, saver = import_graph(prefix, outputs, trust=trust)
    session = open_session(graph, optimize=False)
    fill_variables(session, saver, prefix)
    return session


def uninitialized(session: Any) -> list[str]:
    """The names of the graph's variables that hold nothing in this session."""
    with session.graph.as_default():
        return [name.decode() for name in session.run(tf1.report_uninitialized_variables())]


def show_variables(prefix: Path) -> None:
    """A table of the variables as the checkpoint's index has them, with values where these are few."""
    reader = tf1.train.load_checkpoint(str(prefix))
    dtypes = reader.get_variable_to_dtype_map()
    rows = []
    for name, shape in sorted(reader.get_variable_to_shape_map().items()):
        few = np.prod(shape) <= 10
        values = np.array2string(reader.get_tensor(name).ravel(), precision=4, max_line_width=1000) if few else ""
        rows.append((name, tf.as_dtype(dtypes[name]).name, show_shape(shape), values))
    cli.table(("variable", "dtype", "shape", "values"), rows)


def show_tensor(prefix: Path, name: str) -> None:
    """One variable of the checkpoint, whole. Raises cli.Error with the names that would have been valid."""
    reader = tf1.train.load_checkpoint(str(prefix))
    if not reader.has_tensor(name):
        known = ", ".join(sorted(reader.get_variable_to_shape_map()))
        raise cli.Error(f"no variable {name} in {cli.show(prefix)}; it has {known}")
    value = reader.get_tensor(name)
    print(f"{name} {value.dtype} {show_shape(value.shape)}")
    print(np.array2string(value, threshold=value.size + 1))


def prove(session: Any, prefix: Path) -> str:
    """Compare each variable of the session with the checkpoint, bit for bit; the toy model is also evaluated."""
    reader = tf1.train.load_checkpoint(str(prefix))
    variables = session.graph.get_collection(tf1.GraphKeys.GLOBAL_VARIABLES)
    for variable in variables:
        if session.run(variable).tobytes() != reader.get_tensor(variable.op.name).tobytes():
            raise cli.Error(f"{variable.op.name} does not hold what {cli.show(prefix)} holds")
    proof = f"{len(variables)} variables hold the checkpoint's bits"
    if session.graph.get_collection(model.SEED):
        proof += f"; accuracy on 10,000 fresh rows: {model.evaluate(session):.4f}"
    return proof


def main(argv: Sequence[str] | None = None) -> int:
    parser = cli.parser(__doc__, "tensor", "trust-model", checkpoint=cli.RESULTS / "graph.ckpt")
    args = parser.parse_args(argv)
    prefix = artifact.find_checkpoint(args.checkpoint)
    if args.tensor:
        show_tensor(prefix, args.tensor)
        return 0

    graph, saver = import_graph(prefix, trust=args.trust_model)
    with open_session(graph) as session:
        count = len(graph.get_collection(tf1.GraphKeys.GLOBAL_VARIABLES))
        print(f"imported {cli.show(prefix)}.meta: {len(uninitialized(session))} of {count} variables are uninitialized")
        fill_variables(session, saver, prefix)
        print(f"restored {cli.show(prefix)}: {len(uninitialized(session))} of {count} variables are uninitialized")
        show_variables(prefix)
        print(f"proved: {prove(session, prefix)}")
    print(f"next: {cli.command('freezemodel_save.py', *cli.unless_default(parser, args, 'checkpoint'))}")
    return 0


if __name__ == "__main__":
    cli.run(main)
