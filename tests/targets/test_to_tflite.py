"""What TFLiteConverter is given, and what it says. tests/test_tflite_from_frozen.py runs what it makes."""

from __future__ import annotations

from pathlib import Path

import exported_models
import pytest

from serialization.errors import UserError
from serialization.formats.file_kind import ModelFile
from serialization.graph.signature import Signature, Tensor
from serialization.sources.from_frozen import prepare_frozen_model
from serialization.sources.frozen_reader import read_graph_file
from serialization.targets.to_tflite import (
    _FIX_BATCH,
    _FIX_SIZES,
    LackingOpsError,
    explain_conversion,
    fix_defaults,
    spell_out_ops,
    split_rows,
)
from serialization.tensorflow import np

SELECT = """Some ops are not supported by the native TFLite runtime
TF Select ops: DecodeWav, TensorArrayV3
Details: ...
Custom ops: HashTableV2, DecodeWav
"""
LEGAL = '<unknown>:0: error: loc(fused["x:", "y@z"]): \'tf.Reserve\' op requires element_shape to be static.\nmore'


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (SELECT, "LiteRT's built-in ops lack DecodeWav, HashTableV2, TensorArrayV3"),
        (LEGAL, "TFLiteConverter says: 'tf.Reserve' op requires element_shape to be static"),
        (
            LEGAL.replace("Reserve", "TensorListReserve"),
            "TFLiteConverter says: 'tf.TensorListReserve' op requires element_shape to be static",
        ),
        (
            LEGAL.replace("Reserve", "TensorListReserve").replace("element_shape", "element_dtype"),
            "TFLiteConverter says: 'tf.TensorListReserve' op requires element_dtype to be static",
        ),
        ("no such thing\nmore", "TFLiteConverter says: no such thing"),
    ],
)
def test_what_the_converter_says_is_one_line(said: str, reason: str) -> None:
    for batch, fixing in ((None, _FIX_BATCH), (2, _FIX_SIZES)):
        fed = Signature((Tensor("x", "x:0", "float32", (batch, 3)), Tensor("k", "k:0", "float32", ())), ())
        with pytest.raises(UserError) as caught, explain_conversion(fed):
            raise RuntimeError(said)
        advice = (
            fixing if "TensorList" in said and "element_shape" in said else "cut the graph with --inputs or --outputs"
        )
        assert str(caught.value) == f"the model cannot be a LiteRT model; {reason}; {advice}; nothing was written"


@pytest.mark.parametrize(("named", "op"), [(None, "Identity"), ("x,k", "PlaceholderWithDefault")])
def test_defaults_are_fixed_in_a_copy(tmp_path: Path, named: str | None, op: str) -> None:
    file = exported_models.write(exported_models.with_default, tmp_path / "m")
    ready = prepare_frozen_model(read_graph_file(ModelFile(file)), named, "y")
    fixed = fix_defaults(ready, named)
    ops = [[node.op for node in held.graph_def.node if node.name == "k"] for held in (ready, fixed)]
    assert ops == [["PlaceholderWithDefault"], [op]]
    assert [tensor.key for tensor in fixed.signature.inputs] == (named or "x").split(",")


def test_rows_have_a_batch_of_one() -> None:
    rows = list(split_rows({"x": np.arange(6).reshape(3, 2), "k": np.array(1)}))
    assert [(row["x"].tolist(), row["k"].tolist()) for row in rows] == [([[0, 1]], 1), ([[2, 3]], 1), ([[4, 5]], 1)]


def test_an_op_is_spelled_out_if_it_is_lacking_and_has_a_formula(tmp_path: Path) -> None:
    file = exported_models.write(exported_models.lacking_ops, tmp_path / "m")
    ready = prepare_frozen_model(read_graph_file(ModelFile(file)), None, "y")
    spelled = spell_out_ops(ready, LackingOpsError("LiteRT lacks Erfc", {"Erfc", "DecodeWav"}))
    assert spelled.changes == ("spelled out 1 Erfc op, which the format lacks",)
    for held, ops in ((ready, {"Erfc", "Cross"}), (spelled, {"Erf", "Cross"})):
        assert {node.op for node in held.graph_def.node} & {"Erf", "Erfc", "Cross"} == ops
    lacking = LackingOpsError("LiteRT lacks DecodeWav", {"DecodeWav"})
    with pytest.raises(LackingOpsError, match="lacks DecodeWav"):
        spell_out_ops(spelled, lacking)
