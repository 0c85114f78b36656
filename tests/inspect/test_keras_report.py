"""What model_inspect.py says of a Keras model, and that Keras is not started for it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import keras_models
import pytest
from conftest import PROJECT, Run, environment, inspect

from serialization.formats.keras_files import KerasModel
from serialization.inspect.keras_report import describe_layers


@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
@pytest.mark.parametrize("major", [3, 2])
def test_layers_ends_and_parameters(major: int, name: str, run: Run, tmp_path: Path) -> None:
    model = keras_models.save(keras_models.sequential, tmp_path / name, major)
    report = inspect(run, tmp_path / name)
    assert report["kind"] == "keras"
    assert report["keras"]["version"].startswith(f"{major}.")
    assert report["keras"]["class"] == "Sequential"
    assert report["keras"]["inputs"] == [{"name": "rows", "dtype": "float32", "shape": [None, 10]}]
    assert report["keras"]["outputs"] == ["scores"]
    assert [(one["name"], one["class"]) for one in report["keras"]["layers"]][1::2] == [
        ("hidden", "Dense"),
        ("scores", "Dense"),
    ]
    assert report["parameters"] == model.count_params() == 54
    assert sorted(v["shape"] for v in report["variables"] if v["parameters"]) == [[2], [4], [4, 2], [10, 4]]
    shown = run("model_inspect", tmp_path / name).stdout
    assert "a Keras model" in shown
    assert f"Keras version: {major}." in shown
    assert "parameters: 54" in shown


def test_outputs_of_dicts_and_inner_models(tmp_path: Path) -> None:
    inner = {
        "class_name": "Functional",
        "config": {"name": "inner", "layers": [{"class_name": "Dense", "config": {"name": "d"}}]},
    }
    ends = {"output_layers": {"a": ["inner", 0, 0], "b": ["inner", 0, 1]}}
    report = describe_layers(KerasModel({"class_name": "Functional", "config": {"layers": [inner], **ends}}, ""))
    assert [one["name"] for one in report["layers"]] == ["inner", "inner/d"]
    assert (report["outputs"], report["version"], report["findings"]) == (["a", "b"], None, [])
    for listed, names in ([["x", 0, 0], ["y", 0, 0]], ["x", "y"]), (["x", 0, 0], ["x"]), ([], []), (None, []):
        config = {"class_name": "Functional", "config": {"layers": [], "output_layers": listed}}
        assert describe_layers(KerasModel(config, ""))["outputs"] == names


def test_a_lambda_is_a_finding(run: Run, tmp_path: Path) -> None:
    keras_models.save(keras_models.with_lambda, tmp_path / "m.h5")
    done = run("model_inspect", tmp_path / "m.h5", "--strict")
    assert done.status == 1
    finding = "would run code or read files: the layer double holds Python code (Lambda)"
    assert done.stderr == f"error: {tmp_path}/m.h5 has 1 finding; the first: {finding}; see above\n"


def test_weights_alone_and_layers_alone(run: Run, tmp_path: Path) -> None:
    with keras_models.as_keras(3):
        keras_models.save(keras_models.sequential, tmp_path / "m.json").save_weights(tmp_path / "m.weights.h5")
    weights = inspect(run, tmp_path / "m.weights.h5")
    assert (weights["keras"], weights["parameters"]) == (None, 54)
    layers = inspect(run, tmp_path / "m.json")
    assert (layers["format"], layers["variables"], layers["keras"]["outputs"]) == ("JSON", [], ["scores"])
    assert "layers alone, without their weights" in layers["notes"]


def test_neither_keras_nor_tensorflow_is_started_and_hdf5_is_read_confined(tmp_path: Path) -> None:
    keras_models.save(keras_models.sequential, tmp_path / "m.keras")
    code = (
        "import sys, model_inspect\n"
        f"assert model_inspect.main([{str(tmp_path / 'm.keras')!r}]) == 0\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    command = [sys.executable, str(PROJECT / "model_inspect.py"), str(tmp_path / "m.keras"), "--json"]
    shown = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True)
    assert json.loads(shown.stdout)["parameters"] == 54
