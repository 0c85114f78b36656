"""Games, tables, graphs and drawings as public programs of TensorFlow 1 build them: second half."""

from __future__ import annotations

from typing import Any

from real_shapes import feed, shape, weights
from typical_graphs import conv, dense

from serialization.tensorflow import np, tf, tf1


@shape(
    "ppo2_model/Ob",
    "ppo2_model/ArgMax ppo2_model/strided_slice ppo2_model/softmax_cross_entropy_with_logits/Reshape_2",
)
def policy_that_acts_and_learns() -> None:
    """After PPO2 of the baselines: a model that acts and one that learns share their weights; a move by chance."""

    def network(rows: int | None) -> tuple[Any, Any]:
        with tf1.variable_scope("ppo2_model", reuse=tf1.AUTO_REUSE):
            seen = feed("Ob", rows, 4)
            hidden = dense(dense(seen, 8, "pi/mlp_fc0", tf.tanh), 8, "pi/mlp_fc1", tf.tanh)
            logits, value = dense(hidden, 3, "pi"), dense(hidden, 1, "vf")[:, 0]
            action = tf.argmax(logits - tf.math.log(-tf.math.log(tf.random.uniform(tf.shape(logits)))), axis=-1)
            tf1.nn.softmax_cross_entropy_with_logits_v2(logits=logits, labels=tf.one_hot(action, 3))
            return logits, value

    network(2)
    logits, value = network(None)
    action, advantage, returns = feed("A", None, dtype="int32"), feed("ADV", None), feed("R", None)
    before, old_value = feed("OLDNEGLOGPAC", None), feed("OLDVPRED", None)
    rate, clip = feed("LR"), feed("CLIPRANGE")
    likely = tf1.nn.softmax_cross_entropy_with_logits_v2(logits=logits, labels=tf.one_hot(action, 3))
    apart = logits - tf.reduce_max(logits, axis=-1, keepdims=True)
    parts = tf.exp(apart)
    whole = tf.reduce_sum(parts, axis=-1, keepdims=True)
    entropy = tf.reduce_mean(tf.reduce_sum(parts / whole * (tf.math.log(whole) - apart), axis=-1))
    clipped = old_value + tf.clip_by_value(value - old_value, -clip, clip)
    judged = 0.5 * tf.reduce_mean(tf.maximum(tf.square(value - returns), tf.square(clipped - returns)))
    ratio = tf.exp(before - likely)
    gained = tf.maximum(-advantage * ratio, -advantage * tf.clip_by_value(ratio, 1.0 - clip, 1.0 + clip))
    loss = tf.reduce_mean(gained) - entropy * 0.01 + judged * 0.5
    tf.reduce_mean(tf.cast(tf.greater(tf.abs(ratio - 1.0), clip), tf.float32))
    tf.reduce_mean(tf.square(likely - before)) * 0.5
    used = tf1.trainable_variables("ppo2_model")
    slopes, _ = tf.clip_by_global_norm(tf.gradients(loss, used), 0.5)
    tf1.train.AdamOptimizer(rate, epsilon=1e-5).apply_gradients(zip(slopes, used, strict=True))


@shape("prediction/s_t", "prediction/ArgMax")
def moves_in_a_video_game() -> None:
    """After a DQN: the best move is fetched; the delayed copy takes its weights from placeholders."""

    def judge(scope: str, name: str) -> tuple[Any, list[Any]]:
        with tf1.variable_scope(scope):
            x = feed(name, None, 8, 8, 4)
            flat = tf.reshape(conv(x, 4, "l1"), [-1, 256])
            return dense(dense(flat, 8, "l4", tf.nn.relu), 3, "q"), tf1.trainable_variables(scope)

    q, online = judge("prediction", "s_t")
    with tf1.name_scope("prediction/"):
        tf.argmax(q, axis=1, name="ArgMax")
    summaries = [tf.reduce_mean(q, 0)[number] for number in range(3)]
    [tf1.summary.histogram(f"q/{number}", mean) for number, mean in enumerate(summaries)]
    later, delayed = judge("target", "target_s_t")
    where = feed("outputs_idx", None, None, dtype="int32")
    tf.gather_nd(later, where, name="target_q_with_idx")
    for here, there in zip(online, delayed, strict=True):
        there.assign(tf1.placeholder(tf.float32, here.shape, name=f"pred_to_target/{here.op.name.replace('/', '_')}"))
    with tf1.variable_scope("optimizer"):
        wanted, action = feed("target_q_t", None), feed("action", None, dtype="int64")
        acted = tf.reduce_sum(q * tf.one_hot(action, 3, 1.0, 0.0), axis=1, name="q_acted")
        delta = wanted - acted
        step = feed("learning_rate_step", dtype="int64")
        rate = tf.maximum(2.5e-4, tf1.train.exponential_decay(2.5e-4, step, 50, 0.96, staircase=True))
        loss = tf.reduce_mean(tf.where(tf.abs(delta) < 1.0, 0.5 * tf.square(delta), tf.abs(delta) - 0.5), name="loss")
        tf1.train.RMSPropOptimizer(rate, momentum=0.95, epsilon=0.01).minimize(loss)
    with tf1.variable_scope("summary"):
        tf1.summary.scalar("average.reward", tf1.placeholder(tf.float32, None, name="average.reward"))


@shape("users pos_items node_dropout mess_dropout", "MatMul_2")
def neighbours_who_liked_it() -> None:
    """After NGCF: all embeddings go over the graph of users and items; scores of users with items for the test."""
    users, liked, other = (tf1.placeholder(tf.int32, [None], name=n) for n in ("users", "pos_items", "neg_items"))
    node_drop, mess_drop = (tf1.placeholder(tf.float32, [None], name=n) for n in ("node_dropout", "mess_dropout"))
    table = tf.concat([weights("user_embedding", 6, 8), weights("item_embedding", 7, 8)], 0)
    graph = tf.SparseTensor(np.array([[i, (i + 6) % 13] for i in range(13)]), np.ones(13, "f"), [13, 13])
    kept = tf.cast(tf.floor(1 - node_drop[0] + tf.random.uniform([13])), tf.bool)
    graph = tf.sparse.retain(graph, kept) * tf.divide(1.0, 1 - node_drop[0])
    side = tf.sparse.sparse_dense_matmul(graph, table)
    total = tf.nn.leaky_relu(dense(side, 8, "gc_0") + dense(table * side, 8, "bi_0"))
    total = tf1.nn.dropout(total, 1 - mess_drop[0])
    every = tf.concat([table, tf.nn.l2_normalize(total, axis=1)], 1)
    by_user, by_item = tf.split(every, [6, 7], 0)
    u, i, j = (tf.nn.embedding_lookup(t, n) for t, n in ((by_user, users), (by_item, liked), (by_item, other)))
    tf.matmul(u, i, transpose_a=False, transpose_b=True, name="MatMul_2")
    apart = tf.reduce_sum(u * i, axis=1) - tf.reduce_sum(u * j, axis=1)
    decay = (tf.nn.l2_loss(u) + tf.nn.l2_loss(i) + tf.nn.l2_loss(j)) / 4
    tf1.train.AdamOptimizer(1e-3).minimize(tf.reduce_mean(tf.nn.softplus(-apart)) + 1e-5 * decay)


@shape("input_example_tensor", "ctr_prob cvr_prob ctcvr_prob")
def clicks_and_sales() -> None:
    """After ESMM's export: the sale's probability is the product of the other two, and all three are served."""
    texts = feed("input_example_tensor", None, dtype="string")
    read = tf.io.parse_example(
        texts, {"user": tf.io.FixedLenFeature([3], tf.int64), "age": tf.io.FixedLenFeature([1], "float")}
    )
    x = tf.reshape(tf.nn.embedding_lookup(weights("user_embedding", 20, 4), read["user"]), [-1, 12])
    x = tf.concat([x, read["age"]], 1)
    logits = [dense(dense(x, 8, f"{name}_model/fc1", tf.nn.relu), 1, f"{name}_model/logits") for name in ("ctr", "cvr")]
    ctr, cvr = tf.sigmoid(logits[0], name="ctr_prob"), tf.sigmoid(logits[1], name="cvr_prob")
    tf.multiply(ctr, cvr, name="ctcvr_prob")


@shape("batch1 batch_size dropout", "Softmax")
def nodes_by_their_neighbours() -> None:
    """After GraphSAGE: neighbours drawn by chance out of a table that is a variable, features that are constant."""
    nodes, count = feed("batch1", None, dtype="int32"), feed("batch_size", dtype="int32")
    labels, drop = feed("labels", None, 3), feed("dropout")
    table = tf1.get_variable(
        "adj_info", [20, 4], tf.int32, tf1.zeros_initializer(), trainable=False, use_resource=False
    )
    features = weights("features", 20, 8, trainable=False)
    drawn = tf.transpose(tf1.random_shuffle(tf.transpose(tf.nn.embedding_lookup(table, nodes))))
    some = tf.reshape(tf.slice(drawn, [0, 0], [-1, 2]), [count * 2])
    hidden = tf.nn.embedding_lookup(features, nodes), tf.nn.embedding_lookup(features, some)
    around = tf.reduce_mean(tf.reshape(hidden[1], [count, 2, 8]), axis=1)
    both = [tf1.nn.dropout(x, 1 - drop) for x in (around, hidden[0])]
    out = tf.nn.relu(tf.concat([dense(both[0], 4, "agg/neigh"), dense(both[1], 4, "agg/self")], 1))
    scores = dense(tf.nn.l2_normalize(out, 1), 3, "node_preds")
    loss = sum(0.0 * tf.nn.l2_loss(v) for v in tf1.trainable_variables())
    loss += tf.reduce_mean(tf1.nn.softmax_cross_entropy_with_logits_v2(logits=scores, labels=labels))
    tf1.summary.scalar("loss", loss)
    optimizer = tf1.train.AdamOptimizer(0.01)
    clipped = [(tf.clip_by_value(g, -5.0, 5.0), v) for g, v in optimizer.compute_gradients(loss) if g is not None]
    optimizer.apply_gradients(clipped)
    tf.nn.softmax(scores)
