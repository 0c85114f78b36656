"""Which pages may send requests from a browser, and read the answers."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import Clients
from serving_models import PREDICT

from serialization.serving.http.cross_origin import CrossOrigin
from serialization.serving.metrics import Metrics
from serialization.serving.requests import RequestLog

HERE, OTHER = "https://a.example", "https://b.example"
PREFLIGHT = {
    "Origin": HERE,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-type,x-request-id",
}


def crossing(origins: str) -> CrossOrigin:
    return CrossOrigin(origins, RequestLog(Metrics(None), "none"))


def allowed(headers: Any) -> str | None:
    found: str | None = dict(headers).get("Access-Control-Allow-Origin")
    return found


@pytest.mark.parametrize(
    ("origins", "origin", "answer"),
    [
        ("*", HERE, "*"),
        ("*", None, "*"),
        (HERE, HERE, HERE),
        (f"{OTHER},{HERE}", HERE, HERE),
        (HERE, OTHER, None),
        (HERE, None, None),
        (HERE, f"{HERE}.evil", None),
        (HERE, "null", None),
    ],
)
def test_an_answer_names_the_origin_that_may_read_it(origins: str, origin: str | None, answer: str | None) -> None:
    headers = crossing(origins).list_headers({} if origin is None else {"HTTP_ORIGIN": origin})
    assert allowed(headers) == answer
    assert ("Vary" in dict(headers)) == (origins != "*"), "a cache must not give it to another origin"


def test_a_preflight_is_answered_for_every_route(clients: Clients) -> None:
    client = clients("two", cors_origin=f"{HERE},{OTHER}")
    for path in (PREDICT, "/openapi.json", "/none"):
        answer = client.options(path, headers=PREFLIGHT)
        assert (answer.status_code, answer.data) == (204, b"")
        assert allowed(answer.headers) == HERE
        assert answer.headers["Access-Control-Allow-Headers"] == "content-type,x-request-id"
        assert answer.headers["Access-Control-Allow-Methods"] == "GET, POST"
        assert answer.headers["X-Request-Id"]
    assert b'route="preflight",status="204"' in client.get("/metrics").data
    assert allowed(client.options(PREDICT, headers={**PREFLIGHT, "Origin": "https://evil.example"}).headers) is None
    assert client.options(PREDICT).status_code == 405, "no browser asks so"


def test_answers_and_errors_can_be_read(clients: Clients) -> None:
    client = clients("two", cors_origin=f"{HERE},{OTHER}")
    for answer in (client.post(PREDICT, headers={"Origin": OTHER}), client.get("/readyz", headers={"Origin": OTHER})):
        assert allowed(answer.headers) == OTHER
        assert "X-Request-Id" in answer.headers["Access-Control-Expose-Headers"]
        assert answer.headers.getlist("Vary") == ["Origin"]


def test_without_the_flag_no_page_may(clients: Clients) -> None:
    client = clients("two")
    assert client.options(PREDICT, headers=PREFLIGHT).status_code == 405
    assert allowed(client.get("/readyz", headers={"Origin": HERE}).headers) is None


class Protocol:
    """Granian's object, which answers."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, list[tuple[str, str]], object]] = []

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.answers.append((status, headers, body))

    response_iter = response_bytes


def test_answers_past_wsgi_have_the_headers_once() -> None:
    protocol, wrapper = Protocol(), crossing(HERE)

    def app(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("A", "b")])
        return [b"by WSGI"]

    def answer(protocol: Any, environ: dict[str, Any]) -> None:
        if environ["PATH_INFO"] == "/direct":
            protocol.response_bytes(200, [("A", "b")], b"directly")
        else:
            start: Any = lambda status, headers: protocol.response_iter(200, headers, b"by WSGI")  # noqa: E731
            wrapper.wrap_wsgi(app)(environ, start)

    respond = wrapper.wrap_direct(answer)
    asked = {"REQUEST_METHOD": "POST", "HTTP_ORIGIN": HERE, "PATH_INFO": "/"}
    for path in ("/direct", "/wsgi"):
        respond(protocol, {**asked, "PATH_INFO": path})
    own = wrapper.list_headers(asked)
    assert protocol.answers == [(200, [("A", "b"), *own], b"directly"), (200, [("A", "b"), *own], b"by WSGI")]
    preflight = {**asked, "REQUEST_METHOD": "OPTIONS", "HTTP_ACCESS_CONTROL_REQUEST_METHOD": "POST"}
    respond(protocol, {**preflight, "PATH_INFO": "/direct"})
    assert protocol.answers[-1][::2] == (204, b"")


def test_odd_headers_of_a_preflight_are_not_repeated() -> None:
    asked = {
        "REQUEST_METHOD": "OPTIONS",
        "PATH_INFO": "/",
        "HTTP_ORIGIN": HERE,
        "HTTP_ACCESS_CONTROL_REQUEST_METHOD": "POST",
    }
    for odd in ("a\r\nSet-Cookie: b", "\xe4", ""):
        headers = crossing("*").answer_preflight({**asked, "HTTP_ACCESS_CONTROL_REQUEST_HEADERS": odd})
        assert headers is not None
        assert "Access-Control-Allow-Headers" not in dict(headers)
