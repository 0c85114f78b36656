"""KServe V2's routes: health, metadata, readiness, and their errors; tests/serving/test_clients.py has its clients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from openapi_spec_validator import validate
from serving_models import make_identity, small_app

import freezemodel_serve
import serialization
from serialization.serving.http.predict_route import SERVING


@pytest.fixture(scope="module")
def client() -> FlaskClient:
    return small_app("two", model_name="m").test_client()


METADATA = {
    "name": "m",
    "versions": ["1"],
    "platform": "tensorflow_graphdef",
    "inputs": [
        {"name": "a", "datatype": "FP32", "shape": [-1, 3]},
        {"name": "b", "datatype": "INT32", "shape": [-1]},
    ],
    "outputs": [
        {"name": "sum", "datatype": "FP32", "shape": [-1, 3]},
        {"name": "positive", "datatype": "BOOL", "shape": [-1]},
    ],
}
WHERE = "predictions are at /v2/models/NAME/infer; the model here is m"
SERVER = {"name": "serialization", "version": serialization.__version__, "extensions": ["binary_tensor_data"]}


@pytest.mark.parametrize(
    ("method", "path", "status", "answer"),
    [
        ("GET", "/v2", 200, SERVER),
        ("GET", "/v2/", 200, SERVER),
        ("GET", "/v2/health/live", 200, {"live": True}),
        ("GET", "/v2/health/ready", 200, {"ready": True}),
        ("GET", "/v2/models/m", 200, METADATA),
        ("GET", "/v2/models/m/versions/1", 200, METADATA),
        ("GET", "/v2/models/m/ready", 200, {"name": "m", "ready": True}),
        ("GET", "/v2/models/m/versions/1/ready", 200, {"name": "m", "ready": True}),
        ("GET", "/v2/models/none", 404, {"error": "no model none; the model here is m"}),
        ("GET", "/v2/models/none/ready", 404, {"error": "no model none; the model here is m"}),
        ("GET", "/v2/models/m/versions/2", 404, {"error": "no version 2 of the model m; the version here is 1"}),
        ("POST", "/v2/models/m/versions/2/infer", 404, {"error": "no version 2 of the model m; the version here is 1"}),
        ("POST", "/v2/models/none/infer", 404, {"error": "no model none; the model here is m"}),
        (
            "GET",
            "/v2/models/m/config",
            404,
            {"error": f"nothing is at /v2/models/m/config; {WHERE}"},
        ),
        (
            "POST",
            "/v2/repository/index",
            404,
            {"error": f"nothing is at /v2/repository/index; {WHERE}"},
        ),
        ("GET", "/v2/models/m/infer", 405, {"error": "/v2/models/m/infer takes POST, not GET"}),
        ("POST", "/v2/health/live", 405, {"error": "/v2/health/live takes GET and HEAD, not POST"}),
        ("PUT", "/v2/models/m", 405, {"error": "/v2/models/m takes GET and HEAD, not PUT"}),
    ],
)
def test_routes(client: FlaskClient, method: str, path: str, status: int, answer: Any) -> None:
    found = client.open(path, method=method)
    assert (found.status_code, found.content_type, found.get_json()) == (status, "application/json", answer)
    assert ("Allow" in found.headers) == (status == 405)
    assert found.headers["X-Request-Id"]


def test_a_server_that_ends_is_not_ready() -> None:
    app = small_app("scalar", model_name="m")
    app.config[SERVING].draining = True
    client = app.test_client()
    assert client.get("/v2/health/live").status_code == 200
    for path in ("/v2/health/ready", "/v2/models/m/ready"):
        answer = client.get(path)
        assert (answer.status_code, answer.get_json()["ready"], answer.headers["Connection"]) == (503, False, "close")


def test_values_that_the_model_refuses_are_400() -> None:
    client = small_app("particular", model_name="m").test_client()
    given = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
    answer = client.post("/v2/models/m/infer", json={"inputs": [given]})
    assert answer.status_code == 400
    assert "too small" in answer.get_json()["error"]


def test_a_dtype_without_a_datatype_is_left_to_the_other_protocols() -> None:
    client = make_identity("float8_e5m2", [None])
    for answer in (client.get("/v2/models/identity"), client.post("/v2/models/identity/infer", json={})):
        assert answer.status_code == 501
        assert answer.get_json()["error"] == "x: the protocol has no datatype for float8_e5m2; use /api/predict"
    assert client.get("/v2/health/ready").status_code == 200
    assert client.post("/v1/models/identity:predict", json={"instances": [1.5]}).get_json() == {"predictions": [1.5]}


def test_a_saved_model_has_its_platform_and_version(made: Path) -> None:
    client = freezemodel_serve.create_app(saved_model=made / "savedmodel_from_source").test_client()
    assert client.get("/v2/models/savedmodel_from_source").get_json()["platform"] == "tensorflow_savedmodel"


def test_openapi_has_the_routes(client: FlaskClient) -> None:
    document = client.get("/openapi.json").get_json()
    validate(document)
    for path in ("/v2", "/v2/health/live", "/v2/models/m", "/v2/models/m/ready", "/v2/models/m/versions/1/infer"):
        assert path in document["paths"]
