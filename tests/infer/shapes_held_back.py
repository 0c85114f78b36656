"""Graphs that were written when the rules were done, to see how the rules do on graphs that they were not made for."""

from __future__ import annotations

from typing import Any

from real_shapes import Cell, feed, shape, weights
from typical_graphs import conv, cross_entropy, dense, train

from serialization.tensorflow import np, tf, tf1


@shape("IteratorGetNext", "softmax_tensor")
def model_function_in_training() -> None:
    """An Estimator's model_fn: classes and probabilities are computed in every mode."""
    rows = {"x": np.zeros([12, 64], "f")}, np.zeros([12], "i")
    data = tf1.data.Dataset.from_tensor_slices(rows).shuffle(12).repeat().batch(4)
    features, labels = tf1.data.make_one_shot_iterator(data).get_next()
    image = tf.reshape(features["x"], [-1, 8, 8, 1])
    flat = tf.reshape(conv(image, 2, "conv2d"), [-1, 128])
    logits = dense(tf1.nn.dropout(dense(flat, 8, "dense", tf.nn.relu), rate=0.4), 10, "dense_1")
    predictions = {"classes": tf.argmax(logits, axis=1), "probabilities": tf.nn.softmax(logits, name="softmax_tensor")}
    tf1.metrics.accuracy(labels, predictions["classes"])
    loss = tf1.losses.sparse_softmax_cross_entropy(labels, logits)
    tf1.train.GradientDescentOptimizer(0.001).minimize(loss, tf1.train.get_or_create_global_step())


@shape("x keep_prob", "results/truediv")
def softmax_of_ones_own_per_pixel() -> None:
    x, y = feed("x", None, None, None, 3), feed("y", None, None, None, 2)
    keep = feed("keep_prob")
    hidden = tf1.nn.dropout(conv(x, 4, "down"), keep)
    logits = conv(hidden, 2, "up", None)
    with tf.name_scope("cost"):
        flat = tf.reshape(logits, [-1, 2]), tf.reshape(y, [-1, 2])
        cost = tf.reduce_mean(tf1.nn.softmax_cross_entropy_with_logits_v2(logits=flat[0], labels=flat[1]))
    with tf.name_scope("results"):
        exponential = tf.exp(logits - tf.reduce_max(logits, axis=3, keepdims=True))
        predicter = exponential / tf.reduce_sum(exponential, axis=3, keepdims=True)
        right = tf.equal(tf.argmax(predicter, 3), tf.argmax(y, 3))
        tf.reduce_mean(tf.cast(right, tf.float32))
    train(cost)


@shape("Placeholder", "Softmax")
def unrolled_cells() -> None:
    x, y = tf1.placeholder(tf.float32, [None, 4, 6]), tf1.placeholder(tf.float32, [None, 3])
    outputs, _ = tf1.nn.static_rnn(Cell(8), tf.unstack(x, 4, 1), dtype=tf.float32)
    logits = tf.matmul(outputs[-1], weights("out", 8, 3)) + weights("bias", 3)
    prediction = tf.nn.softmax(logits)
    loss = tf.reduce_mean(tf1.nn.softmax_cross_entropy_with_logits_v2(logits=logits, labels=y))
    tf1.train.GradientDescentOptimizer(0.1).minimize(loss)
    tf.reduce_mean(tf.cast(tf.equal(tf.argmax(prediction, 1), tf.argmax(y, 1)), tf.float32))


@shape("x y", "preds")
def translator_with_shifted_targets() -> None:
    """The targets, shifted by one, are the decoder's input; smoothed, they are the labels."""
    x, y = feed("x", None, 6, dtype="int32"), feed("y", None, 6, dtype="int32")
    before = tf.concat([tf.ones_like(y[:, :1]) * 2, y[:, :-1]], -1)
    source = dense(tf.gather(weights("source", 20, 8), x), 8, "encoder", tf.nn.relu)
    target = dense(tf.gather(weights("target", 20, 8), before), 8, "decoder", tf.nn.relu)
    mixed = tf.matmul(tf.nn.softmax(tf.matmul(target, source, transpose_b=True)), source) + target
    logits = dense(mixed, 20, "out")
    preds = tf.cast(tf.argmax(logits, -1), tf.int32, name="preds")
    wanted = tf.cast(tf.not_equal(y, 0), tf.float32)
    tf1.summary.scalar("acc", tf.reduce_sum(tf.cast(tf.equal(preds, y), tf.float32) * wanted) / tf.reduce_sum(wanted))
    smoothed = 0.9 * tf.one_hot(y, 20) + 0.1 / 20
    loss = tf1.nn.softmax_cross_entropy_with_logits_v2(logits=logits, labels=smoothed)
    train(tf.reduce_sum(loss * wanted) / tf.reduce_sum(wanted))


@shape(
    "features/shape features/values features/indices support/shape support/values support/indices",
    "graphconvolution_2/SparseTensorDenseMatMul/SparseTensorDenseMatMul",
)
def graph_convolutions() -> None:
    """Sparse features and neighbours; some nodes have labels, a mask tells which."""
    features = tf1.sparse_placeholder(tf.float32, name="features")
    support = tf1.sparse_placeholder(tf.float32, name="support")
    labels, mask = feed("labels", None, 3), feed("labels_mask", None, dtype="int32")
    dropout = tf1.placeholder_with_default(0.0, [], name="dropout")
    with tf1.variable_scope("graphconvolution_1"):
        made = tf.sparse.sparse_dense_matmul(features, weights("weights", 10, 4))
        hidden = tf.nn.relu(tf.sparse.sparse_dense_matmul(support, made))
    with tf1.variable_scope("graphconvolution_2"):
        made = tf.matmul(tf1.nn.dropout(hidden, rate=dropout), weights("weights", 4, 3))
        outputs = tf.sparse.sparse_dense_matmul(support, made)
    known = tf.cast(mask, tf.float32)
    known /= tf.reduce_mean(known)
    loss = tf.reduce_mean(tf1.nn.softmax_cross_entropy_with_logits_v2(logits=outputs, labels=labels) * known)
    right = tf.cast(tf.equal(tf.argmax(outputs, 1), tf.argmax(labels, 1)), tf.float32)
    tf.reduce_mean(right * known)
    train(loss + 5e-4 * tf.nn.l2_loss(tf1.trainable_variables()[0]))


@shape("doc_a", "score/out/BiasAdd")
def which_of_two_documents() -> None:
    """Trained by the difference of two scores of one network, used to score one document at a time."""
    a, b = feed("doc_a", None, 6), feed("doc_b", None, 6)

    def score(x: Any) -> Any:
        with tf1.variable_scope("score", reuse=tf1.AUTO_REUSE):
            return dense(dense(x, 8, "hidden", tf.nn.relu), 1, "out")

    difference = tf.subtract(score(a), score(b), name="o_ij")
    train(tf.reduce_mean(tf.math.log(1.0 + tf.exp(-difference))))


@shape("exemplar search", "response")
def patch_in_a_picture() -> None:
    """The features of one image are the kernel of a convolution over those of the other."""
    exemplar, search = feed("exemplar", 1, 4, 4, 3), feed("search", 1, 12, 12, 3)
    with tf1.variable_scope("branch", reuse=tf1.AUTO_REUSE):
        kernel, image = conv(exemplar, 4, "conv", None), conv(search, 4, "conv", None)
    kernel = tf.transpose(kernel, [1, 2, 3, 0])
    found = tf1.nn.conv2d(image, kernel, [1, 1, 1, 1], "VALID")
    tf.add(0.01 * found, weights("adjust_bias", 1), name="response")


@shape("Placeholder", "Sigmoid_1")
def exclusive_or() -> None:
    x, y = tf1.placeholder(tf.float32, [4, 2]), tf1.placeholder(tf.float32, [4, 1])
    hidden = tf.sigmoid(tf.matmul(x, weights("t1", 2, 2)) + weights("b1", 2))
    made = tf.sigmoid(tf.matmul(hidden, weights("t2", 2, 1)) + weights("b2", 1))
    cost = tf.reduce_mean((y * tf.math.log(made)) + ((1 - y) * tf.math.log(1.0 - made))) * -1
    tf1.train.GradientDescentOptimizer(0.01).minimize(cost)


@shape("batch:0", "generator/Tanh")
def pairs_of_pictures() -> None:
    """Pairs come out of a queue; the critic sees each with its input; pictures go to summaries alone."""
    both = tf.random.uniform([8, 16, 3])
    inputs, targets = tf1.train.batch([both[:, :8], both[:, 8:]], 2)
    with tf1.variable_scope("generator"):
        made = tf.tanh(conv(conv(inputs, 4, "encoder"), 3, "decoder", None))

    def judge(image: Any) -> Any:
        with tf1.variable_scope("discriminator", reuse=tf1.AUTO_REUSE):
            return tf.sigmoid(conv(conv(tf.concat([inputs, image], 3), 4, "layer_1"), 1, "layer_2", None))

    real, fake = judge(targets), judge(made)
    with tf.name_scope("summaries"):
        for name, image in (("inputs", inputs), ("targets", targets), ("outputs", made)):
            shown = tf.image.convert_image_dtype((image + 1) / 2, tf.uint8, saturate=True)
            tf1.summary.image(name, shown)
    train(tf.reduce_mean(-(tf.math.log(real + 1e-12) + tf.math.log(1 - fake + 1e-12))), "discriminator")
    gan = tf.reduce_mean(-tf.math.log(fake + 1e-12)) + 100.0 * tf.reduce_mean(tf.abs(targets - made))
    train(gan, "generator")


@shape("input_1", "Identity", frozen="Identity", functions=True)
def layers_of_two_frozen() -> None:
    """A recurrent layer as TensorFlow 2 freezes it: a While op, of which one result is used."""
    x = feed("input_1", None, 5, 4)
    outputs, _ = tf1.nn.dynamic_rnn(Cell(8, resource=True), x, dtype=tf.float32)
    tf.identity(tf.sigmoid(dense(outputs[:, -1], 1, "dense")), name="Identity")


@shape("input_example_tensor", "head/predictions/probabilities head/predictions/class_string_lookup/LookupTableFindV2")
def export_with_names_of_classes() -> None:
    """Three classes with names: a table gives the name of the best one."""
    texts = tf1.placeholder(tf.string, [None], name="input_example_tensor")
    read = tf.io.parse_example(texts, {"a": tf.io.FixedLenFeature([4], tf.float32)})
    logits = dense(dense(read["a"], 8, "hiddenlayer_0", tf.nn.relu), 3, "logits")
    names = tf.lookup.KeyValueTensorInitializer(tf.range(3, dtype=tf.int64), ["low", "middle", "high"])
    table = tf.lookup.StaticHashTable(names, "unknown")
    with tf.name_scope("head/predictions"):
        tf.nn.softmax(logits, name="probabilities")
        ids = tf.expand_dims(tf.argmax(logits, -1), -1, name="class_ids")
        table.lookup(ids, name="class_string_lookup")


@shape("audio audio_lengths", "CTCGreedyDecoder:0 CTCGreedyDecoder:1 CTCGreedyDecoder:2")
def letters_by_the_best_path() -> None:
    audio, lengths = feed("audio", None, None, 6), feed("audio_lengths", None, dtype="int32")
    labels = tf1.sparse_placeholder(tf.int32, name="labels")
    hidden = dense(dense(audio, 8, "dense", tf.nn.relu), 5, "logits")
    timewise = tf.transpose(hidden, [1, 0, 2])
    loss = tf.reduce_mean(tf1.nn.ctc_loss(labels, timewise, lengths))
    decoded, _ = tf1.nn.ctc_greedy_decoder(timewise, lengths)
    errors = tf.reduce_mean(tf.edit_distance(tf.cast(decoded[0], tf.int32), labels))
    tf1.summary.scalar("ler", errors)
    train(loss)


@shape("x", "depth/BiasAdd normal/BiasAdd kind/BiasAdd")
def three_tasks_with_weights_learned() -> None:
    """Each loss is weighted by a number that is learned too."""
    x, depth, normal = feed("x", None, 8), feed("y_depth", None, 1), feed("y_normal", None, 3)
    kind = feed("y_kind", None, dtype="int64")
    hidden = dense(x, 8, "trunk", tf.nn.relu)
    heads = [dense(hidden, units, name) for name, units in (("depth", 1), ("normal", 3), ("kind", 5))]
    losses = [
        tf.reduce_mean(tf.abs(heads[0] - depth)),
        tf.reduce_mean(tf.square(heads[1] - normal)),
        cross_entropy(kind, heads[2]),
    ]
    spread = weights("log_vars", 3)
    train(tf.add_n([tf.exp(-spread[i]) * loss + spread[i] for i, loss in enumerate(losses)]))


@shape("true_encoder_input", "predictions")
def series_that_goes_on() -> None:
    """The decoder feeds itself in a loop; what comes later is only in the loss."""
    x, later = feed("true_encoder_input", None, 10, 1), feed("true_decoder_output", None, 5, 1)
    _, (c, h) = tf1.nn.dynamic_rnn(Cell(8), x, dtype=tf.float32, scope="encoder")
    cell, kernel = Cell(8), weights("kernel", 8, 1)

    def step(time: Any, c: Any, h: Any, last: Any, results: Any) -> tuple[Any, ...]:
        out, (c, h) = cell(last, (c, h), scope="decoder_cell")
        made = tf.matmul(out, kernel)
        return time + 1, c, h, made, results.write(time, made)

    *_, results = tf1.while_loop(
        lambda time, *_: time < 5, step, (0, c, h, x[:, -1], tf1.TensorArray(tf.float32, 5)), name="decoder"
    )
    predictions = tf.transpose(results.stack(), [1, 0, 2], name="predictions")
    train(tf.reduce_mean(tf.abs(predictions - later)))


@shape("images_placeholder", "concat")
def clips_on_two_devices() -> None:
    """One batch is cut into parts for two towers; their results are joined."""
    images, labels = feed("images_placeholder", 4, 8, 8, 3), feed("labels_placeholder", 4, dtype="int64")
    logits, optimizer, found = [], tf1.train.AdamOptimizer(), []
    for number in range(2):
        with tf.name_scope(f"gpu_{number}"):
            part = conv(images[2 * number : 2 * number + 2], 4, "c1")
            logits.append(dense(tf.reduce_mean(part, [1, 2]), 5, "out"))
            loss = cross_entropy(labels[2 * number : 2 * number + 2], logits[-1])
            found.append(optimizer.compute_gradients(loss))
    joined = tf.concat(logits, 0)
    right = tf.equal(tf.argmax(joined, 1), labels)
    tf1.summary.scalar("accuracy", tf.reduce_mean(tf.cast(right, tf.float32)))
    optimizer.apply_gradients([(sum(g for g, _ in pair) / 2, pair[0][1]) for pair in zip(*found, strict=True)])
