"""Every script that reads a model opens an archive of it in place, and says where in it the model lies."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import keras_models
import pytest
from conftest import PROJECT, Fails, Run, environment, inspect
from serving_models import serving

READS = {
    "checkpoint_restore": "--checkpoint",
    "savedmodel_from_checkpoint": "--checkpoint",
    "freezemodel_save": "--checkpoint",
    "freezemodel_load": "--frozen-model",
    "savedmodel_from_frozen": "--frozen-model",
    "checkpoint_from_frozen": "--frozen-model",
    "onnx_from_frozen": "--frozen-model",
    "tflite_from_frozen": "--frozen-model",
    "savedmodel_pretrained": "--saved-model",
    "checkpoint_from_savedmodel": "--saved-model",
}
WRITES = {
    "savedmodel_from_checkpoint": ("--export-dir", "1"),
    "savedmodel_from_frozen": ("--export-dir", "1"),
    "freezemodel_save": ("--frozen-model", "m.pb"),
    "checkpoint_from_frozen": ("--out", "m.ckpt"),
    "checkpoint_from_savedmodel": ("--out", "m.ckpt"),
    "onnx_from_frozen": ("--onnx", "m.onnx"),
    "tflite_from_frozen": ("--tflite", "m.tflite"),
}
PLACES = {"--checkpoint": "graph.ckpt", "--frozen-model": "frozen_model.pb", "--saved-model": "deep"}


@pytest.fixture(scope="session")
def archive(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A .tar.gz without that name: a folder with the toy's checkpoint, its frozen model and a SavedModel of it."""
    folder = tmp_path_factory.mktemp("packed")
    for file in (*made.glob("graph.ckpt.*"), made / "frozen_model.pb"):
        (folder / "toy").mkdir(exist_ok=True)
        shutil.copy(file, folder / "toy")
    shutil.copytree(made / "savedmodel_from_checkpoint", folder / "toy" / "deep" / "1")
    with tarfile.open(folder / "download", "w:gz") as packed:
        packed.add(folder / "toy", "toy")
    return folder / "download"


@pytest.mark.parametrize(("script", "flag"), READS.items(), ids=READS)
def test_a_script_that_reads_a_model(tmp_path: Path, run: Run, archive: Path, script: str, flag: str) -> None:
    option, name = WRITES.get(script, ("", ""))
    done = run(script, flag, archive, *((option, tmp_path / name) if option else ()))
    assert (done.status, done.stderr) == (0, "")
    place = archive / "toy" / ("" if flag == "--checkpoint" else PLACES[flag])
    assert f"using {place}, the only one in {archive}\n" in done.stdout
    assert "unpacked-model-" not in done.stdout, "lines name the archive"
    assert list(Path(tempfile.gettempdir()).glob("unpacked-model-*")) == []


def test_the_archive_s_name_is_that_of_the_result(tmp_path: Path, run: Run, archive: Path, results: Path) -> None:
    shutil.copy(archive, tmp_path / "house.tar.gz")
    assert run("freezemodel_save", "--checkpoint", tmp_path / "house.tar.gz").status == 0
    assert [file.name for file in results.iterdir()] == ["house.pb"]


@pytest.mark.parametrize("place", ["download/toy/frozen_model.pb", "model.zip/frozen_model.pb"])
def test_a_real_process_that_is_confined(tmp_path: Path, made: Path, archive: Path, place: str) -> None:
    """Where the folder of a model stands otherwise, an archive is a file, which has less rights in Landlock."""
    (tmp_path / "tmp").mkdir()
    shutil.copy(archive, tmp_path)
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as packed:
        packed.write(made / "frozen_model.pb", "frozen_model.pb")
    command = [
        sys.executable,
        str(PROJECT / "freezemodel_load.py"),
        "--frozen-model",
        tmp_path / place,
    ]
    places = {**environment(), "TMPDIR": str(tmp_path / "tmp")}
    done = subprocess.run(list(map(str, command)), env=places, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "proved: " in done.stdout
    assert list((tmp_path / "tmp").iterdir()) == []


def test_serving_unpacks_once(tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    model = archive / "toy" / "frozen_model.pb"
    with serving("--frozen-model", model, "--workers", 2) as server:
        assert server.printed[0].startswith(f"serving {model} on ")
        assert len(list((tmp_path / "tmp").glob("unpacked-model-*"))) == 1
        assert server.predict({"x": [[0.0] * 10]})[0] == 200
        server.process.terminate()
        server.process.communicate()
    assert list((tmp_path / "tmp").iterdir()) == []


def test_inspecting_one(run: Run, error: Fails, archive: Path) -> None:
    report = inspect(run, archive / "toy" / "frozen_model.pb")
    assert (report["kind"], report["path"]) == ("graph_def", str(archive / "toy" / "frozen_model.pb"))
    places = [str(archive / "toy"), *(str(archive / "toy" / name) for name in ("deep", "frozen_model.pb"))]
    line = error("model_inspect", archive)
    assert line.startswith(f"{archive} holds several models: {archive}/toy, ")
    assert all(place in line for place in places)


def test_keras_files_are_no_archives_but_may_be_in_one(tmp_path: Path, run: Run) -> None:
    keras_models.save(keras_models.sequential, tmp_path / "m.keras")
    with tarfile.open(tmp_path / "m.tar", "w") as packed:
        packed.add(tmp_path / "m.keras", "inner/m.keras")
    for path in (tmp_path / "m.keras", tmp_path / "m.tar"):
        done = run("freezemodel_save", "--keras", path, "--frozen-model", tmp_path / f"{path.name}.pb")
        assert (done.status, done.stderr) == (0, "")
    assert f"using {tmp_path}/m.tar/inner, the only one in {tmp_path}/m.tar\n" in done.stdout


def test_a_harmful_archive_is_refused(tmp_path: Path, error: Fails) -> None:
    with tarfile.open(tmp_path / "m.tar", "w") as packed:
        member = tarfile.TarInfo("../saved_model.pb")
        packed.addfile(member)
    assert error("savedmodel_pretrained", "--saved-model", tmp_path / "m.tar") == (
        "m.tar cannot be opened; its entry '../saved_model.pb' would be unpacked elsewhere; copy it here again, or "
        "unpack it and name the model"
    )
