"""The loops of TensorFlow 1 are found with all nodes in them, and no others."""

from __future__ import annotations

from typing import Any

import pytest
from typical_graphs import make_index

from serialization.infer.loops import find_loops
from serialization.tensorflow import tf, tf1


@pytest.fixture(autouse=True)
def _old_loops() -> Any:
    tf1.disable_control_flow_v2()
    yield
    tf1.enable_control_flow_v2()


def test_a_loop_ends_at_its_exits() -> None:
    def build() -> None:
        end = tf1.while_loop(lambda i: i < 3, lambda i: tf.add(i, 1, name="inner"), [tf.constant(0)])
        tf.add(end, 5, name="behind")

    (loop,) = find_loops(make_index(build))
    assert "while/inner" in loop
    assert not loop & {"behind", "while/Exit"}


def test_an_inner_loop_is_part_of_the_outer_one() -> None:
    def again(i: Any) -> Any:
        inner = tf1.while_loop(lambda j: j < 2, lambda j: tf.add(j, 1, name="deepest"), [tf.constant(0)])
        return i + inner

    loops = find_loops(make_index(lambda: tf1.while_loop(lambda i: i < 3, again, [tf.constant(0)])))
    assert len(loops) == 2
    assert any(a > {n for n in b if n.endswith("deepest")} for a in loops for b in loops if a is not b)


def test_a_graph_without_a_loop_has_none() -> None:
    assert find_loops(make_index(lambda: tf.add(1, 2))) == []
