"""Inputs and outputs follow from the data edges of a graph."""

from __future__ import annotations

import graphs
from typical_graphs import dense, found, infer, make_flow

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


def two_heads() -> None:
    trunk = tf.nn.relu(dense(tf1.placeholder(tf.float32, [None, 4], name="x"), 4, "trunk"), name="trunk_out")
    for name in ("left", "right"):
        tf.identity(dense(trunk, 2, f"{name}_head"), name=name)
    tf.identity(dense(tf1.placeholder(tf.float32, [None, 4], name="other"), 2, "apart"), name="alone")


def test_the_steps_on_the_way_to_a_node_are_found() -> None:
    flow = make_flow(two_heads)
    assert flow.find_steps(["trunk_out", "left", "right"], ["left", "alone"]) == {"trunk_out"}
    assert flow.find_steps(["left"], ["left"]) == set()


def test_heads_of_one_trunk_are_kin() -> None:
    kin = make_flow(two_heads).find_kin(["left", "right", "alone"])
    assert kin["left"] == kin["right"] == {"left", "right"}
    assert kin["alone"] == {"alone"}


def test_weights_that_are_put_together_or_normalized_are_weights_and_their_penalty_is_not() -> None:
    def build() -> None:
        parts = [tf1.get_variable(f"part_{number}", [2, 3]) for number in range(2)]
        whole = tf.concat(parts, 0, name="whole")
        norm = tf.sqrt(tf.reduce_sum(tf.square(whole), 0, keepdims=True))
        unit = tf.divide(whole, norm, name="unit")
        y = tf.matmul(tf1.placeholder(tf.float32, [None, 4], name="x"), unit, name="y")
        tf.add(tf.reduce_mean(y), tf.nn.l2_loss(parts[0], name="penalty"), name="loss")

    flow = make_flow(build)
    assert {"whole", "unit"} <= flow.parameters.keys()
    assert not {"penalty", "y"} & flow.parameters.keys()
    assert flow.is_parametric(flow.nodes["y"])
    assert not flow.is_parametric(flow.nodes["loss"])
