"""Texts, sound, games and tables as public programs of TensorFlow 1 and 2 build and export them: second half."""

from __future__ import annotations

from typing import Any

from real_shapes import Cell, attend, feed, shape, weights
from typical_graphs import conv, dense

from serialization.tensorflow import np, tf, tf1


@shape("input_ids input_mask input_type_ids", "final_encodes", frozen="final_encodes")
def sentences_as_vectors() -> None:
    """After bert-as-service: the mean of a layer over the words that the mask has."""
    ids, mask, kinds = (feed(n, None, None, dtype="int32") for n in ("input_ids", "input_mask", "input_type_ids"))
    x = tf.nn.embedding_lookup(weights("bert/word_embeddings", 20, 8), ids)
    x += tf.nn.embedding_lookup(weights("bert/token_type_embeddings", 2, 8), kinds)
    x = attend(x, mask, "bert/encoder/layer_0")
    dense(x[:, 0], 8, "bert/pooler", tf.tanh)
    with tf1.variable_scope("pooling"):
        used = tf.cast(mask, tf.float32)[..., None]
        pooled = tf.reduce_sum(x * used, 1) / (tf.reduce_sum(used, 1) + 1e-10)
    tf.identity(pooled, "final_encodes")


@shape("Placeholder", "elmo/mul_8")
def words_with_their_surroundings() -> None:
    """After ELMo: layers weighed by a softmax of scalars; a penalty on them that nothing trains."""
    chars = tf1.placeholder(tf.int32, [None, None, 6])
    mask = tf.reduce_any(chars > 0, axis=-1)
    with tf1.variable_scope("bilm"):
        letters = tf.nn.embedding_lookup(weights("char_embed", 30, 4), chars)
        words = dense(tf.reduce_max(letters, 2), 8, "CNN_proj")
        lengths = tf.reduce_sum(tf.cast(mask, tf.int32), axis=1)
        forth, _ = tf1.nn.dynamic_rnn(Cell(8), words, lengths, dtype=tf.float32, scope="RNN_0")
        back, _ = tf1.nn.dynamic_rnn(
            Cell(8), tf.reverse_sequence(words, lengths, 1), lengths, dtype=tf.float32, scope="RNN_1"
        )
        layers = [tf.concat([words, words], 2), tf.concat([forth, tf.reverse_sequence(back, lengths, 1)], 2)]
    with tf1.variable_scope("elmo"):
        w = tf1.get_variable("ELMo_W", [2], initializer=tf1.zeros_initializer(), use_resource=False)
        normed = tf.split(tf.nn.softmax(w + 1.0 / 2), 2)
        used = tf.cast(mask, tf.float32)[..., None]
        pieces = []
        for weight, layer in zip(normed, layers, strict=True):
            kept = layer * used
            count = tf.reduce_sum(used) * 16
            mean = tf.reduce_sum(kept) / count
            variance = tf.reduce_sum(((layer - mean) * used) ** 2) / count
            pieces.append(weight * tf.nn.batch_normalization(layer, mean, variance, None, None, 1e-12))
        total = tf.add_n(pieces)
        gamma = tf1.get_variable("ELMo_gamma", [1], initializer=tf1.ones_initializer(), use_resource=False)
        total * gamma
        tf.reduce_sum(1.0 * w * w, name="regularization")


@shape("stories queries", "predict_op")
def questions_about_a_story() -> None:
    """After memory networks: hops over the sentences; the answer's number, and logarithms beside it."""
    stories, queries = feed("stories", None, 5, 4, dtype="int32"), feed("queries", None, 4, dtype="int32")
    answers = feed("answers", None, 20, dtype="int32")
    a, b, c = (weights(f"MemN2N/{name}", 20, 8) for name in "ABC")
    encoding = tf.constant(np.ones([4, 8], "f"), name="encoding")
    u = tf.reduce_sum(tf.nn.embedding_lookup(b, queries) * encoding, 1)
    for _ in range(2):
        memory = tf.reduce_sum(tf.nn.embedding_lookup(a, stories) * encoding, 2)
        heat = tf.nn.softmax(tf.reduce_sum(memory * u[:, None], 2))
        output = tf.reduce_sum(tf.nn.embedding_lookup(c, stories) * encoding, 2)
        u = tf.matmul(u, weights_once("MemN2N/H", 8, 8)) + tf.reduce_sum(output * heat[..., None], 1)
    logits = tf.matmul(u, weights("MemN2N/W", 8, 20))
    crossed = tf1.nn.softmax_cross_entropy_with_logits_v2(
        logits=logits, labels=tf.stop_gradient(tf.cast(answers, tf.float32)), name="cross_entropy"
    )
    loss = tf.reduce_sum(crossed, name="cross_entropy_sum")
    optimizer = tf1.train.GradientDescentOptimizer(tf1.placeholder(tf.float32, [], name="learning_rate"))
    slopes = [(tf.clip_by_norm(g, 40.0), v) for g, v in optimizer.compute_gradients(loss)]
    noisy = [(tf.add(tf.convert_to_tensor(g), tf.random.normal(tf.shape(v), stddev=0.1)), v) for g, v in slopes]
    optimizer.apply_gradients(noisy, name="train_op")
    tf.argmax(logits, 1, name="predict_op")
    tf.math.log(tf.nn.softmax(logits, name="predict_proba_op"), name="predict_log_proba_op")


def weights_once(name: str, *sizes: int) -> Any:
    with tf1.variable_scope("", reuse=tf1.AUTO_REUSE):
        return weights(name, *sizes)


@shape("datafeeder/queue:0 datafeeder/queue:1 datafeeder/queue:2", "inference/dense/BiasAdd inference/transpose_2")
def speech_from_letters() -> None:
    """After Tacotron's training: the frames before are fed, so that a target is an input as well."""
    with tf1.variable_scope("datafeeder"):
        kinds = [("inputs", tf.int32, [2, 5]), ("input_lengths", tf.int32, [2])]
        kinds += [("mel_targets", tf.float32, [2, 4, 6]), ("linear_targets", tf.float32, [2, 4, 9])]
        given = [tf1.placeholder(kind, size, name) for name, kind, size in kinds]
        queue = tf1.FIFOQueue(8, [k for _, k, _ in kinds], [s for _, _, s in kinds], name="input_queue")
        queue.enqueue(given)
        inputs, lengths, mels, linears = queue.dequeue(name="queue")
    with tf1.variable_scope("inference"):
        x = tf.nn.embedding_lookup(weights("embedding", 20, 8), inputs)
        x = tf1.nn.dropout(dense(x, 8, "prenet", tf.nn.relu), rate=0.5)
        memory, _ = tf1.nn.dynamic_rnn(Cell(8), x, lengths, dtype=tf.float32, scope="encoder_cbhg")
        before = tf.concat([tf.zeros([2, 1, 6]), mels[:, :-1]], 1)
        frames = tf.transpose(dense(before, 8, "decoder_prenet", tf.nn.relu), [1, 0, 2])

        def step(carried: tuple[Any, Any], frame: Any) -> tuple[Any, Any]:
            with tf1.variable_scope("decoder", reuse=tf1.AUTO_REUSE):
                query = dense(tf.concat([frame, carried[0]], 1), 8, "attention_rnn", tf.tanh)
                heat = tf.nn.softmax(tf.reduce_sum(memory * query[:, None], 2))
                return query + tf.reduce_sum(memory * heat[..., None], 1), heat

        states, heats = tf1.scan(step, frames, (tf.zeros([2, 8]), tf.zeros([2, 5])))
        mel = tf.reshape(dense(tf.transpose(states, [1, 0, 2]), 6, "output_projection"), [2, -1, 6])
        linear = dense(dense(mel, 8, "post_cbhg", tf.nn.relu), 9, "dense")
        tf.transpose(heats, [1, 2, 0], name="transpose_2")
    with tf1.variable_scope("loss"):
        apart = tf.abs(linears - linear)
        mel_loss = tf.reduce_mean(tf.abs(mels - mel))
        loss = mel_loss + 0.5 * tf.reduce_mean(apart) + 0.5 * tf.reduce_mean(apart[:, :, :3])
    with tf1.variable_scope("stats"):
        tf1.summary.histogram("linear_outputs", linear)
        tf1.summary.histogram("mel_targets", mels)
        tf1.summary.scalar("loss_mel", mel_loss)
    with tf1.variable_scope("optimizer"):
        step_count = tf1.get_variable("global_step", [], tf.int32, tf1.zeros_initializer(), trainable=False)
        now = tf.cast(step_count + 1, tf.float32)
        optimizer = tf1.train.AdamOptimizer(0.002 * 4000.0**0.5 * tf.minimum(now * 4000.0**-1.5, now**-0.5))
        slopes, used = zip(*optimizer.compute_gradients(loss), strict=True)
        clipped, norm = tf.clip_by_global_norm(slopes, 1.0)
        tf1.summary.scalar("max_gradient_norm", norm)
        optimizer.apply_gradients(zip(clipped, used, strict=True), global_step=step_count)


@shape("vggish/input_features", "mymodel/prediction")
def sounds_trained_anew() -> None:
    """After VGGish's training demo: a classifier on the embeddings."""
    features = feed("vggish/input_features", None, 8, 8)
    net = conv(tf.reshape(features, [-1, 8, 8, 1]), 4, "vggish/conv1")
    embeddings = tf.identity(dense(tf.reshape(net, [-1, 256]), 8, "vggish/fc2", tf.nn.relu), name="vggish/embedding")
    with tf1.variable_scope("mymodel"):
        logits = dense(dense(embeddings, 8, "fc1", tf.nn.relu), 3, "logits")
        tf.sigmoid(logits, name="prediction")
        with tf1.variable_scope("train"):
            labels = feed("labels", None, 3)
            crossed = tf1.nn.sigmoid_cross_entropy_with_logits(logits=logits, labels=labels, name="xent")
            loss = tf.reduce_mean(crossed, name="loss_op")
            tf1.summary.scalar("loss", loss)
            tf1.train.AdamOptimizer(1e-4).minimize(loss, name="train_op")


@shape("waveform", "strided_slice_1 strided_slice_3")
def voice_and_music() -> None:
    """After Spleeter: masks for two instruments on the spectrum, back to sound, cut to the length that was given."""
    waveform = feed("waveform", None, 2)
    frames = tf.pad(waveform, [[16, 0], [0, 0]])
    spectrum = tf.signal.stft(tf.transpose(frames), 16, 4, pad_end=True)
    size = tf.abs(spectrum)
    outputs = {}
    for name in ("vocals", "accompaniment"):
        with tf1.variable_scope(f"{name}_spectrogram"):
            outputs[name] = size * dense(dense(size, 8, "conv", tf.nn.relu), 9, "conv_1", tf.sigmoid)
    total = tf.reduce_sum([o**2 for o in outputs.values()], axis=0) + 1e-10
    for output in outputs.values():
        masked = tf.cast((output**2 + 1e-10 / 2) / total, tf.complex64) * spectrum
        sound = tf.signal.inverse_stft(masked, 16, 4, window_fn=tf.signal.hann_window)
        tf.transpose(sound)[16 : 16 + tf.shape(waveform)[0]]
