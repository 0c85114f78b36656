"""The toy model served: the application in this process, the server as a process."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from flask.testing import FlaskClient

import checkpoint_save
import freezemodel_save
import freezemodel_serve
import model
from serialization import cli
from serialization.tensorflow import np

ROW = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]


@pytest.fixture(scope="module")
def frozen_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serve")
    path = folder / "frozen_model.pb"
    assert cli.call(checkpoint_save.main, ["--checkpoint", str(folder / "graph.ckpt")]) == 0
    frozen = ["--checkpoint", str(folder / "graph.ckpt"), "--frozen-model", str(path)]
    assert cli.call(freezemodel_save.main, frozen) == 0
    return path


@pytest.fixture(scope="module")
def client(frozen_model: Path) -> FlaskClient:
    return freezemodel_serve.create_app(frozen_model).test_client()


@contextmanager
def serving(*flags: object) -> Iterator[tuple[subprocess.Popen[str], list[str]]]:
    """The server as a process on a free port, ready, with the lines it printed; the last two are curl's."""
    command = [sys.executable, str(cli.PROJECT / "freezemodel_serve.py"), "--port", "0", *map(str, flags)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, [process.stdout.readline() for _ in range(3)]
        finally:
            process.kill()


def ask(url: str, body: bytes) -> tuple[int, object]:
    request = Request(f"{url}/api/predict", body, {"Content-Type": "application/json"})
    try:
        with urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except HTTPError as error:
        return error.code, json.load(error)


def test_answers_what_the_model_says_of_1000_rows(client: FlaskClient) -> None:
    inputs, labels = model.make_rows(1000)
    answer = client.post("/api/predict", json={"x": inputs.tolist()})
    assert answer.status_code == 200
    assert answer.content_type == "application/json"
    assert np.mean(answer.get_json()["y"] == (labels > 0.5)) >= 0.995


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ('{"x": [[1, 2]]}', "x[0]: expected 10 values, got 2"),
        (f'{{"x": [{ROW}, {[*ROW, 1]}]}}', "x[1]: expected 10 values, got 11"),
        ('{"x": [[0,1,2,3,4,5,6,7,8,"9"]]}', "x[0][9]: expected a number, got a string"),
        ('{"x": [[0,1,2,3,4,5,6,7,8,true]]}', "x[0][9]: expected a number, got true or false"),
        ('{"x": [[0,1,2,3,4,5,6,7,8,null]]}', "x[0][9]: expected a number, got null"),
        ('{"x": [[0,1,2,3,4,5,6,7,8,[9]]]}', "x[0][9]: expected a number, got a list"),
        ('{"x": [[0,1,2,3,4,5,6,7,8,1e999]]}', "x[0][9]: number out of range"),
        ('{"x": [[0,1,2,3,4,5,6,7,8,1e39]]}', "x[0][9]: expected float <= 3.4028234663852886e+38"),
        (f'{{"x": {ROW}}}', "x[0]: expected a list, got a whole number"),
        ('{"x": []}', "x: expected 1 to 4096 rows, got 0"),
        ('{"x": null}', "x: expected a list, got null"),
        ("{}", "the body: missing key 'x'"),
        (f'{{"x": [{ROW}], "z": 1}}', "the body: unknown key 'z'"),
        (f'{{"x": [{ROW}], "x": [{ROW}]}}', "a key is there twice; JSON would keep one of the two and say nothing"),
        (f"[{ROW}]", "the body: expected an object, got a list"),
        ("", "the body is empty; expected a JSON object"),
        ('{"x": [[0,1', "the body is not JSON: Input data was truncated"),
        ('{"x": [[NaN]]}', "the body is not JSON: JSON is malformed: invalid character (byte 8)"),
        ('{"x": ' + "[" * 100_000, "x[0][0]: expected a number, got a list"),
    ],
)
def test_refuses_a_body_that_does_not_fit_and_names_the_place(client: FlaskClient, body: str, error: str) -> None:
    answer = client.post("/api/predict", data=body, content_type="application/json")
    assert (answer.status_code, answer.json) == (400, {"error": error})


def test_refuses_too_many_rows(client: FlaskClient) -> None:
    answer = client.post("/api/predict", json={"x": [ROW] * 5000})
    assert (answer.status_code, answer.json) == (400, {"error": "x: expected 1 to 4096 rows, got 5000"})


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
    assert list(answer.get_json()) == ["error"]


def test_refuses_a_body_that_is_not_said_to_be_json(client: FlaskClient) -> None:
    assert client.post("/api/predict", data=json.dumps({"x": [ROW]})).status_code == 415


def test_serves_what_the_document_shows_until_ctrl_c(frozen_model: Path) -> None:
    with serving("--frozen-model", frozen_model) as (process, lines):
        url = lines[0].split()[3].removesuffix(";")
        assert lines[0] == f"serving {frozen_model} on {url}; Ctrl-C ends it; try\n"
        answers = [subprocess.run(line, shell=True, check=True, capture_output=True).stdout for line in lines[1:]]
        assert [json.loads(answer) for answer in answers] == [{"y": [[False]]}, {"y": [[False], [True]]}]
        assert ask(url, b'{"x": [[1]]}') == (400, {"error": "x[0]: expected 10 values, got 1"})
        process.send_signal(signal.SIGINT)
        assert process.communicate() == ("", "")
        assert process.returncode == 0


def test_a_port_in_use_is_one_line(frozen_model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert cli.call(freezemodel_serve.main, ["--frozen-model", str(frozen_model), "--port", str(port)]) == 1
    expected = f"error: cannot listen on 127.0.0.1:{port}; Address already in use; name another --port\n"
    assert capfd.readouterr() == ("", expected)


def test_a_missing_model_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert cli.call(freezemodel_serve.main, ["--frozen-model", str(tmp_path / "none.pb")]) == 1
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error: no frozen model at {tmp_path}/none.pb; make one with `python ")
    assert captured.err.count("\n") == 1


def test_what_only_the_worker_finds_wrong_is_one_line(frozen_model: Path) -> None:
    with serving("--frozen-model", frozen_model, "--outputs", "nowhere") as (process, _):
        stdout, stderr = process.communicate()
    assert stdout == ""
    assert re.fullmatch(r"error: no tensor nowhere:0 in the graph; .*\n", stderr)
    assert process.returncode == 1


def test_another_address(frozen_model: Path) -> None:
    with serving("--frozen-model", frozen_model, "--host", "127.0.0.2") as (_, lines):
        assert lines[0].startswith(f"serving {frozen_model} on http://127.0.0.2:")
