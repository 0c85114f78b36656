"""The files in deploy/ for containers, Kubernetes and KServe: valid, and true of the server. No cluster is here."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from conftest import PROJECT, make_environment, needs_landlock
from proxies import DEPLOY
from replicas import write_same
from serving_models import READ_ONLY, Server, serving

from serialization.serving.limits import Settings

CONTAINERFILE = DEPLOY / "Containerfile"
VALIDATORS = {"kubernetes": ("deploy", "1.37"), "kserve": ("kserve",)}  # the environment, and further words
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def validate(name: str, file: Path) -> subprocess.CompletedProcess[str]:
    environment, *words = VALIDATORS[name]
    python = make_environment(environment) / "bin" / "python"
    script = PROJECT / "tests" / "deployments" / f"validate_{name}.py"
    return subprocess.run([python, "-B", script, file, *words], capture_output=True, text=True)


def read_resources(name: str) -> dict[str, Any]:
    """The resources of a valid file, by kind."""
    done = validate(name, DEPLOY / f"{name}.yaml")
    assert done.returncode == 0, done.stderr
    resources = {resource["kind"]: resource for resource in json.loads(done.stdout)}
    assert len(resources) == len(json.loads(done.stdout))
    return resources


@pytest.fixture(scope="module")
def kubernetes() -> dict[str, Any]:
    return read_resources("kubernetes")


@pytest.fixture(scope="module")
def kserve() -> dict[str, Any]:
    return read_resources("kserve")


@pytest.mark.parametrize("name", VALIDATORS)
@pytest.mark.parametrize(
    ("right", "wrong"),
    [("readOnlyRootFilesystem", "readOnlyRootFileSystem"), ("maxReplicas: 10", "maxReplicas: ten")],
)
def test_a_mistake_in_the_files_is_found(tmp_path: Path, name: str, right: str, wrong: str) -> None:
    text = (DEPLOY / f"{name}.yaml").read_text()
    assert right in text
    (tmp_path / "wrong.yaml").write_text(text.replace(right, wrong))
    done = validate(name, tmp_path / "wrong.yaml")
    assert done.returncode == 1
    assert wrong.split()[-1] in done.stderr


class Image(NamedTuple):
    """What deploy/Containerfile says: the files that it copies, the user, the words of its command and its port."""

    copied: Sequence[str]
    user: int
    command: Sequence[str]
    default: Sequence[str]
    port: int


@pytest.fixture(scope="module")
def image() -> Image:
    lines = [line.split(maxsplit=1) for line in CONTAINERFILE.read_text().splitlines() if line and line[0] != "#"]
    assert {words[0] for words in lines} <= {
        "FROM",
        "WORKDIR",
        "COPY",
        "RUN",
        "ENV",
        "USER",
        "EXPOSE",
        "ENTRYPOINT",
        "CMD",
    }
    one = {words[0]: words[1] for words in lines}
    copied = [name for words in lines if words[0] == "COPY" for name in words[1].split()[:-1]]
    default = json.loads(one["CMD"])
    return Image(copied, int(one["USER"].split(":")[0]), json.loads(one["ENTRYPOINT"]), default, int(one["EXPOSE"]))


@contextmanager
def run_container(image: Image, arguments: Sequence[str], folder: Path, changed: Mapping[str, str]) -> Iterator[Server]:
    """The command of the image on the files that it has, with the packages that it installs, on a free port.

    Nothing can be written. `changed` has parts of the arguments, and those in their place.
    """
    app = folder / "app"
    app.mkdir()
    for name in image.copied:
        copy = shutil.copytree if name.endswith("/") else shutil.copy
        copy(PROJECT / name, app / name)
    python, script, *words = image.command
    assert (python, script) == ("python", "/app/freezemodel_serve.py")
    given = [*words, *arguments]
    for old, new in changed.items():
        assert any(old in word for word in given), f"no {old} in {given}"
        given = [word.replace(old, new) for word in given]
    below = [sys.executable, "-c", READ_ONLY]
    light = str(make_environment("serve") / "bin" / "python")
    with serving(*given, lines=1, below=below, python=light, project=app, PYTHONPATH=str(PROJECT)) as server:
        yield server
        server.process.send_signal(signal.SIGTERM)
        assert server.process.communicate(timeout=60)[1] == ""
        assert server.process.returncode == 0


def number_after(flag: str, words: Sequence[str]) -> int:
    return int(words[words.index(flag) + 1])


def check_probes(container: Mapping[str, Any], server: Server, name: str) -> None:
    """The server's port is the one that is probed, and it answers each probe."""
    ports = {port.get("name"): port["containerPort"] for port in container["ports"]}
    assert list(ports.values()) == [number_after("--port", container["args"])]
    probes = [container[probe]["httpGet"] for probe in PROBES if probe in container]
    assert probes
    for probe in probes:
        assert ports.get(probe["port"], probe["port"]) in ports.values()
        status, _, body = server.request("GET", probe["path"].replace("{{.Name}}", name))
        assert status == 200, (probe, body)


@needs_landlock
def test_the_server_that_kubernetes_starts(kubernetes: dict[str, Any], image: Image, tmp_path: Path) -> None:
    pod = kubernetes["Deployment"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    model = write_same(tmp_path / "model.onnx")
    (mount,) = [mount for mount in container["volumeMounts"] if mount["name"] == "models"]
    changed = {f"{mount['mountPath']}/model.onnx": str(model), "5000": "0"}
    scraped = {key.partition("/")[2]: value for key, value in pod["metadata"]["annotations"].items()}
    assert scraped["port"] == str(number_after("--port", container["args"])) == str(image.port)
    (metric,) = kubernetes["HorizontalPodAutoscaler"]["spec"]["metrics"]
    with run_container(image, container["args"], tmp_path, changed) as server:
        check_probes(container, server, "")
        assert server.predict({"x": [3]}) == (200, {"y": [3.0]})
        page = server.request("GET", scraped["path"])[2].decode()
        assert re.search(rf"^{metric['pods']['metric']['name']} \d", page, re.MULTILINE)
        assert server.process.stdout is not None
        assert "curl" in server.process.stdout.readline()
        assert '"path":"' in server.process.stdout.readline()  # --log-format json


def test_the_numbers_of_kubernetes_fit_the_server(kubernetes: dict[str, Any], image: Image) -> None:
    deployment = kubernetes["Deployment"]["spec"]
    pod = deployment["template"]["spec"]
    (container,) = pod["containers"]
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] > pause + number_after("--grace", container["args"])
    assert pod["securityContext"]["runAsUser"] == image.user > 0
    labels = deployment["template"]["metadata"]["labels"]
    chosen = [deployment["selector"], kubernetes["PodDisruptionBudget"]["spec"]["selector"]]
    assert [selector["matchLabels"] for selector in chosen] == [labels, labels]
    assert kubernetes["Service"]["spec"]["selector"] == labels
    assert [port["targetPort"] for port in kubernetes["Service"]["spec"]["ports"]] == [container["ports"][0]["name"]]
    scaled = kubernetes["HorizontalPodAutoscaler"]["spec"]
    assert scaled["scaleTargetRef"]["name"] == kubernetes["Deployment"]["metadata"]["name"]
    assert scaled["minReplicas"] > kubernetes["PodDisruptionBudget"]["spec"]["maxUnavailable"]
    assert int(scaled["metrics"][0]["pods"]["target"]["averageValue"]) < Settings().max_in_flight


@needs_landlock
def test_the_server_that_kserve_starts(kserve: dict[str, Any], image: Image, tmp_path: Path) -> None:
    """With the service's name in the place of {{.Name}}, as KServe puts it."""
    runtime, service = kserve["ServingRuntime"], kserve["InferenceService"]
    name, asked = service["metadata"]["name"], service["spec"]["predictor"]["model"]
    assert asked["runtime"] == runtime["metadata"]["name"]
    assert asked["protocolVersion"] in runtime["spec"]["protocolVersions"]
    assert asked["modelFormat"]["name"] in [known["name"] for known in runtime["spec"]["supportedModelFormats"]]
    (container,) = runtime["spec"]["containers"]
    assert container["securityContext"]["runAsUser"] == image.user
    model = write_same(tmp_path / "model.onnx")
    changed = {"/mnt/models/model.onnx": str(model), "{{.Name}}": name, "8080": "0"}
    with run_container(image, container["args"], tmp_path, changed) as server:
        check_probes(container, server, name)
        body = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [3]}]}
        status, _, answer = server.request("POST", f"/v2/models/{name}/infer", json.dumps(body))
        assert (status, json.loads(answer)["outputs"][0]["data"]) == (200, [3.0])
        assert server.request("GET", runtime["spec"]["annotations"]["prometheus.kserve.io/path"])[0] == 200


@needs_landlock
def test_the_command_of_the_image_without_arguments(image: Image, tmp_path: Path) -> None:
    model = write_same(tmp_path / "model.onnx")
    with run_container(image, image.default, tmp_path, {"/models/model.onnx": str(model)}) as server:
        assert server.predict({"x": [3]}) == (200, {"y": [3.0]})


def test_the_linter_of_containerfiles_has_no_advice(tmp_path: Path) -> None:
    hadolint = str(make_environment("deploy") / "bin" / "hadolint")
    words = [hadolint, "--no-color", "--failure-threshold", "style"]
    done = subprocess.run([*words, str(CONTAINERFILE)], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    (tmp_path / "Containerfile").write_text(CONTAINERFILE.read_text().replace(" --no-cache-dir", ""))
    done = subprocess.run([*words, str(tmp_path / "Containerfile")], capture_output=True, text=True)
    assert done.returncode == 1
    assert "--no-cache-dir" in done.stdout


def test_the_image_is_built() -> None:
    """Where one of the programs that do so is here, and gets the base image."""
    base = re.findall(r"^FROM (\S+)$", CONTAINERFILE.read_text(), re.MULTILINE)[-1]
    found = [name for name in ("podman", "docker") if shutil.which(name)]
    builders = [name for name in found if subprocess.run([name, "pull", base], capture_output=True).returncode == 0]
    if not builders:
        pytest.skip(f"optional: no podman or docker here that gets the image {base}")
    tag = "serialization-test"
    subprocess.run([builders[0], "build", "--file", CONTAINERFILE, "--tag", tag, PROJECT], check=True)
    done = subprocess.run([builders[0], "run", "--rm", "--read-only", tag, "--version"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "onnxruntime" in done.stdout
