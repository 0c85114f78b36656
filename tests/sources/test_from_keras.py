"""What is looked at before Keras loads a model, and what its errors become."""

from __future__ import annotations

import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import keras_models
import pytest

from serialization.errors import UserError
from serialization.files.locate_keras import KerasFile, find_keras
from serialization.sources.from_keras import explain_keras, load_custom_objects, prepare_keras, seek_in_members


@pytest.fixture
def found(tmp_path: Path) -> KerasFile:
    keras_models.save(keras_models.sequential, tmp_path / "m.keras")
    return find_keras(tmp_path / "m.keras")


def test_keras_gets_a_private_name_that_tells_the_format(found: KerasFile, tmp_path: Path) -> None:
    (tmp_path / "m.keras").rename(tmp_path / "no ending")
    with prepare_keras(find_keras(tmp_path / "no ending")) as ready:
        assert ready.file is not None
        assert ready.file.suffix == ".keras"
        assert ready.file.resolve() == tmp_path / "no ending"
    assert not ready.file.exists()


def test_two_texts_of_layers_in_an_hdf5_file_are_refused(tmp_path: Path) -> None:
    """The scan reads the first that it finds, the library the one that the file's tree names."""
    keras_models.save(keras_models.with_lambda, tmp_path / "m.h5")
    keras_models.save(keras_models.sequential, tmp_path / "good.h5")
    bad, good = (bytearray((tmp_path / name).read_bytes()) for name in ("m.h5", "good.h5"))
    config = find_keras(tmp_path / "good.h5").model.config
    assert config != find_keras(tmp_path / "m.h5").model.config
    found = find_keras(tmp_path / "m.h5")
    decoy = KerasFile(found.file, type(found.model)(config, "3.15.1"))
    with pytest.raises(UserError, match="it holds two model_config"), prepare_keras(decoy):
        raise AssertionError
    assert len(bad) != len(good)


def test_classes_of_the_users_file(tmp_path: Path) -> None:
    (tmp_path / "mine_here.py").write_text("from json import dumps\nclass A: pass\ndef f(): pass\nX = 1\n")
    assert sorted(load_custom_objects(tmp_path / "mine_here.py")) == ["A", "f"]


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (ValueError("Unknown layer: 'Mine'. Please ensure"), "needs Mine, which Keras does not have"),
        (TypeError("Could not locate class 'Mine'. Make sure"), "needs Mine, which Keras does not have"),
        (
            RuntimeError("something\nelse"),
            "of Keras 3.15.1 cannot be loaded; something; load it with the Keras that saved it, and save it again",
        ),
        (
            ValueError("Sequential model 's' has no defined inputs yet."),
            "it was saved before it was built: ",
        ),
        (ValueError("Model 's' has not yet been built."), "; call it once on an example, which builds its layers, and"),
    ],
)
def test_what_keras_raises_becomes_a_line(found: KerasFile, error: Exception, wanted: str) -> None:
    with pytest.raises(UserError) as caught, explain_keras(found):
        raise error
    assert wanted in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_custom_class_by_its_name_alone(tmp_path: Path) -> None:
    """An old .h5 file names neither module nor package."""
    layers: dict[str, Any] = {
        "class_name": "Sequential",
        "config": {"name": "s", "layers": []},
        "keras_version": "2.9.0",
    }
    layers["config"]["layers"] = [{"class_name": "Mine", "config": {"name": "m", "batch_input_shape": [None, 2]}}]
    (tmp_path / "m.json").write_text(json.dumps(layers))
    (tmp_path / "w.index").touch()
    found = find_keras(tmp_path / "m.json")
    with prepare_keras(found) as ready, pytest.raises(UserError, match="needs Mine"), explain_keras(found):
        ready.keras.models.model_from_json(ready.layers)


def test_two_members_of_an_archive_are_read_in_turn() -> None:
    """Of Python 3.12.1 and 3.13.0 each of them moves the place of the other."""
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w") as archive:
        archive.writestr("weights", b"0123456789")
        archive.writestr("words", b"abc")
    with seek_in_members(), zipfile.ZipFile(written) as archive, archive.open("weights") as weights:
        assert weights.read(2) == b"01"
        assert archive.read("words") == b"abc"
        weights.seek(5, os.SEEK_SET)
        assert archive.read("words") == b"abc"
        weights.seek(2, os.SEEK_CUR)
        assert weights.read() == b"789"
