"""The values of a checkpoint are printed."""

from __future__ import annotations

from pathlib import Path

import graphs
import pytest
from conftest import Run

from serialization.errors import UserError
from serialization.files.locate import find_checkpoint
from serialization.formats.checkpoint_values import StoredValue
from serialization.sources.variable_mapping import Restore
from serialization.sources.variable_values import (
    get_value_shape,
    get_value_size,
    print_variable,
    print_variables,
    read_stored_values,
    read_value,
    require_same_variables,
    show_variables,
)
from serialization.tensorflow import np, tf, tf1


def test_table_has_all_variables_of_the_index(run: Run, toy: Path) -> None:
    rows = {line.split()[0]: line for line in run("checkpoint_restore").stdout.splitlines() if "[" in line}
    reader = tf1.train.load_checkpoint(str(toy / "graph.ckpt"))
    assert set(reader.get_variable_to_shape_map()) <= set(rows)
    assert rows["NN/W1"].split()[1:4] == ["float32", "[10,", "1]"]
    assert rows["global_step"].split() == ["global_step", "int64", "[]", "3000"]


@pytest.mark.parametrize("name", ["NN/W1", "NN/W1:0"])
def test_one_variable_is_printed_whole(run: Run, toy: Path, name: str) -> None:
    done = run("checkpoint_restore", "--tensor", name)
    reader = tf1.train.load_checkpoint(str(toy / "graph.ckpt"))
    assert done.stdout == f"NN/W1 float32 [10, 1]\n{reader.get_tensor('NN/W1')}\n"


def test_an_unknown_variable_is_one_line(run: Run, toy: Path) -> None:
    done = run("checkpoint_restore", "--tensor", "NN/W3")
    assert done.status == 1
    assert done.stderr.startswith("error: no variable NN/W3 in ")
    assert "NN/W1" in done.stderr


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def build() -> None:
        tf1.get_variable("w", initializer=np.arange(12, dtype="f4").reshape(4, 3))
        tf1.get_variable("text", initializer=["a", "bcd"])
        tf1.get_variable("many", initializer=np.arange(11, dtype="i8"))

    return graphs.save(tmp_path_factory.mktemp("values"), build)


WHOLE, SLICE = Restore("w", "w", "", 1, (4, 3)), Restore("w/part_1", "w", "4 3 1,2:-", 1, (2, 3))


@pytest.mark.parametrize(("restore", "shape"), [(WHOLE, (4, 3)), (SLICE, (2, 3)), (Restore("v", "v", "", 1, None), ())])
def test_the_shape_of_a_value_is_that_of_its_slice(restore: Restore, shape: tuple[int, ...]) -> None:
    assert get_value_shape(restore) == shape


def test_the_size_of_a_value_is_in_bytes(prefix: Path) -> None:
    held = find_checkpoint(prefix)
    assert [get_value_size(held, restore) for restore in (WHOLE, SLICE)] == [48, 24]
    assert get_value_size(held, Restore("text", "text", "", 7, (2,))) == held.places[b"text"].size
    assert get_value_size(held, Restore("gone", "gone", "", 7, (2,))) == 48


@pytest.mark.parametrize(("restore", "rows"), [(WHOLE, slice(None)), (SLICE, slice(1, 3))])
def test_a_slice_of_a_value_is_read(prefix: Path, restore: Restore, rows: slice) -> None:
    value = read_value(tf1.train.NewCheckpointReader(str(prefix)), restore)
    assert value.tolist() == np.arange(12).reshape(4, 3)[rows].tolist()
    assert value.flags.c_contiguous


def test_values_stay_in_the_file_but_for_strings(prefix: Path) -> None:
    read = read_stored_values(find_checkpoint(prefix), [WHOLE, Restore("text", "text", "", 7, (2,))])
    stored = read(tf1.NodeDef(name="w"))
    assert isinstance(stored, StoredValue)
    assert np.frombuffer(b"".join(stored.pieces()), "f4").tolist() == list(range(12))
    text = read(tf1.NodeDef(name="text"))
    assert isinstance(text, np.ndarray)
    assert text.tolist() == [b"a", b"bcd"]


def test_variables_of_a_session_are_compared_bit_by_bit(prefix: Path) -> None:
    held = find_checkpoint(prefix)
    with tf1.Graph().as_default(), tf1.Session() as session:
        w = tf1.get_variable("w", [4, 3], use_resource=True)
        tf1.train.Saver([w]).restore(session, str(prefix))
        assert require_same_variables(session, held, [WHOLE]) == "1 variable holds the checkpoint's bits"
        shown = show_variables(session, held, [WHOLE])
        assert shown == "1 variable holds the checkpoint's bits; 2 others of the checkpoint are not restored"
        session.run(w.assign_add(tf.constant([[-0.0] * 3] * 4)))
        assert require_same_variables(session, held, [WHOLE, WHOLE]) == "2 variables hold the checkpoint's bits"
        session.run(w.assign(w * -1.0))
        with pytest.raises(UserError, match=f"^the variable w differs from w in {prefix}$"):
            require_same_variables(session, held, [WHOLE])


def test_only_a_few_numbers_are_shown_in_the_table(prefix: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_variables(find_checkpoint(prefix))
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["variable", "dtype", "shape", "values"],
        ["many", "int64", "[11]"],
        ["text", "string", "[2]", "[b'a'", "b'bcd']"],
        ["w", "float32", "[4,", "3]"],
    ]


def test_one_variable_is_shown_whole(prefix: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_variable(find_checkpoint(prefix), "many:0")
    assert capsys.readouterr().out == "many int64 [11]\n[ 0  1  2  3  4  5  6  7  8  9 10]\n"
    with pytest.raises(UserError, match=f"^no variable gone in {prefix}; it has many, text, w$"):
        print_variable(find_checkpoint(prefix), "gone")
