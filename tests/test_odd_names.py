"""Every name that a user gives may hold any character: what is written lies there, and is read from there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from conftest import ODD, PROJECT, Run

import model
from serialization.console import show_path
from serialization.tensorflow import np


def test_every_path_that_a_user_gives(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / f"folder{ODD}"
    folder.mkdir()

    def named(what: str) -> Path:
        return folder / f"{ODD}{what}"

    np.save(named("rows.npy"), np.ones((3, model.FEATURES), "f"))
    shutil.copy(PROJECT / "pretrainedresnet" / "labels.txt", named("labels.txt"))
    shutil.copy(next((PROJECT / "pretrainedresnet" / "samples").glob("*.png")), named("image.png"))
    resnet = PROJECT / "pretrainedresnet" / "1"
    feed = ("--feed", f"{model.INPUTS.removesuffix(':0')}=@{named('rows.npy')}")
    images = ("--image", named("image.png"), "--labels", named("labels.txt"))
    checkpoint = ("--checkpoint", named(""))
    for script, *words in (
        ("checkpoint_save", "--epochs", 1, *checkpoint),
        ("checkpoint_save", "--epochs", 2, "--resume", *checkpoint),
        ("checkpoint_restore", *checkpoint),
        ("checkpoint_restore", *checkpoint, "--tensor", "NN/W1"),
        ("freezemodel_save", *checkpoint, "--frozen-model", named("m.pb"), *feed),
        ("freezemodel_load", "--frozen-model", named("m.pb"), *feed),
        ("savedmodel_from_source", "--epochs", 1, "--export-dir", named("source")),
        ("savedmodel_from_checkpoint", *checkpoint, "--graph", named(".meta"), "--export-dir", named("checkpoint")),
        ("savedmodel_from_frozen", "--frozen-model", named("m.pb"), "--export-dir", named("frozen")),
        ("savedmodel_pretrained", "--saved-model", named("frozen"), *feed),
        (
            "checkpoint_from_frozen",
            "--frozen-model",
            named("m.pb"),
            "--out",
            named("unfrozen"),
            "--object-based",
            *feed,
        ),
        ("checkpoint_restore", "--checkpoint", named("unfrozen"), "--tensor", "NN/W1"),
        ("checkpoint_from_savedmodel", "--saved-model", named("source"), "--out", named("saved")),
        ("freezemodel_save", "--saved-model", named("checkpoint"), "--frozen-model", named("again.pb")),
        ("savedmodel_pretrained", "--saved-model", resnet, *images),
        ("model_inspect", named("m.pb"), "--dot", named("m.dot"), "--tensorboard", named("logs")),
        ("model_inspect", named(""), "--strict"),
        ("model_inspect", named("frozen"), "--strict"),
    ):
        ended = run(script, *words)
        assert (ended.status, ended.stderr) == (0, ""), (script, *words)
    files = ("index", "data-00000-of-00001", "meta", "meta.json")
    written = ("m.pb", "again.pb", "m.dot", "logs", "source", "checkpoint", "frozen", *(f".{end}" for end in files))
    given = ("rows.npy", "labels.txt", "image.png")
    parts = [f"{name}.{end}" for name in ("unfrozen", "saved") for end in files[:3]]
    parts += [f"unfrozen-object.{end}" for end in files[:2]]
    assert {file.name for file in folder.iterdir()} == {
        "checkpoint",
        *(f"{ODD}{end}" for end in (*written, *given, *parts)),
    }
    assert json.loads(run("model_inspect", named("m.pb"), "--json").stdout)["path"] == str(named("m.pb"))


def test_an_error_about_such_a_path_is_one_line(run: Run, tmp_path: Path) -> None:
    missing = tmp_path / f"{ODD}.pb"
    ended = run("freezemodel_load", "--frozen-model", missing)
    assert ended.status == 1
    assert ended.stderr.startswith(f"error: no frozen model at {show_path(missing)}; ")
    assert len(ended.stderr.splitlines()) == 1
