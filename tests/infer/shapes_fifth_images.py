"""Pictures, points and generators as public programs of TensorFlow 1 build, train and export them: first half."""

from __future__ import annotations

from typing import Any

from real_shapes import feed, normalized, shape
from typical_graphs import conv, cross_entropy, dense, train

from serialization.tensorflow import np, tf, tf1


def _average(decay: float = 0.99) -> None:
    """Moving averages of the trained weights, as an ExponentialMovingAverage keeps them."""
    tf1.train.ExponentialMovingAverage(decay).apply(tf1.trainable_variables())


@shape("input_images", "feature_fusion/scores/Sigmoid feature_fusion/concat")
def words_in_scenes() -> None:
    """After EAST, in training: a score map by dice loss, four distances and an angle by overlap."""
    images = feed("input_images", None, 16, 16, 3)
    score_maps, geo_maps = feed("input_score_maps", None, 16, 16, 1), feed("input_geo_maps", None, 16, 16, 5)
    masks = feed("input_training_masks", None, 16, 16, 1)
    net = conv(images - tf.constant([123.0, 116.0, 103.0]), 4, "resnet")
    with tf1.variable_scope("feature_fusion"):
        scores = conv(conv(net, 4, "merge"), 1, "scores", tf.sigmoid)
        distances = conv(net, 4, "distances", tf.sigmoid) * 512
        angles = (conv(net, 1, "angles", tf.sigmoid) - 0.5) * np.pi / 2
        geometry = tf.concat([distances, angles], -1)
    both = tf.reduce_sum(score_maps * scores * masks)
    dice = 1.0 - 2.0 * both / (tf.reduce_sum(score_maps * masks) + tf.reduce_sum(scores * masks) + 1e-5)
    tf1.summary.scalar("classification_dice_loss", dice)
    d1, d2, angle = tf.split(geo_maps[..., :2], 1, 3)[0], geo_maps[..., 2:4], geo_maps[..., 4:]
    p1, p2, guessed = geometry[..., :2], geometry[..., 2:4], geometry[..., 4:]
    union = tf.reduce_sum(tf.minimum(d1, p1) + tf.minimum(d2, p2), 3, keepdims=True)
    whole = tf.reduce_sum(tf.maximum(d1, p1) + tf.maximum(d2, p2), 3, keepdims=True)
    boxes = -tf.math.log((union + 1.0) / (whole + 1.0))
    turned = 1 - tf.cos(guessed - angle)
    tf1.summary.scalar("geometry_AABB", tf.reduce_mean(boxes * score_maps * masks))
    tf1.summary.image("score_map_pred", scores * 255)
    loss = tf.reduce_mean((boxes + 20 * turned) * score_maps * masks) + 0.01 * dice
    train(loss + sum(1e-5 * tf.nn.l2_loss(v) for v in tf1.trainable_variables()))
    _average()


@shape("ImageTensor", "SemanticPredictions", frozen="SemanticPredictions")
def street_scenes_exported() -> None:
    """After DeepLab's export: resized, padded, classified per pixel, cut to the size before the padding."""
    image = feed("ImageTensor", 1, None, None, 3, dtype="uint8")
    size = tf.shape(image)[1:3]
    resized = tf1.image.resize_bilinear(tf.cast(image, tf.float32), tf.minimum(size, 32), align_corners=True)
    height, width = tf.unstack(tf.shape(resized)[1:3])
    padded = tf.pad(resized - 127.5, [[0, 0], [0, 32 - height], [0, 32 - width], [0, 0]]) + 127.5
    padded.set_shape([1, 32, 32, 3])
    logits = conv(conv((2.0 / 255.0) * padded - 1.0, 4, "MobilenetV2/Conv"), 5, "logits/semantic", None)
    labels = tf.argmax(tf1.image.resize_bilinear(logits, [32, 32], align_corners=True), 3, name="ArgMax")
    cut = tf.slice(labels, [0, 0, 0], tf.stack([1, height, width]))
    back = tf1.image.resize_nearest_neighbor(tf.cast(cut, tf.int32)[..., None], size, align_corners=True)
    tf.identity(tf.squeeze(back, 3), name="SemanticPredictions")


@shape("image", "Openpose/stage3_L1/BiasAdd Openpose/stage3_L2/BiasAdd")
def poses_in_stages() -> None:
    """After OpenPose, in training: every stage has its loss, the last stage is the answer."""
    image, vectors, heat = feed("image", 2, 16, 16, 3), feed("vectmap", 2, 16, 16, 6), feed("heatmap", 2, 16, 16, 4)
    losses = []
    with tf1.variable_scope("Openpose"):
        features = conv(tf1.nn.max_pool2d(conv(image, 4, "conv1"), 1, 1, "SAME"), 4, "conv2")
        x = features
        for stage in range(1, 4):
            pair = []
            for branch, target, size in (("L1", vectors, 6), ("L2", heat, 4)):
                pair.append(conv(conv(x, 4, f"stage{stage}_{branch}_1"), size, f"stage{stage}_{branch}", None))
                losses.append(tf.nn.l2_loss(pair[-1] - target, name=f"loss_{branch.lower()}_stage{stage}"))
            x = tf.concat([*pair, features], 3, name=f"concat_stage{stage + 1}") if stage < 3 else x
    total = tf.reduce_sum(tf.stack(losses)) / 2
    tf1.summary.scalar("loss_lastlayer_paf", tf.reduce_sum(losses[-2]) / 2)
    train(total)


@shape("t_image_input_to_SRGAN_generator", "SRGAN_g_1/out/Tanh")
def sharper_by_a_critic() -> None:
    """After SRGAN of TensorLayer: the generator once more, at rest, for the pictures that are shown."""
    low = feed("t_image_input_to_SRGAN_generator", None, 8, 8, 3)
    target = feed("t_target_image", None, 8, 8, 3)

    def generate(*, training: bool) -> Any:
        with tf1.variable_scope("SRGAN_g", reuse=tf1.AUTO_REUSE):
            net = normalized(conv(low, 4, "n64s1"), tf.constant(training), "b_m")
            return conv(net, 3, "out", tf.tanh)

    def judge(x: Any) -> Any:
        with tf1.variable_scope("SRGAN_d", reuse=tf1.AUTO_REUSE):
            return dense(tf.reshape(conv(x, 4, "h0"), [-1, 256]), 1, "ho")

    def see(x: Any) -> Any:
        with tf1.variable_scope("VGG19", reuse=tf1.AUTO_REUSE):
            return conv(tf1.image.resize_images((x + 1) * 127.5, [16, 16]), 4, "conv1_1")

    made = generate(training=True)
    real, fake = judge(target), judge(made)
    true_features, features = see(target), see(made)
    generate(training=False)
    critic = tf.reduce_mean(tf1.nn.sigmoid_cross_entropy_with_logits(labels=tf.ones_like(real), logits=real))
    critic += tf.reduce_mean(tf1.nn.sigmoid_cross_entropy_with_logits(labels=tf.zeros_like(fake), logits=fake))
    fooled = 1e-3 * tf.reduce_mean(tf1.nn.sigmoid_cross_entropy_with_logits(labels=tf.ones_like(fake), logits=fake))
    pixels = tf1.losses.mean_squared_error(made, target)
    seen = 2e-6 * tf1.losses.mean_squared_error(true_features, features)
    train(pixels, "SRGAN_g")
    train(pixels + seen + fooled, "SRGAN_g")
    train(critic, "SRGAN_d")


@shape("Placeholder Placeholder_2", "fc3/BiasAdd")
def clouds_of_points() -> None:
    """After PointNet: a learned transformation of the points has a loss of its own."""
    points, labels = tf1.placeholder(tf.float32, [4, 16, 3]), tf1.placeholder(tf.int32, [4])
    training = tf1.placeholder(tf.bool, [])
    batch = tf1.get_variable("batch", [], tf.float32, tf1.zeros_initializer(), trainable=False)
    tf1.summary.scalar("bn_decay", tf.minimum(0.99, 1 - tf1.train.exponential_decay(0.5, batch * 4, 100, 0.5)))

    def turn(x: Any, size: int, scope: str) -> Any:
        with tf1.variable_scope(scope):
            net = tf.reduce_max(normalized(dense(x, 8, "tconv1"), training, "tconv1/bn"), 1)
            return tf.reshape(dense(net, size * size, "transform_XYZ"), [4, size, size])

    net = tf.matmul(points, turn(points, 3, "transform_net1"))
    net = tf.nn.relu(normalized(dense(net, 8, "conv1"), training, "conv1/bn"))
    transform = turn(net, 8, "transform_net2")
    net = tf.reduce_max(dense(tf.matmul(net, transform), 8, "conv3", tf.nn.relu), 1)
    net = tf.nn.relu(normalized(dense(net, 8, "fc1"), training, "fc1/bn"))
    dropped = tf1.cond(training, lambda: tf1.nn.dropout(net, 0.7), lambda: net)
    pred = dense(dropped, 5, "fc3")
    loss = cross_entropy(labels, pred)
    tf1.summary.scalar("classify loss", loss)
    apart = tf.matmul(transform, transform, transpose_b=True) - tf.constant(np.eye(8, dtype="f"))
    correct = tf.equal(tf.argmax(pred, 1), tf.cast(labels, tf.int64))
    tf1.summary.scalar("accuracy", tf.reduce_sum(tf.cast(correct, tf.float32)) / 4.0)
    tf1.train.AdamOptimizer().minimize(loss + 0.001 * tf.nn.l2_loss(apart), global_step=batch)


@shape("Placeholder", "siamese/fc3/BiasAdd")
def digits_side_by_side() -> None:
    """After a siamese network for digits: afterwards one tower embeds them."""
    x1, x2 = tf1.placeholder(tf.float32, [None, 16]), tf1.placeholder(tf.float32, [None, 16])
    y = tf1.placeholder(tf.float32, [None])

    def embed(x: Any) -> Any:
        return dense(dense(dense(x, 8, "fc1", tf.nn.relu), 8, "fc2", tf.nn.relu), 2, "fc3")

    with tf1.variable_scope("siamese") as scope:
        first = embed(x1)
        scope.reuse_variables()
        second = embed(x2)
    distance = tf.reduce_sum(tf.pow(first - second, 2), 1)
    margin = tf.constant(5.0, name="C")
    near = tf.multiply(y, distance, name="yi_x_eucd2")
    far = tf.multiply(1.0 - y, tf.pow(tf.maximum(margin - tf.sqrt(distance + 1e-6), 0), 2), name="Nyi_x_C-eucd_xx_2")
    loss = tf.reduce_mean(near + far, name="loss")
    tf1.train.GradientDescentOptimizer(0.01).minimize(loss)


@shape("input_image", "output_image", frozen="output_image")
def apples_to_oranges_exported() -> None:
    """After a CycleGAN's export: a picture in, the bytes of a JPEG out."""
    image = feed("input_image", 8, 8, 3)
    with tf1.variable_scope("G"):
        made = tf.tanh(conv(conv(tf.expand_dims(image, 0), 4, "c7s1_32"), 3, "output", None))
    pixels = tf.image.convert_image_dtype((made + 1.0) / 2.0, tf.uint8)
    tf.identity(tf.io.encode_jpeg(tf.squeeze(pixels, [0])), name="output_image")


@shape("xa_sample b_sample", "Gdec_2/out/Tanh")
def faces_with_other_hair() -> None:
    """After AttGAN: own placeholders for the pictures that are shown, all else for training."""
    xa, a, b = feed("xa", None, 8, 8, 3), feed("a", None, 4), feed("b", None, 4)
    xa_sample, b_sample = feed("xa_sample", None, 8, 8, 3), feed("b_sample", None, 4)

    def encode(x: Any, *, training: bool = True) -> Any:
        with tf1.variable_scope("Genc", reuse=tf1.AUTO_REUSE):
            return tf.nn.leaky_relu(normalized(conv(x, 4, "conv"), tf.constant(training), "bn"))

    def decode(z: Any, wanted: Any, *, training: bool = True) -> Any:
        with tf1.variable_scope("Gdec", reuse=tf1.AUTO_REUSE):
            z = tf.concat([z, tf.tile(wanted[:, None, None], [1, 8, 8, 1])], 3)
            return conv(normalized(conv(z, 4, "conv"), tf.constant(training), "bn"), 3, "out", tf.tanh)

    def judge(x: Any) -> tuple[Any, Any]:
        with tf1.variable_scope("D", reuse=tf1.AUTO_REUSE):
            net = tf.reshape(conv(x, 4, "conv", tf.nn.leaky_relu), [-1, 256])
            return dense(net, 1, "gan"), dense(net, 4, "att")

    z = encode(xa)
    other, same = decode(z, b * 2 - 1), decode(z, a * 2 - 1)
    (real, real_att), (fake, fake_att) = judge(xa), judge(other)
    alpha = tf.random.uniform([tf.shape(xa)[0], 1, 1, 1])
    between = xa + alpha * (other - xa)
    slope = tf.gradients(judge(between)[0], between)[0]
    penalty = tf.reduce_mean((tf.sqrt(tf.reduce_sum(tf.square(slope), [1, 2, 3])) - 1.0) ** 2)
    named = tf1.losses.sigmoid_cross_entropy(a, real_att)
    wanted = tf1.losses.sigmoid_cross_entropy(b, fake_att)
    restored = tf1.losses.absolute_difference(xa, same)
    train(tf.reduce_mean(fake) - tf.reduce_mean(real) + 10.0 * penalty + named, "D")
    train(-tf.reduce_mean(fake) + 10.0 * wanted + 100.0 * restored, "G")
    decode(encode(xa_sample, training=False), b_sample, training=False)


@shape("batch:0", "concat concat_1")
def boxes_and_anchors_in_training() -> None:
    """After the Object Detection API: the losses see the matched boxes, the answer is what the heads say."""
    queue = tf1.FIFOQueue(4, [tf.float32, tf.float32, tf.int32], [[16, 16, 3], [4], []])
    queue.enqueue_many([np.zeros([4, 16, 16, 3], "f"), np.zeros([4, 4], "f"), np.zeros([4], "i")])
    images, boxes, kinds = queue.dequeue_many(2, name="batch")
    net = conv((2.0 / 255.0) * images - 1.0, 4, "FeatureExtractor/MobilenetV1/Conv2d_0")
    maps = [net, conv(tf1.nn.max_pool2d(net, 2, 2, "SAME"), 4, "FeatureExtractor/MobilenetV1/Conv2d_1")]
    places, scores = [], []
    for number, features in enumerate(maps):
        with tf1.variable_scope(f"BoxPredictor_{number}"):
            places.append(tf.reshape(conv(features, 4, "BoxEncodingPredictor", None), [2, -1, 1, 4]))
            scores.append(tf.reshape(conv(features, 3, "ClassPredictor", None), [2, -1, 3]))
    encodings, classes = tf.concat(places, 1), tf.concat(scores, 1)
    anchors = tf.constant(np.random.default_rng(0).uniform(size=(320, 4)).astype("f"))
    near = tf.cast(tf.reduce_sum(tf.abs(anchors[None] - boxes[:, None]), 2) < 1.0, tf.float32)
    wanted = tf.stop_gradient(boxes[:, None] - anchors[None])
    kind = tf.stop_gradient(tf.one_hot(kinds, 3)[:, None] * near[..., None])
    apart = tf.abs(tf.squeeze(encodings, 2) - wanted)
    smooth = tf.where(apart < 1, 0.5 * apart * apart, apart - 0.5)
    place = tf.reduce_sum(smooth * near[..., None], name="Loss/localization_loss")
    named = tf.reduce_sum(
        tf1.nn.sigmoid_cross_entropy_with_logits(labels=kind, logits=classes), name="Loss/classification_loss"
    )
    tf1.summary.scalar("Losses/TotalLoss", place + named)
    tf1.train.RMSPropOptimizer(0.01).minimize(place + named, global_step=tf1.train.get_or_create_global_step())


@shape("shuffle_batch:0 train_mode", "Sum ArgMax")
def age_and_gender() -> None:
    """The expected age, not its class; the gender's class; records come out of a queue."""
    queue = tf1.RandomShuffleQueue(8, 1, [tf.float32, tf.int32, tf.int32], [[8, 8, 3], [], []])
    queue.enqueue_many([np.zeros([4, 8, 8, 3], "f"), np.zeros([4], "i"), np.zeros([4], "i")])
    images, ages, genders = queue.dequeue_many(4, name="shuffle_batch")
    training = tf1.placeholder(tf.bool, name="train_mode")
    net = tf.reduce_mean(tf.nn.relu(normalized(conv(images, 8, "InceptionResnetV1/conv"), training, "bn")), [1, 2])
    age_logits, gender_logits = dense(net, 101, "logits/age"), dense(net, 2, "logits/gender")
    aged = cross_entropy(ages, age_logits)
    sexed = cross_entropy(genders, gender_logits)
    scale = tf.cast(tf.constant(list(range(101))), tf.float32)
    age = tf.reduce_sum(tf.multiply(tf.nn.softmax(age_logits), scale), axis=1)
    missed = tf1.losses.absolute_difference(tf.cast(ages, tf.float32), age)
    gender = tf.argmax(tf.nn.softmax(gender_logits), 1)
    tf1.summary.scalar(
        "gender accuracy", tf.reduce_mean(tf.cast(tf.equal(gender, tf.cast(genders, tf.int64)), tf.float32))
    )
    tf1.summary.scalar("age_mae", missed)
    train(aged + sexed + 1e-5 * tf.add_n([tf.nn.l2_loss(v) for v in tf1.trainable_variables()]))
