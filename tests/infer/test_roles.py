"""Each source of a graph is a feature, a label or a switch, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import graphs
import pytest
from typical_graphs import make_flow, train

from serialization.graph.graph_index import GraphIndex
from serialization.infer.data_edges import Flow
from serialization.infer.roles import find_roles
from serialization.tensorflow import tf, tf1

WEIGHTS = ("feature", "is combined with the weights")
CALLER = ("feature", "is fed by the caller")
LABEL = ("label", "is combined only with results of the weights")


def feed(name: str, *shape: int | None, dtype: str = "float32") -> Any:
    return tf1.placeholder(dtype, list(shape), name=name)


def without_resources(build: Callable[[], Any]) -> None:
    with tf1.variable_scope(tf1.get_variable_scope(), use_resource=False):
        build()


def linear() -> Any:
    return tf.matmul(feed("x", None, 4), tf1.get_variable("w", [4, 3]))


def dropout() -> None:
    train(tf.reduce_mean(tf1.nn.dropout(linear(), rate=feed("p"), name="dropout")))


def sampled() -> None:
    inputs, labels = feed("x", None, 4), feed("words", None, 1, dtype="int64")
    weights, biases = tf1.get_variable("w", [9, 4]), tf1.get_variable("b", [9])
    train(tf.reduce_mean(tf1.nn.sampled_softmax_loss(weights, biases, labels, inputs, 2, 9)))


def masked() -> None:
    """The lengths of rows mask the prediction before it is compared with a label."""
    weighed = linear() * tf.sequence_mask(feed("lengths", None, dtype="int32"), 3, tf.float32)
    train(tf.reduce_mean(tf.square(weighed - feed("wanted", None, 3))))


def evaluated() -> None:
    """Nothing trains, but an op judges."""
    y = linear()
    tf.math.in_top_k(feed("labels", None, dtype="int32"), y, 1)
    tf.add(y, feed("offset", None, 3))


def piped() -> None:
    rows = tf1.data.make_one_shot_iterator(tf.data.Dataset.from_tensors(([[1.0] * 4], [[0.0] * 3]))).get_next()
    train(tf.reduce_mean(tf.square(tf.matmul(rows[0], tf1.get_variable("w", [4, 3])) - rows[1])))


@pytest.mark.parametrize(
    ("build", "roles"),
    [
        (graphs.classifier, {"x:0": WEIGHTS, "labels:0": LABEL}),
        (
            graphs.batch_norm,
            {
                "x:0": CALLER,
                "is_training:0": ("switch", "switches between training and inference, by its name and dtype"),
            },
        ),
        (dropout, {"x:0": WEIGHTS, "p:0": ("switch", "is the keep or drop rate of dropout layers")}),
        (sampled, {"x:0": CALLER, "words:0": ("label", "is the true classes of a sampled loss")}),
        (masked, {"x:0": WEIGHTS, "lengths:0": CALLER, "wanted:0": LABEL}),
        (evaluated, {"x:0": WEIGHTS, "labels:0": LABEL, "offset:0": CALLER}),
        (
            piped,
            {
                "IteratorGetNext:0": ("feature", "comes out of IteratorGetNext, is combined with the weights"),
                "IteratorGetNext:1": (
                    "label",
                    "comes out of IteratorGetNext, is combined only with results of the weights",
                ),
            },
        ),
    ],
    ids=["labels", "switch", "dropout", "sampled", "lengths", "judged", "pipeline"],
)
def test_the_role_of_a_source_follows_from_the_nodes_that_take_it(
    build: Callable[[], Any], roles: dict[str, tuple[str, str]]
) -> None:
    assert find_roles(make_flow(lambda: without_resources(build))) == roles


def test_nothing_is_a_label_in_a_frozen_graph() -> None:
    def build() -> None:
        without_resources(evaluated)

    outputs = ["in_top_k/InTopKV2", "Add"]
    roles = find_roles(Flow(GraphIndex(graphs.freeze(build, outputs))))
    assert roles == {"x:0": WEIGHTS, "labels:0": CALLER, "offset:0": CALLER}
