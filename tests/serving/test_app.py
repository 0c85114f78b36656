"""The routes for health, metrics and the page; every error is JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from serving_models import ROW, post

import freezemodel_serve


@pytest.fixture(scope="module")
def client(frozen_model: Path) -> FlaskClient:
    return freezemodel_serve.create_app(frozen_model).test_client()


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/predict", 405),
        ("DELETE", "/api/predict", 405),
        ("POST", "/api/predict/more", 404),
        ("POST", "/nowhere", 404),
    ],
)
def test_each_error_is_json(client: FlaskClient, method: str, path: str, status: int) -> None:
    answer = client.open(path, method=method)
    assert answer.status_code == status
    assert list(answer.get_json()) == ["error", "request_id"]
    assert answer.get_json()["request_id"] == answer.headers["X-Request-Id"]


def test_the_other_routes(client: FlaskClient) -> None:
    assert client.get("/healthz").get_json() == {"status": "alive"}
    assert client.get("/readyz").get_json()["status"] == "ready"
    assert client.get("/").content_type == "text/html; charset=utf-8"
    assert client.get("/metrics").content_type.startswith("text/plain")
    assert client.head("/healthz").status_code == 200
    assert client.get("/healthz", headers={"X-Request-Id": "mine"}).headers["X-Request-Id"] == "mine"
    assert client.get("/healthz", headers={"X-Request-Id": "not mine"}).headers["X-Request-Id"] != "not mine"


@pytest.mark.parametrize("path", ["//healthz", "///healthz", "/healthz"])
def test_doubled_slashes_are_taken_as_one(client: FlaskClient, path: str) -> None:
    answer = client.get("/", environ_overrides={"PATH_INFO": path})  # the client itself would take //healthz for a host
    assert (answer.status_code, answer.get_json()) == (200, {"status": "alive"})


@pytest.mark.parametrize("path", ["//api/predict", "/api//predict", "//api///predict"])
def test_a_post_to_doubled_slashes_is_answered_not_redirected(client: FlaskClient, path: str) -> None:
    answer = client.post("/", environ_overrides={"PATH_INFO": path}, json={"x": [ROW]})
    assert (answer.status_code, answer.get_json()) == (200, {"y": [[False]]})


def test_a_fault_of_the_server_shows_no_traceback_to_the_client(
    client: FlaskClient, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("serialization.serving.wire.json_format.JsonFormat.encode", fail)
    status, answer = post(client, json.dumps({"x": [ROW]}))
    assert status == 500
    assert answer == {"error": "internal error; the server's log tells more under this request id"}
    assert "RuntimeError: secret" in capfd.readouterr().err
    monkeypatch.setattr("serialization.serving.wire.json_format.JsonFormat.encode", lambda *_: [0] * 2**62)
    assert post(client, json.dumps({"x": [ROW]})) == (503, {"error": "not enough memory for this request now"})
    monkeypatch.setattr("serialization.serving.metrics.Metrics.page", fail)
    assert client.get("/metrics").get_json()["error"] == answer["error"]
    assert "RuntimeError: secret" in capfd.readouterr().err
