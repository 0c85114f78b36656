"""A ninth set: more kinds of public scripts of TensorFlow 1, built in small with all that stands around the network."""

from __future__ import annotations

from typing import Any

from old_layers import (
    batch_norm,
    cell,
    conv2d,
    deconv2d,
    dense,
    drop,
    dropout,
    flatten,
    max_pool,
    old,
    slim_conv,
    slim_dense,
    stack,
)
from real_shapes import feed, shape

from serialization.tensorflow import np, tf, tf1


@shape()
@old
def faces_among_many() -> Any:
    """Embeddings by a name of their own, and a softmax with a center loss beside them, on a queue that is fed."""
    rate, size = tf1.placeholder(tf.float32, name="learning_rate"), tf1.placeholder(tf.int32, name="batch_size")
    phase = tf1.placeholder(tf.bool, name="phase_train")
    paths, labels = feed("image_paths", None, 1, dtype="string"), feed("labels", None, 1, dtype="int32")
    queue = tf1.FIFOQueue(100, [tf.string, tf.int32], shapes=[(1,), (1,)])
    queue.enqueue_many([paths, labels], name="enqueue_op")
    names, given = queue.dequeue()
    image = tf.image.decode_image(tf1.read_file(names[0]), channels=3)
    image = tf1.image.random_flip_left_right(tf.cast(image, tf.float32))
    image.set_shape((8, 8, 3))
    images, label_batch = tf1.train.batch_join(
        [[image, given[0]]], batch_size=size, shapes=[(8, 8, 3), ()], allow_smaller_final_batch=True
    )
    images = tf.identity(tf.identity(images, "image_batch"), "input")
    label_batch = tf.identity(label_batch, "label_batch")
    step = tf1.Variable(0, trainable=False)
    with tf1.variable_scope("InceptionResnetV1"):
        net = slim_conv(images, 4, 3, "Conv2d_1a_3x3", stride=2, norm=phase)
        net = tf.reduce_mean(net, [1, 2], keepdims=True)
        net = dropout(flatten(net), 0.2, phase)
        prelogits = slim_dense(net, 6, "Bottleneck", activation=None, norm=phase)
    logits = slim_dense(prelogits, 5, "Logits", activation=None)
    embeddings = tf.nn.l2_normalize(prelogits, 1, 1e-10, name="embeddings")
    norm = tf.reduce_mean(tf.norm(tf.abs(prelogits) + 1e-5, ord=1, axis=1))
    tf1.add_to_collection("regularization_losses", norm * 0.01)
    centers = tf1.get_variable("centers", [5, 6], initializer=tf1.constant_initializer(0), trainable=False)
    mine = tf.gather(centers, label_batch)
    updated = tf1.scatter_sub(centers, label_batch, 0.05 * (mine - prelogits))
    with tf1.control_dependencies([updated]):
        center_loss = tf.reduce_mean(tf.square(prelogits - mine))
    tf1.add_to_collection("regularization_losses", center_loss * 0.01)
    learning = tf1.train.exponential_decay(rate, step, 100, 1.0, staircase=True)
    tf1.summary.scalar("learning_rate", learning)
    ce = tf1.nn.sparse_softmax_cross_entropy_with_logits(labels=label_batch, logits=logits)
    ce = tf.reduce_mean(ce, name="cross_entropy")
    tf1.add_to_collection("losses", ce)
    right = tf.cast(tf.equal(tf.argmax(logits, 1), tf.cast(label_batch, tf.int64)), tf.float32)
    tf.reduce_mean(right)
    total = tf.add_n([ce, *tf1.get_collection("regularization_losses")], name="total_loss")
    averages = tf1.train.ExponentialMovingAverage(0.9, name="avg").apply([ce, total])
    with tf1.control_dependencies([averages]):
        optimizer = tf1.train.AdamOptimizer(learning, beta1=0.9, beta2=0.999, epsilon=0.1)
        slopes = optimizer.compute_gradients(total, tf1.trainable_variables())
    applied = optimizer.apply_gradients(slopes, global_step=step)
    kept = tf1.train.ExponentialMovingAverage(0.99, step).apply(tf1.trainable_variables())
    with tf1.control_dependencies([applied, kept]):
        tf.no_op(name="train")
    tf1.summary.merge_all()
    return [images, phase], [embeddings]


@shape()
@old
def face_by_an_angle() -> Any:
    """A margin on angles: images come from an iterator, the embedding is what is looked up after training."""
    images, labels = feed("img_inputs", None, 8, 8, 3), feed("img_labels", None, dtype="int64")
    rate = tf1.placeholder(tf.float32, name="dropout_rate")
    h = max_pool(batch_norm(conv2d(images, 4, 3, padding="same", activation=tf.nn.relu), True))
    h = tf1.nn.dropout(flatten(h), rate)
    with tf1.variable_scope("embedding"):
        e = dense(h, 6, name="fc1")
        e = batch_norm(e, True, name="bn")
    with tf1.variable_scope("arcface_loss"):
        length = tf.norm(e, axis=1, keepdims=True)
        unit = tf.math.divide(e, length, name="norm_embedding")
        w = tf1.get_variable("embedding_weights", (6, 5))
        w = tf.math.divide(w, tf.norm(w, axis=0, keepdims=True), name="norm_weights")
        cos = tf.matmul(unit, w, name="cos_t")
        sin = tf.sqrt(tf.subtract(1.0, tf.square(cos)), name="sin_t")
        moved = 64 * tf.subtract(cos * 0.87, sin * 0.47)
        mask = tf.one_hot(labels, depth=5, name="one_hot_mask")
        inverse = tf.subtract(1.0, mask)
        logit = tf.add(tf.multiply(64 * cos, inverse), tf.multiply(moved, mask), name="arcface_loss_output")
    loss = tf.reduce_mean(tf1.nn.sparse_softmax_cross_entropy_with_logits(logits=logit, labels=labels))
    decay = tf.add_n([tf.nn.l2_loss(v) for v in tf1.trainable_variables()]) * 5e-4
    optimizer = tf1.train.MomentumOptimizer(0.1, 0.9)
    optimizer.apply_gradients(optimizer.compute_gradients(loss + decay))
    pred = tf.nn.softmax(logit)
    tf.reduce_mean(tf.cast(tf.equal(tf.argmax(pred, axis=1), labels), dtype=tf.float32))
    return [images, rate], [e]


@shape()
@old
def masks_of_cells() -> Any:
    """A U-Net whose mask is a sigmoid by a name; a Dice coefficient is the loss and the metric, by its own function."""
    x, y, training = feed("x", None, 8, 8, 1), feed("y", None, 8, 8, 1), tf1.placeholder(tf.bool, name="training")
    c1 = tf.nn.relu(batch_norm(conv2d(x, 4, 3, padding="same"), training))
    c2 = tf.nn.relu(batch_norm(conv2d(max_pool(c1), 8, 3, padding="same"), training))
    up = tf.concat([deconv2d(c2, 4, 2, 2, "same"), c1], axis=-1)
    c3 = tf.nn.relu(batch_norm(conv2d(up, 4, 3, padding="same"), training))
    pred = conv2d(c3, 1, 1, name="final", activation=tf.nn.sigmoid, padding="same")
    flat_p, flat_y = tf.reshape(pred, [-1, 64]), tf.reshape(y, [-1, 64])
    inter = 2 * tf.reduce_sum(pred * y, axis=1) + 1e-7
    loss = -tf.reduce_mean(inter / (tf.reduce_sum(flat_p, axis=1) + tf.reduce_sum(flat_y, axis=1))[:, None, None])
    tf1.summary.scalar("IOU", -loss)
    tf1.summary.image("Predicted Mask", pred)
    step = tf1.train.get_or_create_global_step()
    with tf1.control_dependencies(tf1.get_collection("update_ops")):
        tf1.train.AdamOptimizer().minimize(loss, global_step=step)
    tf1.summary.merge_all()
    return [x, training], [pred]


@shape()
@old
def tags_of_words() -> Any:
    """The often copied tagger: scores and transitions are fetched, and decoded in Python; dimensions are for CRF."""
    words, labels = feed("word_ids", None, None, dtype="int32"), feed("labels", None, None, dtype="int32")
    lengths, keep = feed("sequence_lengths", None, dtype="int32"), tf1.placeholder(tf.float32, [], name="dropout")
    feed("lr")
    with tf1.variable_scope("words"):
        table = tf1.Variable(np.zeros((20, 6), "f"), name="_word_embeddings", trainable=True)
        x = tf1.nn.dropout(tf.nn.embedding_lookup(table, words, name="word_embeddings"), keep)
    with tf1.variable_scope("bi-lstm"):
        outputs, _ = tf1.nn.bidirectional_dynamic_rnn(
            cell("LSTMCell", 4), cell("LSTMCell", 4), x, sequence_length=lengths, dtype=tf.float32
        )
        out = tf1.nn.dropout(tf.concat(outputs, axis=-1), keep)
    with tf1.variable_scope("proj"):
        w, b = tf1.get_variable("W", [8, 5]), tf1.get_variable("b", [5])
        shape_of = tf.shape(out)
        logits = tf.reshape(tf.matmul(tf.reshape(out, [-1, 8]), w) + b, [-1, shape_of[1], 5])
    transitions = tf1.get_variable("transitions", [5, 5])
    one = tf.one_hot(labels, 5)
    mask = tf.sequence_mask(lengths, shape_of[1], dtype=tf.float32)
    unary = tf.reduce_sum(tf.reduce_sum(one * logits, 2) * mask, 1)
    pairs = tf.reduce_sum(tf.gather(tf.reshape(transitions, [-1]), labels[:, :-1] * 5 + labels[:, 1:]) * mask[:, 1:], 1)
    first = tf.squeeze(tf.slice(logits, [0, 0, 0], [-1, 1, -1]), [1])
    rest = tf.transpose(tf.slice(logits, [0, 1, 0], [-1, -1, -1]), [1, 0, 2])
    sums = tf1.scan(
        lambda alpha, here: here + tf.reduce_logsumexp(tf.expand_dims(alpha, 2) + transitions, [1]), rest, first
    )
    loss = tf.reduce_mean(-(unary + pairs - tf.reduce_logsumexp(sums[-1], [1])))
    tf1.summary.scalar("loss", loss)
    step = tf1.Variable(0, name="global_step", trainable=False)
    optimizer = tf1.train.AdamOptimizer(0.001)
    slopes = [(tf.clip_by_value(s, -5.0, 5.0), v) for s, v in optimizer.compute_gradients(loss) if s is not None]
    optimizer.apply_gradients(slopes, global_step=step)
    return [words, lengths, keep], [logits]


@shape()
@old
def poems_of_characters() -> Any:
    """char-rnn: probabilities and the last state, which is fed again; the start of the state is no placeholder."""
    x, y = tf1.placeholder(tf.int32, [4, 5]), tf1.placeholder(tf.int32, [4, 5])
    cells = stack([drop(cell("BasicLSTMCell", 6), input_keep_prob=0.9, output_keep_prob=0.9) for _ in range(2)])
    start = cells.zero_state(4, tf.float32)
    with tf1.variable_scope("rnnlm"):
        w, b = tf1.get_variable("softmax_w", [6, 9]), tf1.get_variable("softmax_b", [9])
        table = tf1.get_variable("embedding", [9, 6])
    inputs = tf.split(tf1.nn.dropout(tf.nn.embedding_lookup(table, x), 0.9), 5, 1)
    inputs = [tf.squeeze(i, [1]) for i in inputs]
    outputs, state = [], start
    with tf1.variable_scope("rnnlm"):
        for one in inputs:
            out, state = cells(one, state)
            outputs.append(out)
    output = tf.reshape(tf.concat(outputs, 1), [-1, 6])
    logits = tf.matmul(output, w) + b
    probs = tf.nn.softmax(logits)
    each = tf1.nn.sparse_softmax_cross_entropy_with_logits(logits=logits, labels=tf.reshape(y, [-1]))
    with tf1.name_scope("cost"):
        cost = tf.reduce_sum(each) / 4 / 5
    rate = tf1.Variable(0.0, trainable=False)
    variables = tf1.trainable_variables()
    slopes, _ = tf.clip_by_global_norm(tf1.gradients(cost, variables), 5.0)
    with tf1.name_scope("optimizer"):
        optimizer = tf1.train.AdamOptimizer(rate)
    optimizer.apply_gradients(zip(slopes, variables, strict=True))
    tf1.summary.histogram("logits", logits)
    tf1.summary.histogram("loss", each)
    tf1.summary.scalar("train_loss", cost)
    return [x], [probs]


@shape()
@old
def queue_of_crops() -> Any:
    """CIFAR by queues, with two tensors for training and evaluation under one tf.cond, and an EMA of the weights."""
    names = tf1.train.string_input_producer(["data_batch_1.bin"])
    _, value = tf1.FixedLengthRecordReader(record_bytes=193).read(names)
    record = tf1.decode_raw(value, tf.uint8)
    label = tf.cast(tf.strided_slice(record, [0], [1]), tf.int32)
    image = tf.transpose(tf.reshape(tf.strided_slice(record, [1], [193]), [3, 8, 8]), [1, 2, 0])
    image = tf.image.per_image_standardization(tf.cast(image, tf.float32))
    label.set_shape([1])
    images, labels = tf1.train.shuffle_batch([image, label], batch_size=4, capacity=20, min_after_dequeue=4)
    labels = tf.reshape(labels, [4])
    tf1.summary.image("images", images)
    with tf1.variable_scope("conv1") as scope:
        kernel = tf1.get_variable("weights", [5, 5, 3, 4])
        h = tf.nn.relu(
            tf.nn.bias_add(
                tf1.nn.conv2d(images, kernel, [1, 1, 1, 1], padding="SAME"), tf1.get_variable("biases", [4])
            ),
            name=scope.name,
        )
        tf1.summary.histogram(h.op.name + "/activations", h)
        tf1.summary.scalar(h.op.name + "/sparsity", tf.nn.zero_fraction(h))
    with tf1.variable_scope("local3") as scope:
        w = tf1.get_variable("weights", [256, 8])
        tf1.add_to_collection("losses", tf.multiply(tf.nn.l2_loss(w), 0.004, name="weight_loss"))
        h = tf.nn.relu(tf.matmul(tf.reshape(h, [4, -1]), w) + tf1.get_variable("biases", [8]), name=scope.name)
    with tf1.variable_scope("softmax_linear") as scope:
        w, b = tf1.get_variable("weights", [8, 5]), tf1.get_variable("biases", [5])
        logits = tf.add(tf.matmul(h, w), b, name=scope.name)
    ce = tf1.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits, name="cross_entropy_per_example")
    tf1.add_to_collection("losses", tf.reduce_mean(ce, name="cross_entropy"))
    loss = tf.add_n(tf1.get_collection("losses"), name="total_loss")
    step = tf1.train.get_or_create_global_step()
    rate = tf1.train.exponential_decay(0.1, step, 100, 0.1, staircase=True)
    averages = tf1.train.ExponentialMovingAverage(0.9, name="avg")
    kept = averages.apply([*tf1.get_collection("losses"), loss])
    with tf1.control_dependencies([kept]):
        optimizer = tf1.train.GradientDescentOptimizer(rate)
        slopes = optimizer.compute_gradients(loss)
    applied = optimizer.apply_gradients(slopes, global_step=step)
    with tf1.control_dependencies([applied]):
        tf1.train.ExponentialMovingAverage(0.9999, step).apply(tf1.trainable_variables())
    tf1.nn.in_top_k(logits, labels, 1)
    tf1.summary.merge_all()
    return [images], [logits]


@shape()
@old
def two_towers_of_triplets() -> Any:
    """Triplets: three inputs go through one network; whoever uses it feeds the first and fetches its code."""
    anchor, near, far = (feed(n, None, 8, 8, 1) for n in ("anchor_input", "positive_input", "negative_input"))

    def network(x: Any) -> Any:
        with tf1.variable_scope("model", reuse=tf1.AUTO_REUSE):
            h = slim_conv(x, 4, 3, "conv1")
            h = max_pool(slim_conv(h, 4, 3, "conv2"))
            return slim_conv(tf.reduce_mean(h, [1, 2], keepdims=True), 2, 1, "conv5", activation=None)

    a, p, n = (flatten(network(x)) for x in (anchor, near, far))
    with tf1.variable_scope("triplet_loss"):
        d_pos, d_neg = tf.reduce_sum(tf.square(a - p), 1), tf.reduce_sum(tf.square(a - n), 1)
        loss = tf.reduce_mean(tf.maximum(0.0, 0.5 + d_pos - d_neg))
    step = tf1.Variable(0, trainable=False)
    tf1.train.MomentumOptimizer(0.01, 0.99, use_nesterov=True).minimize(loss, global_step=step)
    tf1.summary.scalar("step", step)
    tf1.summary.scalar("loss", loss)
    tf1.summary.merge_all()
    return [anchor], [a]


@shape()
@old
def words_of_a_window() -> Any:
    """word2vec: nothing but sampled losses, and a table of likeness between words that is looked at now and then."""
    x, y = feed("inputs", 4, dtype="int32"), feed("labels", 4, 1, dtype="int32")
    chosen = tf.constant([1, 2, 3], dtype=tf.int32)
    with tf1.name_scope("embeddings"):
        table = tf1.Variable(tf1.random_uniform([20, 6], -1.0, 1.0))
        e = tf.nn.embedding_lookup(table, x)
    with tf1.name_scope("weights"):
        w = tf1.Variable(tf1.truncated_normal([20, 6]))
    with tf1.name_scope("biases"):
        b = tf1.Variable(tf.zeros([20]))
    with tf1.name_scope("loss"):
        loss = tf.reduce_mean(tf1.nn.nce_loss(weights=w, biases=b, labels=y, inputs=e, num_sampled=3, num_classes=20))
    tf1.summary.scalar("loss", loss)
    with tf1.name_scope("optimizer"):
        tf1.train.GradientDescentOptimizer(1.0).minimize(loss)
    norm = tf.sqrt(tf.reduce_sum(tf.square(table), 1, keepdims=True))
    unit = table / norm
    tf.matmul(tf.nn.embedding_lookup(unit, chosen), unit, transpose_b=True)
    tf1.summary.merge_all()
    return [x], [e]


@shape()
@old
def song_of_many_notes() -> Any:
    """RNN and RBM replaced by a plain LSTM for notes: a sigmoid by a name, thresholded for an accuracy."""
    x, y = feed("notes", None, 5, 6), feed("next_notes", None, 6)
    keep = tf1.placeholder_with_default(1.0, [], name="keep")
    outputs, _ = tf1.nn.dynamic_rnn(drop(cell("LSTMCell", 6), output_keep_prob=keep), x, dtype=tf.float32)
    logits = dense(outputs[:, -1], 6, name="notes_logits")
    probs = tf.nn.sigmoid(logits, name="notes_probs")
    loss = tf.reduce_mean(tf1.nn.sigmoid_cross_entropy_with_logits(logits=logits, labels=y))
    rounded = tf.cast(probs > 0.5, tf.float32)
    tf.reduce_mean(tf.cast(tf.equal(rounded, y), tf.float32), name="acc")
    step = tf1.train.get_or_create_global_step()
    slopes, variables = zip(*tf1.train.AdamOptimizer(0.001).compute_gradients(loss), strict=True)
    slopes, _ = tf.clip_by_global_norm(slopes, 1.0)
    tf1.train.AdamOptimizer(0.001).apply_gradients(zip(slopes, variables, strict=True), global_step=step)
    return [x], [probs]


@shape()
@old
def steering_of_a_car() -> Any:
    """A regression in many scopes, with l2 in a collection, histograms of angles, and an identity named for a phone."""
    image, angle = feed("input_images", None, 8, 8, 3), feed("angles", None, 1)
    keep, training = feed("keep_prob"), tf1.placeholder(tf.bool, [], name="is_training")
    with tf1.variable_scope("cnn"):
        h = image / 127.5 - 1.0
        for i in range(2):
            h = slim_conv(h, 4, 3, f"conv{i}", stride=2, norm=training, activation=tf.nn.elu)
        h = tf1.nn.dropout(tf.nn.elu(dense(flatten(h), 8, name="fc1")), keep)
        raw = dense(h, 1, name="fc2")
        predicted = tf.identity(tf.atan(raw) * 2, name="steering")
    with tf1.name_scope("loss"):
        mse = tf.reduce_mean(tf.square(tf.subtract(predicted, angle)))
        loss = mse + tf.add_n([tf.nn.l2_loss(v) for v in tf1.trainable_variables()]) * 0.001
    tf1.summary.histogram("angles", predicted)
    tf1.summary.scalar("loss", loss)
    tf.sqrt(mse, name="rmse")
    with tf1.control_dependencies(tf1.get_collection("update_ops")):
        tf1.train.AdamOptimizer(1e-4).minimize(loss)
    tf1.summary.merge_all()
    return [image, keep, training], [predicted]


@shape()
@old
def boxes_of_three_sizes() -> Any:
    """YOLO by its copies: feature maps are judged, boxes and scores of use are put together under names."""
    image, training = feed("input/input_data", None, 16, 16, 3), tf1.placeholder(tf.bool, name="training")
    truths = [feed(f"label_{n}", None, n, n, 1, 7) for n in (4, 2)]
    h = slim_conv(image, 4, 3, "darknet/conv0", stride=4, norm=training)
    maps, boxes = [], []
    for n, name in ((4, "sbbox"), (2, "lbbox")):
        with tf1.variable_scope(f"pred_{name}"):
            raw = slim_conv(h, 7, 1, f"conv_{name}", activation=None)
            cut = tf.reshape(raw, [tf.shape(raw)[0], n, n, 1, 7])
            xy = (tf.sigmoid(cut[..., 0:2]) + 0.5) * 4.0
            wh = tf.exp(cut[..., 2:4]) * 8.0
            conf, prob = tf.sigmoid(cut[..., 4:5]), tf.sigmoid(cut[..., 5:])
            maps.append(cut)
            boxes.append(tf.concat([xy, wh, conf, prob], axis=-1, name="concat_2"))
        h = slim_conv(h, 4, 3, f"down_{name}", stride=2, norm=training)
    with tf1.name_scope("define_loss"):
        loss = 0.0
        for raw, box, truth in zip(maps, boxes, truths, strict=True):
            here = truth[..., 4:5]
            iou = tf.reduce_sum(tf.minimum(box[..., 0:4], truth[..., 0:4]), -1, keepdims=True)
            loss += tf.reduce_mean(tf.reduce_sum(here * (1.0 - iou), [1, 2, 3, 4]))
            judge = tf1.nn.sigmoid_cross_entropy_with_logits
            loss += tf.reduce_mean(tf.square(here - box[..., 4:5]) * judge(labels=here, logits=raw[..., 4:5]))
            loss += tf.reduce_mean(here * judge(labels=truth[..., 5:], logits=raw[..., 5:]))
    step = tf1.Variable(1.0, dtype=tf.float64, trainable=False, name="global_step")
    with tf1.control_dependencies(tf1.get_collection("update_ops")):
        trained = tf1.train.AdamOptimizer(1e-4).minimize(loss)
    with tf1.control_dependencies([trained, tf1.assign_add(step, 1.0)]):
        tf1.train.ExponentialMovingAverage(0.9995).apply(tf1.trainable_variables())
    tf1.summary.scalar("total_loss", loss)
    return [image, training], boxes


@shape()
@old
def rain_of_tomorrow() -> Any:
    """Hourly values by an LSTM; the answer is scaled back to millimetres under a name, the loss takes it before."""
    x, y = tf1.placeholder(tf.float32, [None, 6, 3], name="X"), tf1.placeholder(tf.float32, [None, 1], name="Y")
    outputs, _ = tf1.nn.dynamic_rnn(stack([cell("BasicLSTMCell", 6), cell("BasicLSTMCell", 6)]), x, dtype=tf.float32)
    hypothesis = slim_dense(outputs[:, -1], 1, activation=None)
    loss = tf.reduce_sum(tf.square(hypothesis - y))
    tf1.train.AdamOptimizer(0.01).minimize(loss)
    targets, predictions = tf1.placeholder(tf.float32, [None, 1]), tf1.placeholder(tf.float32, [None, 1])
    tf.sqrt(tf.reduce_mean(tf.square(targets - predictions)))
    scaled = tf.add(hypothesis * 40.0, 1.5, name="millimetres")
    return [x], [scaled]


@shape()
@old
def entropy_of_a_soft_actor() -> Any:
    """Soft actor and critics: a squashed draw through which gradients go, and its mean for use without chance."""
    s, s2, a = feed("Placeholder", None, 4), feed("Placeholder_2", None, 4), feed("Placeholder_1", None, 2)
    r, d = feed("Placeholder_3", None), feed("Placeholder_4", None)

    def mlp(x: Any, sizes: list[int]) -> Any:
        for n in sizes[:-1]:
            x = dense(x, n, tf.nn.relu)
        return dense(x, sizes[-1])

    def policy(x: Any) -> Any:
        h = tf.nn.relu(mlp(x, [8, 8]))
        mu, spread = dense(h, 2), tf.clip_by_value(dense(h, 2), -20, 2)
        pi = mu + tf1.random_normal(tf.shape(mu)) * tf.exp(spread)
        each = -0.5 * (((pi - mu) / (tf.exp(spread) + 1e-8)) ** 2 + 2 * spread + np.log(2 * np.pi))
        logp = tf.reduce_sum(each, axis=1) - tf.reduce_sum(2 * (np.log(2) - pi - tf.nn.softplus(-2 * pi)), axis=1)
        return tf.tanh(mu), tf.tanh(pi), logp

    def both(x: Any, action: Any, scope: str) -> Any:
        with tf1.variable_scope(scope):
            mu, pi, logp = None, None, None
            with tf1.variable_scope("pi", reuse=tf1.AUTO_REUSE):
                mu, pi, logp = policy(x)
            qs = []
            for n in ("q1", "q2"):
                with tf1.variable_scope(n):
                    qs.append(tf.squeeze(mlp(tf.concat([x, action], -1), [8, 1]), axis=1))
            for n in ("q1", "q2"):
                with tf1.variable_scope(n, reuse=True):
                    qs.append(tf.squeeze(mlp(tf.concat([x, pi], -1), [8, 1]), axis=1))
        return mu, pi, logp, qs

    mu, pi, logp, (q1, q2, q1_pi, q2_pi) = both(s, a, "main")
    with tf1.variable_scope("main", reuse=True), tf1.variable_scope("pi", reuse=True):
        _, pi2, logp2 = policy(s2)
    _, _, _, (t1, t2, *_) = both(s2, pi2, "target")
    backup = tf.stop_gradient(r + 0.99 * (1 - d) * (tf.minimum(t1, t2) - 0.2 * logp2))
    pi_loss = tf.reduce_mean(0.2 * logp - tf.minimum(q1_pi, q2_pi))
    q_loss = 0.5 * tf.reduce_mean((backup - q1) ** 2) + 0.5 * tf.reduce_mean((backup - q2) ** 2)
    step = tf1.train.AdamOptimizer(1e-3).minimize(pi_loss, var_list=tf1.trainable_variables("main/pi"))
    values = tf1.trainable_variables("main/q")
    with tf1.control_dependencies([step]):
        follow = tf1.train.AdamOptimizer(1e-3).minimize(q_loss, var_list=values)
    with tf1.control_dependencies([follow]):
        pairs = zip(tf1.get_collection("variables", "main/"), tf1.get_collection("variables", "target/"), strict=False)
        tf.group(
            [tf1.assign(there, 0.995 * there + 0.005 * here) for here, there in pairs if here.shape == there.shape]
        )
    return [s], [mu, pi]


@shape()
@old
def birds_that_flap() -> Any:
    """The best known DQN of a small game, without a single name."""

    def w(*sizes: int) -> Any:
        return tf1.Variable(tf1.truncated_normal(sizes, stddev=0.01))

    def b(size: int) -> Any:
        return tf1.Variable(tf.constant(0.01, shape=[size]))

    w1, b1, w2, b2, w3, b3 = w(8, 8, 4, 4), b(4), w(64, 8), b(8), w(8, 2), b(2)
    s = tf1.placeholder("float", [None, 8, 8, 4])
    h = tf.nn.relu(tf1.nn.conv2d(s, w1, strides=[1, 1, 1, 1], padding="SAME") + b1)
    h = tf1.nn.max_pool(h, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="SAME")
    h = tf.nn.relu(tf.matmul(tf.reshape(h, [-1, 64]), w2) + b2)
    readout = tf.matmul(h, w3) + b3
    a, y = tf1.placeholder("float", [None, 2]), tf1.placeholder("float", [None])
    taken = tf.reduce_sum(tf.multiply(readout, a), axis=1)
    tf1.train.AdamOptimizer(1e-6).minimize(tf.reduce_mean(tf.square(y - taken)))
    return [s], [readout]


@shape()
@old
def pictures_enhanced() -> Any:
    """A deep residual network: the loss is computed before the mean is added again and values are clipped for use."""
    x, y = tf1.placeholder(tf.float32, [None, 8, 8, 3]), tf1.placeholder(tf.float32, [None, 16, 16, 3])
    mean = 127.0
    image, target = x - mean, y - mean
    h = first = slim_conv(image, 4, 3, activation=None)
    for _ in range(2):
        h += slim_conv(slim_conv(h, 4, 3), 4, 3, activation=None) * 0.1
    h = slim_conv(h, 4, 3, activation=None) + first
    h = tf1.depth_to_space(slim_conv(h, 12, 3, activation=None), 2)
    output = h
    out = tf.clip_by_value(output + mean, 0.0, 255.0)
    loss = tf.reduce_mean(tf1.losses.absolute_difference(target, output))
    mse = tf.reduce_mean(tf1.squared_difference(target, output))
    psnr = tf.constant(255**2, dtype=tf.float32) / mse
    psnr = tf.constant(10, dtype=tf.float32) * tf.math.log(psnr) / tf.math.log(tf.constant(10.0))
    tf1.summary.scalar("loss", loss)
    tf1.summary.scalar("PSNR", psnr)
    tf1.summary.image("input_image", tf.cast(x, tf.uint8))
    tf1.summary.image("target_image", tf.cast(y, tf.uint8))
    tf1.summary.image("output_image", tf.cast(out, tf.uint8))
    tf1.train.AdamOptimizer(0.001).minimize(loss)
    tf1.summary.merge_all()
    return [x], [out]


@shape()
@old
def layers_tuned_again() -> Any:
    """An AlexNet whose last layers are trained: scores by xw_plus_b in a scope, gradients in a scope of their own."""
    x, y = tf1.placeholder(tf.float32, [4, 8, 8, 3]), tf1.placeholder(tf.float32, [4, 5])
    keep = tf1.placeholder(tf.float32)
    with tf1.variable_scope("conv1") as scope:
        w = tf1.get_variable("weights", [3, 3, 3, 4], trainable=True)
        c = tf1.nn.conv2d(x, w, [1, 1, 1, 1], "SAME")
        c = tf.nn.relu(tf.reshape(tf.nn.bias_add(c, tf1.get_variable("biases", [4])), tf.shape(c)), name=scope.name)
    h = tf.reshape(tf1.nn.max_pool(c, [1, 2, 2, 1], [1, 2, 2, 1], "VALID", name="pool1"), [-1, 64])
    for name, sizes, activation in (("fc7", (64, 8), True), ("fc8", (8, 5), False)):
        with tf1.variable_scope(name) as scope:
            w, b = tf1.get_variable("weights", sizes), tf1.get_variable("biases", [sizes[1]])
            h = tf1.nn.xw_plus_b(h, w, b, name=scope.name)
            h = tf1.nn.dropout(tf.nn.relu(h), keep) if activation else h
    chosen = [v for v in tf1.trainable_variables() if v.name.split("/")[0] in ("fc8", "fc7")]
    with tf1.name_scope("cross_ent"):
        loss = tf.reduce_mean(tf1.nn.softmax_cross_entropy_with_logits(logits=h, labels=y))
    with tf1.name_scope("train"):
        slopes = list(zip(tf1.gradients(loss, chosen), chosen, strict=True))
        tf1.train.GradientDescentOptimizer(0.01).apply_gradients(grads_and_vars=slopes)
    for slope, variable in slopes:
        tf1.summary.histogram(variable.op.name + "/gradient", slope)
    tf1.summary.scalar("cross_entropy", loss)
    with tf1.name_scope("accuracy"):
        right = tf.equal(tf.argmax(h, 1), tf.argmax(y, 1))
        accuracy = tf.reduce_mean(tf.cast(right, tf.float32))
    tf1.summary.scalar("accuracy", accuracy)
    tf1.summary.merge_all()
    return [x, keep], [h]


@shape()
@old
def cats_by_a_queue() -> Any:
    """Cats and dogs: batches of files with labels by a queue; the last sum is called softmax_linear."""
    image, label = tf1.train.slice_input_producer([tf.constant(["a.jpg", "b.jpg"]), tf.constant([0, 1])])
    picture = tf.image.decode_jpeg(tf1.read_file(image), channels=3)
    picture = tf1.image.resize_image_with_crop_or_pad(picture, 8, 8)
    picture = tf.image.per_image_standardization(picture)
    images, labels = tf1.train.batch([picture, label], batch_size=4, num_threads=2, capacity=20)
    labels, images = tf.reshape(labels, [4]), tf.cast(images, tf.float32)
    with tf1.variable_scope("conv1") as scope:
        w, b = tf1.get_variable("weights", [3, 3, 3, 4]), tf1.get_variable("biases", [4])
        h = tf.nn.bias_add(tf1.nn.conv2d(images, w, strides=[1, 1, 1, 1], padding="SAME"), b)
        h = tf.nn.relu(h, name=scope.name)
    with tf1.variable_scope("pooling1_lrn"):
        h = tf1.nn.max_pool(h, [1, 3, 3, 1], [1, 2, 2, 1], padding="SAME", name="pooling1")
        h = tf.nn.lrn(h, depth_radius=4, bias=1.0, alpha=0.001 / 9.0, beta=0.75, name="norm1")
    with tf1.variable_scope("local3") as scope:
        h = tf.reshape(h, shape=[4, -1])
        w, b = tf1.get_variable("weights", [64, 8]), tf1.get_variable("biases", [8])
        h = tf.nn.relu(tf.matmul(h, w) + b, name=scope.name)
    with tf1.variable_scope("softmax_linear"):
        w, b = tf1.get_variable("softmax_linear", [8, 2]), tf1.get_variable("biases", [2])
        logits = tf.add(tf.matmul(h, w), b, name="softmax_linear")
    with tf1.variable_scope("loss") as scope:
        ce = tf1.nn.sparse_softmax_cross_entropy_with_logits(logits=logits, labels=labels, name="xentropy_per_example")
        loss = tf.reduce_mean(ce, name="loss")
        tf1.summary.scalar(scope.name + "/loss", loss)
    with tf1.name_scope("optimizer"):
        step = tf1.Variable(0, name="global_step", trainable=False)
        tf1.train.AdamOptimizer(learning_rate=0.001).minimize(loss, global_step=step)
    with tf1.variable_scope("accuracy") as scope:
        right = tf.cast(tf1.nn.in_top_k(logits, labels, 1), tf.float16)
        tf1.summary.scalar(scope.name + "/accuracy", tf.reduce_mean(right))
    tf1.summary.merge_all()
    return [images], [logits]


@shape()
@old
def intents_by_likeness() -> Any:
    """A message and an intent are embedded and compared; what a server needs is in collections, one tensor each."""
    dataset = tf1.data.Dataset.from_tensor_slices((np.zeros((8, 6), "f"), np.zeros((8, 4), "f"))).batch(4)
    tf1.data.make_initializable_iterator(dataset).get_next()
    a = feed("a", None, 6)
    b = feed("b", None, None, 4)

    def embed(x: Any, name: str) -> Any:
        h = layers_of(x, 8, tf.nn.relu, name=f"hidden_layer_{name}_0")
        return layers_of(h, 5, None, name=f"embed_layer_{name}")

    def layers_of(x: Any, units: int, activation: Any, name: str) -> Any:
        return dense(x, units, activation, name=name, reuse=tf1.AUTO_REUSE)

    words, intents = embed(a, "a"), embed(b, "b")
    unit_a, unit_b = tf.nn.l2_normalize(words, -1), tf.nn.l2_normalize(intents, -1)
    sim = tf.reduce_sum(tf.expand_dims(unit_a, 1) * unit_b, -1)
    between = tf.reduce_sum(unit_b[:, 0:1, :] * unit_b[:, 1:, :], -1)
    loss = tf.maximum(0.0, 0.8 - sim[:, 0]) + tf.maximum(0.0, -0.4 + tf.reduce_max(sim[:, 1:], -1))
    loss += tf.maximum(0.0, tf.reduce_max(between, -1)) * 0.8
    loss = tf.reduce_mean(loss) + 0.01 * tf.nn.l2_loss(tf1.trainable_variables()[0])
    tf1.train.AdamOptimizer().minimize(loss)
    lists = {"message_placeholder": a, "intent_placeholder": b, "similarity_op": sim}
    for key, tensor in (*lists.items(), ("intent_embed", intents), ("word_embed", words)):
        tf1.add_to_collection(key, tensor)
    return [a, b], [sim, intents, words]


@shape()
@old
def replies_by_buckets() -> Any:
    """The seq2seq of TensorFlow 0.x: a placeholder for each word, a decoder that is fed and one that feeds itself."""
    ips = [tf1.placeholder(tf.int64, [None], name=f"ei_{t}") for t in range(3)]
    labels = [tf1.placeholder(tf.int64, [None], name=f"ei_{t + 3}") for t in range(3)]
    dec = [tf.zeros_like(ips[0], dtype=tf.int64, name="GO"), *labels[:-1]]
    keep = tf1.placeholder(tf.float32)
    table = tf1.get_variable("embedding", [9, 6])
    cells = drop(cell("BasicLSTMCell", 6), output_keep_prob=keep)
    with tf1.variable_scope("encoder"):
        state = cells.zero_state(tf.shape(ips[0])[0], tf.float32)
        for x in ips:
            _, state = cells(tf.nn.embedding_lookup(table, x), state)
    other = drop(cell("BasicLSTMCell", 6), output_keep_prob=keep)

    def decode(feed_previous: bool) -> list[Any]:
        outputs, held, last = [], state, None
        with tf1.variable_scope("decoder", reuse=tf1.AUTO_REUSE):
            w, b = tf1.get_variable("w", [6, 9]), tf1.get_variable("b", [9])
            for t in range(3):
                given = dec[t] if last is None or not feed_previous else tf.argmax(last, 1)
                out, held = other(tf.nn.embedding_lookup(table, given), held)
                last = tf1.nn.xw_plus_b(out, w, b)
                outputs.append(last)
        return outputs

    taught, free = decode(False), decode(True)
    losses = [
        tf1.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=z) for y, z in zip(labels, taught, strict=True)
    ]
    loss = tf.reduce_mean(tf.add_n(losses) / 3)
    tf1.train.AdamOptimizer(learning_rate=0.001).minimize(loss)
    return [*ips, keep], free
