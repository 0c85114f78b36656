"""checkpoint_save.py: the files, their bytes, resuming, shards, and what is refused."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest
from conftest import ODD, Run
from google.protobuf import json_format

from serialization.files import publish
from serialization.files.checkpoint_files import find_prefix
from serialization.tensorflow import np, tf, tf1

FILES = ["checkpoint", "graph.ckpt.data-00000-of-00001", "graph.ckpt.index", "graph.ckpt.meta", "graph.ckpt.meta.json"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def read_all(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def variables(prefix: Path) -> dict[str, bytes]:
    reader = tf1.train.load_checkpoint(str(prefix))
    return {name: reader.get_tensor(name).tobytes() for name in reader.get_variable_to_shape_map()}


def test_results_hold_exactly_the_checkpoint(run: Run, results: Path) -> None:
    done = run("checkpoint_save")
    assert done.status == 0
    assert done.stderr == ""
    assert "proved: 15 variables read back, the same bits" in done.stdout
    assert names(results) == FILES


def test_meta_json_is_the_meta_graph(made: Path) -> None:
    binary = tf1.MetaGraphDef.FromString((made / "graph.ckpt.meta").read_bytes())
    text = (made / "graph.ckpt.meta.json").read_text()
    assert json.loads(text)["metaInfoDef"]["tensorflowVersion"] == binary.meta_info_def.tensorflow_version
    assert json_format.Parse(text, tf1.MetaGraphDef()) == binary


def test_folder_can_be_moved(made: Path, tmp_path: Path) -> None:
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in FILES:
        (moved / name).write_bytes((made / name).read_bytes())
    assert tf1.train.latest_checkpoint(str(moved)) == str(moved / "graph.ckpt")
    assert '"graph.ckpt"' in (moved / "checkpoint").read_text()


def test_same_seed_gives_the_same_bytes(run: Run, tmp_path: Path) -> None:
    digests = set()
    for name in ("one", "two"):
        assert run("checkpoint_save", "--seed", 3, "--epochs", 2, "--checkpoint", tmp_path / name / "m").status == 0
        data = (tmp_path / name / "m.data-00000-of-00001").read_bytes()
        digests.add(hashlib.sha256(data).hexdigest())
    assert run("checkpoint_save", "--seed", 4, "--epochs", 2, "--checkpoint", tmp_path / "three" / "m").status == 0
    other = (tmp_path / "three" / "m.data-00000-of-00001").read_bytes()
    assert len(digests) == 1
    assert hashlib.sha256(other).hexdigest() not in digests


def test_resuming_ends_where_one_go_ends(run: Run, tmp_path: Path) -> None:
    assert run("checkpoint_save", "--seed", 1, "--epochs", 10, "--checkpoint", tmp_path / "go").status == 0
    assert run("checkpoint_save", "--seed", 1, "--epochs", 5, "--checkpoint", tmp_path / "stop").status == 0
    assert variables(tmp_path / "go") != variables(tmp_path / "stop")
    done = run("checkpoint_save", "--resume", "--epochs", 10, "--checkpoint", tmp_path / "stop")
    assert "trained epochs 6 to 10" in done.stdout
    resumed = variables(tmp_path / "stop")
    assert resumed == variables(tmp_path / "go")
    assert {"NN/W1/Adam", "NN/W1/Adam_1", "beta1_power", "global_step"} <= set(resumed)


def test_resume_without_a_checkpoint(run: Run, results: Path) -> None:
    done = run("checkpoint_save", "--resume")
    assert done.status == 1
    assert done.stderr.startswith("error: no checkpoint at ")
    assert not (results / "graph.ckpt.index").exists()


def test_resume_when_all_epochs_are_done(run: Run, toy: Path) -> None:
    before = {path.name: path.read_bytes() for path in toy.iterdir() if path.is_file()}
    done = run("checkpoint_save", "--resume")
    assert done.status == 1
    assert done.stderr == "error: 10 epochs done already; --epochs 15 goes on from there\n"
    assert {path.name: path.read_bytes() for path in toy.iterdir() if path.is_file()} == before


def test_resume_with_another_seed(run: Run, toy: Path) -> None:
    done = run("checkpoint_save", "--resume", "--seed", 5, "--epochs", 20)
    assert done.status == 2
    assert "was trained with seed 0 and resumes with it" in done.stderr


@pytest.mark.parametrize("shards", [2, 5])
def test_shards_are_data_files_and_restoring_reads_them_all(run: Run, results: Path, shards: int) -> None:
    assert run("checkpoint_save", "--shards", 3, "--epochs", 1).status == 0  # other shards, to be replaced
    assert run("checkpoint_save", "--shards", shards, "--epochs", 1).status == 0
    data = sorted(path.name for path in results.glob("graph.ckpt.data*"))
    assert data == [f"graph.ckpt.data-{shard:05}-of-{shards:05}" for shard in range(shards)]
    assert "proved: 15 variables hold the checkpoint's bits" in run("checkpoint_restore").stdout
    whole = results / "whole"
    assert run("checkpoint_save", "--epochs", 1, "--checkpoint", whole).status == 0
    assert variables(whole) == variables(results / "graph.ckpt")


@pytest.mark.parametrize("shards", [0, 6, "two"])
def test_wrong_number_of_shards(run: Run, results: Path, shards: object) -> None:
    done = run("checkpoint_save", "--shards", shards)
    assert done.status == 2
    assert done.stderr.startswith("error: ")
    assert not results.exists()


def test_a_new_folder_is_no_prefix(run: Run, tmp_path: Path) -> None:
    done = run("checkpoint_save", "--checkpoint", f"{tmp_path}/new/")
    assert done.status == 2
    assert f"{tmp_path}/new/ is no folder; leave out the slash at its end" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_is_never_replaced_by_a_file(run: Run, toy: Path) -> None:
    before = (toy / "graph.ckpt.index").read_bytes()
    done = run("freezemodel_save", "--frozen-model", toy / "graph.ckpt.index", "--overwrite")
    assert done.status == 1
    assert done.stderr == f"error: {toy}/graph.ckpt.index is part of another model; name a new file\n"
    assert (toy / "graph.ckpt.index").read_bytes() == before


def test_a_run_that_was_killed_while_it_cleaned_up(run: Run, toy: Path) -> None:
    """All files were moved and the list of them removed already: only the empty folder is left."""
    commit = publish._commit_folder(toy / "graph.ckpt")
    commit.mkdir()
    assert run("checkpoint_restore").status == 0
    assert not commit.exists()


def test_a_killed_run_leaves_a_file_that_its_list_does_not_name(run: Run, toy: Path) -> None:
    """Any folder may be somebody's: nothing is removed, nor replaced."""
    commit = publish._commit_folder(toy / "graph.ckpt")
    commit.mkdir()
    (commit / "mine").write_text("kept")
    before = read_all(toy)
    for words in (["checkpoint_restore"], ["checkpoint_save", "--resume", "--epochs", 11]):
        done = run(*words)
        assert done.status == 1
        assert done.stderr == (
            f"error: {commit} was left by a run that was killed, and holds 'mine', which its list of files does not "
            "name; move that file to another place\n"
        )
        assert read_all(toy) == before


@pytest.mark.parametrize("name", [f"g{'h'.join(ODD)}h", ODD, "n" * 235, "ü" * 117])
def test_a_prefix_of_any_characters(run: Run, tmp_path: Path, name: str) -> None:
    """The longest of its files has a name of 255 bytes, with `.data-00000-of-00001` at its end."""
    here = tmp_path / "here"
    files = {"checkpoint", *(f"{name}.{end}" for end in ("index", "data-00000-of-00001", "meta", "meta.json"))}
    assert run("checkpoint_save", "--epochs", 1, "--checkpoint", here / name).status == 0
    assert {file.name for file in here.iterdir()} == files
    before = read_all(here)
    assert run("checkpoint_save", "--resume", "--epochs", 2, "--checkpoint", here).status == 0, "by the folder's name"
    assert {file.name for file in here.iterdir()} == files
    assert find_prefix(here) == here / name
    after = read_all(here)
    assert [file for file in files if after[file] != before[file]] != []


def test_folders_made_for_a_failing_run_go_with_it(run: Run, results: Path, tmp_path: Path) -> None:
    assert run("freezemodel_save", "--frozen-model", tmp_path / "a" / "b" / "m.pb").status == 1
    assert list(tmp_path.iterdir()) == []


def test_what_tensorflow_cannot_read_or_write_is_one_line(run: Run, toy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = toy / "graph.ckpt.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:20] + b"\xff" + data.read_bytes()[21:])
    done = run("checkpoint_save", "--resume", "--epochs", 11)
    assert done.status == 1
    assert re.fullmatch(r"error: the checkpoint .*graph\.ckpt cannot be restored: .*\n", done.stderr)

    def fill_the_disk(*_: object, **__: object) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "graph.ckpt.index; No space left on device")

    monkeypatch.setattr(tf1.train.Saver, "save", fill_the_disk)
    done = run("checkpoint_save", "--epochs", 1)
    expected = "error: the checkpoint cannot be written: graph.ckpt.index; No space left on device\n"
    assert (done.status, done.stderr) == (1, expected)


def test_json_is_the_same_in_every_run(made: Path) -> None:
    text = (made / "graph.ckpt.meta.json").read_text()
    assert json.dumps(json.loads(text), sort_keys=True, indent=1) == json.dumps(json.loads(text), indent=1)


@pytest.mark.parametrize(("flag", "value"), [("--seed", -1), ("--seed", 2**31), ("--epochs", 0), ("--epochs", "ten")])
def test_numbers_out_of_range(run: Run, results: Path, flag: str, value: object) -> None:
    done = run("checkpoint_save", flag, value)
    assert done.status == 2
    assert done.stderr.startswith(f"error: argument {flag}: expected")
    assert not results.exists()


def test_resume_by_the_folders_name(run: Run, toy: Path) -> None:
    assert run("checkpoint_save", "--resume", "--epochs", 11, "--checkpoint", toy).status == 0
    assert sorted(path.name for path in toy.iterdir() if path.is_file()) == sorted([*FILES, "frozen_model.pb"])


def test_a_folder_is_no_prefix(run: Run, tmp_path: Path) -> None:
    done = run("checkpoint_save", "--checkpoint", tmp_path)
    assert done.status == 2
    assert f"is a folder; a prefix in it would be {tmp_path}/graph.ckpt" in done.stderr


def test_resume_of_another_model(run: Run, tmp_path: Path) -> None:
    with tf1.Graph().as_default(), tf1.Session() as session:
        variable = tf1.get_variable("v", [2])
        session.run(variable.initializer)
        tf1.train.Saver().save(session, str(tmp_path / "m"))
    done = run("checkpoint_save", "--resume", "--checkpoint", tmp_path / "m")
    assert done.status == 1
    assert done.stderr == f"error: {tmp_path}/m is not the toy model's; --resume goes on from its checkpoints only\n"


def test_existing_checkpoint_is_kept_without_overwrite(run: Run, tmp_path: Path) -> None:
    prefix = tmp_path / "mine" / "model.ckpt"
    assert run("checkpoint_save", "--epochs", 1, "--checkpoint", prefix).status == 0
    before = {path.name: path.read_bytes() for path in prefix.parent.iterdir()}
    done = run("checkpoint_save", "--epochs", 2, "--checkpoint", prefix)
    assert done.status == 1
    assert done.stderr == f"error: {prefix} exists already; --overwrite replaces it\n"
    assert {path.name: path.read_bytes() for path in prefix.parent.iterdir()} == before
    assert run("checkpoint_save", "--epochs", 2, "--checkpoint", prefix, "--overwrite").status == 0
    assert (prefix.parent / "model.ckpt.data-00000-of-00001").read_bytes() != before["model.ckpt.data-00000-of-00001"]
    assert np.array_equal(names(prefix.parent), sorted(before))
