"""The gradients of each loss are told apart."""

from __future__ import annotations

import graphs
from typical_graphs import dense, make_flow

from serialization.tensorflow import tf, tf1


def test_each_call_of_tf_gradients_has_its_losses() -> None:
    def build() -> None:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        first = tf.reduce_mean(dense(x, 2, "first"), name="first_loss")
        second = tf.reduce_mean(dense(x, 2, "second"), name="second_loss")
        for loss in (first, second):
            tf1.train.GradientDescentOptimizer(0.1).minimize(loss)

    found = make_flow(build).gradients
    assert [gradients.losses for gradients in found] == [{"first_loss"}, {"second_loss"}]
    assert [gradients.owners for gradients in found] == [
        {f"{scope}_loss", f"{scope}/MatMul", f"{scope}/BiasAdd"} for scope in ("first", "second")
    ]
    assert not found[0].nodes & found[1].nodes


def test_a_graph_without_training_has_no_gradients() -> None:
    assert make_flow(lambda: None).gradients == []
    assert [gradients.losses for gradients in make_flow(graphs.classifier).gradients] != []
