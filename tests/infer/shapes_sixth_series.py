"""Signs, answers, drawings, videos and prices as public programs of TensorFlow 1 build them: second half."""

from __future__ import annotations

from typing import Any

from real_shapes import Cell, attend, feed, shape, weights
from typical_graphs import conv, dense

from serialization.tensorflow import np, tf, tf1


@shape("input_image_as_bytes", "prediction probability", frozen="prediction probability")
def letters_of_a_sign() -> None:
    """After an attention OCR's export: bytes of pictures in, the text and its probability out."""
    data = feed("input_image_as_bytes", None, dtype="string")

    def read(text: Any) -> Any:
        image = tf1.image.resize_images(tf.image.rgb_to_grayscale(tf.image.decode_png(text, channels=3)), [8, 16])
        return tf.reshape(image, [8, 16, 1])

    images = tf.map_fn(read, data, dtype=tf.float32)
    columns = tf.transpose(tf.reduce_mean(conv(images / 255.0 - 0.5, 8, "conv"), 1), [1, 0, 2])
    letters = tf.constant([bytes([97 + i]) for i in range(12)])
    memory, words, likely = dense(columns, 8, "enc"), [], []
    state = tf.reduce_mean(memory, 0)
    for _ in range(3):
        heat = tf.nn.softmax(tf.reduce_sum(memory * state[None], 2), axis=0)
        state = dense(state + tf.reduce_sum(memory * heat[..., None], 0), 8, "dec", tf.tanh)
        out = tf.nn.softmax(dense(state, 12, "proj"))
        words.append(tf.gather(letters, tf.argmax(out, 1)))
        likely.append(tf.reduce_max(out, 1))
    joined = tf.strings.reduce_join(tf.stack(words, 1), 1)
    probability = tf.reduce_prod(tf.stack(likely, 1), 1)
    single = tf.equal(tf.shape(joined)[0], 1)
    tf1.cond(single, lambda: joined[0], lambda: joined, name="text")
    tf.identity(tf1.cond(single, lambda: joined[:1], lambda: joined), name="prediction")
    tf.identity(tf1.cond(single, lambda: probability[:1], lambda: probability), name="probability")


@shape("IteratorGetNext:0 IteratorGetNext:1 IteratorGetNext:2", "unstack:0 unstack:1", saver=True)
def begin_and_end_of_an_answer() -> None:
    """After BERT for SQuAD, for prediction: rows carry a number that only the report needs."""
    data = tf1.data.Dataset.from_tensor_slices(
        {n: np.zeros([8, 6], "i") for n in ("input_ids", "input_mask", "segment_ids")}
        | {"unique_ids": np.zeros([8], "i")}
    ).batch(4)
    given = tf1.data.make_initializable_iterator(data).get_next()
    x = tf.nn.embedding_lookup(weights("bert/word_embeddings", 20, 8), given["input_ids"])
    x += tf.nn.embedding_lookup(weights("bert/token_type_embeddings", 2, 8), given["segment_ids"])
    x = attend(x, given["input_mask"], "bert/encoder")
    dense(x[:, 0], 8, "bert/pooler", tf.tanh)
    flat = tf.matmul(tf.reshape(x, [-1, 8]), weights("cls/squad/output_weights", 2, 8), transpose_b=True)
    logits = tf.reshape(tf.nn.bias_add(flat, weights("cls/squad/output_bias", 2)), [-1, 6, 2])
    tf.unstack(tf.transpose(logits, [2, 0, 1]), axis=0, name="unstack")


@shape(
    "Placeholder_1 Placeholder",
    "vector_rnn/Softmax vector_rnn/Softmax_1 vector_rnn/split_1:1 vector_rnn/split_1:2 vector_rnn/Exp_2"
    " vector_rnn/Exp_3 vector_rnn/Tanh vector_rnn/RNN/while/Exit_3 vector_rnn/RNN/while/Exit_4",
)
def strokes_of_a_drawing() -> None:
    """After SketchRNN: a drawing is encoded, its own strokes are the targets; a mixture is fetched."""
    lengths, strokes = tf1.placeholder(tf.int32, [2]), tf1.placeholder(tf.float32, [2, 6, 5])
    given, target = strokes[:, :-1], strokes[:, 1:]
    _, (_, last) = tf1.nn.dynamic_rnn(Cell(8), target, lengths, dtype=tf.float32, scope="vector_rnn/ENC_RNN")
    with tf1.variable_scope("vector_rnn"):
        mean, spread = dense(last, 4, "ENC_RNN_mu"), dense(last, 4, "ENC_RNN_sigma")
        z = mean + tf.exp(spread / 2.0) * tf.random.normal([2, 4])
        divergence = tf.maximum(-0.5 * tf.reduce_mean(1 + spread - tf.square(mean) - tf.exp(spread)), 0.2)
        start = tf.split(dense(z, 16, "linear", tf.tanh), 2, 1)
        x = tf.concat([given, tf.tile(z[:, None], [1, 5, 1])], 2)
        out, _ = tf1.nn.dynamic_rnn(Cell(8), x, lengths, initial_state=tuple(start), scope="RNN")
        flat = dense(tf.reshape(out, [-1, 8]), 3 + 6 * 3, "output")
        pens = flat[:, :3]
        pi, mu1, mu2, s1, s2, corr = tf.split(flat[:, 3:], 6, 1)
        tf.nn.softmax(pens)
        pi, s1, s2, corr = tf.nn.softmax(pi), tf.exp(s1), tf.exp(s2), tf.tanh(corr)
        x1, x2, eos, eoc, cont = tf.split(tf.reshape(target, [-1, 5]), 5, 1)
        n1, n2 = (x1 - mu1) / s1, (x2 - mu2) / s2
        z_value = tf.square(n1) + tf.square(n2) - 2 * corr * n1 * n2
        density = tf.exp(-z_value / (2 * (1 - tf.square(corr)))) / (2 * np.pi * s1 * s2 * tf.sqrt(1 - tf.square(corr)))
        missed = -tf.math.log(tf.reduce_sum(density * pi, 1, keepdims=True) + 1e-6) * (1.0 - cont)
        labels = tf.concat([eos, eoc, cont], 1)
        drawn = tf1.nn.softmax_cross_entropy_with_logits_v2(labels=labels, logits=pens)
        cost = tf.reduce_mean(missed) + tf.reduce_mean(drawn)
        weight = tf1.get_variable("kl_weight", [], initializer=tf1.ones_initializer(), trainable=False)
        rate = tf1.get_variable("lr", [], initializer=tf1.ones_initializer(), trainable=False)
        optimizer = tf1.train.AdamOptimizer(rate)
        slopes = optimizer.compute_gradients(cost + divergence * weight)
        optimizer.apply_gradients([(tf.clip_by_value(g, -1.0, 1.0), v) for g, v in slopes])


@shape("Placeholder_1 Placeholder_2", "TopKV2:0 TopKV2:1")
def videos_to_see_next() -> None:
    """After a recommender of videos: sampled classes in training, the best hundred for the user in the test."""
    clicked, watched, length = (
        tf1.placeholder(tf.int32, [None]),
        tf1.placeholder(tf.int32, [None, 5]),
        tf1.placeholder(tf.float32, [None, 1]),
    )
    rate = tf1.placeholder(tf.float64, [])
    items, bias = weights("item_emb_w", 20, 8), weights("item_b", 20)
    seen = tf.reduce_sum(tf.nn.embedding_lookup(items, watched), 1) / length
    user = dense(dense(seen, 8, "dense", tf.nn.relu), 8, "dense_1", tf.nn.relu)
    loss = tf.reduce_mean(
        tf1.nn.sampled_softmax_loss(
            weights=items, biases=bias, labels=tf.reshape(clicked, [-1, 1]), inputs=user, num_sampled=4, num_classes=20
        )
    )
    scores = tf.matmul(user, items, transpose_b=True) + bias
    tf.nn.top_k(scores, 5)
    step = tf1.get_variable("global_step", [], tf.int32, tf1.zeros_initializer(), trainable=False)
    used = tf1.trainable_variables()
    clipped, _ = tf.clip_by_global_norm(tf.gradients(loss, used), 5)
    pairs = zip(clipped, used, strict=True)
    tf1.train.GradientDescentOptimizer(rate).apply_gradients(pairs, global_step=step)


@shape("inputs stock_labels keep_prob", "add")
def prices_of_many_stocks() -> None:
    """After an LSTM for stocks: symbols as embeddings beside prices; a name only for the summary."""
    rate, keep = (
        tf1.placeholder(tf.float32, None, name="learning_rate"),
        tf1.placeholder(tf.float32, None, name="keep_prob"),
    )
    symbols = feed("stock_labels", None, 1, dtype="int32")
    inputs, targets = feed("inputs", None, 5, 1), feed("targets", None, 1)
    table = weights("embed_matrix", 6, 3)
    stacked = tf.tile(symbols, [1, 5], name="stacked_stock_labels")
    x = tf.concat([inputs, tf.nn.embedding_lookup(table, stacked)], axis=2, name="inputs_with_embed")
    tf.convert_to_tensor(table)
    out, _ = tf1.nn.dynamic_rnn(Cell(8), x, dtype=tf.float32, scope="dynamic_rnn")
    out = tf1.nn.dropout(tf.transpose(out, [1, 0, 2]), keep)
    last = tf.gather(out, int(out.shape[0]) - 1, name="lstm_state")
    pred = tf.matmul(last, weights("w", 8, 1)) + weights("b", 1)
    tf1.summary.histogram("pred", pred)
    loss = tf.reduce_mean(tf.square(pred - targets), name="loss_mse_train")
    tf1.train.RMSPropOptimizer(rate).minimize(loss, name="rmsprop_optim")
    tf.reduce_mean(tf.square(pred - targets), name="loss_mse_test")


@shape("state_ph", "strided_slice")
def moves_with_a_replay() -> None:
    """After Dopamine: the batch of memories comes out of a Python function, the state of the game is fed."""
    state = tf1.placeholder(tf.uint8, [1, 8, 8, 4], name="state_ph")

    def judge(x: Any, scope: str) -> Any:
        with tf1.variable_scope(scope, reuse=tf1.AUTO_REUSE):
            net = conv(tf.cast(x, tf.float32) / 255.0, 4, "Conv")
            return dense(tf.reshape(net, [-1, 256]), 3, "fully_connected")

    tf.argmax(judge(state, "Online"), axis=1)[0]
    kinds = [tf.uint8, tf.int32, tf.float32, tf.uint8, tf.uint8]
    parts = tf1.py_func(lambda: [np.zeros(1, k.as_numpy_dtype) for k in kinds], [], kinds, name="replay_sample_py_func")
    for part, size in zip(parts, ([4, 8, 8, 4], [4], [4], [4, 8, 8, 4], [4]), strict=True):
        part.set_shape(size)
    before, action, reward, after, ended = parts
    q, later = judge(before, "Online"), judge(after, "Target")
    chosen = tf.reduce_sum(q * tf.one_hot(action, 3, 1.0, 0.0, name="action_one_hot"), axis=1, name="replay_chosen_q")
    wanted = reward + 0.99 * tf.reduce_max(later, 1) * (1.0 - tf.cast(ended, tf.float32))
    loss = tf1.losses.huber_loss(tf.stop_gradient(wanted), chosen, reduction=tf1.losses.Reduction.NONE)
    with tf1.variable_scope("Losses"):
        tf1.summary.scalar("HuberLoss", tf.reduce_mean(loss))
    tf1.train.RMSPropOptimizer(0.00025, decay=0.95, centered=True).minimize(tf.reduce_mean(loss))
    pairs = (tf1.trainable_variables(scope) for scope in ("Online", "Target"))
    [there.assign(here, use_locking=True) for here, there in zip(*pairs, strict=True)]


@shape("IteratorGetNext:0 IteratorGetNext:1", "words/LookupTableFindV2")
def translations_of_lines() -> None:
    """After the NMT tutorial, for inference: lines go through a dataset, numbers come back as words."""
    lines = tf1.placeholder(tf.string, [None], name="src_placeholder")
    table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["a", "b"], tf.constant([1, 2], tf.int64)), 0)
    data = tf1.data.Dataset.from_tensor_slices(lines)
    data = data.map(lambda line: tf.cast(tf.strings.to_number(tf.strings.split(line), tf.int32), tf.int32))
    data = data.map(lambda numbers: (numbers, tf.size(numbers))).padded_batch(4, ([None], []))
    source, lengths = tf1.data.make_initializable_iterator(data).get_next()
    table.lookup(tf.constant("</s>"))
    back = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(tf.constant([0, 1, 2], tf.int64), tf.constant(["<s>", "a", "b"])), "<unk>"
    )
    embedded = tf.nn.embedding_lookup(weights("embeddings/encoder", 20, 8), source)
    cell = Cell(8)
    memory, state = tf1.nn.dynamic_rnn(cell, embedded, lengths, dtype=tf.float32, scope="dynamic_seq2seq/encoder")
    target, found = weights("embeddings/decoder", 20, 8), tf1.TensorArray(tf.int32, 0, dynamic_size=True)

    def step(time: Any, word: Any, c: Any, h: Any, found: Any) -> tuple[Any, ...]:
        with tf1.variable_scope("dynamic_seq2seq/decoder", reuse=tf1.AUTO_REUSE):
            out, (c, h) = cell(tf.nn.embedding_lookup(target, word), (c, h))
            heat = tf.nn.softmax(tf.reduce_sum(memory * out[:, None], 2))
            logits = dense(tf.concat([out, tf.reduce_sum(memory * heat[..., None], 1)], 1), 20, "output_projection")
        word = tf.cast(tf.argmax(logits, -1), tf.int32)
        return time + 1, word, c, h, found.write(time, word)

    start = tf.zeros([tf.shape(source)[0]], tf.int32)
    limit = tf.cast(tf.round(tf.cast(tf.reduce_max(lengths), tf.float32) * 2.0), tf.int32)
    *_, found = tf1.while_loop(lambda time, *_: time < limit, step, (0, start, *state, found), back_prop=False)
    back.lookup(tf.cast(found.stack(), tf.int64), name="words")
