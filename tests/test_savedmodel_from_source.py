"""savedmodel_from_source.py: simple_save's folder, replaced as a whole or not at all."""

from __future__ import annotations

from pathlib import Path

from conftest import Run

import savedmodel_from_source


def test_export_and_again(run: Run, results: Path) -> None:
    for epochs in (1, 2):
        done = run("savedmodel_from_source", "--epochs", epochs)
        assert (done.status, done.stderr) == (0, "")
        assert "proved: output1: the same bits as the source, on 1,003 rows" in done.stdout
    assert [path.name for path in results.iterdir()] == ["savedmodel_from_source"]


def test_seed_decides_the_weights(run: Run, tmp_path: Path) -> None:
    data = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        done = run("savedmodel_from_source", "--epochs", 1, "--seed", seed, "--export-dir", tmp_path / name)
        assert done.status == 0
        data.append((tmp_path / name / "variables" / "variables.data-00000-of-00001").read_bytes())
    assert data[0] == data[1] != data[2]


def test_existing_export_is_kept_without_overwrite(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "export"
    words = ("--epochs", 1, "--export-dir", folder)
    assert run("savedmodel_from_source", *words).status == 0
    before = (folder / "saved_model.pb").stat().st_ino
    done = run("savedmodel_from_source", *words)
    assert done.status == 1
    assert done.stderr == f"error: {folder} exists already; --overwrite replaces it\n"
    assert (folder / "saved_model.pb").stat().st_ino == before
    assert run("savedmodel_from_source", *words, "--overwrite").status == 0
    assert (folder / "saved_model.pb").stat().st_ino != before
    assert sorted(path.name for path in folder.iterdir()) == ["saved_model.pb", "variables"]
    assert [path.name for path in tmp_path.iterdir()] == ["export"]


def test_a_folder_of_other_things_is_never_replaced(run: Run, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_text("keep")
    done = run("savedmodel_from_source", "--epochs", 1, "--export-dir", tmp_path / "photos", "--overwrite")
    assert done.status == 1
    there = f"{tmp_path}/photos is a folder with other files than those of a SavedModel, such as a.jpg"
    expected = f"{there}; name a new file or folder"
    assert done.stderr == f"error: {expected}\n"
    assert (tmp_path / "photos" / "a.jpg").read_text() == "keep"


def test_a_failing_export_leaves_the_old_one(run: Run, toy: Path, monkeypatch: object) -> None:
    folder = toy / "savedmodel_from_source"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    export = savedmodel_from_source.export
    try:
        savedmodel_from_source.export = fill_the_disk
        done = run("savedmodel_from_source", "--epochs", 1)
    finally:
        savedmodel_from_source.export = export
    assert done.status == 1
    assert done.stderr == f"error: cannot write {folder}; No space left on device; name another place\n"
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    assert not list(toy.glob(".*"))


def fill_the_disk(session: object, folder: Path, wanted: object) -> None:
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"half")
    raise OSError(28, "No space left on device")
