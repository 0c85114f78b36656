"""Values of a checkpoint are copied as bytes from its data files, and their checksums are compared."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import graphs
import pytest
from conftest import Run

from serialization.files.locate import find_checkpoint
from serialization.formats.checkpoint_index import encode_slice_key
from serialization.formats.checkpoint_values import (
    StoredValue,
    find_stored_value,
    format_slice_spec,
    parse_slice_spec,
)
from serialization.sources.from_checkpoint import PreparedCheckpoint, prepare_checkpoint, read_checkpoint_graph
from serialization.sources.frozen_reader import read_graph_def
from serialization.tensorflow import np, tf, tf1


@pytest.mark.parametrize("sharded", [False, True])
def test_values_of_every_dtype_equal_those_that_tensorflow_reads(run: Run, tmp_path: Path, sharded: bool) -> None:
    prefix = graphs.save(tmp_path, graphs.every_kind, sharded=sharded)
    reader = tf1.train.NewCheckpointReader(str(prefix))
    done = run("freezemodel_save", "--no-verify", "--checkpoint", prefix, "--frozen-model", tmp_path / "lean.pb")
    assert (done.status, done.stderr) == (0, "")
    found = {node.name: node.attr["value"].tensor for node in read_graph_def(tmp_path / "lean.pb").node}
    for name in (*graphs.KINDS, "words", "scalar", "empty"):
        got, expected = tf.make_ndarray(found[name]), reader.get_tensor(name)
        assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
        assert (got == expected).all()
    for name, axis, count in (("rows", 0, 3), ("wide", 1, 2)):
        parts = [tf.make_ndarray(found[f"{name}/part_{number}"]) for number in range(count)]
        assert (np.concatenate(parts, axis) == reader.get_tensor(name)).all()
    proved = run("freezemodel_save", "--checkpoint", prefix, "--frozen-model", tmp_path / "proved.pb")
    assert "proved: y: the same bits as the source" in proved.stdout


def pieces(found: StoredValue | None) -> bytes:
    assert found is not None
    return b"".join(found.pieces())


def test_slices_are_found_by_their_keys_and_joined_if_stored_in_order(tmp_path: Path) -> None:
    def large() -> None:
        """Variables with sizes that take one byte in a key, two, and three."""
        for name, shape, axis, count in (
            ("rows", [40, 3], 0, 3),
            ("many", [20_000, 2], 0, 2),
            ("wide", [2, 200], 1, 2),
        ):
            partitioner = tf1.fixed_size_partitioner(count, axis=axis)
            tf1.get_variable(name, shape, initializer=tf1.random_normal_initializer(), partitioner=partitioner)

    prefix = graphs.save(tmp_path, large)
    held = find_checkpoint(prefix)
    reader = tf1.train.NewCheckpointReader(str(prefix))
    named = {name.encode() for name in held.parts}
    assert {encode_slice_key(n, part) for n, parts in held.parts.items() for part in parts} == set(held.places)
    assert named == {b"rows", b"many", b"wide"}
    for name in ("rows", "many"):
        whole = reader.get_tensor(name)
        assert pieces(find_stored_value(held, name, "", 1, whole.shape)) == whole.tobytes()
    assert find_stored_value(held, "wide", "", 1, (2, 200)) is None, "it is not cut along its first axis"
    assert (
        pieces(find_stored_value(held, "rows", "40 3 14,13:0,3", 1, (13, 3)))
        == reader.get_tensor("rows")[14:27].tobytes()
    )
    assert find_stored_value(held, "rows", "40 3 0,20:0,3", 1, (20, 3)) is None, "no such slice was saved"
    assert find_stored_value(held, "rows", "", 2, (40, 3)) is None, "not the bytes of that dtype"


def test_a_partitioned_variable_is_read_whole_or_in_other_slices(run: Run, tmp_path: Path) -> None:
    def build(count: int) -> None:
        x = tf1.placeholder(tf.float32, [None, 40], name="x")
        partitioner = tf1.fixed_size_partitioner(count) if count else None
        values = tf1.random_normal_initializer(seed=3)
        w = tf1.get_variable("w", [40, 3], None, values, partitioner=partitioner)
        tf.matmul(x, tf.convert_to_tensor(w), name="y")

    saved = graphs.save(tmp_path, partial(build, 3))
    expected = tf1.train.NewCheckpointReader(str(saved)).get_tensor("w")
    for count in (0, 2):
        folder = tmp_path / str(count)
        folder.mkdir()
        graph = graphs.save(folder, partial(build, count)).with_suffix(".ckpt.meta")
        words = ("--checkpoint", saved, "--graph", graph, "--frozen-model", folder / "m.pb", "--no-verify")
        done = run("freezemodel_save", *words)
        assert (done.status, done.stderr) == (0, "")
        constants = {n.name: n.attr["value"].tensor for n in read_graph_def(folder / "m.pb").node if n.op == "Const"}
        names = [f"w/part_{number}" for number in range(count)] or ["w"]
        assert (np.concatenate([tf.make_ndarray(constants[name]) for name in names]) == expected).all()


def test_a_damaged_byte_is_reported_in_one_line(run: Run, tmp_path: Path) -> None:
    prefix = graphs.save(tmp_path, graphs.classifier)
    data = prefix.with_name(f"{prefix.name}.data-00000-of-00001")
    place = find_checkpoint(prefix).places[b"dense/kernel"]
    content = bytearray(data.read_bytes())
    content[place.offset + 5] ^= 4
    data.write_bytes(content)
    words = ("--checkpoint", prefix, "--outputs", "logits", "--frozen-model", tmp_path / "new" / "m.pb")
    before = sorted(tmp_path.iterdir())
    done = run("freezemodel_save", *words, "--no-verify")
    assert done.status == 1
    assert done.stderr == (
        f"error: {data} is damaged; the checksum of dense/kernel differs from its index's; copy it here again\n"
    )
    assert sorted(tmp_path.iterdir()) == before


def test_a_prepared_checkpoint_has_the_size_of_its_values(tmp_path: Path) -> None:
    prefix = graphs.save(tmp_path, graphs.every_kind)
    held = find_checkpoint(prefix)
    prepared: PreparedCheckpoint = prepare_checkpoint(held, read_checkpoint_graph(held), inputs="x", outputs="y")
    assert prepared.size == sum(place.size for place in held.places.values())


@pytest.mark.parametrize("spec", ["10 4 0,5:-", "3 1,2", "2 3 4 -:-:0,4"])
def test_the_text_of_a_slice_is_read_as_it_was_written(spec: str) -> None:
    assert format_slice_spec(*parse_slice_spec(spec)) == spec
