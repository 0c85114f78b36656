"""A server that watches its model, as a process: under load, and with versions that are not to be served."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import threading
from pathlib import Path
from typing import Any

import pytest
from conftest import needs_landlock
from flask import Flask
from flask.testing import FlaskClient
from serving_models import PREDICT, ROW, find_source, post, serving, soon
from swapping import Load, count_swaps, get_resident_megabytes, write_numbered_versions

import freezemodel_serve
from serialization.serving.http.predict_route import SERVING
from serialization.serving.limits import Settings
from serialization.serving.served_models import ServedModels
from serialization.tensorflow import np, quiet, tf, tf1


@pytest.fixture(scope="module")
def numbered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SavedModels in folders 1 to 11, whose answers tell the version."""
    folder = tmp_path_factory.mktemp("numbered")
    write_numbered_versions(folder, range(1, 12))
    return folder


@pytest.mark.parametrize(("workers", "swaps"), [(1, 5), (2, 2)])
def test_versions_take_over_under_load_and_no_request_notices(
    numbered: Path, tmp_path: Path, workers: int, swaps: int
) -> None:
    """Over each of 64 connections, every answer is of one version, which is not older than that of the one before."""
    base = tmp_path / "house"
    shutil.copytree(numbered / "1", base / "1")
    with serving("--saved-model", base, "--watch", "--workers", workers) as server:
        memory = []

        async def replace_all() -> Load:
            async with Load(server.address, 64) as load:
                for number in range(2, swaps + 2):
                    shutil.copytree(numbered / str(number), base / str(number))
                    while min(load.versions) < number:
                        assert load.failed == []
                        await asyncio.sleep(0.05)
                    memory.append(get_resident_megabytes(server.process.pid))
            return load

        load = asyncio.run(replace_all())
        assert load.failed == []
        assert min(load.versions) == max(load.versions) == swaps + 1
        assert count_swaps(server.address[1]) == swaps
        answering = f'serving_model_workers{{model="house",version="{swaps + 1}"}} {workers}.0'
        assert answering in server.request("GET", "/metrics")[2].decode()
        assert memory[-1] - memory[min(2, len(memory) - 1)] < 60, memory
        server.process.send_signal(signal.SIGTERM)
        printed, errors = server.process.communicate()
        assert (server.process.returncode, errors) == (0, "")
        assert printed.splitlines() == [f"{base / str(number)} is served now" for number in range(2, swaps + 2)]


def write_harmful(folder: Path, numbered: Path, effect: Path) -> None:
    """The same inputs and outputs, and a file that is written."""
    with tf1.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None], name="x")
        with tf1.control_dependencies([tf.io.write_file(str(effect), "harm")]):
            outputs = {"variable": x * 2.0, "constant": x * 2.0}
        tf1.saved_model.simple_save(session, str(folder), {"x": x}, outputs)


@needs_landlock
def test_versions_that_are_not_to_be_served_are_told_once_and_the_old_one_goes_on(
    numbered: Path, tmp_path: Path
) -> None:
    base = tmp_path / "house"
    shutil.copytree(numbered / "1", base / "1")
    answer = {"y": {"variable": [1.0], "constant": [1.0]}}
    with serving("--saved-model", base, "--watch", "--workers", 2) as server:
        write_harmful(base / "2", numbered, tmp_path / "effect")
        (base / "3").symlink_to(numbered / "3")
        shutil.copytree(numbered / "4", base / "4")
        data = base / "4" / "variables" / "variables.data-00000-of-00001"
        data.rename(tmp_path / data.name)
        (base / "5").mkdir()
        (base / "5" / "saved_model.pb").write_bytes((numbered / "5" / "saved_model.pb").read_bytes()[:100])

        def refused() -> dict[str, str]:
            found: dict[str, str] = json.loads(server.request("GET", "/readyz")[2]).get("refused", {})
            return found

        assert soon(lambda: all(len(refused()) == 4 for _ in range(20))), "either worker may answer"
        reasons = refused()
        assert "WriteFile" in reasons["2"]
        assert "Permission denied" in reasons["3"]
        assert "--allow-read" in reasons["3"]
        assert f"{data.name} is missing" in reasons["4"]
        states = json.loads(server.request("GET", "/v1/models/house")[2])["model_version_status"]
        assert [(state["version"], state["state"]) for state in states] == [
            *((version, "END") for version in "5432"),
            ("1", "AVAILABLE"),
        ]
        assert states[1]["status"] == {"error_code": "FAILED_PRECONDITION", "error_message": reasons["4"]}
        for _ in range(4):
            assert server.predict({"x": [1]}) == (200, answer)
        metrics = server.request("GET", "/metrics")[2].decode()
        assert 'serving_versions_refused{model="house"} 4.0' in metrics
        (tmp_path / data.name).rename(data)
        assert soon(lambda: count_swaps(server.address[1]) == 1)

        def served() -> str:
            return str(json.loads(server.request("GET", "/readyz")[2])["model"])

        assert soon(lambda: all(served() == str(base / "4") for _ in range(20)))
        server.process.send_signal(signal.SIGTERM)
        printed, errors = server.process.communicate()
        assert sorted(errors.splitlines()) == [
            f"{base / version} is not served: {reasons[version]}" for version in "2345"
        ]
        assert printed == f"{base / '4'} is served now\n"
    assert not (tmp_path / "effect").exists()


def list_workers(server: int) -> list[str]:
    """The processes that the server has spawned, by their ids, the first ones first."""
    children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
    return [child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def write_aborting(folder: Path, *, at: str) -> None:
    """TensorFlow aborts at the negative size of a sparse matrix: when the model is loaded, or at its first run."""
    with quiet(), tf1.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None], name="x")
        weight = tf1.get_variable("weight", initializer=1.0, use_resource=True)
        size = tf.cast(tf.stack([-1 if at == "load" else 0 * tf.size(x) - 1, 5]), tf.int64)
        product = tf.raw_ops.SparseTensorDenseMatMul(
            a_indices=np.zeros([1, 2], np.int64), a_values=[1.0], a_shape=size, b=np.ones([5, 1], "float32")
        )
        total = tf.reduce_sum(product)
        outputs = {"variable": x * weight, "constant": x if at == "load" else x + total}
        start = tf.group(weight.assign(total)) if at == "load" else None
        session.run(weight.initializer)
        tf1.saved_model.simple_save(session, str(folder), {"x": x}, outputs, legacy_init_op=start)


@pytest.mark.parametrize("at", ["load", "run"])
def test_a_version_that_makes_tensorflow_abort_ends_no_worker(numbered: Path, tmp_path: Path, at: str) -> None:
    base = tmp_path / "house"
    shutil.copytree(numbered / "1", base / "1")
    write_aborting(tmp_path / "aborting", at=at)
    with serving("--saved-model", base, "--watch", "--workers", 2) as server:
        before = list_workers(server.process.pid)
        shutil.copytree(tmp_path / "aborting", base / "2")

        async def wait_for_refusal() -> Load:
            async with Load(server.address, 8) as load:
                while True:
                    states = [json.loads(server.request("GET", "/readyz")[2]).get("refused", {}) for _ in range(20)]
                    if all(states):
                        break
                    await asyncio.sleep(0.1)
            return load

        load = asyncio.run(wait_for_refusal())
        assert load.failed == []
        assert list_workers(server.process.pid) == before
        (reason,) = json.loads(server.request("GET", "/readyz")[2])["refused"].values()
        assert reason.startswith("the model made TensorFlow crash; found SIGABRT: ")
        shutil.copytree(numbered / "3", base / "3")
        assert soon(lambda: count_swaps(server.address[1]) == 1)
        server.process.send_signal(signal.SIGTERM)
        printed, errors = server.process.communicate()
        assert errors.splitlines() == [f"{base / '2'} is not served: {reason}"]
        assert printed == f"{base / '3'} is served now\n"


def open_watched(kind: str, path: Path) -> Flask:
    source = find_source(kind, path)
    return freezemodel_serve.load_app(ServedModels([source], freezemodel_serve.OPENERS, watch=True), Settings())


@pytest.mark.parametrize(
    ("kind", "place", "file"),
    [
        ("frozen_model", "frozen_model.pb", "frozen_model.pb"),
        ("saved_model", "savedmodel_from_source", "savedmodel_from_source/saved_model.pb"),
        ("checkpoint", "graph.ckpt", "graph.ckpt.index"),
        ("checkpoint", "", "checkpoint"),
    ],
)
def test_each_kind_of_model_is_loaded_again_when_a_file_is_replaced(
    toy: Path, kind: str, place: str, file: str
) -> None:
    app = open_watched(kind, toy / place)
    route = app.config[SERVING]
    (reloader,) = route.reloaders
    before = route.first.current
    for _ in range(2):
        reloader.poll(route)
    assert route.first.current is before
    shutil.copyfile(toy / file, toy / "new")
    (toy / "new").replace(toy / file)
    for _ in range(2):
        reloader.poll(route)
    assert route.first.current is not before
    assert route.first.current.served.name == before.served.name
    client: FlaskClient = app.test_client()
    assert post(client, json.dumps({"x": [ROW, [5] * 10]})) == (200, {"y": [[False], [True]]})


def test_a_request_keeps_the_version_that_it_began_with(numbered: Path, tmp_path: Path) -> None:
    """Its body comes after the next version has taken over; the session is closed when it is answered."""
    base = tmp_path / "house"
    shutil.copytree(numbered / "1", base / "1")
    app = open_watched("saved_model", base)
    route = app.config[SERVING]
    (reloader,) = route.reloaders
    first = route.first.current
    reading, writing = os.pipe()
    answers = []

    def ask() -> None:
        with os.fdopen(reading, "rb") as body:
            head = {"REQUEST_METHOD": "POST", "PATH_INFO": PREDICT, "CONTENT_TYPE": "application/json"}
            answers.append(route.respond({**head, "CONTENT_LENGTH": "12", "wsgi.input": body}))

    asking = threading.Thread(target=ask)
    asking.start()
    assert soon(lambda: route.uses(first))
    shutil.copytree(numbered / "2", base / "2")
    for _ in range(3):
        reloader.poll(route)
    assert route.first.current is not first
    assert route.uses(first)
    os.write(writing, b'{"x":[1, 1]}')
    asking.join()
    os.close(writing)
    assert json.loads(answers[0][0]) == {"y": {"variable": [1.0, 1.0], "constant": [1.0, 1.0]}}
    assert post(app.test_client(), '{"x":[1]}') == (200, {"y": {"variable": [2.0], "constant": [2.0]}})
    assert not route.uses(first)
    reloader.poll(route)
    with pytest.raises(Exception, match="closed"):
        first.predict(first.engine.example)


def test_versions_that_are_kept_answer_by_their_numbers(numbered: Path, tmp_path: Path) -> None:
    base = tmp_path / "house"
    for number in (1, 2, 10):
        shutil.copytree(numbered / str(number), base / str(number))
    source = find_source("saved_model", base)
    app = freezemodel_serve.load_app(
        ServedModels([source], freezemodel_serve.OPENERS, keep_versions=2), Settings(model_label="stable")
    )
    assert not app.config[SERVING].reloaders
    client: FlaskClient = app.test_client()

    def ask(place: str) -> tuple[int, Any]:
        answer = client.post(f"/v1/models/house{place}:predict", data='{"instances": [1]}')
        return answer.status_code, answer.get_json()

    for place, number in (
        *(("", 10), ("/versions/10", 10), ("/versions/2", 2), ("/versions/02", 2), ("/labels/stable", 10)),
    ):
        assert ask(place) == (200, {"predictions": [{"variable": number, "constant": number}]})
    assert ask("/versions/1") == (404, {"error": "Servable not found for request: Specific(house, 1)"})
    assert post(client, '{"x": [1]}') == (200, {"y": {"variable": [10], "constant": [10]}})
    tensor = {"name": "x", "shape": [1], "datatype": "FP32", "data": [1]}
    answer = client.post("/v2/models/house/versions/2/infer", json={"inputs": [tensor]}).get_json()
    assert (answer["model_version"], answer["outputs"][0]["data"]) == ("2", [2])
    assert client.post("/v2/models/house/versions/1/infer", json={"inputs": [tensor]}).status_code == 404
    assert client.get("/v2/models/house").get_json()["versions"] == ["2", "10"]
    assert client.get("/v2/models/house/versions/2/ready").get_json() == {"name": "house", "ready": True}
    states = client.get("/v1/models/house").get_json()["model_version_status"]
    assert [state["version"] for state in states] == ["10", "2"]
    (state,) = client.get("/v1/models/house/versions/2").get_json()["model_version_status"]
    assert (state["version"], state["state"]) == ("2", "AVAILABLE")
    paths = client.get("/openapi.json").get_json()["paths"]
    assert {f"/v1/models/house/versions/{number}:predict" for number in (2, 10)} <= paths.keys()
