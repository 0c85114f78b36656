"""The health service: the server and each of its services serve until the server is about to end."""

from __future__ import annotations

import pytest
from rpc_calls import CHECK, ask
from serving_models import small_app

from serialization.serving.requests import RequestError
from serialization.serving.rpc.health_service import HealthService, messages


def request(service: str) -> bytes:
    return bytes(messages.HealthCheckRequest(service=service).SerializeToString())


def test_the_server_and_its_services_serve_until_it_ends() -> None:
    app = small_app("two")
    names = ("", "inference.GRPCInferenceService", "tensorflow.serving.PredictionService", "grpc.health.v1.Health")
    assert [ask(app, CHECK, request(name)) for name in names] == [(200, b"\x08\1")] * 4
    app.config["SERVING"].draining = True
    assert [ask(app, CHECK, request(name)) for name in names] == [(200, b"\x08\2")] * 4


def test_other_services_methods_and_bytes_are_refused() -> None:
    app = small_app("two")
    assert ask(app, CHECK, request("no\nne")) == (404, b"no service no?ne is here")
    status, body = ask(app, "/grpc.health.v1.Health/List", b"")
    assert (status, body) == (501, b"/grpc.health.v1.Health/List is not answered here; these are: Check and Watch")
    status, body = ask(app, CHECK, b"\xff")
    assert (status, body.startswith(b"the message is damaged")) == (400, True)


def test_who_watches_is_told_of_a_service_that_is_unknown() -> None:
    health = HealthService(["a"])
    assert [health.tell(request(name), ready=True) for name in ("", "a", "b")] == [b"\x08\1", b"\x08\1", b"\x08\3"]
    assert health.tell(request("a"), ready=False) == b"\x08\2"
    with pytest.raises(RequestError):
        health.tell(b"\xff", ready=True)
