"""Sinks are what nothing consumes; of a frozen graph without one, updates and constants are found too."""

from __future__ import annotations

from typical_graphs import dense, make_flow

from serialization.infer.sinks import find_constants, find_sinks
from serialization.tensorflow import tf, tf1


def test_what_nothing_consumes_is_a_sink() -> None:
    def build() -> None:
        hidden = dense(tf1.placeholder(tf.float32, [None, 4], name="x"), 3, "hidden")
        dense(hidden, 2, "scores")
        tf1.summary.histogram("hidden", hidden)

    flow = make_flow(build)
    assert list(find_sinks(flow, 0, flow.bits["x:0"])) == ["scores/BiasAdd:0"]
    assert list(find_sinks(flow, flow.bits["x:0"])) == []


def test_the_score_of_the_best_path_is_no_sink_beside_the_path() -> None:
    def build(name: str | None = None) -> None:
        scores = dense(tf1.placeholder(tf.float32, [None, 4], name="x"), 3, "scores")
        tf.reverse(tf.argmax(scores, 1), [0], name="path")
        tf.reduce_max(scores, 1, name=name)

    assert list(find_sinks(make_flow(build))) == ["path:0"]
    assert list(find_sinks(make_flow(lambda: build("best")))) == ["path:0", "best:0"]


def test_a_model_that_always_gives_the_same_has_constants() -> None:
    assert list(find_constants(make_flow(lambda: tf.constant(1.0, name="answer")))) == ["answer:0"]
