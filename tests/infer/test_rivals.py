"""A choice is called ambiguous where a maker may have meant another tensor with the same right."""

from __future__ import annotations

from typical_graphs import dense, make_flow, train

from serialization.infer.rivals import find_rivals, is_next_state
from serialization.tensorflow import tf, tf1


def feed(name: str, *sizes: int | None) -> object:
    return tf1.placeholder(tf.float32, list(sizes), name=name)


def test_networks_with_inputs_of_their_own_are_rivals() -> None:
    def build() -> None:
        ends = [dense(feed(name, None, 4), 2, f"net_{name}") for name in "ab"]
        train(tf.add_n([tf.reduce_mean(tf.square(end)) for end in ends]))

    flow = make_flow(build)
    names = ["net_a/BiasAdd:0", "net_b/BiasAdd:0"]
    every = sum(flow.bits.values())
    assert find_rivals(flow, names, every) == names
    assert find_rivals(flow, names[:1], every) == []


def test_two_towers_and_their_distance_are_rivals_if_it_has_no_name() -> None:
    def build(name: str | None = None) -> None:
        left, right = (dense(feed(side, None, 4), 2, "tower") for side in ("left", "right"))
        distance = tf.reduce_sum(tf.square(left - right), 1, name=name)
        train(tf.reduce_mean(distance * feed("same", None)))

    flow = make_flow(build)
    assert find_rivals(flow, ["Sum:0"], 3) == ["Sum:0", "tower/BiasAdd:0", "tower_1/BiasAdd:0"]
    assert find_rivals(make_flow(lambda: build("distance")), ["distance:0"], 3) == []


def test_a_fed_state_without_a_next_state_is_ambiguous() -> None:
    def build(name: str = "state_in") -> None:
        x, state = feed("x", None, 4), feed(name, None, 8)
        gate = tf.sigmoid(dense(tf.concat([x, state], 1), 8, "gate"))
        dense(tf.add(gate * state, tf.tanh(gate), name="new"), 3, "scores")

    assert find_rivals(make_flow(build), ["scores/BiasAdd:0"], 3) == ["scores/BiasAdd:0", "new:0"]
    assert find_rivals(make_flow(build), ["scores/BiasAdd:0", "new:0"], 3) == []
    assert find_rivals(make_flow(lambda: build("features")), ["scores/BiasAdd:0"], 3) == []


def test_a_next_state_has_the_shape_of_a_fed_one() -> None:
    def build() -> None:
        state = feed("state_h", 1, 8)
        tf.tanh(dense(tf.concat([feed("x", 1, 4), state], 1), 8, "cell"), name="next_h")
        dense(state, 3, "scores")

    flow = make_flow(build)
    assert is_next_state(flow, "next_h:0")
    assert not is_next_state(flow, "scores/BiasAdd:0")
