"""A fourth set: critics, copies of a network, parts of a distribution, and inputs that only inference needs."""

from __future__ import annotations

from typing import Any

from real_shapes import Cell, feed, right, shape, weights
from typical_graphs import conv, cross_entropy, dense, train

from serialization.tensorflow import tf, tf1


def _critic(x: Any, scope: str = "critic") -> Any:
    return dense(dense(x, 8, f"{scope}/hidden", tf.nn.relu), 1, f"{scope}/out")


@shape("z", "sampler/Tanh")
def sampler_at_rest() -> None:
    """In training the moments of the batch are taken, in the sampler the moving averages."""
    z, x = feed("z", None, 4), feed("real", None, 16)

    def make(scope: str, *, training: bool) -> Any:
        with tf.name_scope(f"{scope}/"):
            hidden = dense(z, 8, "generator/h0")
            with tf1.variable_scope("generator/bn", reuse=tf1.AUTO_REUSE):
                held, gamma = weights("moving_mean", 8, trainable=False), weights("gamma", 8)
            mean = tf.reduce_mean(hidden, 0)
            tf1.assign_sub(held, 0.1 * (held - mean))
            return tf.tanh(dense((hidden - (mean if training else held)) * gamma, 16, "generator/h1"))

    real, fake = _critic(x), _critic(make("generator_1", training=True))
    make("sampler", training=False)
    train(tf.reduce_mean(fake) - tf.reduce_mean(real), "critic")
    train(-tf.reduce_mean(fake), "generator")


@shape("s", "actor/eval/scaled_a")
def critic_of_the_actor_alone() -> None:
    """No action is fed: the critic takes the actor's; the target comes from delayed copies of both."""
    s, later, reward = feed("s", None, 3), feed("s_", None, 3), feed("r", None, 1)

    def act(state: Any, scope: str) -> Any:
        with tf1.variable_scope(scope):
            action = tf.tanh(dense(dense(state, 8, "l1", tf.nn.relu), 1, "a"))
            return tf.multiply(action, 2.0, name="scaled_a")

    a, aimed = act(s, "actor/eval"), act(later, "actor/target")
    q = _critic(tf.concat([s, a], 1), "critic/eval")
    wanted = reward + 0.9 * _critic(tf.concat([later, aimed], 1), "critic/target")
    for name in ("actor", "critic"):
        pairs = (tf1.get_collection("trainable_variables", f"{name}/{scope}") for scope in ("target", "eval"))
        [tf1.assign(there, 0.99 * there + 0.01 * here) for there, here in zip(*pairs, strict=True)]
    train(tf.reduce_mean(tf.square(wanted - q)), "critic/eval")
    train(-tf.reduce_mean(q), "actor/eval")


@shape("test_a test_b", "testing/Tanh testing_1/Tanh")
def two_directions_with_ends_for_tests() -> None:
    """The generators are applied once more, to what is fed in tests only."""
    a, b, test_a, test_b = (feed(name, None, 8) for name in ("real_a", "real_b", "test_a", "test_b"))

    def make(x: Any, scope: str) -> Any:
        return tf.tanh(dense(dense(x, 8, f"{scope}/hidden", tf.nn.relu), 8, f"{scope}/out"))

    fake_b, fake_a = make(a, "generator_ab"), make(b, "generator_ba")
    again_a, again_b = make(fake_b, "generator_ba"), make(fake_a, "generator_ab")
    for x, scope in ((test_a, "generator_ab"), (test_b, "generator_ba")):
        with tf.name_scope("testing"):
            make(x, scope)
    cycle = tf.reduce_mean(tf.abs(a - again_a)) + tf.reduce_mean(tf.abs(b - again_b))
    fooled = tf.reduce_mean(_critic(fake_b, "critic_b")) + tf.reduce_mean(_critic(fake_a, "critic_a"))
    real = tf.reduce_mean(_critic(b, "critic_b")) + tf.reduce_mean(_critic(a, "critic_a"))
    train(fooled - real, "critic")
    train(cycle - fooled, "generator")


@shape("content style", "decoder/clip_by_value")
def painter_with_an_encoder_at_rest() -> None:
    """The encoder's weights are variables that nothing trains; it looks at pictures that are prepared for it."""
    content, style = feed("content", None, 8, 8, 3), feed("style", None, 8, 8, 3)

    def encode(image: Any) -> Any:
        with tf1.variable_scope("encoder", reuse=tf1.AUTO_REUSE):
            kernel = weights("kernel", 3, 3, 3, 4, trainable=False)
            return tf.nn.relu(tf1.nn.conv2d(tf.reverse(image, [-1]) - 110.0, kernel, [1, 1, 1, 1], "SAME"))

    (mean, _), (wanted, _) = (tf.nn.moments(encode(x), [1, 2], keepdims=True) for x in (content, style))
    mixed = encode(content) - mean + wanted
    with tf1.variable_scope("decoder"):
        made = tf.clip_by_value(tf.reverse(conv(mixed, 3, "last", None) + 110.0, [-1]), 0.0, 255.0)
    seen = encode(made)
    gap = tf.reduce_mean(seen, [1, 2]) - tf.reduce_mean(encode(style), [1, 2])
    train(tf.reduce_mean(tf.square(seen - mixed)) + tf.reduce_mean(tf.square(gap)), "decoder")


@shape("query", "nearest:0 nearest:1")
def words_near_a_query() -> None:
    """The word and its context are fed in training only, the query in inference only."""
    word, context = feed("word", 8, dtype="int32"), feed("context", 8, 1, dtype="int32")
    table = weights("table", 30, 4)
    found = tf.nn.embedding_lookup(table, word)
    train(tf.reduce_mean(tf1.nn.nce_loss(weights("w", 30, 4), weights("b", 30), context, found, 4, 30)))
    unit = table / tf.sqrt(tf.reduce_sum(tf.square(table), 1, keepdims=True))
    asked = tf.nn.embedding_lookup(unit, feed("query", None, dtype="int32"))
    tf.math.top_k(tf.matmul(asked, unit, transpose_b=True), 5, name="nearest")


@shape("x", "Softmax Exp split:2")
def mixture_of_distributions() -> None:
    """The weights, the widths and the centres are parts of one layer, which only the likelihood joins."""
    x, y = feed("x", None, 1), feed("y", None, 1)
    share, width, centre = tf.split(dense(dense(x, 8, "hidden", tf.tanh), 12, "out"), 3, 1)
    share, width = tf.nn.softmax(share), tf.exp(width)
    likelihood = tf.exp(-tf.square((y - centre) / width) / 2.0) / width
    train(tf.reduce_mean(-tf.math.log(tf.reduce_sum(likelihood * share, 1))))


@shape("low", "predict")
def clipped_for_the_eye() -> None:
    """The loss takes the picture as it is, the quality is measured on the clipped one."""
    low, high = feed("low", None, 8, 8, 1), feed("high", None, 8, 8, 1)
    made = tf.identity(conv(conv(low, 4, "first"), 1, "last", None), name="made")
    shown = tf.clip_by_value(made, 0.0, 1.0, name="predict")
    tf1.summary.scalar("psnr", tf.reduce_mean(tf.image.psnr(shown, high, 1.0)))
    train(tf.reduce_mean(tf.square(high - made)))


@shape("image", "decode/concat_1")
def boxes_put_together_again() -> None:
    """The loss takes the decoded places, and the raw scores."""
    image, label = feed("image", None, 8, 8, 3), feed("label", None, 8, 8, 7)
    raw = tf.reshape(conv(image, 7, "head", None), [-1, 8, 8, 7])
    with tf1.variable_scope("decode"):
        place = tf.concat([tf.sigmoid(raw[..., :2]) * 8.0, tf.exp(raw[..., 2:4])], -1)
        boxes = tf.concat([place, tf.sigmoid(raw[..., 4:])], -1)
    sure = tf1.nn.sigmoid_cross_entropy_with_logits(labels=label[..., 4:], logits=raw[..., 4:])
    train(tf.reduce_mean(tf.square(boxes[..., :4] - label[..., :4])) + tf.reduce_mean(sure))


@shape("examples", "head/Tile head/probabilities")
def names_of_the_classes_beside_their_scores() -> None:
    """An estimator's export: the texts depend on the number of rows alone; a summary counts zeros."""
    read = tf.io.parse_example(feed("examples", None, dtype="string"), {"a": tf.io.FixedLenFeature([4], tf.float32)})
    hidden = dense(read["a"], 6, "hidden", tf.nn.relu)
    tf1.summary.scalar("zeros", tf.nn.zero_fraction(hidden))
    logits = dense(hidden, 3, "logits")
    with tf.name_scope("head"):
        scores = tf.nn.softmax(logits, name="probabilities")
        tf.tile(tf.as_string(tf.range(3))[None], [tf.shape(scores)[0], 1])


@shape("state c_in h_in", "policy value/BiasAdd c_out h_out")
def policy_with_a_memory() -> None:
    """The next state is handed out by name; policy and value go to the loss alone."""
    seen, state = feed("state", None, 6), (feed("c_in", 1, 8), feed("h_in", 1, 8))
    outputs, (c, h) = tf1.nn.dynamic_rnn(Cell(8), seen[None], initial_state=state)
    flat = tf.reshape(outputs, [-1, 8])
    policy, value = tf.nn.softmax(dense(flat, 3, "pi"), name="policy"), dense(flat, 1, "value")
    tf.identity(c[:1], name="c_out")
    tf.identity(h[:1], name="h_out")
    action, gain, wanted = feed("action", None, dtype="int32"), feed("gain", None), feed("wanted", None)
    taken = tf.reduce_sum(policy * tf.one_hot(action, 3), 1)
    loss = tf.reduce_sum(tf.square(wanted - tf.reshape(value, [-1]))) - tf.reduce_sum(tf.math.log(taken) * gain)
    train(loss + 0.01 * tf.reduce_sum(policy * tf.math.log(policy)))


@shape("images", "fc/BiasAdd")
def each_row_against_each_other() -> None:
    """The hardest of all triplets of a batch: labels meet the distances, the rows are the answer."""
    images, labels = feed("images", None, 16), feed("labels", None, dtype="int32")
    rows = dense(dense(images, 8, "hidden", tf.nn.relu), 4, "fc")
    product = tf.matmul(rows, tf.transpose(rows))
    square = tf.linalg.diag_part(product)
    gaps = tf.maximum(square[None] - 2.0 * product + square[:, None], 0.0)
    same = tf.cast(tf.equal(labels[None], labels[:, None]), tf.float32)
    far = tf.reduce_max(same * gaps, 1)
    near = tf.reduce_min(gaps + tf.reduce_max(gaps, 1, keepdims=True) * same, 1)
    train(tf.reduce_mean(tf.maximum(far - near + 0.5, 0.0)))


@shape("Placeholder", "prediction")
def slices_for_towers_and_the_whole_batch() -> None:
    x, y = tf1.placeholder(tf.float32, [None, 16]), tf1.placeholder(tf.int64, [None])

    def scores(rows: Any) -> Any:
        return dense(dense(rows, 8, "net/hidden", tf.nn.relu), 3, "net/out")

    losses = []
    for part in (slice(0, 4), slice(4, 8)):
        losses.append(cross_entropy(y[part], scores(x[part])))
        tested = tf.nn.softmax(scores(x[part]))
    tf1.summary.scalar("accuracy", right(tested, y[4:8]))
    train(tf.add_n(losses))
    tf.nn.softmax(scores(x), name="prediction")


@shape("inputs", "truediv")
def mean_of_three_networks() -> None:
    x, y = feed("inputs", None, 6), feed("outputs", None, dtype="int32")
    scores = []
    for number in range(3):
        logits = dense(x, 4, f"net{number}")
        train(cross_entropy(y, logits), f"net{number}")
        scores.append(tf.nn.softmax(logits))
    tf.reduce_mean(tf.cast(tf.nn.in_top_k(y, tf.add_n(scores) / 3.0, 1), tf.float32), name="accuracy")


@shape("sensor", "Squeeze")
def checks_on_the_way() -> None:
    """What only checks the answer is no answer."""
    x, y = feed("sensor", None, 6), feed("y_true", None)
    with tf.control_dependencies([tf1.assert_greater(x, -100.0)]):
        x = tf1.check_numerics(tf.identity(x), "bad sensor")
    made = tf.squeeze(dense(dense(x, 5, "hidden", tf.nn.relu), 1, "out"), 1)
    with tf.control_dependencies([tf.debugging.assert_all_finite(made, "made")]):
        loss = tf1.losses.huber_loss(y, made)
    tf1.metrics.root_mean_squared_error(y, made)
    train(loss)


@shape("features", "predicted_class")
def weights_in_parts() -> None:
    """Each kernel lies in two variables; the confusion matrix checks its arguments."""
    x, y = feed("features", None, 8), feed("class_id", None, dtype="int64")

    def layer(rows: Any, units: int, scope: str) -> Any:
        with tf1.variable_scope(scope):
            halves = [weights(f"part_{number}", int(rows.shape[-1]) // 2, units) for number in range(2)]
            return tf.matmul(rows, tf.concat(halves, 0))

    logits = layer(tf.nn.relu(layer(x, 8, "first") + 1.0), 4, "second") + weights("bias", 4)
    chosen = tf.argmax(logits, 1, name="predicted_class")
    total = weights("confusion", 4, 4, trainable=False)
    tf1.assign_add(total, tf.cast(tf1.confusion_matrix(y, chosen, 4), tf.float32))
    train(cross_entropy(y, logits), "first|second|bias")
