"""Measure time and memory of freezing a large checkpoint, and of loading and exporting it, beside TensorFlow's calls.

    python benchmarks/freezing.py [--megabytes 1024] [--variables 16 1]

Makes a checkpoint of that size in a temporary folder, which needs three times as much space. It has 16 variables, and
then a single one. For each, these run one after the other, each in its own process:

    freeze   python -m tensorflow.python.tools.freeze_graph   and   freezemodel_save.py, with and without --no-verify
    load     ParseFromString, import_graph_def, Session.run   and   freezemodel_load.py, each to its first answer
    call     the fastest of 40 later calls of both, in the same processes; memory limits them, so other programs on
             the machine slow them
    export   import_graph_def, simple_save   and   savedmodel_from_frozen.py, with and without --no-verify
    unfreeze checkpoint_from_frozen.py, with and without --no-verify; TensorFlow has no call for it

Prints seconds, peak resident memory, and the ratios. For an export and for unfreezing it also prints the memory above
that of a process that only imports TensorFlow, as a multiple of the file's size.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from serialization import project
from serialization.console import format_count, print_table
from serialization.errors import UserError
from serialization.tensorflow import tf, tf1

PROJECT = project.ROOT


def make(prefix: Path, megabytes: int, variables: int) -> None:
    """Write a checkpoint with `variables` square matrices, and a graph that multiplies a row by each."""
    side = int((megabytes * (1 << 20) / 4 / variables) ** 0.5)
    with tf1.Graph().as_default(), tf1.Session() as session:
        layer = tf1.placeholder(tf.float32, [None, side], name="x")
        for number in range(variables):
            weights = tf1.get_variable(
                f"w{number}", [side, side], initializer=tf1.ones_initializer(), use_resource=False
            )
            session.run(weights.initializer)
            session.run(weights.assign(tf1.random.normal([side, side], stddev=side**-0.5, seed=number)))
            layer = tf.tanh(layer @ weights)
        tf.identity(layer, name="y")
        tf1.train.Saver().save(session, str(prefix))


def measure(title: str, *words: str | Path) -> tuple[float, float, str]:
    """Seconds, peak GB and output of a process. Raises UserError unless it ends with status 0."""
    print(f"{title} ...", end=" ", flush=True)
    started = time.time()
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "STARTED": str(started)}
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        process = subprocess.Popen([sys.executable, *map(str, words)], stdout=output, stderr=errors, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if status:
            raise UserError(f"{title} failed: {errors.read().decode()[-500:]}")
        seconds = time.time() - started
        print(f"{seconds:.1f} s", flush=True)
        return seconds, usage.ru_maxrss / 1e6, output.read().decode()


PLAIN_LOAD = """
import os, sys, time
import numpy as np
import tensorflow.compat.v1 as tf
graph_def = tf.GraphDef()
graph_def.ParseFromString(open(sys.argv[1], "rb").read())
with tf.Graph().as_default() as graph:
    tf.import_graph_def(graph_def, name="prefix")
session = tf.Session(graph=graph)
row = np.ones([1, graph.get_tensor_by_name("prefix/x:0").shape[1]], "f")
session.run("prefix/y:0", {"prefix/x:0": row})
"""
CALLS = """
first = time.time() - float(os.environ["STARTED"])
times = []
for _ in range(40):
    started = time.monotonic()
    {call}
    times.append(time.monotonic() - started)
print(first, min(times))
"""
PLAIN_EXPORT = """
import sys
import tensorflow.compat.v1 as tf
graph_def = tf.GraphDef()
graph_def.ParseFromString(open(sys.argv[1], "rb").read())
with tf.Graph().as_default() as graph, tf.Session(graph=graph) as session:
    tf.import_graph_def(graph_def, name="")
    tensor = graph.get_tensor_by_name
    tf.saved_model.simple_save(session, sys.argv[2], {"x": tensor("x:0")}, {"y": tensor("y:0")})
"""
LEAN_LOAD = """
import os, sys, time
sys.path.insert(0, {project!r})
import numpy as np
import freezemodel_load
from serialization.files.locate import find_frozen_model
from serialization.run.predictor import Predictor
from pathlib import Path
predict = Predictor(*freezemodel_load.open_frozen(find_frozen_model(Path(sys.argv[1])), "x", "y"))
row = np.ones([1, predict.signature.inputs[0].shape[1]], "f")
predict({{"x": row}})
"""


def compare(folder: Path, megabytes: int, variables: int) -> None:
    """Make the checkpoint, run all measurements on it, and print a table."""
    rows = []
    prefix, theirs, ours = (folder / name for name in ("model.ckpt", "theirs.pb", "ours.pb"))
    make_script = f"import sys; sys.path.insert(0, {str(PROJECT)!r}); from pathlib import Path; "
    make_script += f"from benchmarks import freezing; freezing.make(Path({str(prefix)!r}), {megabytes}, {variables})"
    measure("making the checkpoint", "-c", make_script)
    flags: tuple[str, ...] = (
        f"--input_meta_graph={prefix}.meta",
        f"--input_checkpoint={prefix}",
        "--input_binary=true",
    )
    flags += ("--output_node_names=y", f"--output_graph={theirs}")
    stock = measure("freezing with TensorFlow", "-m", "tensorflow.python.tools.freeze_graph", *flags)
    theirs.unlink()
    words = ("--checkpoint", prefix, "--inputs", "x", "--outputs", "y", "--frozen-model", ours)
    proved = measure("freezing and proving", PROJECT / "freezemodel_save.py", *words)
    ours.unlink()
    lean = measure("freezing", PROJECT / "freezemodel_save.py", "--no-verify", *words)
    rows.append(("freeze", stock, lean))
    rows.append(("freeze and prove", stock, proved))
    for file in folder.glob("model.ckpt*"):
        file.unlink()
    plain, ready = PLAIN_LOAD, LEAN_LOAD.format(project=str(PROJECT))
    plain += CALLS.format(call='session.run("prefix/y:0", {"prefix/x:0": row})')
    ready += CALLS.format(call='predict({"x": row})')
    loads = [measure("loading with TensorFlow", "-c", plain, ours), measure("loading", "-c", ready, ours)]
    firsts, calls = ([float(load[2].split()[at]) for load in loads] for at in (-2, -1))
    rows.append(("load, first answer", (firsts[0], *loads[0][1:]), (firsts[1], *loads[1][1:])))
    exports = measure_exports(folder, ours)
    rows.extend((name, exports["plain"], exports[name]) for name in ("export", "export and prove"))
    table: list[tuple[str, ...]] = []
    for title, (seconds, memory, _), (our_seconds, our_memory, _) in rows:
        table.append((title, f"{seconds:.1f} s", f"{our_seconds:.1f} s", f"{our_seconds / seconds:.2f}"))
        table.append((f"{title}, peak", f"{memory:.2f} GB", f"{our_memory:.2f} GB", f"{our_memory / memory:.2f}"))
    table.append(
        ("later calls, fastest", f"{calls[0] * 1e3:.2f} ms", f"{calls[1] * 1e3:.2f} ms", f"{calls[1] / calls[0]:.2f}")
    )
    size = ours.stat().st_size / 1e9
    above = {name: (memory - exports["import"][1]) / size for name, (_, memory, _) in exports.items()}
    for name in ("export", "export and prove"):
        title = f"{name}, above import / file"
        table.append((title, f"{above['plain']:.2f}", f"{above[name]:.2f}", f"{above[name] / above['plain']:.2f}"))
    for name in ("unfreeze", "unfreeze and prove"):
        table.append((name, "", f"{exports[name][0]:.1f} s", ""))
        table.append((f"{name}, above import / file", "", f"{above[name]:.2f}", ""))
    heading = f"{megabytes} MiB in {format_count(variables, 'variable')}"
    print_table((heading, "TensorFlow", "this project", "ratio"), table)


def measure_exports(folder: Path, frozen: Path) -> dict[str, tuple[float, float, str]]:
    """The results of `measure` for importing TensorFlow, for its export, and for what the project makes of the file."""
    flags = ("--frozen-model", frozen, "--inputs", "x", "--outputs", "y")
    script = (PROJECT / "savedmodel_from_frozen.py", *flags)
    unfreeze = (
        PROJECT / "checkpoint_from_frozen.py",
        *flags,
        "--out",
        folder / "saved" / "m.ckpt",
    )
    runs: dict[str, tuple[str | Path, ...]] = {
        "import": ("-c", "import tensorflow"),
        "plain": ("-c", PLAIN_EXPORT, frozen, folder / "saved"),
        "export": (*script, "--no-verify", "--export-dir", folder / "saved"),
        "export and prove": (*script, "--export-dir", folder / "saved"),
        "unfreeze": (*unfreeze, "--no-verify"),
        "unfreeze and prove": unfreeze,
    }
    results = {}
    for name, words in runs.items():
        results[name] = measure("importing TensorFlow" if name == "import" else f"running {name}", *words)
        shutil.rmtree(folder / "saved", ignore_errors=True)
    return results


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=1024, metavar="N")
    parser.add_argument("--variables", type=int, nargs="+", default=[16, 1], metavar="N")
    args = parser.parse_args()
    for variables in args.variables:
        with tempfile.TemporaryDirectory() as folder:
            compare(Path(folder), args.megabytes, variables)
    return 0


if __name__ == "__main__":
    sys.exit(main())
