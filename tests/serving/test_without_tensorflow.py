"""The server runs what the exporters wrote in an environment without TensorFlow, and answers as TensorFlow's does."""

from __future__ import annotations

import io
import json
import re
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import exported_models
import pytest
from conftest import PROJECT, environment, make_environment
from flask.testing import FlaskClient
from serving_models import PREDICT, ROW, Server, serving, soon, worker_of
from swapping import count_swaps

import freezemodel_serve
from serialization.project import PRETRAINED
from serialization.serving.limits import Settings
from serialization.tensorflow import np

RUNTIMES = {"onnx": "onnxruntime", "tflite": "LiteRT"}
JSON = "application/json"
SAMPLES = sorted((PRETRAINED / "samples").iterdir())[:6]


@pytest.fixture(scope="module")
def python() -> str:
    """The Python of an environment that has what requirements-serve.txt names."""
    return str(make_environment("serve") / "bin" / "python")


@pytest.fixture(scope="module")
def exports(frozen_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the toy, the ResNet and a model of two inputs and outputs: frozen, for ONNX and for LiteRT.

    Each is made in a process of its own: tf.lite registers ops, which tests of the list of ops would find.
    """
    folder = tmp_path_factory.mktemp("exports")
    (folder / "toy.pb").write_bytes(frozen_model.read_bytes())
    exported_models.write(exported_models.two_outputs, folder / "two.pb", "sum", "dot")
    call("freezemodel_save", "--saved-model", PRETRAINED / "1", "--frozen-model", folder / "resnet.pb")
    for name, words in {"toy": (), "two": ("--outputs", "sum,dot"), "resnet": ()}.items():
        for script, flag in (("onnx_from_frozen", "onnx"), ("tflite_from_frozen", "tflite")):
            call(script, "--frozen-model", folder / f"{name}.pb", f"--{flag}", folder / f"{name}.{flag}", *words)
    return folder


def call(script: str, *words: object) -> None:
    command = [sys.executable, str(PROJECT / f"{script}.py"), *map(str, words)]
    subprocess.run(command, env=environment(), check=True, stdout=subprocess.DEVNULL)


@pytest.fixture(scope="module", params=RUNTIMES)
def flag(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def toy(python: str, exports: Path, flag: str) -> Iterator[Server]:
    with serving(f"--{flag}", exports / f"toy.{flag}", python=python) as server:
        yield server


@pytest.fixture(scope="module")
def two(python: str, exports: Path, flag: str) -> Iterator[Server]:
    with serving(f"--{flag}", exports / f"two.{flag}", "--max-rows", 100, python=python) as server:
        yield server


@pytest.fixture(scope="module")
def resnet(python: str, exports: Path, flag: str) -> Iterator[Server]:
    with serving(f"--{flag}", exports / f"resnet.{flag}", python=python) as server:
        yield server


@pytest.fixture(scope="module")
def expected(exports: Path) -> dict[str, FlaskClient]:
    """The same models in TensorFlow."""
    settings = Settings(max_rows=100)
    return {
        "toy": freezemodel_serve.create_app(exports / "toy.pb").test_client(),
        "two": freezemodel_serve.create_app(
            exports / "two.pb", inputs="a,b", outputs="sum,dot", settings=settings
        ).test_client(),
        "resnet": freezemodel_serve.create_app(exports / "resnet.pb").test_client(),
    }


def ask(client: FlaskClient, body: bytes | str, content_type: str = JSON, path: str = PREDICT) -> tuple[int, Any]:
    answer = client.post(path, data=body, content_type=content_type)
    return answer.status_code, without_id(answer.get_json())


def without_id(answer: Any) -> Any:
    return {key: value for key, value in answer.items() if key != "request_id"}


def ask_server(server: Server, body: bytes | str, content_type: str = JSON, path: str = PREDICT) -> tuple[int, Any]:
    status, _, answer = server.request("POST", path, body, Content_Type=content_type)
    return status, without_id(json.loads(answer))


def to_npy(array: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def test_there_is_no_tensorflow_and_the_worker_is_confined(python: str, toy: Server) -> None:
    done = subprocess.run([python, "-c", "import tensorflow"], capture_output=True, text=True)
    assert "ModuleNotFoundError" in done.stderr
    worker = Path(f"/proc/{worker_of(toy)}")
    assert "tensorflow" not in (worker / "maps").read_text()
    confined = dict(line.split(":\t") for line in (worker / "status").read_text().splitlines() if ":\t" in line)
    assert (confined["NoNewPrivs"], confined["Seccomp"]) == ("1", "2")


def test_health_metadata_page_and_metrics(toy: Server, flag: str) -> None:
    assert json.loads(toy.request("GET", "/healthz")[2]) == {"status": "alive"}
    ready = json.loads(toy.request("GET", "/readyz")[2])
    assert (ready["status"], ready["runtime"]) == ("ready", RUNTIMES[flag])
    status, headers, page = toy.request("GET", "/")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert b"output1" in page
    document = json.loads(toy.request("GET", "/openapi.json")[2])
    example = document["paths"][PREDICT]["post"]["requestBody"]["content"][JSON]["example"]
    assert toy.predict(example)[0] == 200
    assert b"serving_requests_total" in toy.request("GET", "/metrics")[2]
    model = json.loads(toy.request("GET", "/v2/models/toy")[2])
    assert model["platform"] == {"onnx": "onnx_onnxv1", "tflite": "litert_tflite"}[flag]
    assert model["inputs"] == [{"name": "inputs_1", "datatype": "FP32", "shape": [-1, 10]}]
    assert model["outputs"] == [{"name": "output1", "datatype": "BOOL", "shape": [-1, 1]}]
    status = json.loads(toy.request("GET", "/v1/models/toy")[2])
    assert status["model_version_status"][0]["state"] == "AVAILABLE"


def test_every_protocol_predicts(toy: Server) -> None:
    rows = np.array([ROW, [5] * 10], np.float32)
    wanted = [[False], [True]]
    assert toy.predict({"x": rows.tolist()}) == (200, {"y": wanted})
    headers = {"Content_Type": "application/x-npy", "Accept": "application/x-npy"}
    _, _, answer = toy.request("POST", PREDICT, to_npy(rows), **headers)
    assert np.load(io.BytesIO(answer)).tolist() == wanted
    tfs = json.dumps({"instances": rows.tolist()})
    assert ask_server(toy, tfs, path="/v1/models/toy:predict") == (200, {"predictions": wanted})
    tensor = {"name": "inputs_1", "shape": [2, 10], "datatype": "FP32"}
    v2 = json.dumps({"inputs": [{**tensor, "data": rows.ravel().tolist()}]})
    status, found = ask_server(toy, v2, path="/v2/models/toy/infer")
    assert (status, found["outputs"][0]["data"]) == (200, [False, True])
    wants_bytes = {"binary_data_output": True}
    given = {**tensor, "parameters": {"binary_data_size": rows.nbytes}}
    head = json.dumps({"inputs": [given], "parameters": wants_bytes}).encode()
    length = {"Inference_Header_Content_Length": str(len(head))}
    status, headers, answer = toy.request("POST", "/v2/models/toy/infer", head + rows.tobytes(), **length)
    assert status == 200
    assert struct.unpack("2?", answer[int(headers["inference-header-content-length"]) :]) == (False, True)


GOOD: dict[str, list[list[float]]] = {"a": [[1, 2, 3]], "b": [[4, 5, 6.5]]}
WRONG = [
    "",
    "[]",
    "{}",
    '{"x": [[1, 2, 3]]}',
    json.dumps({"x": {**GOOD, "c": 1}}),
    json.dumps({"x": {"a": GOOD["a"]}}),
    json.dumps({"x": {**GOOD, "b": [[True, 1, 2]]}}),
    json.dumps({"x": {**GOOD, "b": [["1", 1, 2]]}}),
    json.dumps({"x": {**GOOD, "b": [[None, 1, 2]]}}),
    json.dumps({"x": {**GOOD, "b": [[1e39, 1, 2]]}}),
    json.dumps({"x": {**GOOD, "b": [[float("nan"), 1, 2]]}}),
    json.dumps({"x": {**GOOD, "b": [[float("inf"), 1, 2]]}}),
    json.dumps({"x": {**GOOD, "b": [[1, 2]]}}),
    json.dumps({"x": {**GOOD, "b": [[1, 2, 3], [4, 5]]}}),
    json.dumps({"x": {**GOOD, "b": [1, 2, 3]}}),
    json.dumps({"x": {"a": [], "b": []}}),
    json.dumps({"x": {key: value * 101 for key, value in GOOD.items()}}),
    '{"x": {"a": [[1, 2, 3]], "a": [[1, 2, 3]], "b": [[1, 2, 3]]}}',
]


@pytest.mark.parametrize("body", WRONG)
def test_a_wrong_body_has_the_answer_that_tensorflow_gives(
    two: Server, expected: dict[str, FlaskClient], body: str
) -> None:
    answer = ask(expected["two"], body)
    assert answer[0] == 400
    assert ask_server(two, body) == answer


def test_rows_that_do_not_fit_together_are_refused(two: Server, expected: dict[str, FlaskClient]) -> None:
    """Each input by itself fits, so that the runtime finds it."""
    body = json.dumps({"x": {"a": GOOD["a"] * 2, "b": GOOD["b"] * 3}})
    status, answer = ask_server(two, body)
    assert (status, ask(expected["two"], body)[0]) == (422, 422)
    assert answer["error"].startswith("the model refuses the values: ")
    assert "\n" not in answer["error"]
    assert two.predict({"x": GOOD})[0] == 200


@pytest.mark.parametrize("array", [np.zeros([1, 9], "f"), np.zeros([1, 10], "?"), np.full([1, 10], np.nan, "f")])
def test_a_wrong_npy_body_has_the_answer_that_tensorflow_gives(
    toy: Server, expected: dict[str, FlaskClient], array: Any
) -> None:
    answer = ask(expected["toy"], to_npy(array), "application/x-npy")
    assert answer[0] == 400
    assert ask_server(toy, to_npy(array), "application/x-npy") == answer


def test_the_document_is_tensorflows_but_for_the_names_of_tensors(
    two: Server, expected: dict[str, FlaskClient]
) -> None:
    def read(text: bytes) -> Any:
        document = json.loads(text)
        example = document["paths"][PREDICT]["post"]["requestBody"]["content"][JSON].pop("example")
        assert example["x"].keys() == {"a", "b"}
        del document["info"]
        return json.loads(re.sub(r"(prefix/)?\b(sum|dot|a|b)(:0)? (float32|int32)", r"\2 \4", json.dumps(document)))

    found, wanted = read(two.request("GET", "/openapi.json")[2]), read(expected["two"].get("/openapi.json").data)
    assert found["paths"].keys() == wanted["paths"].keys()
    for path, item in wanted["paths"].items():
        assert found["paths"][path] == item, path
    assert found == wanted


def test_answers_are_within_the_stated_difference(
    resnet: Server, two: Server, expected: dict[str, FlaskClient]
) -> None:
    images = np.random.default_rng(1).integers(0, 256, [40, 28, 28, 1])
    bodies = {"resnet": (resnet, {"x": images.tolist()})}
    rows = np.random.default_rng(2).integers(-50, 50, [2, 50, 3])  # whole, so that their sums are exact
    bodies["two"] = (two, {"x": {"a": rows[0].tolist(), "b": rows[1].tolist()}})
    for name, (server, body) in bodies.items():
        status, answer = server.predict(body)
        assert status == 200
        _, wanted = ask(expected[name], json.dumps(body))
        for key, values in wanted["y"].items():
            array = np.array(values)
            if array.dtype.kind == "f":
                largest = 1e-5 * np.abs(array).max()
                np.testing.assert_allclose(answer["y"][key], array, rtol=1e-3, atol=1e-4 + largest)
            else:
                np.testing.assert_array_equal(answer["y"][key], array)


def test_pictures_are_decoded(resnet: Server, expected: dict[str, FlaskClient]) -> None:
    for sample in SAMPLES:
        status, answer = ask_server(resnet, sample.read_bytes(), "image/png")
        assert status == 200, answer
        _, wanted = ask(expected["resnet"], sample.read_bytes(), "image/png")
        assert answer["y"]["classes"] == wanted["y"]["classes"]
        np.testing.assert_allclose(answer["y"]["probabilities"], wanted["y"]["probabilities"], 1e-3, 1e-4)
    status, answer = ask_server(resnet, SAMPLES[0].read_bytes()[:200], "image/png")
    assert (status, answer) == (400, {"error": "x[0]: the image is damaged; it cannot be decoded"})


def test_the_labels_are_in_the_file(python: str, exports: Path, flag: str) -> None:
    """A frozen model has none beside it; what is exported from the folder of the labels has them."""
    script = {"onnx": "onnx_from_frozen", "tflite": "tflite_from_frozen"}[flag]
    call(script, "--saved-model", PRETRAINED / "1", f"--{flag}", exports / f"labelled.{flag}")
    with serving(f"--{flag}", exports / f"labelled.{flag}", python=python) as server:
        page = server.request("GET", "/")[2].decode()
    first, *_ = (PRETRAINED / "labels.txt").read_text().splitlines()
    assert f'"labels": ["{first}"' in page


def test_requests_of_many_connections_get_their_own_rows(python: str, exports: Path, flag: str) -> None:
    """In batches, which the record allows."""
    from concurrent.futures import ThreadPoolExecutor

    rows = np.random.default_rng(3).integers(0, 10, [400, 10])
    with (
        serving(f"--{flag}", exports / f"toy.{flag}", "--max-batch-size", 8, python=python) as server,
        ThreadPoolExecutor(16) as threads,
    ):
        assert b"in batches of up to 8 rows" in server.request("GET", "/readyz")[2]
        assert b"though rows may depend" not in server.request("GET", "/readyz")[2]
        answers = list(threads.map(lambda row: server.predict({"x": [row.tolist()]}), rows))
    assert answers == [(200, {"y": [[bool(row.sum() > 45)]]}) for row in rows]


def test_tensorflow_models_need_tensorflow(python: str, exports: Path) -> None:
    command = [python, str(PROJECT / "freezemodel_serve.py"), "--frozen-model", str(exports / "toy.pb")]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert done.returncode == 1
    assert re.fullmatch(r"error: \S+ has no module tensorflow; .*\n", done.stderr)


def test_a_file_that_is_replaced_takes_over(python: str, exports: Path, flag: str, tmp_path: Path) -> None:
    file, new = tmp_path / f"model.{flag}", tmp_path / "new"
    shutil.copyfile(exports / f"toy.{flag}", file)
    with serving(f"--{flag}", file, "--watch", python=python) as server:
        new.write_bytes(b"broken")
        new.replace(file)
        assert soon(lambda: "refused" in json.loads(server.request("GET", "/readyz")[2]))
        assert server.predict({"x": [ROW]}) == (200, {"y": [[False]]})
        shutil.copyfile(exports / f"toy.{flag}", new)
        new.replace(file)
        assert soon(lambda: count_swaps(server.address[1]) == 1)
        assert server.predict({"x": [ROW]}) == (200, {"y": [[False]]})


def test_several_models_of_both_runtimes_are_served(python: str, exports: Path) -> None:
    words = [word for flag in RUNTIMES for word in ("--model", f"{flag}={exports / f'toy.{flag}'}")]
    with serving(*words, python=python) as server:
        told = json.loads(server.request("GET", "/readyz")[2])["models"]
        assert {name: one["runtime"] for name, one in told.items()} == RUNTIMES
        for flag in RUNTIMES:
            body = json.dumps({"x": [ROW]})
            assert ask_server(server, body, path=f"{PREDICT}/{flag}") == (200, {"y": [[False]]})
