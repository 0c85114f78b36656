"""The compiled callable: the private call it rests on, threads, and a graph that does not grow."""

from __future__ import annotations

import concurrent.futures
from pathlib import Path

import freezemodel_load
import model
from serialization import signature
from serialization.graph import read_graph_def
from serialization.predictor import Predictor, open_session
from serialization.tensorflow import config_pb2, np, tf1


def make(made: Path) -> Predictor:
    graph = freezemodel_load.import_graph(read_graph_def(made / "frozen_model.pb"))
    names = signature.from_names(graph, f"x={model.INPUTS}", f"y={model.PREDICTIONS}", scope="prefix")
    return Predictor(open_session(graph), names)


def test_tensorflow_still_has_the_private_call() -> None:
    """If this fails, serialization/predictor.py needs another way to a compiled callable."""
    assert callable(tf1.Session._make_callable_from_options)
    assert {"feed", "fetch", "run_options"} <= set(config_pb2.CallableOptions.DESCRIPTOR.fields_by_name)


def test_predicts_what_session_run_predicts_and_adds_nothing(made: Path) -> None:
    predict = make(made)
    inputs, _ = model.make_rows(100)
    before = len(predict.session.graph.get_operations())
    fetched = predict.session.run("prefix/Accuracy/predictions:0", {f"prefix/{model.INPUTS}": inputs})
    for _ in range(3):
        assert np.array_equal(predict({"x": inputs})["y"], fetched)
    assert len(predict.session.graph.get_operations()) == before


def test_many_threads_get_their_own_answers(made: Path) -> None:
    predict = make(made)
    inputs, _ = model.make_rows(2000)

    def ask(row: int) -> bool:
        return bool(predict({"x": inputs[row : row + 1]})["y"][0, 0])

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(ask, range(2000)))
    assert np.array_equal(answers, predict({"x": inputs})["y"][:, 0])
    assert 0.3 < np.mean(answers) < 0.7
