"""Several models in one server: each by its name, the first also without one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import grpc
import pytest
from flask.testing import FlaskClient
from rpc_calls import INFER, call, infer_request, make_tensor, predict_request, rpc_serving
from rpc_calls import PREDICT as RPC_PREDICT
from serving_models import ROW, find_source, post, serving, write_small

import freezemodel_serve
from serialization.serving.limits import Settings
from serialization.serving.rpc import inference_service, prediction_service
from serialization.serving.served_models import ServedModels

TWO = {"x": {"a": [[1, 2, 3]], "b": [4]}}
SUM = {"y": {"sum": [[5, 6, 7]], "positive": [True]}}
V2 = {"inputs": [{"name": "Placeholder/inputs_placeholder", "shape": [1, 10], "datatype": "FP32", "data": ROW}]}


@pytest.fixture(scope="module")
def places(made: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A frozen model, a SavedModel in folders of versions, and a checkpoint."""
    folder = tmp_path_factory.mktemp("several")
    for version in ("2", "10"):
        shutil.copytree(made / "savedmodel_from_source", folder / "versions" / version)
    return {"toy": made / "frozen_model.pb", "größe": folder / "versions", "third": made / "graph.ckpt"}


@pytest.fixture(scope="module")
def client(places: dict[str, Path]) -> FlaskClient:
    return freezemodel_serve.create_app(models=places).test_client()


@pytest.mark.parametrize(
    ("path", "status"),
    [("/api/predict", 200), ("/api/predict/toy", 200), ("/api/predict/größe", 200), ("/api/predict/third", 200)],
)
def test_each_model_answers_by_its_name(client: FlaskClient, path: str, status: int) -> None:
    answer = client.post(path, json={"x": [ROW]})
    assert (answer.status_code, answer.get_json()) == (status, {"y": [[False]]})
    assert client.get(path).get_json()["error"] == f"{path} takes POST, not GET"


def test_a_name_that_no_model_has_is_told_which_there_are(client: FlaskClient) -> None:
    answer = client.post("/api/predict/none", json={"x": [ROW]})
    assert answer.status_code == 404
    assert "/api/predict/NAME (NAME is toy or größe or third)" in answer.get_json()["error"]
    answer = client.get("/v2/models/none")
    assert (answer.status_code, answer.get_json()) == (
        404,
        {"error": "no model none; the models here are toy, größe, third"},
    )
    assert client.post("/v1/models/none:predict", data='{"instances": []}').status_code == 404


def test_the_other_protocols_have_each_model(client: FlaskClient) -> None:
    for name, version in (("toy", "1"), ("größe", "10"), ("third", "1")):
        answer = client.post(f"/v1/models/{name}/versions/{version}:predict", data=json.dumps({"instances": [ROW]}))
        assert (answer.status_code, answer.get_json()) == (200, {"predictions": [[False]]})
        (state,) = client.get(f"/v1/models/{name}").get_json()["model_version_status"]
        assert (state["version"], state["state"]) == (version, "AVAILABLE")
        model = client.get(f"/v2/models/{name}").get_json()
        assert (model["name"], model["versions"]) == (name, [version])
        body = {"inputs": [{**V2["inputs"][0], "name": model["inputs"][0]["name"]}]}
        answer = client.post(f"/v2/models/{name}/infer", json=body)
        assert (answer.status_code, answer.get_json()["model_name"]) == (200, name)
    assert client.get("/v2/health/ready").get_json() == {"ready": True}


def test_a_grpc_call_reaches_the_model_and_the_version_that_its_message_names(
    places: dict[str, Path], tmp_path: Path
) -> None:
    versions = places["größe"]
    shutil.copytree(versions, tmp_path / "versions")
    sources = [
        find_source("frozen_model", places["toy"], "toy"),
        find_source("saved_model", tmp_path / "versions", "größe"),
    ]
    app = freezemodel_serve.load_app(ServedModels(sources, freezemodel_serve.OPENERS, keep_versions=2), Settings())
    with rpc_serving(app) as (_, address):
        for name, key, number, answered in (
            ("toy", "Placeholder/inputs_placeholder", "", "1"),
            ("größe", "inputs_1", "", "10"),
            ("größe", "inputs_1", "2", "2"),
        ):
            inferred = inference_service.messages.ModelInferRequest.FromString(
                infer_request(key, [ROW], raw=True, name=name)
            )
            inferred.model_version = number
            found = inference_service.messages.ModelInferResponse.FromString(
                call(address, INFER, inferred.SerializeToString())
            )
            assert (found.model_name, found.model_version) == (name, answered)
            request = prediction_service.messages.PredictRequest.FromString(
                predict_request({key: make_tensor([ROW])}, name)
            )
            if number:
                request.model_spec.version.value = int(number)
            response = prediction_service.messages.PredictResponse.FromString(
                call(address, RPC_PREDICT, request.SerializeToString())
            )
            assert (response.model_spec.name, response.model_spec.version.value) == (name, int(answered))
        with pytest.raises(grpc.RpcError, match="no model none"):
            call(address, INFER, infer_request("x", [ROW], raw=True, name="none"))


def test_status_metrics_document_and_page_have_each_model(client: FlaskClient) -> None:
    for path in ("/api/predict", "/api/predict/third"):
        client.post(path, json={"x": [ROW]})
    client.get("/healthz")
    status = client.get("/readyz").get_json()
    assert list(status["models"]) == ["größe", "third", "toy"]
    assert status["models"]["toy"]["model"] == status["model"]
    metrics = client.get("/metrics").get_data(as_text=True)
    for labels in (
        'model="toy",route="/api/predict",status="200"',
        'model="third",route="/api/predict",status="200"',
        'model="",route="/healthz",status="200"',
    ):
        assert f"serving_requests_total{{{labels}}}" in metrics
    assert 'serving_batch_rows_count{model="third"}' in metrics
    assert 'serving_model_workers{model="größe",version="10"} 1.0' in metrics
    document = client.get("/openapi.json").get_json()
    assert {"/api/predict", "/api/predict/toy", "/api/predict/third", "/v1/models/third:predict"} <= document[
        "paths"
    ].keys()
    operations = [
        item["post"]["operationId"] for item in document["paths"].values() if "operationId" in item.get("post", {})
    ]
    assert len(operations) == len(set(operations)) == 4
    for query, route in (("", "api/predict"), ("?model=third", "api/predict/third"), ("?model=none", "api/predict")):
        page = client.get(f"/{query}").get_data(as_text=True)
        assert f'"route": "{route}"' in page
        assert '"models": ["toy", ' in page


def test_one_model_by_a_name_is_served_as_without(made: Path) -> None:
    client = freezemodel_serve.create_app(models={"mine": made / "frozen_model.pb"}).test_client()
    assert post(client, json.dumps({"x": [ROW]})) == (200, {"y": [[False]]})
    assert client.post("/api/predict/mine", json={"x": [ROW]}).status_code == 200
    assert list(client.get("/readyz").get_json()) == ["model", "runs", "runtime", "status"]
    assert 'serving_requests_total{route="/api/predict",status="200"} 2.0' in client.get("/metrics").get_data(
        as_text=True
    )


def test_the_server_serves_and_watches_several(places: dict[str, Path], tmp_path: Path) -> None:
    words: list[Any] = []
    for name, path in places.items():
        words += ["--model", f"{name}={path}"]
    (tmp_path / "two.pb").write_bytes(Path(write_small("scalar", tmp_path)[1]).read_bytes())
    words += ["--model", f"scalar={tmp_path / 'two.pb'}", "--watch", "--keep-versions", 2]
    with serving(*words) as server:
        assert server.predict({"x": [ROW]}) == (200, {"y": [[False]]})
        for route, body, answer in (
            ("/api/predict/third", {"x": [ROW]}, {"y": [[False]]}),
            ("/api/predict/scalar", {"x": 3}, {"y": -3}),
            ("/v1/models/gr%C3%B6%C3%9Fe/versions/2:predict", {"instances": [ROW]}, {"predictions": [[False]]}),
        ):
            status, _, found = server.request("POST", route, json.dumps(body), Content_Type="application/json")
            assert (status, json.loads(found)) == (200, answer)
