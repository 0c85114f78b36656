"""The toy model served: the application in this process, the server as a process."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import keras_models
import pytest
from conftest import Run, environment
from flask.testing import FlaskClient
from serving_models import ROW, post, serving

import freezemodel_serve
import model
from serialization import project
from serialization.cli import call_main
from serialization.console import show_path
from serialization.errors import UserError
from serialization.serving.http.server import announce_server
from serialization.tensorflow import np, tf, tf1


@pytest.fixture(scope="module")
def client(frozen_model: Path) -> FlaskClient:
    return freezemodel_serve.create_app(frozen_model).test_client()


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
        ('{"x": [[0,1,2,3,4,5,6,7,8,1e999]]}', "x[0][9]: the number is beyond the range of float32"),
        ('{"x": [[0,1,2,3,4,5,6,7,8,1e39]]}', "x[0][9]: the number is beyond the range of float32"),
        (f'{{"x": {ROW}}}', "x: expected the shape [None, 10], got [10]"),
        ('{"x": []}', "x: expected 1 to 4096 rows, got 0"),
        ('{"x": null}', "x: expected the shape [None, 10], got null"),
        ("{}", "the body: missing key 'x'"),
        (f'{{"x": [{ROW}], "z": 1}}', "the body: unknown key 'z'; expected 'x'"),
        (f'{{"x": [{ROW}], "x": [{ROW}]}}', "the body: the key 'x' is there twice"),
        (f"[{ROW}]", "the body: expected an object, got a list"),
        ("", "the body is empty; expected a JSON object"),
        ('{"x": [[0,1', "the body is not JSON: Expecting ',' delimiter: line 1 column 12 (char 11)"),
        ('{"x": [[NaN]]}', "x[0]: expected 10 values, got 1"),
        ('{"x": ' + "[" * 100_000, "the body: nested too deep"),
    ],
)
def test_refuses_a_body_that_does_not_fit_and_names_the_place(client: FlaskClient, body: str, error: str) -> None:
    assert post(client, body) == (400, {"error": error})


def test_refuses_too_many_rows(client: FlaskClient) -> None:
    assert post(client, json.dumps({"x": [ROW] * 5000})) == (400, {"error": "x: expected 1 to 4096 rows, got 5000"})


def test_refuses_a_body_that_is_not_said_to_be_json(client: FlaskClient) -> None:
    assert client.post("/api/predict", data=json.dumps({"x": [ROW]})).status_code == 415


def test_serves_until_ctrl_c_and_says_how_to_ask(frozen_model: Path) -> None:
    with serving("--frozen-model", frozen_model, "--host", "127.0.0.2") as server:
        assert re.fullmatch(r"http://127\.0\.0\.2:\d+", server.url)
        assert server.printed[0] == f"serving {frozen_model} on {server.url}; Ctrl-C ends it; try\n"
        done = subprocess.run(server.printed[1], shell=True, check=True, capture_output=True)
        assert json.loads(done.stdout)["y"] in ([[False]], [[True]])
        server.process.send_signal(signal.SIGINT)
        assert server.process.communicate() == ("", "")
        assert server.process.returncode == 0


def test_the_toys_requests_are_announced(client: FlaskClient, capfd: pytest.CaptureFixture[str]) -> None:
    bodies = ['{"x":[[0,1,2,3,4,5,6,7,8,9]]}', '{"x":[[5,5,5,5,5,5,5,5,5,5]]}']
    announce_server("the toy", bodies, "http://t", "")
    first, *lines = capfd.readouterr().out.splitlines()
    assert first == "serving the toy on http://t; Ctrl-C ends it; try"
    head = "curl -X POST -H 'Content-Type: application/json' http://t/api/predict -d "
    assert lines == [f"{head}'{body}'" for body in bodies]
    assert [post(client, body)[1] for body in bodies] == [{"y": [[False]]}, {"y": [[True]]}]


@pytest.mark.parametrize(
    ("example", "line"),
    [
        ("""{"x":["it's"]}""", """curl -X POST -H 'Content-Type: application/json' http://t/api/predict -d """),
        ("", "http://t/ in a browser"),
    ],
)
def test_any_model_is_announced_with_something_to_try(
    capfd: pytest.CaptureFixture[str], example: str, line: str
) -> None:
    announce_server("mine", [], "http://t", example)
    shown = capfd.readouterr().out.splitlines()[1]
    assert shown.startswith(line)
    assert not example or shlex.split(shown)[-1] == example


def test_a_port_in_use_is_one_line(frozen_model: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert call_main(freezemodel_serve.main, ["--frozen-model", str(frozen_model), "--port", str(port)]) == 1
    expected = f"error: cannot listen on 127.0.0.1:{port}; Address already in use; name another --host or --port\n"
    assert capfd.readouterr() == ("", expected)


def test_a_model_in_a_folder_is_looked_for_once(
    frozen_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "given" / "below").mkdir(parents=True)
    shutil.copy(frozen_model, tmp_path / "given" / "below" / "m.pb")
    flags = ["--frozen-model", str(tmp_path / "given"), "--host", "a..b"]  # which ends it before a worker starts
    assert call_main(freezemodel_serve.main, flags) == 1
    assert capfd.readouterr().out == f"using {tmp_path}/given/below/m.pb, the only one in {tmp_path}/given\n"


@pytest.mark.parametrize(
    ("host", "reason"),
    [("nowhere.invalid", "no address nowhere.invalid; .*"), ("a..b", "no address a..b; it is not a host name")],
)
def test_a_host_that_is_none_is_one_line(
    frozen_model: Path, capfd: pytest.CaptureFixture[str], host: str, reason: str
) -> None:
    assert call_main(freezemodel_serve.main, ["--frozen-model", str(frozen_model), "--host", host]) == 1
    assert re.fullmatch(f"error: {reason}; name another --host\n", capfd.readouterr().err)


def test_a_missing_model_is_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert call_main(freezemodel_serve.main, ["--frozen-model", str(tmp_path / "none.pb")]) == 1
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"error: no frozen model at {tmp_path}/none.pb; name the file of a GraphDef\n")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(
    ("flag", "name", "found", "right"),
    [
        ("frozen-model", "savedmodel_from_source", "a SavedModel, not a frozen model", "saved-model"),
        ("frozen-model", "graph.ckpt", "a checkpoint, not a frozen model", "checkpoint"),
        ("saved-model", "frozen_model.pb", "a frozen model (a GraphDef), not a SavedModel", "frozen-model"),
        ("checkpoint", "frozen_model.pb", "a frozen model (a GraphDef), not a checkpoint", "frozen-model"),
    ],
)
def test_the_wrong_flag_is_told_the_right_one(
    made: Path, capfd: pytest.CaptureFixture[str], flag: str, name: str, found: str, right: str
) -> None:
    assert call_main(freezemodel_serve.main, [f"--{flag}", str(made / name)]) == 1
    said = capfd.readouterr()
    assert said.err == (
        f"error: {made / name} is {found}; "
        f"use `python {show_path(project.ROOT / 'freezemodel_serve.py')} --{right} {made / name}`\n"
    )
    assert said.out == ""


def test_what_only_the_worker_finds_wrong_is_one_line(frozen_model: Path) -> None:
    flags = ["--frozen-model", str(frozen_model), "--outputs", "nowhere", "--port", "0"]
    command = [sys.executable, str(project.ROOT / "freezemodel_serve.py"), *flags]
    done = subprocess.run(command, capture_output=True, text=True, env=environment())
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"error: no tensor nowhere:0 in the graph; .*\n", done.stderr)


def test_serves_a_checkpoint(made: Path) -> None:
    client = freezemodel_serve.create_app(checkpoint=made / "graph.ckpt").test_client()
    assert post(client, json.dumps({"x": [ROW, [5] * 10]})) == (200, {"y": [[False], [True]]})


@pytest.mark.parametrize("kind", ["savedmodel_from_source", "savedmodel_from_checkpoint", "savedmodel_from_frozen"])
def test_serves_a_saved_model(made: Path, kind: str) -> None:
    client = freezemodel_serve.create_app(saved_model=made / kind).test_client()
    assert post(client, json.dumps({"x": [ROW, [5] * 10]})) == (200, {"y": [[False], [True]]})


def test_serves_the_highest_version_of_a_tensorflow_2_module(tmp_path: Path) -> None:
    for version in (2, 10, 9):
        module = tf.Module()
        module.factor = tf.Variable(float(version))
        spec = tf.TensorSpec([None], tf.float32, name="x")
        times = tf.function(lambda x, module=module: {"product": x * module.factor}, input_signature=[spec])
        tf.saved_model.save(module, str(tmp_path / str(version)), {"serving_default": times})
    client = freezemodel_serve.create_app(saved_model=tmp_path).test_client()
    assert post(client, '{"x": [1, 2]}') == (200, {"y": [10, 20]})
    app = freezemodel_serve.create_app(saved_model=tmp_path / "2", signature="serving_default", tag_set="serve")
    assert post(app.test_client(), '{"x": [1, 2]}') == (200, {"y": [2, 4]})


def test_serves_a_keras_model(tmp_path: Path) -> None:
    keras = tf.keras
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, kernel_initializer="ones")])
    model.export(str(tmp_path / "keras"), verbose=False)
    client = freezemodel_serve.create_app(saved_model=tmp_path / "keras").test_client()
    assert post(client, '{"x": [[1, 2, 3]]}') == (200, {"y": [[6, 6]]})


def test_serves_a_keras_file_with_classes_of_ones_own(tmp_path: Path) -> None:
    """It is frozen by a process of its own, into a folder that ends with the server."""
    custom = keras_models.write_custom(tmp_path)
    (tmp_path / "temporary").mkdir()
    program = (
        "import keras, layers_of_mine; "
        "keras.Sequential([keras.Input((2,), name='row'), layers_of_mine.Twice(name='twice')]).save('m.keras')"
    )
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, env=environment(), check=True, capture_output=True)
    words = ("--keras", tmp_path / "m.keras", "--custom-objects", custom)
    with serving(*words, TMPDIR=str(tmp_path / "temporary")) as server:
        assert server.printed[0].startswith(f"serving {tmp_path / 'm.keras'} on ")
        assert server.predict({"x": [[1, 2]]}) == (200, {"y": [[2, 4]]})
        assert [file.name for file in (tmp_path / "temporary").rglob("*.pb")] == ["frozen_model.pb"]
        server.process.send_signal(signal.SIGINT)
        assert server.process.communicate() == ("", "")
    assert not list((tmp_path / "temporary").rglob("*.pb"))


def test_serves_layers_with_weights_beside_them_by_their_keys(tmp_path: Path) -> None:
    model = keras_models.save(keras_models.lists, tmp_path / "m.json")
    model.save_weights(tmp_path / "one.weights.h5")
    words = ("--keras", tmp_path / "m.json", "--weights", tmp_path / "one.weights.h5", "--outputs", "right")
    feed = {"one": [[1, 2, 3, 4]], "two_2": [[0, 1, 2, 3]]}
    wanted = model.predict([np.array(feed["one"], "f"), np.array(feed["two_2"], "i")], verbose=0)[1]
    with serving(*words) as server:
        status, answer = server.predict({"x": feed})
    assert (status, list(answer)) == (200, ["y"])
    np.testing.assert_allclose(answer["y"], wanted, rtol=1e-5)


def test_a_keras_file_that_is_refused_is_one_line(run: Run, tmp_path: Path) -> None:
    keras_models.save(keras_models.with_lambda, tmp_path / "m.keras")
    done = run("freezemodel_serve", "--keras", tmp_path / "m.keras")
    assert (done.status, done.stdout) == (1, "")
    assert done.stderr.startswith(f"error: {tmp_path / 'm.keras'} is refused; the layer double holds Python code")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "flags",
    [
        ("--saved-model", "a", "--checkpoint", "b"),
        ("--keras", "a", "--saved-model", "b"),
        ("--weights", "a"),
        ("--timeout", "0"),
        ("--max-batch-size", "0"),
        ("--port", "-1"),
        ("--port", "8500", "--grpc-port", "8500"),
        ("--model-name", "a/b"),
        ("--model-label", "a:b"),
        ("--tag-set", "serve", "--workers", "none"),
    ],
)
def test_flags_that_do_not_fit(run: Run, flags: tuple[str, ...]) -> None:
    done = run("freezemodel_serve", *flags)
    assert (done.status, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_a_model_that_could_do_harm_is_not_served(tmp_path: Path) -> None:
    with tf1.Graph().as_default() as graph:
        x = tf1.placeholder(tf.string, [None], name="x")
        with tf1.control_dependencies([tf.io.write_file(str(tmp_path / "harm"), "harm")]):
            tf.identity(x, name="y")
    (tmp_path / "harm.pb").write_bytes(graph.as_graph_def().SerializeToString())
    with pytest.raises(UserError, match="WriteFile"):
        freezemodel_serve.create_app(tmp_path / "harm.pb", inputs="x", outputs="y")
    assert not (tmp_path / "harm").exists()
    app = freezemodel_serve.create_app(tmp_path / "harm.pb", inputs="x", outputs="y", trust_model=True)
    assert post(app.test_client(), '{"x": ["a"]}') == (200, {"y": ["a"]})


def test_trusted_all_the_same(frozen_model: Path) -> None:
    with serving("--frozen-model", frozen_model, "--trust-model") as server:
        assert server.predict({"x": [ROW]}) == (200, {"y": [[False]]})
