"""The engine chooses how to run a model: inline, in the pool, or in batches."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from serving_models import open_small, post, small_app

import freezemodel_serve
from serialization.errors import UserError
from serialization.graph.row_facts import RowFacts
from serialization.run.predictor import Predictor, open_session
from serialization.runtimes import tensorflow_runtime
from serialization.runtimes.runtime import UnclearError
from serialization.serving.http.predict_route import SERVING
from serialization.serving.limits import Settings
from serialization.serving.model import engine, trials
from serialization.targets import to_frozen
from serialization.tensorflow import np, tf, tf1


def test_a_number_of_rows_that_a_kernel_does_not_support_is_refused() -> None:
    client = small_app("three rows").test_client()
    rows = np.ones((3, 4, 4, 5)).tolist()
    status, answer = post(client, json.dumps({"x": rows[:2]}))
    assert (status, answer["error"][:30]) == (422, "the model refuses the values: ")
    assert post(client, json.dumps({"x": rows}))[0] == 200


def test_a_model_with_dependent_rows_is_served() -> None:
    assert post(small_app("centred").test_client(), '{"x": [[1, 5]]}') == (200, {"y": [[0, 0]]})


MIXING = ["reversed", "mean up to the longest", "small and in order", "centred", "words"]


@pytest.mark.parametrize("name", [*MIXING, "limited together"])
def test_requests_with_dependent_rows_run_alone_by_default(name: str) -> None:
    chosen = small_app(name).config[SERVING].first.current.engine
    assert (chosen.together, chosen.batch_size) == (False, 1)


@pytest.mark.parametrize("name", MIXING)
def test_forced_batching_is_refused_when_rows_interact(name: str) -> None:
    with pytest.raises(UserError, match="the model cannot run in batches: it gives other answers"):
        small_app(name, max_batch_size=32)


def test_readyz_says_that_forced_batches_may_mix_rows() -> None:
    runs = small_app("limited together", max_batch_size=8).test_client().get("/readyz").get_json()["runs"]
    assert runs.startswith("in batches of up to 8 rows by --max-batch-size, though rows may depend on each other")


def test_a_model_that_takes_only_the_example_runs_in_batches() -> None:
    client = small_app("particular bytes", max_batch_size=8).test_client()
    assert post(client, '{"x": [[0, 0]]}') == (200, {"y": [[0, 0]]})
    assert post(client, '{"x": [[0, 1]]}')[0] == 422


def test_an_unused_input_does_not_prevent_batches() -> None:
    session, signature = open_small("two")
    one_output = replace(signature, outputs=signature.outputs[1:])
    chosen = engine.make_engine(freezemodel_serve.compile_session(session, one_output, 30), Settings(max_batch_size=4))
    assert chosen.how.startswith("in batches of up to 4 rows")


def test_a_mutable_table_stays_in_its_session(tmp_path: Path) -> None:
    """The table would be empty in a second session."""
    module = tf.Module()
    module.table = tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)
    module.table.insert(tf.constant(["a"]), tf.constant([1], tf.int64))
    spec = tf.TensorSpec([None], tf.string, name="x")
    look_up = tf.function(lambda x: {"y": module.table.lookup(x)}, input_signature=[spec])
    tf.saved_model.save(module, str(tmp_path / "model"), signatures=look_up)
    client = freezemodel_serve.create_app(saved_model=tmp_path / "model").test_client()
    assert post(client, '{"x": ["a", "b"]}') == (200, {"y": [1, -1]})
    with pytest.raises(UserError, match=r"it has state that is not a variable: .*MutableHashTableV2"):
        freezemodel_serve.create_app(saved_model=tmp_path / "model", settings=Settings(max_batch_size=4))


def test_a_model_that_is_slow_for_large_values_has_a_time_limit() -> None:
    client = small_app("slow for large values", timeout=0.2).test_client()
    assert post(client, '{"x": [3]}')[0] == 200
    assert post(client, '{"x": [10000000]}') == (504, {"error": "the model took longer than 0.2 s"})


def test_an_internal_error_is_422_if_the_example_still_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    app = small_app("quotient")
    assert post(app.test_client(), '{"x": {"a": [7], "b": [2]}}') == (200, {"y": [3]})
    assert post(app.test_client(), '{"x": {"a": [7], "b": [0]}}')[0] == 422
    route = app.config[SERVING]

    def fail(_: object) -> None:
        raise UnclearError("the device is gone")

    monkeypatch.setattr(route.first.current, "predict", fail)
    assert post(app.test_client(), '{"x": {"a": [7], "b": [2]}}')[0] == 500


def test_a_small_model_runs_in_order_if_it_can() -> None:
    """A session that runs ops in order gives the same answers; it cannot run TensorFlow 1's control flow."""
    session, signature = open_small("two")
    values = {"a": np.array([[1, 2, 3]], np.float32), "b": np.array([4], np.int32)}
    in_order = Predictor(open_session(session.graph, fuse=False, in_order=True), signature, inline=True)
    expected = Predictor(session, signature)(values)
    assert {key: value.tolist() for key, value in in_order(values).items()} == {
        key: value.tolist() for key, value in expected.items()
    }
    session, signature = open_small("switch")
    with pytest.raises(UserError, match="does not support switch op"):
        Predictor(open_session(session.graph, fuse=False, in_order=True), signature, inline=True)


def test_a_small_model_with_old_control_flow_is_served() -> None:
    client = small_app("switch").test_client()
    assert client.get("/readyz").get_json()["runs"] == "in TensorFlow's threads"  # a branch may never end
    assert post(client, '{"x": [[1, 2]]}') == (200, {"y": [[2, 3]]})
    assert post(client, '{"x": [[-1, -2]]}') == (200, {"y": [[-2, -3]]})


def test_a_model_on_several_devices_does_not_run_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """In order, an op on the first device could wait for ever for an op on the second."""
    opened, signature = open_small("two")
    session = tf1.Session(graph=opened.graph, config=tf1.ConfigProto(device_count={"CPU": 2}))
    in_order_values: list[bool] = []

    def open_and_note(graph: Any, *, fuse: bool, in_order: bool = False) -> Any:
        in_order_values.append(in_order)
        return open_session(graph, fuse=fuse, in_order=in_order)

    monkeypatch.setattr(tensorflow_runtime, "open_session", open_and_note)
    engine.make_engine(freezemodel_serve.compile_session(session, signature, 30), Settings())
    assert in_order_values == [False]


@pytest.mark.parametrize("quicker", [True, False])
def test_batches_run_in_one_thread_if_a_row_is_answered_as_soon(quicker: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    pooled = freezemodel_serve.compile_session(*open_small("matrices"), 30)
    row = {"x": np.ones((1, 8), np.float32)}
    monkeypatch.setattr(trials, "time_run", lambda predict, _: float((predict is pooled) == quicker))
    pooled.open_batched(8, 0).close()
    single = engine._with_one_thread(pooled, row, 8)
    assert (single is not None) == quicker
    if single:
        np.testing.assert_allclose(single(row)["y"], pooled(row)["y"], 1e-5)
        single.close()


@pytest.mark.parametrize(
    ("alone", "in_a_batch", "gains"),
    [
        (0.00035, 0.00001, True),  # a run costs much, a row little
        (0.00028, 0.00024, True),  # a small network of images
        (0.00020, 0.00001, False),  # done before another thread has woken
        (0.00100, 0.00095, False),
        (0.02000, 0.01500, True),
    ],
)
def test_rows_run_in_batches_that_take_less_of_the_processors(
    alone: float, in_a_batch: float, gains: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = [0.0]
    monkeypatch.setattr("time.process_time", lambda: busy[0])

    def run(values: dict[str, Any]) -> dict[str, Any]:
        rows = len(values["x"])
        busy[0] += alone if rows == 1 else in_a_batch * rows
        return {}

    assert engine._gains(run, {"x": np.zeros((1, 2), "f")}) == gains  # type: ignore[arg-type]


def test_a_model_too_large_for_a_graph_def_is_served_without_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_gains", lambda *_: True)
    assert "in batches" in small_app("matrices").test_client().get("/readyz").get_json()["runs"]
    monkeypatch.setattr(to_frozen, "LIMIT", 1 << 16)
    client = small_app("matrices").test_client()
    assert "in batches" not in client.get("/readyz").get_json()["runs"]
    assert post(client, json.dumps({"x": [[1] * 8]}))[0] == 200
    with pytest.raises(UserError, match="the model cannot run in batches: the model is too large to be frozen"):
        small_app("matrices", max_batch_size=8)


def test_a_model_that_may_never_end_runs_in_batches_with_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    """An inline run cannot be cancelled."""
    monkeypatch.setattr(engine, "_with_one_thread", lambda *_: pytest.fail("one thread must not be tried"))
    monkeypatch.setattr(tensorflow_runtime, "find_row_facts", lambda *_: RowFacts(independent=True))
    app = small_app("matrices", max_batch_size=8)
    assert app.test_client().get("/readyz").get_json()["runs"] == "in batches of up to 8 rows"
