"""The sets of ops agree with the ops that this TensorFlow registers."""

import pytest

from serialization.graph import op_sets
from serialization.graph.known_ops import load_known_ops

OLDER = {"AutoReloadVariable"}  # ops that TensorFlow 2.21 does not have any more
SETS = {name: value for name, value in vars(op_sets).items() if isinstance(value, (set, frozenset))}


@pytest.mark.parametrize("name", SETS)
def test_every_op_is_registered_or_of_an_older_tensorflow(name: str) -> None:
    assert SETS[name]
    assert SETS[name] - load_known_ops().keys() <= OLDER


def test_sets_cannot_be_changed() -> None:
    assert {name for name, value in SETS.items() if not isinstance(value, frozenset)} == set()


def test_tables_has_every_op_that_makes_a_table() -> None:
    assert {op for op in load_known_ops() if op.endswith(("HashTable", "HashTableV2", "OfTensors", "OfTensorsV2"))} == (
        op_sets.TABLES
    )


def test_every_table_op_has_a_role() -> None:
    roles = op_sets.TABLE_WRITERS | op_sets.TABLE_EXPORTS | op_sets.TABLE_SIZES | op_sets.TABLE_LOOKUPS
    assert {op for op in load_known_ops() if op.startswith(("LookupTable", "InitializeTable"))} == roles


def test_pass_through_ops_come_with_their_ref_forms() -> None:
    registered = {op for op in op_sets.PASS_THROUGH if f"Ref{op}" in load_known_ops()}
    assert {f"Ref{op}" for op in registered} == op_sets.REF_FORMS == op_sets.PASS_THROUGH - registered


@pytest.mark.parametrize(
    "op",
    [
        *("Assign", "AssignAdd", "AssignVariableOp", "ApplyAdam", "SparseApplyFtrl", "ResourceApplyAdam", "CountUpTo"),
        *("ResourceScatterUpdate", "ScatterNdAdd", "ScatterDiv", "StridedSliceAssign", "ResourceStridedSliceAssign"),
        *("LookupTableInsertV2", "LookupTableRemoveV2"),
    ],
)
def test_ops_that_change_a_variable_or_table_are_updates(op: str) -> None:
    assert op in load_known_ops()
    assert op_sets.is_update(op)


@pytest.mark.parametrize("op", ["ResourceGather", "ResourceGatherNd", "ScatterNd", "LookupTableFindV2", "MatMul"])
def test_other_ops_are_no_updates(op: str) -> None:
    assert op in load_known_ops()
    assert not op_sets.is_update(op)


@pytest.mark.parametrize(
    "op", ["While", "StatelessWhile", "RefEnter", "QueueDequeueV2", "Unstage", "BarrierTakeMany", "IteratorGetNext"]
)
def test_ops_that_may_wait_are_recognised(op: str) -> None:
    assert op in load_known_ops()
    assert op_sets.may_wait(op)
    assert not op_sets.may_wait("MatMul")
