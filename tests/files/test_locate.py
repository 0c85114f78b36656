"""Each fault of a model's files has its own error; nothing is left behind, and TensorFlow is not started."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import PROJECT, Fails, Run, environment, restored
from foreign import KINDS, write_foreign_files

from serialization import project
from serialization.files import locate
from serialization.formats.checkpoint_index import format_saver_path
from serialization.tensorflow import np, tf, tf1

LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


# Files of another kind.


ADVICE = {
    "empty": "empty, not {}; copy it here again",
    "blank": "empty, not {}; copy it here again",
    "noise": "a file of an unknown kind, not {}; it may be damaged; copy it here again, or name another file",
    **{name: f"{kind.value}, not {{}}; {kind.advice}" for name, kind in KINDS.items()},
}


def test_each_kind_has_its_own_advice() -> None:
    assert ADVICE["onnx"] == "an ONNX model, not {}; ONNX Runtime runs it, and onnx2tf makes a SavedModel of it"
    assert ADVICE["keras.keras"].endswith("export it as a SavedModel: keras.models.load_model(FILE).export(DIR)")
    assert ADVICE["weights.weights.h5"].endswith(
        "build the model in Keras, model.load_weights(FILE), then export it: model.export(DIR)"
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
            ("savedmodel_pretrained", "--saved-model", "a SavedModel"),
            ("checkpoint_restore", "--checkpoint", "a checkpoint"),
            ("freezemodel_save", "--checkpoint", "a checkpoint", "--frozen-model", toy / "new.pb"),
            ("freezemodel_serve", "--checkpoint", "a checkpoint"),
        ):
            assert error(script, flag, toy / name, *more) == expected.format(wanted)
        assert error("model_inspect", toy / name) == expected.format("a model of TensorFlow")


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
        (
            "",
            "results is a folder, not a frozen model; it holds frozen_model.pb (a frozen model (a GraphDef)), "
            "graph.ckpt (a checkpoint), index.pb (a checkpoint's index, or a checkpoint in TensorFlow's first format), "
            "meta.pb (the graph of a checkpoint (a MetaGraphDef)), saved.pb (a SavedModel) and 3 more; "
            "name the file itself",
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
        ("", "results is the folder of a checkpoint, not a SavedModel; " + use_restore.format("results")),
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


# Incomplete checkpoints.


def test_missing_and_truncated_data_files_are_reported(error: Fails, toy: Path, tmp_path: Path) -> None:
    data = toy / "graph.ckpt.data-00000-of-00001"
    whole = data.read_bytes()
    data.write_bytes(whole[:-1])
    assert error("checkpoint_restore") == (
        f"the checkpoint results/graph.ckpt is cut short; its data file {data.name} has {len(whole) - 1} bytes, "
        f"its index needs {len(whole)}; copy it here again"
    )
    data.unlink()
    incomplete = f"the checkpoint {{}} is incomplete; its data file {data.name} is missing; copy it here too"
    assert error("checkpoint_restore") == incomplete.format("results/graph.ckpt")
    shard = toy / "savedmodel_from_checkpoint" / "variables" / "variables.data-00000-of-00001"
    shard.rename(shard.with_suffix(".txt"))
    assert error("savedmodel_pretrained", "--saved-model", toy / "savedmodel_from_checkpoint") == (
        "the checkpoint results/savedmodel_from_checkpoint/variables/variables is incomplete; "
        "its data file variables.data-00000-of-00001 is missing; copy it here too"
    )


def test_a_missing_shard_is_reported(error: Fails, run: Run, results: Path, tmp_path: Path) -> None:
    assert run("checkpoint_save", "--shards", 3, "--epochs", 1).status == 0
    (results / "graph.ckpt.data-00001-of-00003").unlink()
    assert error("checkpoint_restore") == (
        "the checkpoint results/graph.ckpt is incomplete; its data file graph.ckpt.data-00001-of-00003 is missing; "
        "copy it here too"
    )


def test_a_checkpoint_without_graph_or_without_variables_is_refused(error: Fails, toy: Path) -> None:
    (toy / "graph.ckpt.meta").rename(toy / "kept")
    assert error("checkpoint_restore") == (
        "the checkpoint results/graph.ckpt holds variables and no graph; found no graph.ckpt.meta; "
        "copy it here, or name the graph with --graph"
    )
    (toy / "graph.ckpt.index").unlink()
    assert error("checkpoint_restore") == (
        "the checkpoint results/graph.ckpt is incomplete; found graph.ckpt.data-00000-of-00001 and no "
        "graph.ckpt.index; copy it here too"
    )
    (toy / "kept").rename(toy / "graph.ckpt.meta")
    (toy / "graph.ckpt.data-00000-of-00001").unlink()
    assert error("checkpoint_restore") == (
        "the checkpoint results/graph.ckpt holds a graph and no variables; found graph.ckpt.meta and no "
        "graph.ckpt.index; copy the index and the data files here too"
    )


def test_an_object_checkpoint_has_no_graph_to_restore(error: Fails, tmp_path: Path) -> None:
    tf.train.Checkpoint(v=tf.Variable([1.0, 2.0])).write(str(tmp_path / "ckpt-1"))
    assert error("checkpoint_restore", "--checkpoint", tmp_path / "ckpt-1") == (
        "ckpt-1 is an object checkpoint of TensorFlow 2, which holds variables and no graph; found no ckpt-1.meta; "
        "save a SavedModel from the program that builds the model, or name the graph with --graph"
    )


# Faults that are repaired, with a line about it.


def test_a_moved_folder_loads_its_own_files(run: Run, toy: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(toy, moved)
    (moved / "checkpoint").write_text(f'model_checkpoint_path: "{toy}/graph.ckpt"\n')
    note = f"{moved}/checkpoint points to {toy}/graph.ckpt; using the one here, {moved}/graph.ckpt\n"
    # The old folder is still there, with other weights: TensorFlow's latest_checkpoint would take those.
    for file in toy.glob("graph.ckpt.*"):
        file.write_bytes(b"other weights")
    done = run("checkpoint_restore", "--checkpoint", moved)
    assert (done.status, done.stderr) == (0, "")
    assert done.stdout.startswith(note)


def test_the_newest_checkpoint_is_taken_if_the_named_one_is_missing(run: Run, toy: Path) -> None:
    (toy / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-300"\n')
    done = run("checkpoint_restore", "--checkpoint", toy)
    assert done.stdout.startswith(
        f"{toy}/checkpoint names model.ckpt-300, which is not here; using the newest, {toy}/graph.ckpt\n"
    )
    assert (done.status, done.stderr) == (0, "")


def test_the_newest_version_of_a_saved_model_is_taken(run: Run, tmp_path: Path) -> None:
    for version in ("2", "10", "old"):
        shutil.copytree(project.PRETRAINED / "1", tmp_path / "resnet" / version)
    done = run("savedmodel_pretrained", "--saved-model", tmp_path / "resnet")
    assert (done.status, done.stderr) == (0, "")
    assert done.stdout.startswith(f"{tmp_path}/resnet holds 2 versions of a SavedModel; using {tmp_path}/resnet/10\n")


def save_with(saver_options: dict[str, object], prefix: Path) -> None:
    with tf1.Graph().as_default(), tf1.Session() as session:
        tf1.get_variable("v", initializer=np.arange(6, dtype=np.float32).reshape(2, 3))
        sizes = tf1.fixed_size_partitioner(2)
        tf1.get_variable("p", [4, 2], initializer=tf1.zeros_initializer(), partitioner=sizes)
        session.run(tf1.global_variables_initializer())
        tf1.train.Saver(**saver_options).save(session, str(prefix))


def test_a_prefix_that_is_a_folder_and_a_slash_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    save_with({}, tmp_path / "model.ckpt")
    for suffix in ("index", "meta", "data-00000-of-00001"):
        (tmp_path / f"model.ckpt.{suffix}").rename(folder / f".{suffix}")
    (folder / "checkpoint").write_text('model_checkpoint_path: "/home/somebody/model/"\n')
    for name in ("", ".index", ".meta", "checkpoint"):
        found = locate.find_checkpoint(folder / name)
        assert str(found.prefix) == f"{folder}/"
        assert str(locate.find_checkpoint(found.prefix).prefix) == f"{folder}/"
    assert format_saver_path(found) == f"{folder}/"
    assert {(v.name, v.dtype, v.shape, v.slices) for v in found.variables} == {
        ("v", "float32", (2, 3), 1),
        ("p", "float32", (4, 2), 2),
    }
    with restored(found.prefix) as session:
        assert session.run("v/Read/ReadVariableOp:0").tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("sharded", [False, True])
def test_a_checkpoint_in_the_first_format_is_found_and_restored(tmp_path: Path, sharded: bool) -> None:
    prefix = tmp_path / "old.ckpt"
    save_with({"write_version": 1, "sharded": sharded}, prefix)
    names = ["", "old.ckpt.meta", "old.ckpt-00000-of-00001" if sharded else "old.ckpt"]
    for name in names:
        found = locate.find_checkpoint(tmp_path / name)
        assert found.prefix == prefix
    assert found.version == "V1"
    assert {(v.name, v.shape, v.slices) for v in found.variables} == {("v", (2, 3), 1), ("p", (4, 2), 2)}
    assert format_saver_path(found) == f"{prefix}-?????-of-00001" if sharded else str(prefix)
    with restored(prefix) as session:
        assert session.run("v/Read/ReadVariableOp:0").tolist() == [[0, 1, 2], [3, 4, 5]]


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
