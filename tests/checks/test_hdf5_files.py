"""HDF5 files that read others or would fill the memory are refused; damage ends in one line."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fuzzing
import pytest

from serialization.checks.hdf5_files import list_datasets
from serialization.errors import UserError
from serialization.tensorflow import import_quietly, np


def h5py() -> Any:
    np.ones(1)
    return import_quietly("h5py")


def write(path: Path, change: Callable[[Any], object] = lambda group: None) -> Path:
    with h5py().File(path, "w") as file:
        group = file.create_group("layers/dense", track_order=True)
        group["kernel"] = np.ones((3, 2), "f")
        group.create_dataset("names", data=["a"], dtype=h5py().string_dtype())
        group["again"] = h5py().SoftLink("/layers/dense/kernel")
        group["itself"] = group
        change(group)
    return path


def link(group: Any) -> None:
    group["out"] = h5py().ExternalLink("/etc/passwd", "/x")


def many_links(group: Any) -> None:
    for number in range(20):  # more than HDF5 keeps in the header of a group
        group[f"bias{number}"] = np.ones(1)
    link(group)


def raw(group: Any) -> None:
    group.create_dataset("out", (1,), "f4", external=[("/etc/passwd", 0, 4)])


def virtual(group: Any) -> None:
    layout = h5py().VirtualLayout((1,), "f4")
    layout[:] = h5py().VirtualSource("/tmp/other.h5", "x", (1,))
    group.create_virtual_dataset("out", layout)


def huge(group: Any) -> None:
    group.create_dataset("out", (10**6, 10**6), "f4", chunks=(100, 100))


def test_each_dataset_once(tmp_path: Path) -> None:
    found = list_datasets(write(tmp_path / "m.h5"))
    assert found == {"/layers/dense/kernel": ((3, 2), "float32"), "/layers/dense/names": ((1,), "object")}
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.write(tmp_path / "m.h5", "model.weights.h5")
    assert list_datasets(tmp_path / "m.keras") == found


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (link, r"m.h5 is refused; /layers/dense/out is a link into the file /etc/passwd; save the model in one file"),
        (many_links, r"/layers/dense/out is a link into the file /etc/passwd"),
        (raw, r"m.h5 is refused; /layers/dense/out lies in another file"),
        (virtual, r"m.h5 is refused; /layers/dense/out lies in another file"),
        (huge, r"m.h5 is damaged; its weights cannot be read: its [\d,]+ bytes would become 4,000,000,000,"),
    ],
)
def test_what_lies_elsewhere_or_is_too_large(tmp_path: Path, change: Callable[[Any], object], why: str) -> None:
    with pytest.raises(UserError, match=why):
        list_datasets(write(tmp_path / "m.h5", change))


def test_an_archive_without_weights(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "m.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    with pytest.raises(UserError, match="the archive holds 0 files of weights"):
        list_datasets(tmp_path / "m.keras")


def test_damage_ends_in_a_line_or_in_datasets(tmp_path: Path) -> None:
    data = write(tmp_path / "m.h5").read_bytes()
    outcomes = set()
    for case in range(300):
        (tmp_path / "x.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + fuzzing.damage(data[8:], case))
        try:
            outcomes.add(len(list_datasets(tmp_path / "x.h5")))
        except UserError as error:
            outcomes.add(-str(error).count("\n") - 1)
    assert {-1, 2} <= outcomes
    assert min(outcomes) == -1, "an error has several lines"
