"""The rules of row independence; tests/graph/test_row_independence.py tries them on graphs."""

from serialization.graph.known_ops import load_known_ops
from serialization.graph.row_rules import RULES


def test_each_rule_is_for_a_registered_op() -> None:
    assert RULES.keys() - load_known_ops().keys() == set()


def test_a_stateful_op_has_a_rule_only_if_it_reads() -> None:
    """Other stateful ops change something, are random, or fail for all rows, as CheckNumerics does for one NaN."""
    stateful = {op for op in RULES if load_known_ops()[op]}
    assert stateful == {"LookupTableFindV2", "ResourceGather"}
