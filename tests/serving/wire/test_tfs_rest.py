"""TensorFlow Serving's REST API: each of its requests has its answer; the rules of this server hold for its bodies."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from serving_models import ROW, small_app
from tfs_cases import CASES, Case

import freezemodel_serve
from serialization.serving.http.predict_route import SERVING
from serialization.serving.limits import Settings
from serialization.tensorflow import tf, tf1

PREDICT, CLASSIFY, REGRESS = (f"tensorflow/serving/{verb}" for verb in ("predict", "classify", "regress"))
Build = Callable[[], dict[str, tuple[dict[str, Any], dict[str, Any], str]]]  # inputs, outputs and method by signature


def _half_plus_two() -> Any:
    x = tf1.placeholder(tf.float32, None, name="x")
    examples = tf1.placeholder(tf.string, [None], name="examples")
    parsed = tf1.io.parse_example(examples, {"x": tf1.FixedLenFeature([1], tf.float32)})["x"]
    half = tf.add(parsed / 2, 2, name="half")
    return {
        "serving_default": ({"x": x}, {"y": tf.add(x / 2, 2, name="y")}, PREDICT),
        "regress_x_to_y": ({"inputs": examples}, {"outputs": half}, REGRESS),
        "classify_x_to_y": ({"inputs": examples}, {"scores": half}, CLASSIFY),
    }


def _same(**dtypes: Any) -> Any:
    given = {key: tf1.placeholder(dtype, None, name=key) for key, dtype in dtypes.items()}
    outputs = {f"{key}_out": tf.identity(value, name=f"{key}_out") for key, value in given.items()}
    return {"serving_default": (given, outputs, PREDICT)}


MODELS: dict[str, Build] = {
    "half_plus_two": _half_plus_two,
    "int32": lambda: _same(x=tf.int32),
    "float": lambda: _same(x=tf.float32),
    "string": lambda: _same(default=tf.string),
    "int and string": lambda: _same(int_tensor=tf.int32, str_tensor=tf.string),
}


def write_model(folder: Path, build: Build) -> Path:
    """Write a SavedModel called m, of version 123."""
    with tf1.Graph().as_default(), tf1.Session() as session:
        signatures = {
            key: tf1.saved_model.build_signature_def(
                *({k: tf1.saved_model.build_tensor_info(t) for k, t in side.items()} for side in sides), method
            )
            for key, (*sides, method) in build().items()
        }
        builder = tf1.saved_model.Builder(str(folder / "m" / "123"))
        builder.add_meta_graph_and_variables(session, ["serve"], signatures)
        builder.save()
    return folder / "m"


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str | None], FlaskClient]:
    """The client of a model by its name, served with this signature."""
    clients: dict[tuple[str, str | None], FlaskClient] = {}
    paths: dict[str, Path] = {}

    def client(name: str, signature: str | None = None) -> FlaskClient:
        if name not in paths:
            paths[name] = write_model(tmp_path_factory.mktemp("tfs"), MODELS[name])
        if (name, signature) not in clients:
            app = freezemodel_serve.create_app(
                saved_model=paths[name], signature=signature, settings=Settings(model_label="L")
            )
            clients[name, signature] = app.test_client()
        return clients[name, signature]

    return client


Ask = Callable[..., FlaskClient]


@pytest.mark.parametrize("case", [case for cases in CASES.values() for case in cases], ids=str)
def test_a_request_has_the_answer_of_tensorflow_serving(ask: Ask, case: Case) -> None:
    method, path = case.request.split()
    signature = json.loads(case.body)["signature_name"] if '"examples"' in case.body else None
    answer = ask(case.model, signature).open(path, method=method, data=case.body)
    if case.stricter is not None:
        assert (answer.status_code, answer.get_json()) == (400, {"error": case.stricter})
        return
    assert answer.status_code == case.status, answer.get_data(as_text=True)
    if case.status != 200:
        if case.answer is not None:
            assert list(answer.get_json()) == ["error"]
            assert case.answer in answer.get_json()["error"]
    elif case.answer is not None and case.answer.endswith("}"):
        assert answer.get_json() == json.loads(case.answer)
    elif case.answer is not None:
        assert case.answer in answer.get_data(as_text=True)
    assert answer.content_type == "application/json"
    assert answer.headers["X-Request-Id"]


def test_there_are_all_cases() -> None:
    assert sum(map(len, CASES.values())) == 66
    assert len([case for cases in CASES.values() for case in cases if case.stricter]) == 3


def test_the_answers_that_have_any_form(ask: Ask) -> None:
    """What the table does not say: the values that come out."""

    def predict(model: str, body: str) -> Any:
        return ask(model).post("/v1/models/m:predict", data=body).get_json()

    assert predict("float", '{"instances":[1, 2.0, 5.003, -0.0]}')["predictions"][:2] == [1.0, 2.0]
    assert predict("float", '{"instances":[2.2250738585072014e-308]}') == {"predictions": [0.0]}
    assert predict("string", '{"instances":[{"b64":"aGVsbG8="},{"b64":"d29ybGQ="}]}') == {
        "predictions": ["hello", "world"]
    }
    assert predict("string", '{"inputs":{"b64":"aGVsbG8="}}') == {"outputs": "hello"}
    row = {"int_tensor": [1, 2], "str_tensor": ["a"]}
    out = {"int_tensor_out": [1, 2], "str_tensor_out": ["a"]}
    assert predict("int and string", json.dumps({"instances": [row, row]})) == {"predictions": [out, out]}
    assert predict("int and string", json.dumps({"inputs": row})) == {"outputs": out}


@pytest.fixture(scope="module")
def toy(frozen_model: Path) -> FlaskClient:
    return freezemodel_serve.create_app(frozen_model).test_client()


ROUTE = "/v1/models/frozen_model:predict"


def test_a_frozen_model_is_called_as_its_file(toy: FlaskClient) -> None:
    assert toy.post(ROUTE, json={"instances": [ROW, [5] * 10]}).get_json() == {"predictions": [[False], [True]]}
    assert toy.post("/v1/MODELS/frozen_model:Predict", json={"inputs": [ROW]}).get_json() == {"outputs": [[False]]}
    status = toy.get("/v1/models/frozen_model").get_json()["model_version_status"]
    assert [(state["version"], state["state"]) for state in status] == [("1", "AVAILABLE")]
    metadata = toy.get("/v1/models/frozen_model/versions/1/metadata").get_json()["metadata"]["signature_def"]
    (given,) = metadata["signature_def"]["serving_default"]["inputs"].values()
    assert given["dtype"] == "DT_FLOAT"
    assert [dim["size"] for dim in given["tensor_shape"]["dim"]] == ["-1", "10"]


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ('{"instances": [[0,1,2,3,4,5,6,7,8,1e39]]}', "instances[0][9]: the number is beyond the range of float32"),
        ('{"instances": [[0,1,2,3,4,5,6,7,8,NaN]]}', "instances[0][9]: expected a number, got NaN"),
        ('{"instances": [[1, 2]]}', "instances[0]: expected 10 values, got 2"),
        ('{"inputs": [[1, 2]]}', "inputs[0]: expected 10 values, got 2"),
        ('{"instances": [[1, 2], [3]]}', "Expecting tensor size: 2 but got: 1"),
        ('{"instances": [[0,1,2,3,4,5,6,7,8,true]]}', "JSON Value: true Type: True is not of expected type: float"),
        ('{"instances": [[0,1,2,3,4,5,6,7,8,null]]}', "JSON Value: null Type: Null is not of expected type: float"),
        (f'{{"instances": [{ROW}], "instances": [{ROW}]}}', "JSON Parse error: the key 'instances' is there twice"),
        (f'{{"instances": [{ROW}], "a": {{"b": 1, "b": 2}}}}', "JSON Parse error: the key 'b' is there twice"),
        (json.dumps({"instances": [ROW] * 5000}), "instances: expected 1 to 4096 rows, got 5000"),
        ('{"instances": ' + "[" * 100_000, "JSON Parse error: nested too deep"),
        ('{"instances": [1], "more": ' + "[" * 100_000 + "]" * 100_000 + "}", "JSON Parse error: nested too deep"),
        (
            b"\xef\xbb\xbf{}",
            "JSON Parse error: the body begins with a byte order mark of UTF-8; send UTF-8 without one",
        ),
        ("{}".encode("utf-16-be"), "JSON Parse error: the body is in UTF-16 or UTF-32; send UTF-8"),
        (gzip.compress(b"{}"), "JSON Parse error: the body is gzip data; say so in Content-Encoding, and pack it once"),
        (b'{"instances": "\xff"}', "JSON Parse error: Invalid encoding in string. at offset: 15"),
        ('{"signature_name": "other", "instances": 1}', 'Serving signature name: "other" not found in signature def'),
        ('{"examples": [{}]}', "Missing 'inputs' or 'instances' key"),
    ],
)
def test_a_body_that_does_not_fit_is_refused(toy: FlaskClient, body: str | bytes, error: str) -> None:
    answer = toy.post(ROUTE, data=body)
    assert answer.status_code == 400
    assert list(answer.get_json()) == ["error"]
    assert error in answer.get_json()["error"]


def test_other_statuses_keep_the_form_of_the_error(
    toy: FlaskClient, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    answer = toy.post(ROUTE, data=b"{}", environ_overrides={"CONTENT_LENGTH": "99999999999"})
    assert (answer.status_code, list(answer.get_json())) == (413, ["error"])
    answer = toy.post("/v1/models/frozen_model:classify", json={"examples": []})
    assert answer.get_json()["error"] == (
        f"Expected classification signature method_name to be {CLASSIFY}. Was: {PREDICT}"
    )

    def fail(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr("serialization.serving.wire.tfs_json.PredictForm.encode_rows", fail)
    answer = toy.post(ROUTE, json={"instances": [ROW]})
    assert (answer.status_code, list(answer.get_json())) == (500, ["error"])
    assert "secret" not in answer.get_data(as_text=True)
    assert "RuntimeError: secret" in capfd.readouterr().err


def test_values_that_the_model_refuses_are_invalid_arguments() -> None:
    client = small_app("particular", model_name="m").test_client()
    answer = client.post("/v1/models/m:predict", json={"instances": [[1, 2]]})
    assert answer.status_code == 400
    assert "too small" in answer.get_json()["error"]


def test_a_server_that_ends_says_so_in_the_status() -> None:
    app = small_app("scalar", model_name="m")
    app.config[SERVING].draining = True
    answer = app.test_client().get("/v1/models/m")
    assert answer.get_json()["model_version_status"][0]["state"] == "UNLOADING"
    assert answer.headers["Connection"] == "close"


def test_openapi_has_the_routes_of_the_model(ask: Ask) -> None:
    paths = ask("half_plus_two", "regress_x_to_y").get("/openapi.json").get_json()["paths"]
    for way in ("", "/versions/123", "/labels/L"):
        found = [path.removeprefix(f"/v1/models/m{way}") for path in paths if path.startswith(f"/v1/models/m{way}")]
        assert {"", "/metadata", ":predict", ":regress"} <= set(found)
