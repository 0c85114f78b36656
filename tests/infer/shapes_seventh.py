"""A seventh set: games, signs, prices and poses as public programs of TensorFlow 1 build them."""

from __future__ import annotations

from typing import Any

from real_shapes import Cell, attend, feed, normalized, shape, weights
from typical_graphs import conv, cross_entropy, dense, train

from serialization.tensorflow import np, tf, tf1


@shape("Placeholder Placeholder_2", "ArgMax")
def captcha() -> None:
    x, y, keep = (
        tf1.placeholder(tf.float32, [None, 64]),
        tf1.placeholder(tf.float32, [None, 20]),
        tf1.placeholder(tf.float32),
    )
    net = tf1.nn.dropout(conv(tf.reshape(x, [-1, 8, 8, 1]), 4, "c1"), keep)
    out = tf.matmul(
        tf.nn.relu(tf.matmul(tf.reshape(net, [-1, 256]), weights("wd", 256, 8)) + weights("bd", 8)),
        weights("wo", 8, 20),
    ) + weights("bo", 20)
    loss = tf.reduce_mean(tf1.nn.sigmoid_cross_entropy_with_logits(logits=out, labels=y))
    tf1.train.AdamOptimizer().minimize(loss)
    predict = tf.reshape(out, [-1, 4, 5])
    p, right = tf.argmax(predict, 2), tf.argmax(tf.reshape(y, [-1, 4, 5]), 2)
    tf.reduce_mean(tf.cast(tf.equal(p, right), tf.float32))


@shape("Placeholder Placeholder_2", "Mul")
def autopilot() -> None:
    x, y_ = tf1.placeholder(tf.float32, [None, 8, 8, 3]), tf1.placeholder(tf.float32, [None, 1])
    keep = tf1.placeholder(tf.float32)
    h = tf.reshape(conv(x, 4, "h1"), [-1, 256])
    h = tf1.nn.dropout(tf.nn.relu(tf.matmul(h, weights("w1", 256, 8)) + weights("b1", 8)), keep)
    y = tf.multiply(tf.atan(tf.matmul(h, weights("w5", 8, 1)) + weights("b5", 1)), 2)
    loss = (
        tf.reduce_mean(tf.square(tf.subtract(y_, y)))
        + tf.add_n([tf.nn.l2_loss(v) for v in tf1.trainable_variables()]) * 0.001
    )
    tf1.train.AdamOptimizer(1e-4).minimize(loss)
    tf1.summary.scalar("loss", loss)


@shape("inputs keep_prob", "fully_connected/Sigmoid")
def reviews() -> None:
    x, labels, keep = (
        feed("inputs", None, 6, dtype="int32"),
        feed("labels", None, None, dtype="int32"),
        tf1.placeholder(tf.float32, name="keep_prob"),
    )
    e = tf.nn.embedding_lookup(weights("embedding", 20, 8), x)
    out, _ = tf1.nn.dynamic_rnn(Cell(8), e, dtype=tf.float32)
    p = dense(tf1.nn.dropout(out[:, -1], keep), 1, "fully_connected", tf.sigmoid)
    cost = tf1.losses.mean_squared_error(labels, p)
    tf1.train.AdamOptimizer().minimize(cost)
    tf.reduce_mean(tf.cast(tf.equal(tf.cast(tf.round(p), tf.int32), labels), tf.float32))


@shape("Placeholder", "add_1")
def traffic_signs() -> None:
    x, y = tf1.placeholder(tf.float32, (None, 8, 8, 3)), tf1.placeholder(tf.int32, (None))
    one = tf.one_hot(y, 5)
    net = tf.nn.relu(tf1.nn.conv2d(x, weights("w1", 3, 3, 3, 4), [1, 1, 1, 1], "SAME") + weights("b1", 4))
    logits = tf.matmul(tf.reshape(net, [-1, 256]), weights("w2", 256, 5)) + weights("b2", 5)
    loss = tf.reduce_mean(tf1.nn.softmax_cross_entropy_with_logits_v2(labels=one, logits=logits))
    tf1.train.AdamOptimizer(0.001).minimize(loss)
    tf.reduce_mean(tf.cast(tf.equal(tf.argmax(logits, 1), tf.argmax(one, 1)), tf.float32))


@shape("Global_Net/S", "Global_Net/actor/ap/Softmax")
def actor_critic_of_many() -> None:
    def net(s: Any, scope: str) -> Any:
        with tf1.variable_scope(scope + "/actor"):
            a = dense(dense(s, 8, "la", tf.nn.relu6), 3, "ap", tf.nn.softmax)
        with tf1.variable_scope(scope + "/critic"):
            v = dense(dense(s, 8, "lc", tf.nn.relu6), 1, "v")
        return a, v, tf1.trainable_variables(scope + "/actor"), tf1.trainable_variables(scope + "/critic")

    with tf1.variable_scope("Global_Net"):
        s = feed("S", None, 4)
    _, _, ga, gc = net(s, "Global_Net")
    for w in ("W_0", "W_1"):
        with tf1.variable_scope(w):
            s, act, target = feed("S", None, 4), feed("A", None, dtype="int32"), feed("Vtarget", None, 1)
        a, v, pa, pc = net(s, w)
        td = tf.subtract(target, v)
        c_loss = tf.reduce_mean(tf.square(td))
        logp = tf.reduce_sum(tf.math.log(a + 1e-5) * tf.one_hot(act, 3), axis=1, keepdims=True)
        ent = -tf.reduce_sum(a * tf.math.log(a + 1e-5), axis=1, keepdims=True)
        a_loss = tf.reduce_mean(-(0.001 * ent + logp * tf.stop_gradient(td)))
        ag, cg = tf.gradients(a_loss, pa), tf.gradients(c_loss, pc)
        [here.assign(there) for here, there in zip(pa + pc, ga + gc, strict=True)]
        opt = tf1.train.RMSPropOptimizer(0.001)
        opt.apply_gradients(zip(ag, ga, strict=True))
        opt.apply_gradients(zip(cg, gc, strict=True))


@shape("user_input item_input", "prediction/Sigmoid")
def neural_matrix() -> None:
    u, i, y = (
        feed("user_input", None, 1, dtype="int32"),
        feed("item_input", None, 1, dtype="int32"),
        feed("labels", None, 1),
    )
    pu, qi = (
        tf.squeeze(tf.nn.embedding_lookup(weights("embedding_P", 9, 8), u), 1),
        tf.squeeze(tf.nn.embedding_lookup(weights("embedding_Q", 9, 8), i), 1),
    )
    out = tf.sigmoid(
        dense(tf.concat([pu * qi, dense(tf.concat([pu, qi], 1), 8, "mlp", tf.nn.relu)], 1), 1, "prediction_raw"),
        name="prediction/Sigmoid",
    )
    loss = tf1.losses.log_loss(y, out) + 0.01 * tf.nn.l2_loss(pu)
    tf1.train.AdagradOptimizer(0.01).minimize(loss)


@shape("images", "conv3/BiasAdd")
def sharper_by_three_layers() -> None:
    images, labels = feed("images", None, 16, 16, 1), feed("labels", None, 16, 16, 1)
    pred = conv(conv(conv(images, 8, "conv1"), 4, "conv2"), 1, "conv3", None)
    loss = tf.reduce_mean(tf.square(labels - pred))
    tf1.train.GradientDescentOptimizer(1e-4).minimize(loss)


@shape("image_input keep_prob", "bbox/trimming/bbox probability/class_idx probability/score")
def boxes_with_queue() -> None:
    ph = feed("image_input", 2, 8, 8, 3)
    keep = tf1.placeholder(tf.float32, name="keep_prob")
    mask, delta, box, lab = (
        feed("box_mask", 2, 64, 1),
        feed("box_delta_input", 2, 64, 4),
        feed("box_input", 2, 64, 4),
        feed("labels", 2, 64, 3),
    )
    net = tf1.nn.dropout(conv(ph, 8, "fire1"), keep)
    preds = conv(net, 8, "conv12", None)
    with tf1.variable_scope("interpret_output"):
        cls = tf.reshape(tf.nn.softmax(tf.reshape(preds[..., :3], [-1, 3])), [2, 64, 3], name="pred_class_probs")
        conf = tf.sigmoid(tf.reshape(preds[..., 3:4], [2, 64]), name="pred_confidence_score")
        d = tf.reshape(preds[..., 4:], [2, 64, 4], name="bbox_delta")
    with tf1.variable_scope("bbox"):
        boxes = tf.minimum(tf.maximum(d * 2.0 + 3.0, 0.0), 8.0, name="trimming/bbox")
    with tf1.variable_scope("probability"):
        probs = tf.multiply(cls, conf[..., None], name="final_class_prob")
        tf.reduce_max(probs, 2, name="score")
        tf.argmax(probs, 2, name="class_idx")
    iou = tf.stop_gradient(tf.reduce_sum(tf.minimum(boxes, box), 2))
    loss = (
        tf.reduce_sum(-lab * tf.math.log(cls + 1e-7) * mask)
        + tf.reduce_mean(tf.square(iou - conf) * mask[..., 0])
        + tf.reduce_sum(tf.square(mask * (d - delta)))
    )
    tf1.summary.scalar("loss", loss)
    opt = tf1.train.MomentumOptimizer(0.01, 0.9)
    gv = [(tf.clip_by_norm(g, 1.0), v) for g, v in opt.compute_gradients(loss)]
    opt.apply_gradients(gv)


@shape("Placeholder", "add_1")
def line_of_sales() -> None:
    x, y = tf1.placeholder(tf.float32, [None, 7, 5]), tf1.placeholder(tf.float32, [None, 1])
    out, _ = tf1.nn.dynamic_rnn(Cell(8), x, dtype=tf.float32)
    h = tf.nn.relu(tf.matmul(out[:, -1], weights("w0", 8, 8)) + weights("b0", 8))
    pred = tf.matmul(h, weights("w", 8, 1)) + weights("b", 1)
    loss = tf.reduce_sum(tf.square(pred - y))
    tf1.train.AdamOptimizer(0.01).minimize(loss)
    targets, predictions = tf1.placeholder(tf.float32, [None, 1]), tf1.placeholder(tf.float32, [None, 1])
    tf.sqrt(tf.reduce_mean(tf.square(targets - predictions)))


@shape("IteratorGetNext:0 IteratorGetNext:1", "ArgMax")
def names_in_training() -> None:
    d = tf1.data.Dataset.from_tensor_slices(
        (np.zeros([8, 6], "i"), np.zeros([8, 6], "i"), np.zeros([8, 6], "i"))
    ).batch(4)
    ids, mask, labels = tf1.data.make_one_shot_iterator(d).get_next()
    x = attend(tf.nn.embedding_lookup(weights("bert/word_embeddings", 20, 8), ids), mask, "bert/encoder")
    dense(x[:, 0], 8, "bert/pooler/dense", tf.tanh)
    out = tf.nn.dropout(x, rate=0.1)
    logits = tf.reshape(
        tf.nn.bias_add(
            tf.matmul(tf.reshape(out, [-1, 8]), weights("output_weights", 4, 8), transpose_b=True),
            weights("output_bias", 4),
        ),
        [-1, 6, 4],
    )
    logs = tf.nn.log_softmax(logits, axis=-1)
    tf.argmax(tf.nn.softmax(logits, axis=-1), axis=-1)
    loss = tf.reduce_sum(-tf.reduce_sum(tf.one_hot(labels, 4) * logs, axis=-1))
    train(loss)


@shape("vali_image_placeholder", "ResNet_1/Softmax")
def cifar_with_validation() -> None:
    image, label = feed("image_placeholder", 4, 8, 8, 3), feed("label_placeholder", 4, dtype="int32")
    vi, vl = feed("vali_image_placeholder", 4, 8, 8, 3), feed("vali_label_placeholder", 4, dtype="int32")

    def net(x: Any) -> Any:
        return dense(tf.reduce_mean(conv(x, 8, "conv0"), [1, 2]), 5, "fc")

    a, b = net(image), net(vi)
    with tf1.name_scope("ResNet"):
        p1 = tf.nn.softmax(a)
    with tf1.name_scope("ResNet_1/"):
        p2 = tf.nn.softmax(b)
    loss = cross_entropy(label, a) + 1e-4 * tf.add_n([tf.nn.l2_loss(v) for v in tf1.trainable_variables()])
    cross_entropy(vl, b)
    e = 1 - tf.reduce_mean(tf.cast(tf.math.in_top_k(predictions=p1, targets=label, k=1), tf.float32))
    ve = 1 - tf.reduce_mean(tf.cast(tf.math.in_top_k(predictions=p2, targets=vl, k=1), tf.float32))
    tf1.summary.scalar("e", e)
    tf1.summary.scalar("ve", ve)
    train(loss)


@shape("Placeholder", "conv_out/Relu")
def people_in_a_crowd() -> None:
    image, density = tf1.placeholder(tf.float32, [1, None, None, 1]), tf1.placeholder(tf.float32, [1, None, None, 1])
    branches = [conv(image, 4, f"branch{i}") for i in range(3)]
    est = conv(tf.concat(branches, 3), 1, "conv_out")
    loss = tf.reduce_mean(tf.square(density - est)) / 2
    tf1.summary.scalar("MAE", tf.abs(tf.reduce_sum(density) - tf.reduce_sum(est)))
    tf1.train.AdamOptimizer(1e-6).minimize(loss)


@shape("x", "decoder/Sigmoid")
def frozen_autoencoder() -> None:
    x = feed("x", None, 16)
    noisy = x + 0.1 * tf.random.normal(tf.shape(x))
    code = dense(noisy, 4, "encoder", tf.nn.softplus)
    y = dense(code, 16, "decoder", tf.sigmoid)
    cost = 0.5 * tf.reduce_sum(tf.pow(tf.subtract(y, x), 2.0))
    tf1.train.AdamOptimizer().minimize(cost)


@shape("is_training inputs", "pred_pose/BiasAdd pred_uncertainty/Softplus")
def pose_and_doubt() -> None:
    x, t = feed("inputs", None, 12), tf1.placeholder(tf.bool, name="is_training")
    pose = feed("pose", None, 6)
    net = tf.nn.relu(normalized(dense(x, 8, "fc1"), t, "bn1"))
    mean, spread = dense(net, 6, "pred_pose"), dense(net, 1, "pred_uncertainty", tf.nn.softplus)
    nll = tf.reduce_mean(
        tf.reduce_sum(tf.square(pose - mean), 1, keepdims=True) / (2 * spread) + 0.5 * tf.math.log(spread)
    )
    train(nll)


@shape("source_ids source_len", "decode/map/TensorArrayStack/TensorArrayGatherV3")
def summary_greedy() -> None:
    ids, n = feed("source_ids", 2, None, dtype="int32"), feed("source_len", 2, dtype="int32")
    table = weights("emb", 20, 8)
    _, st = tf1.nn.dynamic_rnn(Cell(8), tf.nn.embedding_lookup(table, ids), n, dtype=tf.float32, scope="enc")
    with tf1.variable_scope("decode"):

        def step(c: Any, _: Any) -> Any:
            w, m, h = c
            with tf1.variable_scope("cell", reuse=tf1.AUTO_REUSE):
                o, (m, h) = Cell(8)(tf.nn.embedding_lookup(table, w), (m, h))
                w = tf.cast(tf.argmax(dense(o, 20, "proj"), 1), tf.int32)
            return w, m, h

        tf1.scan(step, tf.range(5), (tf.zeros([2], tf.int32), *st), name="map")
