"""A checkpoint is found by its prefix, one of its files or its folder; a fault of a file has its own error."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import graphs
import pytest
from conftest import Fails, Run, restored

from serialization.errors import UserError
from serialization.files import checkpoint_files, locate
from serialization.files.other_models import OtherModelError
from serialization.formats.checkpoint_index import format_saver_path
from serialization.formats.file_kind import ModelFile
from serialization.tensorflow import np, tf, tf1

# The prefix at a path.


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The prefix of a small checkpoint. Tests only read it."""
    return graphs.save(tmp_path_factory.mktemp("saved"), graphs.classifier)


@pytest.fixture
def copied(saved: Path, tmp_path: Path) -> Path:
    """The prefix of a small checkpoint of the test's own, without a `checkpoint` file."""
    for file in saved.parent.glob("model.ckpt.*"):
        shutil.copy(file, tmp_path)
    return tmp_path / saved.name


def find(path: Path) -> tuple[Path, list[str]]:
    """The prefix, and the lines about a repair."""
    said: list[str] = []
    return checkpoint_files.find_prefix(path, said.append), said


def test_every_file_of_a_checkpoint_and_its_folder_lead_to_its_prefix(saved: Path) -> None:
    suffixes = ("", ".index", ".meta", ".data-00000-of-00001")
    for path in (*(Path(f"{saved}{suffix}") for suffix in suffixes), saved.parent, saved.parent / "checkpoint"):
        assert find(path) == (saved, [])


def test_a_prefix_is_found_without_a_look_at_its_files(tmp_path: Path) -> None:
    assert find(tmp_path / "none") == (tmp_path / "none", [])


@pytest.mark.parametrize(
    ("state", "said"),
    [
        ('model_checkpoint_path: "model.ckpt"', ""),
        ('all_model_checkpoint_paths: "old"\nmodel_checkpoint_path: "model.ckpt"\n', ""),
        ('model_checkpoint_path: "model\\056ckpt"', ""),  # an escape of the text form of a protobuf
        ('model_checkpoint_path: "/far/model.ckpt"', "points to /far/model.ckpt; using the one here, {}"),
        ('model_checkpoint_path: "C:\\\\m"', "names C:\\m, which is not here; using the newest, {}"),
        ('model_checkpoint_path: "C:\\x"', "names C:\\x, which is not here; using the newest, {}"),  # written by hand
        ('model_checkpoint_path: "m\\033[2J"', "names m?[2J, which is not here; using the newest, {}"),
        ('model_checkpoint_path: "m\\000"', ""),  # no path holds a NUL
        ('model_checkpoint_path: ""', ""),
        ("", ""),
        ("\udcff\udc80", ""),
    ],
)
def test_a_checkpoint_file_names_a_prefix_of_its_own_folder(copied: Path, state: str, said: str) -> None:
    file = copied.with_name("checkpoint")
    file.write_text(state, "utf-8", "surrogateescape")
    assert find(copied.parent) == (copied, [f"{file} {said.format(copied)}"] if said else [])


def test_the_newest_checkpoint_of_a_folder_is_taken(copied: Path) -> None:
    for name, seconds in (("later", 2000), ("model.ckpt", 1000), ("also_later", 2000)):
        index = copied.with_name(f"{name}.index")
        shutil.copy(f"{copied}.index", index) if not index.exists() else None
        os.utime(index, (seconds, seconds))
    assert find(copied.parent) == (copied.with_name("later"), [])


def test_a_folder_without_a_checkpoint_is_told_from_a_saved_model(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").write_text('model_checkpoint_path: "m"')
    (tmp_path / "m.meta").touch()
    with pytest.raises(UserError) as caught:
        find(tmp_path)
    assert str(caught.value) == (
        f"no checkpoint in {tmp_path}; found no *.index; its `checkpoint` file names m; it holds m (a checkpoint "
        "without its .index); name its prefix, one of its files, or its folder"
    )
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "saved_model.pb").touch()
    with pytest.raises(OtherModelError, match=f"^{tmp_path} is a SavedModel, not a checkpoint; use `python "):
        find(tmp_path)


# The files at a prefix.


def test_a_file_that_is_open_already_is_not_opened_again(saved: Path) -> None:
    index = ModelFile(saved.with_name("model.ckpt.index"))
    assert checkpoint_files.open_file(index.path, index) is index
    assert checkpoint_files.open_file(saved.with_name("model.ckpt.meta"), index).path.name == "model.ckpt.meta"
    assert checkpoint_files.open_file(index.path, None).path == index.path


def test_the_graph_of_a_checkpoint_is_its_meta_graph(copied: Path) -> None:
    held = checkpoint_files.read_checkpoint_at(copied)
    meta = copied.with_name("model.ckpt.meta")
    assert checkpoint_files.open_meta_graph_file(held).path == meta
    opened = ModelFile(meta)
    assert checkpoint_files.open_meta_graph_file(held, opened) is opened
    shutil.copy(f"{copied}.index", meta)
    with pytest.raises(UserError, match=r"model.ckpt.meta is .*, not the graph of a checkpoint; "):
        checkpoint_files.open_meta_graph_file(held)


def test_an_index_is_read_without_its_data_and_its_data_required_apart(copied: Path) -> None:
    data = copied.with_name("model.ckpt.data-00000-of-00001")
    checkpoint_files.require_whole_checkpoint(checkpoint_files.read_checkpoint_at(copied))
    whole = data.read_bytes()
    data.write_bytes(whole + b"more")  # TensorFlow reads what the index names
    checkpoint_files.require_whole_checkpoint(checkpoint_files.read_checkpoint_at(copied))
    data.write_bytes(b"")
    held = checkpoint_files.read_checkpoint_at(copied)
    with pytest.raises(UserError) as caught:
        checkpoint_files.require_whole_checkpoint(held)
    assert str(caught.value) == (
        f"the checkpoint {copied} is cut short; its data file {data.name} has 0 bytes, its index needs {len(whole):,}; "
        "copy it here again"
    )


def test_a_saved_model_named_as_a_checkpoint_is_called_that(tmp_path: Path) -> None:
    (tmp_path / "saved_model.pbtxt").touch()
    with pytest.raises(OtherModelError, match=r"/saved_model\.pb is a SavedModel, not a checkpoint; use `python "):
        checkpoint_files.read_checkpoint_at(tmp_path / "saved_model.pb")


# What the scripts say.


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
    shutil.copy(toy / "frozen_model.pb", toy / "graph.ckpt.meta")
    assert error("checkpoint_restore").startswith(
        "results/graph.ckpt.meta is a frozen model (a GraphDef), not a checkpoint; use `"
    )


def test_an_object_checkpoint_has_no_graph_to_restore(error: Fails, tmp_path: Path) -> None:
    tf.train.Checkpoint(v=tf.Variable([1.0, 2.0])).write(str(tmp_path / "ckpt-1"))
    assert error("checkpoint_restore", "--checkpoint", tmp_path / "ckpt-1") == (
        "ckpt-1 is an object checkpoint of TensorFlow 2, which holds variables and no graph; found no ckpt-1.meta; "
        "save a SavedModel from the program that builds the model, or name the graph with --graph"
    )


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
