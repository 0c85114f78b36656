"""A file is described by its exporter's record where this holds, else by its own signature."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import onnx
import pytest
from conftest import Run

from serialization.errors import UserError
from serialization.formats.exported import ExportedModel, ExportedSignature, ExportedTensor
from serialization.formats.onnx_file import read_onnx_file
from serialization.graph.export_record import RECORD, make_record, seal_record
from serialization.graph.row_facts import RowFacts
from serialization.graph.signature import Signature, Tensor
from serialization.runtimes.exported_file import ExportedFile, read_exported_file, require_numpy_dtypes

X, Y = Tensor("x", "x", "float32", (None, 3)), Tensor("y", "y", "float32", (None, 3))
OWN = ExportedSignature("", *((ExportedTensor(key, key, "float32", (None, None)),) for key in "xy"))


def read(path: Path, *, signatures: Any = (OWN,), defaults: tuple[str, ...] = ()) -> tuple[ExportedFile, list[str]]:
    """What is read of a file that is its record, and what is said about it."""
    said: list[str] = []

    def parse(data: Any) -> ExportedModel:
        return ExportedModel("", {}, signatures, {}, {RECORD: bytes(data[4:]).decode()}, 0, 0, defaults)

    return read_exported_file(path, parse, said.append), said


def write(path: Path, signature: Signature, **how: Any) -> Path:
    record = make_record(signature, RowFacts(True, True), {}, {"absolute": 0.1}, ("a", "b"), **how)
    path.write_bytes(b"head" + record)
    seal_record(path, record)
    return path


def test_the_record_holds(tmp_path: Path) -> None:
    found, said = read(write(tmp_path / "m", Signature((X,), (Y,), key="mine")))
    assert (found.signature, found.signature.key) == (Signature((X,), (Y,)), "mine")
    assert (found.key, found.facts, found.labels, said) == ("", RowFacts(True, True), ("a", "b"), [])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda data: b"tail" + data[4:], "the file was changed after its export"),
        (lambda data: data.replace(b'"version":1', b'"version":2'), "Invalid enum value 2"),
        (lambda data: data[:-1], "Input data was truncated"),
        (lambda data: b"head[]", "Expected `object`, got `array`"),
    ],
)
def test_a_record_that_does_not_hold_is_ignored_with_its_reason(tmp_path: Path, damage: Any, reason: str) -> None:
    path = write(tmp_path / "m", Signature((X,), (Y,)))
    path.write_bytes(damage(path.read_bytes()))
    found, (line,) = read(path)
    assert found.signature.inputs == (Tensor("x", "x", "float32", (None, None)),)
    assert (found.facts, found.labels) == (RowFacts(), ())
    assert line.startswith("ignored the exporter's record in ")
    assert reason in line
    assert line.endswith("; the rows of each request run by themselves")


@pytest.mark.parametrize(
    "signature",
    [
        Signature((Tensor("x", "z", "float32", (None, 3)),), (Y,)),
        Signature((Tensor("x", "x", "int32", (None, 3)),), (Y,)),
        Signature((X,), (Tensor("y", "x", "float32", None),)),
        Signature((X, X), (Y,)),
    ],
)
def test_a_record_of_other_tensors_is_ignored(tmp_path: Path, signature: Signature) -> None:
    _, (line,) = read(write(tmp_path / "m", signature))
    assert "it has other tensors than the file" in line or "it has a key twice" in line


def test_without_a_record_inputs_with_a_value_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"head")
    own = ExportedSignature("", (*OWN.inputs, ExportedTensor("w", "w", "float32", (3,))), OWN.outputs)
    found, _ = read(tmp_path / "m", signatures=(own,), defaults=("w",))
    assert [tensor.key for tensor in found.signature.inputs] == ["x"]
    assert found.signature.key == "serving_default"


def test_of_several_signatures_the_usual_one_or_the_first_is_taken(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"head")
    for keys, taken in {("b", "a"): "b", ("a", "serving_default"): "serving_default"}.items():
        signatures = [ExportedSignature(key, OWN.inputs, OWN.outputs) for key in keys]
        found, said = read(tmp_path / "m", signatures=signatures)
        assert (found.key, found.signature.key) == (taken, taken)
        assert said[0].endswith(f"m has the signatures {keys[0]}, {keys[1]}; taking {taken}")


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"\x08")
    with pytest.raises(UserError, match=r"m is damaged; .*; export it again$"):
        read_exported_file(tmp_path / "m", read_onnx_file)


def test_short_numbers_are_refused(tmp_path: Path) -> None:
    short = Signature((X,), (Tensor("y", "y", "bfloat16", None),))
    with pytest.raises(UserError, match=r"^LiteRT cannot run the model: Python gives it no arrays of bfloat16"):
        require_numpy_dtypes(ExportedFile(tmp_path, short, ""), "LiteRT")


def test_what_is_no_tensor_is_refused(tmp_path: Path) -> None:
    maps = Signature((X,), (Tensor("probabilities", "probabilities", "unknown", None),))
    with pytest.raises(UserError, match=r"cannot be served: probabilities is no tensor, .*'zipmap': False"):
        require_numpy_dtypes(ExportedFile(tmp_path, maps, ""), "onnxruntime")


def test_what_onnx_tools_change_is_noticed(run: Run, toy: Path) -> None:
    """Tools keep the metadata of a file, and change its graph: its rows may then depend on each other."""
    words = ("--frozen-model", toy / "frozen_model.pb", "--onnx", toy / "m.onnx")
    assert run("onnx_from_frozen", *words).status == 0
    said: list[object] = []
    found = read_exported_file(toy / "m.onnx", read_onnx_file)
    assert found.facts == RowFacts(True, True)
    assert [(t.key, t.shape) for t in found.signature.outputs] == [("output1", (None, 1))]
    model = onnx.load(toy / "m.onnx")
    model.graph.node[0].doc_string = "changed"
    onnx.save(model, toy / "changed.onnx")
    (record,) = (entry.value for entry in model.metadata_props if entry.key == RECORD)
    assert msgspec.json.decode(record)["difference"] == json.loads('{"absolute": 0.0001, "relative": 0.001}')
    assert read_exported_file(toy / "changed.onnx", read_onnx_file, said.append).facts == RowFacts()
    assert "the file was changed after its export" in str(said[0])
