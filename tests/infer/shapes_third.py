"""A third set: models whose labels are parts of the input, several heads, losses with shapes of their own."""

from __future__ import annotations

from typing import Any

from real_shapes import Cell, attend, feed, normalized, shape, weights
from typical_graphs import conv, dense, train

from serialization.tensorflow import np, tf, tf1


@shape("context", "model/logits")
def next_word_of_a_text() -> None:
    """The labels are the input, one word later; the logits of the last word are not judged."""
    context = feed("context", None, 8, dtype="int32")
    with tf1.variable_scope("model"):
        table = weights("wte", 30, 8)
        hidden = tf.gather(table, context) + tf.gather(weights("wpe", 8, 8), tf.range(8))
        hidden = attend(hidden, tf.ones([tf.shape(context)[0], 8]), "h0")
        flat = tf.matmul(tf.reshape(hidden, [-1, 8]), table, transpose_b=True)
        logits = tf.reshape(flat, [-1, 8, 30], name="logits")
    losses = tf1.nn.sparse_softmax_cross_entropy_with_logits(labels=context[:, 1:], logits=logits[:, :-1])
    train(tf.reduce_mean(losses))


@shape("board is_training", "policy value")
def moves_and_winner() -> None:
    board, training = feed("board", None, 3, 3, 2), feed("is_training", dtype="bool")
    target_pi, target_v = feed("target_pi", None, 9), feed("target_v", None)
    body = tf.nn.relu(normalized(conv(board, 4, "body", None), training, "bn"))
    flat = tf.reshape(body, [-1, 36])
    pi = dense(flat, 9, "pi")
    tf.nn.softmax(pi, name="policy")
    v = tf.tanh(dense(flat, 1, "v"), name="value")
    loss_pi = tf1.losses.softmax_cross_entropy(target_pi, pi)
    loss_v = tf1.losses.mean_squared_error(target_v, tf.reshape(v, [-1]))
    decay = 1e-4 * tf.add_n([tf.nn.l2_loss(variable) for variable in tf1.trainable_variables()])
    tf1.train.AdamOptimizer().minimize(loss_pi + loss_v + decay)


@shape("features keep_prob", "scores")
def many_labels_at_once() -> None:
    """Sigmoids; the prediction is rounded for metrics."""
    x, y, keep = feed("features", None, 12), feed("labels", None, 6), feed("keep_prob")
    logits = dense(tf1.nn.dropout(dense(x, 8, "fc1", tf.nn.relu), keep_prob=keep), 6, "fc2")
    scores = tf.sigmoid(logits, name="scores")
    hits = tf.cast(tf.equal(tf.round(scores), y), tf.float32)
    tf1.summary.scalar("accuracy", tf.reduce_mean(hits))
    tf1.summary.scalar("exact", tf.reduce_mean(tf.reduce_min(hits, 1)))
    train(tf.reduce_mean(tf1.nn.sigmoid_cross_entropy_with_logits(labels=y, logits=logits)))


@shape("image", "classes/Sigmoid boxes/BiasAdd")
def hard_examples_first() -> None:
    """A focal loss: weights of the terms are computed from the scores and the labels."""
    image, label = feed("image", None, 8, 8, 3), feed("label", None, 8, 8, 2)
    box, there = feed("box", None, 8, 8, 4), feed("positive", None, 8, 8)
    body = conv(image, 4, "body")
    logits, boxes = conv(body, 2, "classes", None), conv(body, 4, "boxes", None)
    with tf.name_scope("classes/"):
        scores = tf.sigmoid(logits)
    right = label * scores + (1 - label) * (1 - scores)
    alpha = label * 0.25 + (1 - label) * 0.75
    focal = -alpha * tf.pow(1 - right, 2.0) * tf.math.log(right + 1e-7)
    smooth = tf.abs(boxes - box)
    smooth = tf1.where(smooth < 1, 0.5 * tf.square(smooth), smooth - 0.5)
    count = tf.maximum(tf.reduce_sum(there), 1.0)
    train((tf.reduce_sum(focal) + tf.reduce_sum(smooth * there[..., None])) / count)


@shape("frames", "predicted")
def frames_to_come() -> None:
    """The frames that come later are labels and come with the same placeholder."""
    frames = feed("frames", None, 6, 4, 4, 1)
    flat = tf.reshape(frames, [-1, 6, 16])
    outputs, _ = tf1.nn.dynamic_rnn(Cell(8), flat[:, :-1], dtype=tf.float32)
    made = tf.sigmoid(tf.tensordot(outputs, weights("out", 8, 16), 1))
    predicted = tf.reshape(made, [-1, 5, 4, 4, 1], name="predicted")
    train(tf.reduce_mean(tf.square(predicted - frames[:, 1:])))


@shape("input_1", "decoded/Sigmoid")
def layers_that_restore_their_input() -> None:
    """As Keras writes an autoencoder: the target is fed apart, with weights for samples, and clipped in the loss."""
    x = feed("input_1", None, 16)
    hidden = dense(x, 4, "encoded", tf.nn.relu)
    with tf1.variable_scope("decoded"):
        made = tf.sigmoid(tf.matmul(hidden, weights("kernel", 4, 16)) + weights("bias", 16))
    target, sample = feed("decoded_target", None, None), feed("decoded_sample_weights", None)
    with tf.name_scope("loss/decoded_loss"):
        kept = tf.clip_by_value(made, 1e-7, 1 - 1e-7)
        logits = tf.math.log(kept / (1 - kept))
        losses = tf.reduce_mean(tf1.nn.sigmoid_cross_entropy_with_logits(labels=target, logits=logits), -1)
        weighted = losses * sample / tf.reduce_mean(tf.cast(tf.not_equal(sample, 0.0), tf.float32))
        loss = tf.reduce_mean(weighted) * 1.0
    with tf.name_scope("training/RMSprop"):
        tf1.train.RMSPropOptimizer(0.001).minimize(loss)


@shape("main/x_ph", "main/pi/Tanh")
def twin_critics() -> None:
    """Deterministic policy, two critics, delayed copies of all."""
    x, a, x2 = (feed(n, None, s) for n, s in (("main/x_ph", 4), ("main/a_ph", 2), ("target/x2_ph", 4)))
    r, d = feed("r_ph", None), feed("d_ph", None)

    def actor_critic(scope: str, state: Any, action: Any) -> tuple[Any, ...]:
        def critic(name: str, taken: Any) -> Any:
            with tf1.variable_scope(name, reuse=tf1.AUTO_REUSE):
                return tf.squeeze(dense(dense(tf.concat([state, taken], -1), 8, "h", tf.nn.relu), 1, "out"), 1)

        with tf1.variable_scope(scope, reuse=tf1.AUTO_REUSE), tf.name_scope(f"{scope}/"):
            with tf1.variable_scope("pi"), tf.name_scope(f"{scope}/pi/"):
                pi = tf.tanh(dense(dense(state, 8, "h", tf.nn.relu), 2, "out"))
            return pi, critic("q1", action), critic("q2", action), critic("q1", pi)

    _, q1, q2, q1_pi = actor_critic("main", x, a)
    aimed, *_ = actor_critic("target", x2, a)
    noise = tf.clip_by_value(tf.random.normal(tf.shape(aimed)) * 0.2, -0.5, 0.5)
    _, t1, t2, _ = actor_critic("target", x2, tf.clip_by_value(aimed + noise, -1.0, 1.0))
    backup = tf.stop_gradient(r + 0.99 * (1 - d) * tf.minimum(t1, t2))
    train(tf.reduce_mean((q1 - backup) ** 2) + tf.reduce_mean((q2 - backup) ** 2), "main/q")
    train(-tf.reduce_mean(q1_pi), "main/pi")
    pairs = (tf1.get_collection("trainable_variables", scope) for scope in ("target", "main"))
    [tf1.assign(there, 0.995 * there + 0.005 * here) for there, here in zip(*pairs, strict=True)]


@shape("x y_in", "out/MatMul")
def answer_of_two_inputs_without_training() -> None:
    """A checkpoint of an inference script: weights, no loss, no gradients, leftovers of experiments."""
    x, y = feed("x", None, 4), feed("y_in", None, 3)
    hidden = tf.tanh(dense(tf.concat([x, y], 1), 8, "hidden"))
    tf.shape(hidden)
    tf.reduce_mean(hidden)
    with tf1.variable_scope("out"):
        tf.matmul(hidden, weights("kernel", 8, 2))


@shape("IteratorGetNext:0 IteratorGetNext:1", "logits/BiasAdd")
def reader_of_two_kinds() -> None:
    """Images and numbers from one dataset, weights for the classes, an average of the loss."""
    rows = np.zeros([8, 8, 8, 3], "f"), np.zeros([8, 4], "f"), np.zeros([8], "i")
    data = tf1.data.Dataset.from_tensor_slices(rows).repeat().batch(4)
    image, numbers, label = tf1.data.make_initializable_iterator(data).get_next()
    seen = tf.reduce_mean(conv(image, 4, "conv"), [1, 2])
    logits = dense(tf.concat([seen, numbers], 1), 3, "logits")
    rare = tf.gather(tf.constant([1.0, 2.0, 5.0]), label)
    losses = tf1.nn.sparse_softmax_cross_entropy_with_logits(labels=label, logits=logits)
    loss = tf.reduce_mean(losses * rare)
    average = tf1.train.ExponentialMovingAverage(0.9, name="avg")
    with tf.control_dependencies([average.apply([loss])]):
        tf1.summary.scalar("loss_avg", average.average(loss))
        tf1.train.AdamOptimizer().minimize(tf.identity(loss))
