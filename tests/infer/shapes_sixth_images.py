"""Pictures and generators as public programs of TensorFlow 1 and 2 build, train and export them: second half."""

from __future__ import annotations

from typing import Any

from real_shapes import Cell, feed, normalized, shape, weights
from typical_graphs import conv, dense, train

from serialization.tensorflow import np, tf, tf1


def _queue(name: str, *shapes: list[int], ints: int = 0) -> Any:
    """A batch of 4 out of a queue whose last `ints` parts are int32."""
    kinds = [tf.float32] * (len(shapes) - ints) + [tf.int32] * ints
    queue = tf1.FIFOQueue(8, kinds, shapes)
    queue.enqueue_many([np.zeros([4, *s], k.as_numpy_dtype) for s, k in zip(shapes, kinds, strict=True)])
    return queue.dequeue_many(4, name=name)


@shape("input", "CTCBeamSearchDecoder:0 CTCBeamSearchDecoder:1 CTCBeamSearchDecoder:2")
def words_in_a_line() -> None:
    """After CRNN's test: a decoder over columns; only the decoded words are fetched, not their likelihood."""
    x = feed("input", 1, 8, 16, 3)
    net = conv(tf1.nn.max_pool2d(conv(x, 4, "shadow/conv1"), 2, 2, "SAME"), 8, "shadow/conv2")
    columns = tf.reduce_mean(net, 1)
    out, _ = tf1.nn.dynamic_rnn(Cell(8), columns, dtype=tf.float32, scope="shadow/LSTMLayers")
    logits = tf.reshape(dense(tf.reshape(out, [-1, 8]), 12, "shadow/logits"), [1, 8, 12])
    tf.argmax(tf.nn.softmax(logits), axis=2, name="raw_prediction")
    major = tf.transpose(logits, [1, 0, 2], name="transpose_time_major")
    tf1.nn.ctc_beam_search_decoder(major, 8 * np.ones(1, "i"), merge_repeated=False)


@shape(
    "pnet/input rnet/input onet/input",
    "pnet/conv4-2/BiasAdd pnet/prob1 rnet/conv5-2/BiasAdd rnet/prob1 onet/conv6-2/BiasAdd onet/conv6-3/BiasAdd"
    " onet/prob1",
)
def faces_in_three_steps() -> None:
    """After MTCNN: three networks in one graph, each run by itself."""
    for scope, size in (("pnet", None), ("rnet", 24), ("onet", 48)):
        with tf1.variable_scope(scope):
            x = feed("input", None, size, size, 3)
            net = conv(x, 4, "conv1")
            if scope == "pnet":
                tf.nn.softmax(conv(net, 2, "conv4-1", None), name="prob1")
                conv(net, 4, "conv4-2", None)
            else:
                net = dense(tf.reduce_mean(net, [1, 2]), 8, "conv4", tf.nn.relu)
                first = 5 if scope == "rnet" else 6
                tf.nn.softmax(dense(net, 2, f"conv{first}-1"), name="prob1")
                dense(net, 4, f"conv{first}-2")
                if scope == "onet":
                    dense(net, 10, "conv6-3")


@shape("input_data", "concat_4 concat_5 concat_6")
def boxes_kept_for_each_kind() -> None:
    """After YOLOv3's test of one picture: boxes of three grids, kept for each kind of object apart."""
    x = feed("input_data", 1, 16, 16, 3)
    net = conv(x, 4, "yolov3/darknet53_body/Conv")
    boxes, scores = [], []
    for number, size in enumerate((4, 8)):
        with tf1.variable_scope("yolov3/yolov3_head", reuse=tf1.AUTO_REUSE):
            out = conv(tf1.image.resize_images(net, [size, size]), 3 * 8, f"Conv_{number}", None)
        place, wide, sure, kind = tf.split(tf.reshape(out, [-1, size, size, 3, 8]), [2, 2, 1, 3], -1)
        rows, columns = tf.meshgrid(tf.range(size), tf.range(size))
        offset = tf.cast(tf.stack([rows, columns], -1), tf.float32)[:, :, None]
        center, extent = (tf.sigmoid(place) + offset) * 16 / size, tf.exp(wide) * [[4.0, 4.0], [6.0, 6.0], [8.0, 8.0]]
        found = tf.concat([center - extent / 2, center + extent / 2], -1)
        boxes.append(tf.reshape(found, [1, -1, 4]))
        scores.append(tf.reshape(tf.sigmoid(sure) * tf.sigmoid(kind), [1, -1, 3]))
    places, sure = tf.reshape(tf.concat(boxes, 1), [-1, 4]), tf.reshape(tf.concat(scores, 1), [-1, 3])
    mask, kept = sure >= 0.3, []
    for kind in range(3):
        some, likely = tf.boolean_mask(places, mask[:, kind]), tf.boolean_mask(sure[:, kind], mask[:, kind])
        best = tf.image.non_max_suppression(some, likely, 20, 0.45)
        kept.append((tf.gather(some, best), tf.gather(likely, best), tf.ones_like(best) * kind))
    for parts in zip(*kept, strict=True):
        tf.concat(parts, 0)


@shape("Placeholder Placeholder_1", "resnet/cls_prob resnet/bbox_pred/add resnet/rois/concat")
def proposals_and_classes() -> None:
    """After Faster R-CNN's test: the boxes of the proposals, their classes, their refined boxes."""
    image, info = tf1.placeholder(tf.float32, [1, None, None, 3]), tf1.placeholder(tf.float32, [3])
    tf1.placeholder(tf.float32, [None, 5])
    with tf1.variable_scope("resnet"):
        net = conv(image, 4, "conv1")
        height, width = tf.cast(tf.math.ceil(info[0] / 16.0), tf.int32), tf.cast(tf.math.ceil(info[1] / 16.0), tf.int32)
        shift = tf.cast(tf.stack(tf.meshgrid(tf.range(width) * 16, tf.range(height) * 16), -1), tf.float32)
        anchors = tf.reshape(tf.concat([shift, shift + 16], -1), [-1, 4], name="anchors")
        scores = tf.nn.softmax(tf.reshape(conv(net, 2, "rpn_cls_score", None), [-1, 2]), name="rpn_cls_prob")[:, 1]
        moved = tf.reshape(conv(net, 4, "rpn_bbox_pred", None), [-1, 4])
        places = tf.minimum(tf.maximum(anchors + moved, 0.0), info[0])
        best = tf.image.non_max_suppression(places, scores, 8, 0.7, name="non_max_suppression")
        with tf1.variable_scope("rois"):
            rois = tf.concat([tf.zeros([tf.shape(best)[0], 1]), tf.gather(places, best)], 1)
        crops = tf.image.crop_and_resize(net, rois[:, 1:] / info[0], tf.cast(rois[:, 0], tf.int32), [4, 4])
        head = tf.reduce_mean(conv(crops, 8, "block4"), [1, 2])
        tf.nn.softmax(dense(head, 3, "cls_score"), name="cls_prob")
        with tf1.variable_scope("bbox_pred"):
            refined = dense(head, 12, "fc")
            tf.add(refined * np.tile([0.1, 0.1, 0.2, 0.2], 3).astype("f"), np.zeros(12, "f"), name="add")


@shape("Placeholder", "logits/BiasAdd")
def scenes_by_any_backbone() -> None:
    """After a suite of segmentation networks: scores per pixel and one-hot labels."""
    net_input, net_output = (
        tf1.placeholder(tf.float32, [None, None, None, 3]),
        tf1.placeholder(tf.float32, [None, None, None, 5]),
    )
    skip = conv(net_input, 4, "conv_1")
    net = conv(tf1.nn.max_pool2d(skip, 2, 2, "SAME"), 4, "conv_2")
    net = tf1.image.resize_bilinear(net, tf.shape(skip)[1:3]) + skip
    network = conv(net, 5, "logits", None)
    loss = tf.reduce_mean(tf1.nn.softmax_cross_entropy_with_logits_v2(logits=network, labels=net_output))
    tf1.train.RMSPropOptimizer(1e-4, decay=0.995).minimize(loss, var_list=list(tf1.trainable_variables()))


@shape("Placeholder Placeholder_1", "Identity packed")
def pictures_by_text_exported() -> None:
    """After pix2pix's export: a key that goes through, a picture as base64 in, another out."""
    text = tf1.placeholder(tf.string, [1])
    key = tf1.placeholder(tf.string, [1])
    data = tf.io.decode_base64(text[0])
    image = tf.image.decode_png(data)
    image = tf1.cond(tf.equal(tf.shape(image)[2], 4), lambda: image[:, :, :3], lambda: image)
    image = tf1.cond(tf.equal(tf.shape(image)[2], 1), lambda: tf.image.grayscale_to_rgb(image), lambda: image)
    image = tf.image.convert_image_dtype(image, tf.float32)
    image.set_shape([8, 8, 3])
    with tf1.variable_scope("generator"):
        out = conv(conv((image * 2 - 1)[None], 4, "encoder_1"), 3, "decoder_1", tf.tanh)
    pixels = tf.image.convert_image_dtype((out + 1) / 2, tf.uint8)[0]
    png = tf.io.encode_png(pixels)
    tf.convert_to_tensor([tf.io.encode_base64(png)])
    tf.identity(key)


@shape("z y", "generator_1/image")
def digits_of_a_class() -> None:
    """After ACGAN: the critic names the class as well; a generator at rest shows."""
    x, y, z = feed("real_images", 4, 8, 8, 1), feed("y", 4, 3), feed("z", 4, 6)

    def make(*, training: bool) -> Any:
        with tf1.variable_scope("generator", reuse=tf1.AUTO_REUSE):
            net = normalized(dense(tf.concat([z, y], 1), 8, "g_fc1"), tf.constant(training), "g_bn1")
            return tf.reshape(dense(tf.nn.relu(net), 64, "de_fc2", tf.sigmoid), [4, 8, 8, 1], name="image")

    def judge(image: Any) -> tuple[Any, Any]:
        with tf1.variable_scope("discriminator", reuse=tf1.AUTO_REUSE):
            net = dense(tf.reshape(conv(image, 4, "d_conv1"), [4, -1]), 8, "d_fc3", tf.nn.leaky_relu)
            out = dense(net, 1, "d_fc4")
            return tf.nn.sigmoid(out), net

    def name(net: Any) -> Any:
        with tf1.variable_scope("classifier", reuse=tf1.AUTO_REUSE):
            out = dense(net, 3, "c_fc2")
            tf.nn.softmax(out)
            return out

    (_, real), made = judge(x), make(training=True)
    (sure, fake) = judge(made)
    loss = tf.reduce_mean(-tf.math.log(judge(x)[0])) + tf.reduce_mean(-tf.math.log(1 - sure))
    named = tf1.nn.softmax_cross_entropy_with_logits_v2(labels=y, logits=name(real))
    named = tf.reduce_mean(named) + tf.reduce_mean(
        tf1.nn.softmax_cross_entropy_with_logits_v2(labels=y, logits=name(fake))
    )
    train(loss, "discriminator")
    train(tf.reduce_mean(-tf.math.log(sure)), "generator")
    train(named, "classifier")
    make(training=False)


@shape("custom_image custom_label", "generator_2/out/Tanh")
def faces_of_other_kinds() -> None:
    """After StarGAN: training from an iterator, pictures and labels of one's own for the demo."""
    data = tf1.data.Dataset.from_tensor_slices((np.zeros([8, 8, 8, 3], "f"), np.zeros([8, 4], "f"))).batch(4)
    x, label = tf1.data.make_one_shot_iterator(data).get_next()
    wanted = tf1.random_shuffle(label)
    custom, custom_label = feed("custom_image", 1, 8, 8, 3), feed("custom_label", 1, 4)

    def make(image: Any, kind: Any) -> Any:
        with tf1.variable_scope("generator", reuse=tf1.AUTO_REUSE):
            kind = tf.tile(kind[:, None, None], [1, 8, 8, 1])
            return conv(conv(tf.concat([image, kind], 3), 4, "conv"), 3, "out", tf.tanh)

    def judge(image: Any) -> tuple[Any, Any]:
        with tf1.variable_scope("discriminator", reuse=tf1.AUTO_REUSE):
            net = conv(image, 4, "conv_0", tf.nn.leaky_relu)
            return conv(net, 1, "D_logit", None), dense(tf.reduce_mean(net, [1, 2]), 4, "D_label")

    fake = make(x, wanted)
    again = make(fake, label)
    (real_logit, real_kind), (fake_logit, fake_kind) = judge(x), judge(fake)
    kind = tf.reduce_mean(tf1.nn.sigmoid_cross_entropy_with_logits(labels=label, logits=real_kind))
    other = tf.reduce_mean(tf1.nn.sigmoid_cross_entropy_with_logits(labels=wanted, logits=fake_kind))
    train(-tf.reduce_mean(fake_logit) + 10 * tf.reduce_mean(tf.abs(x - again)) + 10 * other, "generator")
    train(tf.reduce_mean(fake_logit) - tf.reduce_mean(real_logit) + 10 * kind, "discriminator")
    make(custom, custom_label)


@shape(
    "images contexts last_memory last_output last_word",
    "conv_feats initialize/memory/BiasAdd initialize/output/BiasAdd lstm/add_1 lstm/mul_2 decode/probs",
)
def captions_by_attention() -> None:
    """After a captioner's evaluation: features, first state and each next word are fetched one after the other."""
    images = feed("images", 2, 8, 8, 3)
    tf.reshape(conv(conv(images, 4, "conv1"), 8, "conv5_3"), [2, 64, 8], name="conv_feats")
    contexts, word = feed("contexts", 2, 64, 8), feed("last_word", 2, dtype="int32")
    memory, output = feed("last_memory", 2, 8), feed("last_output", 2, 8)
    with tf1.variable_scope("initialize"):
        mean = tf.reduce_mean(contexts, axis=1)
        dense(mean, 8, "memory")
        dense(mean, 8, "output")
    with tf1.variable_scope("attend"):
        scores = tf.squeeze(dense(tf.tanh(dense(contexts, 8, "fc_1a") + dense(output, 8, "fc_1b")[:, None]), 1, "fc_2"))
        context = tf.reduce_sum(contexts * tf.nn.softmax(scores)[..., None], axis=1)
    row = tf.nn.embedding_lookup(weights("word_embedding/weights", 20, 8), word)
    with tf1.variable_scope("lstm"):
        gates = tf.split(dense(tf.concat([context, row, output], 1), 32, "kernel"), 4, 1)
        memory = tf.sigmoid(gates[0] + 1.0) * memory + tf.sigmoid(gates[1]) * tf.tanh(gates[2])
        output = tf.tanh(memory) * tf.sigmoid(gates[3])
    with tf1.variable_scope("decode"):
        logits = dense(tf.concat([output, context, row], 1), 20, "fc")
        tf.nn.softmax(logits, name="probs")
        tf.argmax(logits, 1)
