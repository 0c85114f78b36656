"""What a loss judges through another network, a critic, is found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import graphs
from typical_graphs import dense, make_flow, train

from serialization.infer.critics import find_made, find_trainers
from serialization.tensorflow import tf, tf1

WHY = "a critic takes it"


def find(build: Callable[[], None]) -> dict[str, str]:
    flow = make_flow(build)
    return find_made(flow, find_trainers(flow))


def feed(name: str, width: int = 4) -> Any:
    return tf1.placeholder(tf.float32, [None, width], name=name)


def test_made_images_are_what_a_critic_takes() -> None:
    def build() -> None:
        made = tf.tanh(dense(feed("noise"), 6, "generator"), name="made")
        real, fake = (dense(dense(x, 5, "critic/1", tf.nn.relu), 1, "critic/2") for x in (feed("real", 6), made))
        train(tf.reduce_mean(fake) - tf.reduce_mean(real), "critic")
        train(-tf.reduce_mean(fake), "generator")

    assert find(build) == {"made:0": WHY}


def test_an_actors_action_is_found_and_that_of_its_delayed_copy_is_not() -> None:
    def build() -> None:
        state, action, later = feed("state"), feed("action", 2), feed("later")
        acted = tf.tanh(dense(state, 2, "actor"), name="acted")
        delayed = tf.tanh(dense(later, 2, "actor_copy"), name="delayed")
        wanted = dense(tf.concat([later, delayed], 1), 1, "critic_copy")
        taken, own = (dense(tf.concat([state, some], 1), 1, "critic") for some in (action, acted))
        train(tf.reduce_mean(tf.square(taken - tf.stop_gradient(wanted))), "critic/")
        train(-tf.reduce_mean(own), "actor/")

    assert find(build) == {"acted:0": WHY}


def test_the_gradients_may_be_applied_outside_of_the_graph() -> None:
    def build() -> None:
        made = tf.tanh(dense(feed("noise"), 6, "generator"), name="made")
        judged = tf.reduce_mean(dense(made, 1, "critic")), tf.reduce_mean(dense(feed("real", 6), 1, "critic"))
        for loss, scope in ((judged[0] - judged[1], "critic"), (-judged[0], "generator")):
            slopes = tf.gradients(loss, tf1.get_collection("trainable_variables", scope))
            tf.concat([tf.reshape(slope, [-1]) for slope in slopes], 0)

    assert find(build) == {"made:0": WHY}


def test_a_network_that_is_applied_to_two_fed_inputs_is_no_critic() -> None:
    def siamese() -> None:
        left, right = (dense(feed(name), 3, "tower", tf.nn.relu) for name in ("left", "right"))
        train(tf.reduce_mean(tf.square(left - right)))

    assert find(siamese) == {}
    assert find(graphs.classifier) == {}
    assert find(lambda: None) == {}
