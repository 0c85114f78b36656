"""Frozen lookup tables of every kind answer without their file and without an initializer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import graphs
import pytest
from conftest import Run
from handmade_graphs import graph

from serialization.graph.graph_index import GraphIndex
from serialization.graph.lookup_tables import list_table_initializers
from serialization.tensorflow import tf, tf1

WORDS, NUMBERS = ["one", "two"], [1, 2]


def save(folder: Path, table: Any, dtype: Any, look_up: Any = None) -> Path:
    """A SavedModel that looks up in the table."""
    model = tf.Module()
    model.table = table
    function = tf.function(
        lambda x: {"y": (look_up or table.lookup)(x)}, input_signature=[tf.TensorSpec([None], dtype)]
    )
    tf.saved_model.save(model, str(folder), signatures=function)
    return folder


def vectors() -> Any:
    table = tf.lookup.experimental.MutableHashTable(tf.string, tf.float32, [0.0, 0.0])
    table.insert(WORDS, [[1.0, 2.0], [3.0, 4.0]])
    return table


def dense() -> Any:
    table = tf.lookup.experimental.DenseHashTable(tf.int64, tf.float32, -1.0, empty_key=-1, deleted_key=-2)
    table.insert(tf.constant([30, 50], tf.int64), [3.0, 5.0])
    table.insert(tf.constant([70], tf.int64), [7.0])
    table.erase(tf.constant([70], tf.int64))
    return table


def static() -> Any:
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(WORDS, NUMBERS), -1)


def empty() -> Any:
    return tf.lookup.experimental.MutableHashTable(tf.string, tf.int64, -1)


@pytest.mark.parametrize(
    ("make", "dtype", "asked", "answer"),
    [
        (vectors, "string", '["two", "x"]', "[[3. 4.]\n [0. 0.]]"),
        (dense, "int64", "[50, 30, 70, 8]", "[ 5.  3. -1. -1.]"),
        (static, "string", '["two", "x"]', "[ 2 -1]"),
        (empty, "string", '["two", "x"]', "[-1 -1]"),
    ],
)
def test_a_frozen_table_answers_without_its_file(
    run: Run, tmp_path: Path, make: Any, dtype: str, asked: str, answer: str
) -> None:
    folder = save(tmp_path / "saved", make(), tf.as_dtype(dtype))
    frozen, again = tmp_path / "frozen.pb", tmp_path / "again.pb"
    done = run("freezemodel_save", "--saved-model", folder, "--frozen-model", frozen)
    assert (done.status, done.stderr) == (0, "")
    assert "proved: y: the same bits" in done.stdout
    assert answer in run("freezemodel_load", "--frozen-model", frozen, "--feed", asked).stdout

    # There and back again: the second time, the graph has the nodes already that fill the table.
    assert run("savedmodel_from_frozen", "--frozen-model", frozen, "--export-dir", tmp_path / "export").status == 0
    done = run("freezemodel_save", "--saved-model", tmp_path / "export", "--frozen-model", again)
    assert (done.status, done.stderr) == (0, "")
    assert answer in run("freezemodel_load", "--frozen-model", again, "--feed", asked).stdout


@pytest.mark.parametrize("script", ["freezemodel_save", "savedmodel_from_checkpoint"])
def test_a_table_of_constants_in_a_checkpoint_is_filled(run: Run, tmp_path: Path, script: str) -> None:
    def build() -> None:
        words = tf1.placeholder(tf.string, [None], name="words")
        scale = tf1.get_variable("scale", [], tf.int32, initializer=tf1.ones_initializer())
        tf.multiply(static().lookup(words), scale, name="y")

    prefix, out = graphs.save(tmp_path, build), tmp_path / "out"
    asked = ("--feed", '["two", "x"]')
    flag = "--frozen-model" if script == "freezemodel_save" else "--export-dir"
    done = run(script, "--checkpoint", prefix, "--outputs", "y", flag, out, *asked)
    assert (done.status, done.stderr) == (0, "")
    if script == "freezemodel_save":
        done = run("freezemodel_load", "--frozen-model", out, *asked)
    else:
        done = run("savedmodel_pretrained", "--saved-model", out, *asked)
    assert "[ 2 -1]" in done.stdout


@pytest.mark.parametrize(
    ("table", "fill", "fills"),
    [
        ("HashTableV2", "InitializeTableV2", True),
        ("HashTable", "InitializeTableFromTextFile", True),
        ("HashTableV2", "LookupTableImportV2", True),
        ("MutableHashTableV2", "LookupTableImportV2", False),  # which restores it from a checkpoint
        ("HashTableV2", "LookupTableFindV2", False),
        ("MutableHashTableV2", "LookupTableInsertV2", False),
    ],
)
def test_initializers_are_the_nodes_that_fill_a_table_first(table: str, fill: str, fills: bool) -> None:
    index = GraphIndex(graph(("table", table, []), ("fill", fill, ["table", "keys", "values"]), ("bare", fill, [])))
    assert [node.name for node in list_table_initializers(index)] == ["fill"] * fills


def test_generated_feeds_hold_keys_of_the_table(run: Run, tmp_path: Path) -> None:
    table = static()
    folder = save(tmp_path / "saved", table, tf.string, lambda words: table.lookup(tf.strings.lower(words)))
    shown = run("savedmodel_pretrained", "--saved-model", folder).stdout
    assert "['one']" in shown or "[b'one']" in shown
    assert "[1]" in shown


def test_a_table_that_a_run_changes_is_not_frozen(run: Run, tmp_path: Path) -> None:
    table = empty()

    def count(words: Any) -> Any:
        table.insert(words, table.lookup(words) + 2)
        return table.lookup(words)

    folder = save(tmp_path / "saved", table, tf.string, count)
    done = run("freezemodel_save", "--saved-model", folder, "--frozen-model", tmp_path / "frozen.pb")
    assert (done.status, done.stderr) == (
        1,
        "error: the model changes its variables as it runs, and y with them, which the result would not; keep it as a "
        "SavedModel; nothing was written\n",
    )
    assert not (tmp_path / "frozen.pb").exists()
