"""All protocols on one server, side by side: the same model, batches, limits, log and metrics."""

from __future__ import annotations

import gzip
import json
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rpc_calls
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.configuration import set_hypothesis_home_dir
from serving_models import BODY, PREDICT, ROW, Server, at_once, serving, small_app

from serialization.serving.http.predict_route import SERVING
from serialization.serving.limits import Settings
from serialization.serving.wire.protocols import make_protocols

V1, V2 = "/v1/models/toy:predict", "/v2/models/toy/infer"


@pytest.fixture(scope="module")
def server(made: Path) -> Iterator[Server]:
    flags = ["--model-name", "toy", "--model-label", "stable", "--max-body-mb", "1"]
    with serving("--frozen-model", made / "frozen_model.pb", *flags) as server:
        yield server


def v2_body(server: Server, rows: list[list[float]], *, binary: bool) -> tuple[bytes, dict[str, str]]:
    metadata = json.loads(server.request("GET", "/v2/models/toy")[2])
    given: dict[str, Any] = {"name": metadata["inputs"][0]["name"], "shape": [len(rows), 10], "datatype": "FP32"}
    if not binary:
        return json.dumps({"inputs": [{**given, "data": rows}]}).encode(), {}
    data = struct.pack(f"<{10 * len(rows)}f", *[number for row in rows for number in row])
    head = json.dumps({"inputs": [{**given, "parameters": {"binary_data_size": len(data)}}]}).encode()
    return head + data, {"Inference_Header_Content_Length": str(len(head))}


def test_each_protocol_has_its_own_prefix() -> None:
    app = small_app("scalar")
    route = app.config[SERVING]
    version = route.first.current
    found = make_protocols(version.served, version.engine.signature, Settings())
    assert len({protocol.prefix for protocol in found}) == len(found) == len(version.protocols)
    assert all(protocol.prefix.startswith("/") and protocol.prefix.endswith("/") for protocol in found)
    for path, prefix in (("/v1/models/m", "/v1/"), ("/v2", "/v2/"), ("/v2/", "/v2/"), ("/v1", "/v1/")):
        assert version.find_protocol(path).prefix == prefix
        assert route.takes(path)
    for path in (PREDICT, "/", "/healthz", "/v2x", "/v10/models"):
        assert version.find_protocol(path) is None
        assert route.takes(path) == (path == PREDICT)


def test_all_protocols_at_once_have_their_own_rows(server: Server) -> None:
    """The rows of all protocols may run in one batch; each request has the answer to its own rows."""
    rows = [[5.0] * 10 if i % 3 else [float(n) for n in ROW] for i in range(40)]
    expected = [row[0] == row[1] for row in rows]  # as the toy says of these two
    wrong: list[object] = []

    def check(status: int, found: object, i: int) -> None:
        if (status, found) != (200, [[expected[i]]]):
            wrong.append((i, status, found))

    def plain(i: int) -> None:
        body = json.dumps({"x": [rows[i]]})
        status, _, answer = server.request("POST", PREDICT, body, Content_Type="application/json")
        check(status, json.loads(answer).get("y"), i)

    def tfs(i: int) -> None:
        status, _, answer = server.request("POST", V1, json.dumps({"instances": [rows[i]]}))
        check(status, json.loads(answer).get("predictions"), i)

    def v2(i: int, *, binary: bool) -> None:
        body, headers = v2_body(server, [rows[i]], binary=binary)
        status, _, answer = server.request("POST", V2, body, **headers)
        check(status, [json.loads(answer)["outputs"][0]["data"]], i)

    def work(start: int) -> None:
        for i in range(start, len(rows), 4):
            plain(i)
            tfs(i)
            v2(i, binary=False)
            v2(i, binary=True)

    at_once(*[lambda start=start: work(start) for start in range(4)] * 2)
    assert wrong == []


def test_limits_ids_and_forms_of_errors(server: Server) -> None:
    long = b" " * 1_000_001
    for path in (V1, V2):
        status, headers, answer = server.request("POST", path, long, X_Request_Id="mine")
        assert (status, headers["x-request-id"], headers["content-type"]) == (413, "mine", "application/json")
        assert list(json.loads(answer)) == ["error"]
        assert "at most 1,000,000 are accepted" in json.loads(answer)["error"]
        status, _, answer = server.request("POST", path, b"{}", Content_Encoding="br")
        assert (status, list(json.loads(answer))) == (415, ["error"])
    for path, allowed in ((V2, "POST"), ("/v2/health/live", "GET, HEAD")):
        status, headers, answer = server.request("DELETE", path)
        assert (status, headers["allow"], list(json.loads(answer))) == (405, allowed, ["error"])
    assert server.request("HEAD", "/v2/health/ready")[0] == 200
    assert server.request("HEAD", "/v1/models/toy/labels/stable/metadata")[0] == 200


ROUTES = (PREDICT, V1, V2)
GOOD = b'{"x": [[0]]}'
# Bodies that are packed: the encoding that they are said to have, the body, and the status.
PACKED = {
    "a bomb of gzip": ("gzip", gzip.compress(bytes(50_000_000)), 413),
    "a bomb of deflate": ("deflate", zlib.compress(bytes(50_000_000)), 413),
    "a bomb of bare deflate": ("deflate", zlib.compress(bytes(50_000_000))[2:-4], 413),
    "a bomb in members": ("gzip", gzip.compress(b"") * 20_000, 400),
    "a bomb within gzip": ("gzip", gzip.compress(gzip.compress(bytes(50_000_000))), 400),
    "packed twice": ("gzip, gzip", gzip.compress(gzip.compress(GOOD)), 415),
    "no end": ("gzip", gzip.compress(GOOD)[:-9], 400),
    "another checksum": ("gzip", gzip.compress(GOOD)[:-8] + bytes(4) + gzip.compress(GOOD)[-4:], 400),
    "another length": ("gzip", gzip.compress(GOOD)[:-4] + b"\xff\xff\xff\xff", 400),
    "more behind it": ("deflate", zlib.compress(GOOD) + b"more", 400),
    "not packed": ("gzip", GOOD, 400),
    "empty": ("deflate", b"", 400),
    "packed, and not said": ("identity", gzip.compress(GOOD), 400),
}


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("name", PACKED)
def test_packed_bodies_that_lie_are_refused(server: Server, path: str, name: str) -> None:
    encoding, body, expected = PACKED[name]
    status, headers, answer = server.request(
        "POST", path, body, Content_Encoding=encoding, Content_Type="application/json"
    )
    assert (status, headers["content-type"]) == (expected, "application/json")
    assert list(json.loads(answer)) == (["error", "request_id"] if path == PREDICT else ["error"])


def test_doubled_slashes_are_taken_as_one(server: Server) -> None:
    assert server.request("GET", "//v2//health/live")[::2] == (200, b'{"live":true}')
    status, _, answer = server.request("POST", "//v1//models/toy:predict", json.dumps({"instances": [ROW]}))
    assert (status, json.loads(answer)) == (200, {"predictions": [[False]]})


def test_metrics_and_the_log_have_all_routes(capfd: pytest.CaptureFixture[str]) -> None:
    client = small_app("log", model_name="toy", log_format="json").test_client()
    capfd.readouterr()
    client.post(V1, json={"instances": [[1, 1]]}, headers={"X-Request-Id": "logged"})
    client.post(V2, data=b"{", headers={"X-Request-Id": "logged-too"})
    client.get("/v2/models/forged%0Aname")
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert [(line["id"], line["path"], line["status"]) for line in lines[:2]] == [
        ("logged", V1, 200),
        ("logged-too", V2, 400),
    ]
    assert lines[2]["status"] == 404
    metrics = client.get("/metrics").get_data(as_text=True)
    for route, status in (("/v1/models/{name}:predict", 200), ("/v2/models/{name}/infer", 400), ("/v2/", 404)):
        assert f'serving_requests_total{{route="{route}",status="{status}"}}' in metrics
    assert "forged" not in metrics, "a client must not make up series"


def test_a_server_with_too_many_requests_refuses_those_of_all_protocols() -> None:
    app = small_app("scalar", model_name="m", max_in_flight=1)
    route = app.config[SERVING]
    route._in_flight.add(None)  # one that has no end
    client = app.test_client()
    for path in ("/v1/models/m:predict", "/v2/models/m/infer"):
        answer = client.post(path, data="{}")
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert list(answer.get_json()) == ["error"]
    assert client.get("/v2/health/live").status_code == 200


def test_the_models_own_words_for_nan_hold_in_all_protocols() -> None:
    v2 = {"inputs": [{"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [0, 1]}]}
    for nonfinite, value in (("null", None), ("string", "-Infinity")):
        client = small_app("log", model_name="m", nonfinite=nonfinite).test_client()
        assert client.post("/v1/models/m:predict", json={"instances": [[0, 1]]}).get_json() == {
            "predictions": [[value, 0.0]]
        }
        assert client.post("/v2/models/m/infer", json=v2).get_json()["outputs"][0]["data"] == [value, 0.0]
    client = small_app("log", model_name="m").test_client()
    answer = client.post("/v1/models/m:predict", json={"instances": [[1, 1], [0, 1]]})
    error = "predictions[1][0]: the model's answer is -Infinity, not a number"
    assert (answer.status_code, answer.get_json()["error"]) == (400, error)
    answer = client.post("/v1/models/m:predict", json={"inputs": [[0, 1]]})
    assert answer.get_json()["error"].startswith("outputs[0][0]: the model's answer is -Infinity")
    answer = client.post("/v2/models/m/infer", json=v2)
    assert answer.status_code == 400
    assert answer.get_json()["error"] == "log.data[0]: the model's answer is -Infinity, not a number"
    answer = client.post("/v2/models/m/infer", json={**v2, "parameters": {"binary_data_output": True}})
    assert answer.data.endswith(struct.pack("<2f", float("-inf"), 0)), "bytes hold any number"


VALUES = st.one_of(st.integers(-9, 9), st.floats(), st.none(), st.booleans(), st.text(max_size=3), st.just(1e39))
NUMBERS = st.one_of(st.integers(-9, 9), st.floats(-(2.0**99), 2.0**99, width=32))
NEARLY_ROWS = st.lists(st.lists(st.one_of(NUMBERS, NUMBERS, NUMBERS, VALUES), min_size=7, max_size=9), max_size=3)
ROWS_THAT_FIT = st.lists(st.lists(NUMBERS, min_size=8, max_size=8), min_size=1, max_size=3)
EXAMPLES = settings(max_examples=400, deadline=None, database=None, suppress_health_check=list(HealthCheck))


@pytest.fixture(scope="module")
def matrices(tmp_path_factory: pytest.TempPathFactory) -> Any:
    set_hypothesis_home_dir(tmp_path_factory.mktemp("hypothesis"))
    return small_app("matrices", model_name="m").test_client()


@EXAMPLES
@given(st.one_of(NEARLY_ROWS, ROWS_THAT_FIT, VALUES))
def test_all_protocols_take_and_refuse_the_same_values(matrices: Any, value: Any) -> None:
    def ask(path: str, body: Any) -> tuple[int, Any]:
        answer = matrices.post(path, data=json.dumps(body), content_type="application/json")
        return answer.status_code, answer.get_json()

    status, expected = ask(PREDICT, {"x": value})
    assert status in (200, 400)
    for key, answered in (("instances", "predictions"), ("inputs", "outputs")):
        found, answer = ask("/v1/models/m:predict", {key: value})
        assert (found, answer.get(answered)) == (status, expected.get("y")), answer
    shape = [len(value), len(value[0])] if isinstance(value, list) and value else [1, 8]
    flat = [number for row in value for number in row] if isinstance(value, list) else value
    for data in (value, flat):
        tensor = {"name": "x", "shape": shape, "datatype": "FP32", "data": data}
        found, answer = ask("/v2/models/m/infer", {"inputs": [tensor]})
        ragged = data is flat and isinstance(value, list) and len(set(map(len, value))) > 1
        assert found == status or (ragged and found == 200), answer
        if status == 200:
            assert answer["outputs"][0]["data"] == [number for row in expected["y"] for number in row]
    array = make_array(value)
    if array is not None:
        for found, answer in ask_by_grpc(matrices.application, array):
            assert found == status, answer
            assert status != 200 or np.array_equal(answer, np.array(expected["y"], np.float32))


def make_array(value: Any) -> Any:
    """The array of floats that a message of gRPC has for the value, if it has any."""
    rows = value if isinstance(value, list) else [[value]]
    if len({len(row) for row in rows}) > 1 or any(type(number) not in (int, float) for row in rows for number in row):
        return None
    with np.errstate(over="ignore"):
        return np.array(value, np.float32)


def ask_by_grpc(app: Any, array: Any) -> Iterator[tuple[int, Any]]:
    """The status of each way to send the array by gRPC, and the array or the message that is answered."""
    services = rpc_calls.services_of(app)
    for fields in ({}, {"float_val": array.ravel().tolist()}):
        message = rpc_calls.predict_request({"x": rpc_calls.make_tensor(array, **fields)})
        status, body = rpc_calls.ask(app, rpc_calls.PREDICT, message, services)
        yield status, rpc_calls.read_response(body)["y"] if status == 200 else body
    for raw in (True, False):
        message = rpc_calls.infer_request("x", array, raw=raw)
        status, body = rpc_calls.ask(app, rpc_calls.INFER, message, services)
        yield status, rpc_calls.read_inferred(body) if status == 200 else body


# A last value of a row that is none: what /api/predict and V2 say of its place, and what TensorFlow Serving says.
NO_NUMBERS = [
    ('"9"', "expected a number, got a string", 'JSON Value: "9" Type: String is not of expected type: float'),
    ("true", "expected a number, got true or false", "JSON Value: true Type: True is not of expected type: float"),
    ("null", "expected a number, got null", "JSON Value: null Type: Null is not of expected type: float"),
    ('{"a":1}', "expected a number, got an object", "is not of expected type: float"),
    ("[9]", "expected a number, got a list", "Encountered list at unexpected level"),
    ("1e999", "the number is beyond the range of float32", None),
    ("1e39", "the number is beyond the range of float32", None),
    ("-3.5e38", "the number is beyond the range of float32", None),
    ("9" * 400, "the number is beyond the range of float32", None),
    ("NaN", "expected a number, got NaN", None),
    ("-Infinity", "expected a number, got -Infinity", None),
]
# Values that are no rows of ten numbers; V2 has a shape beside them.
NO_ROWS = [
    "[[1, 2]]",
    "[[1, 2], [3]]",
    "[]",
    "[[]]",
    "null",
    "5",
    '"a"',
    "{}",
    '{"b64":"aGk="}',
    "[null]",
    "[{}]",
    "[[[[[]]]]]",
]


def ask_all(server: Server, value: str) -> list[tuple[str, int, dict[str, Any]]]:
    """Where the value stands in the body of each protocol, and the answer's status and JSON."""
    name = json.loads(server.request("GET", "/v2/models/toy")[2])["inputs"][0]["name"]
    tensor = json.dumps({"name": name, "shape": [1, 10], "datatype": "FP32"})[:-1] + f', "data": {value}}}'
    bodies = [
        (PREDICT, "x", f'{{"x": {value}}}'),
        (V1, "instances", f'{{"instances": {value}}}'),
        (V1, "inputs", f'{{"inputs": {value}}}'),
        (V2, f"{name}.data", f'{{"inputs": [{tensor}]}}'),
    ]
    asked = [(p, place, server.request("POST", p, b, Content_Type="application/json")) for p, place, b in bodies]
    for path, _, (_, headers, answer) in asked:
        assert headers["content-type"] == "application/json"
        assert list(json.loads(answer)) == (["error", "request_id"] if path == PREDICT else ["error"])
    return [(place, status, json.loads(answer)) for _, place, (status, _, answer) in asked]


@pytest.mark.parametrize(("value", "said", "tfs"), NO_NUMBERS)
def test_a_value_that_is_no_number_is_refused_by_all(server: Server, value: str, said: str, tfs: str | None) -> None:
    for place, status, answer in ask_all(server, f"[[0,1,2,3,4,5,6,7,8,{value}]]"):
        assert status == 400
        if tfs and place in ("instances", "inputs"):
            assert tfs in answer["error"]
        else:
            assert answer["error"] == f"{place}[0][9]: {said}"


@pytest.mark.parametrize("value", NO_ROWS)
def test_a_value_that_is_no_rows_is_refused_by_all(server: Server, value: str) -> None:
    assert [status for _, status, _ in ask_all(server, value)] == [400] * 4


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b" ",
            b"{",
            b"[1]",
            b"null",
            b"{}",
            b"\0{}",
            b"{}{}",
            b'{"x": "\xff"}',
            b"[" * 100_000,
            b'{"a":' * 100_000,
        ),
        *(b"\xef\xbb\xbf{}", '{"x": 1}'.encode("utf-16"), '{"x": 1}'.encode("utf-32-le")),
        b'{"x":[],"instances":[],"inputs":[],"x":[],"instances":[],"inputs":[]}',
    ],
)
@pytest.mark.parametrize("path", ROUTES)
def test_a_body_that_is_no_object_is_refused_by_all(server: Server, path: str, body: bytes) -> None:
    status, _, answer = server.request("POST", path, body, Content_Type="application/json")
    assert status == 400
    assert list(json.loads(answer)) == (["error", "request_id"] if path == PREDICT else ["error"])


def test_a_late_body_is_408_in_the_protocols_form(made: Path) -> None:
    import socket

    with serving("--frozen-model", made / "frozen_model.pb", "--model-name", "toy", "--body-timeout", 1) as server:
        for path in (V1, V2):
            with socket.create_connection(server.address, timeout=60) as connection:
                connection.sendall(f"POST {path} HTTP/1.1\r\nHost: t\r\nContent-Length: 100\r\n\r\n{{".encode())
                received = b""
                while chunk := connection.recv(65536):
                    received += chunk
                assert b" 408 " in received.partition(b"\r\n")[0]
                assert b'"error"' in received
                assert b"request_id" not in received
        assert server.predict(json.loads(BODY))[0] == 200
