"""Graphs of a fixed batch size, and graphs with dropout in the forms of several versions of TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from serialization.formats import dtypes
from serialization.formats.file_kind import ModelFile
from serialization.graph.batch_axes import BatchAxis
from serialization.graph.batch_look import BatchLook
from serialization.graph.batch_nodes import BatchNodes
from serialization.graph.signature import Signature, make_signature
from serialization.sources.from_frozen import PreparedFrozenModel, prepare_frozen_model
from serialization.sources.frozen_reader import read_graph_file
from serialization.tensorflow import np, tf, tf1


def weights(*shape: int) -> Any:
    return tf.constant(np.random.default_rng(sum(shape)).normal(size=shape).astype("f") / 4)


def placeholder(batch: int, *shape: int, name: str = "x") -> Any:
    return tf1.placeholder(tf.float32, [batch, *shape], name=name)


def convolution(batch: int) -> None:
    """A flatten of [batch, -1] behind a convolution."""
    hidden = tf.nn.conv2d(placeholder(batch, 8, 8, 3), weights(3, 3, 3, 4), 1, "SAME")
    tf.nn.softmax(tf.reshape(hidden, [batch, -1]) @ weights(256, 5), name="y")


def computed_shape(batch: int) -> None:
    """A shape that is packed from numbers, one of them the batch."""
    flat = tf.reshape(placeholder(batch, 8, 8, 3), [batch, 192])
    tf.reduce_mean(tf.reshape(flat, tf.stack([batch, 8, 8, 3])), [1, 2], name="y")


def attention(batch: int) -> None:
    """Two heads: [batch * steps, size], [batch, steps, heads, size] and [batch * heads, steps, size]."""
    x = placeholder(batch, 6, 8)
    parts = (tf.reshape(tf.reshape(x, [batch * 6, 8]) @ weights(8, 8), [batch, 6, 2, 4]) for _ in range(3))
    q, k, v = (tf.reshape(tf.transpose(part, [0, 2, 1, 3]), [batch * 2, 6, 4]) for part in parts)
    seen = tf.matmul(tf.nn.softmax(tf.matmul(q, k, transpose_b=True)), v)
    joined = tf.transpose(tf.reshape(seen, [batch, 2, 6, 4]), [0, 2, 1, 3])
    tf.reshape(tf.reshape(joined, [-1, 8]) @ weights(8, 8), [batch, 6, 8], name="y")


def time_major(batch: int) -> None:
    """[steps * batch, size], where the batch is the inner factor."""
    steps = tf.transpose(placeholder(batch, 6, 8), [1, 0, 2])
    flat = tf.reshape(steps, [6 * batch, 8]) @ weights(8, 8)
    tf.transpose(tf.reshape(flat, [6, batch, 8]), [1, 0, 2], name="y")


def first_state(batch: int) -> None:
    """A constant of zeros for each row, joined to the rows."""
    tf.matmul(tf.concat([placeholder(batch, 4), tf.zeros([batch, 8])], 1), weights(12, 3), name="y")


def filled(batch: int) -> None:
    more = tf.raw_ops.Fill(dims=[batch, 8], value=1.5)
    tf.matmul(tf.concat([placeholder(batch, 4), more], 1), weights(12, 3), name="y")


def row_numbers(batch: int) -> None:
    """One number of each row, by a range of the batch."""
    x, place = placeholder(batch, 4), tf1.placeholder(tf.int32, [batch], name="place")
    rows = tf.raw_ops.Range(start=0, limit=batch, delta=1)
    tf.gather_nd(x, tf.stack([rows, place], 1), name="y")


def loop(batch: int) -> None:
    """A loop of TensorFlow 1 with arrays of tensors, and a first state of zeros."""
    x, kernel = placeholder(batch, 5, 4), weights(12, 8)
    steps = tf.TensorArray(tf.float32, 5, element_shape=[batch, 4]).unstack(tf.transpose(x, [1, 0, 2]))

    def step(i: Any, state: Any, out: Any) -> Any:
        state = tf.tanh(tf.concat([steps.read(i), state], 1) @ kernel)
        return i + 1, state, out.write(i, state)

    out = tf.TensorArray(tf.float32, 5, element_shape=[batch, 8])
    _, _, out = tf1.while_loop(lambda i, *_: i < 5, step, [0, tf.zeros([batch, 8]), out])
    tf.transpose(out.stack(), [1, 0, 2], name="y")


def deconvolution(batch: int) -> None:
    tf.nn.conv2d_transpose(placeholder(batch, 4, 4, 3), weights(3, 3, 5, 3), [batch, 8, 8, 5], 2, name="y")


def slices(batch: int) -> None:
    x = placeholder(batch, 6)
    tf.add(tf.slice(x, [0, 0], [batch, 3]), x[0:batch, 3:6], name="y")


def repeated(batch: int) -> None:
    tf.concat([placeholder(batch, 6), tf.tile(weights(1, 3), [batch, 1])], 1, name="y")


def ensured(batch: int) -> None:
    tf.ensure_shape(tf.nn.relu(placeholder(batch, 6)), [batch, 6], name="y")


def two_outputs(batch: int) -> None:
    a, b = placeholder(batch, 6, name="a"), placeholder(batch, 2, 3, name="b")
    tf.add(a, tf.reshape(b, [batch, 6]), name="y")
    tf.reduce_mean(b, [1, 2], name="mean")


def square(batch: int) -> None:
    """As many features as rows: the order of the elements alone says which is which. The rows end in axis 1."""
    x = placeholder(batch, batch) @ weights(batch, batch)
    tf.reshape(tf.transpose(tf.reshape(x, [batch, batch])), [batch, batch], name="y")


def joined_with_zeros(batch: int) -> None:
    """Two rearrangements before the one that shows how long the zeros have to be."""
    flat = tf.reshape(placeholder(batch, 6, 4), [batch, 24]) @ weights(24, 6)
    rows = tf.reshape(tf.reshape(flat, [batch * 2, 3]), [batch, 6])
    tf.concat([rows, tf.zeros([batch, 6])], 1, name="y")


def with_queries(batch: int) -> None:
    x = tf.reshape(placeholder(batch, 4), [batch, 1, 4])
    queries = tf.tile(tf.reshape(weights(3, 4), [1, 3, 4]), [batch, 1, 1])
    tf.reshape(tf.concat([x, queries], 1), [batch, 16], name="y")


def squeezed(batch: int) -> None:
    """Of one row, its axis has one element as well."""
    tf.squeeze(placeholder(batch, 1, 1, 6) if batch > 1 else placeholder(batch, 2, 6), name="y")


def in_a_function(batch: int) -> None:
    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def shape_twice(x: Any) -> Any:
        return tf.reshape(tf.reshape(x, [batch * 2, 3]), [batch, 6]) + tf.ones([batch, 6])

    tf.identity(shape_twice(placeholder(batch, 6)), name="y")


def in_functional_branches(batch: int) -> None:
    """A condition of TensorFlow 2, whose branches are functions."""
    x = placeholder(batch, 6)
    tf1.enable_control_flow_v2()
    y = tf.cond(tf.reduce_sum(x) > -1, lambda: tf.reshape(x, [batch, 2, 3]), lambda: tf.zeros([batch, 2, 3]))
    tf1.disable_control_flow_v2()
    tf.identity(y, name="y")


def in_a_functional_loop(batch: int) -> None:
    x = placeholder(batch, 6)
    tf1.enable_control_flow_v2()
    state = [0, x, tf.zeros([batch, 6])]
    *_, y = tf.while_loop(lambda i, *_: i < 3, lambda i, rows, total: (i + 1, rows * 2, total + rows), state)
    tf1.disable_control_flow_v2()
    tf.identity(y, name="y")


def joined_rows(batch: int) -> None:
    """More rows behind those of the batch."""
    tf.concat([placeholder(batch, 6), tf.zeros([4, 6])], 0, name="y")


def some_rows(batch: int) -> None:
    tf.strided_slice(placeholder(batch, 6), [0, 0], [batch - 1, 3], name="y")


def turned_rows(batch: int) -> None:
    tf.gather(placeholder(batch, 6), tf.constant(list(range(batch))[::-1]), name="y")


def padded_rows(batch: int) -> None:
    tf.pad(placeholder(batch, 6), [[0, 2], [0, 0]], name="y")


def summed(batch: int) -> None:
    tf.divide(tf.reduce_sum(placeholder(batch, 6), 0), float(batch), name="y")


def in_a_fixed_loop(batch: int) -> None:
    """A loop over the rows, of a fixed number."""
    x = placeholder(batch, 6)
    _, y = tf1.while_loop(lambda i, _: i < batch, lambda i, total: (i + 1, total + x[i]), [0, tf.zeros([6])])
    tf.identity(y, name="y")


def one_by_one(batch: int) -> None:
    tf.stack([row * 2 for row in tf.unstack(placeholder(batch, 6))], name="y")


def pairs_of_rows(batch: int) -> None:
    tf.reshape(placeholder(batch, 6), [batch // 2, 12], name="y")


def centred(batch: int) -> None:
    """Each row depends on the others."""
    x = placeholder(batch, 6)
    tf.subtract(x, tf.reduce_mean(x, 0), name="y")


def fixed_in_a_loop(batch: int) -> None:
    """A constant of the batch size inside of a loop, whose value the loop widens."""
    x = placeholder(batch, 4)

    def step(i: Any, state: Any) -> Any:
        return i + 1, tf.concat([state[:, 1:], tf.fill([batch, 1], 1.0)], 1)

    _, y = tf1.while_loop(lambda i, _: i < 3, step, [0, x], shape_invariants=[tf.TensorShape([]), x.shape])
    tf.identity(y, name="y")


def own_rows(batch: int) -> None:
    """Other numbers for each row."""
    tf.add(placeholder(batch, 6), weights(batch, 6), name="y")


def mean_of_all(batch: int) -> None:
    tf.reduce_mean(placeholder(batch, 6), name="y")


def zeros_for_layers(batch: int) -> None:
    """The first states of two layers in one constant: the batch is its second axis."""
    x = placeholder(batch, 4)
    for state in tf.unstack(tf.zeros([2, batch, 4])):
        x = tf.tanh(tf.concat([x, state], 1) @ weights(8, 4))
    tf.identity(x, name="y")


def numbers_of_positions(batch: int) -> None:
    ids = tf1.placeholder(tf.int32, [batch, 3], name="x")
    places = tf.constant(np.tile(np.arange(3, dtype="i"), [batch, 1]))
    tf.add(tf.gather(weights(5, 4), ids), tf.gather(weights(3, 4), places), name="y")


def first_of_each(batch: int) -> None:
    place = tf1.placeholder(tf.int32, [batch], name="place")
    rows = tf.raw_ops.Range(start=0, limit=batch, delta=1) * 6
    tf.gather(tf.reshape(placeholder(batch, 6, 4), [batch * 6, 4]), rows + place % 6, name="y")


def boxes(batch: int) -> None:
    """Two boxes in each image, in one list."""
    images = tf.constant(np.repeat(np.arange(batch, dtype="i"), 2))
    corners = tf.constant(np.tile(np.array([[0, 0, 1, 1], [0, 0, 0.5, 0.5]], "f"), [batch, 1]))
    crops = tf.image.crop_and_resize(placeholder(batch, 6, 6, 3), corners, images, [2, 2])
    tf.reshape(crops, [batch, 2, 2, 2, 3], name="y")


def scattered(batch: int) -> None:
    rows = tf.repeat(tf.raw_ops.Range(start=0, limit=batch, delta=1), 2)
    places = tf.stack([rows, tf.tile(tf.constant([4, 0]), [batch])], 1)
    tf.scatter_nd(places, tf.reshape(placeholder(batch, 2), [-1]), [batch, 6], name="y")


def two_towers(batch: int) -> None:
    """Two inputs behind each other in one batch, whose halves are compared."""
    a, b = placeholder(batch, 6, name="a"), placeholder(batch, 6, name="b")
    both = tf.reshape(tf.tanh(tf.concat([a, b], 0) @ weights(6, 4)), [2 * batch, 4])
    tf.subtract(both[:batch], both[batch:], name="y")


def decoder(batch: int) -> None:
    """A loop that starts with the same word in each row, and writes to an array that grows."""
    words, table = tf.constant(np.full(batch, 3, "i")), weights(5, 4)

    def step(i: Any, words: Any, state: Any, out: Any) -> Any:
        state = tf.tanh(tf.concat([tf.gather(table, words), state], 1) @ weights(8, 4))
        return i + 1, tf.argmax(state, 1, tf.int32), state, out.write(i, state)

    out = tf.TensorArray(tf.float32, 0, dynamic_size=True, element_shape=[batch, 4])
    *_, out = tf1.while_loop(lambda i, *_: i < 3, step, [0, words, placeholder(batch, 4), out])
    tf.reshape(tf.reshape(out.stack(), [3 * batch, 4]) @ weights(4, 2), [3, batch, 2], name="y")


def steps_first(batch: int) -> None:
    """Of one input the batch is the second axis, of the other one the first."""
    steps, state = placeholder(5, batch, 4), placeholder(batch, 4, name="state")
    for x in tf.unstack(steps):
        state = tf.tanh(tf.concat([x, state, tf.zeros([batch, 2])], 1) @ weights(10, 4))
    every = tf.reshape(tf.reshape(steps, [5 * batch, 4]) @ weights(4, 4), [5, batch, 4])
    tf.add(every, state, name="y")


def squeezed_and_back(batch: int) -> None:
    tf.reshape(tf.squeeze(placeholder(batch, 1, 6)) * 2, [batch, 6], name="y")


def added_as_bias(batch: int) -> None:
    """Keras adds what has one row as a bias."""
    x, state = placeholder(batch, 4), placeholder(batch, 4, name="state") @ weights(4, 4)
    tf.identity(tf.nn.bias_add(x, tf.squeeze(state)) if batch == 1 else x + tf.reshape(state, [batch, 4]), name="y")


FREED = (
    *(convolution, computed_shape, attention, time_major, first_state, filled, row_numbers, loop, deconvolution),
    *(slices, repeated, ensured, two_outputs, square, joined_with_zeros, with_queries, in_a_function),
    *(in_functional_branches, in_a_functional_loop, zeros_for_layers, numbers_of_positions, first_of_each, scattered),
    *(fixed_in_a_loop, two_towers, decoder, squeezed_and_back, added_as_bias),
)


def build(make: Callable[[], Any]) -> Any:
    """The GraphDef of what `make` makes, with the control flow of TensorFlow 1."""
    tf1.disable_control_flow_v2()
    try:
        with tf1.Graph().as_default() as graph:
            make()
    finally:
        tf1.enable_control_flow_v2()
    return graph.as_graph_def()


def sign(graph_def: Any, outputs: str = "y") -> Signature:
    """The signature of a graph by its placeholders, with the names as keys."""
    inputs = ",".join(node.name for node in graph_def.node if node.op == "Placeholder")
    with tf1.Graph().as_default() as graph:
        tf1.import_graph_def(graph_def, name="")
    return make_signature(graph, inputs, outputs)


def look_at(graph_def: Any, size: int = 4) -> BatchLook:
    """A look at a graph, all of whose placeholders have a batch; the probe for another size is empty."""
    fed = {tensor.name: tensor for tensor in sign(graph_def).inputs}
    name, tensor = next(iter(fed.items()))
    nodes = BatchNodes(graph_def, name, dtypes.get_dtype_number(tensor.dtype), BatchAxis(0))
    return BatchLook(nodes, fed, dict.fromkeys(fed, BatchAxis(0)), size)


def write(graph_def: Any, file: Path) -> Path:
    file.write_bytes(graph_def.SerializeToString())
    return file


def prepare(file: Path, graph_def: Any, **names: Any) -> PreparedFrozenModel:
    """The GraphDef as it is read from a file; `names` are inputs and outputs."""
    return prepare_frozen_model(read_graph_file(ModelFile(write(graph_def, file))), **names)


def list_ops(ready: PreparedFrozenModel) -> list[str]:
    return sorted(node.op for node in ready.graph_def.node)


def run(graph_def: Any, feeds: dict[str, Any], *outputs: str, seed: int | None = None) -> list[Any]:
    """The values of tensors of a GraphDef."""
    with tf1.Graph().as_default() as graph:
        tf1.set_random_seed(seed)
        tf1.import_graph_def(graph_def, name="")
    with tf1.Session(graph=graph) as session:
        return list(session.run([f"{name}:0" for name in outputs], {f"{n}:0": v for n, v in feeds.items()}))


def dropout(make: Callable[[Any], Any]) -> Any:
    """The GraphDef that computes y from x float32 [None, 4] by `make`."""
    return build(lambda: tf.identity(make(tf.nn.relu(tf1.placeholder(tf.float32, [None, 4], name="x"))), name="y"))


def uniform(x: Any) -> Any:
    return tf1.random_uniform(tf.shape(x))


def training() -> Any:
    return tf1.placeholder(tf.bool, [], name="training")


def rate() -> Any:
    return tf1.placeholder(tf.float32, [], name="rate")


def in_a_loop(x: Any) -> Any:
    return tf1.while_loop(lambda i, _: i < 3, lambda i, value: (i + 1, tf.nn.dropout(value, 0.5)), [0, x])[1]


def kept_by_default(x: Any) -> Any:
    on = tf1.placeholder_with_default(True, [], name="on")
    return tf1.cond(on, lambda: tf.nn.dropout(x, 0.5), lambda: x)


def beside_noise(x: Any) -> Any:
    return tf.nn.dropout(x, 0.5) + tf1.random_normal([4], name="noise")


def floor_of_a_rate(x: Any) -> Any:
    keep = 1 - rate()
    return tf.divide(x, keep) * tf.floor(keep + uniform(x))


# With the number of layers.
DROPOUT: dict[str, tuple[Callable[[Any], Any], int]] = {
    "by floor, up to 1.12": (lambda x: tf.raw_ops.Div(x=x, y=0.9) * tf.floor(0.9 + uniform(x)), 1),
    "by floor, in 1.13": (floor_of_a_rate, 1),
    "by a cast mask": (lambda x: x * np.float32(1 / 0.7) * tf.cast(uniform(x) >= 0.3, tf.float32), 1),
    "by a scaled mask": (lambda x: x * (tf.cast(uniform(x) >= 0.3, tf.float32) * np.float32(1 / 0.7)), 1),
    "scaled behind": (lambda x: x * tf.cast(uniform(x) < 0.7, tf.float32) / 0.7, 1),
    "by a selection": (lambda x: tf.nn.dropout(x, 0.3), 1),
    "by what is dropped": (lambda x: tf.where(uniform(x) < 0.3, tf.zeros_like(x), x / 0.7), 1),
    "of half precision": (lambda x: tf.cast(tf.nn.dropout(tf.cast(x, tf.float16), 0.3), tf.float32), 1),
    "of one mask for all rows": (lambda x: tf.nn.dropout(x, 0.3, noise_shape=[1, 4]), 1),
    "twice": (lambda x: tf.nn.dropout(tf.nn.dropout(x, 0.3), 0.2), 2),
    "by a stateless random op": (lambda x: tf.nn.experimental.stateless_dropout(x, 0.3, seed=[1, 2]), 1),
    "of a rate that is fed": (lambda x: tf.nn.dropout(x, rate()), 1),
    "of a share that is fed": (lambda x: tf1.nn.dropout(x, keep_prob=tf1.placeholder(tf.float32, [], name="keep")), 1),
    "by a switch": (lambda x: tf1.cond(training(), lambda: tf.nn.dropout(x, 0.5), lambda: x), 1),
    "by a switch with a default": (kept_by_default, 1),
    "in a loop": (in_a_loop, 1),
    "without a scale": (lambda x: x * tf.cast(uniform(x) < 0.7, tf.float32), 0),
    "noise": (lambda x: x + uniform(x), 0),
    "of more than all": (lambda x: x * tf.floor(uniform(x) + 3.0), 0),
}
