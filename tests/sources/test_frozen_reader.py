"""Large constants of a frozen graph stay in the file, and are read into variables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import graphs
import pytest
from conftest import Run

import freezemodel_load
from serialization.errors import UserError
from serialization.formats.file_kind import ModelFile
from serialization.run.predictor import Predictor
from serialization.sources import from_frozen, frozen_reader
from serialization.sources.frozen_reader import fill_constants, read_graph_def, read_large_graph_def
from serialization.tensorflow import np, tf, tf1


def wide() -> None:
    x = tf1.placeholder(tf.float32, [None, 600], name="x")
    w = tf1.get_variable("w", [600, 600], initializer=tf1.random_normal_initializer(seed=1), use_resource=False)
    half = tf1.get_variable("half", [800, 800], tf.float16, tf1.random_normal_initializer(seed=2), use_resource=False)
    tf.identity(x @ w + tf.cast(tf.reduce_sum(half), tf.float32), name="y")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("wide") / "m.pb"
    path.write_bytes(graphs.freeze(wide, ["y"]).SerializeToString())
    return path


def test_large_constants_stay_in_the_file(file: Path) -> None:
    graph_def, constants = read_large_graph_def(ModelFile(file))
    assert {name: (c.dtype, c.shape) for name, c in constants.items()} == {
        "w": (1, (600, 600)),
        "half": (19, (800, 800)),
    }
    assert graph_def.ByteSize() < 10_000 < file.stat().st_size
    whole = read_graph_def(file)
    for node in whole.node:
        node.attr["value"].tensor.ClearField("tensor_content") if node.name in constants else None
    assert {node.name: node for node in graph_def.node} == {node.name: node for node in whole.node}


def test_a_graph_with_constants_in_the_file_computes_the_same(
    run: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Predictor(*freezemodel_load.open_frozen(ModelFile(file)))
    monkeypatch.setattr(frozen_reader, "LARGE_FILE", 1000)
    lean = Predictor(*freezemodel_load.open_frozen(ModelFile(file)))
    assert [op.name for op in lean.session.graph.get_operations() if op.type == "VarHandleOp"]
    row = {"x": np.random.default_rng(0).normal(size=(3, 600)).astype("f")}
    np.testing.assert_allclose(plain(row)["y"], lean(row)["y"], rtol=1e-5)
    done = run("freezemodel_load", "--frozen-model", file)
    assert (done.status, done.stderr) == (0, "")


@pytest.mark.parametrize("how", ["replaced", "written to"])
def test_a_file_that_changes_while_loading_is_refused(
    run: Run, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A replaced file is read to its end. An overwritten file would give wrong weights."""
    path = tmp_path / "m.pb"
    path.write_bytes(file.read_bytes())
    monkeypatch.setattr(frozen_reader, "LARGE_FILE", 1000)
    row = f"x=[[{','.join(['1'] * 600)}]]"
    before = run("freezemodel_load", "--frozen-model", path, "--feed", row)

    def change_and_fill(*arguments: Any) -> None:
        if how == "replaced":
            path.rename(tmp_path / "old.pb")
        path.write_bytes(b"\0" * file.stat().st_size)
        fill_constants(*arguments)

    monkeypatch.setattr(from_frozen, "fill_constants", change_and_fill)
    done = run("freezemodel_load", "--frozen-model", path, "--feed", row)
    if how == "replaced":
        assert (done.status, done.stdout, done.stderr) == (0, before.stdout, "")
    else:
        assert (done.status, done.stderr) == (1, f"error: {path} was changed while it was read; run this again\n")


@pytest.mark.parametrize("lean", [False, True])
def test_small_and_large_files_are_checked_alike(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lean: bool
) -> None:
    """Large files are read in another way; nameless nodes and unsound graphs are refused in both."""
    if lean:
        monkeypatch.setattr(frozen_reader, "LARGE_FILE", 1000)
    for fault, line in (
        ("nameless", "has nodes without a name or an op"),
        ("recursive", "its function F calls itself"),
    ):
        graph_def = graphs.freeze(wide, ["y"])
        if fault == "nameless":
            graph_def.node.add(op="NoOp")
        else:
            function = graph_def.library.function.add()
            function.signature.name = "F"
            function.node_def.add(name="call", op="PartitionedCall").attr["f"].func.name = "F"
        file = tmp_path / f"{fault}.pb"
        file.write_bytes(graph_def.SerializeToString())
        done = run("freezemodel_load", "--frozen-model", file)
        assert done.status == 1
        assert done.stderr.startswith(f"error: {file} is damaged; ")
        assert line in done.stderr


def test_a_large_constant_in_a_loop_keeps_its_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def loop() -> None:
        x = tf1.placeholder(tf.float32, [600], name="x")
        tf1.disable_control_flow_v2()
        try:
            values = np.ones([600, 600], "f")
            tf.identity(
                tf.while_loop(lambda i, v: i < 2, lambda i, v: (i + 1, tf.linalg.matvec(values, v)), [0, x])[1], "y"
            )
        finally:
            tf1.enable_control_flow_v2()

    path = tmp_path / "m.pb"
    path.write_bytes(graphs.freeze(loop, ["y"]).SerializeToString())
    monkeypatch.setattr(frozen_reader, "LARGE_FILE", 1000)
    predict = Predictor(*freezemodel_load.open_frozen(ModelFile(path)))
    assert predict({"x": np.ones(600, "f")})["y"].tolist() == [360000.0] * 600


@pytest.mark.parametrize("cut", [100, 5000, 1_500_000])
def test_a_truncated_file_is_one_line(
    run: Run, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: int
) -> None:
    monkeypatch.setattr(frozen_reader, "LARGE_FILE", 50)
    path = tmp_path / "m.pb"
    path.write_bytes(file.read_bytes()[:-cut])
    done = run("freezemodel_load", "--frozen-model", path)
    assert done.status == 1
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_freezing_without_a_session_gives_the_same_file(run: Run, tmp_path: Path) -> None:
    prefix = graphs.save(tmp_path, wide)
    for words in ((), ("--no-verify",)):
        done = run("freezemodel_save", "--checkpoint", prefix, "--frozen-model", tmp_path / f"m{len(words)}.pb", *words)
        assert (done.status, done.stderr) == (0, "")
    first, second = ({n.name: n for n in read_graph_def(tmp_path / f"m{i}.pb").node} for i in (0, 1))
    assert {name: tf.make_ndarray(first[name].attr["value"].tensor).tobytes() for name in ("w", "half")} == {
        name: tf.make_ndarray(second[name].attr["value"].tensor).tobytes() for name in ("w", "half")
    }


def test_an_endless_varint_is_damage(tmp_path: Path) -> None:
    (tmp_path / "m.pb").write_bytes(b"\x0a" + b"\xff" * 100)
    with pytest.raises(UserError) as caught:
        read_large_graph_def(ModelFile(tmp_path / "m.pb"))
    assert str(caught.value) == f"{tmp_path}/m.pb is damaged: it cannot be read to its end; copy it here again"
