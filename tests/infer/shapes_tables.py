"""Graphs over rows of features: regressions, click rates, recommendations, series; and policies that act on a state."""

from __future__ import annotations

from typing import Any

from real_shapes import Cell, feed, normalized, shape, weights
from typical_graphs import cross_entropy, dense, train

from serialization.tensorflow import np, tf, tf1


@shape("X", "pred")
def line_through_points() -> None:
    x, y = tf1.placeholder(tf.float32, name="X"), tf1.placeholder(tf.float32, name="Y")
    pred = tf.add(tf.multiply(x, weights("weight")), weights("bias"), name="pred")
    cost = tf.reduce_sum(tf.pow(pred - y, 2)) / (2 * 17)
    tf1.train.GradientDescentOptimizer(0.01).minimize(cost)


@shape("feat_index feat_value dropout_keep_fm dropout_keep_deep train_phase", "out")
def factorization_machine() -> None:
    index, value = feed("feat_index", None, None, dtype="int32"), feed("feat_value", None, None)
    label = feed("label", None, 1)
    keep_fm, keep_deep = feed("dropout_keep_fm", None), feed("dropout_keep_deep", None)
    phase = feed("train_phase", dtype="bool")
    fields = tf.reshape(value, [-1, 3, 1])
    embedded = tf.multiply(tf.nn.embedding_lookup(weights("feature_embeddings", 20, 4), index), fields)
    first = tf1.nn.embedding_lookup(weights("feature_bias", 20, 1), index)
    first = tf1.nn.dropout(tf.reduce_sum(tf.multiply(first, fields), 2), keep_fm[0])
    summed, squared = tf.square(tf.reduce_sum(embedded, 1)), tf.reduce_sum(tf.square(embedded), 1)
    second = tf1.nn.dropout(0.5 * tf.subtract(summed, squared), keep_fm[1])
    deep = tf1.nn.dropout(tf.reshape(embedded, [-1, 12]), keep_deep[0])
    deep = tf1.nn.dropout(tf.nn.relu(normalized(dense(deep, 8, "layer_0"), phase, "bn_0")), keep_deep[1])
    joined = tf.concat([first, second, deep], 1)
    joined.set_shape([None, 15])
    out = tf.nn.sigmoid(dense(joined, 1, "concat_projection"), name="out")
    loss = tf1.losses.log_loss(label, out) + 0.01 * tf.nn.l2_loss(tf1.trainable_variables()[-2])
    train(loss)


@shape("input_example_tensor", "head/predictions/logistic head/predictions/probabilities head/predictions/str_classes")
def wide_and_deep_export() -> None:
    """An Estimator's export without its signature: parsed examples, feature columns, a head with all its forms."""
    texts = tf1.placeholder(tf.string, [None], name="input_example_tensor")
    columns = tf1.feature_column
    age = columns.numeric_column("age")
    kind = columns.categorical_column_with_vocabulary_list("work", ["private", "state"])
    bought = columns.bucketized_column(age, [20.0, 40.0])
    deep = [age, columns.embedding_column(kind, 2), columns.indicator_column(bought)]
    read = tf.io.parse_example(texts, columns.make_parse_example_spec([age, kind]))
    with tf1.variable_scope("dnn"):
        logits = dense(dense(columns.input_layer(read, deep), 8, "hiddenlayer_0", tf.nn.relu), 1, "logits")
    with tf1.variable_scope("linear"):
        logits = tf.add(
            logits, dense(columns.input_layer(read, [columns.indicator_column(kind)]), 1, "work"), name="add"
        )
    with tf.name_scope("head/predictions"):
        logistic = tf.nn.sigmoid(logits, name="logistic")
        both = tf.concat([tf.zeros_like(logits), logits], -1, name="two_class_logits")
        tf.nn.softmax(both, name="probabilities")
        classes = tf.expand_dims(tf.argmax(both, -1), -1, name="class_ids")
        tf.as_string(classes, name="str_classes")
        tf.shape(logistic)


@shape("user_batch id_batch", "svd_inference")
def matrix_of_ratings() -> None:
    user, item = feed("user_batch", None, dtype="int32"), feed("id_batch", None, dtype="int32")
    rate = feed("rate_batch", None)
    bias = weights("bias_global")
    read = {n: tf.nn.embedding_lookup(weights(n, 9, 4), i) for n, i in (("embd_user", user), ("embd_item", item))}
    biases = [tf.nn.embedding_lookup(weights(n, 9), i) for n, i in (("embd_bias_user", user), ("embd_bias_item", item))]
    infer = tf.reduce_sum(tf.multiply(read["embd_user"], read["embd_item"]), 1)
    infer = tf.add(tf.add(tf.add(infer, bias), biases[0]), biases[1], name="svd_inference")
    penalty = tf.add(tf.nn.l2_loss(read["embd_user"]), tf.nn.l2_loss(read["embd_item"]), name="svd_regularizer")
    cost = tf.add(tf.nn.l2_loss(tf.subtract(infer, rate)), tf.multiply(0.05, penalty))
    tf1.train.FtrlOptimizer(0.001).minimize(cost, global_step=tf1.train.get_or_create_global_step())


@shape("hist_items hist_length item", "ctr")
def interest_in_a_history() -> None:
    """Attention over a padded history: the length masks the scores."""
    history, length = feed("hist_items", None, None, dtype="int32"), feed("hist_length", None, dtype="int32")
    item, label, rate = feed("item", None, dtype="int32"), feed("label", None), feed("learning_rate")
    items = weights("items", 30, 4)
    keys, query = tf.gather(items, history), tf.gather(items, item)
    queries = tf.tile(query[:, None], [1, tf.shape(keys)[1], 1])
    scores = tf.squeeze(dense(tf.concat([queries, keys, queries * keys], -1), 1, "attention"), -1)
    mask = tf.sequence_mask(length, tf.shape(keys)[1])
    scores = tf1.where(mask, scores, tf.ones_like(scores) * -4e9)
    mixed = tf.squeeze(tf.matmul(tf.nn.softmax(scores)[:, None], keys), 1)
    logit = tf.squeeze(dense(tf.concat([mixed, query], -1), 1, "fc"), 1)
    tf.sigmoid(logit, name="ctr")
    loss = tf.reduce_mean(tf1.nn.sigmoid_cross_entropy_with_logits(logits=logit, labels=label))
    tf1.metrics.auc(label, tf.sigmoid(logit))
    tf1.train.GradientDescentOptimizer(rate).minimize(loss)


@shape("data", "prediction")
def next_value_of_a_series() -> None:
    data, target = feed("data", None, 12, 1), feed("target", None, 1)
    outputs, _ = tf1.nn.dynamic_rnn(Cell(8), data, dtype=tf.float32)
    last = tf.gather(tf.transpose(outputs, [1, 0, 2]), 11)
    prediction = tf.add(tf.matmul(last, weights("w", 8, 1)), weights("b", 1), name="prediction")
    with tf.name_scope("rmse"):
        tf1.summary.scalar("rmse", tf.sqrt(tf.reduce_mean(tf1.squared_difference(target, prediction))))
    train(tf.reduce_mean(tf.abs(prediction - target)))


@shape("input dropout_rate", "ratings")
def ratings_from_ratings() -> None:
    """An autoencoder: the mask of what was rated is computed from the input, noise is added to it."""
    x, rate = feed("input", None, 12), feed("dropout_rate")
    noisy = tf.nn.dropout(x, rate=rate)
    made = dense(dense(noisy, 4, "encode", tf.nn.sigmoid), 12, "decode")
    made = tf.identity(made, name="ratings")
    mask = tf.cast(tf.not_equal(x, 0.0), tf.float32)
    loss = tf.reduce_sum(tf.square(mask * (x - made))) / tf.reduce_sum(mask)
    tf1.train.RMSPropOptimizer(1e-3).minimize(loss)


@shape("obs", "choose_action/Squeeze")
def old_and_new_policy() -> None:
    """PPO: the action is sampled from the new policy; the old one is a copy of it for the ratio."""
    obs, action = feed("obs", None, 4), feed("action", None, 2)
    advantage, reward = feed("advantage", None, 1), feed("discounted_r", None, 1)
    with tf1.variable_scope("critic"):
        value = dense(dense(obs, 8, "l1", tf.nn.relu), 1, "value")
    closs = tf.reduce_mean(tf.square(reward - value))
    train(closs, "critic")

    def policy(scope: str, *, trainable: bool) -> tuple[Any, Any, list[Any]]:
        with tf1.variable_scope(scope):
            hidden = tf.nn.relu(tf.matmul(obs, weights("k1", 4, 8, trainable=trainable)))
            middle = 2 * tf.tanh(tf.matmul(hidden, weights("k2", 8, 2, trainable=trainable)), name="mu")
            spread = tf.nn.softplus(tf.matmul(hidden, weights("k3", 8, 2, trainable=trainable)), name="sigma")
        return middle, spread, tf1.get_collection("variables", scope)

    (mu, sigma, new), (old_mu, old_sigma, old) = policy("pi", trainable=True), policy("oldpi", trainable=False)
    with tf1.variable_scope("choose_action"):
        sampled = mu + sigma * tf.random.normal(tf.shape(mu))
        tf.squeeze(sampled[None], axis=0)
    with tf1.variable_scope("update_oldpi"):
        [tf1.assign(there, here) for here, there in zip(new, old, strict=True)]

    def density(middle: Any, spread: Any) -> Any:
        return tf.exp(-tf.square((action - middle) / spread)) / spread

    ratio = density(mu, sigma) / (density(old_mu, old_sigma) + 1e-5)
    clipped = tf.clip_by_value(ratio, 0.8, 1.2) * advantage
    train(-tf.reduce_mean(tf.minimum(ratio * advantage, clipped)), "pi")


@shape("observations", "policy/Softmax")
def gradient_of_a_policy() -> None:
    observed, actions = feed("observations", None, 4), feed("actions_num", None, dtype="int32")
    values = feed("actions_value", None)
    with tf1.variable_scope("policy"):
        logits = dense(dense(observed, 8, "fc1", tf.tanh), 2, "fc2")
        tf.nn.softmax(logits)
    chosen = tf1.nn.sparse_softmax_cross_entropy_with_logits(logits=logits, labels=actions)
    train(tf.reduce_mean(chosen * values))


@shape("s", "eval_net/Q/BiasAdd")
def two_streams_of_values() -> None:
    """A dueling network; the target network is fed the next state, and copied now and then."""
    now, after = feed("s", None, 4), feed("s_", None, 4)
    wanted = feed("Q_target", None, 2)

    def network(x: Any, scope: str) -> Any:
        with tf1.variable_scope(scope):
            hidden = dense(x, 8, "l1", tf.nn.relu)
            value, advantage = dense(hidden, 1, "Value"), dense(hidden, 2, "Advantage")
            with tf.name_scope("Q"):
                joined = value + (advantage - tf.reduce_mean(advantage, axis=1, keepdims=True))
                return tf.nn.bias_add(joined, tf.zeros([2]))

    evaluated = network(now, "eval_net")
    with tf1.variable_scope("loss"):
        loss = tf.reduce_mean(tf1.squared_difference(wanted, evaluated))
    train(loss, "eval_net")
    network(after, "target_net")
    pairs = [tf1.get_collection("trainable_variables", scope) for scope in ("target_net", "eval_net")]
    [tf1.assign(there, here) for there, here in zip(*pairs, strict=True)]


@shape("x y", "scaled above text", saver=False)
def columns_without_weights() -> None:
    """A transformation that was fitted elsewhere: constants, no variable, several results."""
    x, y = feed("x", None), feed("y", None, dtype="string")
    tf.divide(x - 3.5, 2.0, name="scaled")
    tf.greater(x, 3.5, name="above")
    tf1.regex_replace(tf.strings.strip(y), "[0-9]", "#", name="text")


@shape("x_real x_kind", "score")
def trees_by_gathers() -> None:
    """A small decision table that trains nothing, with a label that nobody feeds."""
    real, kind = feed("x_real", None, 3), feed("x_kind", None, dtype="int32")
    feed("unused_label", None)
    table = tf.constant(np.arange(12, dtype="f").reshape(4, 3))
    tf.reduce_sum(tf.gather(table, kind) * real, 1, name="score")


@shape("user item", "prediction/Sigmoid")
def two_towers_and_sampled_negatives() -> None:
    """The negatives are drawn in the graph, from the same table."""
    user, item = feed("user", None, dtype="int32"), feed("item", None, dtype="int32")
    users, items = weights("users", 20, 4), weights("items", 20, 4)

    def score(chosen: Any) -> Any:
        return tf.reduce_sum(tf.gather(users, user) * tf.gather(items, chosen), -1)

    drawn = tf.random.uniform(tf.shape(item), 0, 20, tf.int32)
    positive, negative = score(item), score(drawn)
    with tf.name_scope("prediction"):
        tf.sigmoid(positive)
    train(-tf.reduce_mean(tf.math.log_sigmoid(positive - negative)))


@shape("features", "regressor/predictions")
def hinge_and_groups() -> None:
    """Weights of samples come beside the labels; two losses are added; an unused head of another experiment remains."""
    x, y, sample = feed("features", None, 6), feed("labels", None, 1), feed("weights", None, 1)
    hidden = dense(x, 8, "trunk", tf.nn.relu)
    with tf1.variable_scope("regressor"):
        out = tf.identity(dense(hidden, 1, "out"), name="predictions")
    tf1.losses.mean_squared_error(y, out, sample)
    tf1.losses.add_loss(0.01 * tf.nn.l2_loss(hidden))
    train(tf1.losses.get_total_loss())
    cross_entropy(tf.cast(tf.squeeze(y, 1), tf.int32), dense(tf.stop_gradient(out), 2, "probe"))


@shape("x", "y_hat")
def rate_that_falls() -> None:
    """The learning rate is fed, and falls by a schedule with a name."""
    x, y, start = feed("x", None, 6), feed("y", None, 1), feed("start_rate")
    step = tf1.train.get_or_create_global_step()
    rate = tf1.train.exponential_decay(start, step, 100, 0.9, name="falling_rate")
    y_hat = tf.identity(dense(x, 1, "fc"), name="y_hat")
    tf1.train.GradientDescentOptimizer(rate).minimize(tf.reduce_mean(tf.abs(y_hat - y)), step)
