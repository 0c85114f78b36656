"""An ONNX file is read without the onnx package; no damage makes the reader fail otherwise than by DamagedError."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path

import pytest
from onnx import TensorProto, helper

from serialization.formats import onnx_file
from serialization.formats.onnx_file import find_external_files, read_onnx_file
from serialization.formats.wire import DamagedError


def make() -> bytes:
    """A model with a branch, a default value and metadata."""
    inner = [
        helper.make_graph([helper.make_node(op, ["x"], ["z"])], op, [], [helper.make_tensor_value_info("z", 1, [None])])
        for op in ("Relu", "Neg")
    ]
    nodes = [
        helper.make_node("If", ["which"], ["y"], then_branch=inner[0], else_branch=inner[1]),
        helper.make_node("LabelEncoder", ["s"], ["n"], domain="ai.onnx.ml", keys_strings=["a"], values_int64s=[1]),
    ]
    inputs = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3]),
        helper.make_tensor_value_info("which", TensorProto.BOOL, []),
        helper.make_tensor_value_info("s", TensorProto.STRING, None),
    ]
    outputs = [helper.make_tensor_value_info("y", 1, [None, 3]), helper.make_tensor_value_info("n", 7, None)]
    which = helper.make_tensor("which", TensorProto.BOOL, [], [True])
    graph = helper.make_graph(nodes, "m", inputs, outputs, [which])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 2)]
    model = helper.make_model(graph, opset_imports=opsets, producer_name="tests", producer_version="1")
    helper.set_model_props(model, {"author": "me"})
    return bytes(model.SerializeToString())


def test_what_a_file_says() -> None:
    model = read_onnx_file(make())
    assert (model.producer, model.versions) == ("tests 1", {"ai.onnx": 18, "ai.onnx.ml": 2})
    (signature,) = model.signatures
    assert [(t.key, t.dtype, t.shape) for t in signature.inputs] == [
        ("x", "float32", (None, 3)),
        ("which", "bool", ()),
        ("s", "string", None),
    ]
    assert [(t.key, t.dtype, t.shape) for t in signature.outputs] == [("y", "float32", (None, 3)), ("n", "int64", None)]
    assert model.ops == {"If": 1, "ai.onnx.ml.LabelEncoder": 1, "Relu": 1, "Neg": 1}
    assert (model.metadata, model.constants, model.parameters, model.defaults) == ({"author": "me"}, 1, 1, ("which",))


def test_damaged_files() -> None:
    whole, generator = make(), random.Random(1)
    read = 0
    for _ in range(3000):
        damaged = bytearray(whole)
        for _ in range(generator.randint(1, 5)):
            damaged[generator.randrange(len(damaged))] = generator.randrange(256)
        with suppress(DamagedError):
            read_onnx_file(bytes(damaged[: generator.randint(1, len(damaged))]))
            read += 1
    assert read, "some damage is in a name"
    with pytest.raises(DamagedError, match="no graph"):
        read_onnx_file(b"\x08\x08")


@pytest.mark.parametrize("chunk", [1, 7, 1 << 24])
def test_files_with_constants_are_found_below_the_folder_only(
    chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_file, "_CHUNK", chunk)
    names = [b"m.data", b"deeper/" + b"n" * 200, b"../up.data", b"/etc/passwd", b"a\0b", b"\xff", b""]
    length = {200 + len("deeper/"): b"\xcf\x01"}
    places = [b"\x0a\x08location\x12" + length.get(len(name), bytes([len(name)])) + name for name in names]
    (tmp_path / "m.onnx").write_bytes(b"graph".join([b"", *places, b"\x0a\x08location\x12\xff"]))
    found = {str(file.relative_to(tmp_path)) for file in find_external_files(tmp_path / "m.onnx")}
    assert found == {"m.data", "deeper/" + "n" * 200}
