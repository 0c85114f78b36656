"""The compiled callable: TensorFlow's private method for it, threads, and a graph that does not grow."""

from __future__ import annotations

import concurrent.futures
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import PROJECT, environment

import freezemodel_load
import model
from serialization.graph.signature import Signature, Tensor, make_signature
from serialization.run.predictor import Predictor, compile_later, open_session
from serialization.sources.frozen_reader import read_graph_def
from serialization.tensorflow import config_pb2, np, tf, tf1


def make(made: Path) -> Predictor:
    graph = freezemodel_load.import_graph(read_graph_def(made / "frozen_model.pb"))
    names = make_signature(graph, f"x={model.INPUTS}", f"y={model.PREDICTIONS}", scope="prefix")
    return Predictor(open_session(graph), names)


def test_tensorflow_has_the_private_method() -> None:
    """If this fails, serialization/run/predictor.py needs another way to a compiled callable."""
    assert callable(tf1.Session._make_callable_from_options)
    assert {"feed", "fetch", "run_options"} <= set(config_pb2.CallableOptions.DESCRIPTOR.fields_by_name)


def test_answers_equal_session_run_and_the_graph_does_not_grow(made: Path) -> None:
    predict = make(made)
    inputs, _ = model.make_rows(100)
    before = len(predict.session.graph.get_operations())
    fetched = predict.session.run("prefix/Accuracy/predictions:0", {f"prefix/{model.INPUTS}": inputs})
    for _ in range(3):
        assert np.array_equal(predict({"x": inputs})["y"], fetched)
    assert len(predict.session.graph.get_operations()) == before


def test_with_closes_the_session(made: Path) -> None:
    with make(made) as predict:
        predict({"x": model.make_rows(1)[0]})
    with pytest.raises(RuntimeError, match="closed Session"):
        predict.session.run(predict.signature.outputs[0].name)


def test_a_graph_is_compiled_in_its_first_run(made: Path) -> None:
    predict = make(made)
    wrong = Signature(predict.signature.inputs, (Tensor("y", "prefix/nowhere:0", "bool", None),))
    run = compile_later(predict.session, wrong)
    with pytest.raises(KeyError, match="nowhere"):
        run({"x": model.make_rows(1)[0]})


def test_each_of_many_threads_gets_its_own_answer(made: Path) -> None:
    predict = make(made)
    inputs, _ = model.make_rows(2000)

    def ask(row: int) -> bool:
        return bool(predict({"x": inputs[row : row + 1]})["y"][0, 0])

    with concurrent.futures.ThreadPoolExecutor(32) as pool:
        answers = list(pool.map(ask, range(2000)))
    assert np.array_equal(answers, predict({"x": inputs})["y"][:, 0])
    assert 0.3 < np.mean(answers) < 0.7


def test_a_session_can_compute_in_one_thread() -> None:
    """In its own process: the threads are set before the first session."""
    code = """
import threading, time
from dataclasses import replace
from pathlib import Path
from serialization.graph.signature import Signature, Tensor
from serialization.run.predictor import Predictor, give_sessions_own_threads, open_session
from serialization.tensorflow import np, tf, tf1

give_sessions_own_threads()
with tf1.Graph().as_default() as graph:
    x = tf1.placeholder("float32", [None, 1000], name="x")
    tf.identity(tf.matmul(x, tf.ones([1000, 1000])), name="y")
signature = Signature((Tensor("x", "x:0", "float32", (None, 1000)),), (Tensor("y", "y:0", "float32", (None, 1000)),))
values = {"x": np.ones((1000, 1000), np.float32)}

def seconds_of_others():
    ids = [task.name for task in Path("/proc/self/task").iterdir() if task.name != str(threading.get_native_id())]
    return sum(int(Path(f"/proc/self/task/{id_}/schedstat").read_text().split()[0]) for id_ in ids) / 1e9

Predictor(open_session(graph), signature)(values)
single = Predictor(open_session(graph, threads=1), signature, inline=True)
single(values)
before = seconds_of_others(), time.thread_time()
for _ in range(20):
    single(values)
print(seconds_of_others() - before[0], time.thread_time() - before[1])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=PROJECT, env=environment(), stdout=subprocess.PIPE, text=True, check=True
    )
    others, mine = map(float, done.stdout.split())
    assert others < mine / 5


def test_an_output_that_is_an_input_is_handed_on() -> None:
    with tf1.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None], name="x")
        tensor = Tensor("x", "x:0", "float32", (None,))
        doubled = Tensor("doubled", (x * 2).name, "float32", (None,))
        both = Predictor(session, Signature((tensor,), (replace(tensor, key="echo"), doubled)))
        answers = both({"x": np.array([1, 2], "f")})
        assert {key: value.tolist() for key, value in answers.items()} == {"echo": [1, 2], "doubled": [2, 4]}
        assert list(answers) == ["echo", "doubled"]
        only = Predictor(session, Signature((tensor,), (replace(tensor, key="echo"),)))
        assert only({"x": np.array([3], "f")})["echo"].tolist() == [3]
