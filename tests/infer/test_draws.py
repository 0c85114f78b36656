"""What a policy draws by chance is an answer, unless its loss goes through the draw."""

from __future__ import annotations

from typing import Any

from typical_graphs import dense, make_flow, train

from serialization.infer.draws import find_draws
from serialization.tensorflow import tf, tf1


def mean() -> Any:
    return dense(tf1.placeholder(tf.float32, [None, 4], name="x"), 2, "mean")


def noise(like: Any) -> Any:
    return tf1.random_normal(tf.shape(like))


def test_an_action_around_a_mean_is_drawn() -> None:
    def build() -> None:
        mu = mean()
        train(tf.reduce_mean(tf.square(mu - tf1.placeholder(tf.float32, [None, 2]))))
        tf.square(tf.add(mu, noise(mu), name="action") - mu)

    assert list(find_draws(make_flow(build), ())) == ["action:0"]
    assert list(find_draws(make_flow(build), {"action", "sub_1"})) == []


def test_a_choice_by_chance_is_drawn() -> None:
    def build() -> None:
        scores = mean()
        train(tf.reduce_mean(tf.square(scores - tf1.placeholder(tf.float32, [None, 2]))))
        tf.argmax(scores - tf.math.log(noise(scores)), 1, name="action")
        tf1.multinomial(scores, 1, name="other")

    assert list(find_draws(make_flow(build), ())) == ["action:0", "other/Multinomial:0"]


def test_a_code_with_noise_that_is_trained_is_no_draw() -> None:
    def build() -> None:
        mu = mean()
        train(tf.reduce_mean(tf.square(mu + noise(mu))))

    assert not find_draws(make_flow(build), ())


def test_nothing_is_drawn_without_training() -> None:
    assert not find_draws(make_flow(lambda: tf.add(mu := mean(), noise(mu))), ())
