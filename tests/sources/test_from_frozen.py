"""Frozen graphs are prepared for import."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import graphs
import pytest
from conftest import Run

from serialization.errors import UserError
from serialization.graph.graph_index import GraphIndex
from serialization.graph.recorded_signature import RECORD, record_signature
from serialization.graph.signature import Signature, Tensor
from serialization.sources.from_frozen import PreparedFrozenModel, prepare_frozen_model, read_written_model
from serialization.sources.frozen_reader import GraphFile
from serialization.tensorflow import tf, tf1


def test_a_frozen_graph_with_reference_dtypes_is_repaired(run: Run, tmp_path: Path) -> None:
    (tmp_path / "their.pb").write_bytes(graphs.freeze(graphs.batch_norm, ["y"]).SerializeToString())
    done = run("freezemodel_load", "--frozen-model", tmp_path / "their.pb", "--outputs", "y")
    assert (done.status, done.stderr) == (0, "")
    assert "repaired: replaced 1 RefSwitch op with Switch" in done.stdout


def prepare(build: Callable[[], Any], outputs: str | None = "y", *, trust: bool = False) -> PreparedFrozenModel:
    with tf1.Graph().as_default() as built:
        build()
    file = GraphFile(GraphIndex(built.as_graph_def(add_shapes=True)), path=Path("/models/m.pb"))
    return prepare_frozen_model(file, outputs=outputs, trust=trust)


def variables(count: int) -> Callable[[], Any]:
    def build() -> None:
        held = [tf1.get_variable(f"v{n}", [], use_resource=n % 2 == 0) for n in range(count)]
        tf.add_n([variable + 0.0 for variable in held], name="y")

    return build


@pytest.mark.parametrize(
    ("count", "listed"), [(1, "v0"), (5, "v0, v1, v2, v3, v4"), (7, "v0, v1, v2, v3, v4 and 2 more")]
)
def test_a_graph_that_needs_variables_is_not_frozen(count: int, listed: str) -> None:
    with pytest.raises(UserError) as caught:
        prepare(variables(count))
    assert str(caught.value) == (
        f"/models/m.pb is not frozen; it holds the variables {listed}, whose values are in a checkpoint; "
        "freeze it with freezemodel_save.py --checkpoint PREFIX --graph FILE"
    )


def test_variables_that_no_output_needs_are_left_out() -> None:
    def build() -> None:
        variables(1)()
        tf.negative(tf1.placeholder(tf.float32, [None, 2], name="x"), name="other")

    ready = prepare(build, "other")
    assert [node.name for node in ready.graph_def.node] == ["x", "other"]
    assert (ready.initializers, ready.hints) == ((), {})
    assert [str(tensor) for tensor in ready.signature.inputs] == ["x:0 float32 [None, 2]"]


def test_the_graph_hints_at_values_and_batches() -> None:
    def build() -> None:
        x = tf1.placeholder(tf.float32, None, name="x")
        tf.concat([tf.zeros([7, 3]), tf.matmul(x, tf.ones([5, 3]))], 1, name="y")

    ready = prepare(build)
    assert ready.hints["x"].shape == (None, 5)
    assert ready.batches == (7, 5)


def test_a_harmful_graph_is_refused_unless_it_is_trusted() -> None:
    def build() -> None:
        name = tf1.placeholder(tf.string, [], name="name")
        with tf1.control_dependencies([tf.io.write_file(name, "x")]):
            tf.identity(name, name="y")
        tf.identity(name, name="harmless")

    with pytest.raises(UserError, match=r"^/models/m.pb is not safe to load; it would write files: WriteFile at "):
        prepare(build)
    prepare(build, trust=True)
    prepare(build, "harmless")


def test_a_written_file_is_read_by_the_signature_of_its_source(tmp_path: Path) -> None:
    with tf1.Graph().as_default() as graph:
        tf.negative(tf1.placeholder(tf.float32, [None], name="x"), name="y")
    x, y = (Tensor(name, f"{name}:0", "float32", None) for name in "xy")
    graph_def = graph.as_graph_def()
    record_signature(graph_def, Signature((x,), (replace(y, key="answer"),)))
    (tmp_path / "m.pb").write_bytes(graph_def.SerializeToString())
    ready = read_written_model(tmp_path / "m.pb", Signature((x,), (replace(y, key="answer"),)))
    assert [tensor.key for tensor in ready.signature.outputs] == ["answer"]
    with pytest.raises(UserError, match="than those of its source; found x -> answer, expected x -> y; name"):
        read_written_model(tmp_path / "m.pb", Signature((x,), (y,)))


def test_any_record_is_read_or_ignored_with_a_line() -> None:
    """Records that lie about roles, places, outputs and keys, on any node."""
    with tf1.Graph().as_default() as graph:
        x = tf1.placeholder(tf.float32, [None, 2], name="x")
        rate = tf1.placeholder_with_default(1.0, [], name="rate")
        first, second = tf.split(x * rate, 2, axis=1, name="parts")
        tf.identity(first + second, name="y")
    choose = random.Random(1).choice
    seen: Counter[str] = Counter()
    for _ in range(400):
        graph_def = graph.as_graph_def()
        for _ in range(choose((1, 2, 4))):
            role, number = choose(("input", "optional", "output", "output")), choose(("0", "0", "0", "1", "7"))
            place, key = choose(("0", "1", "2", "-1")), choose(("x", "y", "a:b", "", "no\nkey"))
            entry = choose((":".join(("1", role, place, number, key)),) * 20 + ("", "1:", "3:input:0:0:x"))
            choose(graph_def.node).attr[RECORD].list.s.append(entry.encode())
        file = GraphFile(GraphIndex(graph_def), path=Path("/models/m.pb"))
        ready = prepare_frozen_model(file)
        seen["ignored" if "ignored the signature" in ready.notes[0] else "read"] += 1
        assert not any("\n" in note for note in ready.notes)
        assert not any(RECORD in node.attr for node in ready.graph_def.node)
    assert min(seen["ignored"], seen["read"]) > 10, seen
