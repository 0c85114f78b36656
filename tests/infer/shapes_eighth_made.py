"""An eighth set, written before its results were seen: generators, codes and games of public scripts."""

from __future__ import annotations

from typing import Any

from old_layers import batch_norm, cell, conv2d, deconv2d, dense, flatten, max_pool, old, slim_conv, slim_dense
from real_shapes import feed, shape

from serialization.tensorflow import np, tf, tf1


def normal(*sizes: int) -> Any:
    return tf1.Variable(tf1.random_normal(sizes))


@shape()
@old
def codes_of_two_inputs() -> Any:
    """An autoencoder, and its decoder once more on codes that are fed; both are trained, and both are used."""
    x, code = feed("input_x", None, 64), feed("input_x_", None, 2, 2, 4)
    h = max_pool(
        conv2d(tf.reshape(x, [-1, 8, 8, 1]), 4, 3, padding="same", activation=tf.nn.relu, name="conv1"), "pool1"
    )
    encode = max_pool(conv2d(h, 4, 3, padding="same", activation=tf.nn.relu, name="conv2"), "encode")
    h = deconv2d(encode, 4, 3, 1, "valid", activation=tf.nn.relu, name="conv_trans")
    decode = deconv2d(h, 1, 5, 1, "valid", activation=tf.nn.relu, name="decode")
    h = deconv2d(code, 4, 3, 1, "valid", activation=tf.nn.relu, name="conv_trans", reuse=True)
    made = deconv2d(h, 1, 5, 1, "valid", activation=tf.nn.relu, name="decode", reuse=True)
    for result in (decode, made):
        cost = tf1.losses.mean_squared_error(labels=tf.reshape(x, [-1, 8, 8, 1]), predictions=result)
        tf1.train.AdamOptimizer().minimize(cost)
    return [x, code], [encode, made]


@shape()
@old
def digits_by_a_generator() -> Any:
    real, z = tf1.placeholder(tf.float32, (None, 16), name="input_real"), feed("input_z", None, 4)

    def discriminator(x: Any, reuse: bool = False) -> Any:
        with tf1.variable_scope("discriminator", reuse=reuse):
            logits = dense(tf.nn.relu(dense(x, 8)), 1)
            return tf.sigmoid(logits), logits

    with tf1.variable_scope("generator"):
        made = tf.tanh(dense(tf.nn.relu(dense(z, 8)), 16))
    _, d_real = discriminator(real)
    _, d_fake = discriminator(made, reuse=True)
    judge = tf1.nn.sigmoid_cross_entropy_with_logits
    d_loss = tf.reduce_mean(judge(logits=d_real, labels=tf.ones_like(d_real)))
    d_loss += tf.reduce_mean(judge(logits=d_fake, labels=tf.zeros_like(d_real)))
    g_loss = tf.reduce_mean(judge(logits=d_fake, labels=tf.ones_like(d_fake)))
    for loss, name in ((d_loss, "discriminator"), (g_loss, "generator")):
        chosen = [v for v in tf1.trainable_variables() if v.name.startswith(name)]
        tf1.train.AdamOptimizer(0.002).minimize(loss, var_list=chosen)
    return [z], [made]


@shape()
@old
def digits_with_normalized_ends() -> Any:
    """A GAN of an article: normalization always as in training, also before the last tanh."""
    z, x = feed("z", None, 4), feed("x", None, 8, 8, 1)

    def critic(y: Any, reuse: bool = False) -> Any:
        with tf1.variable_scope("discriminator", reuse=reuse):
            h = tf.nn.leaky_relu(batch_norm(conv2d(y, 4, 5, 2, "same"), True))
            h = tf.nn.leaky_relu(batch_norm(conv2d(h, 4, 5, 2, "same"), True))
            logits = dense(tf.reshape(h, [-1, 16]), 1)
            return tf.nn.sigmoid(logits), logits

    with tf1.variable_scope("generator"):
        h = tf.nn.relu(batch_norm(tf.reshape(dense(z, 64), [-1, 4, 4, 4]), True))
        made = tf.nn.tanh(batch_norm(deconv2d(h, 1, 5, 2, "same"), True))
    real, real_logits = critic(x)
    fake, fake_logits = critic(made, reuse=True)
    judge = tf1.nn.sigmoid_cross_entropy_with_logits
    d_loss = tf.reduce_mean(judge(logits=real_logits, labels=tf.ones_like(real)))
    d_loss += tf.reduce_mean(judge(logits=fake_logits, labels=tf.zeros_like(fake)))
    g_loss = tf.reduce_mean(judge(logits=fake_logits, labels=tf.ones_like(fake)))
    for loss, name in ((d_loss, "discriminator"), (g_loss, "generator")):
        chosen = [v for v in tf1.trainable_variables() if v.name.startswith(name)]
        tf1.train.AdamOptimizer(0.0002, beta1=0.5).minimize(loss, var_list=chosen)
    return [z], [made]


@shape()
@old
def faces_by_a_sampler() -> Any:
    """The best known DCGAN: the generator once more, without its batch's statistics, is what draws samples."""
    inputs, z = feed("real_images", 4, 8, 8, 3), feed("z", None, 4)
    tf1.summary.histogram("z", z)

    def generator(train: bool, reuse: bool = False) -> Any:
        with tf1.variable_scope("generator", reuse=reuse):
            h = tf.reshape(dense(z, 64, name="g_h0_lin"), [-1, 4, 4, 4])
            h = tf.nn.relu(batch_norm(h, train, name="g_bn0"))
            return tf.nn.tanh(deconv2d(h, 3, 5, 2, "same", name="g_h1"))

    def discriminator(image: Any, reuse: bool = False) -> Any:
        with tf1.variable_scope("discriminator", reuse=reuse):
            h = conv2d(image, 4, 5, 2, "same", name="d_h0_conv")
            h = tf.maximum(h, 0.2 * h)
            h = batch_norm(conv2d(h, 4, 5, 2, "same", name="d_h1_conv"), True, name="d_bn1")
            h = dense(tf.reshape(tf.maximum(h, 0.2 * h), [4, -1]), 1, name="d_h3_lin")
            return tf.nn.sigmoid(h), h

    made = generator(train=True)
    made.set_shape([4, 8, 8, 3])
    d, d_logits = discriminator(inputs)
    sampler = generator(train=False, reuse=True)
    d_, d_logits_ = discriminator(made, reuse=True)
    tf1.summary.histogram("d", d)
    tf1.summary.histogram("d_", d_)
    tf1.summary.image("G", made)
    judge = tf1.nn.sigmoid_cross_entropy_with_logits
    real = tf.reduce_mean(judge(logits=d_logits, labels=tf.ones_like(d)))
    fake = tf.reduce_mean(judge(logits=d_logits_, labels=tf.zeros_like(d_)))
    g_loss = tf.reduce_mean(judge(logits=d_logits_, labels=tf.ones_like(d_)))
    for name, loss in (("d_loss_real", real), ("d_loss_fake", fake), ("g_loss", g_loss), ("d_loss", real + fake)):
        tf1.summary.scalar(name, loss)
    for loss, mark in ((real + fake, "d_"), (g_loss, "g_")):
        chosen = [v for v in tf1.trainable_variables() if mark in v.name]
        tf1.train.AdamOptimizer(0.0002, beta1=0.5).minimize(loss, var_list=chosen)
    return [z], [sampler]


@shape()
@old
def pictures_both_ways() -> Any:
    """CycleGAN with four optimizers; each way ends in a resize, and each is used."""
    x, y = tf1.placeholder(tf.float32, [1, 8, 8, 3]), tf1.placeholder(tf.float32, [1, 8, 8, 3])

    def generator(image: Any, name: str) -> Any:
        with tf1.variable_scope(name, reuse=tf1.AUTO_REUSE):
            h = tf.pad(image, [[0, 0], [3, 3], [3, 3], [0, 0]], mode="REFLECT")
            h = tf.nn.relu(batch_norm(conv2d(h, 4, 7, 1, "same", name="g_conv2d_0"), True, name="g_bn_0"))
            h = tf.nn.relu(batch_norm(conv2d(h, 4, 3, 2, "same", name="g_conv2d_1"), True, name="g_bn_1"))
            h = tf.nn.relu(batch_norm(deconv2d(h, 4, 3, 2, "same", name="g_deconv2d_1"), True, name="g_bn_4"))
            h = tf.nn.tanh(batch_norm(conv2d(h, 3, 7, 1, "same", name="g_conv2d_3"), True, name="g_bn_5"))
            return tf1.image.resize_images(h, [8, 8])

    def discriminator(image: Any, name: str) -> Any:
        with tf1.variable_scope(name, reuse=tf1.AUTO_REUSE):
            h = tf.nn.relu(batch_norm(conv2d(image, 4, 4, 2, "same", name="d_conv_0"), True, name="d_bn_0"))
            return tf.nn.sigmoid(conv2d(h, 1, 4, 1, "same", name="d_conv_4"))

    fake_y, fake_x = generator(x, "G"), generator(y, "F")
    cycle = tf.reduce_mean(tf.abs(generator(fake_x, "G") - y)) + tf.reduce_mean(tf.abs(generator(fake_y, "F") - x))
    real = 0.9
    apart = tf1.squared_difference
    losses = {
        "G": tf.reduce_mean(apart(real, discriminator(fake_y, "Y_D"))) + 5 * cycle,
        "F": tf.reduce_mean(apart(real, discriminator(fake_x, "X_D"))) + 5 * cycle,
        "Y_D": tf.reduce_mean(apart(discriminator(y, "Y_D"), real))
        + tf.reduce_mean(tf.square(discriminator(fake_y, "Y_D"))),
        "X_D": tf.reduce_mean(apart(discriminator(x, "X_D"), real))
        + tf.reduce_mean(tf.square(discriminator(fake_x, "X_D"))),
    }
    steps = [
        tf1.train.AdamOptimizer(0.0002).minimize(loss, var_list=tf1.trainable_variables(f"{name}/"))
        for name, loss in losses.items()
    ]
    with tf1.control_dependencies(steps):
        tf.no_op(name="optimizer")
    return [x, y], [fake_y, fake_x]


@shape()
@old
def drives_that_are_odd() -> Any:
    """The first autoencoder of many tutorials, with what is fed and fetched in collections."""
    x = tf1.placeholder("float", [None, 12])
    w = [normal(12, 6), normal(6, 6), normal(6, 6), normal(6, 12)]
    b = [normal(6), normal(6), normal(6), normal(12)]
    h = x
    for kernel, shift in zip(w, b, strict=True):
        h = tf.nn.sigmoid(tf.add(tf.matmul(h, kernel), shift))
    cost = tf.reduce_mean(tf.pow(x - h, 2))
    tf1.train.RMSPropOptimizer(0.008).minimize(cost)
    tf1.add_to_collection("pred_network", h)
    tf1.add_to_collection("AE_input", x)
    return [x], [h]


@shape()
@old
def codes_for_a_collection() -> Any:
    """An autoencoder whose code and reconstruction are both fetched, by one collection that holds the losses too."""
    x, keep = feed("encoder_inputs", None, 8), tf1.placeholder(tf.float32, name="keep_prob")

    def network(h: Any, sizes: list[int], activation: Any) -> Any:
        for i, size in enumerate(sizes, 1):
            with tf1.variable_scope(f"h{i}"):
                w = tf1.get_variable("W", (int(h.shape[-1]), size))
                tf1.add_to_collection("regularization_losses", 0.001 * tf.nn.l2_loss(w))
                b = tf1.get_variable("bias", (size,), initializer=tf1.zeros_initializer())
                h = tf.add(tf.matmul(h, w), b)
                h = tf1.nn.dropout(activation(h) if activation else h, keep_prob=keep)
        return h

    with tf1.variable_scope("encoder"):
        codes = network(x, [8, 3], tf.nn.relu)
    with tf1.variable_scope("decoder"):
        out = network(codes, [3, 8], None)
    rebuilt = tf1.losses.mean_squared_error(labels=out, predictions=x)
    decay = tf.reduce_sum(tf1.get_collection("regularization_losses"))
    total = rebuilt + decay
    slopes, _ = tf.clip_by_global_norm(tf1.gradients(total, tf1.trainable_variables()), 1.0)
    step = tf1.train.AdamOptimizer(0.001).apply_gradients(zip(slopes, tf1.trainable_variables(), strict=True))
    for each in (x, keep, codes, out, step, rebuilt, decay, total):
        tf1.add_to_collection("AE_collection", each)
    return [x, keep], [codes, out]


@shape()
@old
def digits_of_a_given_kind() -> Any:
    """A conditional VAE without names: training decodes a sample of the code, use decodes what is fed."""
    x, c, z = (tf1.placeholder(tf.float32, shape=[None, n]) for n in (12, 3, 4))
    q1, q2, q3, p1, p2 = normal(15, 8), normal(8, 4), normal(8, 4), normal(7, 8), normal(8, 12)
    b1, b2, b3, c1, c2 = (tf1.Variable(tf.zeros([n])) for n in (8, 4, 4, 8, 12))
    h = tf.nn.relu(tf.matmul(tf.concat(axis=1, values=[x, c]), q1) + b1)
    mu, spread = tf.matmul(h, q2) + b2, tf.matmul(h, q3) + b3

    def decode(code: Any) -> Any:
        h = tf.nn.relu(tf.matmul(tf.concat(axis=1, values=[code, c]), p1) + c1)
        logits = tf.matmul(h, p2) + c2
        return tf.nn.sigmoid(logits), logits

    _, logits = decode(mu + tf.exp(spread / 2) * tf1.random_normal(shape=tf.shape(mu)))
    samples, _ = decode(z)
    rebuilt = tf.reduce_sum(tf1.nn.sigmoid_cross_entropy_with_logits(logits=logits, labels=x), 1)
    apart = 0.5 * tf.reduce_sum(tf.exp(spread) + mu**2 - 1.0 - spread, 1)
    tf1.train.AdamOptimizer().minimize(tf.reduce_mean(rebuilt + apart))
    return [z, c], [samples]


@shape()
@old
def paths_without_noise() -> Any:
    """A VAE of time series with recurrent halves; the mean of the decoded distribution is what is looked at."""
    x = feed("data", None, 6, 1)

    def project(outputs: Any, units: int, scope: str) -> Any:
        with tf1.variable_scope(scope):
            w = tf1.get_variable("kernel", [4, units])
            b = tf1.get_variable("bias", [units], initializer=tf1.zeros_initializer())
            flat = tf.reshape(outputs, [-1, 4])
            return tf.reshape(tf.matmul(flat, w) + b, [-1, 6, units])

    with tf1.name_scope("encoder"):
        outputs, _ = tf1.nn.dynamic_rnn(cell("GRUCell", 4), x, dtype=tf.float32, scope="GRU_en")
        both = project(outputs, 2, "GRU_en/project")
        loc = both[:, :, 0]
        scale = tf.minimum(tf.zeros_like(loc), both[:, :, 1])
    with tf1.name_scope("MultivariateNormalDiag/sample"):
        code = loc + tf.exp(scale) * tf1.random_normal(tf.shape(loc))
    apart = 0.5 * tf.reduce_sum(tf.exp(2 * scale) + loc**2 - 1.0 - 2 * scale, -1)
    with tf1.name_scope("decoder"):
        outputs, _ = tf1.nn.dynamic_rnn(cell("GRUCell", 4), tf.expand_dims(code, 2), dtype=tf.float32, scope="GRU_de")
        mean = project(outputs, 1, "GRU_de/project")[:, :, 0]
        sigma = 0.052 * tf.ones_like(mean)
    with tf1.name_scope("log_prob"):
        y = (tf.squeeze(x, axis=[2]) - mean) / sigma
        likely = tf.reduce_sum(-0.5 * tf.square(y) - tf.math.log(sigma), -1)
    elbo = tf.reduce_mean(likely - apart)
    tf1.train.AdamOptimizer(0.01).minimize(-elbo)
    with tf1.name_scope("decoder_1"), tf1.name_scope("MultivariateNormalDiag"), tf1.name_scope("mean"):
        rebuilt = tf.add(mean, tf.zeros([6]))
    return [x], [rebuilt]


@shape()
@old
def units_that_are_restricted() -> Any:
    """A Boltzmann machine: no gradients; its weights are assigned, and three ways through it are fetched."""
    x, y = tf1.placeholder(tf.float32, [None, 8]), tf1.placeholder(tf.float32, [None, 4])
    w = tf1.Variable(tf1.random_uniform([8, 4]), dtype=tf.float32)
    visible, hidden = tf1.Variable(tf.zeros([8])), tf1.Variable(tf.zeros([4]))
    dw, dv, dh = (tf1.Variable(tf.zeros(s), dtype=tf.float32) for s in ([8, 4], [8], [4]))

    def sample(probs: Any) -> Any:
        return tf.nn.relu(tf.sign(probs - tf1.random_uniform(tf.shape(probs))))

    hidden_p = tf.nn.sigmoid(tf.matmul(x, w) + hidden)
    visible_p = tf.nn.sigmoid(tf.matmul(sample(hidden_p), tf.transpose(w)) + visible)
    hidden_r = tf.nn.sigmoid(tf.matmul(visible_p, w) + hidden)
    up, down = tf.matmul(tf.transpose(x), hidden_p), tf.matmul(tf.transpose(visible_p), hidden_r)

    def follow(slope: Any, held: Any) -> Any:
        return held * 0.95 + slope * 0.05 / tf.cast(tf.shape(slope)[0], tf.float32)

    with tf1.control_dependencies(
        [
            dw.assign(follow(up - down, dw)),
            dv.assign(follow(tf.reduce_mean(x - visible_p, 0), dv)),
            dh.assign(follow(tf.reduce_mean(hidden_p - hidden_r, 0), dh)),
        ]
    ):
        w.assign_add(dw)
        visible.assign_add(dv)
        hidden.assign_add(dh)
    compute_hidden = tf.nn.sigmoid(tf.matmul(x, w) + hidden)
    compute_visible = tf.nn.sigmoid(tf.matmul(compute_hidden, tf.transpose(w)) + visible)
    from_hidden = tf.nn.sigmoid(tf.matmul(y, tf.transpose(w)) + visible)
    tf.reduce_mean(tf.square(x - compute_visible))
    return [x, y], [compute_visible, from_hidden]


@shape()
@old
def throws_of_backgammon() -> Any:
    """Temporal differences: gradients of the value, traces and assignments by hand, no optimizer."""
    state, training = feed("state_ph", None, 8), tf1.placeholder(tf.bool, shape=None, name="training_ph")
    after = tf1.placeholder(tf.float32, shape=None, name="V")
    step = tf1.Variable(0, dtype=tf.int32, trainable=False)
    lamda = tf.maximum(0.1, tf1.train.exponential_decay(0.9, step, 30000, 0.96, True), name="lambda")
    alpha = tf.maximum(0.01, tf1.train.exponential_decay(0.1, step, 40000, 0.96, True), name="alpha")
    gamma = tf.constant(0.99)
    with tf1.variable_scope("encoder"):
        h = batch_norm(dense(state, 8, tf.nn.relu), training)
    value = dense(h, 1, tf.nn.sigmoid)
    delta = tf.reduce_mean(after - value)
    loss = tf.square(delta)
    with tf1.variable_scope("game"):
        count = tf1.Variable(1.0, name="game_step", trainable=False)
        total = tf1.Variable(0.0, name="loss_sum", trainable=False)
        ema = tf1.train.ExponentialMovingAverage(decay=0.999)
        summed = total.assign_add(loss)
        mean = total / tf.maximum(count, 1.0)
        kept = ema.apply([mean])
        tf1.summary.scalar("game/loss_avg_ema", ema.average(mean))
        tf.group(count.assign(0.0), total.assign(0.0))
        counted = count.assign_add(1)
    stepped = step.assign_add(1)
    variables = tf1.trainable_variables()
    applied = []
    with tf1.variable_scope("apply_gradients"):
        for slope, variable in zip(tf1.gradients(value, variables), variables, strict=True):
            with tf1.variable_scope("trace"):
                held = tf1.Variable(tf.zeros(slope.get_shape()), trainable=False, name="trace")
                trace = held.assign(gamma * lamda * held + slope)
            applied.append(variable.assign_add(alpha * delta * trace))
    with tf1.control_dependencies([stepped, counted, summed, kept]):
        tf.group(*applied, name="train")
    tf1.summary.merge_all()
    return [state, training], [value]


@shape()
@old
def robot_that_walks() -> Any:
    """Proximal policies as Spinning Up writes them: an action by chance, its likelihood and a value are exported."""
    with tf1.name_scope("graph_inputs"):
        seen, done = feed("observations", None, 6), feed("actions", None, 2)
        gain, returned, before = feed("advantage", None), feed("return", None), feed("logp_old", None)

    def mlp(x: Any, units: int) -> Any:
        return dense(dense(x, 8, tf.tanh), units)

    def likely(x: Any, mu: Any, spread: Any) -> Any:
        each = -0.5 * (((x - mu) / (tf.exp(spread) + 1e-8)) ** 2 + 2 * spread + np.log(2 * np.pi))
        return tf.reduce_sum(each, axis=1)

    with tf1.variable_scope("pi"):
        mu = mlp(seen, 2)
        spread = tf1.get_variable("log_std", initializer=-0.5 * np.ones(2, "f"))
        pi = mu + tf1.random_normal(tf.shape(mu)) * tf.exp(spread)
        logp, logp_pi = likely(done, mu, spread), likely(pi, mu, spread)
    with tf1.variable_scope("v"):
        value = tf.squeeze(mlp(seen, 1), axis=1)
    with tf1.name_scope("pi_loss"):
        ratio = tf.exp(logp - before)
        least = tf1.where(gain > 0, 1.2 * gain, 0.8 * gain)
        pi_loss = -tf.reduce_mean(tf.minimum(ratio * gain, least))
    with tf1.name_scope("val_loss"):
        v_loss = tf.reduce_mean((returned - value) ** 2)
    tf.reduce_mean(returned)
    tf1.summary.scalar("ret_summ", tf1.placeholder(tf.float32, shape=None, name="return_summary"))
    with tf1.name_scope("kl_divergence"):
        tf.reduce_mean(before - logp)
        tf.reduce_mean(tf.cast(tf.logical_or(ratio > 1.2, ratio < 0.8), tf.float32))
        tf1.summary.scalar("kl_summ", tf1.placeholder(tf.float32, shape=None, name="kl_summary"))
    with tf1.name_scope("entropy"):
        tf.reduce_mean(-logp)
    with tf1.name_scope("Train_pi"):
        tf1.train.AdamOptimizer(3e-4).minimize(pi_loss)
    with tf1.name_scope("Train_val"):
        tf1.train.AdamOptimizer(1e-3).minimize(v_loss)
    return [seen], [pi, value, logp_pi]


@shape()
@old
def channels_that_are_free() -> Any:
    """A dueling network, twice: the second copy follows the first by assignments, but has an optimizer as well."""

    def network() -> tuple[Any, Any]:
        x = feed("s", None, 64)
        h = slim_conv(tf.reshape(x, [-1, 8, 8, 1]), 4, 3, biases=False, padding="VALID")
        h = slim_conv(h, 8, 6, biases=False, padding="VALID")
        a, v = tf.split(h, 2, 3)
        a, v = flatten(a), flatten(v)
        advantage, value = tf.matmul(a, normal(4, 3)), tf.matmul(v, normal(4, 1))
        q = value + tf.subtract(advantage, tf.reduce_mean(advantage, axis=1, keepdims=True))
        predict = tf.argmax(q, 1)
        tf1.add_to_collection("pred_network", predict)
        target, actions = tf1.placeholder(tf.float32, [None]), tf1.placeholder(tf.int32, [None])
        chosen = tf.reduce_sum(tf.multiply(q, tf.one_hot(actions, 3, dtype=tf.float32)), axis=1)
        loss = tf.reduce_mean(tf.square(target - chosen))
        tf1.train.AdamOptimizer(learning_rate=0.001).minimize(loss)
        return x, (predict, loss)

    x, (predict, loss) = network()
    network()
    variables = tf1.trainable_variables()
    half = len(variables) // 2
    for here, there in zip(variables[:half], variables[half:], strict=True):
        there.assign(here.value() * 0.001 + 0.999 * there.value())
    tf1.summary.scalar("loss", loss)
    tf1.summary.merge_all()
    return [x], [predict]


@shape(saver=False)
@old
def moves_that_are_legal() -> Any:
    """A player of Hanabi: the best legal move of one state, a single number; nothing trains."""
    state = tf1.placeholder(tf.uint8, (1, 8, 1), name="state_ph")
    legal = tf1.placeholder(tf.float32, [5], name="legal_actions_ph")
    with tf1.variable_scope("Online"):
        h = tf.cast(state, tf.float32)
        h = tf.squeeze(h, axis=2)
        q = slim_dense(slim_dense(h, 8), 5, activation=None)
    best = tf.argmax(q + legal, axis=1)[0]
    return [state, legal], [best]


@shape()
@old
def arm_that_reaches() -> Any:
    """DDPG: one action, scaled to its bounds, is what is chosen; two critics and two actors, two of them delayed."""
    s, s_, r = feed("s", None, 4), feed("s_", None, 4), feed("r", None, 1)

    def actor(state: Any, scope: str, trainable: bool) -> Any:
        with tf1.variable_scope(scope):
            net = dense(state, 8, tf.nn.relu, name="l1", trainable=trainable)
            a = dense(net, 2, tf.nn.tanh, name="a", trainable=trainable)
            return tf.multiply(a, 2.0, name="scaled_a")

    def critic(state: Any, a: Any, scope: str, trainable: bool) -> Any:
        with tf1.variable_scope(scope):
            ws = tf1.get_variable("w1_s", [4, 8], trainable=trainable)
            wa = tf1.get_variable("w1_a", [2, 8], trainable=trainable)
            b = tf1.get_variable("b1", [1, 8], trainable=trainable)
            return dense(tf.nn.relu(tf.matmul(state, ws) + tf.matmul(a, wa) + b), 1, trainable=trainable)

    with tf1.variable_scope("Actor"):
        a, a_ = actor(s, "eval", True), actor(s_, "target", False)
    with tf1.variable_scope("Critic"):
        q, q_ = critic(s, a, "eval", True), critic(s_, a_, "target", False)
    ae, at, ce, ct = (
        tf1.get_collection("variables", scope=n) for n in ("Actor/eval", "Actor/target", "Critic/eval", "Critic/target")
    )
    [tf1.assign(t, 0.99 * t + 0.01 * e) for t, e in zip(at + ct, ae + ce, strict=True)]
    error = tf1.losses.mean_squared_error(labels=r + 0.9 * q_, predictions=q)
    tf1.train.AdamOptimizer(0.001).minimize(error, var_list=ce)
    tf1.train.AdamOptimizer(0.001).minimize(-tf.reduce_mean(q), var_list=ae)
    return [s], [a]


@shape()
@old
def agent_of_an_engine() -> Any:
    """PPO for an engine of games, with discrete actions: what the engine fetches has names."""
    state = feed("state", None, 6)
    with tf1.variable_scope("global_step"):
        step = tf1.Variable(0, trainable=False, dtype=tf.int32, name="global_step")
    h = dense(dense(state, 8, tf.nn.elu, use_bias=False), 8, tf.nn.elu, use_bias=False)
    feed("batch_size", dtype="int32")
    policy = dense(h, 3, use_bias=False)
    probs = tf.nn.softmax(policy, name="action_probs")
    action = tf1.multinomial(policy, 1, name="action")
    value = tf.identity(dense(h, 1, use_bias=False), name="value_estimate")
    entropy = -tf.reduce_sum(probs * tf.math.log(probs + 1e-10), axis=1)
    holder = tf1.placeholder(shape=[None], dtype=tf.int32)
    chosen = tf.one_hot(holder, 3)
    old_probs = feed("old_probabilities", None, 3)
    taken = tf.reduce_sum(probs * chosen, axis=1, keepdims=True)
    before = tf.reduce_sum(old_probs * chosen, axis=1, keepdims=True)
    returns, advantage = feed("discounted_rewards", None), feed("advantages", None, 1)
    rate = tf1.train.polynomial_decay(3e-4, step, 1000, 1e-10, power=1.0)
    value_loss = tf.reduce_mean(tf1.squared_difference(returns, tf.reduce_sum(value, axis=1)))
    ratio = taken / (before + 1e-10)
    clipped = tf.clip_by_value(ratio, 0.8, 1.2) * advantage
    policy_loss = -tf.reduce_mean(tf.minimum(ratio * advantage, clipped))
    loss = policy_loss + value_loss - 0.01 * tf.reduce_mean(entropy)
    tf1.train.AdamOptimizer(rate).minimize(loss)
    step.assign(step + 1)
    return [state], [action, probs, value]


@shape()
@old
def policy_of_a_pole() -> Any:
    """Policy gradients of a well-known course: gradients are fetched, averaged outside, and fed to the optimizer."""
    state = tf1.placeholder(shape=[None, 4], dtype=tf.float32)
    output = slim_dense(slim_dense(state, 8, biases=False), 2, activation=tf.nn.softmax, biases=False)
    tf.argmax(output, 1)
    reward, action = tf1.placeholder(tf.float32, [None]), tf1.placeholder(tf.int32, [None])
    indexes = tf.range(0, tf.shape(output)[0]) * tf.shape(output)[1] + action
    taken = tf.gather(tf.reshape(output, [-1]), indexes)
    loss = -tf.reduce_mean(tf.math.log(taken) * reward)
    variables = tf1.trainable_variables()
    holders = [tf1.placeholder(tf.float32, name=f"{i}_holder") for i in range(len(variables))]
    tf1.gradients(loss, variables)
    tf1.train.AdamOptimizer(learning_rate=0.01).apply_gradients(zip(holders, variables, strict=True))
    return [state], [output]
