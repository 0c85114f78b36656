"""Pictures in training and frozen, as public programs of TensorFlow 1 and 2 build them: second half."""

from __future__ import annotations

from typing import Any

from real_shapes import feed, normalized, shape, weights
from typical_graphs import conv, cross_entropy, dense

from serialization.tensorflow import np, tf, tf1


def _queue(name: str, *shapes: list[int], ints: int = 0) -> Any:
    """A batch of 4 out of a queue whose last `ints` parts are int32."""
    kinds = [tf.float32] * (len(shapes) - ints) + [tf.int32] * ints
    queue = tf1.FIFOQueue(8, kinds, shapes)
    queue.enqueue_many([np.zeros([4, *s], k.as_numpy_dtype) for s, k in zip(shapes, kinds, strict=True)])
    return queue.dequeue_many(4, name=name)


@shape("prefetch_queue_Dequeue:0", "MobilenetV1/Predictions/Reshape_1")
def pictures_by_a_prefetch_queue() -> None:
    """After the training script of TF-Slim: labels as one-hot rows, summaries of all end points, averages."""
    images, labels = _queue("batch", [8, 8, 3], [], ints=1)
    queue = tf1.FIFOQueue(2, [tf.float32, tf.float32], [[4, 8, 8, 3], [4, 5]], name="prefetch_queue")
    queue.enqueue([images, tf.one_hot(labels, 5)])
    images, labels = queue.dequeue(name="prefetch_queue_Dequeue")
    with tf1.variable_scope("MobilenetV1"):
        points = [tf1.nn.relu6(normalized(conv(images, 4, "Conv2d_0", None), tf.constant(value=True), "Conv2d_0/bn"))]
        with tf1.variable_scope("Logits"):
            pool = tf.reduce_mean(points[0], [1, 2], keepdims=True, name="AvgPool_1a")
            dropped = tf1.nn.dropout(pool, rate=0.001)
            logits = tf.squeeze(conv(dropped, 5, "Conv2d_1c_1x1", None), [1, 2], name="SpatialSqueeze")
        with tf1.variable_scope("Predictions"):
            points += [logits, tf.reshape(tf.nn.softmax(tf.reshape(logits, [-1, 5])), tf.shape(logits))]
    tf1.losses.softmax_cross_entropy(labels, logits, label_smoothing=0.1, weights=1.0)
    for point in points:
        tf1.summary.histogram(f"activations/{point.op.name}", point)
        tf1.summary.scalar(f"sparsity/{point.op.name}", tf.math.zero_fraction(point))
    step = tf1.train.get_or_create_global_step()
    average = tf1.train.ExponentialMovingAverage(0.9999, step).apply(tf1.trainable_variables())
    decay = tf.add_n([4e-5 * tf.nn.l2_loss(v) for v in tf1.trainable_variables()])
    total = tf1.losses.get_total_loss() + decay
    updates = [*tf1.get_collection("update_ops"), average]
    optimizer = tf1.train.RMSPropOptimizer(tf1.train.exponential_decay(0.01, step, 1000, 0.94, staircase=True))
    updates.append(optimizer.apply_gradients(optimizer.compute_gradients(total), global_step=step))
    with tf.control_dependencies([tf.group(*updates)]):
        tf.identity(total, name="train_op")


@shape(
    "input_image input_image_meta input_anchors",
    "mrcnn_detection/Reshape_1 mrcnn_mask/Reshape_1",
    frozen="mrcnn_detection/Reshape_1 mrcnn_mask/Reshape_1",
)
def masks_of_things() -> None:
    """After Mask R-CNN, frozen to the boxes and the masks."""
    image, meta, anchors = (
        feed("input_image", 1, 16, 16, 3),
        feed("input_image_meta", 1, 15),
        feed("input_anchors", 1, 64, 4),
    )
    net = conv(image, 4, "conv1")
    scores = tf.nn.softmax(tf.reshape(conv(tf1.nn.max_pool2d(net, 2, 2, "SAME"), 2, "rpn_class", None), [1, 64, 2]))
    moved = tf.reshape(conv(tf1.nn.max_pool2d(net, 2, 2, "SAME"), 4, "rpn_bbox", None), [1, 64, 4])
    with tf.name_scope("ROI"):
        some = tf.nn.top_k(scores[0, :, 1], 32).indices
        places = tf.clip_by_value(tf.gather(anchors[0], some) + tf.gather(moved[0], some), 0.0, 1.0)
        kept = tf.gather(places, tf.image.non_max_suppression(places, tf.gather(scores[0, :, 1], some), 8))
        kept = tf.pad(kept, [[0, 8 - tf.shape(kept)[0]], [0, 0]])
        kept.set_shape([8, 4])
    crops = tf.image.crop_and_resize(net, kept, tf.zeros([8], tf.int32), [4, 4])
    head = tf.reduce_mean(conv(crops, 8, "mrcnn_class_conv1"), [1, 2])
    kinds, refined = tf.nn.softmax(dense(head, 3, "mrcnn_class_logits")), dense(head, 4, "mrcnn_bbox_fc")
    with tf.name_scope("mrcnn_detection"):
        window = meta[0, 7:11] / 16.0
        best = tf.cast(tf.argmax(kinds, 1), tf.float32)
        boxes = tf.clip_by_value(kept + refined * tf.constant([0.1, 0.1, 0.2, 0.2]), window[0], window[3])
        found = tf.concat([boxes, best[:, None], tf.reduce_max(kinds, 1)[:, None]], 1)
        found = tf.reshape(found, [1, 8, 6], name="Reshape_1")
    crops = tf.image.crop_and_resize(net, tf.reshape(found, [8, 6])[:, :4], tf.zeros([8], tf.int32), [4, 4])
    tf.reshape(
        conv(conv(crops, 8, "mrcnn_mask_conv1"), 3, "mrcnn_mask_out", tf.sigmoid),
        [1, 8, 4, 4, 3],
        name="mrcnn_mask/Reshape_1",
    )


@shape("left", "model/ExpandDims")
def depth_from_one_picture() -> None:
    """After monodepth's test: four scales for two eyes, of which the script reads the finest of the left."""
    left = feed("left", 2, 16, 16, 3)
    with tf1.variable_scope("model"):
        net = conv(left, 4, "encoder/Conv")
        maps = [0.3 * conv(tf1.image.resize_images(net, [s, s]), 2, f"decoder/disp{s}", tf.sigmoid) for s in (16, 8, 4)]
        [tf.expand_dims(m[:, :, :, 0], 3) for m in maps]
        [tf.expand_dims(m[:, :, :, 1], 3) for m in maps]


@shape("image_placeholder", "ExpandDims_1")
def colors_of_what_is_seen() -> None:
    """After DeepLab-ResNet's training: the queue's batch may be fed; pictures are drawn by a Python function."""
    images, labels = _queue("create_inputs/batch", [8, 8, 3], [8, 8, 1], ints=1)
    images = tf1.placeholder_with_default(images, [4, 8, 8, 3], name="image_placeholder")
    raw = conv(conv(images, 4, "conv1"), 5, "fc1_voc12", None)
    flat = tf.reshape(raw, [-1, 5])
    named = tf1.image.resize_nearest_neighbor(labels, [8, 8])
    truth = tf.reshape(tf.squeeze(named, [3]), [-1])
    kept = tf.squeeze(tf1.where(tf.less_equal(truth, 4)), 1)
    loss = tf1.nn.sparse_softmax_cross_entropy_with_logits(
        logits=tf.gather(flat, kept), labels=tf.cast(tf.gather(truth, kept), tf.int32)
    )
    decay = [0.0005 * tf.nn.l2_loss(v) for v in tf1.trainable_variables() if "weights" in v.name]
    total = tf.reduce_mean(loss) + tf.add_n(decay)
    best = tf.argmax(tf1.image.resize_bilinear(raw, tf.shape(images)[1:3]), axis=3)
    shown = tf.expand_dims(best, axis=3, name="ExpandDims_1")
    drawn = [tf1.py_func(lambda x: np.zeros([2, 8, 8, 3], "u1"), [x], tf.uint8) for x in (images, labels, shown)]
    tf1.summary.image("images", tf.concat(drawn, 2), max_outputs=2)
    rate = tf.scalar_mul(2.5e-4, tf.pow(1 - tf1.placeholder(tf.float32, []) / 1000, 0.9))
    tf1.train.MomentumOptimizer(rate, 0.9).minimize(total)


@shape(
    "input_tensor",
    "Identity Identity_1 Identity_2 Identity_3",
    frozen="Identity Identity_1 Identity_2 Identity_3",
    functions=True,
)
def things_found_frozen_by_functions() -> None:
    """After the Object Detection API of TensorFlow 2, frozen: each picture of the batch in a loop."""
    images = feed("input_tensor", 1, None, None, 3, dtype="uint8")
    with tf.name_scope("StatefulPartitionedCall"):
        resized = tf1.image.resize_bilinear(tf.cast(images, tf.float32), [16, 16])
        net = conv(2.0 / 255.0 * resized - 1.0, 4, "model/Conv1")
        boxes = tf.reshape(conv(net, 4, "BoxEncodingPredictor", None), [1, -1, 4])
        scores = tf.sigmoid(tf.reshape(conv(net, 3, "ClassPredictor", None), [1, -1, 3]))

        def keep(pair: tuple[Any, Any]) -> tuple[Any, Any, Any, Any]:
            kept, likely = tf.image.non_max_suppression_with_scores(pair[0], tf.reduce_max(pair[1], 1), 8)
            kinds = tf.cast(tf.argmax(tf.gather(pair[1], kept), 1), tf.float32)
            return tf.gather(pair[0], kept), likely, kinds, tf.cast(tf.shape(kept)[0], tf.float32)

        found = tf.map_fn(keep, (boxes, scores), dtype=(tf.float32, tf.float32, tf.float32, tf.float32))
    kinds = tf.add(found[2], 1.0, name="StatefulPartitionedCall/add_1")
    for number, tensor in enumerate((found[0], kinds, found[1], found[3])):
        tf.identity(tensor, name=f"Identity_{number}" if number else "Identity")


@shape("input phase_train", "embeddings")
def faces_by_classes() -> None:
    """After facenet's training by classes: the batch gets the name that users feed; a center loss of one's own."""
    paths, control = feed("image_paths", None, 1, dtype="string"), feed("labels", None, 1, dtype="int64")
    feed("batch_size", dtype="int32")
    training = tf1.placeholder(tf.bool, name="phase_train")
    queue = tf1.FIFOQueue(8, [tf.string, tf.int64], [[1], [1]])
    queue.enqueue_many([paths, control], name="enqueue_op")
    names, label = queue.dequeue()
    image = tf.image.decode_jpeg(tf.io.read_file(names[0]), channels=3)
    image = tf.image.random_crop(tf.image.convert_image_dtype(image, tf.float32), [8, 8, 3])
    images, labels = tf1.train.batch_join([[image, label[0]]], 4, shapes=[(8, 8, 3), ()])
    images = tf.identity(tf.identity(images, "image_batch"), "input")
    labels = tf.identity(labels, "label_batch")
    net = tf.nn.relu(normalized(conv(images, 4, "InceptionResnetV1/Conv2d_1a"), training, "InceptionResnetV1/bn"))
    before = dense(tf.reduce_mean(net, [1, 2]), 8, "InceptionResnetV1/Bottleneck")
    logits = dense(before, 5, "Logits")
    tf.nn.l2_normalize(before, 1, 1e-10, name="embeddings")
    centers = weights("centers", 5, 8, trainable=False)
    found = tf.gather(centers, labels)
    moved = tf1.scatter_sub(centers, labels, 0.05 * (found - before))
    with tf.control_dependencies([moved]):
        center = tf.reduce_mean(tf.square(before - found))
    crossed = cross_entropy(labels, logits)
    hits = tf.cast(tf.equal(tf.argmax(logits, 1), tf.cast(labels, tf.int64)), tf.float32)
    tf1.summary.scalar("accuracy", tf.reduce_mean(hits))
    total = tf.add_n([crossed, 0.95 * center, 5e-4 * tf.add_n([tf.nn.l2_loss(v) for v in tf1.trainable_variables()])])
    rate = tf1.placeholder(tf.float32, name="learning_rate")
    step = tf1.get_variable("global_step", [], tf.int32, tf1.zeros_initializer(), trainable=False)
    average = tf1.train.ExponentialMovingAverage(0.9, name="avg").apply([crossed, total])
    with tf.control_dependencies([average]):
        tf1.train.AdagradOptimizer(rate).minimize(total, global_step=step)


@shape("img_inputs dropout_rate", "E_DenseLayer/BiasAdd")
def faces_by_angles() -> None:
    """After a face recognizer with margins: the label turns the scores before the loss."""
    images, labels = feed("img_inputs", None, 8, 8, 3), feed("img_labels", None, dtype="int64")
    keep = tf1.placeholder(tf.float32, name="dropout_rate")
    net = tf.nn.relu(normalized(conv(images, 4, "resnet_v1_50/conv1"), tf.constant(value=True), "E_BN1"))
    net = tf1.nn.dropout(tf.reshape(net, [-1, 256]), keep)
    embedding = dense(net, 8, "E_DenseLayer")
    with tf1.variable_scope("arcface_loss"):
        rows = tf.divide(embedding, tf.norm(embedding, axis=1, keepdims=True), name="norm_embedding")
        columns = weights("embedding_weights", 8, 5)
        columns = tf.divide(columns, tf.norm(columns, axis=0, keepdims=True), name="norm_weights")
        cosine = tf.matmul(rows, columns, name="cos_t")
        sine = tf.sqrt(1.0 - tf.square(cosine))
        turned = 64.0 * (cosine * float(np.cos(0.5)) - sine * float(np.sin(0.5)))
        passed = tf.cast(tf.nn.relu(cosine - float(np.cos(np.pi - 0.5))), tf.bool)
        turned = tf.where(passed, turned, 64.0 * cosine - 64.0 * 0.24)
        mask = tf.one_hot(labels, depth=5, name="one_hot_mask")
        logit = tf.add(64.0 * cosine * (1.0 - mask), turned * mask, name="arcface_loss_output")
    loss = cross_entropy(labels, logit)
    decay = sum(5e-4 * tf.nn.l2_loss(v) for v in tf1.trainable_variables())
    pred = tf.nn.softmax(logit)
    tf.reduce_mean(tf.cast(tf.equal(tf.argmax(pred, axis=1), labels), dtype=tf.float32))
    tf1.train.MomentumOptimizer(0.01, 0.9).minimize(loss + decay)
