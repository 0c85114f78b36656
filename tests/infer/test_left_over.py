"""What a network leaves behind on the way to its answer is told from its answers."""

from __future__ import annotations

from typing import Any

from typical_graphs import dense, make_flow

from serialization.infer.left_over import find_beside_in_loops, find_left_over
from serialization.tensorflow import tf, tf1


def test_the_unused_result_of_a_first_call_is_left_over() -> None:
    def build() -> None:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        hidden = dense(x, 4, "trunk", tf.nn.relu)
        dense(hidden, 4, "head")
        dense(dense(tf.tanh(hidden), 4, "head"), 2, "other")

    flow = make_flow(build)
    assert find_left_over(flow, ["head/BiasAdd", "other/BiasAdd"]) == {"head/BiasAdd"}


def test_a_head_on_the_way_to_a_decoded_one_is_left_over() -> None:
    def build() -> None:
        low = dense(tf1.placeholder(tf.float32, [None, 4], name="x"), 4, "low", tf.nn.relu)
        dense(low, 3, "helper")
        tf.argmax(dense(dense(low, 4, "high", tf.nn.relu), 3, "main"), 1)

    flow = make_flow(build)
    assert find_left_over(flow, ["helper/BiasAdd", "ArgMax"]) == {"helper/BiasAdd"}


def test_heads_beside_each_other_and_named_ones_stay() -> None:
    def build() -> None:
        low = dense(tf1.placeholder(tf.float32, [None, 4], name="x"), 4, "low", tf.nn.relu)
        dense(low, 3, "policy")
        tf.sigmoid(dense(low, 1, "value"))
        tf.identity(dense(low, 2, "wanted"), name="wanted_too")
        tf.argmax(dense(dense(low, 4, "high", tf.nn.relu), 3, "main"), 1)

    flow = make_flow(build)
    assert find_left_over(flow, ["policy/BiasAdd", "Sigmoid"]) == set()
    assert find_left_over(flow, ["wanted_too", "ArgMax"]) == set()


def test_a_loop_gives_nothing_beside_a_result_that_has_a_name() -> None:
    def build(name: str | None) -> None:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        written = tf1.TensorArray(tf.float32, 3), tf1.TensorArray(tf.float32, 3)

        def step(time: Any, one: Any, other: Any) -> Any:
            made = dense(x, 2, "step")
            return time + 1, one.write(time, made), other.write(time, -made)

        _, one, other = tf1.while_loop(lambda time, *_: time < 3, step, (0, *written))
        tf.transpose(one.stack(), [1, 0, 2])
        tf.transpose(other.stack(), [1, 0, 2], name=name)

    tf1.disable_control_flow_v2()
    try:
        flows = make_flow(lambda: build("words")), make_flow(lambda: build(None))
    finally:
        tf1.enable_control_flow_v2()
    assert find_beside_in_loops(flows[0], ["transpose:0", "words:0"]) == {"transpose:0"}
    assert find_beside_in_loops(flows[1], ["transpose:0", "transpose_1:0"]) == set()
