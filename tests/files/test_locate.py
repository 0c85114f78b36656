"""Each fault of a model's files has its own error; nothing is left behind, and TensorFlow is not started."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT, Fails, Run, environment
from foreign import KINDS, write_foreign_files

from serialization import project
from serialization.formats.foreign_files import Foreign

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


# Files of another kind.


ADVICE = {
    "empty": "empty, not {}; copy it here again",
    "blank": "empty, not {}; copy it here again",
    "noise": "a file of an unknown kind, not {}; it may be damaged; copy it here again, or name another file",
    **{name: f"{kind.value}, not {{}}; {kind.advice}" for name, kind in KINDS.items() if kind is not Foreign.ARCHIVE},
}


def test_each_kind_has_its_own_advice() -> None:
    assert ADVICE["onnx"].startswith(
        "an ONNX model, not {}; freezemodel_serve.py --onnx serves it, model_inspect.py shows it, and onnx2tf"
    )
    assert ADVICE["pickle4"].startswith("a pickle, not {}; opening it runs the code that it holds")


def test_the_error_for_a_file_of_another_kind_names_the_kind(error: Fails, toy: Path) -> None:
    write_foreign_files(toy)
    for other, content in (("empty", b""), ("blank", b"\n \n"), ("noise", bytes(range(256)))):
        (toy / other).write_bytes(content)
    for name, advice in ADVICE.items():
        expected = f"results/{name} is {advice}"
        for script, flag, wanted, *more in (
            ("freezemodel_load", "--frozen-model", "a frozen model"),
            ("savedmodel_from_frozen", "--frozen-model", "a frozen model", "--export-dir", toy / "new"),
            ("onnx_from_frozen", "--frozen-model", "a frozen model", "--onnx", toy / "new.onnx"),
            ("tflite_from_frozen", "--frozen-model", "a frozen model", "--tflite", toy / "new.tflite"),
            ("savedmodel_pretrained", "--saved-model", "a SavedModel"),
            ("savedmodel_edit", "--saved-model", "a SavedModel", "--out", toy / "new"),
            ("checkpoint_edit", "--checkpoint", "a checkpoint", "--out", toy / "new.ckpt"),
            ("checkpoint_restore", "--checkpoint", "a checkpoint"),
            ("freezemodel_save", "--checkpoint", "a checkpoint", "--frozen-model", toy / "new.pb"),
            ("freezemodel_serve", "--checkpoint", "a checkpoint"),
        ):
            assert error(script, flag, toy / name, *more) == expected.format(wanted)
        if KINDS.get(name) not in (Foreign.ONNX, Foreign.TFLITE):
            assert error("model_inspect", toy / name) == expected.format("a model of TensorFlow")


def test_the_error_for_an_archive_without_a_model(error: Fails, tmp_path: Path) -> None:
    write_foreign_files(tmp_path)
    for name, line in (
        ("gzip", "gzip cannot be opened; the archive cannot be read: "),
        ("tar", "tar cannot be opened; the archive cannot be read: "),
        (
            "empty_zip",
            "empty_zip cannot be opened; it holds no file; copy it here again, or unpack it",
        ),
        ("zip", "no frozen model in zip; it holds no model, but model.txt; name the file of a GraphDef"),
    ):
        assert error("freezemodel_load", "--frozen-model", tmp_path / name).startswith(line)


def test_the_error_for_a_model_of_another_kind_shows_the_right_command(error: Fails, toy: Path) -> None:
    export = "results/savedmodel_from_source"
    shutil.copy(toy / "graph.ckpt.index", toy / "index.pb")
    shutil.copy(toy / "graph.ckpt.meta", toy / "meta.pb")
    shutil.copy(toy / "savedmodel_from_source" / "saved_model.pb", toy / "saved.pb")
    use_saved = f"use `python savedmodel_pretrained.py --saved-model {toy}/savedmodel_from_source`".replace(
        f"{toy.parent}/", ""
    )
    use_frozen = "use `python freezemodel_load.py --frozen-model results/frozen_model.pb`"
    use_restore = "use `python checkpoint_restore.py --checkpoint {}`"
    frozen = [
        ("savedmodel_from_source", f"{export} is a SavedModel, not a frozen model; {use_saved}"),
        (
            "savedmodel_from_source/saved_model.pb",
            f"{export}/saved_model.pb is a SavedModel, not a frozen model; {use_saved}",
        ),
        (
            "meta.pb",
            "results/meta.pb is the graph of a checkpoint (a MetaGraphDef), not a frozen model; name the checkpoint "
            "too: `python checkpoint_restore.py --checkpoint PREFIX --graph results/meta.pb`",
        ),
        (
            "graph.ckpt.meta",
            "results/graph.ckpt.meta is the graph of a checkpoint (a MetaGraphDef), not a frozen model; "
            + use_restore.format("results/graph.ckpt"),
        ),
        (
            "graph.ckpt.index",
            "results/graph.ckpt.index is a checkpoint's index, or a checkpoint in TensorFlow's first format, "
            "not a frozen model; " + use_restore.format("results/graph.ckpt"),
        ),
        (
            "graph.ckpt.data-00000-of-00001",
            "results/graph.ckpt.data-00000-of-00001 is a data file of a checkpoint, not a frozen model; "
            + use_restore.format("results/graph.ckpt"),
        ),
        (
            "checkpoint",
            "results/checkpoint is a folder's `checkpoint` file, not a frozen model; "
            + use_restore.format("results/checkpoint"),
        ),
        (
            "graph.ckpt",
            "results/graph.ckpt is a checkpoint, not a frozen model; " + use_restore.format("results/graph.ckpt"),
        ),
    ]
    for name, line in frozen:
        assert error("freezemodel_load", "--frozen-model", toy / name) == line
    as_checkpoint = [
        ("frozen_model.pb", f"results/frozen_model.pb is a frozen model (a GraphDef), not a checkpoint; {use_frozen}"),
        ("savedmodel_from_source", f"{export} is a SavedModel, not a checkpoint; {use_saved}"),
        (
            "savedmodel_from_source/saved_model.pb",
            f"{export}/saved_model.pb is a SavedModel, not a checkpoint; {use_saved}",
        ),
    ]
    for name, line in as_checkpoint:
        assert error("checkpoint_restore", "--checkpoint", toy / name) == line
    as_saved_model = [
        ("frozen_model.pb", f"results/frozen_model.pb is a frozen model (a GraphDef), not a SavedModel; {use_frozen}"),
        (
            "graph.ckpt.meta",
            "results/graph.ckpt.meta is the graph of a checkpoint (a MetaGraphDef), not a SavedModel; "
            + use_restore.format("results/graph.ckpt"),
        ),
        (
            "graph.ckpt",
            "results/graph.ckpt is a checkpoint, not a SavedModel; " + use_restore.format("results/graph.ckpt"),
        ),
        (
            "",
            "results holds several SavedModels: results/savedmodel_from_checkpoint, results/savedmodel_from_frozen, "
            "results/savedmodel_from_source; name one of them",
        ),
    ]
    for name, line in as_saved_model:
        assert error("savedmodel_pretrained", "--saved-model", toy / name) == line


def test_a_graph_def_called_saved_model_pb_is_refused(error: Fails, toy: Path) -> None:
    (toy / "sm").mkdir()
    shutil.copy(toy / "frozen_model.pb", toy / "sm" / "saved_model.pb")
    assert error("savedmodel_pretrained", "--saved-model", toy / "sm") == (
        "results/sm/saved_model.pb is a frozen model (a GraphDef), not a SavedModel; "
        "use `python freezemodel_load.py --frozen-model results/sm/saved_model.pb`"
    )


def test_the_error_for_a_missing_model_says_what_to_name(error: Fails, tmp_path: Path) -> None:
    for script in ("freezemodel_load", "freezemodel_serve", "savedmodel_from_frozen"):
        assert error(script, "--frozen-model", tmp_path / "no") == (
            "no frozen model at no; name the file of a GraphDef"
        )
    assert error("checkpoint_restore", "--checkpoint", tmp_path / "no") == (
        "no checkpoint at no; found no no.index; name its prefix, one of its files, or its folder"
    )
    (tmp_path / "folder").mkdir()
    assert error("checkpoint_restore", "--checkpoint", tmp_path / "folder") == (
        "no checkpoint in folder; found no *.index; it is empty; name its prefix, one of its files, or its folder"
    )
    assert error("savedmodel_pretrained", "--saved-model", tmp_path / "folder") == (
        "no SavedModel at folder; found no saved_model.pb; it is empty; name the folder that holds saved_model.pb"
    )


def test_the_error_for_a_missing_default_names_the_script_that_writes_it(
    error: Fails, results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project, "PRETRAINED", results / "resnet")
    made_by = {
        "checkpoint_restore": "checkpoint_save.py",
        "freezemodel_save": "checkpoint_save.py",
        "savedmodel_from_checkpoint": "checkpoint_save.py",
        "freezemodel_load": "freezemodel_save.py",
        "freezemodel_serve": "freezemodel_save.py",
        "savedmodel_from_frozen": "freezemodel_save.py",
        "savedmodel_pretrained": "pretrainedresnet/train.py",
        "model_inspect": "freezemodel_save.py",
    }
    for script, first in made_by.items():
        assert error(script).endswith(f"; make it with `python {first}`"), script
    for name in ("source", "checkpoint", "frozen"):
        message = error("savedmodel_pretrained", "--saved-model", results / f"savedmodel_from_{name}")
        assert message.endswith(f"; make it with `python savedmodel_from_{name}.py`")


# Damaged files.


def test_a_truncated_graph_is_reported(error: Fails, toy: Path) -> None:
    model, meta = toy / "frozen_model.pb", toy / "graph.ckpt.meta"
    saved = toy / "savedmodel_from_source" / "saved_model.pb"
    for file, words, name in (
        (model, ("freezemodel_load", "--frozen-model", model), "GraphDef"),
        (meta, ("checkpoint_restore", "--checkpoint", meta), "MetaGraphDef"),
        (saved, ("savedmodel_pretrained", "--saved-model", saved.parent), "SavedModel"),
    ):
        file.write_bytes(file.read_bytes()[:-9])
        line = error(*words)
        shown = str(file.relative_to(toy.parent))
        assert line.startswith(f"{shown} is damaged: it begins as a {name} and cannot be read to its end (")
        assert line.endswith("); copy it here again")


def test_a_damaged_index_is_reported(error: Fails, toy: Path) -> None:
    index = toy / "graph.ckpt.index"
    whole = index.read_bytes()
    flipped = bytearray(whole)
    flipped[20] ^= 4
    index.write_bytes(flipped)
    assert error("checkpoint_restore") == (
        "results/graph.ckpt.index is damaged or no part of a checkpoint; the checksum of a block differs; "
        "copy it here again"
    )
    index.write_bytes(whole[:-5])
    assert error("checkpoint_restore") == (
        "results/graph.ckpt.index is a file of an unknown kind, not a checkpoint; it may be damaged; "
        "copy it here again, or name another file"
    )


def test_git_lfs_pointers_in_a_checkpoint_and_a_saved_model_are_reported(error: Fails, toy: Path) -> None:
    lfs = "is a pointer of Git LFS, not the file itself, not {}; fetch the file with `git lfs pull`"
    for suffix, wanted in (
        (".data-00000-of-00001", "a data file of a checkpoint"),
        (".meta", "the graph of a checkpoint"),
        (".index", "a checkpoint"),
    ):
        file = toy / f"graph.ckpt{suffix}"
        whole = file.read_bytes()
        file.write_bytes(LFS)
        assert error("checkpoint_restore") == f"results/{file.name} {lfs.format(wanted)}"
        file.write_bytes(whole)
    folder = toy / "savedmodel_from_checkpoint"
    (folder / "variables" / "variables.data-00000-of-00001").write_bytes(LFS)
    assert error("savedmodel_pretrained", "--saved-model", folder) == (
        "results/savedmodel_from_checkpoint/variables/variables.data-00000-of-00001 "
        + lfs.format("a data file of a checkpoint")
    )
    (folder / "saved_model.pb").write_bytes(LFS)
    assert error("savedmodel_pretrained", "--saved-model", folder) == (
        "results/savedmodel_from_checkpoint/saved_model.pb " + lfs.format("a SavedModel")
    )


def test_the_newest_version_of_a_saved_model_is_taken(run: Run, tmp_path: Path) -> None:
    for version in ("2", "10", "old"):
        shutil.copytree(project.PRETRAINED / "1", tmp_path / "resnet" / version)
    done = run("savedmodel_pretrained", "--saved-model", tmp_path / "resnet")
    assert (done.status, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{tmp_path}/resnet holds 2 versions of a SavedModel; using {tmp_path}/resnet/10\n")


# Refusals of all scripts.


def test_refusals_do_not_start_tensorflow(tmp_path: Path) -> None:
    (tmp_path / "m.pb").write_bytes(LFS)
    code = (
        "import sys, freezemodel_load; from serialization import cli\n"
        f"assert cli.call_main(freezemodel_load.main, ['--frozen-model', {os.fspath(tmp_path / 'm.pb')!r}]) == 1\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_circular_links_and_pipes_are_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    (tmp_path / "pipes").mkdir()
    os.mkfifo(tmp_path / "pipes" / "m.index")
    for path in ("a", "pipes", "pipes/m.index"):
        done = run("model_inspect", tmp_path / path)
        assert done.status == 1
        assert done.stderr.startswith("error: no")
        assert done.stderr.count("\n") == 1


def test_a_keras_model_is_sent_to_the_script_that_reads_it(error: Fails, tmp_path: Path) -> None:
    (tmp_path / "m.json").write_text('{"class_name": "Sequential", "config": {}}')
    (tmp_path / "w").write_bytes(b"\x89HDF\r\n\x1a\n")
    is_layers = "m.json is the layers of a Keras model without its weights (JSON), not"
    for script, flag, wanted in (
        ("freezemodel_load", "--frozen-model", "a frozen model"),
        ("savedmodel_pretrained", "--saved-model", "a SavedModel"),
        ("freezemodel_serve", "--checkpoint", "a checkpoint"),
    ):
        right = "freezemodel_serve" if script == "freezemodel_serve" else "savedmodel_from_keras"
        run_it = f"use `python {right}.py --keras m.json`"
        assert error(script, flag, tmp_path / "m.json") == f"{is_layers} {wanted}; {run_it}"
        assert error(script, flag, tmp_path / "w") == (
            f"w is weights without a model, as Keras writes them (HDF5), not {wanted}; savedmodel_from_keras.py takes "
            "it as --weights, with the JSON of the layers as --keras; or build the model in Keras, "
            "model.load_weights(FILE), and model.save it"
        )
    words = ("--checkpoint", tmp_path / "m.json", "--frozen-model", tmp_path / "new.pb")
    assert error("freezemodel_save", *words).endswith("use `python freezemodel_save.py --keras m.json`")
