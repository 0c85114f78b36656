"""Several forms of one answer are told from several answers, and one form is chosen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from typical_graphs import dense, make_flow

from serialization.infer.forms import find_earlier_words, find_head, find_joins, is_part, merge_forms
from serialization.tensorflow import tf, tf1


def feed(name: str, *sizes: int | None) -> Any:
    return tf1.placeholder(tf.float32, list(sizes), name=name)


def merge(build: Callable[[], None], *tensors: str) -> list[str]:
    return merge_forms(make_flow(build), tensors)


def test_forms_of_one_tensor_are_that_tensor() -> None:
    def build() -> None:
        scores = dense(feed("x", None, 4), 3, "scores_of")
        tf.exp(scores, name="Exp")
        tf.square(scores, name="Square")

    assert merge(build, "Exp:0", "Square:0") == ["scores_of/BiasAdd:0"]


def test_results_of_weights_that_are_applied_again_are_all_answers() -> None:
    def build() -> None:
        x = feed("x", None, 4)
        for _ in range(3):
            x = dense(x, 4, "again")

    names = ["again/BiasAdd:0", "again_1/BiasAdd:0", "again_2/BiasAdd:0"]
    assert merge(build, *names) == names


def test_a_step_on_the_way_to_another_answer_is_none() -> None:
    def build() -> None:
        dense(dense(feed("x", None, 4), 4, "first"), 4, "second")

    assert merge(build, "first/BiasAdd:0", "second/BiasAdd:0") == ["second/BiasAdd:0"]


def test_a_form_with_the_name_of_a_prediction_is_chosen_on_the_way_to_a_metric() -> None:
    def build() -> None:
        stacked = tf.identity(dense(feed("x", None, 4), 3, "net"), name="stacked")
        tf.argmax(tf.reshape(tf.sigmoid(stacked, name="final_prediction"), [-1, 3]), 1)

    assert merge(build, "stacked:0", "ArgMax:0") == ["final_prediction:0"]


def test_a_class_of_a_form_that_was_flattened_to_compare_it_is_no_answer() -> None:
    def build() -> None:
        net = dense(feed("x", None, 5, 4), 3, "net")
        tf.argmax(tf.reshape(net, [-1, 3]), 1)

    assert merge(build, "net/BiasAdd:0", "ArgMax:0") == ["net/BiasAdd:0"]


def test_heads_are_told_by_the_last_weights() -> None:
    def build() -> None:
        dense(dense(feed("x", None, 4), 4, "first"), 4, "second")

    assert find_head(make_flow(build), "second/BiasAdd") == {"second/bias"}


def test_parts_and_joins() -> None:
    def build() -> None:
        left, right = tf.split(dense(feed("x", None, 4), 4, "net"), 2, 1)
        tf.concat([tf.exp(left), right], 1, name="joined")

    flow = make_flow(build)
    assert is_part(flow, "split:1")
    assert not is_part(flow, "joined")
    assert find_joins(flow) == {}  # nothing trains, and no loss takes a part of it


def test_words_before_the_last_one_are_found_where_each_is_chosen() -> None:
    def build(*, chosen: bool) -> None:
        words = tf1.get_variable("words", [5, 4], use_resource=False)
        kernel = tf1.get_variable("kernel", [4, 5], use_resource=False)
        x = feed("x", None, 4)
        for _ in range(3):
            scores = tf.matmul(x, kernel)
            x = tf.gather(words, tf.argmax(scores, 1)) if chosen else tf.matmul(scores, words, name="next")

    assert find_earlier_words(make_flow(lambda: build(chosen=True)), "MatMul_2:0") == ["MatMul:0", "MatMul_1:0"]
    assert find_earlier_words(make_flow(lambda: build(chosen=False)), "MatMul_2:0") == []
