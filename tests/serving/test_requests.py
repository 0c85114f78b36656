"""Request ids, log lines, counts and error bodies, which all routes share."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

from serialization.serving.metrics import Metrics
from serialization.serving.requests import (
    RequestError,
    RequestInfo,
    RequestLog,
    get_path,
    make_error_body,
    make_internal_error,
    require_row_count,
    take_prefix_off,
)

Printed = pytest.CaptureFixture[str]


def environ(**more: str) -> dict[str, Any]:
    return {"REQUEST_METHOD": "GET", "PATH_INFO": "/healthz", "REMOTE_ADDR": "10.0.0.1", **more}


@pytest.mark.parametrize("given", ["a", "my-own.id_1", "0" * 64])
def test_a_clients_own_id_is_kept(given: str) -> None:
    assert RequestLog(Metrics(None), "none").new_id(environ(HTTP_X_REQUEST_ID=given)) == given


@pytest.mark.parametrize("given", ["", "two words", "a\nforged", "ü", "0" * 65, "a/b"])
def test_an_id_that_is_no_plain_word_is_replaced(given: str) -> None:
    log = RequestLog(Metrics(None), "none")
    first, second, third = (log.new_id(one) for one in (environ(HTTP_X_REQUEST_ID=given), environ(), environ()))
    assert re.fullmatch(r"[0-9a-f]{12}-1", first)
    assert [second, third] == [f"{first[:13]}{number}" for number in (2, 3)]


def record(log_format: str, **more: str) -> Metrics:
    metrics = Metrics(None)
    info = RequestInfo(environ(**more), "the-id", time.perf_counter() - 0.5)
    RequestLog(metrics, log_format).record([info, info], "/healthz", 200, rows=3)
    return metrics


def test_requests_are_counted_and_have_a_line_each(capfd: Printed) -> None:
    page = record("json").page()[0].decode()
    assert 'serving_requests_total{route="/healthz",status="200"} 2.0\n' in page
    assert "serving_batch_rows_sum 6.0\n" in page
    first, second = map(json.loads, capfd.readouterr().out.splitlines())
    assert {**first, "time": "", "ms": 0} == {
        "time": "",
        "id": "the-id",
        "method": "GET",
        "path": "/healthz",
        "status": 200,
        "ms": 0,
        "client": "10.0.0.1",
    }
    assert 500 <= first["ms"] == second["ms"]
    record("none")
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize(
    ("path", "word"), [("/a", "/a"), ("/a b", r"'/a\x20b'"), ("/a\nb", r"'/a\nb'"), ("/\x1b[2J", r"'/\x1b[2J'")]
)
def test_a_path_cannot_forge_a_line_or_a_word_of_the_text_log(capfd: Printed, path: str, word: str) -> None:
    record("text", PATH_INFO=path)
    first, _ = capfd.readouterr().out.splitlines()
    assert first.split(" ")[1:5] == ["the-id", "GET", word, "200"]
    assert len(first.split(" ")) == 7


@pytest.mark.parametrize(
    ("script", "path", "shown"),
    [("", "/a", "/a"), ("/below", "/a", "/below/a"), ("", "/\xc3\xbc", "/ü"), ("", "/\xff", "/�")],
)
def test_a_path_is_that_of_the_client(script: str, path: str, shown: str) -> None:
    assert get_path({"SCRIPT_NAME": script, "PATH_INFO": path}) == shown


@pytest.mark.parametrize("rows", [1, 5])
def test_rows_within_the_limit_are_taken(rows: int) -> None:
    require_row_count(rows, 5, "x")


@pytest.mark.parametrize("rows", [0, 6])
def test_other_numbers_of_rows_are_refused(rows: int) -> None:
    with pytest.raises(RequestError) as caught:
        require_row_count(rows, 5, "x.a")
    assert (caught.value.status, str(caught.value)) == (400, f"x.a: expected 1 to 5 rows, got {rows}")


def test_an_error_has_a_status_and_headers() -> None:
    error = RequestError(503, "later", Retry_After="1")
    assert (error.status, str(error), error.headers) == (503, "later", [("Retry-After", "1")])
    assert json.loads(make_error_body('say "no"\n', "id")) == {"error": 'say "no"\n', "request_id": "id"}


def test_an_internal_error_is_shown_in_the_servers_log_only(capsys: Printed) -> None:
    try:
        raise RuntimeError("secret")
    except RuntimeError:
        told = make_internal_error("the-id")
    assert told == "internal error; the server's log tells more under this request id"
    shown = capsys.readouterr().err
    assert shown.startswith("request the-id:\nTraceback ")
    assert shown.endswith("RuntimeError: secret\n")


@pytest.mark.parametrize(
    ("proxies", "forwarded", "client"),
    [
        (0, "1.1.1.1", "10.0.0.1"),
        (1, None, "10.0.0.1"),
        (1, "1.1.1.1", "1.1.1.1"),
        (1, "forged, 1.1.1.1", "1.1.1.1"),
        (2, "forged,1.1.1.1 , 2.2.2.2", "1.1.1.1"),
        (2, "1.1.1.1", "10.0.0.1"),
        (1, "x" * 5000, "x" * 100),
    ],
)
def test_the_log_names_the_client_that_a_trusted_proxy_saw(
    capfd: Printed, proxies: int, forwarded: str | None, client: str
) -> None:
    more = {} if forwarded is None else {"HTTP_X_FORWARDED_FOR": forwarded}
    info = RequestInfo(environ(**more), "the-id", time.perf_counter())
    RequestLog(Metrics(None), "json", proxies).record([info], "/healthz", 200)
    assert json.loads(capfd.readouterr().out)["client"] == client


@pytest.mark.parametrize(
    ("path", "script", "rest"),
    [
        ("/a/b/healthz", "/a/b", "/healthz"),
        ("/a/b", "/a/b", ""),
        ("/a/b/", "/a/b", "/"),
        ("/healthz", "", "/healthz"),
        ("/a/bc", "", "/a/bc"),
        ("/a", "", "/a"),
    ],
)
def test_the_prefix_of_a_path_is_taken_off_where_it_is(path: str, script: str, rest: str) -> None:
    asked = environ(PATH_INFO=path)
    take_prefix_off(asked, "/a/b")
    assert (asked.get("SCRIPT_NAME", ""), asked["PATH_INFO"]) == (script, rest)
    assert get_path(asked) == path
