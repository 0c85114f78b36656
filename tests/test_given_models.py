"""What the flags of the server name: one model of any kind, or several by their names."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from conftest import Run


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (["--model", "a=x", "--model", "a=y"], "several models have one name; found --model a, a"),
        (["--model", "a"], "argument --model: expected NAME=PATH, got 'a'"),
        (["--model", "a/b=x"], "argument --model: expected a name without slash, colon and blank, got 'a/b'"),
        (
            ["--model", "a=x", "--saved-model", "b"],
            "--saved-model does not go with --model, which takes any kind but Keras",
        ),
        (["--model", "a=x", "--inputs", "b"], "--inputs is of one model; it does not go with --model"),
        (["--model", "a=x", "--model-name", "b"], "--model-name is of one model; it does not go with --model"),
    ],
)
def test_flags_that_do_not_go_together_are_told(run: Run, flags: list[str], error: str) -> None:
    done = run("freezemodel_serve", *flags)
    assert (done.status, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {error}; ")


def test_a_model_that_is_missing_or_of_another_kind_is_told(run: Run, tmp_path: Path) -> None:
    done = run("freezemodel_serve", "--model", f"a={tmp_path / 'none'}")
    assert done.status == 1
    assert done.stderr.startswith(f"error: nothing at {tmp_path / 'none'}; ")
    (tmp_path / "text").write_text("no model")
    done = run("freezemodel_serve", "--model", f"a={tmp_path / 'text'}")
    assert done.status == 1
    assert done.stderr.startswith(f"error: {tmp_path / 'text'} is ")


def test_what_cannot_be_watched_is_told(run: Run, made: Path, tmp_path: Path) -> None:
    done = run("freezemodel_serve", "--watch", "--keras", tmp_path / "m.keras")
    assert (done.status, done.stdout) == (2, "")
    assert re.search(r"--watch does not go with --keras; freeze the model, and serve that", done.stderr)
    shutil.make_archive(str(tmp_path / "m"), "zip", made / "savedmodel_from_source")
    done = run("freezemodel_serve", "--watch", "--saved-model", tmp_path / "m.zip")
    assert (done.status, done.stdout) == (1, "")
    assert (
        done.stderr
        == f"error: --watch and --keep-versions cannot look into the archive {tmp_path / 'm.zip'}; unpack it\n"
    )
    done = run("freezemodel_serve", "--watch", "--saved-model", tmp_path / "none")
    assert done.status == 1
    assert done.stderr.startswith(f"error: no SavedModel at {tmp_path / 'none'}; ")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--onnx", "m.onnx", "--frozen-model", "m.pb"), "one model at a time; found --frozen-model, --onnx"),
        (("--onnx", "m.onnx", "--tflite", "m.tflite"), "one model at a time; found --onnx, --tflite"),
        (("--tflite", "m.tflite", "--inputs", "x"), "--inputs goes with a model of TensorFlow"),
        (("--onnx", "m.onnx", "--trust-model"), "--trust-model goes with a model of TensorFlow"),
        (("--onnx", "m.onnx", "--signature", "x"), "--signature goes with --saved-model"),
    ],
)
def test_flags_of_tensorflow_models_do_not_go_with_files_of_other_runtimes(
    run: Run, words: tuple[str, ...], problem: str
) -> None:
    done = run("freezemodel_serve", *words)
    assert done.status == 2
    assert done.stderr.startswith(f"error: {problem}")


@pytest.mark.parametrize(
    ("flag", "missing", "requirements"),
    [
        ("--onnx", "onnxruntime", "requirements-serve.txt"),
        ("--tflite", "ai_edge_litert", "requirements-serve.txt"),
        ("--saved-model", "tensorflow", "requirements.txt"),
    ],
)
def test_a_missing_runtime_names_the_command(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flag: str, missing: str, requirements: str
) -> None:
    monkeypatch.setattr("serialization.cli.find_spec", lambda name: None if name == missing else name)
    monkeypatch.setattr("serialization.cli.ROOT", tmp_path)  # without a .venv, whose Python would be advised
    done = run("freezemodel_serve", flag, tmp_path / "model")
    assert done.status == 1
    assert f" has no module {missing}; `pip install -r {requirements}` installs all it needs\n" in done.stderr
    monkeypatch.undo()
    assert "has no module" not in run("freezemodel_serve", "--onnx", tmp_path / "model").stderr
