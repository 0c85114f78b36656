"""Texts, sound, games and tables as public programs of TensorFlow 1 and 2 build and export them: first half."""

from __future__ import annotations

from typing import Any

from real_shapes import Cell, attend, feed, shape, weights
from typical_graphs import dense

from serialization.tensorflow import np, tf, tf1


@shape("input_ids input_mask segment_ids", "loss/Softmax")
def sentences_served_with_a_label() -> None:
    """After BERT's classifier, exported for serving: label_ids are still fed into a loss that nobody reads."""
    ids, mask, segments = (feed(n, None, 8, dtype="int32") for n in ("input_ids", "input_mask", "segment_ids"))
    labels = feed("label_ids", None, dtype="int32")
    with tf1.variable_scope("bert"):
        x = tf.nn.embedding_lookup(weights("word_embeddings", 20, 8), ids)
        x += tf.nn.embedding_lookup(weights("token_type_embeddings", 2, 8), segments)
        x = attend(x, mask, "encoder/layer_0")
        pooled = dense(x[:, 0], 8, "pooler", tf.tanh)
    output = weights("output_weights", 3, 8)
    with tf1.variable_scope("loss"):
        logits = tf.nn.bias_add(tf.matmul(pooled, output, transpose_b=True), weights("output_bias", 3))
        tf.nn.softmax(logits, axis=-1)
        logs = tf.nn.log_softmax(logits, axis=-1)
        example = -tf.reduce_sum(tf.one_hot(labels, 3) * logs, axis=-1)
        tf.reduce_mean(example)


@shape("Placeholder", "sample_sequence/while/Exit_3")
def story_by_samples() -> None:
    """After GPT-2's sampler: keys and values of the past go round in the loop, the tokens are what is wanted."""
    context = tf1.placeholder(tf.int32, [2, None])
    table = weights("model/wte", 20, 8)

    def step(tokens: Any, past: Any) -> tuple[Any, Any]:
        with tf1.variable_scope("model", reuse=tf1.AUTO_REUSE):
            x = tf.nn.embedding_lookup(table, tokens)
            present = dense(x, 8, "h0/attn/c_attn")
            keys = tf.concat([past, present], 1) if past is not None else present
            x = tf.matmul(tf.nn.softmax(tf.matmul(x, keys, transpose_b=True)), keys) + x
            return tf.tensordot(x, table, [[2], [1]]), keys

    with tf.name_scope("sample_sequence"):
        _, past = step(context[:, :-1], None)

        def body(past: Any, previous: Any, output: Any) -> list[Any]:
            logits, present = step(previous[:, None], past)
            logits = tf.cast(logits[:, -1], tf.float32) / 0.7
            kept, _ = tf.nn.top_k(logits, k=5)
            logits = tf.where(logits < kept[:, -1, None], tf.ones_like(logits) * -1e10, logits)
            sample = tf.random.categorical(logits, 1, dtype=tf.int32)
            return [present, tf.squeeze(sample, [1]), tf.concat([output, sample], 1)]

        tf1.while_loop(
            lambda *_: True,
            body,
            [past, context[:, -1], context],
            shape_invariants=[tf.TensorShape([2, None, 8]), tf.TensorShape([2]), tf.TensorShape([2, None])],
            maximum_iterations=6,
            back_prop=False,
        )


@shape("encoder0 encoder1 encoder2 decoder0", "proj/BiasAdd proj_1/BiasAdd proj_2/BiasAdd")
def answers_word_by_word() -> None:
    """After the first seq2seq tutorial, decoding: one placeholder for each word, losses by weights beside them."""
    encoder = [feed(f"encoder{i}", None, dtype="int32") for i in range(3)]
    decoder = [feed(f"decoder{i}", None, dtype="int32") for i in range(4)]
    importance = [feed(f"weight{i}", None) for i in range(3)]
    table, cell = weights("embedding", 20, 8), Cell(8)
    state = cell.zero_state(tf.shape(encoder[0])[0], tf.float32)
    memory = []
    for word in encoder:
        out, state = cell(tf.nn.embedding_lookup(table, word), state, "encoder")
        memory.append(out)
    keys, word, losses = tf.stack(memory, 1), decoder[0], []
    for number in range(3):
        out, state = cell(tf.nn.embedding_lookup(table, word), state, "decoder")
        heat = tf.nn.softmax(tf.reduce_sum(keys * out[:, None], 2))
        logits = dense(tf.concat([out, tf.reduce_sum(keys * heat[..., None], 1)], 1), 20, "proj")
        word = tf.stop_gradient(tf.cast(tf.argmax(logits, 1), tf.int32))
        missed = tf1.nn.sparse_softmax_cross_entropy_with_logits(labels=decoder[number + 1], logits=logits)
        losses.append(missed * importance[number])
    total = tf.add_n(losses) / (tf.add_n(importance) + 1e-12)
    tf.reduce_sum(total) / tf.cast(tf.shape(encoder[0])[0], tf.float32)


@shape("input_ids input_mask", "ReverseSequence_1")
def names_by_the_best_path() -> None:
    """After a tagger on BERT, for prediction: Viterbi's loop forwards, the pointers backwards."""
    ids, mask = feed("input_ids", None, 8, dtype="int32"), feed("input_mask", None, 8, dtype="int32")
    x = attend(tf.nn.embedding_lookup(weights("bert/embeddings/word_embeddings", 20, 8), ids), mask, "bert/encoder")
    scores, lengths = dense(x, 4, "project/logits"), tf.reduce_sum(tf.sign(tf.abs(ids)), axis=1)
    moves = weights("crf_loss/transitions", 4, 4)
    rest = tf.transpose(scores[:, 1:], [1, 0, 2])

    def forwards(carried: tuple[Any, Any], now: Any) -> tuple[Any, Any]:
        paths = carried[0][:, :, None] + moves[None]
        return now + tf.reduce_max(paths, 1), tf.cast(tf.argmax(paths, 1), tf.int32)

    start = scores[:, 0], tf.zeros_like(scores[:, 0], tf.int32)
    reached, pointers = tf1.scan(forwards, rest, start)
    pointers = tf.reverse_sequence(tf.transpose(pointers, [1, 0, 2]), lengths - 1, 1)
    last = tf.cast(tf.argmax(reached[-1], 1), tf.int32)

    def backwards(tag: Any, found: Any) -> Any:
        return tf.gather_nd(found, tf.stack([tf.range(tf.shape(tag)[0]), tag], 1))

    tags = tf1.scan(backwards, tf.transpose(pointers, [1, 0, 2]), last)
    path = tf.concat([last[:, None], tf.transpose(tags)], 1)
    tf.reduce_max(reached[-1], 1)
    tf.reverse_sequence(path, lengths, 1)


@shape("IteratorGetNext:0 IteratorGetNext:1", "predict/ArgMax predict/ArgMax_1")
def answer_in_a_paragraph() -> None:
    """After R-Net: batches by a handle; a variable says whether it trains; begin and end of the answer."""
    data = tf1.data.Dataset.from_tensor_slices(
        (np.ones([8, 6], "i"), np.ones([8, 6], "i"), np.ones([8, 6], "f"), np.ones([8, 6], "f"), np.ones([8], "i8"))
    ).batch(4)
    handle = feed("handle", dtype="string")
    iterator = tf1.data.Iterator.from_string_handle(
        handle, tf1.data.get_output_types(data), tf1.data.get_output_shapes(data)
    )
    tf1.data.make_one_shot_iterator(data)
    c, q, y1, y2, _ = iterator.get_next()
    training = tf1.get_variable("is_train", [], tf.bool, tf1.zeros_initializer(), trainable=False)
    words = weights("word_mat", 20, 8, trainable=False)
    c_mask, q_mask = tf.cast(c, tf.bool), tf.cast(q, tf.bool)

    def drop(x: Any) -> Any:
        return tf1.cond(training, lambda: tf1.nn.dropout(x, 0.7), lambda: x)

    read = attend(drop(tf.nn.embedding_lookup(words, c)), c_mask, "encoding")
    asked = attend(drop(tf.nn.embedding_lookup(words, q)), q_mask, "encoding_q")
    match = tf.matmul(tf.nn.softmax(tf.matmul(read, asked, transpose_b=True)), asked) + read
    logits1 = tf.squeeze(dense(match, 1, "pointer/first"), -1) - 1e30 * (1 - tf.cast(c_mask, tf.float32))
    logits2 = tf.squeeze(dense(match, 1, "pointer/second"), -1) - 1e30 * (1 - tf.cast(c_mask, tf.float32))
    with tf1.variable_scope("predict"):
        outer = tf.matmul(tf.nn.softmax(logits1)[:, :, None], tf.nn.softmax(logits2)[:, None])
        outer = tf.linalg.band_part(outer, 0, 15)
        tf.argmax(tf.reduce_max(outer, axis=2), axis=1)
        tf.argmax(tf.reduce_max(outer, axis=1), axis=1)
        losses = tf1.nn.softmax_cross_entropy_with_logits_v2(logits=logits1, labels=tf.stop_gradient(y1))
        losses2 = tf1.nn.softmax_cross_entropy_with_logits_v2(logits=logits2, labels=tf.stop_gradient(y2))
        loss = tf.reduce_mean(losses + losses2)
    rate = tf1.get_variable("lr", [], tf.float32, tf1.ones_initializer(), trainable=False)
    optimizer = tf1.train.AdadeltaOptimizer(rate)
    slopes, variables = zip(*optimizer.compute_gradients(loss), strict=True)
    capped, _ = tf.clip_by_global_norm([g for g in slopes if g is not None], 5.0)
    pairs = zip(capped, [v for g, v in zip(slopes, variables, strict=True) if g is not None], strict=True)
    optimizer.apply_gradients(pairs)


@shape(
    "input_node input_lengths previous_state_c previous_state_h input_samples",
    "logits new_state_c new_state_h mfccs",
    frozen="logits new_state_c new_state_h mfccs",
)
def speech_with_a_state() -> None:
    """After DeepSpeech's export: features of the sound apart, the network fed with them and with its own state."""
    samples = feed("input_samples", 64)
    spectrum = tf.abs(tf.signal.stft(samples[None], 16, 8, fft_length=16))
    tf.reshape(tf.matmul(tf.math.log(spectrum + 1e-6)[0], tf.ones([9, 4])), [-1, 4], name="mfccs")
    x, lengths = feed("input_node", 1, 4, 8), feed("input_lengths", 1, dtype="int32")
    c, h = feed("previous_state_c", 1, 8), feed("previous_state_h", 1, 8)
    net = tf.minimum(dense(tf.reshape(tf.transpose(x, [1, 0, 2]), [-1, 8]), 8, "layer_1", tf.nn.relu), 20.0)
    net = tf.reshape(net, [-1, 1, 8])
    out, (c, h) = tf1.nn.static_rnn(Cell(8), tf.unstack(net, 4), (c, h), sequence_length=lengths, scope="rnn")
    net = tf.minimum(dense(tf.reshape(tf.concat(out, 0), [-1, 8]), 8, "layer_5", tf.nn.relu), 20.0)
    scores = tf.reshape(dense(net, 5, "layer_6"), [-1, 1, 5], name="raw_logits")
    tf.nn.softmax(scores, name="logits")
    tf.identity(c, name="new_state_c")
    tf.identity(h, name="new_state_h")


@shape("Placeholder", "Reshape_2 decode/mul_2")
def wave_sample_by_sample() -> None:
    """After WaveNet's generator: the next sample's distribution, and the samples so far as sound."""
    samples = tf1.placeholder(tf.int32)
    encoded = tf.reshape(tf.one_hot(samples, 16), [1, -1, 16])
    with tf1.variable_scope("wavenet"):
        x = dense(encoded, 8, "causal_layer")
        out = tf.tanh(dense(x, 8, "dilated_0/filter")) * tf.sigmoid(dense(x, 8, "dilated_0/gate"))
        raw = dense(tf.nn.relu(dense(out, 8, "dilated_0/skip")), 16, "postprocessing")
    proba = tf.cast(tf.nn.softmax(tf.cast(tf.reshape(raw, [-1, 16]), tf.float64)), tf.float32)
    tf.reshape(tf.slice(proba, [tf.shape(proba)[0] - 1, 0], [1, 16]), [-1])
    with tf.name_scope("decode"):
        signal = 2 * (tf.cast(samples, tf.float32) / 15.0) - 1
        tf.sign(signal) * ((1.0 / 15.0) * ((1 + 15.0) ** abs(signal) - 1))
