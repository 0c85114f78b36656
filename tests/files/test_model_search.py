"""The only model in a folder, or deeper, is found; of several the user has to choose."""

from __future__ import annotations

from pathlib import Path

import graphs
import pytest

from serialization.errors import UserError
from serialization.files.locate import find_checkpoint, find_frozen_model, find_saved_model
from serialization.files.locate_keras import find_keras
from serialization.files.model_search import list_models_inside, search_folder
from serialization.tensorflow import tf1


def export(folder: Path) -> Path:
    with tf1.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder("float32", [None], name="x")
        tf1.saved_model.simple_save(session, str(folder), {"x": x}, {"y": x + 1.0})
    return folder


def freeze(file: Path) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(graphs.freeze(graphs.classifier, ["logits"]).SerializeToString())
    return file


@pytest.mark.parametrize("deep", ["model", "model/1", "download/module/deep"])
def test_the_only_saved_model(tmp_path: Path, deep: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = export(tmp_path / "x" / deep)
    (tmp_path / "x" / "README.md").write_text("text")
    found = find_saved_model(tmp_path / "x")
    assert found.path == folder
    assert f"{folder}" in capsys.readouterr().out


def test_several_saved_models(tmp_path: Path) -> None:
    export(tmp_path / "x" / "a")
    export(tmp_path / "x" / "b" / "deep")
    with pytest.raises(UserError) as caught:
        find_saved_model(tmp_path / "x")
    assert str(caught.value) == (
        f"{tmp_path}/x holds several SavedModels: {tmp_path}/x/a, {tmp_path}/x/b/deep; name one of them"
    )


def test_versions_are_one_model(tmp_path: Path) -> None:
    export(tmp_path / "x" / "house" / "1")
    export(tmp_path / "x" / "house" / "2")
    assert find_saved_model(tmp_path / "x").path == tmp_path / "x" / "house" / "2"


def test_a_model_that_lies_in_the_folder_itself_is_not_ambiguous(tmp_path: Path) -> None:
    prefix = graphs.save(tmp_path, graphs.classifier)
    (tmp_path / "old").mkdir()
    graphs.save(tmp_path / "old", graphs.classifier)
    assert find_checkpoint(tmp_path).prefix == prefix


def test_the_folders_of_the_models_that_tensorflow_s_zoo_has(tmp_path: Path) -> None:
    """A frozen graph, a checkpoint with its graph as text, and a SavedModel beside each other, one folder down."""
    folder = tmp_path / "x" / "ssd"
    folder.mkdir(parents=True)
    prefix = graphs.save(folder, graphs.classifier)
    frozen = freeze(folder / "frozen_inference_graph.pb")
    (folder / "graph.pbtxt").write_text('node { name: "w" op: "VariableV2" }')
    export(folder / "saved_model")
    (folder / ".hidden").mkdir()
    freeze(folder / ".hidden" / "other.pb")
    assert find_checkpoint(tmp_path / "x").prefix == prefix
    assert find_frozen_model(tmp_path / "x").path == frozen
    assert find_saved_model(tmp_path / "x").path == folder / "saved_model"
    assert {kind for kind, _ in list_models_inside(tmp_path / "x")} == {"checkpoint", "frozen_model", "saved_model"}
    with pytest.raises(UserError, match="holds several models: "):
        search_folder(tmp_path / "x", "", "models", print)


def test_a_keras_model_below(tmp_path: Path) -> None:
    (tmp_path / "x" / "deep").mkdir(parents=True)
    (tmp_path / "x" / "deep" / "model.json").write_text('{"class_name": "Sequential", "config": {}}')
    with pytest.raises(UserError, match=r"x/deep/model.json is the layers .*; found no weights beside it"):
        find_keras(tmp_path / "x")


def test_nothing_is_found_in_a_model(tmp_path: Path) -> None:
    """The variables of a SavedModel are no checkpoint of their own."""
    export(tmp_path / "x" / "1")
    (tmp_path / "x" / "1" / "assets").mkdir(exist_ok=True)
    freeze(tmp_path / "x" / "1" / "assets" / "m.pb")
    assert list_models_inside(tmp_path / "x") == (("saved_model", tmp_path / "x"),)
    assert list_models_inside(tmp_path) == (("saved_model", tmp_path / "x"),)
