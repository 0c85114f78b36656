"""A second set of graphs that the rules had not seen, after projects whose models people hand on."""

from __future__ import annotations

from typing import Any

from real_shapes import Cell, feed, normalized, right, shape, weights
from typical_graphs import conv, cross_entropy, dense, train

from serialization.tensorflow import np, tf, tf1


@shape("Placeholder", "add_1")
def game_without_names() -> None:
    """Q values of frames; the action is one-hot, the target is computed outside."""
    s = tf1.placeholder(tf.float32, [None, 16])
    hidden = tf.nn.relu(tf.matmul(s, weights("w1", 16, 8)) + weights("b1", 8))
    readout = tf.matmul(hidden, weights("w2", 8, 2)) + weights("b2", 2)
    a, y = tf1.placeholder(tf.float32, [None, 2]), tf1.placeholder(tf.float32, [None])
    readout_action = tf.reduce_sum(tf.multiply(readout, a), axis=1)
    tf1.train.AdamOptimizer(1e-6).minimize(tf.reduce_mean(tf.square(y - readout_action)))


@shape("inputs/inputs keep_prob", "predictions")
def poems_by_letters() -> None:
    """Two layers; the first state is a tensor of zeros, which the sampler overrides."""
    with tf.name_scope("inputs"):
        ids, targets = feed("inputs", 4, 6, dtype="int32"), feed("targets", 4, 6, dtype="int32")
    keep = feed("keep_prob")
    lines = tf.nn.embedding_lookup(weights("embedding", 30, 8), ids)
    for layer in range(2):
        state = Cell(8).zero_state(4, tf.float32)
        lines, _ = tf1.nn.dynamic_rnn(Cell(8), tf1.nn.dropout(lines, keep), initial_state=state, scope=f"rnn_{layer}")
    logits = tf.matmul(tf.reshape(tf.concat(lines, 1), [-1, 8]), weights("softmax_w", 8, 30)) + weights("softmax_b", 30)
    tf.nn.softmax(logits, name="predictions")
    wanted = tf.reshape(tf.one_hot(targets, 30), tf.shape(logits))
    loss = tf.reduce_mean(tf1.nn.softmax_cross_entropy_with_logits_v2(logits=logits, labels=wanted))
    gradients, _ = tf.clip_by_global_norm(tf.gradients(loss, tf1.trainable_variables()), 5)
    tf1.train.AdamOptimizer(0.001).apply_gradients(zip(gradients, tf1.trainable_variables(), strict=True))


@shape("X_content", "add_1")
def painter_of_one_style() -> None:
    """The style is a constant; content, style and smoothness are losses; nothing has a name."""
    x = feed("X_content", 2, 8, 8, 3)
    rng = np.random.default_rng(0)
    filters = [tf.constant(rng.normal(size=(3, 3, n, 4)).astype("f")) for n in (3, 4)]

    def look(image: Any) -> list[Any]:
        seen = [image - tf.constant([123.68, 116.779, 103.939])]
        for kernel in filters:
            seen.append(tf.nn.relu(tf1.nn.conv2d(seen[-1], kernel, [1, 1, 1, 1], "SAME")))
        return seen[1:]

    hidden = conv(x / 255.0, 4, "conv1")
    hidden = hidden + conv(hidden, 4, "residual")
    preds = tf.tanh(conv(hidden, 3, "conv_t3", None)) * 150 + 255.0 / 2
    seen, wanted = look(preds), look(x)
    content = 2 * tf.nn.l2_loss(seen[1] - wanted[1]) / 64
    flat = tf.reshape(seen[0], [2, 64, 4])
    gram = tf.matmul(tf.transpose(flat, [0, 2, 1]), flat) / 256
    style = 2 * tf.nn.l2_loss(gram - tf.constant(rng.normal(size=(4, 4)).astype("f")))
    rough = tf.nn.l2_loss(preds[:, 1:] - preds[:, :-1]) + tf.nn.l2_loss(preds[:, :, 1:] - preds[:, :, :-1])
    tf1.train.AdamOptimizer(1e-3).minimize(content + style + 200 * rough)


@shape("Placeholder Placeholder_2", "fc8/fc8")
def last_layers_trained_anew() -> None:
    """Only the last layers are in var_list; histograms of gradients and variables are written."""
    x, y, keep = (
        tf1.placeholder(tf.float32, [4, 8, 8, 3]),
        tf1.placeholder(tf.float32, [4, 2]),
        tf1.placeholder(tf.float32),
    )
    flat = tf.reshape(conv(x, 4, "conv1"), [4, -1])
    hidden = tf1.nn.dropout(dense(flat, 8, "fc7", tf.nn.relu), keep)
    with tf1.variable_scope("fc8"):
        score = tf1.nn.xw_plus_b(hidden, weights("weights", 8, 2), weights("biases", 2), name="fc8")
    with tf.name_scope("cross_ent"):
        loss = tf.reduce_mean(tf1.nn.softmax_cross_entropy_with_logits_v2(logits=score, labels=y))
    with tf.name_scope("train"):
        chosen = tf1.get_collection("trainable_variables", "fc8")
        pairs = list(zip(tf.gradients(loss, chosen), chosen, strict=True))
        tf1.train.GradientDescentOptimizer(0.01).apply_gradients(grads_and_vars=pairs)
    for gradient, variable in pairs:
        tf1.summary.histogram(variable.op.name + "/gradient", gradient)
    with tf.name_scope("accuracy"):
        hits = tf.equal(tf.argmax(score, 1), tf.argmax(y, 1))
        tf1.summary.scalar("accuracy", tf.reduce_mean(tf.cast(hits, tf.float32)))


@shape(
    "input_node input_lengths previous_state_c previous_state_h",
    "logits new_state_c new_state_h",
    frozen="logits new_state_c new_state_h",
)
def sound_in_pieces() -> None:
    """A stream: the state goes in and out; lengths bound the loop."""
    sound, lengths = feed("input_node", 1, 16, 6), feed("input_lengths", 1, dtype="int32")
    state = feed("previous_state_c", 1, 8), feed("previous_state_h", 1, 8)
    hidden = dense(sound, 8, "layer_1", tf.nn.relu)
    outputs, (c, h) = tf1.nn.dynamic_rnn(Cell(8), hidden, lengths, initial_state=state)
    tf.nn.softmax(dense(outputs, 5, "layer_6"), name="logits")
    tf.identity(c, name="new_state_c")
    tf.identity(h, name="new_state_h")


@shape("image", "heatmap offset_2 displacement_fwd_2", frozen="heatmap offset_2 displacement_fwd_2")
def poses_of_people() -> None:
    image = feed("image", 1, None, None, 3)
    body = conv(image, 4, "body")
    tf.sigmoid(conv(body, 17, "heat", None), name="heatmap")
    for name, filters in (("offset_2", 34), ("displacement_fwd_2", 32)):
        tf.identity(conv(body, filters, name + "/conv", None), name=name)


@shape("image_feed input_feed lm/state_feed", "softmax lm/state lm/initial_state")
def captions_one_word_at_a_time() -> None:
    """Restored for inference: one call gives the first state of an image, the others a word and the next state."""
    image = tf.image.decode_jpeg(tf1.placeholder(tf.string, [], name="image_feed"), channels=3)
    pixels = tf1.image.resize_images(tf.cast(image, tf.float32), [8, 8])[None]
    seen = dense(tf.reduce_mean(conv(pixels, 4, "vision"), [1, 2]), 8, "image_embedding")
    words = tf.nn.embedding_lookup(weights("map", 30, 8), feed("input_feed", None, dtype="int64"))
    with tf1.variable_scope("lm"):
        cell = Cell(8)
        _, first = cell(seen, cell.zero_state(1, tf.float32), scope="cell")
        tf.concat(first, 1, name="initial_state")
        state = feed("state_feed", None, 16)
        hidden, after = cell(words, tuple(tf.split(state, 2, 1)), scope="cell")
        tf.concat(after, 1, name="state")
    tf.nn.softmax(dense(hidden, 30, "logits"), name="softmax")


@shape("batch_join:0 phase_train", "embeddings")
def three_faces() -> None:
    """Triplets: anchor, positive and negative follow each other in the batch; no label is fed."""
    training = feed("phase_train", dtype="bool")
    images, _ = tf1.train.batch_join([[tf.zeros([8, 8, 3]), tf.zeros([], tf.int64)]], 6, name="batch_join")
    net = normalized(conv(images, 4, "conv"), training, "bn")
    embeddings = tf.nn.l2_normalize(dense(tf.reduce_mean(net, [1, 2]), 8, "Bottleneck"), 1, 1e-10, name="embeddings")
    anchor, positive, negative = tf.unstack(tf.reshape(embeddings, [-1, 3, 8]), 3, 1)
    with tf1.variable_scope("triplet_loss"):
        near = tf.reduce_sum(tf.square(tf.subtract(anchor, positive)), 1)
        far = tf.reduce_sum(tf.square(tf.subtract(anchor, negative)), 1)
        loss = tf.reduce_mean(tf.maximum(tf.add(tf.subtract(near, far), 0.2), 0.0), 0)
    train(loss)


@shape("grey", "colored")
def colors_for_grey() -> None:
    grey, colors = feed("grey", None, 8, 8, 1), feed("ab", None, 8, 8, 2)
    made = tf.tanh(conv(conv(grey, 4, "encoder"), 2, "decoder", None))
    tf.concat([grey * 100.0, made * 128.0], 3, name="colored")
    train(tf.reduce_mean(tf.square(made - colors)))


@shape("image", "best")
def number_of_a_house() -> None:
    """Five classifiers on one trunk, one for each digit."""
    image, digits = feed("image", None, 8, 8, 1), feed("digits", None, 5, dtype="int32")
    hidden = dense(tf.reshape(conv(image, 2, "conv"), [-1, 128]), 8, "hidden", tf.nn.relu)
    heads = [dense(hidden, 11, f"digit_{place}") for place in range(5)]
    loss = tf.add_n([cross_entropy(digits[:, place], head) for place, head in enumerate(heads)])
    best = tf.transpose(tf.argmax(tf.stack([tf.nn.softmax(head) for head in heads]), 2), name="best")
    hits = tf.cast(tf.equal(tf.cast(best, tf.int32), digits), tf.float32)
    tf1.summary.scalar("accuracy", tf.reduce_mean(hits))
    tf1.train.AdagradOptimizer(0.05).minimize(loss)


@shape("z", "sampler/Tanh")
def faces_from_noise() -> None:
    """The sampler has the generator's weights, but the moving averages in its batch normalization."""
    z, x = feed("z", None, 4), feed("real_images", 4, 8, 8, 3)

    def make(scope: str, *, training: bool) -> Any:
        with tf1.variable_scope("generator", reuse=tf1.AUTO_REUSE), tf.name_scope(f"{scope}/"):
            hidden = tf.reshape(dense(z, 8 * 8 * 4, "g_h0_lin"), [-1, 8, 8, 4])
            hidden = normalized(hidden, tf.constant(training), "g_bn0")
            return tf.tanh(conv(tf.nn.relu(hidden), 3, "g_h1", None))

    def judge(image: Any) -> Any:
        with tf1.variable_scope("discriminator", reuse=tf1.AUTO_REUSE):
            return dense(tf.reshape(conv(image, 4, "d_h0"), [-1, 256]), 1, "d_h1_lin")

    def loss(logits: Any, kind: Any) -> Any:
        return tf.reduce_mean(tf1.nn.sigmoid_cross_entropy_with_logits(logits=logits, labels=kind(logits)))

    fake = make("made", training=True)
    real_logits, fake_logits = judge(x), judge(fake)
    make("sampler", training=False)
    tf1.summary.image("G", fake)
    tf1.summary.histogram("d", tf.sigmoid(real_logits))
    tf1.summary.histogram("d_", tf.sigmoid(fake_logits))
    train(loss(real_logits, tf.ones_like) + loss(fake_logits, tf.zeros_like), "discriminator")
    train(loss(fake_logits, tf.ones_like), "generator")


@shape("images is_training", "resnet/predictions")
def updates_that_the_answer_waits_for() -> None:
    """Moving averages are updated by ops on which the next layer depends."""
    images, training = feed("images", None, 8, 8, 3), feed("is_training", dtype="bool")
    labels = feed("labels", None, dtype="int64")
    hidden = conv(images, 4, "conv", None)
    mean, _ = tf.nn.moments(hidden, [0, 1, 2])
    held = weights("pop_mean", 4, trainable=False)

    def now() -> Any:
        with tf.control_dependencies([tf1.assign(held, held * 0.9 + mean * 0.1)]):
            return tf.identity(hidden - mean)

    hidden = tf.nn.relu(tf1.cond(training, now, lambda: hidden - held))
    with tf1.variable_scope("resnet"):
        logits = dense(tf.reduce_mean(hidden, [1, 2]), 5, "logits")
        tf.nn.softmax(logits, name="predictions")
    tf1.summary.scalar("acc", right(logits, labels))
    train(cross_entropy(labels, logits))
