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


def test_an_answer_whose_own_gradient_trains_is_the_output() -> None:
    def build() -> None:
        value = typical_graphs.dense(tf1.placeholder(tf.float32, [None, 4], name="x"), 1, "value", tf.sigmoid)
        error = tf.reduce_mean(tf1.placeholder(tf.float32, [None, 1]) - value)
        for slope, variable in zip(
            tf1.gradients(value, tf1.trainable_variables()), tf1.trainable_variables(), strict=True
        ):
            tf1.assign_add(variable, 0.1 * error * slope)

    assert found(build)[1] == ["value/Sigmoid:0 float32 [None, 1]"]


def test_a_rate_that_is_fed_and_shown_is_no_output() -> None:
    def build() -> None:
        scores = typical_graphs.dense(tf1.placeholder(tf.float32, [None, 4], name="x"), 3, "scores")
        step = tf1.Variable(0, trainable=False)
        rate = tf1.train.exponential_decay(tf1.placeholder(tf.float32, name="rate"), step, 10, 0.9)
        tf1.summary.scalar("rate", rate)
        wanted = tf1.placeholder(tf.float32, [None, 3])
        tf1.train.AdamOptimizer(rate).minimize(tf.reduce_mean(tf.square(scores - wanted)))
        tf.nn.l2_normalize(scores, 1, name="embeddings")

    assert found(build)[1] == ["embeddings:0 float32 [None, 3]"]


def test_what_is_only_measured_is_an_output_beside_others() -> None:
    def build() -> None:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        code = typical_graphs.dense(x, 2, "code", tf.sigmoid)
        restored = typical_graphs.dense(code, 4, "restored", tf.sigmoid)
        tf.reduce_mean(tf.square(x - restored))
        typical_graphs.dense(x, 3, "other", tf.sigmoid)

    assert sorted(found(build)[1]) == ["other/Sigmoid:0 float32 [None, 3]", "restored/Sigmoid:0 float32 [None, 4]"]
