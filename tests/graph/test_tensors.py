"""dtype, shape and likely use of a tensor, from its NodeDef alone."""

from __future__ import annotations

from typing import Any

import pytest

from serialization.formats import protos
from serialization.graph.signature import Tensor
from serialization.graph.tensors import count_outputs, describe_tensor, is_keep_probability, is_training_switch


def node(op: str, **attributes: Any) -> Any:
    return protos.NodeDef(name="n", op=op, attr={name: protos.AttrValue(**value) for name, value in attributes.items()})


def shape(*sizes: int | None) -> Any:
    return protos.TensorShapeProto(dim=[{"size": -1 if size is None else size} for size in sizes])


UNKNOWN_RANK = protos.TensorShapeProto(unknown_rank=True)
SHAPES = {"list": {"shape": [shape(1), shape(None, 3)]}}


@pytest.mark.parametrize(
    ("described", "name", "dtype", "expected"),
    [
        (node("Placeholder", dtype={"type": 1}, shape={"shape": shape(None, 10)}), "n", "float32", (None, 10)),
        (node("Placeholder", dtype={"type": 7}, shape={"shape": UNKNOWN_RANK}), "n", "string", None),
        (node("Placeholder", dtype={"type": 3}), "n:0", "int32", None),
        (node("VarHandleOp", dtype={"type": 1}, shape={"shape": shape(2)}), "n", "resource", None),
        (node("VariableV2", dtype={"type": 1}, shape={"shape": shape(2)}), "n", "float32", None),
        (node("Add", T={"type": 2}, _output_shapes=SHAPES), "n:0", "float64", (1,)),
        (
            node("IteratorGetNext", output_types={"list": {"type": [1, 9]}}, output_shapes=SHAPES),
            "n:1",
            "int64",
            (None, 3),
        ),
        (node("Split", num_split={"i": 2}, T={"type": 1}), "n:1", "float32", None),
        (node("Split", num_split={"i": 2}, T={"type": 1}), "n:2", "unknown", None),
        (node("Unheard", Tout={"type": 1}), "n", "unknown", None),
        (node("Unheard", T={"type": 1}, dtype={"type": 3}), "n", "int32", None),
    ],
)
def test_dtype_and_shape_are_those_that_the_node_records(described: Any, name: str, dtype: str, expected: Any) -> None:
    found = describe_tensor({"n": described}, name)
    assert (found.dtype, found.shape) == (dtype, expected)
    assert found.name == (name if ":" in name else f"{name}:0")
    assert found.key == name.removesuffix(":0")


def tensor(name: str, dtype: str = "bool", shape: tuple[int | None, ...] | None = (None,)) -> Tensor:
    return Tensor(name, f"{name}:0", dtype, shape)


@pytest.mark.parametrize(
    ("described", "is_switch"),
    [
        (tensor("any", shape=()), True),
        (tensor("any", shape=None), True),
        (tensor("model/is_training"), True),
        (tensor("PHASE_TRAIN"), True),
        (tensor("training_1"), True),
        (tensor("trainable"), False),
        (tensor("is_training/rows"), False),
        (tensor("is_training", "int32", ()), False),
    ],
)
def test_a_switch_is_a_single_bool_or_has_the_name_of_one(described: Tensor, is_switch: bool) -> None:
    assert is_training_switch(described) == is_switch


@pytest.mark.parametrize(
    ("name", "is_keep"),
    [
        ("keep_prob", True),
        ("net/Keep_Prob_1", True),
        ("dropout_rate", True),
        ("droprate", True),
        ("dropout/x", False),
        ("kept", False),
    ],
)
def test_a_keep_probability_is_told_by_its_name(name: str, is_keep: bool) -> None:
    assert is_keep_probability(tensor(name, "float32", ())) == is_keep


@pytest.mark.parametrize(
    ("counted", "outputs"),
    [
        (node("NoOp"), 0),
        (node("Add"), 1),
        (node("TopKV2"), 2),
        (node("Split", num_split={"i": 3}), 3),
        (node("FusedBatchNormV3"), 1),  # its other outputs are for the gradient
        (node("SparseSoftmaxCrossEntropyWithLogits"), 1),
        (node("Unheard"), 1),
        (node("Unheard", Tout={"list": {"type": [1, 1]}}), 2),
    ],
)
def test_only_outputs_that_a_caller_may_want_are_counted(counted: Any, outputs: int) -> None:
    assert count_outputs(counted) == outputs
