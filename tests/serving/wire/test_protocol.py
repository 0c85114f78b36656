"""The name and the version of a model in URLs, as its path gives them."""

from __future__ import annotations

from pathlib import Path

import pytest

from serialization.serving.limits import Settings
from serialization.serving.wire.protocol import ServedModel, name_served_model


@pytest.mark.parametrize(
    ("path", "name", "version", "platform"),
    [
        ("frozen_model.pb", "frozen_model", "1", "tensorflow_graphdef"),
        ("my/model.ckpt", "model", "1", "tensorflow_graphdef"),
        ("export/", "export", "1", "tensorflow_savedmodel"),
        ("export/17/", "export", "17", "tensorflow_savedmodel"),
        ("export/0017/", "export", "17", "tensorflow_savedmodel"),
        (f"export/{1 << 63}/", f"{1 << 63}", "1", "tensorflow_savedmodel"),
        ("my.model.v2/", "my.model.v2", "1", "tensorflow_savedmodel"),
        ("a b:c/", "a_b_c", "1", "tensorflow_savedmodel"),
        ("modèle.pb", "modèle", "1", "tensorflow_graphdef"),
    ],
)
def test_a_model_is_called_as_its_path(tmp_path: Path, path: str, name: str, version: str, platform: str) -> None:
    if path.endswith("/"):
        (tmp_path / path).mkdir(parents=True)
    assert name_served_model(tmp_path / path, Settings()) == ServedModel(name, version, None, platform)


def test_flags_name_it_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "export" / "3").mkdir(parents=True)
    settings = Settings(model_name="m", model_label="stable")
    expected = ServedModel("m", "3", "stable", "tensorflow_savedmodel")
    assert name_served_model(tmp_path / "export" / "3", settings) == expected
    monkeypatch.chdir(tmp_path / "export")
    assert name_served_model(Path("3"), settings) == expected
    assert name_served_model(Path("3"), Settings()).name == "export"
