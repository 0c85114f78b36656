"""Models that are particular about their values are served all the same; those that cannot run are not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from serving_models import open_small, post, small_app

from serialization import cli, freezing
from serialization.predictor import Predictor, open_session
from serialization.serving import engine, trials
from serialization.serving.settings import Settings
from serialization.tensorflow import np, tf1


def test_a_model_of_encoded_pictures_is_warmed_up_with_one() -> None:
    """The example of the page and of /openapi.json is a picture that works."""
    client = small_app("picture").test_client()
    document = client.get("/openapi.json").get_json()
    content = document["paths"]["/api/predict"]["post"]["requestBody"]["content"]["application/json"]
    assert list(content["example"]["x"][0]) == ["b64"]
    assert post(client, json.dumps(content["example"]))[0] == 200
    status, answer = post(client, '{"x": ["no picture"]}')
    assert status == 422
    assert answer["error"].startswith("the model refuses the values: ")


def test_a_model_for_which_no_values_can_be_found_is_served_without_a_warm_up() -> None:
    client = small_app("particular").test_client()
    assert client.get("/readyz").get_json()["runs"] == "in TensorFlow's threads"
    assert post(client, '{"x": [[1000, 1]]}') == (200, {"y": [[1000, 1]]})
    status, answer = post(client, '{"x": [[1, 1]]}')
    assert status == 422
    assert "too small" in answer["error"]
    with pytest.raises(cli.Error, match=r"the model cannot run in batches: .*too small"):
        small_app("particular", max_batch_size=8)


def test_a_number_of_rows_that_a_kernel_has_no_code_for_is_refused() -> None:
    client = small_app("three rows").test_client()
    rows = np.ones((3, 4, 4, 5)).tolist()
    status, answer = post(client, json.dumps({"x": rows[:2]}))
    assert (status, answer["error"][:30]) == (422, "the model refuses the values: ")
    assert post(client, json.dumps({"x": rows}))[0] == 200


def test_a_model_that_runs_on_no_values_is_one_line() -> None:
    with pytest.raises(cli.Error, match=r"the model does not run: .*uninitialized"):
        small_app("unfinished")


def test_a_model_whose_rows_answer_for_each_other_is_not_batched() -> None:
    """Three rows that are alike would not tell."""
    with pytest.raises(cli.Error, match="the model cannot run in batches: it gives other answers"):
        small_app("centred", max_batch_size=8)
    assert post(small_app("centred").test_client(), '{"x": [[1, 5]]}') == (200, {"y": [[0, 0]]})


def test_a_small_model_runs_in_order_if_it_can() -> None:
    """What `_quickest` tries beside the model's own session, and what it cannot try."""
    session, signature = open_small("two")
    values = {"a": np.array([[1, 2, 3]], np.float32), "b": np.array([4], np.int32)}
    in_order = Predictor(open_session(session.graph, fuse=False, in_order=True), signature, inline=True)
    expected = Predictor(session, signature)(values)
    assert {key: value.tolist() for key, value in in_order(values).items()} == {
        key: value.tolist() for key, value in expected.items()
    }
    session, signature = open_small("switch")
    with pytest.raises(cli.Error, match="does not support switch op"):
        Predictor(open_session(session.graph, fuse=False, in_order=True), signature, inline=True)


def test_a_small_model_with_old_control_flow_is_served() -> None:
    client = small_app("switch").test_client()
    assert client.get("/readyz").get_json()["runs"] == "in the thread that asks"
    assert post(client, '{"x": [[1, 2]]}') == (200, {"y": [[2, 3]]})
    assert post(client, '{"x": [[-1, -2]]}') == (200, {"y": [[-2, -3]]})


def test_a_model_on_several_devices_does_not_run_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """What runs on the first would wait for ever for what the second is to give."""
    opened, signature = open_small("two")
    session = tf1.Session(graph=opened.graph, config=tf1.ConfigProto(device_count={"CPU": 2}))
    asked: list[bool] = []

    def open_and_note(graph: Any, *, fuse: bool, in_order: bool = False) -> Any:
        asked.append(in_order)
        return open_session(graph, fuse=fuse, in_order=in_order)

    monkeypatch.setattr(engine, "open_session", open_and_note)
    engine.make_engine(session, signature, Settings())
    assert asked == [False]


@pytest.mark.parametrize("quicker", [True, False])
def test_batches_run_in_one_thread_if_a_row_is_answered_as_soon(quicker: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    session, signature = open_small("matrices")
    pooled = Predictor(session, signature)
    row = {"x": np.ones((1, 8), np.float32)}
    monkeypatch.setattr(trials, "seconds_of", lambda predict, _: float((predict is pooled) == quicker))
    single = engine._with_one_thread(session, engine._freeze(session, signature), signature, pooled, row, 8)
    assert (single is not None) == quicker
    if single:
        np.testing.assert_allclose(single(row)["y"], pooled(row)["y"], 1e-5)
        single.session.close()


def test_a_model_too_large_for_a_graph_def_is_served_without_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "_gains", lambda *_: True)
    assert "in batches" in small_app("matrices").test_client().get("/readyz").get_json()["runs"]
    monkeypatch.setattr(freezing, "LIMIT", 1 << 16)
    client = small_app("matrices").test_client()
    assert "in batches" not in client.get("/readyz").get_json()["runs"]
    assert post(client, json.dumps({"x": [[1] * 8]}))[0] == 200
    with pytest.raises(cli.Error, match="the model cannot run in batches: the model is too large to be frozen"):
        small_app("matrices", max_batch_size=8)


def test_what_may_never_end_runs_in_batches_that_can_be_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run in the thread that asks cannot be."""
    monkeypatch.setattr(engine, "_with_one_thread", lambda *_: pytest.fail("it is not to be tried"))
    monkeypatch.setattr(engine, "_may_be_endless", lambda *_: True)
    app = small_app("matrices", max_batch_size=8)
    assert app.test_client().get("/readyz").get_json()["runs"] == "in batches of up to 8 rows"
