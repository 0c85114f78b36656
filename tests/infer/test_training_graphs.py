"""A training graph's output is the last tensor before the labels or the loss."""

from __future__ import annotations

import graphs
import typical_graphs
from typical_graphs import found, infer

from serialization.tensorflow import tf, tf1


def test_labels_loss_training_and_summaries_are_left_out() -> None:
    assert found(graphs.classifier) == (["x:0 float32 [None, 4]"], ["logits:0 float32 [None, 3]"])
    result = infer(graphs.classifier)
    assert [c.why for c in result.outputs] == ["the last tensor before the labels"]
    assert [(c.tensor.key, c.role) for c in result.others] == [("labels", "label")]


def test_the_tensor_that_a_loss_compares_with_the_input_is_the_output() -> None:
    def autoencoder() -> None:
        x = tf1.placeholder(tf.float32, [None, 8], name="x")
        narrow = tf.tanh(x @ tf1.get_variable("down", [8, 2]))
        wide = tf.identity(narrow @ tf1.get_variable("up", [2, 8]), name="restored")
        tf1.train.GradientDescentOptimizer(0.1).minimize(tf.sqrt(tf.reduce_mean(tf.square(x - wide))))

    inputs, outputs = found(autoencoder)
    assert inputs == ["x:0 float32 [None, 8]"]
    assert outputs == ["restored:0 float32 [None, 8]"]


def test_two_generators_are_ambiguous() -> None:
    def build() -> None:
        first, second = (tf1.placeholder(tf.float32, [None, 8], name=name) for name in ("horses", "zebras"))
        dense, mean = typical_graphs.dense, tf.reduce_mean
        made, undone = tf.tanh(dense(first, 8, "there"), name="zebra"), tf.tanh(dense(second, 8, "back"), name="horse")
        again = dense(made, 8, "back"), dense(undone, 8, "there")
        judged = [mean(dense(x, 1, "judge_1")) - mean(dense(y, 1, "judge_1")) for x, y in ((second, made),)]
        judged += [mean(dense(x, 1, "judge_2")) - mean(dense(y, 1, "judge_2")) for x, y in ((first, undone),)]
        cycle = mean(tf.abs(first - again[0])) + mean(tf.abs(second - again[1]))
        typical_graphs.train(cycle - judged[0] - judged[1], "there|back")
        typical_graphs.train(judged[0] + judged[1], "judge")

    result = infer(build)
    assert {str(candidate.tensor) for candidate in result.rivals} == {
        "horse:0 float32 [None, 8]",
        "zebra:0 float32 [None, 8]",
    }


def test_outputs_of_two_networks_are_ambiguous() -> None:
    def build() -> None:
        for name in ("a", "b"):
            x = tf1.placeholder(tf.float32, [None, 2], name=f"x_{name}")
            logits = x @ tf1.get_variable(f"w_{name}", [2, 2])
            labels = tf1.placeholder(tf.float32, [None, 2], name=f"labels_{name}")
            loss = tf.reduce_mean(tf.square(tf.identity(logits, name=f"y_{name}") - labels))
            tf1.train.GradientDescentOptimizer(0.1).minimize(loss)

    assert sorted(c.tensor.key for c in infer(build).rivals) == ["y_a", "y_b"]
