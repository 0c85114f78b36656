"""savedmodel_from_frozen.py: a SavedModel without variables, but for those of a large graph."""

from __future__ import annotations

from pathlib import Path

import graphs
import pytest
from conftest import Run

from serialization.formats.file_kind import ModelFile
from serialization.graph.signature import choose_signature_def
from serialization.sources import from_saved_model, frozen_reader, meta_graph_choice
from serialization.tensorflow import np, tf, tf1


def test_variables_folder_holds_no_variables(run: Run, toy: Path) -> None:
    done = run("savedmodel_from_frozen")
    assert (done.status, done.stderr) == (0, "")
    folder = toy / "savedmodel_from_frozen"
    assert list((folder / "variables").iterdir()) == []
    assert [line.split() for line in done.stdout.splitlines() if "empty" in line] == [[f"{folder}/variables/", "empty"]]


def test_large_constants_become_variables(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wide() -> None:
        x = tf1.placeholder(tf.float32, [None, 600], name="x")
        values = tf1.random_normal_initializer(seed=1)
        w = tf1.get_variable("w", [600, 600], initializer=values)
        b = tf1.get_variable("b", [600], initializer=values)
        tf.add(x @ w, b, name="y")

    frozen = graphs.freeze(wide, ["y"])
    (tmp_path / "m.pb").write_bytes(frozen.SerializeToString())
    monkeypatch.setattr(frozen_reader, "LARGE_FILE", 1000)
    done = run("savedmodel_from_frozen", "--frozen-model", tmp_path / "m.pb", "--export-dir", tmp_path / "1")
    assert (done.status, done.stderr) == (0, "")
    assert "proved: y: the same bits as the source" in done.stdout
    assert tf.train.list_variables(str(tmp_path / "1" / "variables" / "variables")) == [("w/variable", [600, 600])]
    assert (tmp_path / "1" / "saved_model.pb").stat().st_size < 20_000
    (name,) = (node.name for node in frozen.node if node.op == "Const" and node.attr["value"].tensor.ByteSize() > 1e6)
    assert name == "w"

    row = np.random.default_rng(0).normal(size=(3, 600)).astype("f")
    with tf1.Graph().as_default(), tf1.Session() as session:
        wanted = session.run(tf1.import_graph_def(frozen, {"x": row}, ["y:0"]))[0]
    again = tf.saved_model.load(str(tmp_path / "1")).signatures["serving_default"]
    np.testing.assert_allclose(again(x=tf.constant(row))["y"], wanted, rtol=1e-4, atol=1e-4)
    done = run(
        "savedmodel_from_frozen", "--frozen-model", tmp_path / "m.pb", "--export-dir", tmp_path / "2", "--no-verify"
    )
    assert (done.status, done.stderr) == (0, "")
    # The result is a model like any other: frozen, it has the constants again.
    done = run("freezemodel_save", "--saved-model", tmp_path / "2", "--frozen-model", tmp_path / "again.pb")
    assert (done.status, done.stderr) == (0, "")


def test_tensors_keep_the_names_of_the_frozen_model(run: Run, made: Path, tmp_path: Path) -> None:
    words = ("--frozen-model", made / "frozen_model.pb", "--export-dir", tmp_path / "1")
    done = run("savedmodel_from_frozen", *words, "--inputs", "x=Placeholder/inputs_placeholder", "--overwrite")
    assert done.status == 0
    chosen = meta_graph_choice.choose_meta_graph(
        from_saved_model.read_saved_model(ModelFile(tmp_path / "1" / "saved_model.pb"))
    )
    recorded = choose_signature_def(chosen.meta_graph)
    assert {key: info.name for key, info in recorded.inputs.items()} == {"x": "Placeholder/inputs_placeholder:0"}
    assert {key: info.name for key, info in recorded.outputs.items()} == {"output1": "Accuracy/predictions:0"}


def test_wrong_output(run: Run, made: Path, tmp_path: Path) -> None:
    words = ("--frozen-model", made / "frozen_model.pb", "--export-dir", tmp_path / "1")
    done = run("savedmodel_from_frozen", *words, "--outputs", "Accuracy/prediction")
    assert done.status == 1
    assert "no tensor Accuracy/prediction:0 in the graph; the nearest are Accuracy/predictions:0" in done.stderr
    assert list(tmp_path.iterdir()) == []
