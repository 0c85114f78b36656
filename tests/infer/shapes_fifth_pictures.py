"""Pictures that become pictures, joints or lines, as public programs of TensorFlow 1 build them: first half."""

from __future__ import annotations

from typing import Any

from real_shapes import feed, shape
from typical_graphs import conv, cross_entropy, dense, train

from serialization.tensorflow import np, tf, tf1


def _average(decay: float = 0.99) -> None:
    """Moving averages of the trained weights, as an ExponentialMovingAverage keeps them."""
    tf1.train.ExponentialMovingAverage(decay).apply(tf1.trainable_variables())


@shape("Placeholder", "strided_slice_3")
def streets_by_three_resolutions() -> None:
    """After ICNet's inference: the two coarse heads of training are still there; labels become colors."""
    x = tf1.placeholder(tf.float32, [None, None, 3])
    size = tf.shape(x)
    image = tf1.image.resize_bilinear(tf.expand_dims(tf.cast(x, tf.float32), 0), [16, 16])
    low = conv(tf1.image.resize_bilinear(image, [4, 4]), 4, "conv5_4_k1")
    conv(low, 5, "sub4_out", None)
    middle = conv(tf1.image.resize_bilinear(low, [8, 8]), 4, "conv_sub4")
    middle = tf.nn.relu(middle + conv(tf1.image.resize_bilinear(image, [8, 8]), 4, "conv3_1_sub2_proj"))
    conv(middle, 5, "sub24_out", None)
    fine = tf.nn.relu(conv(tf1.image.resize_bilinear(middle, [16, 16]), 4, "sub24_sum") + conv(image, 4, "conv3_sub1"))
    raw = tf1.image.resize_bilinear(conv(fine, 5, "conv6_cls", None), size[:2], align_corners=True)
    labels = tf.argmax(raw, 3)
    colors = tf.constant(np.arange(15).reshape(5, 3).astype("f"))
    flat = tf.matmul(tf.reshape(tf.one_hot(labels, 5), [-1, 5]), colors)
    tf.reshape(flat, tf.stack([1, size[0], size[1], 3]))[..., ::-1]


@shape("Placeholder", "clip_by_value")
def residues_without_normalization() -> None:
    """After EDSR: the loss is taken around the means, the picture is clipped."""
    x, y = tf1.placeholder(tf.float32, [None, 8, 8, 3]), tf1.placeholder(tf.float32, [None, 16, 16, 3])
    mean = tf.reduce_mean(x)
    net = conv(x - mean, 4, "Conv", None)
    net += 0.1 * conv(conv(net, 4, "Conv_1"), 4, "Conv_2", None)
    output = conv(tf.nn.depth_to_space(conv(net, 16, "Conv_3", None), 2), 3, "Conv_4", tf.tanh)
    tf.clip_by_value(output + mean, 0.0, 255.0)
    target = y - tf.reduce_mean(y)
    loss = tf.reduce_mean(tf1.losses.absolute_difference(target, output))
    noise = tf.reduce_mean(tf1.squared_difference(target, output))
    tf1.summary.scalar("PSNR", 20 * tf.math.log(255.0 / tf.sqrt(noise)) / tf.math.log(10.0))
    tf1.summary.image("input_image", tf.cast(x, tf.uint8))
    train(loss)


@shape("inputs", "sigmoid_output")
def pixels_one_by_one() -> None:
    """After PixelCNN: the picture is its own label."""
    x = feed("inputs", None, 8, 8, 1)
    logits = conv(conv(x, 4, "conv_inputs"), 1, "conv2d_out_logits", None)
    tf.nn.sigmoid(logits, name="sigmoid_output")
    loss = tf.reduce_mean(tf1.nn.sigmoid_cross_entropy_with_logits(logits=logits, labels=x, name="loss"))
    optimizer = tf1.train.RMSPropOptimizer(1e-3)
    clipped = [(tf.clip_by_value(g, -1, 1), v) for g, v in optimizer.compute_gradients(loss)]
    optimizer.apply_gradients(clipped)


@shape("Decoder_input", "Decoder_2/d_out/Sigmoid")
def codes_like_a_prior() -> None:
    """After an adversarial autoencoder: the grid of pictures is drawn from codes that are fed."""
    x, target = feed("Input", 8, 16), feed("Target", 8, 16)
    real, code = feed("Real_distribution", 8, 2), feed("Decoder_input", 1, 2)

    def decode(z: Any) -> Any:
        with tf1.variable_scope("Decoder", reuse=tf1.AUTO_REUSE):
            return dense(dense(z, 8, "d_hidden", tf.nn.relu), 16, "d_out", tf.sigmoid)

    def judge(z: Any) -> Any:
        with tf1.variable_scope("Discriminator", reuse=tf1.AUTO_REUSE):
            return dense(dense(z, 8, "dc_hidden", tf.nn.relu), 1, "dc_out")

    encoded = dense(dense(x, 8, "Encoder/e_hidden", tf.nn.relu), 2, "Encoder/e_latent")
    decoded, good, bad = decode(encoded), judge(real), judge(encoded)
    made = tf.identity(decode(tf.identity(encoded)), name="again")
    tf1.summary.image("Reconstructed", tf.reshape(made, [-1, 4, 4, 1]))
    decode(code)
    loss = tf.reduce_mean(tf.square(target - decoded))
    critic = tf.reduce_mean(tf1.nn.sigmoid_cross_entropy_with_logits(labels=tf.ones_like(good), logits=good))
    critic += tf.reduce_mean(tf1.nn.sigmoid_cross_entropy_with_logits(labels=tf.zeros_like(bad), logits=bad))
    fooled = tf.reduce_mean(tf1.nn.sigmoid_cross_entropy_with_logits(labels=tf.ones_like(bad), logits=bad))
    tf1.summary.histogram("Encoder Distribution", encoded)
    train(loss)
    train(critic, "Discriminator")
    train(fooled, "Encoder")


@shape("input_img", "sigmoid_final_prediction")
def joints_by_hourglasses() -> None:
    """After stacked hourglasses: all stacks share one loss, the last one is the answer."""
    image, maps = feed("input_img", None, 8, 8, 3), feed("gtMaps", None, 2, 8, 8, 4)
    features, stacks = conv(image, 4, "pad_1"), []
    for number in range(2):
        hidden = conv(features, 4, f"hourglass_{number}")
        stacks.append(conv(hidden, 4, f"out_{number}", None))
        features = features + hidden + conv(stacks[-1], 4, f"back_{number}", None)
    output = tf.stack(stacks, axis=1, name="stack_output")
    final = tf.nn.sigmoid(output[:, 1], name="sigmoid_final_prediction")
    loss = tf.reduce_mean(
        tf1.nn.sigmoid_cross_entropy_with_logits(logits=output, labels=maps), name="cross_entropy_loss"
    )
    where = tf.argmax(tf.reshape(final, [-1, 64, 4]), 1), tf.argmax(tf.reshape(maps[:, 1], [-1, 64, 4]), 1)
    for joint in range(2):
        near = tf.abs(where[0][:, joint] - where[1][:, joint])
        tf1.summary.scalar(f"joint_{joint}", 1 - tf.reduce_mean(tf.cast(near, tf.float32)) / 64)
    train(loss)


@shape("input_image", "bbox_pred/Reshape cls_prob")
def lines_of_text() -> None:
    """After CTPN, in training: targets come from a Python function, probabilities are for the demo alone."""
    image, boxes, info = feed("input_image", None, 8, 8, 3), feed("input_bbox", None, 5), feed("input_im_info", None, 3)
    net = conv(image, 4, "rpn_conv")
    with tf1.variable_scope("bbox_pred"):
        places = tf.reshape(conv(net, 8, "conv", None), [-1, 4])
    scores = conv(net, 4, "cls_pred", None)
    pairs = tf.reshape(scores, [-1, 2])
    tf.reshape(tf.nn.softmax(pairs), [-1, 8, 16, 2], name="cls_prob")
    labels, targets = tf1.py_func(
        lambda s, b, i: (np.zeros(64, "i"), np.zeros([64, 4], "f")), [scores, boxes, info], [tf.int32, tf.float32]
    )
    kept = tf1.where(tf.not_equal(labels, -1))
    named = cross_entropy(tf.gather_nd(labels, kept), tf.gather_nd(pairs, kept))
    apart = tf.gather_nd(targets, kept) - tf.gather_nd(places, kept)
    place = tf.reduce_mean(tf.reduce_sum(tf.minimum(tf.square(apart), tf.abs(apart)), 1))
    tf1.summary.scalar("rpn_loss_box", place)
    train(named + place)
