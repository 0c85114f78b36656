"""A model is found under its own flag; under another flag the error shows the right command."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from conftest import Fails, Run

from serialization.console import show_path
from serialization.errors import UserError
from serialization.files.model_flags import (
    MODEL_KINDS,
    choose_given_path,
    detect_model_kind,
    find_model,
    find_newest_model,
    require_something,
)
from serialization.project import ROOT

PLACES = {"frozen_model": "frozen_model.pb", "saved_model": "savedmodel_from_source", "checkpoint": "graph.ckpt"}
RUN = {
    "frozen_model": "freezemodel_load.py",
    "saved_model": "savedmodel_pretrained.py",
    "checkpoint": "checkpoint_restore.py",
}


@pytest.mark.parametrize("kind", MODEL_KINDS)
@pytest.mark.parametrize("other", MODEL_KINDS)
def test_a_model_under_another_flag_is_refused_with_the_right_command(made: Path, kind: str, other: str) -> None:
    path = made / PLACES[other]
    if kind == other:
        assert find_model(kind, path).path == path
        return
    with pytest.raises(UserError) as caught:
        find_model(kind, path)
    for script in ("freezemodel_serve", ""):
        right = f"{script}.py" if script else RUN[other]
        command = f"python {show_path(ROOT / right)} --{other.replace('_', '-')} {path}"
        assert caught.value.advise(script).endswith(f"; use `{command}`")


@pytest.mark.parametrize(
    ("script", "flag", "other", "right"),
    [
        ("freezemodel_save", "--checkpoint", "saved_model", "freezemodel_save.py --saved-model"),
        ("freezemodel_save", "--saved-model", "checkpoint", "freezemodel_save.py --checkpoint"),
        ("freezemodel_save", "--checkpoint", "frozen_model", "freezemodel_load.py --frozen-model"),
        ("freezemodel_serve", "--frozen-model", "checkpoint", "freezemodel_serve.py --checkpoint"),
        ("freezemodel_load", "--frozen-model", "checkpoint", "checkpoint_restore.py --checkpoint"),
        ("savedmodel_from_frozen", "--frozen-model", "checkpoint", "savedmodel_from_checkpoint.py --checkpoint"),
        ("savedmodel_from_checkpoint", "--checkpoint", "frozen_model", "savedmodel_from_frozen.py --frozen-model"),
        ("savedmodel_from_checkpoint", "--checkpoint", "saved_model", "savedmodel_pretrained.py --saved-model"),
    ],
)
def test_each_script_shows_the_command_that_goes_on_with_its_own_step(
    run: Run, made: Path, tmp_path: Path, script: str, flag: str, other: str, right: str
) -> None:
    path = made / PLACES[other]
    target = {"freezemodel_save": "--frozen-model", "savedmodel_from_frozen": "--export-dir"}.get(script)
    target = "--export-dir" if script == "savedmodel_from_checkpoint" else target
    done = run(script, flag, path, *((target, tmp_path / "new") if target else ()))
    assert done.status == 1
    name, _, words = right.partition(" ")
    assert done.stderr.endswith(f"; use `python {show_path(ROOT / name)} {words} {os.fspath(path)}`\n")


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_a_missing_model_is_reported(tmp_path: Path, kind: str) -> None:
    with pytest.raises(UserError, match=r"^no (frozen model|SavedModel|checkpoint) at "):
        find_model(kind, tmp_path / "none")


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_the_model_that_is_given_is_found(toy: Path, kind: str) -> None:
    paths = {other: toy / PLACES[other] if other == kind else None for other in MODEL_KINDS}
    assert choose_given_path(**paths) == (kind, toy / PLACES[kind])
    assert find_model(*choose_given_path(**paths)).path == toy / PLACES[kind]


def test_without_a_model_the_frozen_one_under_results_is_found(toy: Path) -> None:
    assert choose_given_path(frozen_model=None, checkpoint=None) == ("frozen_model", toy / "frozen_model.pb")


def test_the_kind_of_a_model_is_told_from_its_files(made: Path, tmp_path: Path) -> None:
    for kind, place in PLACES.items():
        assert detect_model_kind(made / place) == kind
    for name in ("saved_model.pb", "variables/variables.index"):
        assert detect_model_kind(made / PLACES["saved_model"] / name) in ("saved_model", "checkpoint")
    for name in ("graph.ckpt.index", "graph.ckpt.meta", "graph.ckpt.data-00000-of-00001", "checkpoint"):
        assert detect_model_kind(made / name) == "checkpoint"
    (tmp_path / "versions").mkdir()
    shutil.copytree(made / PLACES["saved_model"], tmp_path / "versions" / "7")
    assert detect_model_kind(tmp_path / "versions") == "saved_model"
    (tmp_path / "alone").mkdir()
    shutil.copyfile(made / "frozen_model.pb", tmp_path / "alone" / "any.pb")
    assert detect_model_kind(tmp_path / "alone") == "frozen_model"
    (tmp_path / "litert").write_bytes(b"\x1c\0\0\0TFL3" + bytes(24))
    assert detect_model_kind(tmp_path / "litert") == "tflite"
    with pytest.raises(UserError, match=r"^nothing at "):
        detect_model_kind(tmp_path / "none")


def test_the_newest_version_that_is_whole_is_found(toy: Path, tmp_path: Path) -> None:
    for version in ("1", "2", "10"):
        shutil.copytree(toy / PLACES["saved_model"], tmp_path / version)
    assert find_newest_model("saved_model", tmp_path).path == tmp_path / "10"
    (tmp_path / "10" / "variables" / "variables.data-00000-of-00001").unlink()
    assert find_newest_model("saved_model", tmp_path).path == tmp_path / "2"
    for version in ("1", "2"):
        shutil.rmtree(tmp_path / version)
    with pytest.raises(UserError, match=r"variables\.data-00000-of-00001"):
        find_newest_model("saved_model", tmp_path)


def test_a_path_without_anything_has_the_error_of_its_kind(made: Path, tmp_path: Path) -> None:
    for kind, name in PLACES.items():
        require_something(kind, made / name)
    require_something("keras", None)
    (tmp_path / "pipe.keras").write_bytes(b"")
    require_something("keras", tmp_path / "pipe.keras")
    for kind, what in {"frozen_model": "frozen model", "keras": "Keras model", "checkpoint": "checkpoint"}.items():
        with pytest.raises(UserError, match=f"^no {what} at {tmp_path}/gone; "):
            require_something(kind, tmp_path / "gone")


def test_a_missing_source_comes_before_a_target_that_exists(error: Fails, results: Path, tmp_path: Path) -> None:
    results.mkdir()
    for name in ("house.pb", "house.onnx", "house.tflite"):
        (results / name).touch()
    for script in ("freezemodel_save", "onnx_from_frozen", "tflite_from_frozen"):
        assert error(script, "--saved-model", tmp_path / "house").startswith("no SavedModel at house; ")
    (results / "house").mkdir()
    assert error("savedmodel_from_keras", "--keras", tmp_path / "house").startswith("no Keras model at house; ")


@pytest.mark.parametrize(("kind", "script"), [("onnx", "onnx_from_frozen"), ("tflite", "tflite_from_frozen")])
def test_a_model_of_another_runtime_is_found_or_named(made: Path, tmp_path: Path, kind: str, script: str) -> None:
    contents = {"onnx": b"\x08\x08\x3a\x00", "tflite": b"\x1c\0\0\0TFL3"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    assert find_model(kind, tmp_path / kind).path == tmp_path / kind
    (other,) = contents.keys() - {kind}
    with pytest.raises(UserError, match=f"{other} is .* model, not .* model; freezemodel_serve.py --{other} "):
        find_model(kind, tmp_path / other)
    with pytest.raises(UserError, match=f"; name the file; {script}.py makes one$"):
        find_model(kind, tmp_path)
    with pytest.raises(UserError, match=r"; use `python .*freezemodel_load.py --frozen-model "):
        find_model(kind, made / "frozen_model.pb")
    (tmp_path / "damaged").write_bytes(contents["onnx"][:3] + b"\x7f")
    with pytest.raises(UserError, match="it may be damaged; "):
        find_model(kind, tmp_path / "damaged")


def test_the_defaults_of_the_exporters_are_made_by_them(results: Path) -> None:
    for kind, script in {"onnx": "onnx_from_frozen.py", "tflite": "tflite_from_frozen.py"}.items():
        with pytest.raises(UserError, match=f"; make it with `python .*{script}`$"):
            find_model(kind, results / f"model.{kind}")
