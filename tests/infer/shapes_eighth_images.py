"""An eighth set, written before its results were seen: pictures, as public scripts of TensorFlow 1 train on them."""

from __future__ import annotations

from typing import Any

from old_layers import batch_norm, cell, conv2d, deconv2d, dense, drop, dropout, flatten, old, slim_conv, slim_dense
from real_shapes import feed, shape

from serialization.tensorflow import np, tf, tf1


def weight(*sizes: int, name: str | None = None) -> Any:
    return tf1.Variable(tf1.truncated_normal(sizes, stddev=0.1), name=name)


def bias(size: int, name: str | None = None) -> Any:
    return tf1.Variable(tf.constant(0.1, shape=[size]), name=name)


def convolve(x: Any, w: Any) -> Any:
    return tf1.nn.conv2d(x, w, strides=[1, 1, 1, 1], padding="SAME")


def halve(x: Any) -> Any:
    return tf1.nn.max_pool(x, ksize=[1, 2, 2, 1], strides=[1, 2, 2, 1], padding="SAME")


@shape()
@old
def centres_of_grey() -> Any:
    """The tutorial's two convolutions; a class and probabilities are named for whoever loads the graph."""
    x, y_ = feed("input_image", None, 64), feed("input_label", None, 9)
    w1, b1 = weight(5, 5, 1, 4, name="W_conv1"), bias(4, "b_conv1")
    h1 = halve(tf.nn.relu(convolve(tf.reshape(x, [-1, 8, 8, 1]), w1) + b1))
    w2, b2 = weight(16 * 4, 8, name="W_fc1"), bias(8, "b_fc1")
    h2 = tf.nn.relu(tf.matmul(tf.reshape(h1, [-1, 64]), w2) + b2)
    keep_prob = tf1.placeholder(tf.float32, name="keep_prob")
    dropped = tf1.nn.dropout(h2, keep_prob)
    w3, b3 = weight(8, 9, name="W_fc2"), bias(9, "b_fc2")
    y = tf.matmul(dropped, w3) + b3
    loss = tf.reduce_mean(tf1.nn.softmax_cross_entropy_with_logits(labels=y_, logits=y))
    label, prob = tf.argmax(y, 1, name="pred_label"), tf.nn.softmax(y, name="pred_prob")
    tf1.train.AdamOptimizer(1e-4).minimize(loss)
    right = tf.equal(tf.argmax(y, 1), tf.argmax(y_, 1))
    tf.reduce_mean(tf.cast(right, tf.float32), name="accuracy")
    return [x, keep_prob], [label, prob]


@shape()
@old
def feelings_in_faces() -> Any:
    """A convolutional network without names; the collection pred_network holds its logits; weights are averaged."""
    keep = tf1.placeholder(tf.float32)
    x, y_ = feed("x", None, 64), tf1.placeholder(tf.float32, [None, 7])

    def decayed(*sizes: int) -> Any:
        w = weight(*sizes)
        tf1.add_to_collection("losses", 0.0001 * tf.nn.l2_loss(w))
        return w

    h = halve(tf.nn.relu(convolve(tf.reshape(x, [-1, 8, 8, 1]), weight(5, 5, 1, 4)) + bias(4)))
    h = tf.nn.relu(tf.matmul(tf.reshape(h, [-1, 64]), decayed(64, 8)) + bias(8))
    h = tf1.nn.dropout(h, keep_prob=0.5)
    h = tf.nn.relu(tf.matmul(h, decayed(8, 8)) + bias(8))
    y = tf.matmul(h, decayed(8, 7)) + bias(7)
    tf1.add_to_collection("pred_network", y)
    step = tf1.Variable(0, trainable=False)
    ce = tf1.nn.sparse_softmax_cross_entropy_with_logits(logits=y, labels=tf.argmax(y_, 1))
    loss = tf.reduce_mean(ce) + tf.add_n(tf1.get_collection("losses"))
    tf.reduce_mean(tf.cast(tf.equal(tf.argmax(y, 1), tf.argmax(y_, 1)), tf.float32))
    rate = tf1.train.exponential_decay(0.01, step, 100, 0.992, staircase=True)
    train = tf1.train.AdamOptimizer(rate).minimize(loss, global_step=step)
    averages = tf1.train.ExponentialMovingAverage(0.99, step).apply(tf1.trainable_variables())
    with tf1.control_dependencies([train, averages]):
        tf.no_op(name="train")
    del keep
    return [x], [y]


@shape()
@old
def numbers_seen_by_a_teacher() -> Any:
    """Distillation: the logits have a name; the loss takes them by a temperature, and a teacher's beside the labels."""
    tf1.placeholder(tf.float32, name="kp")
    x, y, teacher = feed("x", None, 16), feed("y_actual", None, 10), feed("pretrained_logits", None, 10)
    h = dense(dense(x, 8, tf.nn.relu), 8, tf.nn.relu)
    h = dense(h, 10)
    logits = tf.identity(h, name="logits")
    h = tf.divide(h, 5)
    soft = tf.nn.softmax(teacher / 5)
    ce = tf1.nn.softmax_cross_entropy_with_logits(logits=h, labels=soft)
    ce = 0.8 * ce + 0.2 * tf1.nn.softmax_cross_entropy_with_logits(logits=h, labels=y)
    loss = tf.reduce_mean(ce)
    tf1.train.AdamOptimizer(1e-3).minimize(loss)
    accuracy = tf.reduce_mean(tf.cast(tf.equal(tf.argmax(h, 1), tf.argmax(y, 1)), tf.float32), name="accuracy")
    tf1.summary.scalar("cross-entropy", loss)
    tf1.summary.scalar("accuracy", accuracy)
    tf1.summary.merge_all()
    return [x], [logits]


@shape()
@old
def eyes_on_a_grid() -> Any:
    """A small YOLO for pupils: histograms of all that is trained, an IoU beside the loss, unused constants."""
    tf.constant(8, name="image_w")
    tf.constant(np.zeros([100]), name="tensor_config")
    image, truth = feed("input_image", None, 8, 8, 3), feed("y_ture_label", None, 4, 4, 6)
    h = halve(tf.nn.relu(convolve(image, weight(3, 3, 3, 4)) + bias(4)))
    h = tf.matmul(tf.reshape(h, [-1, 64]), weight(64, 96)) + bias(96)
    found = tf.reshape(h, [-1, 4, 4, 6], name="output_xy")
    here = truth[..., 4:5]
    loss = tf.reduce_mean(tf.reduce_sum(here * tf.square(found[..., 0:2] - truth[..., 0:2]), [1, 2, 3]))
    loss += tf.reduce_mean(tf.reduce_sum(here * tf.square(found[..., 2:4] - truth[..., 2:4]), [1, 2, 3]))
    loss += tf.reduce_mean(tf.reduce_sum(tf.square(found[..., 4] - truth[..., 4]), [1, 2]))
    low = tf.maximum(found[..., 0:2] - found[..., 2:4] / 2, truth[..., 0:2] - truth[..., 2:4] / 2)
    high = tf.minimum(found[..., 0:2] + found[..., 2:4] / 2, truth[..., 0:2] + truth[..., 2:4] / 2)
    inter = tf.reduce_prod(tf.maximum(high - low, 0.0), -1)
    union = tf.reduce_prod(found[..., 2:4], -1) + tf.reduce_prod(truth[..., 2:4], -1) - inter
    iou = tf.reduce_mean(inter / union)
    rate = tf1.placeholder("float", shape=[], name="learning_rate")
    optimizer = tf1.train.GradientDescentOptimizer(rate)
    slopes = list(zip(tf1.gradients(loss, tf1.trainable_variables()), tf1.trainable_variables(), strict=True))
    optimizer.apply_gradients(slopes)
    tf1.summary.scalar("yolo_loss", loss)
    tf1.summary.scalar("pred_iou", iou)
    for slope, variable in slopes:
        tf1.summary.histogram(variable.op.name, variable)
        tf1.summary.histogram(variable.op.name + "/gradient", slope)
    tf1.summary.histogram("pred", found)
    tf1.summary.merge_all()
    return [image], [found]


@shape()
@old
def towers_with_one_softmax() -> Any:
    """Two towers share variables; their logits are put together, and a softmax of that is what predicts."""
    x, y = tf1.placeholder(tf.float32, [None, 8, 8, 3]), tf1.placeholder(tf.float32, [None, 10])
    kp1, kp2 = tf1.placeholder(tf.float32), tf1.placeholder(tf.float32)
    w1, b1 = weight(3, 3, 3, 4, name="w1"), bias(4, "b1")
    w2, b2 = weight(64, 8, name="w7"), bias(8, "b7")
    w3, b3 = weight(8, 10, name="w8"), bias(10, "b8")
    optimizer = tf1.train.AdamOptimizer(0.0002, 0.9, 0.99)
    last, losses, slopes = [], [], []
    for i in range(2):
        with tf1.device(f"/gpu:{i}"):
            xs, ys = tf.slice(x, [i * 4, 0, 0, 0], [4, 8, 8, 3]), tf.slice(y, [i * 4, 0], [4, 10])
            h = halve(tf.nn.elu(convolve(tf1.nn.dropout(xs, kp1), w1) + b1))
            h = tf1.nn.dropout(tf.nn.elu(tf.matmul(tf.reshape(h, [-1, 64]), w2) + b2), kp2)
            last.append(tf.matmul(h, w3) + b3)
            losses.append(tf.reduce_mean(tf1.nn.softmax_cross_entropy_with_logits(logits=last[i], labels=ys)))
            slopes.append(optimizer.compute_gradients(losses[i]))
    means = []
    for pair in zip(*slopes, strict=True):
        joined = tf.concat([tf.expand_dims(slope, 0) for slope, _ in pair], 0)
        means.append((tf.reduce_mean(joined, 0), pair[0][1]))
    tf.reduce_mean(losses, 0)
    optimizer.apply_gradients(means)
    prediction = tf.nn.softmax(tf.concat(last, 0))
    right = tf.equal(tf.argmax(prediction, 1), tf.argmax(y, 1))
    tf.reduce_mean(tf.cast(right, tf.float32))
    return [x, kp1, kp2], [prediction]


@shape()
@old
def roads_upscaled() -> Any:
    """A fully convolutional network on one loaded; before it was saved, a softmax was made for each test image."""
    image = feed("image_input", None, 16, 16, 3)
    keep = tf1.placeholder(tf.float32, name="keep_prob")
    rate, label = tf1.placeholder(tf.float32), tf1.placeholder(tf.float32, [None, None, None, 2])
    h3 = tf.nn.relu(convolve(image, weight(3, 3, 3, 4, name="conv3/filter")))
    l3 = tf.identity(halve(h3), name="layer3_out")
    l4 = tf.identity(halve(tf.nn.relu(convolve(l3, weight(3, 3, 4, 4, name="conv4/filter")))), name="layer4_out")
    l7 = tf1.nn.dropout(halve(tf.nn.relu(convolve(l4, weight(3, 3, 4, 8, name="fc7/weights")))), keep)
    l7 = tf.identity(l7, name="layer7_out")
    up = deconv2d(conv2d(l7, 2, 1), 2, 4, 2, "same")
    up = deconv2d(tf.add(up, conv2d(l4, 2, 1)), 2, 4, 2, "same")
    up = deconv2d(tf.add(up, conv2d(l3, 2, 1)), 2, 4, 2, "same")
    logits = tf.reshape(up, (-1, 2))
    labels = tf.reshape(label, (-1, 2))
    loss = tf.reduce_mean(tf1.nn.softmax_cross_entropy_with_logits(logits=logits, labels=labels))
    tf1.train.AdamOptimizer(rate).minimize(loss)
    softmax, *_ = [tf.nn.softmax(logits) for _ in range(3)]
    return [image, keep], [softmax]


@shape()
@old
def cars_and_their_class() -> Any:
    """A first classifier: y_pred has a name, its class is only for the accuracy; layers made by functions."""
    x, y = feed("x", None, 8, 8, 3), feed("y_true", None, 3)
    y_class = tf.argmax(y, axis=1)

    def layer(net: Any, count: int) -> Any:
        w = tf1.Variable(tf1.truncated_normal([3, 3, int(net.shape[-1]), count], stddev=0.05))
        net = tf1.nn.conv2d(net, w, strides=[1, 1, 1, 1], padding="SAME") + tf1.Variable(
            tf.constant(0.05, shape=[count])
        )
        return tf.nn.relu(halve(net))

    net = layer(layer(x, 4), 4)
    net = tf.reshape(net, [-1, net.get_shape()[1:4].num_elements()])
    net = tf.nn.relu(tf.matmul(net, weight(16, 8)) + bias(8))
    net = tf.matmul(net, weight(8, 3)) + bias(3)
    y_pred = tf.nn.softmax(net, name="y_pred")
    pred_class = tf.argmax(y_pred, axis=1)
    cost = tf.reduce_mean(tf1.nn.softmax_cross_entropy_with_logits(logits=net, labels=y))
    tf1.train.AdamOptimizer(learning_rate=1e-4).minimize(cost)
    tf.reduce_mean(tf.cast(tf.equal(pred_class, y_class), tf.float32))
    return [x], [y_pred]


@shape()
@old
def digits_for_a_contest() -> Any:
    """A softmax with a name, the cross entropy by hand, and the accuracy from a graph of its own."""
    xs, ys = feed("input_data", None, 64), feed("input_label", None, 10)
    keep = tf1.placeholder(tf.float32, name="drop_out")
    h = halve(tf.nn.relu(convolve(tf.reshape(xs, [-1, 8, 8, 1]), weight(5, 5, 1, 4)) + bias(4)))
    h = tf.nn.relu(tf.matmul(tf.reshape(h, [-1, 64]), weight(64, 8)) + bias(8))
    h = tf1.nn.dropout(h, keep)
    prediction = tf.nn.softmax(tf.matmul(h, weight(8, 10)) + bias(10), name="prediction")
    loss = tf.reduce_mean(-tf.reduce_sum(ys * tf.math.log(prediction), axis=[1]))
    tf1.train.AdamOptimizer(1e-4).minimize(loss)
    return [xs, keep], [prediction]


@shape()
@old
def signs_in_scopes() -> Any:
    """Inputs, layers, loss, prediction and accuracy, each in a scope, with summaries of everything."""
    with tf1.name_scope("Input"):
        x, y = feed("X", None, 8, 8, 3), feed("Y", None, 5)
        hold = tf1.placeholder(tf.float32, name="hold_prob")
        tf1.summary.image("images", x)
    with tf1.name_scope("Conv1"):
        w, b = weight(5, 5, 3, 4, name="W"), bias(4, "B")
        tf1.summary.histogram("weights", w)
        h = halve(tf.nn.relu(convolve(x, w) + b))
    with tf1.name_scope("Full"):
        h = tf.nn.relu(tf.matmul(tf.reshape(h, [-1, 64]), weight(64, 8, name="W")) + bias(8, "B"))
        h = tf1.nn.dropout(h, keep_prob=hold)
    with tf1.name_scope("Output"):
        y_pred = tf.matmul(h, weight(8, 5, name="W")) + bias(5, "B")
    with tf1.name_scope("Train"):
        with tf1.name_scope("Loss"):
            loss = tf.reduce_mean(tf1.nn.softmax_cross_entropy_with_logits_v2(labels=y, logits=y_pred), name="loss")
        tf1.summary.scalar("loss", loss)
        with tf1.name_scope("Optimizer"):
            tf1.train.AdamOptimizer(0.001, name="Adam-op").minimize(loss)
        with tf1.name_scope("Prediction"):
            predictions = tf.argmax(y_pred, 1, name="predictions")
        with tf1.name_scope("Accuracy"):
            right = tf.equal(predictions, tf.argmax(y, 1), name="correct_pred")
            accuracy = tf.reduce_mean(tf.cast(right, tf.float32), name="accuracy")
        tf1.summary.scalar("accuracy", accuracy)
    tf1.summary.merge_all()
    return [x, hold], [predictions]


@shape()
@old
def pictures_in_the_dark() -> Any:
    """A U-Net on raw sensor data that ends in depth_to_space; the loss is a mean of absolute differences."""
    image, truth = (
        tf1.placeholder(tf.float32, [None, None, None, 4]),
        tf1.placeholder(tf.float32, [None, None, None, 3]),
    )

    def leaky(x: Any) -> Any:
        return tf.maximum(x * 0.2, x)

    c1 = slim_conv(slim_conv(image, 4, 3, "g_conv1_1", activation=leaky), 4, 3, "g_conv1_2", activation=leaky)
    c2 = slim_conv(halve(c1), 8, 3, "g_conv2_1", activation=leaky)
    kernel = tf1.Variable(tf1.truncated_normal([2, 2, 4, 8], stddev=0.02))
    up = tf1.nn.conv2d_transpose(c2, kernel, tf.shape(c1), strides=[1, 2, 2, 1])
    up = tf.concat([up, c1], 3)
    up.set_shape([None, None, None, 8])
    c9 = slim_conv(up, 4, 3, "g_conv9_1", activation=leaky)
    out = tf1.depth_to_space(slim_conv(c9, 12, 1, "g_conv10", activation=None), 2)
    loss = tf.reduce_mean(tf.abs(out - truth))
    rate = tf1.placeholder(tf.float32)
    tf1.train.AdamOptimizer(learning_rate=rate).minimize(loss, var_list=tf1.trainable_variables())
    return [image], [out]


@shape()
@old
def sheets_of_music() -> Any:
    """Characters by CTC: constants with names beside the network, its logits in a collection, a decoder for tests."""
    image = feed("model_input", None, 8, None, 1)
    tf.constant(8, name="input_height")
    keep = tf1.placeholder(tf.float32, name="keep_prob")
    x = batch_norm(conv2d(image, 4, 3, padding="same"), True)
    x = halve(tf.nn.leaky_relu(x))
    tf.constant(2, name="width_reduction")
    features = tf.transpose(x, [2, 0, 3, 1])
    sizes = tf.shape(features)
    features = tf.reshape(features, [sizes[0], sizes[1], 16])
    lengths = tf1.placeholder(tf.int32, [None], name="seq_lengths")
    forth, back = (drop(cell("BasicLSTMCell", 4), output_keep_prob=keep) for _ in range(2))
    outputs, _ = tf1.nn.bidirectional_dynamic_rnn(forth, back, features, lengths, dtype=tf.float32, time_major=True)
    outputs = tf.concat(outputs, 2)
    logits = slim_dense(tf.reshape(outputs, [-1, 8]), 7, activation=None)
    logits = tf.reshape(logits, [-1, tf.shape(outputs)[1], 7])
    tf1.add_to_collection("logits", logits)
    targets = tf1.sparse_placeholder(tf.int32, name="target")
    loss = tf.reduce_mean(tf1.nn.ctc_loss(labels=targets, inputs=logits, sequence_length=lengths, time_major=True))
    tf1.nn.ctc_greedy_decoder(logits, lengths)
    tf1.train.AdamOptimizer().minimize(loss)
    return [image, keep, lengths], [logits]


@shape()
@old
def letters_of_a_challenge() -> Any:
    """A CNN and CTC for captchas: what the decoder found is made dense under a name; lengths come from the shape."""
    image = feed("input", None, 8, 8, 1)
    labels = tf1.sparse_placeholder(tf.int32, name="labels")
    with tf1.variable_scope("cnn"):
        with tf1.variable_scope("unit-1"):
            x = halve(tf.nn.leaky_relu(batch_norm(conv2d(image, 4, 3, padding="same", name="cnn-1"), True), 0.01))
        x = tf.reshape(x, [-1, 4, 16])
    lengths = tf.fill([tf.shape(x)[0]], 4, name="seq_len")
    with tf1.variable_scope("lstm"):
        outputs, _ = tf1.nn.dynamic_rnn(cell("LSTMCell", 8), x, lengths, dtype=tf.float32)
        outputs = tf.reshape(outputs, [-1, 8])
    w = tf1.get_variable("weight", [8, 7])
    b = tf1.get_variable("bias", [7], initializer=tf1.zeros_initializer())
    logits = tf.matmul(outputs, w) + b
    logits = tf.transpose(tf.reshape(logits, [tf.shape(image)[0], -1, 7]), (1, 0, 2), "predict")
    step = tf1.train.get_or_create_global_step()
    cost = tf.reduce_mean(tf1.nn.ctc_loss(labels=labels, inputs=logits, sequence_length=lengths))
    tf1.summary.scalar("cost", cost)
    rate = tf1.train.exponential_decay(0.01, step, 100, 0.98, staircase=True)
    tf1.summary.scalar("learning_rate", rate)
    train = tf1.train.MomentumOptimizer(rate, 0.9, use_nesterov=True).minimize(cost, global_step=step)
    with tf1.control_dependencies([train, *tf1.get_collection("update_ops")]):
        tf.no_op(name="train_op")
    decoded, _ = tf1.nn.ctc_beam_search_decoder(logits, lengths, merge_repeated=False)
    dense_decoded = tf1.sparse_tensor_to_dense(decoded[0], default_value=-1, name="dense_decoded")
    tf.reduce_mean(tf1.edit_distance(tf.cast(decoded[0], tf.int32), labels))
    tf1.summary.merge_all()
    return [image], [dense_decoded]


@shape()
@old
def images_of_plants_by_keras() -> Any:
    """A Sequential of Keras in TensorFlow 1, loaded with its optimizer and saved as a checkpoint."""
    image = feed("input_node_input", None, 8, 8, 3)
    phase = tf1.placeholder_with_default(False, [], name="batch_normalization_1/keras_learning_phase")

    def kernel(*sizes: int) -> Any:
        return tf1.Variable(tf1.truncated_normal(sizes, stddev=0.01), name="kernel")

    with tf1.name_scope("input_node"):
        x = tf1.nn.convolution(image, kernel(3, 3, 3, 4), padding="SAME", name="convolution")
        x = tf.nn.bias_add(x, bias(4, "bias"))
    with tf1.name_scope("batch_normalization_1"):
        gamma, beta = (tf1.Variable(tf.ones([4]), name=n) for n in ("gamma", "beta"))
        mean, variance = (
            tf1.Variable(tf.zeros([4]), name=n, trainable=False) for n in ("moving_mean", "moving_variance")
        )
        now, here, there, *_ = tf1.nn.fused_batch_norm(x, gamma, beta, epsilon=1e-3)
        for held, new in ((mean, here), (variance, there)):
            tf1.assign_sub(held, (held - new) * 0.01)
        then = lambda: tf.nn.batch_normalization(x, mean, variance, beta, gamma, 1e-3)  # noqa: E731
        x = tf1.cond(phase, lambda: now, then)
    with tf1.name_scope("activation_1"):
        x = tf.nn.relu(x, name="Relu")
    with tf1.name_scope("flatten_1"):
        x = tf.reshape(x, tf.stack([-1, tf.reduce_prod(tf.shape(x)[1:])]))
        x.set_shape([None, 256])
    with tf1.name_scope("dropout_1"):
        full = x
        x = tf1.cond(phase, lambda: tf1.nn.dropout(full * 1.0, 0.5), lambda: full)
    with tf1.name_scope("dense_1"):
        x = tf.nn.bias_add(tf.matmul(x, kernel(256, 2), name="MatMul"), bias(2, "bias"))
    with tf1.name_scope("activation_2"):
        out = tf.nn.softmax(x, name="Softmax")
    with tf1.name_scope("SGD"):
        steps = tf1.Variable(0, dtype=tf.int64, name="iterations", trainable=False)
        rate = tf1.Variable(0.01, name="lr", trainable=False)
    target, sample = feed("activation_2_target", None, None), feed("activation_2_sample_weights", None)
    with tf1.name_scope("loss"):
        with tf1.name_scope("activation_2_loss"):
            p = tf.clip_by_value(out / tf.reduce_sum(out, -1, keepdims=True), 1e-7, 1 - 1e-7)
            each = -tf.reduce_sum(target * tf.math.log(p), -1) * sample
            each /= tf.reduce_mean(tf.cast(tf.not_equal(sample, 0.0), tf.float32))
            loss = tf.reduce_mean(each)
        loss = loss * 1.0 + 0.0005 * tf.reduce_sum(tf.square(tf1.trainable_variables()[0]))
    with tf1.name_scope("metrics"), tf1.name_scope("acc"):
        hits = tf.equal(tf.argmax(target, -1), tf.argmax(out, -1))
        tf.reduce_mean(tf.cast(hits, tf.float32))
    with tf1.name_scope("training"), tf1.name_scope("SGD"):
        slopes = tf1.gradients(loss, tf1.trainable_variables())
        tf1.assign_add(steps, 1)
        for variable, slope in zip(tf1.trainable_variables(), slopes, strict=True):
            moment = tf1.Variable(tf.zeros(variable.shape), trainable=False)
            velocity = 0.9 * moment - rate * slope
            tf1.assign(moment, velocity)
            tf1.assign(variable, variable + velocity)
    return [image], [out]


@shape()
@old
def perceptron_of_an_estimator() -> Any:
    """A model function in training: logits, class and probabilities are one dictionary and one collection."""
    dataset = tf1.data.Dataset.from_tensor_slices(({"x": np.zeros((8, 16), "f")}, np.zeros(8, "i4"))).batch(4)
    features, labels = tf1.data.make_initializable_iterator(dataset).get_next()
    with tf1.variable_scope("layer1"):
        h = dense(features["x"], 8, tf.nn.relu)
    with tf1.variable_scope("layer2"):
        h = dense(h, 8, tf.nn.relu)
    with tf1.variable_scope("logits_layer"):
        logits = dense(h, 10)
    classes, softmax = tf.argmax(logits, 1, name="classes_tensor"), tf.nn.softmax(logits, name="softmax_tensor")
    for answer in (logits, classes, softmax):
        tf1.add_to_collection("predictions", answer)
    loss = tf1.losses.sparse_softmax_cross_entropy(labels=labels, logits=logits)
    step = tf1.train.get_or_create_global_step()
    tf1.train.GradientDescentOptimizer(0.1).minimize(loss, global_step=step, name="train_op")
    return [features["x"]], [logits, classes, softmax]


@shape()
@old
def sides_of_two_sounds() -> Any:
    """Two spectrograms, one network with averages by hand; the answer has no name, though its author looked for one."""
    first, second = feed("X_first", None, 8, 8, 1), feed("X_second", None, 8, 8, 1)
    y, _ = feed("y", None, 2), tf1.placeholder("float", name="lrate")
    keep, phase = tf1.placeholder("float", name="keep_prob"), tf1.placeholder(tf.bool, name="phase_train")

    def norm(x: Any, count: int) -> Any:
        with tf1.variable_scope("bn"):
            beta = tf1.Variable(tf.constant(0.0, shape=[count]), name="beta")
            gamma = tf1.Variable(tf.constant(1.0, shape=[count]), name="gamma")
            mean, variance = tf.nn.moments(x, [0, 1, 2], name="moments")
            ema = tf1.train.ExponentialMovingAverage(decay=0.5)

            def update() -> Any:
                with tf1.control_dependencies([ema.apply([mean, variance])]):
                    return tf.identity(mean), tf.identity(variance)

            m, v = tf1.cond(phase, update, lambda: (ema.average(mean), ema.average(variance)))
            return tf.nn.batch_normalization(x, m, v, beta, gamma, 1e-3)

    w1, b1, w2, b2 = weight(3, 3, 1, 4), bias(4), weight(64, 8), bias(8)
    w3, b3 = weight(16, 2), bias(2)

    def side(x: Any) -> Any:
        x = tf.add(convolve(tf.reshape(x, (-1, 8, 8, 1)), w1), b1)
        return tf1.nn.dropout(halve(tf.nn.relu(norm(x, 4))), keep)

    a, b = side(first), side(second)
    a, b = (tf1.nn.dropout(tf.nn.relu(tf.add(tf.matmul(tf.reshape(x, [-1, 64]), w2), b2)), keep) for x in (a, b))
    y_ = tf.nn.sigmoid(tf.add(tf.matmul(tf.concat([a, b], 1), w3), b3))
    cost = tf.reduce_mean(tf1.nn.softmax_cross_entropy_with_logits_v2(labels=y, logits=y_))
    tf1.train.AdamOptimizer(1e-4).minimize(cost)
    tf.reduce_mean(tf.cast(tf.equal(tf.argmax(y, 1), tf.argmax(y_, 1)), tf.float32))
    return [first, second, phase, keep], [y_]


@shape()
@old
def face_from_a_voice() -> Any:
    """Audio to blend shapes: the loss compares halves of the batch, and takes a state of feelings as well."""
    keep = tf1.placeholder(tf.float32)
    data, label = tf1.placeholder(tf.float32, [None, 8, 8, 1]), tf1.placeholder(tf.float32, [None, 5])
    with tf1.name_scope("conv"):
        h = conv2d(data, 4, [1, 3], [1, 2], "same", activation=tf.nn.relu)
        h = conv2d(h, 4, [1, 3], [1, 2], "same", activation=tf.nn.relu)
        h = conv2d(h, 4, [1, 2], [1, 2], "same", activation=tf.nn.relu)
    with tf1.name_scope("emotion"):
        feeling = tf.reshape(conv2d(h, 2, [8, 1], activation=None), [-1, 2])
    with tf1.name_scope("articulation"):
        h = conv2d(h, 4, [3, 1], [2, 1], "same", activation=tf.nn.relu)
        mixed = tf.concat([flatten(h), feeling], 1)
    h = dense(tf1.nn.dropout(mixed, keep), 8)
    output = dense(h, 5)
    p = tf.reduce_mean(tf.square(output - label))
    (a, b), (c, d) = tf.split(output, 2, 0), tf.split(label, 2, 0)
    m = 2 * tf.reduce_mean(tf.square(a - b - c + d))
    e, f = tf.split(feeling, 2, 0)
    loss = p + m + 2 * tf.reduce_mean(tf.square(f - e))
    tf1.summary.scalar("loss0", loss)
    steps = tf1.Variable(0, trainable=False)
    rate = tf1.train.exponential_decay(0.001, steps, 100, 0.98, staircase=True)
    with tf1.control_dependencies(tf1.get_collection("update_ops")):
        tf1.train.AdamOptimizer(rate).minimize(loss, global_step=steps)
    tf1.summary.merge_all()
    return [data, keep], [output]


@shape()
@old
def behaviour_by_supervision() -> Any:
    """Dense layers with normalization and dropout, whose switches have defaults; a softmax with a name in a scope."""
    x, y = feed("x_input", None, 8), feed("y_input", None, 3)
    keep, training = tf1.placeholder_with_default(1.0, shape=()), tf1.placeholder_with_default(False, shape=())
    with tf1.variable_scope("MLP"):
        h = dense(x, 8, tf.nn.selu)
        h = dropout(batch_norm(h, training), keep, False)
        h = dense(h, 8, tf.nn.selu)
        h = dropout(batch_norm(h, training), keep, False)
        logits = dense(h, 3)
        out = tf.nn.softmax(logits, name="y_predict")
    with tf1.variable_scope("loss_func"):
        loss = tf.reduce_mean(tf1.nn.softmax_cross_entropy_with_logits_v2(labels=y, logits=logits))
        tf1.summary.scalar("ce", loss)
    with tf1.variable_scope("optimizer"), tf1.control_dependencies(tf1.get_collection("update_ops")):
        tf1.train.AdamOptimizer(0.001).minimize(loss)
    return [x], [out]
