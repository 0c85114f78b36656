"""What an author listed in collections is what is fetched."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from typical_graphs import dense, train

from serialization.graph.graph_index import GraphIndex
from serialization.infer.collected import find_collected
from serialization.infer.data_edges import Flow
from serialization.tensorflow import tf, tf1

Lists = dict[str, list[Any]]


def network() -> tuple[Any, Any, Any]:
    """An input, scores and a loss."""
    x, y = tf1.placeholder(tf.float32, [None, 4], name="x"), tf1.placeholder(tf.float32, [None, 3], name="y")
    scores = dense(x, 3, "scores")
    loss = tf.reduce_mean(tf.square(scores - y))
    train(loss)
    return x, scores, loss


def find(lists: Callable[[Any, Any, Any], Lists]) -> list[str]:
    with tf1.Graph().as_default() as graph:
        for key, values in lists(*network()).items():
            for value in values:
                tf1.add_to_collection(key, value)
        meta_graph = tf1.train.export_meta_graph(graph=graph)
    flow = Flow(GraphIndex(meta_graph.graph_def))
    return list(find_collected(flow, meta_graph, flow.bits["y:0"]))


@pytest.mark.parametrize("key", ["pred_network", "predictions", "logits", "model/outputs", "y_pred"])
def test_a_collection_that_speaks_of_an_output_holds_it(key: str) -> None:
    assert find(lambda _x, scores, _loss: {key: [scores]}) == ["scores/BiasAdd:0"]


def test_a_list_of_all_that_is_restored_holds_results_beside_inputs_and_losses() -> None:
    assert find(lambda x, scores, loss: {"to_restore": [x, scores, loss]}) == ["scores/BiasAdd:0"]


def test_other_collections_say_nothing() -> None:
    assert find(lambda _x, scores, loss: {"resnet/_end_points": [scores], "predict_loss": [loss]}) == []


def test_of_two_copies_in_one_collection_it_is_the_first() -> None:
    def two(_x: Any, scores: Any, _loss: Any) -> Lists:
        return {"predict": [scores, dense(tf1.placeholder(tf.float32, [None, 4]), 3, "scores")]}

    assert find(two) == ["scores/BiasAdd:0"]


def test_names_may_be_listed_as_json() -> None:
    assert find(lambda x, scores, _loss: {"outputs": [json.dumps({"o": scores.name})]}) == ["scores/BiasAdd:0"]
    assert (
        find(lambda *_: {"outputs": ["no JSON", json.dumps(["scores/BiasAdd:0"]), json.dumps({"o": "gone:0"})]}) == []
    )


def test_a_graph_without_a_meta_graph_has_no_collection() -> None:
    with tf1.Graph().as_default() as graph:
        network()
    assert find_collected(Flow(GraphIndex(graph.as_graph_def())), None, 0) == {}
