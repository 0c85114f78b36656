"""A checkpoint's index is read as TensorFlow reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sstables import make_table

from serialization.errors import UserError
from serialization.files import locate
from serialization.formats import protos
from serialization.formats.checkpoint_index import (
    OBJECT_GRAPH,
    Checkpoint,
    Place,
    Variable,
    check_v1_blocks,
    find_index_files,
    format_saver_path,
    list_v1_files,
    read_checkpoint_index,
)
from serialization.formats.file_kind import ModelFile
from serialization.formats.sstable import mask_crc32c
from serialization.tensorflow import tf, tf1


def test_the_index_is_read_as_tensorflow_reads_it(toy: Path) -> None:
    found = locate.find_checkpoint(toy / "graph.ckpt")
    reader = tf1.train.load_checkpoint(str(toy / "graph.ckpt"))
    dtypes = {name: tf.as_dtype(dtype).name for name, dtype in reader.get_variable_to_dtype_map().items()}
    assert {v.name: list(v.shape) for v in found.variables} == reader.get_variable_to_shape_map()
    assert {v.name: v.dtype for v in found.variables} == dtypes
    assert [file.stat().st_size for file in found.files] == list(found.ends)


def test_an_index_of_many_blocks_is_read(tmp_path: Path) -> None:
    with tf1.Graph().as_default(), tf1.Session() as session:
        for number in range(300):
            tf1.get_variable(f"layer_{number:03}/a_rather_long_name/weights", initializer=float(number))
        session.run(tf1.global_variables_initializer())
        tf1.train.Saver().save(session, str(tmp_path / "m"))
    found = locate.find_checkpoint(tmp_path / "m")
    assert [v.name for v in found.variables] == [f"layer_{n:03}/a_rather_long_name/weights" for n in range(300)]


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).touch()


@pytest.mark.parametrize(
    ("there", "found"),
    [
        ([], []),
        (["m.index"], ["m.index"]),
        (["m"], ["m"]),
        (["m", "m.index"], ["m.index"]),
        (
            ["m-00001-of-00002", "m-00000-of-00002", "m-1-of-2", "mm-00000-of-00001", "m.meta"],
            ["m-00000-of-00002", "m-00001-of-00002"],
        ),
    ],
)
def test_index_files_are_those_of_the_second_format_else_of_the_first(
    tmp_path: Path, there: list[str], found: list[str]
) -> None:
    touch(tmp_path, *there)
    assert [file.name for file in find_index_files(tmp_path / "m")] == found


def test_a_prefix_in_no_folder_has_no_files(tmp_path: Path) -> None:
    assert list_v1_files(tmp_path / "missing" / "m") == list_v1_files(Path("/")) == []


@pytest.mark.parametrize(
    ("version", "names", "path"),
    [
        ("V2", ["m.data-00000-of-00001"], "m"),
        ("V1", ["m"], "m"),
        ("V1", ["m-00000-of-00002", "m-00001-of-00002"], "m-?????-of-00002"),
    ],
)
def test_the_saver_is_given_the_prefix_or_the_pattern_of_the_shards(version: str, names: list[str], path: str) -> None:
    files = tuple(Path("/folder") / name for name in names)
    assert format_saver_path(Checkpoint(Path("/folder/m"), version, files, (), object_graph=False)) == f"/folder/{path}"


def header(**fields: Any) -> bytes:
    return bytes(protos.BundleHeaderProto(**{"num_shards": 1, **fields}).SerializeToString())


def entry(*shape: int, **fields: Any) -> bytes:
    dims = [{"size": size} for size in shape]
    return bytes(protos.BundleEntryProto(**{"dtype": 1, "shape": {"dim": dims}, **fields}).SerializeToString())


def read(folder: Path, *pairs: tuple[bytes, bytes], name: str = "m.index") -> Checkpoint:
    (folder / name).write_bytes(make_table(pairs))
    return read_checkpoint_index(folder / "m", [ModelFile(folder / name)])


def test_places_variables_and_ends_are_those_of_the_entries(tmp_path: Path) -> None:
    slices = [{"extent": [{"start": 0, "length": 2}, {}]}, {"extent": [{"start": 2, "length": 1}, {}]}]
    held = read(
        tmp_path,
        (b"", header(num_shards=2)),
        (b"\0a slice", entry(2, 5, shard_id=1, offset=8, size=40, crc32c=mask_crc32c(3))),
        (OBJECT_GRAPH.encode(), entry(dtype=7, size=9)),
        (b"p", entry(3, 5, slices=slices)),
        (b"v", entry(shard_id=0, offset=9, size=4, dtype=9)),
    )
    first, second = (tmp_path / f"m.data-0000{n}-of-00002" for n in range(2))
    assert (held.version, held.files, held.ends, held.object_graph) == ("V2", (first, second), (13, 48), True)
    assert held.variables == (Variable("p", "float32", (3, 5), 2), Variable("v", "int64", ()))
    assert [variable.count for variable in held.variables] == [15, 1]
    assert held.parts == {"p": (((0, 2), (0, -1)), ((2, 1), (0, -1)))}
    assert held.places[b"\0a slice"] == Place(second, 8, 40, 3)
    assert b"p" not in held.places, "its bytes are those of its slices"
    assert held.path == held.prefix == tmp_path / "m"


def meta(*names: str) -> bytes:
    tensors = [
        {"name": name, "type": 1, "shape": {"dim": [{"size": 2}]}, "slice": [{"extent": [{}]}] * 2} for name in names
    ]
    return bytes(protos.SavedTensorSlices(meta={"tensor": tensors}).SerializeToString())


def test_the_shards_of_the_first_format_are_put_together(tmp_path: Path) -> None:
    files = []
    for shard, names in enumerate((("w", "b"), ("w",))):
        files.append(tmp_path / f"m-0000{shard}-of-00003")
        files[-1].write_bytes(make_table([(b"", meta(*names)), (b"\0", b"not read")]))
    held = read_checkpoint_index(tmp_path / "m", [ModelFile(file) for file in files])
    assert held.variables == (Variable("b", "float32", (2,), 2), Variable("w", "float32", (2,), 4))
    assert [file.name for file in held.files] == [f"m-0000{shard}-of-00003" for shard in range(3)], "one is missing"


V2_FAULTS = {
    "no entries": ([], "it begins without a header"),
    "no header": ([(b"v", entry(2))], "it begins without a header"),
    "no data files": ([(b"", header(num_shards=0))], "it begins without a header"),
    "big-endian": (
        [(b"", header(endianness=1))],
        "it was written on a big-endian machine, which TensorFlow does not read here",
    ),
    "a data file too many": (
        [(b"", header()), (b"v", entry(shard_id=1))],
        "an entry points to a data file beyond the number of shards",
    ),
    "a negative offset": (
        [(b"", header()), (b"v", entry(offset=-1))],
        "an entry points to a data file beyond the number of shards",
    ),
    "a name that is no text": (
        [(b"", header()), (b"\xff", entry())],
        "'utf-8' codec can't decode byte 0xff in position 0: invalid start byte",
    ),
    "a dtype that is none": (
        [(b"", header()), (b"w", entry(4, dtype=99))],
        "w is of the dtype 99, which TensorFlow does not have",
    ),
    "a dtype of references": (
        [(b"", header()), (b"w", entry(4, dtype=101))],
        "w is of the dtype 101, which TensorFlow does not have",
    ),
    "a negative size": ([(b"", header()), (b"w", entry(-4))], "w has no shape"),
    "more numbers than there are": ([(b"", header()), (b"w", entry(1 << 62, 4))], "w has no shape"),
    "a slice of another rank": (
        [(b"", header()), (b"w", entry(4, 4, slices=[{"extent": [{"start": 0, "length": 2}]}]))],
        "w has a slice beyond its shape [4, 4]",
    ),
    "a slice beyond the end": (
        [(b"", header()), (b"w", entry(4, slices=[{"extent": [{"start": 3, "length": 2}]}]))],
        "w has a slice beyond its shape [4]",
    ),
    "a slice before the start": (
        [(b"", header()), (b"w", entry(4, slices=[{"extent": [{"start": -1, "length": 2}]}]))],
        "w has a slice beyond its shape [4]",
    ),
    "no protobuf": (
        [(b"", header()), (b"v", b"\x07")],
        "Error parsing message with type 'tensorflow.BundleEntryProto'",
    ),
}


@pytest.mark.parametrize("name", V2_FAULTS)
def test_a_fault_of_an_index_is_one_line(tmp_path: Path, name: str) -> None:
    pairs, message = V2_FAULTS[name]
    with pytest.raises(UserError) as caught:
        read(tmp_path, *pairs)
    line = str(caught.value)
    assert line.startswith(f"{tmp_path}/m.index is damaged or no part of a checkpoint; {message}")
    assert line.endswith("; copy it here again")


def test_data_files_that_hold_no_value_are_not_listed(tmp_path: Path) -> None:
    """A header may claim endless ones, and TensorFlow never opens them."""
    held = read(tmp_path, (b"", header(num_shards=2**31 - 1)), (b"v", entry(shard_id=70_000, size=4)))
    assert [file.name for file in held.files] == ["m.data-70000-of-2147483647"]
    assert held.ends == (4,)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is empty"),
        (b"words", "no magic number at its end"),
        (make_table([]), "it begins without a description"),
        (make_table([(b"w", meta("w"))]), "it begins without a description"),
        (make_table([(b"", b"")]), "it begins without a description"),
    ],
)
def test_a_fault_of_the_first_format_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "m").write_bytes(content)
    with pytest.raises(UserError) as caught:
        read_checkpoint_index(tmp_path / "m", [ModelFile(tmp_path / "m")])
    assert str(caught.value) == f"{tmp_path}/m is damaged or no part of a checkpoint; {message}; copy it here again"


def test_only_the_first_format_has_values_in_its_blocks(tmp_path: Path) -> None:
    """Values of the second format have checksums of their own."""
    second = read(tmp_path, (b"", header()))
    first = read(tmp_path, (b"", meta("w")), name="m")
    for held in (first, second):
        (table,) = held.tables
        table.data = table.data[:5] + b"?" + table.data[6:]
    check_v1_blocks(second)
    with pytest.raises(UserError, match="the checksum of a block differs, number 1 of 1; copy it here again"):
        check_v1_blocks(first)
