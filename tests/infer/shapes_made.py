"""Graphs that make something: images, codes, words; and models whose gradients are the answer."""

from __future__ import annotations

from typing import Any

from real_shapes import feed, shape, weights
from typical_graphs import conv, cross_entropy, dense, train

from serialization.tensorflow import np, tf, tf1


def _generator(z: Any) -> Any:
    with tf1.variable_scope("generator", reuse=tf1.AUTO_REUSE):
        return tf.tanh(dense(dense(z, 8, "hidden", tf.nn.relu), 16, "out"))


def _critic(x: Any, scope: str = "discriminator") -> Any:
    with tf1.variable_scope(scope, reuse=tf1.AUTO_REUSE):
        return dense(dense(x, 8, "hidden", tf.nn.relu), 1, "out")


@shape("z", "generator/Tanh")
def critic_with_a_penalty() -> None:
    """The penalty is a gradient within the loss: of the critic, by its input."""
    z, x = feed("z", None, 4), feed("real_images", None, 16)
    fake = _generator(z)
    mixed = x + tf.random.uniform([tf.shape(x)[0], 1]) * (fake - x)
    slopes = tf.gradients(_critic(mixed), [mixed])[0]
    penalty = tf.reduce_mean(tf.square(tf.sqrt(tf.reduce_sum(tf.square(slopes), 1)) - 1.0))
    judged = tf.reduce_mean(_critic(fake)) - tf.reduce_mean(_critic(x))
    tf1.summary.histogram("z", z)
    train(judged + 10.0 * penalty, "discriminator")
    train(-tf.reduce_mean(_critic(fake)), "generator")


@shape("z y", "sampler/Sigmoid")
def images_of_a_class() -> None:
    """A conditional GAN: the class is fed to both networks; the sampler is the generator again."""
    z, y, x = feed("z", None, 4), feed("y", None, 3), feed("real_images", None, 16)

    def make(scope: str) -> Any:
        with tf1.variable_scope("generator", reuse=tf1.AUTO_REUSE), tf.name_scope(f"{scope}/"):
            return tf.sigmoid(dense(dense(tf.concat([z, y], 1), 8, "h0", tf.nn.relu), 16, "h1"))

    def judge(image: Any) -> Any:
        return _critic(tf.concat([image, y], 1))

    def loss(logits: Any, kind: Any) -> Any:
        return tf.reduce_mean(tf1.nn.sigmoid_cross_entropy_with_logits(logits=logits, labels=kind(logits)))

    fake = make("generator_0")
    real_logits, fake_logits = judge(x), judge(fake)
    make("sampler")
    train(loss(real_logits, tf.ones_like) + loss(fake_logits, tf.zeros_like), "discriminator")
    train(loss(fake_logits, tf.ones_like), "generator")


@shape("x", "decoder/mean")
def code_with_a_prior() -> None:
    """A VAE whose code and its two parameters stay in the graph."""
    x = feed("x", None, 16)
    with tf1.variable_scope("encoder"):
        hidden = dense(x, 8, "hidden", tf.nn.relu)
        mu, log_sigma = dense(hidden, 2, "mu"), dense(hidden, 2, "log_sigma")
    z = tf.add(mu, tf.exp(log_sigma / 2) * tf.random.normal(tf.shape(mu)), name="z")
    with tf1.variable_scope("decoder"):
        logits = dense(dense(z, 8, "hidden", tf.nn.relu), 16, "logits")
    with tf.name_scope("decoder/"):
        tf.sigmoid(logits, name="mean")
    likelihood = tf.reduce_sum(tf1.nn.sigmoid_cross_entropy_with_logits(logits=logits, labels=x), 1)
    divergence = -0.5 * tf.reduce_sum(1 + log_sigma - tf.square(mu) - tf.exp(log_sigma), 1)
    train(tf.reduce_mean(likelihood + divergence))


@shape("noisy", "decoder/Conv/Relu")
def cleaned_images() -> None:
    noisy, clean = feed("noisy", None, 8, 8, 1), feed("clean", None, 8, 8, 1)
    with tf1.variable_scope("encoder"):
        code = conv(noisy, 4, "Conv")
    with tf1.variable_scope("decoder"):
        made = conv(code, 1, "Conv")
    tf1.summary.image("made", made)
    train(tf.reduce_mean(tf.square(made - clean)))


def _energy(places: Any) -> Any:
    hidden = tf.tanh(tf.tensordot(places, weights("w1", 3, 8), 1))
    return tf.reduce_sum(tf.tensordot(hidden, weights("w2", 8, 1), 1), [1, 2])


@shape("coord", "o_energy o_force", frozen="o_energy o_force")
def forces_frozen() -> None:
    places = feed("coord", None, 5, 3)
    energy = tf.identity(_energy(places), name="o_energy")
    tf.negative(tf.gradients(energy, places)[0], name="o_force")


@shape("coord", "o_energy o_force o_virial")
def forces_trained() -> None:
    """Energies and forces are compared with labels, so gradients are trained through gradients."""
    places, box = feed("coord", None, 5, 3), feed("energy_label", None)
    force_label = feed("force_label", None, 5, 3)
    energy = tf.identity(_energy(places), name="o_energy")
    slope = tf.gradients(energy, places)[0]
    force = tf.negative(slope, name="o_force")
    tf.negative(tf.matmul(slope, places, transpose_a=True), name="o_virial")
    loss = tf.reduce_mean(tf.square(energy - box)) + 10 * tf.reduce_mean(tf.square(force - force_label))
    train(loss)


@shape("image", "saliency Softmax", saver=True)
def heat_of_a_picture() -> None:
    """Restored to explain itself: the gradient of the best class by the picture."""
    image = feed("image", None, 8, 8, 3)
    logits = dense(tf.reduce_mean(conv(image, 4, "conv"), [1, 2]), 5, "fc")
    tf.nn.softmax(logits)
    best = tf.reduce_max(logits, 1)
    tf.reduce_max(tf.abs(tf.gradients(best, image)[0]), -1, name="saliency")


@shape("x_u", "u_pred")
def equation_in_the_loss() -> None:
    """The network is trained to solve an equation: its derivatives at other points are part of the loss."""
    x, u, points = feed("x_u", None, 1), feed("u", None, 1), feed("x_f", None, 1)

    def network(at: Any) -> Any:
        return dense(dense(at, 8, "l1", tf.tanh), 1, "l2")

    u_pred = tf.identity(network(x), name="u_pred")
    inside = network(points)
    slope = tf.gradients(inside, points)[0]
    bend = tf.gradients(slope, points)[0]
    residual = bend + inside * slope
    train(tf.reduce_mean(tf.square(u - u_pred)) + tf.reduce_mean(tf.square(residual)))


@shape("content style", "decoder/stylized")
def any_style() -> None:
    """Two inputs; the loss network has fixed weights, and looks at the result."""
    content, style = feed("content", None, 8, 8, 3), feed("style", None, 8, 8, 3)
    filters = tf.constant(np.random.default_rng(0).normal(size=(3, 3, 3, 4)).astype("f"))

    def look(image: Any) -> Any:
        return tf.nn.relu(tf1.nn.conv2d(image, filters, [1, 1, 1, 1], "SAME"))

    (c_mean, c_var), (s_mean, s_var) = (tf.nn.moments(look(i), [1, 2], keepdims=True) for i in (content, style))
    matched = (look(content) - c_mean) / tf.sqrt(c_var + 1e-5) * tf.sqrt(s_var + 1e-5) + s_mean
    with tf1.variable_scope("decoder"):
        made = tf.identity(conv(conv(matched, 4, "first"), 3, "last", None), name="stylized")
    seen = look(made)
    mean, variance = tf.nn.moments(seen, [1, 2], keepdims=True)
    gap = tf.reduce_sum(tf.square(mean - s_mean)) + tf.reduce_sum(tf.square(variance - s_var))
    train(tf.reduce_sum(tf.square(seen - matched)) + 0.1 * gap, "decoder")


@shape("x_a", "generator_ab/Tanh")
def one_direction() -> None:
    """Unpaired images, one direction: a critic, and the identity of what is in the target domain already."""
    a, b = feed("x_a", None, 16), feed("x_b", None, 16)

    def make(x: Any) -> Any:
        with tf1.variable_scope("generator_ab", reuse=tf1.AUTO_REUSE):
            return tf.tanh(dense(dense(x, 8, "hidden", tf.nn.relu), 16, "out"))

    made, same = make(a), make(b)
    real, fake = _critic(b), _critic(made)
    train(tf.reduce_mean(tf.square(real - 1)) + tf.reduce_mean(tf.square(fake)), "discriminator")
    train(tf.reduce_mean(tf.square(fake - 1)) + tf.reduce_mean(tf.abs(same - b)), "generator_ab")


@shape("word", "hidden")
def words_near_words() -> None:
    """Candidates are sampled; the closest words to some fixed ones are shown to the author."""
    word, context = feed("word", 16, dtype="int32"), feed("context", 16, 1, dtype="int32")
    table = weights("table", 40, 8)
    hidden = tf.identity(tf.nn.embedding_lookup(table, word), name="hidden")
    train(tf.reduce_mean(tf1.nn.sampled_softmax_loss(weights("w", 40, 8), weights("b", 40), context, hidden, 4, 40)))
    unit = tf.nn.l2_normalize(table, 1)
    tf.matmul(tf.gather(unit, tf.constant([3, 5, 8])), unit, transpose_b=True)


@shape("inputs targets_in", "decoder/logits")
def teacher_and_pupil() -> None:
    """A small network learns from a large one, whose weights are constants; only the small one is kept."""
    x, y = feed("inputs", None, 6), feed("hard_labels", None, dtype="int64")
    more = feed("targets_in", None, 2)
    rng = np.random.default_rng(0)
    with tf.name_scope("teacher"):
        wide = tf.nn.relu(tf.matmul(x, tf.constant(rng.normal(size=(6, 32)).astype("f"))))
        soft = tf.nn.softmax(tf.matmul(wide, tf.constant(rng.normal(size=(32, 3)).astype("f"))) / 4.0)
    with tf1.variable_scope("decoder"):
        hidden = dense(tf.concat([x, more], 1), 8, "hidden", tf.nn.relu)
        logits = tf.matmul(hidden, weights("kernel", 8, 3), name="logits")
    learned = tf.reduce_mean(tf1.nn.softmax_cross_entropy_with_logits_v2(labels=soft, logits=logits / 4.0))
    train(0.9 * learned + 0.1 * cross_entropy(y, logits))
