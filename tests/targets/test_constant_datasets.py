"""No frozen file holds a dataset: what is the same in each run is computed, the rest is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import graphs
import pytest
from conftest import Run
from handmade_graphs import X, graph

from serialization.errors import UserError
from serialization.graph.graph_index import GraphIndex
from serialization.sources.frozen_reader import read_graph_def
from serialization.targets.constant_datasets import fold_datasets, require_no_datasets
from serialization.tensorflow import np, tf, tf1

DATA = np.arange(600, dtype=np.float32).reshape(300, 2)


def over_constants(x: Any) -> Any:
    return x + tf.data.Dataset.from_tensor_slices(DATA).reduce(tf.zeros([2]), lambda a, b: a + b)


def in_a_for_loop(x: Any) -> Any:
    total = tf.zeros([2])
    for row in tf.data.Dataset.from_tensor_slices(DATA).batch(7).map(tf.sqrt):
        total += tf.reduce_sum(row, 0)
    return x + total


def first_element(x: Any) -> Any:
    row, number = (
        tf.data.Dataset.zip((tf.data.Dataset.from_tensors(DATA), tf.data.Dataset.range(3))).take(1).get_single_element()
    )
    return x + row[4] + tf.cast(number, tf.float32)


def over_the_input(x: Any) -> Any:
    return tf.data.Dataset.from_tensor_slices(x).reduce(tf.zeros([2]), lambda a, b: a * 0.5 + b)


def from_the_input(x: Any) -> Any:
    return tf.data.Dataset.range(3).reduce(x, lambda a, _: a * 2.0)


def of_random_numbers(x: Any) -> Any:
    rows = tf.data.Dataset.range(3).map(lambda _: tf.random.uniform([2]))
    return x + rows.reduce(tf.zeros([2]), lambda a, b: a + b)


def shuffled(x: Any) -> Any:
    rows = tf.data.Dataset.from_tensor_slices(DATA).shuffle(300)
    return x + rows.reduce(tf.zeros([2]), lambda _, b: b)


def export(folder: Path, function: Callable[[Any], Any]) -> Path:
    module = tf.Module()
    call = tf.function(function, input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    module.call = call
    tf.saved_model.save(module, str(folder), signatures={"serving_default": call})
    return folder


def list_ops(file: Path) -> set[str]:
    graph_def = read_graph_def(file)
    return {node.op for node in [*graph_def.node, *(n for f in graph_def.library.function for n in f.node_def)]}


@pytest.mark.parametrize("function", [over_constants, in_a_for_loop, first_element])
def test_a_signature_over_a_constant_dataset_is_frozen_without_it(run: Run, tmp_path: Path, function: Any) -> None:
    folder = export(tmp_path / "sm", function)
    done = run("freezemodel_save", "--saved-model", folder, "--frozen-model", tmp_path / "m.pb")
    assert (done.status, done.stderr) == (0, "")
    assert "computed 1 value of datasets, which a frozen model does not hold\n" in done.stdout
    assert "proved: output_0: the same bits as the source" in done.stdout
    assert not [op for op in list_ops(tmp_path / "m.pb") if "Dataset" in op]


REFUSED = {
    over_the_input: "which computes with a dataset over serving_default_x, which is fed",
    from_the_input: "which computes with a dataset over serving_default_x, which is fed",
    of_random_numbers: "by random_uniform/RandomUniform (RandomUniform)",
    shuffled: "which takes from a dataset what changes from run to run",
}


@pytest.mark.parametrize("function", REFUSED)
def test_a_dataset_whose_values_change_is_refused(run: Run, tmp_path: Path, function: Any) -> None:
    folder = export(tmp_path / "sm", function)
    done = run("freezemodel_save", "--saved-model", folder, "--frozen-model", tmp_path / "m.pb")
    assert (done.status, done.stdout, list(tmp_path.glob("m.pb*"))) == (1, "", [])
    assert done.stderr.startswith("error: StatefulPartitionedCall/")
    assert REFUSED[function] in done.stderr
    assert done.stderr.endswith("; a frozen model holds no dataset; keep it as a SavedModel\n")


@pytest.mark.parametrize("words", [(), ("--no-verify",)])
def test_a_checkpoint_with_a_graph_over_a_dataset(run: Run, tmp_path: Path, words: tuple[str, ...]) -> None:
    def build() -> None:
        x = tf1.placeholder(tf.float32, [None, 2], name="x")
        tf.identity(over_constants(x) * tf1.get_variable("w", [2], use_resource=True), name="y")

    prefix = graphs.save(tmp_path, build)
    done = run(
        "freezemodel_save", "--checkpoint", prefix, "--outputs", "y", "--frozen-model", tmp_path / "m.pb", *words
    )
    assert (done.status, done.stderr) == (0, "")
    assert not [op for op in list_ops(tmp_path / "m.pb") if "Dataset" in op]
    loaded = run("freezemodel_load", "--frozen-model", tmp_path / "m.pb", "--feed", "x=[[1, 2]]")
    assert (loaded.status, loaded.stderr) == (0, "")


def test_a_signature_on_an_iterator_is_refused(run: Run, tmp_path: Path) -> None:
    with tf1.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None, 2], name="x")
        y = x + tf1.data.make_one_shot_iterator(tf.data.Dataset.from_tensor_slices(DATA).repeat()).get_next()
        tf1.saved_model.simple_save(session, str(tmp_path / "sm"), {"x": x}, {"y": y})
    done = run("freezemodel_save", "--saved-model", tmp_path / "sm", "--frozen-model", tmp_path / "m.pb")
    assert (done.status, done.stdout) == (1, "")
    assert done.stderr == (
        "error: IteratorGetNext is a IteratorGetNext, which takes from a dataset what may change from run to run, by "
        "IteratorGetNext (IteratorGetNext); a frozen model holds no dataset; keep it as a SavedModel\n"
    )


def test_a_loop_around_a_dataset_is_refused() -> None:
    graph_def = graph(
        ("i", "Const", []),
        ("e", "Enter", ["i"]),
        ("d", "RangeDataset", ["e", "e", "e"]),
        ("r", "DatasetCardinality", ["d"]),
    )
    with pytest.raises(
        UserError, match=r"^r is a DatasetCardinality, which computes with a dataset in a loop or a branch, behind e; "
    ):
        fold_datasets(GraphIndex(graph_def))


def test_nothing_waits_for_a_dataset_any_more() -> None:
    graph_def = graph(X, ("d", "TensorSliceDataset", ["x"]), ("y", "Neg", ["x", "^d"]))
    assert fold_datasets(GraphIndex(graph_def)) == []
    assert list(graph_def.node[-1].input) == ["x"]
    with pytest.raises(UserError, match=r"^d is a TensorSliceDataset, which is a part of a dataset; "):
        require_no_datasets(graph_def)
