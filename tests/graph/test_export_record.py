"""The record of an exported file is written, sealed and read back."""

from __future__ import annotations

from pathlib import Path

import pytest

from serialization.graph.export_record import make_record, name_in_file, read_record, seal_record
from serialization.graph.row_facts import RowFacts
from serialization.graph.signature import Signature, Tensor
from serialization.run.given_feeds import make_default
from serialization.tensorflow import np

SIGNATURE = Signature(
    (Tensor("k", "k", "float32", ()), Tensor("words", "words", "string", None), Tensor("x", "x", "int8", (None, 2))),
    (Tensor("y", "y_", "float32", (None,)),),
    key="mine",
)
DEFAULTS = {"k": np.array(2.5, "f"), "words": np.array([b"a", b"bc"], object)}


def seal(path: Path) -> str:
    record = make_record(SIGNATURE, RowFacts(independent=True), DEFAULTS, None, ["cat"])
    path.write_bytes(b"\0\1before" + record + b"after\2")
    seal_record(path, record)
    return path.read_bytes()[8:-6].decode()


def test_all_of_it_is_read_back(tmp_path: Path) -> None:
    text = seal(tmp_path / "m")
    found = read_record((tmp_path / "m").read_bytes(), text)
    signature = found.read_signature()
    assert signature.key == "mine"
    assert [(t.key, t.name, t.dtype, t.shape) for t in (*signature.inputs, *signature.outputs)] == [
        (t.key, t.name, t.dtype, t.shape) for t in (*SIGNATURE.inputs, *SIGNATURE.outputs)
    ]
    k, words, x = signature.inputs
    assert x.default is None
    assert k.default is not None
    assert words.default is not None
    for default, value in ((k.default, np.array(2.5, "f")), (words.default, np.array([b"a", b"bc"], object))):
        assert make_default(default).dtype == value.dtype
        assert make_default(default).tolist() == value.tolist()
    assert (found.read_row_facts(), found.labels, found.difference) == (RowFacts(independent=True), ("cat",), {})


@pytest.mark.parametrize("place", [0, 5, -1])
def test_another_byte_anywhere_else_breaks_the_seal(tmp_path: Path, place: int) -> None:
    text = seal(tmp_path / "m")
    data = bytearray((tmp_path / "m").read_bytes())
    data[place] ^= 1
    with pytest.raises(ValueError, match="the file was changed after its export"):
        read_record(bytes(data), text)


def test_another_text_is_not_the_record(tmp_path: Path) -> None:
    text = seal(tmp_path / "m")
    with pytest.raises(ValueError, match="the file was changed after its export"):
        read_record((tmp_path / "m").read_bytes(), text.replace("cat", "dog"))


def test_tensors_are_named_as_in_the_file() -> None:
    graph = Signature((Tensor("a", "in:0", "float32", ()),), (Tensor("b", "out:0", "float32", ()),))
    named = name_in_file(graph, {"in:0": "a"}, ["b_"])
    assert (named.inputs[0].name, named.outputs[0].name) == ("a", "b_")
