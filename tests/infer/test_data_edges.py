"""Inputs and outputs follow from the data edges of a graph."""

from __future__ import annotations

import graphs
from typical_graphs import found, infer

from serialization.tensorflow import tf, tf1


def test_tensors_that_nothing_consumes_come_first() -> None:
    def build() -> None:
        graphs.classifier()
        tf.nn.softmax(tf1.get_default_graph().get_tensor_by_name("logits:0"), name="scores")

    assert found(build)[1] == ["scores:0 float32 [None, 3]"]


def test_a_placeholder_with_a_default_is_no_input() -> None:
    def build() -> None:
        x = tf1.placeholder(tf.float32, [2], name="x")
        tf.multiply(x, tf1.placeholder_with_default(2.0, [], name="factor"), name="y")

    assert found(build) == (["x:0 float32 [2]"], ["y:0 float32 [2]"])


def test_the_unused_results_of_a_split_are_outputs() -> None:
    def build() -> None:
        first, *_ = tf.split(tf1.placeholder(tf.float32, [6], name="x"), 3, name="parts")
        tf.negative(first, name="y")

    assert found(build)[1] == ["parts:1 float32 [2]", "parts:2 float32 [2]", "y:0 float32 [2]"]


def test_an_iterator_is_the_input_if_there_is_no_placeholder() -> None:
    def build() -> None:
        rows = tf1.data.make_one_shot_iterator(tf.data.Dataset.from_tensors(([1.0, 2.0], 3)).repeat()).get_next()
        tf.multiply(rows[0], tf1.get_variable("w", [2]), name="y")

    result = infer(build)
    assert [(c.tensor.name, c.role, c.why) for c in result.inputs] == [
        ("IteratorGetNext:0", "feature", "comes out of IteratorGetNext, is combined with the weights")
    ]
