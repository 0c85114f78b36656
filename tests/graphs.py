"""Small models of the kinds that people have, made where a test needs them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import google_crc32c
from sstables import make_table

from serialization.formats import protos
from serialization.formats.sstable import mask_crc32c
from serialization.tensorflow import np, tf, tf1

KINDS = ["float32", "float64", "float16", "bfloat16", "int8", "uint8", "int16", "int32", "int64", "bool", "complex64"]


def save(folder: Path, build: Callable[[], Any], *, name: str = "model.ckpt", **saver: Any) -> Path:
    """Build a graph, initialize its variables, and save it as a checkpoint. Returns the prefix."""
    prefix = folder / name
    with tf1.Graph().as_default(), tf1.Session() as session:
        build()
        session.run([tf1.global_variables_initializer(), tf1.tables_initializer()])
        tf1.train.Saver(**saver).save(session, str(prefix))
    return prefix


def edit_meta(prefix: Path, change: Callable[[Any], None]) -> None:
    """Change the MetaGraphDef of a checkpoint in its file."""
    file = prefix.with_name(f"{prefix.name}.meta")
    meta_graph = tf1.MetaGraphDef.FromString(file.read_bytes())
    change(meta_graph)
    file.write_bytes(meta_graph.SerializeToString())


def classifier(*, resource: bool = True, wide: int = 1) -> None:
    """X float32 [None, 4 * wide] -> logits -> softmax; labels, a loss, a training op, a summary."""
    x = tf1.placeholder(tf.float32, [None, 4 * wide], name="x")
    labels = tf1.placeholder(tf.int64, [None], name="labels")
    with tf1.variable_scope("dense", use_resource=resource):
        kernel = tf1.get_variable("kernel", [4 * wide, 3 * wide], initializer=tf1.random_normal_initializer(seed=1))
        bias = tf1.get_variable("bias", [3 * wide], initializer=tf1.random_normal_initializer(seed=2))
    logits = tf1.nn.xw_plus_b(x, kernel, bias, name="logits")
    loss = tf1.losses.sparse_softmax_cross_entropy(labels, logits)
    tf1.summary.scalar("loss", loss)
    tf1.train.AdamOptimizer().minimize(loss, global_step=tf1.train.get_or_create_global_step())


def batch_norm() -> None:
    """A switch is_training, and moving averages that the output's own control inputs update: float_ref when frozen."""
    x = tf1.placeholder(tf.float32, [None, 4], name="x")
    training = tf1.placeholder(tf.bool, [], name="is_training")
    mean = tf1.get_variable("mean", [4], initializer=tf1.ones_initializer(), use_resource=False, trainable=False)

    def learn() -> Any:
        update = tf1.assign_sub(mean, 0.1 * (mean - tf.reduce_mean(x, 0)))
        with tf1.control_dependencies([update]):
            return tf.identity(tf.reduce_mean(x, 0))

    tf1.disable_control_flow_v2()  # Switch and Merge, as TensorFlow 1 writes a tf.cond
    try:
        used = tf1.cond(training, learn, lambda: tf.identity(mean))
    finally:
        tf1.enable_control_flow_v2()
    tf.subtract(x, used, name="y")


def lstm() -> None:
    """An LSTM in a loop of TensorFlow 1, and a layer behind it."""
    x = tf1.placeholder(tf.float32, [None, 5, 3], name="x")
    with tf1.variable_scope("lstm_cell"):
        kernel = tf1.get_variable("kernel", [3 + 4, 4 * 4], use_resource=False)
        bias = tf1.get_variable("bias", [4 * 4], use_resource=False)

    def step(time: Any, c: Any, h: Any) -> tuple[Any, Any, Any]:
        gates = tf.concat([tf.gather(x, time, axis=1), h], 1) @ kernel + bias
        i, j, f, o = tf.split(gates, 4, axis=1)
        c = tf.sigmoid(f) * c + tf.sigmoid(i) * tf.tanh(j)
        return time + 1, c, tf.sigmoid(o) * tf.tanh(c)

    start = tf.zeros([tf.shape(x)[0], 4])
    tf1.disable_control_flow_v2()
    try:
        sizes = (tf.TensorShape([]), *[tf.TensorShape([None, 4])] * 2)
        _, _, h = tf1.while_loop(lambda time, *_: time < 5, step, (0, start, start), sizes)
    finally:
        tf1.enable_control_flow_v2()
    tf.matmul(h, tf1.get_variable("w", [4, 2]), name="y")


def vocabulary(file: Path) -> None:
    """Words in, their numbers out, by a table that is read from a file."""
    words = tf1.placeholder(tf.string, [None], name="words")
    fill = tf.lookup.TextFileInitializer(
        str(file), tf.string, tf.lookup.TextFileIndex.WHOLE_LINE, tf.int64, tf.lookup.TextFileIndex.LINE_NUMBER
    )
    table = tf.lookup.StaticHashTable(fill, -1)
    scale = tf1.get_variable("scale", [], tf.int64, initializer=tf1.ones_initializer())
    tf.multiply(table.lookup(words), scale, name="numbers")


def every_kind() -> None:
    """A variable of each dtype, one of strings, a scalar, an empty one, and two partitioned ones."""
    total = tf1.placeholder(tf.float32, [], name="x")
    for kind in KINDS:
        values = np.arange(12).reshape(3, 4) % (2 if kind == "bool" else 12)
        variable = tf1.get_variable(kind, initializer=tf.cast(values, kind), use_resource=kind in ("float32", "bool"))
        total += tf.reduce_sum(tf.cast(variable, tf.float32))
    words = tf1.get_variable("words", initializer=tf.constant([b"a", b"bc"]), use_resource=False)
    total += tf.cast(tf.reduce_sum(tf.strings.length(words)), tf.float32)
    total += tf1.get_variable("scalar", initializer=7.0)
    total += tf.reduce_sum(tf1.get_variable("empty", [0, 3]))
    rows, columns = tf1.fixed_size_partitioner(3), tf1.fixed_size_partitioner(2, axis=1)
    values = tf1.random_normal_initializer(seed=1)
    total += tf.reduce_sum(tf.convert_to_tensor(tf1.get_variable("rows", [1000, 3], None, values, partitioner=rows)))
    total += tf.reduce_sum(tf.convert_to_tensor(tf1.get_variable("wide", [2, 200], None, values, partitioner=columns)))
    tf.identity(total, name="y")


def freeze(build: Callable[[], Any], outputs: list[str]) -> Any:
    """The frozen GraphDef of a graph, by TensorFlow's own call."""
    with tf1.Graph().as_default() as graph, tf1.Session() as session:
        build()
        session.run([tf1.global_variables_initializer(), tf1.tables_initializer()])
        return tf1.graph_util.convert_variables_to_constants(session, graph.as_graph_def(), outputs)


def save_zeros(prefix: Path, build: Callable[[], Any], shapes: Mapping[str, list[int]]) -> None:
    """A checkpoint of float32 zeros of any size, at no cost: its data file has no blocks on the disk.

    The graph is what `build` builds; the index is a table of BundleEntryProtos, as TensorFlow writes it.
    """
    with tf1.Graph().as_default():
        build()
        tf1.train.Saver().export_meta_graph(f"{prefix}.meta")
    header = protos.BundleHeaderProto(num_shards=1)
    header.version.producer = 1
    pairs, end = [(b"", header.SerializeToString())], 0
    for name, shape in sorted(shapes.items()):
        entry = protos.BundleEntryProto(dtype=1, offset=end, size=4 * math.prod(shape))
        for size in shape:
            entry.shape.dim.add(size=size)
        entry.crc32c = mask_crc32c(_crc_of_zeros(entry.size))
        end += entry.size
        pairs.append((name.encode(), entry.SerializeToString()))
    with Path(f"{prefix}.data-00000-of-00001").open("wb") as file:
        file.truncate(end)
    Path(f"{prefix}.index").write_bytes(make_table(pairs))


def _crc_of_zeros(size: int) -> int:
    checksum, piece = 0, bytes(1 << 26)
    for start in range(0, size, len(piece)):
        checksum = google_crc32c.extend(checksum, piece[: size - start])
    return checksum
