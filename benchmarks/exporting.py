"""Measure time and memory of exporting a large frozen model to ONNX and to LiteRT, beside the converters alone.

    python benchmarks/exporting.py [--megabytes 100]

Makes a frozen model of that size in a temporary folder, which needs four times as much space: convolutions and
matrices, each of about a sixteenth of it. These run one after the other, each in its own process:

    ONNX      python -m tf2onnx.convert              and   onnx_from_frozen.py, with and without --no-verify
    LiteRT    TFLiteConverter.from_session(...)      and   tflite_from_frozen.py, with and without --no-verify

Prints seconds, peak resident memory, the ratios, and the memory above that of a process that only imports TensorFlow
and the exporter, as a multiple of the file's size.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from freezing import PROJECT, measure

from serialization.console import print_table
from serialization.tensorflow import tf, tf1

PARTS = 16
IMPORTS = {
    "ONNX": "import tensorflow, tf2onnx.convert, onnxruntime",
    "LiteRT": "import tensorflow, ai_edge_litert.interpreter",
}
PLAIN_LITERT = """
import sys
import tensorflow.compat.v1 as tf
graph_def = tf.GraphDef()
graph_def.ParseFromString(open(sys.argv[1], "rb").read())
with tf.Graph().as_default() as graph, tf.Session(graph=graph) as session:
    tf.import_graph_def(graph_def, name="")
    x, y = graph.get_tensor_by_name("x:0"), graph.get_tensor_by_name("y:0")
    open(sys.argv[2], "wb").write(tf.lite.TFLiteConverter.from_session(session, [x], [y]).convert())
"""


def make(file: Path, megabytes: int) -> None:
    """Write a frozen GraphDef: x float32 [None, 8, 8, side] through eight convolutions and eight matrices to y."""
    numbers = megabytes * (1 << 20) // 4 // PARTS
    side = int((numbers / 9) ** 0.5)
    wide = int(numbers**0.5)
    kernels = [tf.random.normal([3, 3, side, side], stddev=(9 * side) ** -0.5, seed=n) for n in range(PARTS // 2)]
    matrices = [tf.random.normal([wide, wide], stddev=wide**-0.5, seed=n) for n in range(PARTS // 2)]
    with tf1.Graph().as_default() as graph:
        layer = tf1.placeholder(tf.float32, [None, 8, 8, side], name="x")
        for kernel in kernels:
            layer = tf.nn.relu(tf.nn.conv2d(layer, tf.constant(kernel.numpy()), 1, "SAME"))
        layer = tf.pad(tf.reduce_mean(layer, [1, 2]), [[0, 0], [0, wide - side]])
        for matrix in matrices:
            layer = tf.tanh(layer @ tf.constant(matrix.numpy()))
        tf.identity(layer, name="y")
    file.write_bytes(graph.as_graph_def().SerializeToString())


def compare(folder: Path, megabytes: int) -> None:
    frozen = folder / "m.pb"
    # In a process of its own: a process that is started by a large one has a large peak.
    measure("making the model", __file__, "--megabytes", str(megabytes), "--make", frozen)
    size = frozen.stat().st_size / 1e9
    names = ("--inputs", "x:0", "--outputs", "y:0", "--opset", "18", "--output", folder / "plain")
    plain_words: dict[str, tuple[str | Path, ...]] = {
        "ONNX": ("-m", "tf2onnx.convert", "--graphdef", frozen, *names),
        "LiteRT": ("-c", PLAIN_LITERT, frozen, folder / "plain"),
    }
    for kind, (script, flag) in {"ONNX": ("onnx", "--onnx"), "LiteRT": ("tflite", "--tflite")}.items():
        ours = (PROJECT / f"{script}_from_frozen.py", "--frozen-model", frozen, "--outputs", "y", flag, folder / "ours")
        idle = measure(f"{kind}: the imports", "-c", IMPORTS[kind])
        plain = measure(f"{kind}: the converter alone", *plain_words[kind])
        rows = []
        for title, words in (("export", ("--no-verify",)), ("export and prove", ())):
            seconds, memory, _ = measure(f"{kind}: {title}", *ours, "--overwrite", *words)
            above, mine = ((peak - idle[1]) / size for peak in (plain[1], memory))
            rows += [
                (title, f"{plain[0]:.1f} s", f"{seconds:.1f} s", f"{seconds / plain[0]:.2f}"),
                (f"{title}, peak", f"{plain[1]:.2f} GB", f"{memory:.2f} GB", f"{memory / plain[1]:.2f}"),
                (f"{title}, above imports / file", f"{above:.1f}", f"{mine:.1f}", f"{mine / above:.2f}"),
            ]
        print_table((f"{kind} of {size * 1000:.0f} MB", "the converter", "this project", "ratio"), rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=100, metavar="N")
    parser.add_argument("--make", type=Path, metavar="FILE", help="write the model alone")
    args = parser.parse_args()
    if args.make:
        make(args.make, args.megabytes)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), args.megabytes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
