"""Names of nodes tell whether an author chose them, and whether they speak of an output."""

from __future__ import annotations

import pytest

from serialization.formats import protos
from serialization.infer import names


@pytest.mark.parametrize(
    ("name", "op", "own"),
    [
        ("logits", "MatMul", True),
        ("dense/MatMul", "MatMul", False),
        ("dense/MatMul_12", "MatMul", False),
        ("add", "AddV2", False),  # the op's name without its version
        ("AddV2", "AddV2", False),
        ("truediv", "RealDiv", False),  # the function's name
        ("xw_plus_b", "BiasAdd", False),
        ("embedding_lookup/Identity", "Identity", False),
        ("embedding_lookup", "Identity", False),
        ("dense/output_1", "Identity", True),
        ("MatMul/y", "Identity", True),  # the last part counts
    ],
)
def test_a_name_of_the_author_is_neither_that_of_the_op_nor_of_its_function(name: str, op: str, own: bool) -> None:
    assert names.has_own_name(protos.NodeDef(name=name, op=op)) is own


@pytest.mark.parametrize(
    ("tensor", "speaks"),
    [
        ("output:0", True),
        ("Predictions/Reshape_1:0", True),  # a scope counts
        ("model/softmax_tensor", True),
        ("final_result", True),
        ("class_scores_2:0", True),
        ("scoreboard:0", False),
        ("throughput:0", False),
        ("dense/BiasAdd:0", False),
        ("", False),
    ],
)
def test_a_name_speaks_of_an_output_from_the_start_of_a_word(tensor: str, speaks: bool) -> None:
    assert names.speaks_of_output(tensor) is speaks


@pytest.mark.parametrize(
    ("node", "called"),
    [
        ("net/output", True),
        ("final_outputs", True),
        ("Predictions", True),
        ("output_1", False),
        ("output/MatMul", False),
    ],
)
def test_only_the_whole_last_part_calls_a_node_the_output(node: str, called: bool) -> None:
    assert names.is_called_output(node) is called


def test_auxiliary_heads_are_told_by_the_start_of_a_scope() -> None:
    assert names.is_called_auxiliary("InceptionV3/AuxLogits/SpatialSqueeze:0")
    assert names.is_called_auxiliary("aux_head:0")
    assert not names.is_called_auxiliary("Luxaux/logits:0")


@pytest.mark.parametrize(
    ("tensor", "stripped"),
    [
        ("replica_1/dense/logits:0", "dense/logits"),
        ("tower_0/dense_2/logits", "dense/logits"),
        ("train/gpu1/clone_3/logits", "train/logits"),
        ("dense/logits_1:0", "dense/logits_1"),  # two results of one network
        ("tower/logits", "tower/logits"),
        ("tower_0", "tower_0"),
    ],
)
def test_copies_of_a_network_have_one_stripped_name(tensor: str, stripped: str) -> None:
    assert names.strip_copy(tensor) == stripped
