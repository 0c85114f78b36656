"""savedmodel_from_frozen.py: a SavedModel without variables."""

from __future__ import annotations

from pathlib import Path

from conftest import Run

from serialization.formats.file_kind import ModelFile
from serialization.graph.signature import choose_signature_def
from serialization.sources import from_saved_model


def test_variables_folder_holds_no_variables(run: Run, toy: Path) -> None:
    done = run("savedmodel_from_frozen")
    assert (done.status, done.stderr) == (0, "")
    folder = toy / "savedmodel_from_frozen"
    assert list((folder / "variables").iterdir()) == []
    assert [line.split() for line in done.stdout.splitlines() if "empty" in line] == [[f"{folder}/variables/", "empty"]]


def test_tensors_keep_the_names_of_the_frozen_model(run: Run, made: Path, tmp_path: Path) -> None:
    words = ("--frozen-model", made / "frozen_model.pb", "--export-dir", tmp_path / "1")
    done = run("savedmodel_from_frozen", *words, "--inputs", "x=Placeholder/inputs_placeholder", "--overwrite")
    assert done.status == 0
    meta_graph = from_saved_model.choose_meta_graph(
        from_saved_model.read_saved_model(ModelFile(tmp_path / "1" / "saved_model.pb"))
    )
    recorded = choose_signature_def(meta_graph)
    assert {key: info.name for key, info in recorded.inputs.items()} == {"x": "Placeholder/inputs_placeholder:0"}
    assert {key: info.name for key, info in recorded.outputs.items()} == {"output1": "Accuracy/predictions:0"}


def test_wrong_output(run: Run, made: Path, tmp_path: Path) -> None:
    words = ("--frozen-model", made / "frozen_model.pb", "--export-dir", tmp_path / "1")
    done = run("savedmodel_from_frozen", *words, "--outputs", "Accuracy/prediction")
    assert done.status == 1
    assert "no tensor Accuracy/prediction:0 in the graph; the nearest are Accuracy/predictions:0" in done.stderr
    assert list(tmp_path.iterdir()) == []
