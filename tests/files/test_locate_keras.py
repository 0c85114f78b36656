"""A Keras model is found by its file, by its folder, or by its layers with the weights beside them."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import pytest
from conftest import PROJECT

from serialization.errors import UserError
from serialization.files.locate_keras import find_keras, is_legacy, list_keras_files
from serialization.tensorflow import import_quietly, np

LAYERS = json.dumps({"class_name": "Sequential", "module": "keras", "config": {}, "keras_version": "3.1"})


def write_hdf5(path: Path, **attributes: str) -> Path:
    np.ones(1)
    with import_quietly("h5py").File(path, "w") as file:
        for name, text in attributes.items():
            file.attrs[name] = text
    return path


def fail(path: Path, weights: Path | None = None) -> str:
    with pytest.raises(UserError) as caught:
        find_keras(path, weights)
    return str(caught.value).replace(f"{path.parent}/", "")


def test_an_hdf5_file_of_a_whole_model(tmp_path: Path) -> None:
    file = write_hdf5(tmp_path / "m.h5", model_config=LAYERS, keras_version="2.9.0")
    found = find_keras(file)
    assert (found.path, found.model.version, found.model.major, found.weights) == (file, "2.9.0", 2, None)
    assert find_keras(tmp_path).path == file
    assert fail(file, file) == "m.h5 holds its own weights; --weights goes with layers alone"


def test_weights_beside_layers(tmp_path: Path) -> None:
    layers = tmp_path / "m.json"
    layers.write_text(LAYERS)
    assert "found no weights beside it; name them with --weights" in fail(layers)
    one = write_hdf5(tmp_path / "other.h5", layer_names="x")
    assert find_keras(layers).weights == one
    assert find_keras(tmp_path).weights == one
    assert {one, layers} <= set(list_keras_files(tmp_path))
    assert one in list_keras_files(layers)
    second = write_hdf5(tmp_path / "second.h5")
    assert fail(layers) == "several files beside m.json hold weights: other.h5, second.h5; choose with --weights"
    assert find_keras(layers, second).weights == second
    own = write_hdf5(tmp_path / "m.weights.h5")
    assert find_keras(layers).weights == own
    assert is_legacy(one)
    assert not is_legacy(own)
    (tmp_path / "tf.index").touch()
    assert find_keras(layers, tmp_path / "tf").weights == tmp_path / "tf"
    assert fail(layers, tmp_path / "none").startswith("no weights at none; name an HDF5 file")
    assert "is layers" not in fail(layers, layers)
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("metadata.json", "{}")
        archive.writestr("config.json", LAYERS)
        archive.writestr("model.weights.h5", own.read_bytes())
    assert fail(layers, tmp_path / "m.keras").startswith("m.keras is a whole Keras model, not an HDF5 file; name it")


def test_weights_alone_say_what_is_needed(tmp_path: Path) -> None:
    line = fail(write_hdf5(tmp_path / "w.h5"))
    assert line.startswith("w.h5 is weights without a model, as Keras writes them (HDF5); name the JSON of its layers")


def test_other_models_are_sent_to_their_scripts(tmp_path: Path) -> None:
    assert "savedmodel_pretrained.py --saved-model" in fail(PROJECT / "pretrainedresnet" / "1")
    (tmp_path / "c.index").touch()
    assert "checkpoint_restore.py --checkpoint" in fail(tmp_path / "c")
    assert fail(tmp_path / "none") == (
        "no Keras model at none; name a .keras or .h5 file, or the JSON of a model's layers"
    )
    (tmp_path / "d").mkdir()
    assert fail(tmp_path / "d") == (
        "no Keras model in d; it is empty; name a .keras or .h5 file, or the JSON of a model's layers"
    )
    (tmp_path / "text").write_text("text")
    assert fail(tmp_path / "text").startswith("text is a text file, not a Keras model")


def test_several_models_in_a_folder(tmp_path: Path) -> None:
    for name in ("a.h5", "b.h5"):
        write_hdf5(tmp_path / name, model_config=LAYERS)
    assert fail(tmp_path).endswith("holds several Keras models: a.h5, b.h5; name one of them")


def test_damaged_layers(tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text('{"class_name": "Model", "config": {')
    assert fail(tmp_path / "m.json").startswith("m.json is damaged; the JSON is no JSON: ")
