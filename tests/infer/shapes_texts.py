"""Graphs that read sequences: sentences, characters, sound; with lengths, masks, states and loops."""

from __future__ import annotations

from typing import Any

from real_shapes import Cell, attend, feed, right, shape, weights
from typical_graphs import conv, cross_entropy, dense, train

from serialization.tensorflow import tf, tf1

Loop = tuple[Any, ...]


@shape("input_x dropout_keep_prob", "output/predictions")
def sentence_convolutions() -> None:
    x, y = feed("input_x", None, 12, dtype="int32"), feed("input_y", None, 2)
    keep = feed("dropout_keep_prob")
    with tf.name_scope("embedding"):
        words = tf.expand_dims(tf.nn.embedding_lookup(weights("W", 50, 8), x), -1)
    pooled = []
    for width in (3, 4):
        with tf1.variable_scope(f"conv-maxpool-{width}"):
            mapped = tf1.nn.conv2d(words, weights("W", width, 8, 1, 4), [1, 1, 1, 1], "VALID", name="conv")
            mapped = tf.nn.relu(tf.nn.bias_add(mapped, weights("b", 4)), name="relu")
            pooled.append(tf1.nn.max_pool(mapped, [1, 13 - width, 1, 1], [1, 1, 1, 1], "VALID", name="pool"))
    flat = tf.reshape(tf.concat(pooled, 3), [-1, 8])
    with tf.name_scope("dropout"):
        dropped = tf1.nn.dropout(flat, keep)
    with tf1.variable_scope("output"):
        w, b = weights("W", 8, 2), weights("b", 2)
        penalty = tf.nn.l2_loss(w) + tf.nn.l2_loss(b)
    with tf.name_scope("output/"):
        scores = tf1.nn.xw_plus_b(dropped, w, b, name="scores")
        predictions = tf.argmax(scores, 1, name="predictions")
    with tf.name_scope("loss"):
        loss = tf.reduce_mean(tf1.nn.softmax_cross_entropy_with_logits_v2(logits=scores, labels=y)) + 0.1 * penalty
    with tf.name_scope("accuracy"):
        tf.reduce_mean(tf.cast(tf.equal(predictions, tf.argmax(y, 1)), tf.float32), name="accuracy")
    optimizer = tf1.train.AdamOptimizer(1e-3)
    pairs = optimizer.compute_gradients(loss)
    for gradient, variable in pairs:
        if not isinstance(gradient, tf.IndexedSlices):
            tf1.summary.histogram(f"{variable.op.name}/grad/hist", gradient)
    optimizer.apply_gradients(pairs, global_step=tf1.train.get_or_create_global_step())


@shape("words lengths", "label")
def last_state_of_a_sentence() -> None:
    """The whole sequence of outputs is not used, nor is the cell's memory."""
    words, lengths = feed("words", None, None, dtype="int32"), feed("lengths", None, dtype="int32")
    targets = feed("targets", None, dtype="int64")
    read = tf.nn.embedding_lookup(weights("embeddings", 50, 8), words)
    _, (_, hidden) = tf1.nn.dynamic_rnn(Cell(8), read, lengths, dtype=tf.float32)
    logits = dense(hidden, 3, "fc")
    tf.argmax(logits, 1, name="label")
    tf1.summary.scalar("accuracy", right(logits, targets))
    train(cross_entropy(targets, logits))


@shape("input_data initial_c initial_h", "probs rnn/while/Exit_3 rnn/while/Exit_4")
def characters_with_a_fed_state() -> None:
    """The sampler feeds the state that the last step gave: it is as much an answer as the probabilities."""
    data, targets = feed("input_data", 4, 10, dtype="int32"), feed("targets", 4, 10, dtype="int32")
    state = feed("initial_c", 4, 8), feed("initial_h", 4, 8)
    read = tf.nn.embedding_lookup(weights("embedding", 30, 8), data)
    outputs, _ = tf1.nn.dynamic_rnn(Cell(8), read, initial_state=state, scope="rnn")
    logits = dense(tf.reshape(outputs, [-1, 8]), 30, "softmax")
    tf.nn.softmax(logits, name="probs")
    cost = tf.reduce_sum(cross_entropy(tf.reshape(targets, [-1]), logits)) / 4 / 10
    gradients, _ = tf.clip_by_global_norm(tf.gradients(cost, tf1.trainable_variables()), 5.0)
    rate = tf1.Variable(0.0, trainable=False, use_resource=False, name="lr")
    tf1.train.AdamOptimizer(rate).apply_gradients(zip(gradients, tf1.trainable_variables(), strict=True))


@shape("word_ids sequence_lengths dropout", "proj/Reshape_1")
def tags_with_a_transition_matrix() -> None:
    """The likelihood of a chain (CRF) is a loop of its own; the script decodes outside of the graph."""
    ids, lengths = feed("word_ids", None, None, dtype="int32"), feed("sequence_lengths", None, dtype="int32")
    labels, keep, rate = feed("labels", None, None, dtype="int32"), feed("dropout"), feed("lr")
    read = tf1.nn.dropout(tf.nn.embedding_lookup(weights("word_embeddings", 50, 8), ids), keep)
    both, _ = tf1.nn.bidirectional_dynamic_rnn(Cell(8), Cell(8), read, lengths, dtype=tf.float32)
    joined = tf1.nn.dropout(tf.concat(both, -1), keep)
    with tf1.variable_scope("proj"):
        flat = tf.matmul(tf.reshape(joined, [-1, 16]), weights("W", 16, 5)) + weights("b", 5)
        logits = tf.reshape(flat, [-1, tf.shape(joined)[1], 5])
    moves = weights("transitions", 5, 5)
    with tf.name_scope("crf"):
        start = tf.reduce_sum(tf.one_hot(labels[:, 0], 5) * logits[:, 0], 1)

        def step(time: Any, alpha: Any) -> Loop:
            new = tf.reduce_logsumexp(alpha[:, :, None] + moves[None], 1) + logits[:, time]
            return time + 1, tf1.where(time < lengths, new, alpha)

        _, alpha = tf1.while_loop(lambda time, *_: time < tf.reduce_max(lengths), step, (1, logits[:, 0]))
        pairs = tf.gather(tf.reshape(moves, [-1]), labels[:, :-1] * 5 + labels[:, 1:])
        mask = tf.sequence_mask(lengths, dtype=tf.float32)
        unary = tf.reduce_sum(logits * tf.one_hot(labels, 5) * mask[:, :, None], [1, 2])
        likelihood = start + unary + tf.reduce_sum(pairs * mask[:, 1:], 1) - tf.reduce_logsumexp(alpha, 1)
    loss = tf.reduce_mean(-likelihood)
    tf1.summary.scalar("loss", loss)
    tf1.train.AdamOptimizer(rate).minimize(loss)


@shape("inputs seq_length", "dense_decoded")
def sound_to_letters() -> None:
    inputs, length = feed("inputs", None, None, 6), feed("seq_length", None, dtype="int32")
    targets = tf1.sparse_placeholder(tf.int32, name="targets")
    outputs, _ = tf1.nn.dynamic_rnn(Cell(8), inputs, length, dtype=tf.float32)
    shown = tf.shape(inputs)
    logits = tf.reshape(dense(tf.reshape(outputs, [-1, 8]), 5, "out"), [shown[0], -1, 5])
    timewise = tf.transpose(logits, (1, 0, 2))
    cost = tf.reduce_mean(tf1.nn.ctc_loss(targets, timewise, length))
    decoded, _ = tf1.nn.ctc_beam_search_decoder(timewise, length, 10, 1)
    tf.reduce_mean(tf.edit_distance(tf.cast(decoded[0], tf.int32), targets), name="label_error_rate")
    tf1.sparse_tensor_to_dense(decoded[0], -1, name="dense_decoded")
    tf1.train.MomentumOptimizer(0.01, 0.9).minimize(cost)


@shape("IteratorGetNext:0 IteratorGetNext:1 IteratorGetNext:3", "loss/Softmax")
def fine_tuned_encoder() -> None:
    """Ids, mask, label and segments come from an iterator; the mask is added to the scores of attention."""
    row = {n: tf.zeros([8, 6], tf.int32) for n in ("input_ids", "input_mask", "segment_ids")}
    data = tf1.data.Dataset.from_tensor_slices({**row, "label_ids": tf.zeros([8], tf.int32)}).repeat().batch(4)
    read = tf1.data.make_one_shot_iterator(data).get_next()
    words = tf.gather(weights("word_embeddings", 40, 8), read["input_ids"])
    words += tf.matmul(tf.one_hot(read["segment_ids"], 2), weights("token_type_embeddings", 2, 8))
    words = tf.nn.dropout(attend(attend(words, read["input_mask"], "layer_0"), read["input_mask"], "layer_1"), rate=0.1)
    pooled = dense(tf.squeeze(words[:, 0:1, :], axis=1), 8, "pooler", tf.tanh)
    with tf1.variable_scope("loss"):
        w, b = weights("output_weights", 2, 8), weights("output_bias", 2)
        logits = tf.nn.bias_add(tf.matmul(pooled, w, transpose_b=True), b)
        tf.nn.softmax(logits, axis=-1)
        log_probs = tf.nn.log_softmax(logits, axis=-1)
        losses = -tf.reduce_sum(tf.one_hot(read["label_ids"], 2) * log_probs, axis=-1)
        loss = tf.reduce_mean(losses)
    step = tf1.train.get_or_create_global_step()
    gradients, _ = tf.clip_by_global_norm(tf.gradients(loss, tf1.trainable_variables()), 1.0)
    tf1.train.AdamOptimizer().apply_gradients(zip(gradients, tf1.trainable_variables(), strict=True), step)


@shape("input_ids input_mask", "logits_masked")
def span_of_an_answer() -> None:
    """The mask is used after the last weights."""
    ids, mask = feed("input_ids", None, None, dtype="int32"), feed("input_mask", None, None)
    start = feed("start_positions", None, dtype="int32")
    words = dense(tf.gather(weights("words", 40, 8), ids), 8, "encoder", tf.nn.relu)
    logits = tf.squeeze(dense(words, 1, "span"), -1)
    logits = tf.identity(logits + (1.0 - mask) * -1e4, name="logits_masked")
    train(cross_entropy(start, logits))


@shape("source source_length", "beams")
def beam_search() -> None:
    """Only the decoder of a trained model: a loop that keeps the best three sequences."""
    source, lengths = feed("source", None, None, dtype="int32"), feed("source_length", None, dtype="int32")
    words = weights("words", 20, 8)
    _, (_, state) = tf1.nn.dynamic_rnn(Cell(8), tf.gather(words, source), lengths, dtype=tf.float32)
    rows, width = tf.shape(source)[0], 3
    kernel, project = weights("kernel", 16, 8), weights("projection", 8, 20)

    def step(time: Any, hidden: Any, found: Any, scores: Any) -> Loop:
        last = tf.gather(words, found[:, :, -1])
        hidden = tf.tanh(tf.tensordot(tf.concat([last, hidden], -1), kernel, 1))
        total = scores[:, :, None] + tf.nn.log_softmax(tf.tensordot(hidden, project, 1))
        best, place = tf.math.top_k(tf.reshape(total, [rows, width * 20]), width)
        parent, word = place // 20, place % 20
        hidden, found = (tf.gather(kept, parent, batch_dims=1) for kept in (hidden, found))
        return time + 1, hidden, tf.concat([found, word[:, :, None]], -1), best

    first = (0, tf.tile(state[:, None], [1, width, 1]), tf.ones([rows, width, 1], tf.int32), tf.zeros([rows, width]))
    sizes = tuple(tf.TensorShape(size) for size in ([], [None, width, 8], [None, width, None], [None, width]))
    _, _, found, _ = tf1.while_loop(lambda time, *_: time < 6, step, first, shape_invariants=sizes)
    tf.identity(found, name="beams")


@shape("encoder_inputs encoder_lengths", "decoder_1/predictions")
def training_and_decoding_side_by_side() -> None:
    """One set of weights, two loops: one is taught with the right words, the other goes on with its own."""
    source, lengths = feed("encoder_inputs", None, None, dtype="int32"), feed("encoder_lengths", None, dtype="int32")
    target, ends = feed("decoder_targets", None, None, dtype="int32"), feed("decoder_lengths", None, dtype="int32")
    words = weights("embedding", 20, 8)
    _, state = tf1.nn.dynamic_rnn(Cell(8), tf.gather(words, source), lengths, dtype=tf.float32, scope="encoder")
    rows, cell = tf.shape(source)[0], Cell(8)
    given = tf.concat([tf.fill([rows, 1], 1), target[:, :-1]], 1)
    with tf1.variable_scope("decoder"):
        taught, _ = tf1.nn.dynamic_rnn(cell, tf.gather(words, given), ends, initial_state=state)
        logits = tf.tensordot(taught, weights("projection", 8, 20), 1)
    mask = tf.sequence_mask(ends, tf.shape(target)[1], dtype=tf.float32)
    losses = tf1.nn.sparse_softmax_cross_entropy_with_logits(labels=target, logits=logits)
    loss = tf.reduce_sum(losses * mask) / tf.cast(rows, tf.float32)
    with tf1.variable_scope("decoder", reuse=True):

        def step(time: Any, c: Any, h: Any, last: Any, result: Any) -> Loop:
            with tf1.variable_scope("rnn", reuse=True):
                out, (c, h) = cell(tf.gather(words, last), (c, h))
            word = tf.argmax(tf.matmul(out, weights("projection", 8, 20)), -1, output_type=tf.int32)
            return time + 1, c, h, word, result.write(time, word)

        array = tf1.TensorArray(tf.int32, 6)
        first = (0, *state, tf.fill([rows], 1), array)
        *_, result = tf1.while_loop(lambda time, *_: time < 6, step, first)
        tf.transpose(result.stack(), name="predictions")
    train(loss)


@shape("texts", "language")
def words_by_a_table() -> None:
    """Words become numbers in the graph; labels are looked up too."""
    texts, labels = feed("texts", None, dtype="string"), feed("names", None, dtype="string")
    numbers = tf.lookup.KeyValueTensorInitializer(["a", "b", "c"], tf.constant([1, 2, 3], tf.int64))
    table = tf.lookup.StaticHashTable(numbers, 0)
    split = tf1.string_split(texts)
    ids = table.lookup(tf1.sparse_tensor_to_dense(split, ""))
    logits = dense(tf.reduce_mean(tf.gather(weights("words", 4, 8), ids), 1), 3, "fc")
    kinds = tf.constant(["de", "en", "fr"])
    tf.gather(kinds, tf.argmax(logits, 1), name="language")
    known = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(kinds, tf.range(3)), -1)
    train(cross_entropy(known.lookup(labels), logits))


@shape("tokens lengths", "tags_probs", functions=True)
def tags_by_functions() -> None:
    """The same loops, written as TensorFlow 2 writes them: While ops with functions."""
    ids, lengths = feed("tokens", None, None, dtype="int32"), feed("lengths", None, dtype="int32")
    labels = feed("tags", None, None, dtype="int32")
    read = tf.gather(weights("words", 50, 8, resource=True), ids)
    cell = Cell(8, resource=True)
    outputs, _ = tf1.nn.dynamic_rnn(cell, read, lengths, dtype=tf.float32)
    logits = tf.tensordot(outputs, weights("projection", 8, 5, resource=True), 1)
    tf.nn.softmax(logits, name="tags_probs")
    mask = tf.sequence_mask(lengths, tf.shape(ids)[1], dtype=tf.float32)
    losses = tf1.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    train(tf.reduce_sum(losses * mask) / tf.reduce_sum(mask))


@shape("wav_data", "labels_softmax", frozen="labels_softmax")
def spoken_words() -> None:
    text = tf1.placeholder(tf.string, [], name="wav_data")
    sound = tf.audio.decode_wav(text, desired_channels=1, desired_samples=1600, name="decoded_sample_data")
    seen = tf.raw_ops.AudioSpectrogram(input=sound.audio, window_size=160, stride=80, magnitude_squared=True)
    mfcc = tf.raw_ops.Mfcc(spectrogram=seen, sample_rate=sound.sample_rate, dct_coefficient_count=10)
    image = tf.reshape(mfcc, [-1, 19, 10, 1])
    tf.nn.softmax(dense(tf.reshape(conv(image, 2, "first"), [-1, 380]), 4, "fc"), name="labels_softmax")


@shape("left left_lengths right right_lengths", "similarity")
def pairs_of_sentences() -> None:
    label = feed("is_same", None)
    sides = []
    for side in ("left", "right"):
        ids, lengths = feed(side, None, None, dtype="int32"), feed(f"{side}_lengths", None, dtype="int32")
        with tf1.variable_scope("encoder", reuse=tf1.AUTO_REUSE):
            read = tf.gather(weights("words", 30, 8), ids)
            mask = tf.sequence_mask(lengths, tf.shape(ids)[1], tf.float32)[:, :, None]
            summed = tf.reduce_sum(dense(read, 8, "project", tf.tanh) * mask, 1)
            sides.append(summed / tf.cast(lengths, tf.float32)[:, None])
    similarity = tf.reduce_sum(tf.nn.l2_normalize(sides[0], 1) * tf.nn.l2_normalize(sides[1], 1), 1, name="similarity")
    train(tf.reduce_mean(tf.square(similarity - label)))
