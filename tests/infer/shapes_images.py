"""Graphs that look at images: classifiers, detectors, segmentation, with the leftovers of their scripts."""

from __future__ import annotations

from typing import Any

from real_shapes import feed, normalized, right, shape, weights
from typical_graphs import conv, cross_entropy, dense, train

from serialization.tensorflow import np, tf, tf1


@shape("Placeholder", "Softmax")
def first_tutorial() -> None:
    """Neither x nor y_ has a name, the cross entropy is written by hand."""
    x = tf1.placeholder(tf.float32, [None, 784])
    start = {"use_resource": False, "dtype": tf.float32}
    w, b = tf1.Variable(tf.zeros([784, 10]), **start), tf1.Variable(tf.zeros([10]), **start)
    y = tf.nn.softmax(tf.matmul(x, w) + b)
    y_ = tf1.placeholder(tf.float32, [None, 10])
    loss = -tf.reduce_sum(y_ * tf.math.log(y))
    tf1.train.GradientDescentOptimizer(0.01).minimize(loss)
    tf.reduce_mean(tf.cast(tf.equal(tf.argmax(y, 1), tf.argmax(y_, 1)), tf.float32))


@shape("x keep_prob", "fc2/add")
def deep_tutorial() -> None:
    x, y_ = feed("x", None, 784), feed("y_", None, 10)
    image = tf.reshape(x, [-1, 28, 28, 1])
    tf1.summary.image("input", image, 10)
    with tf.name_scope("pool"):
        pooled = tf1.nn.max_pool(conv(image, 4, "conv1"), [1, 4, 4, 1], [1, 4, 4, 1], "SAME")
    keep = feed("keep_prob")
    tf1.summary.scalar("dropout_keep_probability", keep)
    flat = tf1.nn.dropout(dense(tf.reshape(pooled, [-1, 7 * 7 * 4]), 16, "fc1", tf.nn.relu), keep)
    with tf.name_scope("fc2"):
        logits = tf.matmul(flat, weights("W_fc2", 16, 10)) + weights("b_fc2", 10)
    tf1.summary.histogram("logits", logits)
    with tf.name_scope("loss"):
        loss = tf.reduce_mean(tf1.nn.softmax_cross_entropy_with_logits_v2(labels=y_, logits=logits))
    right(logits, tf.argmax(y_, 1))
    tf1.train.AdamOptimizer(1e-4).minimize(loss)
    tf1.summary.merge_all()


@shape("x", "y_pred")
def named_scores_and_a_class_without_a_name() -> None:
    x, y_true = feed("x", None, 8, 8, 3), feed("y_true", None, 2)
    y_true_cls = tf.argmax(y_true, axis=1)
    logits = dense(tf.reshape(conv(x, 4, "conv1"), [-1, 8 * 8 * 4]), 2, "fc")
    y_pred = tf.nn.softmax(logits, name="y_pred")
    y_pred_cls = tf.argmax(y_pred, axis=1)
    loss = tf.reduce_mean(tf1.nn.softmax_cross_entropy_with_logits_v2(logits=logits, labels=y_true))
    tf1.train.AdamOptimizer(1e-4).minimize(loss)
    tf.reduce_mean(tf.cast(tf.equal(y_pred_cls, y_true_cls), tf.float32))


@shape("shuffle_batch", "softmax_linear/softmax_linear")
def records_by_queues() -> None:
    """The usual reader of 2016: file names, a reader, decoding, a shuffling queue."""
    names = tf1.train.string_input_producer(["/data/a.tfrecord", "/data/b.tfrecord"], num_epochs=3)
    _, text = tf1.TFRecordReader().read(names)
    row = {"image": tf1.FixedLenFeature([], tf.string), "label": tf1.FixedLenFeature([], tf.int64)}
    read = tf1.parse_single_example(text, row)
    image = tf.cast(tf.reshape(tf1.decode_raw(read["image"], tf.uint8), [24, 24, 3]), tf.float32) / 255.0
    image = tf.image.random_flip_left_right(image)
    images, labels = tf1.train.shuffle_batch([image, read["label"]], 16, 1000, 100)
    tf1.summary.image("images", images)
    hidden = dense(tf.reshape(conv(images, 4, "conv1"), [16, -1]), 8, "local3", tf.nn.relu)
    with tf1.variable_scope("softmax_linear"):
        logits = tf.add(tf.matmul(hidden, weights("weights", 8, 10)), weights("biases", 10), name="softmax_linear")
    tf1.add_to_collection("losses", cross_entropy(labels, logits))
    tf1.add_to_collection("losses", 0.004 * tf.nn.l2_loss(tf1.get_collection("trainable_variables")[-2]))
    loss = tf.add_n(tf1.get_collection("losses"), name="total_loss")
    average = tf1.train.ExponentialMovingAverage(0.9)
    with tf.control_dependencies([average.apply([loss])]):
        tf1.train.GradientDescentOptimizer(0.1).minimize(loss, tf1.train.get_or_create_global_step())
    tf.nn.in_top_k(labels, logits, 1)


@shape("input phase_train", "embeddings")
def face_embeddings() -> None:
    """A batch from queues is given the name under which it is fed later."""
    training = feed("phase_train", dtype="bool")
    batch_size, paths = feed("batch_size", dtype="int32"), feed("image_paths", None, 1, dtype="string")
    labels = feed("labels", None, 1, dtype="int32")
    queue = tf1.FIFOQueue(1000, [tf.string, tf.int32], [[1], [1]])
    queue.enqueue_many([paths, labels], name="enqueue_op")
    names, label = queue.dequeue()
    image = tf.image.decode_image(tf.io.read_file(names[0]), channels=3)
    image = tf1.image.resize_image_with_crop_or_pad(image, 16, 16)
    image.set_shape((16, 16, 3))
    images, batch = tf1.train.batch_join(
        [[tf.cast(image, tf.float32), label[0]]],
        batch_size=batch_size,
        enqueue_many=False,
        allow_smaller_final_batch=True,
    )
    images = tf.identity(tf.identity(images, "image_batch"), "input")
    batch = tf.identity(batch, "label_batch")
    net = tf.reduce_mean(normalized(conv(images, 4, "conv"), training, "bn"), [1, 2])
    prelogits = dense(net, 8, "Bottleneck")
    logits = dense(prelogits, 5, "Logits")
    tf.nn.l2_normalize(prelogits, 1, 1e-10, name="embeddings")
    centers = weights("centers", 5, 8, trainable=False)
    gap = prelogits - tf.gather(centers, batch)
    update = tf1.scatter_sub(centers, batch, 0.1 * -gap)
    with tf.control_dependencies([update]):
        center_loss = tf.reduce_mean(tf.square(gap))
    tf1.add_to_collection(tf1.GraphKeys.REGULARIZATION_LOSSES, center_loss)
    train(tf.add_n([cross_entropy(batch, logits), center_loss], name="total_loss"))


@shape(
    "image_tensor",
    "detection_boxes detection_scores detection_classes num_detections",
    frozen="detection_boxes detection_scores detection_classes num_detections",
)
def frozen_detector() -> None:
    """Images are resized in a loop; boxes per image come out of another loop with non-maximum suppression."""
    images = feed("image_tensor", None, None, None, 3, dtype="uint8")
    with tf.name_scope("Preprocessor"):

        def resize(image: Any) -> tuple[Any, Any]:
            return tf1.image.resize_images(image, [16, 16]), tf.shape(image)

        resized, shapes = tf.map_fn(resize, tf.cast(images, tf.float32), dtype=(tf.float32, tf.int32))
        resized.set_shape([None, 16, 16, 3])
    features = conv((2.0 / 255.0) * resized - 1.0, 4, "FeatureExtractor")
    boxes = tf.reshape(conv(features, 4, "BoxEncodings", None), [tf.shape(features)[0], -1, 4])
    scores = tf.sigmoid(tf.reshape(conv(features, 2, "ClassScores", None), [tf.shape(features)[0], -1, 2]))

    def suppress(row: Any) -> Any:
        box, score, size = row
        kept = tf.image.non_max_suppression(box, tf.reduce_max(score, 1), 10)
        pad = [[0, 10 - tf.shape(kept)[0]]]
        clipped = tf.clip_by_value(tf.gather(box, kept), 0.0, tf.cast(size[0], tf.float32))
        return (
            tf.pad(clipped, [*pad, [0, 0]]),
            tf.pad(tf.gather(tf.reduce_max(score, 1), kept), pad),
            tf.pad(tf.gather(tf.argmax(score, 1), kept), pad),
            tf.shape(kept)[0],
        )

    with tf.name_scope("Postprocessor"):
        kinds = (tf.float32, tf.float32, tf.int64, tf.int32)
        found = tf.map_fn(suppress, (boxes, scores, shapes), dtype=kinds)
    tf.identity(found[0], name="detection_boxes")
    tf.identity(found[1], name="detection_scores")
    tf.add(tf.cast(found[2], tf.float32), 1.0, name="detection_classes")
    tf.identity(tf.cast(found[3], tf.float32), name="num_detections")


@shape("input/input_data input/training", "pred_sbbox/concat_2 pred_lbbox/concat_2")
def anchors_on_two_grids() -> None:
    """The loss takes both the raw map and the decoded boxes."""
    with tf.name_scope("input"):
        data, training = feed("input_data", None, 32, 32, 3), feed("training", dtype="bool")
        labels = [feed(f"label_{size}bbox", None, None, None, 1, 7) for size in "sl"]
    body = normalized(conv(data, 4, "darknet"), training, "bn")
    losses = []
    for size, label, step in zip("sl", labels, (4, 8), strict=True):
        pooled = tf1.nn.max_pool(body, [1, step, step, 1], [1, step, step, 1], "SAME")
        raw = conv(pooled, 7, f"conv_{size}bbox", None)
        with tf1.variable_scope(f"pred_{size}bbox"):
            shape = tf.shape(raw)
            out = tf.reshape(raw, (shape[0], shape[1], shape[1], 1, 7))
            grid = tf.tile(tf.range(shape[1])[:, None], [1, shape[1]])
            places = tf.cast(tf.concat([grid[:, :, None], tf.transpose(grid)[:, :, None]], -1), tf.float32)
            middle = (tf.sigmoid(out[..., 0:2]) + places[None, :, :, None, :]) * step
            boxes = tf.concat([middle, tf.exp(out[..., 2:4]) * 8.0], -1)
            tf.concat([boxes, tf.sigmoid(out[..., 4:5])], -1)
            pred = tf.concat([boxes, tf.sigmoid(out[..., 4:5]), tf.sigmoid(out[..., 5:])], -1)
        with tf.name_scope(f"loss_{size}"):
            out = tf.reshape(raw, (shape[0], shape[1], shape[1], 1, 7))
            there, sure = label[..., 4:5], tf1.nn.sigmoid_cross_entropy_with_logits
            overlap = tf.reduce_sum(there * tf.square(pred[..., 0:4] - label[..., 0:4]), [1, 2, 3, 4])
            kinds = tf.reduce_sum(there * sure(labels=label[..., 5:], logits=out[..., 5:]), [1, 2, 3, 4])
            losses.append(tf.reduce_mean(overlap + kinds))
    train(tf.add_n(losses))


@shape("low", "generator/residual/add")
def sharper_images() -> None:
    low, high = feed("low", None, 8, 8, 3), feed("high", None, 8, 8, 3)
    with tf1.variable_scope("generator"):
        made = conv(conv(low, 4, "first"), 3, "last", None)
        with tf.name_scope("residual"):
            made = made + low
    with tf.name_scope("psnr"):
        noise = tf.reduce_mean(tf.square(made - high))
        psnr = 10.0 * tf.math.log(1.0 / noise) / np.log(10.0)
    tf1.summary.scalar("PSNR", psnr)
    tf1.summary.image("images", tf.concat([low, tf.clip_by_value(made, 0.0, 1.0), high], 2))
    train(tf.reduce_mean(tf.square(high - made)))


@shape("input", "output", saver=False)
def image_by_text() -> None:
    """An export without training: base64 in, base64 out."""
    raw = tf.io.decode_base64(tf1.placeholder(tf.string, [], name="input"))
    image = tf.cast(tf.image.decode_png(raw, channels=4)[:, :, :3], tf.float32) / 127.5 - 1
    image.set_shape([16, 16, 3])
    made = tf.tanh(conv(conv(image[None], 4, "encoder"), 3, "decoder", None))
    png = tf.image.encode_png(tf.image.convert_image_dtype((made[0] + 1) / 2, tf.uint8, saturate=True))
    tf.identity(tf.io.encode_base64(png), name="output")


@shape("input is_training", "predictions labels_distribution:0")
def mask_and_distribution() -> None:
    """Two heads that share a trunk; one class has an auxiliary loss with label smoothing."""
    image, training = feed("input", None, 8, 8, 3), feed("is_training", dtype="bool")
    mask, kind = feed("mask", None, 8, 8, dtype="int32"), feed("kind", None, dtype="int64")
    trunk = normalized(conv(image, 4, "trunk"), training, "bn")
    mask_logits = conv(trunk, 3, "mask_logits", None)
    kind_logits = dense(tf.reduce_mean(trunk, [1, 2]), 5, "kind_logits")
    tf.argmax(mask_logits, -1, name="predictions")
    tf.nn.softmax(kind_logits, name="labels_distribution")
    smooth = tf.one_hot(kind, 5) * 0.9 + 0.1 / 5
    kind_loss = tf.reduce_mean(tf1.nn.softmax_cross_entropy_with_logits_v2(labels=smooth, logits=kind_logits))
    decay = tf.add_n([tf.nn.l2_loss(v) for v in tf1.trainable_variables()])
    train(cross_entropy(mask, mask_logits) + kind_loss + 1e-4 * decay)


@shape("tower_0/images", "tower_0/fc/BiasAdd")
def towers() -> None:
    """Two devices with one network, each with its own batch; gradients are averaged."""
    optimizer, found = tf1.train.GradientDescentOptimizer(0.1), []
    for number in range(2):
        with tf1.variable_scope("", reuse=number > 0), tf.name_scope(f"tower_{number}/"):
            images, labels = feed("images", None, 8, 8, 3), feed("labels", None, dtype="int64")
            logits = dense(tf.reduce_mean(conv(images, 4, "conv"), [1, 2]), 5, "fc")
            loss = cross_entropy(labels, logits)
            tf1.summary.scalar("loss", loss)
            found.append(optimizer.compute_gradients(loss, tf1.trainable_variables()))
    mean = [(tf.reduce_mean(tf.stack([g for g, _ in pair]), 0), pair[0][1]) for pair in zip(*found, strict=True)]
    optimizer.apply_gradients(mean)


@shape("Placeholder", "ResNet/probabilities")
def evaluation_with_metrics() -> None:
    """Nothing trains here: the script restores, runs the metrics' updates, and prints them."""
    images, labels = tf1.placeholder(tf.float32, [None, 8, 8, 3]), feed("labels", None, dtype="int64")
    with tf1.variable_scope("ResNet"):
        logits = dense(tf.reduce_mean(conv(images, 4, "conv1"), [1, 2]), 5, "logits")
        probabilities = tf.nn.softmax(logits, name="probabilities")
    predictions = tf.argmax(probabilities, 1)
    tf1.metrics.accuracy(labels, predictions, name="accuracy")
    tf1.metrics.recall_at_k(labels, logits, 2, name="recall_5")
    tf1.summary.scalar("loss", cross_entropy(labels, logits))


@shape("input_1 dropout/keras_learning_phase", "dense/Softmax")
def layers_with_a_learning_phase() -> None:
    """As Keras wrote its graphs: targets, sample weights, a default for the learning phase, metrics, Adam."""
    x = feed("input_1", None, 16)
    hidden = dense(x, 8, "hidden", tf.nn.relu)
    with tf.name_scope("dropout/"):
        phase = tf1.placeholder(tf.bool, [], name="keras_learning_phase")
        hidden = tf1.cond(phase, lambda: tf1.nn.dropout(hidden, 0.5), lambda: tf.identity(hidden))
    logits = dense(hidden, 4, "dense")
    with tf.name_scope("dense/"):
        made = tf.nn.softmax(logits)
    target, sample = feed("dense_target", None, None), feed("dense_sample_weights", None)
    with tf.name_scope("loss/dense_loss"):
        losses = tf1.nn.softmax_cross_entropy_with_logits_v2(labels=tf.reshape(target, [-1, 4]), logits=logits)
        weighted = losses * sample
        weighted /= tf.reduce_mean(tf.cast(tf.not_equal(sample, 0.0), tf.float32))
        loss = tf.multiply(1.0, tf.reduce_mean(weighted))
    with tf.name_scope("metrics/acc"):
        tf.reduce_mean(tf.cast(tf.equal(tf.argmax(target, -1), tf.argmax(made, -1)), tf.float32))
    with tf.name_scope("training/Adam"):
        tf1.train.AdamOptimizer().minimize(loss)
