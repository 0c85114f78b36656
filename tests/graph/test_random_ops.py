"""The random ops behind outputs, and which dropout layers drop out whatever is fed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from serialization.graph.graph_index import GraphIndex
from serialization.graph.random_ops import find_dropout_layers, find_random_outputs
from serialization.graph.signature import Signature, make_signature
from serialization.tensorflow import tf, tf1


def build(make: Callable[[Any], Any], inputs: str = "x") -> tuple[GraphIndex, Signature]:
    """A graph that computes y from x, with the control flow of TensorFlow 1."""
    tf1.disable_control_flow_v2()
    try:
        with tf1.Graph().as_default() as graph:
            x = tf1.placeholder(tf.float32, [None, 4], name="x")
            tf.identity(make(tf.nn.relu(x)), name="y")
    finally:
        tf1.enable_control_flow_v2()
    return GraphIndex(graph.as_graph_def()), make_signature(graph, inputs, "y")


def old_dropout(x: Any) -> Any:
    """As TensorFlow up to 1.12 writes it."""
    return tf.math.divide(x, 0.9) * tf.floor(0.9 + tf1.random_uniform(tf.shape(x)))


def keep_probability(x: Any) -> Any:
    return tf1.nn.dropout(x, keep_prob=tf1.placeholder(tf.float32, [], name="keep"))


def switched(x: Any) -> Any:
    return tf1.cond(tf1.placeholder(tf.bool, [], name="training"), lambda: tf.nn.dropout(x, 0.5), lambda: x)


def switched_by_default(x: Any) -> Any:
    on = tf1.placeholder_with_default(True, [], name="training")
    return tf1.cond(on, lambda: tf.nn.dropout(x, 0.5), lambda: x)


def behind_a_switch(x: Any) -> Any:
    normal = tf1.cond(tf1.placeholder(tf.bool, [], name="training"), lambda: x - 1.0, lambda: x)
    return tf.nn.dropout(normal, 0.5)


def in_a_function(x: Any) -> Any:
    return tf.function(lambda value: tf.nn.dropout(value, 0.5))(x)


def in_a_loop(x: Any) -> Any:
    return tf1.while_loop(lambda i, _: i < 3, lambda i, value: (i + 1, tf.nn.dropout(value, 0.5)), [0, x])[1]


@pytest.mark.parametrize(
    ("make", "inputs", "layers"),
    [
        (lambda x: tf.nn.dropout(x, 0.5), "x", [True]),
        (lambda x: tf.nn.dropout(tf.nn.dropout(x, 0.5), 0.1), "x", [True, True]),
        (old_dropout, "x", [True]),
        (keep_probability, "x,keep", []),
        (switched, "x,training", []),
        (switched_by_default, "x", [False]),
        (behind_a_switch, "x,training", [True]),
        (in_a_function, "x", [True]),
        (in_a_loop, "x", [True]),
        (lambda x: x + tf.random.normal([4]), "x", []),
        (lambda x: x * tf.floor(tf1.random_uniform([4]) + 3.0), "x", [True]),
        (lambda x: tf.gather(x, tf.cast(tf.floor(3 * tf1.random_uniform([2])), tf.int32)), "x", []),
        (lambda x: x, "x", []),
    ],
)
def test_dropout_layers(make: Callable[[Any], Any], inputs: str, layers: list[bool]) -> None:
    assert list(find_dropout_layers(*build(make, inputs)).values()) == layers


def test_random_outputs_are_named_from_the_graph() -> None:
    assert find_random_outputs(*build(lambda x: x + tf.random.normal([4], seed=1, name="noise"))) == {
        "y": ("noise/RandomStandardNormal",)
    }
    assert list(find_random_outputs(*build(in_a_function)).values()) == [("dropout/random_uniform/RandomUniform",)]
    assert find_random_outputs(*build(lambda x: x)) == {}
