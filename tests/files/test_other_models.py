"""The error for a folder or a file that is not what was asked for says what lies there."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

from conftest import Fails


def test_the_error_for_a_folder_of_many_things_lists_them(error: Fails, toy: Path) -> None:
    folder = toy / "mixed"
    folder.mkdir()
    shutil.copy(toy / "frozen_model.pb", folder / "net.pb")
    shutil.copytree(toy / "savedmodel_from_source", folder / "export")
    (folder / "array.npy").write_bytes(b"\x93NUMPY\1\0")
    (folder / "README.md").write_text("words")
    (folder / "m.ckpt.data-00000-of-00001").write_bytes(bytes(9))
    there = (
        "it holds export (a SavedModel), m.ckpt (a checkpoint without its .index), "
        "net.pb (a frozen model (a GraphDef)), array.npy (an array of numpy (.npy))"
    )
    assert error("checkpoint_restore", "--checkpoint", folder) == (
        f"no checkpoint in results/mixed; found no *.index; {there}; name its prefix, one of its files, or its folder"
    )
    shutil.rmtree(folder / "export")
    there = there.replace("export (a SavedModel), ", "")
    assert error("savedmodel_pretrained", "--saved-model", folder) == (
        f"no SavedModel at results/mixed; found no saved_model.pb; {there}; name the folder that holds saved_model.pb"
    )
    (folder / "net.pb").unlink()
    there = there.replace("net.pb (a frozen model (a GraphDef)), ", "")
    assert error("freezemodel_load", "--frozen-model", folder) == (
        f"no frozen model in results/mixed; {there}; name the file itself"
    )
    for file in ("m.ckpt.data-00000-of-00001", "array.npy"):
        (folder / file).unlink()
    assert "; it holds no model, but README.md; " in error("model_inspect", folder)


def test_what_is_no_file_is_called_what_it_is(error: Fails, toy: Path) -> None:
    os.mkfifo(toy / "pipe")
    (toy / "link").symlink_to("gone.pb")
    pipe = "it is a pipe, which is not read; put its content into a file, and name that"
    link = "it is a link to gone.pb, where nothing is; copy the model itself here"
    assert error("freezemodel_load", "--frozen-model", toy / "pipe") == f"no frozen model at results/pipe; {pipe}"
    assert error("freezemodel_load", "--frozen-model", toy / "link") == f"no frozen model at results/link; {link}"
    assert error("checkpoint_restore", "--checkpoint", toy / "pipe").endswith(f"; found no pipe.index; {pipe}")
    assert error("savedmodel_pretrained", "--saved-model", toy / "pipe").endswith(f"; found no saved_model.pb; {pipe}")
    assert error("model_inspect", toy / "link") == f"nothing at results/link; {link}"
    assert "; it is a device, " in error("model_inspect", "/dev/null")
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(toy / "socket"))
        assert "; it is a socket, " in error("model_inspect", toy / "socket")


def test_a_file_beside_a_saved_model_is_a_part_of_it(error: Fails, toy: Path) -> None:
    file = toy / "savedmodel_from_source" / "fingerprint.pb"
    file.write_bytes(b"\x08\x05\x10\x06\x3a\x02id")
    assert error("model_inspect", file).startswith(
        "results/savedmodel_from_source/fingerprint.pb is a part of a SavedModel, not a model of TensorFlow; use `"
    )


def test_an_index_under_another_name_is_called_that(error: Fails, toy: Path) -> None:
    shutil.copy(toy / "graph.ckpt.index", toy / "weights")
    assert error("freezemodel_save", "--checkpoint", toy / "weights", "--frozen-model", toy / "m.pb") == (
        "results/weights is the index of a checkpoint under another name; call it NAME.index, put the data files "
        "NAME.data-... beside it, and name NAME"
    )


def test_a_saved_model_under_another_name_is_called_that(error: Fails, toy: Path) -> None:
    shutil.copy(toy / "savedmodel_from_source" / "saved_model.pb", toy / "model.pb")
    for words in (("savedmodel_pretrained", "--saved-model"), ("freezemodel_load", "--frozen-model")):
        assert error(*words, toy / "model.pb") == (
            "results/model.pb is the graph of a SavedModel under another name; call it saved_model.pb, "
            "put it beside the SavedModel's folder variables, and name the folder of both"
        )


def test_the_variables_of_a_saved_model_are_no_checkpoint_with_a_graph(error: Fails, toy: Path) -> None:
    folder = toy / "savedmodel_from_source"
    assert error("checkpoint_restore", "--checkpoint", folder / "variables") == (
        "the checkpoint results/savedmodel_from_source/variables/variables holds the variables of a SavedModel and no "
        f"graph; use `python savedmodel_pretrained.py --saved-model {folder}`".replace(f"{toy.parent}/", "")
    )


def test_a_foreign_file_in_the_place_of_a_graph_is_called_what_it_is(error: Fails, toy: Path) -> None:
    (toy / "graph").write_bytes(b"\x93NUMPY\1\0")
    assert error("checkpoint_restore", "--graph", toy / "graph") == (
        "results/graph is an array of numpy (.npy), not a graph; it holds numbers and no graph; --feed @FILE takes it "
        "as the values of inputs"
    )


def test_what_edits_advises_what_edits_the_other_kind(error: Fails, toy: Path) -> None:
    line = error("checkpoint_edit", "--checkpoint", toy / "savedmodel_from_source", "--out", toy / "new")
    assert line.endswith("use `python savedmodel_edit.py --saved-model results/savedmodel_from_source`")
    line = error("savedmodel_edit", "--saved-model", toy / "graph.ckpt", "--out", toy / "new")
    assert line.endswith("use `python checkpoint_edit.py --checkpoint results/graph.ckpt`")
    line = error("checkpoint_restore", "--checkpoint", toy / "edited.ckpt")
    assert line.endswith("make it with `python checkpoint_edit.py`")
    line = error("savedmodel_pretrained", "--saved-model", toy / "edited")
    assert "savedmodel_edit.py" in line


def test_an_exporter_advises_itself_for_another_kind_of_source(error: Fails, toy: Path) -> None:
    for script, flag in (("onnx_from_frozen", "--onnx"), ("tflite_from_frozen", "--tflite")):
        for given, right in (("savedmodel_from_source", "--saved-model"), ("graph.ckpt", "--checkpoint")):
            line = error(script, "--frozen-model", toy / given, flag, toy / "new")
            assert line.endswith(f"use `python {script}.py {right} {toy / given}`".replace(f"{toy.parent}/", ""))
