"""The error for a folder or a file that is not what was asked for says what lies there."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest
from conftest import PROJECT, Fails

RESNET = PROJECT / "pretrainedresnet" / "1"


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
        "no SavedModel at results/mixed; found no saved_model.pb; it holds a frozen model; "
        "use `python freezemodel_load.py --frozen-model results/mixed/net.pb`"
    )
    (folder / "net.pb").unlink()
    there = there.replace("net.pb (a frozen model (a GraphDef)), ", "")
    assert error("freezemodel_load", "--frozen-model", folder) == (
        f"no frozen model in results/mixed; {there}; name the file of a GraphDef"
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


def test_what_edits_advises_the_step_that_makes_its_kind(error: Fails, toy: Path) -> None:
    line = error("checkpoint_edit", "--checkpoint", toy / "savedmodel_from_source", "--out", toy / "new")
    assert line.endswith("use `python checkpoint_from_savedmodel.py --saved-model results/savedmodel_from_source`")
    for name, step in (("graph.ckpt", "checkpoint"), ("frozen_model.pb", "frozen")):
        line = error("savedmodel_edit", "--saved-model", toy / name, "--out", toy / "new")
        flag = {"frozen": "frozen-model"}.get(step, step)
        assert line.endswith(f"use `python savedmodel_from_{step}.py --{flag} results/{name}`")
    line = error("savedmodel_edit", "--saved-model", RESNET / "variables" / "variables.index", "--out", toy / "new")
    assert line == (
        "pretrainedresnet/1/variables/variables.index is a part of a SavedModel; "
        "use `python savedmodel_edit.py --saved-model pretrainedresnet/1`"
    )
    line = error("checkpoint_restore", "--checkpoint", toy / "edited.ckpt")
    assert line.endswith("make it with `python checkpoint_edit.py`")
    line = error("savedmodel_pretrained", "--saved-model", toy / "edited")
    assert "savedmodel_edit.py" in line


def test_an_exporter_advises_itself_for_another_kind_of_source(error: Fails, toy: Path) -> None:
    for script, flag in (("onnx_from_frozen", "--onnx"), ("tflite_from_frozen", "--tflite")):
        for given, right in (("savedmodel_from_source", "--saved-model"), ("graph.ckpt", "--checkpoint")):
            line = error(script, "--frozen-model", toy / given, flag, toy / "new")
            assert line.endswith(f"use `python {script}.py {right} {toy / given}`".replace(f"{toy.parent}/", ""))


@pytest.mark.parametrize(
    ("held", "words", "advice"),
    [
        ("frozen_model.pb", ("savedmodel_edit", "--saved-model"), "savedmodel_from_frozen.py --frozen-model {}/{}"),
        ("frozen_model.pb", ("checkpoint_edit", "--checkpoint"), "checkpoint_from_frozen.py --frozen-model {}/{}"),
        ("frozen_model.pb", ("savedmodel_from_keras", "--keras"), "savedmodel_from_frozen.py --frozen-model {}/{}"),
        ("savedmodel_from_source", ("freezemodel_edit", "--frozen-model"), "freezemodel_save.py --saved-model {}/{}"),
        ("graph.ckpt.*", ("freezemodel_serve", "--frozen-model"), "freezemodel_serve.py --checkpoint {}"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_of_a_folder_or_an_archive_of_another_kind_the_step_is_named(
    error: Fails, toy: Path, held: str, words: tuple[str, str], advice: str, packed: bool
) -> None:
    folder = toy.parent / "given"
    folder.mkdir()
    for path in toy.glob(held):
        shutil.copytree(path, folder / path.name) if path.is_dir() else shutil.copy(path, folder)
    place = Path(shutil.make_archive(str(toy.parent / "packed"), "zip", folder)) if packed else folder
    line = error(*words, place)
    assert line.endswith(f"use `python {advice.format(place.name, held)}`")
    assert "it holds a " in line


def test_an_onnx_model_in_an_archive_is_called_that(error: Fails, toy: Path) -> None:
    graph = b"\x0a\x0e\x0a\x01x\x12\x01y\x22\x04Relu\x0a\x00"
    (toy / "held").mkdir()
    (toy / "held" / "net").write_bytes(b"\x08\x08\x3a" + bytes([len(graph)]) + graph)
    place = Path(shutil.make_archive(str(toy / "packed"), "gztar", toy / "held"))
    assert error("freezemodel_load", "--frozen-model", place).startswith(
        f"no frozen model in results/{place.name}; it holds an ONNX model, results/{place.name}/net; "
        "freezemodel_serve.py --onnx serves it, "
    )


def test_a_folder_of_no_model_is_called_that(error: Fails, toy: Path) -> None:
    (toy.parent / "given").mkdir()
    assert error("model_inspect", toy.parent / "given") == (
        "no model in given; it is empty; name a file or the folder of a model, or the prefix of a checkpoint"
    )
    assert error("savedmodel_from_keras", "--keras", toy.parent / "given") == (
        "no Keras model in given; it is empty; name a .keras or .h5 file, or the JSON of a model's layers"
    )
