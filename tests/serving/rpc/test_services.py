"""The registry of gRPC's services: each method has one, and what is not here is refused."""

from __future__ import annotations

from rpc_calls import CHECK, INFER, PREDICT, ask, services_of
from serving_models import small_app

from serialization.serving.rpc.services import find_named_model


def test_each_method_has_its_service() -> None:
    services = services_of(small_app("two"))
    status = "/tensorflow.serving.ModelService/GetModelStatus"
    prefixes = [services.find(method).prefix for method in (PREDICT, status, INFER, CHECK)]
    assert prefixes == ["/tensorflow.serving."] * 2 + ["/inference.GRPCInferenceService/", "/grpc.health.v1.Health/"]


def test_what_is_not_here_is_refused_and_no_series_of_its_own() -> None:
    app = small_app("two")
    status, body = ask(app, "/a.b.C/D\n", b"")
    assert status == 501
    assert body.startswith(b"no service for /a.b.C/D?; the services here are tensorflow.serving.PredictionService, ")
    ask(app, "/tensorflow.serving.PredictionService/Forged", b"")
    metrics = app.test_client().get("/metrics").get_data(as_text=True)
    assert 'serving_requests_total{route="other",status="501"} 1.0' in metrics
    assert 'serving_requests_total{route="/tensorflow.serving.",status="501"} 1.0' in metrics
    assert "Forged" not in metrics
    assert "a.b.C" not in metrics


def test_a_message_names_its_model() -> None:
    name = b"\x0a\x05house"  # field 1, a string
    assert find_named_model(INFER, b"\x1a\x012" + name) == ("house", "")
    assert find_named_model(INFER, name + b"\x12\x0217") == ("house", "17")
    specs = {"": name, "300": name + b"\x12\x03\x08\xac\x02"}  # field 2, an Int64Value
    for number, spec in specs.items():
        assert find_named_model(PREDICT, b"\x0a" + bytes([len(spec)]) + spec + b"\x12\x00") == ("house", number)
    for damaged in (b"", b"\x0a", b"\x0a\x09house", b"\x0a\x01\xff", b"\x08\x01"):
        assert find_named_model(PREDICT, damaged) == find_named_model(INFER, damaged) == ("", "")
