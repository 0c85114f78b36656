"""Sound, games, tables and graphs as public programs of TensorFlow 1 and 2 build them: first half."""

from __future__ import annotations

from typing import Any

from real_shapes import Cell, attend, feed, shape, weights
from typical_graphs import conv, dense

from serialization.tensorflow import np, tf, tf1


@shape("fingerprint_input dropout_prob", "add")
def words_spoken_in_training() -> None:
    """After the speech commands, in training: a matrix of confusion, checks for numbers, the scores without a name."""
    fingerprint = feed("fingerprint_input", None, 64)
    keep = tf1.placeholder(tf.float32, name="dropout_prob")
    labels = feed("groundtruth_input", None, dtype="int64")
    net = tf1.nn.dropout(conv(tf.reshape(fingerprint, [-1, 8, 8, 1]), 4, "first"), keep)
    net = tf1.nn.dropout(conv(tf1.nn.max_pool2d(net, 2, 2, "SAME"), 4, "second"), keep)
    logits = tf.matmul(tf.reshape(net, [-1, 64]), weights("final_fc_weights", 64, 5)) + weights("final_fc_bias", 5)
    with tf.name_scope("cross_entropy"):
        mean = tf1.losses.sparse_softmax_cross_entropy(labels=labels, logits=logits)
    with tf.name_scope("train"):
        tf1.train.GradientDescentOptimizer(tf1.placeholder(tf.float32, [], name="learning_rate_input")).minimize(mean)
    predicted = tf.argmax(logits, 1)
    correct = tf.equal(predicted, labels)
    tf.math.confusion_matrix(labels, predicted, num_classes=5)
    with tf.name_scope("eval"):
        tf1.summary.scalar("cross_entropy", mean)
        tf1.summary.scalar("accuracy", tf.reduce_mean(tf.cast(correct, tf.float32)))
    step = tf1.train.get_or_create_global_step()
    tf1.assign(step, step + 1)


@shape("deepq/observation deepq/stochastic", "deepq/cond/Merge")
def moves_with_chance() -> None:
    """After the DQN of the baselines: at times a move by chance; its rate is a variable that acting may change."""

    def judge(x: Any, scope: str) -> Any:
        with tf1.variable_scope(scope, reuse=tf1.AUTO_REUSE):
            return dense(dense(x, 8, "fully_connected", tf.nn.relu), 3, "fully_connected_1")

    with tf1.variable_scope("deepq"):
        seen = feed("observation", None, 4)
        stochastic, rate = feed("stochastic", dtype="bool"), feed("update_eps")
        eps = tf1.get_variable("eps", [], initializer=tf1.zeros_initializer(), use_resource=False)
        best = tf.argmax(judge(seen, "q_func"), axis=1)
        rows = tf.stack([tf.shape(seen)[0]])
        chance = tf.random.uniform(rows, minval=0, maxval=3, dtype=tf.int64)
        moved = tf1.where(tf.random.uniform(rows) < eps, chance, best)
        tf1.cond(stochastic, lambda: moved, lambda: best)
        eps.assign(tf1.cond(rate >= 0, lambda: rate, lambda: eps))
    with tf1.variable_scope("deepq"):
        now, later = feed("obs_t", None, 4), feed("obs_tp1", None, 4)
        action, reward = feed("action", None, dtype="int32"), feed("reward", None)
        done, weight = feed("done", None), feed("weight", None)
        target = judge(later, "target_q_func")
        chosen = tf.reduce_sum(judge(now, "q_func") * tf.one_hot(action, 3), 1)
        best = tf.argmax(judge(later, "q_func"), 1)
        wanted = reward + (1.0 - done) * tf.reduce_sum(target * tf.one_hot(best, 3), 1)
        error = chosen - tf.stop_gradient(wanted)
        huber = tf.where(tf.abs(error) < 1.0, tf.square(error) * 0.5, tf.abs(error) - 0.5)
        used = tf1.get_collection("trainable_variables", "deepq/q_func")
        optimizer = tf1.train.AdamOptimizer(5e-4)
        slopes = [
            (tf.clip_by_norm(g, 10), v) for g, v in optimizer.compute_gradients(tf.reduce_mean(weight * huber), used)
        ]
        optimizer.apply_gradients(slopes)
        delayed = tf1.get_collection("trainable_variables", "deepq/target_q_func")
        tf.group(*[there.assign(here) for here, there in zip(used, delayed, strict=True)])


@shape("Placeholder", "mdn/sub mdn/split:1 mdn/split:2 rnn/while/Exit_3 rnn/while/Exit_4")
def dreams_of_what_comes_next() -> None:
    """After the memory of World Models: a mixture of Gaussians for each coordinate, and the state to go on with."""
    x, target = tf1.placeholder(tf.float32, [2, 5, 6]), tf1.placeholder(tf.float32, [2, 5, 4])
    cell = Cell(8)
    output, _ = tf1.nn.dynamic_rnn(cell, x, initial_state=cell.zero_state(2, tf.float32), scope="rnn")
    with tf1.variable_scope("mdn"):
        flat = tf.reshape(dense(tf.reshape(output, [-1, 8]), 4 * 3 * 3, "out"), [-1, 9])
        mix, mean, spread = tf.split(flat, 3, 1)
        mix = mix - tf.reduce_logsumexp(mix, 1, keepdims=True)
    wanted = tf.reshape(target, [-1, 1])
    logs = mix - 0.5 * ((wanted - mean) / tf.exp(spread)) ** 2 - spread - float(np.log(np.sqrt(2 * np.pi)))
    cost = tf.reduce_mean(-tf.reduce_logsumexp(logs, 1, keepdims=True))
    rate = tf1.get_variable("lr", [], initializer=tf1.ones_initializer(), trainable=False)
    optimizer = tf1.train.AdamOptimizer(rate)
    clipped = [(tf.clip_by_value(g, -1.0, 1.0), v) for g, v in optimizer.compute_gradients(cost)]
    optimizer.apply_gradients(clipped, global_step=tf1.train.get_or_create_global_step())


@shape("Placeholder_1 Placeholder_2 Placeholder_4 Placeholder_5", "concat_3 Reshape_4")
def interest_by_attention() -> None:
    """After DIN: an item that was clicked against one that was not, and the scores of all candidates."""
    u, i, j = (tf1.placeholder(tf.int32, [None]) for _ in range(3))
    y = tf1.placeholder(tf.float32, [None])
    history, length = tf1.placeholder(tf.int32, [None, None]), tf1.placeholder(tf.int32, [None])
    rate = tf1.placeholder(tf.float64, [])
    weights("user_emb_w", 10, 8)
    assert u is not None
    items, bias = weights("item_emb_w", 12, 8), weights("item_b", 12)
    past = tf.nn.embedding_lookup(items, history)

    def look(query: Any) -> Any:
        scores = tf.reduce_sum(query[:, None] * past, 2)
        mask = tf.sequence_mask(length, tf.shape(past)[1])
        scores = tf.where(mask, scores, tf.ones_like(scores) * (-(2.0**32) + 1))
        return tf.reduce_sum(tf.nn.softmax(scores / 8**0.5)[..., None] * past, 1)

    def score(query: Any, seen: Any) -> Any:
        return tf.reshape(dense(dense(tf.concat([seen, query], -1), 8, "f1", tf.sigmoid), 1, "f2"), [-1])

    first, second = tf.nn.embedding_lookup(items, i), tf.nn.embedding_lookup(items, j)
    seen = dense(look(first), 8, "hist_fcn")
    for_i, for_j = score(first, seen), score(second, seen)
    i_b, j_b = tf.gather(bias, i), tf.gather(bias, j)
    all_seen = tf.tile(seen, [3, 1])
    some = tf.tile(items[:3], [tf.shape(seen)[0], 1])
    every = tf.sigmoid(bias[:3] + tf.reshape(score(some, all_seen), [-1, 3]))
    every = tf.reshape(every, [-1, 3, 1])
    tf.reduce_mean(tf.cast(i_b - j_b + for_i - for_j > 0, tf.float32))
    pair = [tf.reshape(tf.sigmoid(b + s), [-1, 1]) for b, s in ((i_b, for_i), (j_b, for_j))]
    tf.concat(pair, axis=-1)
    loss = tf.reduce_mean(tf1.nn.sigmoid_cross_entropy_with_logits(logits=i_b + for_i, labels=y))
    used = tf1.trainable_variables()
    clipped, _ = tf.clip_by_global_norm(tf.gradients(loss, used), 5)
    tf1.train.GradientDescentOptimizer(rate).apply_gradients(zip(clipped, used, strict=True))


@shape("input rnn_state0", "softmax gru/add")
def next_click_of_a_session() -> None:
    """After GRU4Rec, for prediction: scores of all items and the state of each session."""
    x, state = feed("input", 4, dtype="int32"), feed("rnn_state0", 4, 8)
    feed("output", 4, dtype="int32")
    row = tf.nn.embedding_lookup(weights("gru_layer/embedding", 20, 8), x)
    with tf1.variable_scope("gru"):
        gate = dense(tf.concat([row, state], 1), 8, "gates", tf.sigmoid)
        new = dense(tf.concat([row, gate * state], 1), 8, "candidate", tf.tanh)
        out = tf.add(gate * state, (1 - gate) * new, name="add")
    scores = tf.matmul(out, weights("softmax_w", 20, 8), transpose_b=True) + weights("softmax_b", 20)
    tf.nn.softmax(scores, name="softmax")


@shape("Placeholder", "Mean")
def odd_payments() -> None:
    """An autoencoder that looks for frauds: each row's error is what the test reads."""
    x = tf1.placeholder(tf.float32, [None, 12])
    code = dense(dense(x, 8, "encoder_h1", tf.tanh), 4, "encoder_h2", tf.tanh)
    y = dense(dense(code, 8, "decoder_h1", tf.tanh), 12, "decoder_h2", tf.tanh)
    tf.reduce_mean(tf.pow(x - y, 2), 1)
    tf1.train.RMSPropOptimizer(0.01).minimize(tf.reduce_mean(tf.pow(x - y, 2)))


@shape("input/Placeholder input/Placeholder_1 input/Placeholder_4 input/Placeholder_5", "truediv")
def attention_over_a_graph() -> None:
    """After GAT: two rates of dropout, a bias of the neighbours, a mask of the nodes that have labels."""
    with tf.name_scope("input"):
        features, bias = tf1.placeholder(tf.float32, [1, 6, 8]), tf1.placeholder(tf.float32, [1, 6, 6])
        labels, mask = tf1.placeholder(tf.int32, [1, 6, 3]), tf1.placeholder(tf.int32, [1, 6])
        attention_drop, feature_drop = tf1.placeholder(tf.float32, []), tf1.placeholder(tf.float32, [])
        tf1.placeholder(tf.bool, [])

    def head(x: Any, size: int, scope: str) -> Any:
        x = tf1.nn.dropout(x, 1.0 - feature_drop)
        hidden = dense(x, size, f"{scope}/conv1d")
        scores = dense(hidden, 1, f"{scope}/f_1") + tf.transpose(dense(hidden, 1, f"{scope}/f_2"), [0, 2, 1])
        heat = tf1.nn.dropout(tf.nn.softmax(tf.nn.leaky_relu(scores) + bias), 1.0 - attention_drop)
        return tf.matmul(heat, tf1.nn.dropout(hidden, 1.0 - feature_drop))

    net = tf.concat([tf.nn.elu(head(features, 4, f"head_{i}")) for i in range(2)], -1)
    logits = tf.add_n([head(net, 3, f"out_{i}") for i in range(2)]) / 2
    flat, named = tf.reshape(logits, [-1, 3]), tf.reshape(labels, [-1, 3])
    used = tf.cast(tf.reshape(mask, [-1]), tf.float32)
    used /= tf.reduce_mean(used)
    loss = tf.reduce_mean(tf1.nn.softmax_cross_entropy_with_logits_v2(logits=flat, labels=named) * used)
    hits = tf.cast(tf.equal(tf.argmax(flat, 1), tf.argmax(named, 1)), tf.float32)
    tf.reduce_mean(hits * used)
    decay = tf.add_n([tf.nn.l2_loss(v) for v in tf1.trainable_variables() if "bias" not in v.name]) * 5e-4
    with tf1.variable_scope("training"):
        tf1.train.AdamOptimizer(0.005).minimize(loss + decay)


@shape("Placeholder seq_len", "CTCBeamSearchDecoder:0 CTCBeamSearchDecoder:1 CTCBeamSearchDecoder:2")
def number_plates() -> None:
    """After LPRNet: letters by CTC; the targets are sparse; the error is a distance of edits."""
    x = tf1.placeholder(tf.float32, [None, 8, 8, 3])
    targets, lengths = tf1.sparse_placeholder(tf.int32), tf1.placeholder(tf.int32, [None], name="seq_len")
    net = conv(tf1.nn.max_pool2d(conv(x, 4, "small_basic_block"), 2, 1, "SAME"), 4, "conv_out", None)
    around = tf.square(net)
    logits = tf.reduce_mean(net / tf.reduce_mean(around), axis=1)
    major = tf.transpose(logits, [1, 0, 2])
    cost = tf.reduce_mean(tf1.nn.ctc_loss(labels=targets, inputs=major, sequence_length=lengths))
    step = tf1.get_variable("step", [], tf.int32, tf1.zeros_initializer(), trainable=False)
    rate = tf1.train.exponential_decay(1e-3, step, 100, 0.98, staircase=True)
    tf1.train.AdamOptimizer(rate).minimize(cost, global_step=step)
    decoded, _ = tf1.nn.ctc_beam_search_decoder(major, lengths, merge_repeated=False)
    tf.reduce_mean(tf.edit_distance(tf.cast(decoded[0], tf.int32), targets))


@shape("inputs mask", "Identity Identity_1", frozen="Identity Identity_1", functions=True)
def two_heads_frozen_by_functions() -> None:
    """Frozen by TensorFlow 2 from a function that was inlined: a class and a box, a mask among the inputs."""
    x, mask = feed("inputs", None, 8, 6), feed("mask", None, 8, dtype="bool")
    with tf.name_scope("model"):
        hidden = attend(dense(x, 8, "embed"), mask, "attention")
        kept = tf.cast(mask, tf.float32)[..., None]
        pooled = tf.reduce_sum(hidden * kept, 1) / tf.maximum(tf.reduce_sum(kept, 1), 1.0)
        kinds, boxes = tf.nn.softmax(dense(pooled, 3, "kinds")), dense(pooled, 4, "boxes", tf.sigmoid)
    tf.identity(tf.identity(kinds, name="model/Identity"), name="Identity")
    tf.identity(tf.identity(boxes, name="model/Identity_1"), name="Identity_1")
