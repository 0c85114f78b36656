"""A tenth set, after models that packages bring along or build: what is left beside an answer, what belongs to it."""

from __future__ import annotations

from typing import Any

from real_shapes import Cell, feed, shape, weights
from typical_graphs import cross_entropy, dense, train

from serialization.tensorflow import tf, tf1


@shape(
    "char_inputs lengths dropout",
    "project/logits crf_loss/transitions",
    frozen="project/logits crf_loss/transitions",
)
def tags_and_their_transitions() -> None:
    """The caller finds the best path itself, and fetches the transitions for it: weights that no node takes."""
    words, keep = feed("char_inputs", None, None, dtype="int32"), feed("dropout")
    lengths = feed("lengths", None, dtype="int32")
    seen = tf.nn.embedding_lookup(weights("char_embedding", 20, 4), words)
    outputs, _ = tf1.nn.dynamic_rnn(Cell(4), tf1.nn.dropout(seen, keep), lengths, dtype=tf.float32)
    with tf1.variable_scope("project"):
        flat = dense(tf.reshape(outputs, [-1, 4]), 5, "tags")
        tf.reshape(flat, [-1, tf.shape(words)[1], 5], name="logits")
    with tf1.variable_scope("crf_loss"):
        weights("transitions", 5, 5)


@shape("t_coord", "o_force o_global", frozen="o_force o_global", saver=False)
def force_of_each_part() -> None:
    """The slope of each part of a sum: its zeros have the shapes of the other parts, which nobody asks for."""
    places = feed("t_coord", None, 6)
    dipole = dense(dense(places, 8, "filter", tf.tanh), 3, "fitting")
    tf.reduce_sum(dipole, 0, name="o_global")
    slopes = [tf.gradients(part, places)[0] for part in tf.split(dipole, 3, 1)]
    tf.negative(tf.stack(slopes, 1), name="o_force")


@shape("Placeholder", "strided_slice")
def text_goes_on() -> None:
    """Words drawn one by one in a loop without gradients, whose other results come out of StopGradient nodes."""
    context = tf1.placeholder(tf.int32, [2, None])
    table = weights("wte", 10, 4)

    def step(past: Any, word: Any, words: Any) -> Any:
        now = tf.tanh(dense(past + tf.nn.embedding_lookup(table, word), 4, "mlp"))
        drawn = tf.random.categorical(tf.matmul(now, table, transpose_b=True), 1, dtype=tf.int32)
        return [now, tf.squeeze(drawn, [1]), tf.concat([words, drawn], 1)]

    with tf1.name_scope("sample_sequence"):
        start = tf.reduce_sum(tf.nn.embedding_lookup(table, context), 1)
        shapes = [tf.TensorShape([2, 4]), tf.TensorShape([2]), tf.TensorShape([2, None])]
        _, _, words = tf1.while_loop(
            lambda *_: True,
            step,
            [start, context[:, -1], context],
            shapes,
            maximum_iterations=3,
            back_prop=False,
        )
    words[:, 1:]


@shape("Placeholder_1 Placeholder_2", "Squeeze")
def best_items_of_a_request() -> None:
    """Scores that are trained; a server takes the best of a request, as many as it says."""
    labels = tf1.placeholder(tf.float32, [None])
    user, item = tf1.placeholder(tf.int32, [None]), tf1.placeholder(tf.int32, [None])
    users, items = weights("user_embeds", 8, 4), weights("item_embeds", 9, 4)
    both = tf.concat([tf.nn.embedding_lookup(users, user), tf.nn.embedding_lookup(items, item)], 1)
    scores = tf.squeeze(dense(dense(both, 6, "mlp", tf.nn.relu), 1, "out"), 1)
    tf.nn.top_k(scores, tf1.placeholder(tf.int32, []))
    train(tf.reduce_mean(tf1.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=scores)))


@shape("Placeholder", "dense_2/BiasAdd")
def equation_alone() -> None:
    """An equation and its border, without labels; the same errors once more, for points to test at."""
    points = tf1.placeholder(tf.float32, [None, 1])
    y = dense(dense(dense(points, 8, "dense", tf.tanh), 8, "dense_1", tf.tanh), 1, "dense_2")
    bend = tf.gradients(tf.gradients(y, points)[0], points)[0]

    def judge() -> Any:
        errors = [(bend + 9.9 * tf.sin(3.1 * points))[2:], y[:2] - 0.5]
        return tf.stack([tf.reduce_mean(tf.square(tf.zeros_like(error) - error)) for error in errors])

    trained, _ = judge(), judge()
    tf1.train.AdamOptimizer().minimize(tf.reduce_sum(trained))


@shape("ob states_ph dones_ph", "pi/BiasAdd value/BiasAdd concat_1")
def player_that_remembers() -> None:
    """A policy with a state of its own: whoever feeds the state goes on with the next one."""
    seen, done = feed("ob", 3, 4), feed("dones_ph", 3)
    state, action, gain = feed("states_ph", 3, 8), feed("action", 3, dtype="int32"), feed("gain", 3)
    c, h = tf.split(state * (1 - done)[:, None], 2, 1)
    gate = dense(tf.concat([seen, h], 1), 4, "lstm", tf.sigmoid)
    c = c * gate + tf.tanh(dense(seen, 4, "in"))
    h = tf.tanh(c) * gate
    tf.concat([c, h], 1)
    logits, value = dense(h, 3, "pi"), dense(h, 1, "value")
    train(cross_entropy(action, logits) + tf.reduce_mean(tf.square(tf.squeeze(value, 1) - gain)))
