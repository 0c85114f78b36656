"""The answer of a training graph is the last tensor before the labels, or before the losses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import graphs
import pytest
from typical_graphs import dense, make_flow, train

from serialization.infer.forms import find_parameter_free_ancestors, merge_forms
from serialization.infer.judged import find_judged_tensors
from serialization.infer.roles import FEATURE, LABEL, find_roles
from serialization.tensorflow import np, tf, tf1

LABELS, LOSS = "the last tensor before the labels", "the last tensor before the loss"


def feed(name: str, width: int = 4) -> Any:
    return tf1.placeholder(tf.float32, [None, width], name=name)


def judge(build: Callable[[], Any]) -> dict[str, str]:
    """The tensors that the losses of a graph judge; each loss ends in a node `loss`."""
    flow = make_flow(build)
    labels, features = (
        sum(flow.bits[source] for source, (role, _) in find_roles(flow).items() if role == wanted)
        for wanted in (LABEL, FEATURE)
    )
    return find_judged_tensors(flow, labels, features, [name for name in flow.nodes if name == "loss"])


def minimize(loss: Any) -> None:
    tf1.train.GradientDescentOptimizer(0.1).minimize(tf.identity(loss, name="loss"))


def regression() -> None:
    y = tf.identity(dense(feed("x"), 2, "dense"), name="y")
    minimize(tf.reduce_mean(tf.square(y - feed("wanted", 2))))


def by_hand() -> None:
    """A cross entropy written by hand: it clips its input and takes the logarithm."""
    y = tf.nn.softmax(dense(feed("x"), 3, "dense"), name="y")
    minimize(-tf.reduce_sum(feed("wanted", 3) * tf.math.log(tf.clip_by_value(y, 1e-9, 1.0))))


def in_two_ways() -> None:
    """Two parts of a loss use one answer, one of them in another form."""
    y, wanted = tf.identity(dense(feed("x"), 3, "dense"), name="y"), feed("wanted", 3)
    minimize(tf.reduce_mean(tf.abs(y - wanted)) + tf.reduce_mean(tf.square(tf.tanh(y) - wanted)))


def two_heads() -> None:
    net = dense(feed("x"), 3, "trunk", tf.nn.relu)
    heads = (tf.identity(dense(net, 1, f"{name}_head"), name=name) for name in ("age", "height"))
    minimize(tf.add_n([tf.reduce_mean(tf.square(y - feed(f"wanted_{y.op.name}", 1))) for y in heads]))


def autoencoder() -> None:
    x = feed("x", 8)
    restored = tf.identity(dense(dense(x, 2, "down", tf.tanh), 8, "up"), name="restored")
    minimize(tf.reduce_mean(tf.square(x - restored)))


def without_labels() -> None:
    y = tf.identity(dense(feed("x"), 2, "dense"), name="y")
    minimize(tf.reduce_mean(tf.square(y)))


def through_a_fixed_network() -> None:
    """The loss looks at the answer and at the wanted one through weights that are constants."""
    fixed = tf.constant(np.ones((6, 5), "f"))
    y = tf.identity(dense(feed("x"), 6, "dense"), name="y")
    seen, wanted = (tf.nn.relu(tf.matmul(image, fixed)) for image in (y, feed("wanted", 6)))
    minimize(tf.reduce_mean(tf.square(seen - wanted)))


@pytest.mark.parametrize(
    ("build", "judged"),
    [
        (regression, {"y:0": LABELS}),
        (by_hand, {"y:0": LABELS}),
        (in_two_ways, {"y:0": LABELS}),
        (two_heads, {"age:0": LABELS, "height:0": LABELS}),
        (autoencoder, {"restored:0": LOSS}),
        (without_labels, {"y:0": LOSS}),
        (through_a_fixed_network, {"y:0": LABELS}),
        (graphs.classifier, {"logits:0": LABELS}),
        (lambda: None, {}),
    ],
)
def test_the_tensors_before_the_labels_else_before_the_losses_are_judged(
    build: Callable[[], Any], judged: dict[str, str]
) -> None:
    assert judge(build) == judged


def two_layers() -> None:
    hidden = tf.nn.relu(tf.matmul(feed("x"), tf1.get_variable("w1", [4, 4])), name="hidden")
    y = tf.matmul(tf.tanh(hidden, name="more"), tf1.get_variable("w2", [4, 3]), name="y")
    tf.nn.softmax(y, name="scores")
    tf.argmax(y, 1, name="label")
    train(tf.reduce_mean(y))


def test_ancestors_end_at_a_node_with_parameters() -> None:
    flow = make_flow(two_layers)
    assert find_parameter_free_ancestors(flow, "scores:0") == {"scores", "y"}
    assert find_parameter_free_ancestors(flow, "more:0") == {"more", "hidden", "MatMul"}
    assert find_parameter_free_ancestors(flow, "y:0") == {"y"}


@pytest.mark.parametrize(
    ("tensors", "merged"),
    [
        ([], []),
        (["y:0"], ["y:0"]),
        (["scores:0"], ["scores:0"]),
        (["scores:0", "y:0"], ["scores:0"]),  # a form with a name, and no loss needs it
        (["hidden:0", "y:0"], ["y:0"]),  # a step on the way to the other
        (["hidden:0", "more:0"], ["hidden:0"]),
    ],
)
def test_forms_of_one_answer_are_merged(tensors: list[str], merged: list[str]) -> None:
    assert merge_forms(make_flow(two_layers), tensors) == merged


def test_a_form_that_a_loss_only_adds_shows_the_answer() -> None:
    """The likelihood of a normal distribution takes the spread in two ways."""

    def build() -> None:
        net = dense(feed("x"), 3, "trunk", tf.nn.relu)
        mean, spread = tf.identity(dense(net, 1, "m"), name="mean"), tf.nn.softplus(dense(net, 1, "s"), name="spread")
        minimize(tf.reduce_mean(tf.square(mean - feed("wanted", 1)) / (2 * spread) + 0.5 * tf.math.log(spread)))

    assert judge(build) == {"mean:0": LABELS, "spread:0": LABELS}
