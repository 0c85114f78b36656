"""An eighth set, written before its results were seen: texts, series and tables of public scripts."""

from __future__ import annotations

from typing import Any

from old_layers import cell, dense, drop, dropout, layers, old, slim_dense, stack
from real_shapes import feed, shape

from serialization.tensorflow import np, tf, tf1


def normal(*sizes: int, name: str | None = None) -> Any:
    return tf1.Variable(tf1.random_normal(sizes), name=name)


def decode_greedily(step: Any, state: Any, table: Any, limit: Any, size: int) -> tuple[Any, Any]:
    """The loop of seq2seq.dynamic_decode with a GreedyEmbeddingHelper: the scores of each step, and the words."""
    starts = tf.fill([size], 1)
    with tf1.variable_scope("decoder"):
        scores, words = (tf1.TensorArray(t, 0, dynamic_size=True) for t in (tf.float32, tf.int32))
        done = tf.tile([False], [size])

        def go_on(time: Any, _x: Any, _s: Any, _scores: Any, _words: Any, finished: Any) -> Any:
            return tf.logical_not(tf.logical_or(tf.reduce_all(finished), time >= limit))

        def body(time: Any, x: Any, held: Any, seen: Any, said: Any, finished: Any) -> Any:
            logits, new = step(x, held)
            word = tf.argmax(logits, -1, output_type=tf.int32)
            over = tf.logical_or(finished, tf.equal(word, 2))
            logits = tf1.where(finished, tf.zeros_like(logits), logits)
            following = tf.nn.embedding_lookup(table, word)
            return time + 1, following, new, seen.write(time, logits), said.write(time, word), over

        start = (0, tf.nn.embedding_lookup(table, starts), state, scores, words, done)
        _, _, _, scores, words, _ = tf1.while_loop(go_on, body, start)
        return tf.transpose(scores.stack(), [1, 0, 2]), tf.transpose(words.stack(), [1, 0])


@shape()
@old
def answers_about_insurance() -> Any:
    """A chatbot of many blogs: the inference decoder's logits get a name; training has a decoder of its own."""
    x, targets = feed("input", None, None, dtype="int32"), feed("targets", None, None, dtype="int32")
    feed("learning_rate")
    keep = feed("keep_prob")
    limit = tf1.placeholder_with_default(10, None, name="sequence_length")
    enc = tf.nn.embedding_lookup(tf1.get_variable("EmbedSequence/embeddings", [20, 8]), tf.reverse(x, [-1]))
    wrapped = drop(cell("BasicLSTMCell", 8), input_keep_prob=keep)
    _, state = tf1.nn.dynamic_rnn(stack([wrapped]), enc, dtype=tf.float32, scope="encoder")
    shifted = tf.concat([tf.fill([4, 1], 1), tf.strided_slice(targets, [0, 0], [4, -1], [1, 1])], 1)
    table = tf1.Variable(tf1.random_uniform([20, 8], 0, 1))
    dec = stack([drop(cell("BasicLSTMCell", 8), input_keep_prob=keep)])
    with tf1.variable_scope("decoding"):
        outputs, _ = tf1.nn.dynamic_rnn(dec, tf.nn.embedding_lookup(table, shifted), initial_state=state, scope="rnn")
        w, b = tf1.get_variable("weights", [8, 20]), tf1.get_variable("biases", [20])
        trained = tf.reshape(tf.matmul(tf.reshape(outputs, [-1, 8]), w) + b, [4, -1, 20])
    with tf1.variable_scope("decoding", reuse=True):

        def step(word: Any, held: Any) -> Any:
            with tf1.variable_scope("rnn", reuse=True):
                out, new = dec(word, held)
            return tf.matmul(out, w) + b, new

        inferred, _ = decode_greedily(step, state, table, limit, 4)
    logits = tf.identity(inferred, "logits")
    with tf1.name_scope("optimization"):
        each = tf1.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=trained)
        cost = tf.reduce_sum(each * tf.ones(tf.shape(targets))) / tf.cast(tf.size(targets), tf.float32)
        optimizer = tf1.train.AdamOptimizer(0.005)
        slopes = [(tf.clip_by_value(s, -5.0, 5.0), v) for s, v in optimizer.compute_gradients(cost) if s is not None]
        optimizer.apply_gradients(slopes)
    return [x, keep], [logits]


@shape()
@old
def summaries_with_attention() -> Any:
    """A summarizer without names for its inputs: the words of its greedy decoder are called predictions."""
    x, targets = tf1.placeholder(tf.int32, (None, None)), tf1.placeholder(tf.int32, (None, None))
    tf1.placeholder(dtype=tf.float32)
    lengths_out, lengths = tf1.placeholder(tf.int32, (None,)), tf1.placeholder(tf.int32, (None,))
    longest = tf.reduce_max(lengths_out)
    ending = tf.strided_slice(targets, [0, 0], [4, -1], [1, 1])
    shifted = tf.concat([tf.fill([4, 1], 1), ending], 1)
    enc = tf.nn.embedding_lookup(tf1.get_variable("EmbedSequence/embeddings", [20, 8]), x)
    outputs, state = tf1.nn.dynamic_rnn(cell("LSTMCell", 8), enc, sequence_length=lengths, dtype=tf.float32)
    table = tf1.Variable(tf1.random_uniform([20, 8]))
    with tf1.variable_scope("attention"):
        memory = tf1.get_variable("memory_layer/kernel", [8, 8])
        keys = tf.reshape(tf.matmul(tf.reshape(outputs, [-1, 8]), memory), [4, -1, 8])
        query = tf1.get_variable("query_layer/kernel", [8, 8])
        v = tf1.get_variable("attention_v", [8])
        mix = tf1.get_variable("attention_layer/kernel", [16, 8])
    dec = cell("LSTMCell", 8)
    kernel = tf1.get_variable("dense/kernel", [8, 20])
    bias = tf1.get_variable("dense/bias", [20])

    def step(word: Any, held: Any) -> Any:
        out, new = dec(word, held)
        score = tf.reduce_sum(v * tf.tanh(keys + tf.expand_dims(tf.matmul(out, query), 1)), [2])
        context = tf.squeeze(tf.matmul(tf.expand_dims(tf.nn.softmax(score), 1), outputs), [1])
        return tf.matmul(tf.matmul(tf.concat([out, context], 1), mix), kernel) + bias, new

    with tf1.variable_scope("decode"):
        taught = tf1.TensorArray(tf.float32, 0, dynamic_size=True)
        given = tf.transpose(tf.nn.embedding_lookup(table, shifted), [1, 0, 2])

        def body(time: Any, held: Any, seen: Any) -> Any:
            scores, new = step(given[time], held)
            return time + 1, new, seen.write(time, scores)

        _, _, taught = tf1.while_loop(lambda t, *_: t < longest, body, (0, state, taught))
        trained = tf.transpose(taught.stack(), [1, 0, 2])
    with tf1.variable_scope("decode_1"):
        _, words = decode_greedily(step, state, table, longest, 4)
    logits = tf.identity(trained, "logits")
    predictions = tf.identity(words, name="predictions")
    mask = tf.sequence_mask(lengths_out, longest, dtype=tf.float32, name="masks")
    each = tf1.nn.sparse_softmax_cross_entropy_with_logits(labels=targets, logits=logits)
    cost = tf.reduce_sum(each * mask) / (tf.reduce_sum(mask) + 1e-12)
    optimizer = tf1.train.AdamOptimizer(0.001)
    slopes = [(tf.clip_by_value(s, -5.0, 5.0), v) for s, v in optimizer.compute_gradients(cost) if s is not None]
    optimizer.apply_gradients(slopes)
    return [x, lengths_out, lengths], [predictions]


@shape()
@old
def copies_by_a_raw_loop() -> Any:
    """The well-known tutorial of raw_rnn: the decoder feeds itself, also in training."""
    with tf1.name_scope("inputs-targets"):
        x, lengths = feed("Enc_in", None, None, dtype="int32"), feed("Enc_len", None, dtype="int32")
        targets = feed("Dec_tar", None, None, dtype="int32")
    table = tf1.Variable(tf1.random_uniform([10, 8], -1.0, 1.0))
    with tf1.variable_scope("encoder"):
        embedded = tf.nn.embedding_lookup(table, x)
        _, state = tf1.nn.dynamic_rnn(cell("BasicLSTMCell", 8), embedded, dtype=tf.float32, time_major=True)
    _, size = tf.unstack(tf.shape(x))
    with tf1.variable_scope("decoder"):
        dec = cell("BasicLSTMCell", 8)
        longest = lengths + 3
        w, b = tf1.Variable(tf1.random_uniform([8, 10], -1, 1)), tf1.Variable(tf.zeros([10]))
        go = tf.nn.embedding_lookup(table, tf.ones([size], dtype=tf.int32, name="GO"))
        pad = tf.nn.embedding_lookup(table, tf.zeros([size], dtype=tf.int32, name="PAD"))
        tf.nn.embedding_lookup(table, tf.ones([size], dtype=tf.int32, name="EOS") * 2)

        def loop(time: Any, output: Any, held: Any, _state: Any) -> Any:
            if output is None:
                return longest <= 0, go, state, None, None
            finished = time >= longest

            def following() -> Any:
                return tf.nn.embedding_lookup(table, tf.argmax(tf.matmul(output, w) + b, axis=1))

            given = tf1.cond(tf.reduce_all(finished), lambda: pad, following)
            return finished, given, held, output, None

        outputs, _, _ = tf1.nn.raw_rnn(dec, loop)
        outputs = outputs.stack()
        steps, rows, units = tf.unstack(tf.shape(outputs))
        flat = tf.matmul(tf.reshape(outputs, (-1, units)), w) + b
        logits = tf.reshape(flat, (steps, rows, 10))
        prediction = tf.argmax(logits, 2)
    with tf1.variable_scope("Training"):
        labels = tf.one_hot(targets, depth=10, dtype=tf.float32)
        loss = tf.reduce_mean(tf1.nn.softmax_cross_entropy_with_logits(labels=labels, logits=logits))
        tf1.train.AdamOptimizer().minimize(loss)
    return [x, lengths], [prediction]


@shape()
@old
def intents_and_entities() -> Any:
    """A bot's understanding: a class that is only given above a threshold, and probabilities of two kinds."""
    x, y, e = feed("x", None, 4, 6), feed("y", None, dtype="int32"), feed("e", None, 4, dtype="int32")
    tf1.placeholder_with_default(1.0, (), "dropout")
    threshold = tf1.placeholder_with_default(0.85, (), "threshold")
    forth, back = (cell("LSTMCell", 4, activation="tanh", name=n) for n in ("lstm_fw_1", "lstm_bw_1"))
    outputs, _ = tf1.nn.bidirectional_dynamic_rnn(forth, back, x, dtype=tf.float32)
    both = tf.concat(outputs, axis=-1, name="concat_fw_bw")
    w = tf1.get_variable("W_pos", [8, 5])
    each = [tf.matmul(v, w, name=f"entity_logits_{i}") for i, v in enumerate(tf.unstack(both, 4, axis=1))]
    entity_logits = tf.stack(each, axis=1, name="entity_logits")
    entities = tf.nn.softmax(entity_logits, axis=2, name="entity_probs")
    logits = dense(each[-1], 3, tf.nn.relu, name="intent_logits_1")
    logits = dense(logits, 3, name="intent_logits")
    probs = tf.nn.softmax(logits, axis=-1, name="intent_probs")
    masked = tf.multiply(probs, tf.cast(tf.greater_equal(probs, threshold), tf.float32))
    label = tf.argmax(masked, axis=1)
    tf.argmax(probs, axis=1)
    found = tf.argmax(entities, axis=2)
    weights = tf1.placeholder_with_default([1.0] * 16, [None], name="weights")
    loss = tf1.losses.sparse_softmax_cross_entropy(labels=y, logits=logits, weights=weights)
    loss += tf1.losses.sparse_softmax_cross_entropy(labels=e, logits=entity_logits)
    tf1.train.RMSPropOptimizer(learning_rate=1e-3, momentum=0.1, centered=True).minimize(loss)
    tf1.metrics.accuracy(labels=y, predictions=label)
    tf1.metrics.accuracy(labels=e, predictions=found)
    return [x], [label, probs, entities]


@shape()
@old
def thoughts_that_follow() -> Any:
    """Sentences by an iterator: the loss multiplies their codes with each other, and knows the neighbours by place."""
    dataset = tf1.data.Dataset.from_tensor_slices({"ids": np.zeros((8, 5), "i4"), "mask": np.ones((8, 5), "i4")})
    sentences = tf1.data.make_initializable_iterator(dataset.batch(4, drop_remainder=True)).get_next()
    step = tf1.Variable(0, trainable=False)
    with tf1.variable_scope("encoder"):
        words = tf.nn.embedding_lookup(tf1.get_variable("word_embeddings", [20, 6]), sentences["ids"])
        lengths = tf.reduce_sum(sentences["mask"], 1)
        _, code = tf1.nn.dynamic_rnn(cell("GRUCell", 6), words, lengths, dtype=tf.float32)
    scores = tf.matmul(code, code, transpose_b=True)
    scores = tf1.matrix_set_diag(scores, np.zeros(4, "f"))
    wanted = np.eye(4, k=1, dtype="f") + np.eye(4, k=-1, dtype="f")
    wanted /= wanted.sum(1, keepdims=True)
    loss = tf.reduce_mean(tf1.nn.softmax_cross_entropy_with_logits_v2(labels=wanted, logits=scores))
    tf1.summary.scalar("loss", loss)
    optimizer = tf1.train.AdamOptimizer(0.001)
    slopes = optimizer.compute_gradients(loss)
    tf1.summary.merge_all()
    with tf1.control_dependencies(tf1.get_collection("update_ops")):
        optimizer.apply_gradients(slopes, global_step=step)
    return [sentences["ids"], sentences["mask"]], [code]


@shape()
@old
def parts_of_an_address() -> Any:
    """A tagger with lengths and weights for its loss; probabilities without a name are what is fetched."""
    tokens, labels = feed("tokens", None, 5, dtype="int32"), feed("labels", None, 5, dtype="int32")
    lengths, weights = feed("lengths", None, dtype="int32"), feed("weights", None, 5)
    table = tf1.get_variable("embs", [20, 6])
    x = tf.nn.embedding_lookup(table, tokens)
    outputs, _ = tf1.nn.bidirectional_dynamic_rnn(
        cell("LSTMCell", 4), cell("LSTMCell", 4), x, sequence_length=lengths, dtype=tf.float32
    )
    flat = tf.reshape(tf.concat(outputs, 2), [-1, 8])
    w, b = tf1.get_variable("softmax_w", [8, 4]), tf1.get_variable("softmax_b", [4])
    logits = tf.reshape(tf1.nn.xw_plus_b(flat, w, b), [-1, 5, 4])
    probs = tf.nn.softmax(logits)
    each = tf1.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    loss = tf.reduce_sum(each * weights) / tf.reduce_sum(weights)
    slopes, _ = tf.clip_by_global_norm(tf1.gradients(loss, tf1.trainable_variables()), 5.0)
    tf1.train.AdamOptimizer(0.03).apply_gradients(zip(slopes, tf1.trainable_variables(), strict=True))
    return [tokens, lengths], [probs]


@shape()
@old
def feelings_by_an_estimator() -> Any:
    """A model function in training: the class has a name, the probabilities are made for prediction alone."""
    dataset = tf1.data.Dataset.from_tensor_slices(({"words": np.zeros((8, 4), "i8")}, np.zeros(8, "i8"))).batch(4)
    features, labels = tf1.data.make_one_shot_iterator(dataset).get_next()
    embedded = tf.nn.embedding_lookup(tf1.get_variable("EmbedSequence/embeddings", [20, 6]), features["words"])
    _, code = tf1.nn.static_rnn(cell("GRUCell", 6), tf.unstack(embedded, 4, axis=1), dtype=tf.float32)
    logits = dense(code, 2)
    predictions = tf.argmax(logits, axis=1, name="predictions")
    loss = tf1.losses.sparse_softmax_cross_entropy(labels=labels, logits=logits)
    step = tf1.train.get_or_create_global_step()
    tf1.train.AdamOptimizer(0.01).minimize(loss, global_step=step)
    return [features["words"]], [predictions]


@shape()
@old
def tweets_by_convolutions() -> Any:
    """Kim's network with the embedding fed once: the class is exported, and the scores have a name too."""
    x, y = feed("input_x", None, 6, dtype="int32"), feed("input_y", None, 2)
    keep = tf1.placeholder(tf.float32, name="dropout_keep_prob")
    table = tf1.Variable(tf.constant(0.0, shape=[20, 8]), trainable=False, name="embedd")
    table.assign(tf1.placeholder(tf.float32, [20, 8]))
    sentence = tf.expand_dims(tf.nn.embedding_lookup(table, x), -1)
    decay = tf.constant(0.0)
    fall = tf1.placeholder(tf.float32)
    pooled = []
    for size in (2, 3):
        with tf1.name_scope(f"conv-maxpool-{size}"):
            w = tf1.Variable(tf1.truncated_normal([size, 8, 1, 4], stddev=0.1), name="W")
            b = tf1.Variable(tf.constant(0.1, shape=[4]), name="b")
            c = tf1.nn.conv2d(sentence, w, strides=[1, 1, 1, 1], padding="VALID", name="conv")
            h = tf.nn.relu(tf.nn.bias_add(c, b), name="relu")
            pooled.append(
                tf1.nn.max_pool(h, ksize=[1, 7 - size, 1, 1], strides=[1, 1, 1, 1], padding="VALID", name="pool")
            )
    flat = tf.reshape(tf.concat(pooled, 3), [-1, 8])
    with tf1.name_scope("dropout"):
        dropped = tf1.nn.dropout(flat, keep)
    with tf1.name_scope("output"):
        w = tf1.get_variable("W", shape=[8, 2])
        b = tf1.Variable(tf.constant(0.1, shape=[2]), name="b")
        decay += tf.nn.l2_loss(w)
        decay += tf.nn.l2_loss(b)
        scores = tf1.nn.xw_plus_b(dropped, w, b, name="scores")
        predictions = tf.argmax(scores, 1, name="predictions")
    loss = tf.reduce_mean(tf1.nn.softmax_cross_entropy_with_logits(logits=scores, labels=y)) + 0.15 * decay
    tf1.train.AdamOptimizer(learning_rate=1e-3 * fall).minimize(loss)
    with tf1.name_scope("accuracy"):
        right = tf.equal(predictions, tf.argmax(y, 1))
        tf.reduce_mean(tf.cast(right, "float"), name="accuracy")
    return [x, keep], [predictions]


@shape()
@old
def grades_of_paragraphs() -> Any:
    """A regression on a sequence: the switch for dropout has a default; the prediction is in a collection."""
    x, y = feed("X_ph", 4, 6, 5), feed("y_ph", 4, 1)
    given = feed("seq_lengths_ph", 4, 1, dtype="int32")
    training = tf1.placeholder_with_default(False, name="is_training", shape=[])
    for name, tensor in (("X", x), ("y", y), ("seq_lengths_ph", given)):
        tf1.add_to_collection(name, tensor)
    lengths = tf.squeeze(given)

    def make() -> Any:
        rates = [tf1.cond(training, lambda: 0.8, lambda: 1.0) for _ in range(3)]
        return drop(cell("LSTMCell", 6), input_keep_prob=rates[0], output_keep_prob=rates[1], state_keep_prob=rates[2])

    outputs, _ = tf1.nn.dynamic_rnn(stack([make(), make()]), x, dtype=tf.float32, sequence_length=lengths)
    last = tf.gather_nd(outputs, tf.stack([tf.range(4), lengths - 1], axis=1))
    losses = []
    with tf1.variable_scope("FinalLayer"):
        w = tf1.get_variable("W", shape=[6, 4])
        losses.append(tf.multiply(tf.nn.l2_loss(w), 0.01))
        h = tf.nn.relu(tf.matmul(last, w) + tf1.get_variable("b", shape=[4]))
        h = dropout(h, 0.2, training)
    with tf1.variable_scope("PredictionLayer"):
        w = tf1.get_variable("W", shape=[4, 1])
        losses.append(tf.multiply(tf.nn.l2_loss(w), 0.01))
        prediction = tf.matmul(h, w) + tf1.get_variable("b", shape=[])
        tf1.add_to_collection("prediction", prediction)
    error = tf.reduce_mean(tf1.squared_difference(prediction, y))
    ridge = tf.add_n(losses)
    tf1.summary.scalar("avg_squared_loss", tf.squeeze(error))
    tf1.summary.scalar("total_loss", tf.squeeze(error + ridge))
    tf1.summary.merge_all()
    step = tf1.Variable(0, name="global_step", trainable=False)
    rate = tf1.train.exponential_decay(0.01, step, 100, 0.9, staircase=True)
    tf1.train.AdamOptimizer(rate).minimize(error + ridge, global_step=step)
    return [x, given], [prediction]


@shape()
@old
def sentences_that_are_alike() -> Any:
    """A Siamese LSTM: the distance has a name, and so has the likeness that it is rounded to."""
    one, other = feed("input_x1", None, 5, dtype="int32"), feed("input_x2", None, 5, dtype="int32")
    y, keep = feed("input_y", None), tf1.placeholder(tf.float32, name="dropout_keep_prob")
    with tf1.name_scope("embedding"):
        table = tf1.Variable(tf1.random_uniform([20, 6], -1.0, 1.0), name="W")
        a, b = tf.nn.embedding_lookup(table, one), tf.nn.embedding_lookup(table, other)

    def side(x: Any, scope: str) -> Any:
        with tf1.name_scope("fw" + scope), tf1.variable_scope("fw" + scope):
            outputs, _ = tf1.nn.static_rnn(
                stack([drop(cell("BasicLSTMCell", 6), output_keep_prob=keep)]),
                tf.unstack(tf.transpose(x, perm=[1, 0, 2])),
                dtype=tf.float32,
            )
        return outputs[-1]

    with tf1.name_scope("output"):
        out1, out2 = side(a, "side1"), side(b, "side2")
        distance = tf.sqrt(tf.reduce_sum(tf.square(tf.subtract(out1, out2)), 1, keepdims=True))
        lengths = tf.sqrt(tf.reduce_sum(tf.square(out1), 1, keepdims=True))
        lengths = tf.add(lengths, tf.sqrt(tf.reduce_sum(tf.square(out2), 1, keepdims=True)))
        distance = tf.reshape(tf.divide(distance, lengths), [-1], name="distance")
    with tf1.name_scope("loss"):
        near = y * tf.square(distance)
        far = (1 - y) * tf.square(tf.maximum((1 - distance), 0))
        loss = tf.reduce_sum(near + far) / 4 / 2
    with tf1.name_scope("accuracy"):
        likeness = tf.subtract(tf.ones_like(distance), tf1.rint(distance), name="temp_sim")
        right = tf.equal(likeness, y)
        accuracy = tf.reduce_mean(tf.cast(right, "float"), name="accuracy")
    step = tf1.Variable(0, name="global_step", trainable=False)
    optimizer = tf1.train.AdamOptimizer(1e-3)
    slopes = optimizer.compute_gradients(loss)
    optimizer.apply_gradients(slopes, global_step=step)
    for slope, variable in slopes:
        tf1.summary.histogram(f"{variable.op.name}/grad/hist", slope)
        tf1.summary.scalar(f"{variable.op.name}/grad/sparsity", tf.nn.zero_fraction(slope))
    tf1.summary.scalar("loss", loss)
    tf1.summary.scalar("accuracy", accuracy)
    tf1.summary.merge_all()
    return [one, other, keep], [distance, likeness]


@shape()
@old
def cards_of_a_game() -> Any:
    """An LSTM trained on whole games and played card by card: its state is fed and fetched by names."""
    keep = tf1.placeholder(tf.float32, name="keep_prob")
    cells = [drop(cell("BasicLSTMCell", 6), output_keep_prob=keep) for _ in range(2)]
    from tf_keras.src.layers.rnn.legacy_cells import LSTMStateTuple

    held = [LSTMStateTuple(c=feed(f"state_c_{i}", 1, 6), h=feed(f"state_h_{i}", 1, 6)) for i in range(2)]
    x = feed("x_in", 1, 5)
    both = stack(cells)
    before, after = feed("seq_in", None, None, 5), feed("seq_out", None, None, 4)
    w = tf1.get_variable("softmax_w", shape=[6, 4])
    outputs, _ = tf1.nn.dynamic_rnn(both, before, dtype=tf.float32)
    logits = tf.matmul(tf.reshape(outputs, [-1, 6]), w, name="out_card_logit")
    wanted = tf.reshape(after, [-1, 4], name="out_card_target")
    out, new = both(x, tuple(held))
    card = tf.nn.softmax(tf.matmul(out, w), name="out_card")
    states = []
    for i, one in enumerate(new):
        states += [tf.identity(one.c, name=f"next_c_{i}"), tf.identity(one.h, name=f"next_h_{i}")]
    cost = tf1.losses.softmax_cross_entropy(wanted, logits)
    tf1.train.AdamOptimizer(0.0003).minimize(cost)
    return [keep, x, *(t for s in held for t in s)], [card, *states]


@shape()
@old
def frames_that_follow() -> Any:
    """A static RNN without names that predicts the next frame."""
    x, y = tf1.placeholder("float32", [None, 4, 12]), tf1.placeholder("float32", [None, 12])
    w, b = normal(6, 12, name="weight"), normal(12, name="bias")
    outputs, _ = tf1.nn.static_rnn(cell("BasicLSTMCell", 6, forget_bias=1), tf.unstack(x, 4, 1), dtype="float32")
    pred = tf.add(tf.matmul(outputs[-1], w, transpose_a=False, transpose_b=False), b)
    cost = tf.reduce_mean(tf.abs(pred - y))
    tf1.train.AdamOptimizer(0.0001).minimize(cost)
    return [x], [pred]


@shape()
@old
def digits_row_by_row() -> Any:
    x, y = tf1.placeholder(tf.float32, [None, 4, 4]), tf1.placeholder(tf.float32, [None, 10])
    w, b = normal(6, 10), normal(10)
    outputs, _ = tf1.nn.static_rnn(cell("BasicLSTMCell", 6), tf.unstack(x, 4, axis=1), dtype=tf.float32)
    pred = tf.matmul(outputs[-1], w) + b
    cost = tf.reduce_mean(tf1.nn.softmax_cross_entropy_with_logits(logits=pred, labels=y))
    tf1.train.AdamOptimizer(learning_rate=0.01).minimize(cost)
    tf.reduce_mean(tf.cast(tf.equal(tf.argmax(pred, 1), tf.argmax(y, 1)), tf.float32))
    return [x], [pred]


@shape()
@old
def words_of_a_vector() -> Any:
    """Many labels by contrib's optimize_loss; the sigmoid that predicts has no name."""
    x, y = feed("sentences", None, 8), feed("labels", None, 6)
    step = tf1.Variable(0, name="global_step", trainable=False)
    logits = slim_dense(x, 6, activation=None)
    prediction = tf.sigmoid(logits)
    each = tf1.nn.sigmoid_cross_entropy_with_logits(labels=y, logits=logits)
    loss = tf.reduce_mean(tf.square(each))
    rate = tf1.train.exponential_decay(0.001, step, 1000, 1.0, staircase=True)
    with tf1.variable_scope("OptimizeLoss"):
        tf1.summary.scalar("loss", loss)
        held = tf1.get_variable("learning_rate", [], trainable=False, initializer=tf1.constant_initializer(0.001))
        tf1.summary.scalar("learning_rate", held)
        optimizer = tf1.train.AdamOptimizer(rate)
        slopes = optimizer.compute_gradients(loss)
        tf1.summary.scalar("global_norm/gradient_norm", tf1.global_norm([s for s, _ in slopes]))
        updated = optimizer.apply_gradients(slopes, global_step=step, name="train")
        with tf1.control_dependencies([updated]):
            tf.identity(loss, name="control_dependency")
    return [x], [prediction]


@shape()
@old
def squares_by_queues_outside() -> Any:
    """A small network in scopes; queues that read files stand beside it and feed it through Python."""

    def read(files: list[str]) -> Any:
        queue = tf1.train.string_input_producer(files, num_epochs=1, shuffle=False)
        _, value = tf1.TextLineReader().read(queue)
        return tf1.decode_csv(value, record_defaults=[[0.0], [0.0]])

    read(["./data/csv_data.csv"])
    queue = tf1.train.string_input_producer(["./data/csv_record.tfrecords"], num_epochs=3, shuffle=False)
    _, record = tf1.TFRecordReader().read(queue)
    example = tf1.parse_single_example(record, features={n: tf1.FixedLenFeature([], tf.float32) for n in ("x", "y")})
    tf1.train.batch([example["x"], example["y"]], batch_size=2, capacity=10, dynamic_pad=True)
    with tf1.name_scope("input"):
        x, y = feed("x", None, 1), feed("y", None, 1)
    h = x
    with tf1.name_scope("network"):
        for i, sizes in enumerate(((1, 3), (3, 3), (3, 1)), 1):
            with tf1.variable_scope(f"layer_{i}"):
                w = tf1.get_variable("W", shape=sizes, initializer=tf1.constant_initializer(1.0))
                b = tf1.get_variable("b", shape=[sizes[1]], initializer=tf1.constant_initializer(0.1))
                h = tf.add(tf.matmul(h, w), b)
    cost = tf1.losses.mean_squared_error(y, h)
    tf1.train.AdamOptimizer(0.1).minimize(cost)
    tf1.summary.scalar("Cost", cost)
    tf1.summary.merge_all()
    return [x], [h]


@shape()
@old
def prices_by_tflearn() -> Any:
    """What TFLearn builds for a regression: targets, metrics, a switch that is a variable, averages of the loss."""
    x = feed("input/X", None, 2)
    switch = tf1.get_variable("is_training", dtype=tf.bool, initializer=tf.constant(False), trainable=False)
    tf1.assign(switch, True)
    tf1.assign(switch, False)
    with tf1.variable_scope("FullyConnected"):
        w, b = tf1.get_variable("W", [2, 8]), tf1.get_variable("b", [8], initializer=tf1.zeros_initializer())
        h = tf.nn.bias_add(tf.matmul(x, w), b)
    with tf1.variable_scope("FullyConnected_1"):
        w, b = tf1.get_variable("W", [8, 1]), tf1.get_variable("b", [1], initializer=tf1.zeros_initializer())
        out = tf.nn.bias_add(tf.matmul(h, w), b)
    with tf1.name_scope("targets"):
        y = feed("Y", None, 1)
    with tf1.name_scope("R2"):
        mean = tf.reduce_mean(y)
        score = tf.subtract(1.0, tf.divide(tf.reduce_sum(tf.square(y - out)), tf.reduce_sum(tf.square(y - mean))))
        tf.identity(score, name="R2")
    with tf1.name_scope("targets/MeanSquare"):
        loss = tf.reduce_mean(tf.square(tf.subtract(out, y)))
    with tf1.name_scope("SGD"):
        steps = tf1.Variable(0.0, name="Training_step", trainable=False)
        ema = tf1.train.ExponentialMovingAverage(0.9, name="moving_avg")
        with tf1.name_scope("Total_Loss"):
            total = tf.add_n([loss], name="Total_Loss")
        kept = ema.apply([loss, total])
        tf1.summary.scalar("Loss/raw", loss)
        tf1.summary.scalar("Loss", ema.average(total))
        with tf1.control_dependencies([kept]):
            optimizer = tf1.train.GradientDescentOptimizer(0.01)
            slopes = tf1.gradients(total, tf1.trainable_variables())
            applied = optimizer.apply_gradients(
                zip(slopes, tf1.trainable_variables(), strict=True), global_step=steps, name="apply_grad_op_0"
            )
        with tf1.control_dependencies([applied]):
            tf.no_op(name="train_op_0")
    for name in ("val_loss", "val_acc"):
        held = tf1.Variable(0.0, name=name, trainable=False)
        tf1.assign(held, tf1.placeholder(tf.float32, name=f"placeholder/{name}"))
    return [x], [out]


@shape()
@old
def items_that_interest() -> Any:
    """A deep model on features of users and items, with a second input that only gives indexes nobody needs."""
    x = feed("feature_values", None, 12)
    size = tf1.placeholder(tf.int32, [1], name="input_data_size")
    tf.tile(tf1.Variable([[0, 1, 2]], trainable=False, name="feature_indexs"), multiples=[size[0], 1])
    base, user, item, _ = x[:, 0:4], x[:, 4:8], x[:, 8:12], x[:, 2:6]
    label = feed("label", None, 1)
    step = tf1.Variable(0, trainable=False)

    def convolve(emb: Any) -> Any:
        one = tf.expand_dims(emb, 1)
        outs = []
        for size in (1, 2):
            c = layers("conv1d")(one, 4, size, strides=2, padding="same", activation=tf.nn.relu)
            outs.append(layers("max_pooling1d")(c, pool_size=4, strides=4, padding="same"))
        return tf.reshape(tf.concat(outs, axis=-1), [-1, 8])

    with tf1.name_scope("deep_part"):
        u, i = convolve(user), convolve(item)
        clicked, news = tf.reshape(u, [-1, 1, 8]), tf.expand_dims(i, 1)
        score = tf.nn.softmax(tf.reduce_sum(clicked * news, axis=-1), axis=-1)
        u = tf.reduce_sum(clicked * tf.expand_dims(score, axis=-1), axis=1)
        h = tf.concat([base, u, i], axis=-1)
        kernels = [tf1.Variable(np.ones(s, "f"), dtype=np.float32) for s in ((20, 8), (8, 4), (4, 1))]
        shifts = [tf1.Variable(np.ones((1, n), "f"), dtype=np.float32) for n in (8, 4, 1)]
        for w, b in zip(kernels[:2], shifts[:2], strict=True):
            h = tf1.nn.dropout(tf.nn.relu(tf.add(tf.matmul(h, w), b)), 1)
        out = tf.add(tf.matmul(h, kernels[2]), shifts[2])
    out = tf.nn.sigmoid(out)
    loss = tf.reduce_mean(tf1.losses.log_loss(label, out))
    for w in kernels[:2]:
        loss = loss + 0.01 * tf.nn.l2_loss(w)
    rate = tf1.train.exponential_decay(0.001, step, 100, 0.9, staircase=True)
    tf1.train.AdamOptimizer(learning_rate=rate).minimize(loss, global_step=step)
    return [x], [out]


@shape()
@old
def ratings_that_are_missing() -> Any:
    """An unbiased recommender: a propensity is fed beside the labels, and weighs them in the loss."""
    users, items = feed("user_placeholder", None, dtype="int32"), feed("item_placeholder", None, dtype="int32")
    scores, labels = feed("score_placeholder", None, 1), feed("label_placeholder", None, 1)
    with tf1.name_scope("embedding_layer"):
        u, i = tf1.get_variable("user_embeddings", [9, 4]), tf1.get_variable("item_embeddings", [9, 4])
        ub = tf1.Variable(tf1.random_normal(shape=[9], stddev=0.01), name="user_b")
        ib = tf1.Variable(tf1.random_normal(shape=[9], stddev=0.01), name="item_b")
        shift = tf1.get_variable("global_bias", [1], initializer=tf1.constant_initializer(1e-3))
        ue, ubias = tf.nn.embedding_lookup(u, users), tf.nn.embedding_lookup(ub, users)
        ie, ibias = tf.nn.embedding_lookup(i, items), tf.nn.embedding_lookup(ib, items)
    with tf1.variable_scope("prediction"):
        logits = tf.add(tf.add(tf.add(tf.reduce_sum(tf.multiply(ue, ie), 1), ubias), ibias), shift)
        preds = tf.sigmoid(tf.expand_dims(logits, 1), name="sigmoid_prediction")
    with tf1.name_scope("losses"):
        -tf.reduce_mean(labels * tf.math.log(preds) + (1 - labels) * tf.math.log(1.0 - preds))
        clipped = tf.clip_by_value(scores, clip_value_min=0.1, clip_value_max=1.0)
        ce = -tf.reduce_sum(
            1 * (labels / clipped) * tf.math.log(preds) + (1 - labels / clipped) * tf.math.log(1.0 - preds)
        ) / tf.reduce_sum(labels + (1 - labels))
        decay = tf.nn.l2_loss(u) + tf.nn.l2_loss(i) + tf.nn.l2_loss(ib) + tf.nn.l2_loss(ub)
        loss = ce + 0.01 * decay
    with tf1.name_scope("optimizer"):
        tf1.train.GradientDescentOptimizer(learning_rate=0.01).minimize(loss)
    return [users, items], [preds]


@shape()
@old
def ratings_by_two_losses() -> Any:
    """A matrix of ratings, with a squared and a logarithmic loss, each with an optimizer."""
    users, items = feed("user_placeholder", None, dtype="int32"), feed("item_placeholder", None, dtype="int32")
    labels = feed("label_placeholder", None, 1)
    with tf1.name_scope("embedding_layer"):
        u, i = tf1.get_variable("user_embeddings", [9, 4]), tf1.get_variable("item_embeddings", [9, 4])
        ue, ie = tf.nn.embedding_lookup(u, users), tf.nn.embedding_lookup(i, items)
    with tf1.variable_scope("prediction"):
        preds = tf.expand_dims(tf.reduce_sum(tf.multiply(ue, ie), 1), 1)
    with tf1.name_scope("losses"):
        mse = tf.reduce_mean(tf.square(labels - preds))
        ce = -tf.reduce_mean(labels * tf.math.log(tf.sigmoid(preds)) + (1 - labels) * tf.math.log(1.0 - preds))
    with tf1.name_scope("optimizer"):
        tf1.train.AdamOptimizer(learning_rate=0.005).minimize(mse)
        tf1.train.AdamOptimizer(learning_rate=0.005).minimize(ce)
    return [users, items], [preds]


@shape()
@old
def features_that_attend() -> Any:
    """An attentional factorization machine in a model function: a sigmoid that a hook fetches."""
    columns = {f"C{n}": np.zeros(8, "i8") for n in range(3)}
    dataset = tf1.data.Dataset.from_tensor_slices(({"sparse_features": columns}, np.zeros(8, "f"))).batch(4)
    features, labels = tf1.data.make_one_shot_iterator(dataset).get_next()
    fields = list(features["sparse_features"].values())
    linear = tf.add_n([tf.nn.embedding_lookup(tf1.get_variable(f"w{n}", [9, 1]), f) for n, f in enumerate(fields)])
    vectors = [tf.nn.embedding_lookup(tf1.get_variable(f"v{n}", [9, 4]), f) for n, f in enumerate(fields)]
    pairs = tf.stack([vectors[a] * vectors[b] for a in range(3) for b in range(a + 1, 3)], axis=1)
    with tf1.variable_scope("attention"):
        score = layers("dense")(pairs, 4, tf.nn.relu)
        score = tf.nn.softmax(layers("dense")(score, 1, use_bias=False), axis=1)
    pooled = tf.reduce_sum(score * pairs, axis=1)
    logits = tf.squeeze(tf.add_n([linear, dense(pooled, 1, use_bias=False)]), axis=1)
    pred = tf.sigmoid(logits)
    loss = tf.reduce_sum(tf1.nn.sigmoid_cross_entropy_with_logits(logits=logits, labels=labels))
    step = tf1.train.get_or_create_global_step()
    tf1.train.AdamOptimizer(0.01).minimize(loss, global_step=step)
    return fields, [pred]


@shape()
@old
def clicks_by_fields() -> Any:
    """DeepFM as it is often copied: rates of dropout are lists that are fed; a switch for normalization."""
    index, value = feed("feat_index", None, 3, dtype="int32"), feed("feat_value", None, 3)
    label = feed("label", None, 1)
    keep_fm, keep_deep = feed("dropout_keep_fm", None), feed("dropout_keep_deep", None)
    tf1.placeholder(tf.bool, name="train_phase")
    table = tf1.Variable(tf1.random_normal([20, 4], 0.0, 0.01), name="feature_embeddings")
    first = tf1.Variable(tf1.random_uniform([20, 1], 0.0, 1.0), name="feature_bias")
    v = tf.reshape(value, shape=[-1, 3, 1])
    e = tf.multiply(tf.nn.embedding_lookup(table, index), v)
    y1 = tf1.nn.dropout(tf.reduce_sum(tf.multiply(tf.nn.embedding_lookup(first, index), v), 2), keep_fm[0])
    y2 = 0.5 * tf.subtract(tf.square(tf.reduce_sum(e, 1)), tf.reduce_sum(tf.square(e), 1))
    y2 = tf1.nn.dropout(y2, keep_fm[1])
    h = tf1.nn.dropout(tf.reshape(e, shape=[-1, 12]), keep_deep[0])
    w, b = tf1.Variable(np.ones((12, 8), "f")), tf1.Variable(np.ones((1, 8), "f"))
    h = tf1.nn.dropout(tf.nn.relu(tf.add(tf.matmul(h, w), b)), keep_deep[1])
    w, b = tf1.Variable(np.ones((15, 1), "f")), tf1.Variable(tf.constant(0.01), dtype=np.float32)
    out = tf.add(tf.matmul(tf.concat([y1, y2, h], axis=1), w), b)
    out = tf.nn.sigmoid(out)
    loss = tf1.losses.log_loss(label, out)
    loss += 0.01 * tf.nn.l2_loss(w)
    tf1.train.AdamOptimizer(0.001, beta1=0.9, beta2=0.999, epsilon=1e-8).minimize(loss)
    return [index, value, keep_fm, keep_deep], [out]


@shape()
@old
def neighbours_of_users() -> Any:
    """Graph collaborative filtering: scores of all pairs are fetched; the loss takes a third input, wrong items."""
    users, good, bad = (tf1.placeholder(tf.int32, shape=(None,)) for _ in range(3))
    node, message = tf1.placeholder(tf.float32, shape=[None]), tf1.placeholder(tf.float32, shape=[None])
    u = tf1.Variable(tf1.glorot_uniform_initializer()([5, 4]), name="user_embedding")
    i = tf1.Variable(tf1.glorot_uniform_initializer()([6, 4]), name="item_embedding")
    w, b = tf1.Variable(tf.ones([4, 4]), name="W_gc_0"), tf1.Variable(tf.zeros([1, 4]), name="b_gc_0")
    graph = tf1.SparseTensor([[0, 5], [5, 0]], [1.0, 1.0], [11, 11])
    kept = tf.floor(node[0] + tf1.random_uniform([2]))
    graph = tf1.sparse_retain(graph, tf.cast(kept, tf.bool)) * (1.0 / node[0])
    ego = tf.concat([u, i], axis=0)
    side = tf1.sparse_tensor_dense_matmul(graph, ego)
    ego2 = tf1.nn.dropout(tf.nn.leaky_relu(tf.matmul(side, w) + b), 1 - message[0])
    every = tf.concat([ego, tf.math.l2_normalize(ego2, axis=1)], 1)
    all_users, all_items = tf.split(every, [5, 6], 0)
    ue, ge, be = (tf.nn.embedding_lookup(t, n) for t, n in ((all_users, users), (all_items, good), (all_items, bad)))
    ratings = tf.matmul(ue, ge, transpose_a=False, transpose_b=True)
    pos, neg = tf.reduce_sum(tf.multiply(ue, ge), axis=1), tf.reduce_sum(tf.multiply(ue, be), axis=1)
    decay = (tf.nn.l2_loss(ue) + tf.nn.l2_loss(ge) + tf.nn.l2_loss(be)) / 4
    loss = tf.reduce_mean(tf.nn.softplus(-(pos - neg))) + 1e-5 * decay
    tf1.train.AdamOptimizer(learning_rate=0.01).minimize(loss)
    return [users, good, node, message], [ratings]
