"""The attributes of an HDF5 file's root, read from its bytes as h5py reads them."""

from __future__ import annotations

from pathlib import Path

import fuzzing
import pytest

from serialization.formats.hdf5 import read_attribute
from serialization.tensorflow import import_quietly, np


@pytest.fixture(scope="module")
def h5py() -> object:
    np.ones(1)
    return import_quietly("h5py")


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("length", [1, 8, 5000, 100_000])
def test_a_text_of_free_or_fixed_length(tmp_path: Path, h5py: object, libver: str, length: int) -> None:
    text = "{}" + "a" * length
    with h5py.File(tmp_path / "m.h5", "w", libver=libver) as file:  # type: ignore[attr-defined]
        file.attrs["keras_version"] = "3.15.1"
        file.attrs["backend"] = np.bytes_("tensorflow")
        file.attrs["model_config"] = text
        file.create_dataset("weights", data=np.ones(1000))
    data = (tmp_path / "m.h5").read_bytes()
    assert read_attribute(data, "keras_version") == "3.15.1"
    assert read_attribute(data, "backend") == "tensorflow"
    assert read_attribute(data, "model_config") == text
    assert read_attribute(data, "version") is None
    assert read_attribute(data, "none") is None


def test_the_name_alone_is_no_attribute() -> None:
    assert read_attribute(b"model_config\0" * 100, "model_config") is None
    assert read_attribute(b"", "model_config") is None


def test_damage_gives_a_text_or_none(tmp_path: Path, h5py: object) -> None:
    with h5py.File(tmp_path / "m.h5", "w") as file:  # type: ignore[attr-defined]
        file.attrs["model_config"] = "text" * 20
    data = (tmp_path / "m.h5").read_bytes()[:4000]
    for case in range(500):
        text = read_attribute(fuzzing.damage(data, case), "model_config")
        assert text is None or len(text) <= len(data)
