"""The rules of ops that keep rows apart; tests/graph/test_row_independence.py tries them on graphs."""

from serialization.graph.known_ops import load_known_ops
from serialization.graph.row_rules import RULES


def test_each_rule_is_of_a_registered_op() -> None:
    assert RULES.keys() - load_known_ops().keys() == set()


def test_a_stateful_op_has_a_rule_only_if_it_reads() -> None:
    """Others change something, draw by chance or fail for all rows, as CheckNumerics does for a NaN in one."""
    stateful = {op for op in RULES if load_known_ops()[op]}
    assert stateful == {"LookupTableFindV2", "ResourceGather"}
