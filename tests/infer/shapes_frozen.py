"""Graphs as they are left after freezing, or with parts that nobody uses: second outputs, shapes, loops, replicas."""

from __future__ import annotations

from typing import Any

from real_shapes import Cell, feed, shape, weights
from typical_graphs import conv, cross_entropy, dense, train

from serialization.tensorflow import np, tf, tf1


@shape("x", "cond/Merge", frozen="cond/Merge")
def one_of_two_branches() -> None:
    x = feed("x", None, 4)
    y = dense(x, 4, "fc")
    tf1.cond(tf.reduce_sum(y) > 0, lambda: tf.nn.relu(y), lambda: tf.cond(y[0, 0] > 1, lambda: -y, lambda: y + 1))


@shape("x", "concat concat_1 concat_2", frozen="concat concat_1 concat_2", saver=False)
def sequence_and_its_states() -> None:
    x = feed("x", 2, 4, 5)
    outputs, states = tf1.nn.bidirectional_dynamic_rnn(Cell(3), Cell(3), x, dtype=tf.float32)
    tf.concat(outputs, -1, name="concat")
    for number, (c, h) in enumerate(states):
        tf.concat([c, h], 1, name=f"concat_{number + 1}")


@shape("limit", "while/Exit while/Exit_1", frozen="while/Exit while/Exit_1")
def loop_that_counts() -> None:
    limit = feed("limit", dtype="int32")
    tf1.while_loop(lambda i, _: i < limit, lambda i, total: (i + 1, total + i), (0, 0))


@shape("x", "TensorArrayStack/TensorArrayGatherV3 joined", frozen="TensorArrayStack/TensorArrayGatherV3 joined")
def lists_of_tensors() -> None:
    x = feed("x", 3, 4)
    rows = tf1.TensorArray(tf.float32, 3).unstack(x)
    rows.stack()
    lengths = tf1.TensorArray(tf.float32, 2).split(tf.reshape(x, [12]), [5, 7])
    tf.multiply(lengths.concat(), 2.0, name="doubled")
    tf.identity(lengths.concat(name="array"), name="joined")


@shape("input", "Identity Identity_1", frozen="Identity Identity_1", functions=True)
def one_function_inlined() -> None:
    """The graph that TensorFlow 2's convert_variables_to_constants_v2 makes of a model with two heads."""
    x = feed("input", None, 4)
    hidden = dense(x, 8, "model/dense", tf.nn.relu)
    tf.identity(tf.nn.softmax(dense(hidden, 3, "model/kind")), name="Identity")
    tf.identity(dense(hidden, 1, "model/size"), name="Identity_1")


@shape("x", "final/Dequantize", frozen="final/Dequantize")
def eight_bits() -> None:
    raw, x = tf1.raw_ops, feed("x", None, 4)
    values = raw.QuantizeV2(input=x, min_range=-6.0, max_range=6.0, T=tf.quint8, mode="MIN_FIRST", name="x_quantized")
    kernel = tf.constant(np.ones([4, 3], "f"))
    kernel = raw.QuantizeV2(input=kernel, min_range=-1.0, max_range=1.0, T=tf.quint8, mode="MIN_FIRST")
    product = raw.QuantizedMatMul(
        a=values.output, b=kernel.output, min_a=values.output_min, max_a=values.output_max,
        min_b=kernel.output_min, max_b=kernel.output_max, Toutput=tf.qint32,
    )  # fmt: skip
    smaller = raw.QuantizeDownAndShrinkRange(
        input=product.out, input_min=product.min_out, input_max=product.max_out, out_type=tf.quint8
    )
    relu = raw.QuantizedRelu(
        features=smaller.output, min_features=smaller.output_min, max_features=smaller.output_max, out_type=tf.quint8
    )
    raw.Dequantize(
        input=relu.activations, min_range=relu.min_activations, max_range=relu.max_activations, mode="MIN_FIRST",
        name="final/Dequantize",
    )  # fmt: skip


@shape("images", "act_quant/FakeQuantWithMinMaxVars")
def trained_for_eight_bits() -> None:
    images, labels = feed("images", None, 8, 8, 3), feed("labels", None, dtype="int64")
    logits = dense(tf.reduce_mean(conv(images, 4, "conv"), [1, 2]), 5, "fc")
    with tf1.variable_scope("act_quant"):
        low, high = weights("min", trainable=False), weights("max", trainable=False)
    with tf.control_dependencies([tf1.assign(high, tf.reduce_max(logits))]):
        high = tf.identity(high)
    with tf.name_scope("act_quant/"):
        logits = tf.quantization.fake_quant_with_min_max_vars(logits, low, high)
    train(cross_entropy(labels, logits))


@shape("x", "y", frozen="y batch_shape/Shape rows sizes")
def shapes_left_over() -> None:
    x = feed("x", None, 4)
    y = tf.identity(dense(x, 3, "fc"), name="y")
    with tf.name_scope("batch_shape"):
        shape = tf.shape(y)
    tf.identity(shape[0], name="rows")
    tf.stack([shape[0], 3, 1], name="sizes")


@shape("x gate", "scores", frozen="scores")
def gate_after_the_weights() -> None:
    x, gate = feed("x", None, 4), feed("gate", None, 3)
    tf.identity(tf.nn.softmax(dense(x, 3, "fc")) * gate, name="scores")


@shape(
    "image",
    " ".join(f"boxes/CombinedNonMaxSuppression:{n}" for n in range(4)),
    frozen="boxes/CombinedNonMaxSuppression",
)
def boxes_of_a_batch() -> None:
    """One op has four results."""
    image = feed("image", None, 8, 8, 3)
    features = conv(image, 4, "features")
    places = tf.reshape(conv(features, 4, "places", None), [-1, 64, 1, 4])
    scores = tf.sigmoid(tf.reshape(conv(features, 2, "scores", None), [-1, 64, 2]))
    tf.image.combined_non_max_suppression(places, scores, 5, 10, name="boxes")


@shape("query", "best:0 best:1", frozen="best")
def nearest_neighbours() -> None:
    scores = tf.matmul(feed("query", None, 4), weights("index", 4, 20))
    tf.math.top_k(scores, 5, name="best")


@shape("x state_in", "y state_out", frozen="y state_out")
def one_step_of_a_recurrence() -> None:
    x, state = feed("x", 1, 4), feed("state_in", 1, 16)
    hidden, (c, h) = Cell(8)(x, tuple(tf.split(state, 2, 1)))
    tf.concat([c, h], 1, name="state_out")
    tf.sigmoid(dense(hidden, 1, "fc"), name="y")


@shape("image", "logits")
def branch_that_was_given_up() -> None:
    """A deeper head was tried; it is still built, but no loss knows it."""
    image, labels = feed("image", None, 8, 8, 3), feed("labels", None, dtype="int64")
    trunk = conv(image, 4, "trunk")
    flat = tf.reduce_mean(trunk, [1, 2])
    logits = tf.identity(dense(flat, 5, "fc"), name="logits")
    dense(dense(tf.reduce_mean(conv(trunk, 8, "deeper"), [1, 2]), 8, "more", tf.nn.relu), 5, "more_logits")
    train(cross_entropy(labels, logits))


@shape("input_tensor", "softmax_tensor")
def replicas() -> None:
    """Mirrored training: the second replica shares the weights, under names of its own."""
    with tf.name_scope("split_inputs"):
        tf.zeros([1])
    x = feed("input_tensor", None, 6)
    losses = []
    for number, part in enumerate(tf.split(x, 2)):
        with tf.name_scope(f"replica_{number}/" if number else ""):
            hidden = dense(part if number else x, 8, "hidden", tf.nn.relu)
            logits = dense(hidden, 3, "final_dense")
            labels = feed("labels", None, dtype="int64")
            tf.nn.softmax(logits, name="softmax_tensor")
            losses.append(cross_entropy(labels, logits))
    train(tf.add_n(losses))


@shape("replica_0/x", "replica_0/scores", saver=True)
def replicas_that_only_serve() -> None:
    for number in range(2):
        with tf.name_scope(f"replica_{number}/"):
            x = feed("x", None, 6)
            tf.nn.softmax(dense(dense(x, 8, "hidden", tf.nn.relu), 3, "fc"), name="scores")


@shape("tokens", "answer", functions=True)
def words_one_after_the_other() -> None:
    """A While op whose other results nobody wants."""
    tokens = feed("tokens", None, 4, dtype="int32")
    words, kernel = weights("words", 20, 8, resource=True), weights("kernel", 8, 20, resource=True)

    def step(time: Any, last: Any, score: Any) -> tuple[Any, ...]:
        logits = tf.matmul(tf.gather(words, last), kernel)
        return time + 1, tf.argmax(logits, 1, output_type=tf.int32), score + tf.reduce_max(logits, 1)

    first = (0, tokens[:, -1], tf.zeros([tf.shape(tokens)[0]]))
    _, last, _ = tf.while_loop(lambda time, *_: time < 5, step, first)
    tf.identity(last, name="answer")
