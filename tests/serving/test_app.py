"""The routes for health, metrics and the page; every error is JSON."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from serving_models import ROW, post, small_app

import freezemodel_serve
from serialization.errors import UserError
from serialization.graph.signature import Signature, Tensor
from serialization.serving.app import load_version
from serialization.serving.http.predict_route import SERVING
from serialization.serving.limits import Settings


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


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("GET", "/none", 404, "nothing is at /none; predictions are at /api/predict, a page to try them is at /"),
        ("GET", "/%1b%5b2J", 404, "nothing is at /?[2J; predictions are at /api/predict, a page to try them is at /"),
        ("POST", "/healthz", 405, "/healthz takes GET and HEAD, not POST"),
        ("GET", "/api/predict", 405, "/api/predict takes POST, not GET"),
        ("OPTIONS", "/api/predict", 405, "/api/predict takes POST, not OPTIONS"),
        ("OPTIONS", "/metrics", 405, "/metrics takes GET and HEAD, not OPTIONS"),
    ],
)
def test_an_error_names_the_routes_and_methods_there_are(
    client: FlaskClient, method: str, path: str, status: int, message: str
) -> None:
    answer = client.open(path, method=method)
    assert (answer.status_code, answer.content_type) == (status, "application/json")
    assert answer.get_json()["error"] == message
    assert ("Allow" in answer.headers) == (status == 405)


def test_a_server_that_ends_is_not_ready_and_keeps_no_connection() -> None:
    app = small_app("scalar")
    app.config[SERVING].draining = True
    answer = app.test_client().get("/readyz")
    assert (answer.status_code, answer.headers["Connection"]) == (503, "close")
    assert answer.get_json() == {"error": "the server is ending", "request_id": answer.headers["X-Request-Id"]}


def test_every_route_is_counted(client: FlaskClient) -> None:
    def counted() -> str:
        return client.get("/metrics").get_data(as_text=True)

    client.get("/healthz")
    client.get("/forged%0Apath")
    assert 'route="/healthz",status="200"' in counted()
    assert 'route="other",status="404"' in counted()
    assert "forged" not in counted(), "a client must not make up series"


def test_a_model_that_cannot_be_asked_in_json_is_refused() -> None:
    class Unaskable:
        signature: Any = Signature((Tensor("x", "x:0", "complex64", (None,)),), (Tensor("y", "y:0", "int32", (None,)),))

    with pytest.raises(UserError, match=r"JSON has no complex64"):
        load_version("m", Unaskable(), Settings())  # type: ignore[arg-type]


def test_the_routes_are_there_below_a_prefix_too() -> None:
    client = small_app("scalar", path_prefix="/models/toy").test_client()
    for below in ("", "/models/toy"):
        assert client.get(f"{below}/healthz").get_json() == {"status": "alive"}
        assert client.post(f"{below}/api/predict", json={"x": 2}).get_json() == {"y": -2}
        assert client.get(f"{below}/").status_code == 200
        assert client.get(f"{below}/v2/health/ready").get_json() == {"ready": True}
        assert client.get(f"{below}/v1/models/none").status_code == 404, "no malformed request, which is 400"
        wrong = client.get(f"{below}/none")
        assert (wrong.status_code, wrong.get_json()["error"].partition(";")[0]) == (404, f"nothing is at {below}/none")
    slashes = {"PATH_INFO": "//models/toy//readyz"}
    assert client.get("/", environ_overrides=slashes).status_code == 200
    answer = client.get("/models/toy")
    assert (answer.status_code, answer.headers["Location"]) == (308, "/models/toy/"), "its links begin from there"
    assert client.get("/models/toys/healthz").status_code == 404


class Unread(io.BytesIO):
    """A body that knows whether it was read to its end."""

    @property
    def is_read(self) -> bool:
        return self.tell() == len(self.getvalue())


@pytest.mark.parametrize(
    ("path", "content_type", "status"),
    [
        ("/api/predict", "text/plain", 415),
        ("/api/predict", "application/json", 413),
        ("/nowhere", "application/json", 404),
        ("/healthz", "application/json", 405),
    ],
)
def test_the_body_of_a_refused_request_is_read_on(path: str, content_type: str, status: int) -> None:
    """Else a client that sends all before it reads the answer gets none."""
    client = small_app("scalar", max_body_mb=1).test_client()
    for headers, is_read in ({}, True), ({"Expect": "100-continue"}, False):
        body = Unread(b" " * 3_000_000)
        answer = client.post(
            path, input_stream=body, content_length=3_000_000, content_type=content_type, headers=headers
        )
        assert (answer.status_code, body.is_read) == (status, is_read)
