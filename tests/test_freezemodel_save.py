"""freezemodel_save.py: what freezing removes, and that nothing is published unproved."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import graphs
import keras_models
import pytest
from conftest import PROJECT, Run, environment

import freezemodel_save
from serialization import project
from serialization.flags import CONVERSION_FLAGS, EDIT_FLAGS, SOURCE_FLAGS
from serialization.given_flags import choose_model
from serialization.graph.graph_def import list_variable_nodes
from serialization.parser import make_parser
from serialization.run.predictor import Predictor
from serialization.tensorflow import np, tf, tf1


def test_no_variable_and_no_training_op_is_left(run: Run, toy: Path) -> None:
    done = run("freezemodel_save")
    assert (done.status, done.stderr) == (0, "")
    rows = {
        line.split()[0]: line.split()[1:]
        for line in done.stdout.splitlines()
        if line.split()[0] in ("checkpoint", "frozen")
    }
    nodes, size, variables, training = map(int, rows["frozen"])
    assert (variables, training) == (0, 0)
    assert all(int(number) > 0 for number in rows["checkpoint"])
    graph_def = tf1.GraphDef.FromString((toy / "frozen_model.pb").read_bytes())
    assert (len(graph_def.node), graph_def.ByteSize()) == (nodes, size)
    assert not [node.op for node in graph_def.node if "Var" in node.op or "Apply" in node.op or "Save" in node.op]


def test_named_outputs_of_another_place(run: Run, made: Path, tmp_path: Path) -> None:
    words = ("--checkpoint", made / "graph.ckpt", "--frozen-model", tmp_path / "deep" / "m.pb")
    inputs = ("--inputs", "x=Placeholder/inputs_placeholder", "--outputs", "Accuracy/predictions:0")
    assert run("freezemodel_save", *words, *inputs).status == 0
    again = run("freezemodel_save", *words, *inputs)
    assert again.stderr == f"error: {tmp_path}/deep/m.pb exists already; --overwrite replaces it\n"
    assert run("freezemodel_save", *words, *inputs, "--overwrite").status == 0
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["m.pb"]


def test_wrong_output_lists_the_nearest(run: Run, made: Path, tmp_path: Path) -> None:
    words = ("--checkpoint", made, "--frozen-model", tmp_path / "m.pb")
    done = run("freezemodel_save", *words, "--outputs", "predictions")
    assert done.status == 1
    assert done.stderr.startswith("error: no tensor predictions:0 in the graph; the nearest are ")
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_result_is_not_published(run: Run, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    freeze = freezemodel_save.freeze

    def freeze_wrongly(*arguments: object) -> object:
        frozen = freeze(*arguments)  # type: ignore[arg-type]
        for node in frozen.node:
            if node.name == "NN/b1":
                node.attr["value"].tensor.ClearField("tensor_content")
                node.attr["value"].tensor.float_val[:] = [-5.0]
        return frozen

    monkeypatch.setattr(freezemodel_save, "freeze", freeze_wrongly)
    words = ("--checkpoint", made, "--frozen-model", tmp_path / "m.pb")
    done = run("freezemodel_save", *words)
    assert done.status == 1
    assert done.stderr.startswith("error: the result differs from its source: ")
    assert list(tmp_path.iterdir()) == []
    assert "not verified" in run("freezemodel_save", *words, "--no-verify").stdout


@pytest.mark.parametrize("source", ["checkpoint", "saved-model"])
def test_a_small_model_is_frozen_by_the_plain_call(
    run: Run, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    """TensorFlow's own call, which the script teaches, also for a SavedModel."""
    frozen: list[Any] = []
    freeze = freezemodel_save.freeze

    def freeze_and_keep(*words: Any) -> Any:
        frozen.append(freeze(*words))
        return frozen[-1]

    monkeypatch.setattr(freezemodel_save, "freeze", freeze_and_keep)
    where = made / ("graph.ckpt" if source == "checkpoint" else "savedmodel_from_checkpoint")
    done = run("freezemodel_save", f"--{source}", where, "--frozen-model", tmp_path / "m.pb")
    assert (done.status, done.stderr) == (0, "")
    assert [(tmp_path / "m.pb").read_bytes()] == [graph_def.SerializeToString() for graph_def in frozen]


@pytest.mark.parametrize("resource", [False, True])
def test_a_variable_that_nothing_restores_is_an_error_of_one_line(run: Run, tmp_path: Path, resource: bool) -> None:
    folder = tmp_path / "export"
    with tf1.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None, 3], name="x")
        saved, left_out = (tf1.get_variable(name, [3], use_resource=resource) for name in ("saved", "left_out"))
        y = tf.add(x * saved, left_out, name="y")
        session.run(tf1.global_variables_initializer())
        signature = tf1.saved_model.predict_signature_def({"x": x}, {"y": y})
        builder = tf1.saved_model.Builder(str(folder))
        saver = tf1.train.Saver([saved])
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature}, saver=saver)
        builder.save()
    done = run("freezemodel_save", "--saved-model", folder, "--frozen-model", tmp_path / "m.pb", "--no-verify")
    assert (done.status, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("error: a variable holds no value; ")
    assert done.stderr.endswith(" left_out; name other --outputs\n")
    assert not (tmp_path / "m.pb").exists()


def test_a_model_of_the_users_own_is_named_after_itself(run: Run, toy: Path, tmp_path: Path) -> None:
    """The toy's frozen model stays, and so does what the first run wrote."""
    before = (toy / "frozen_model.pb").read_bytes()
    prefix = graphs.save(tmp_path, graphs.classifier)
    done = run("freezemodel_save", "--checkpoint", prefix, "--outputs", "logits")
    assert (done.status, done.stderr) == (0, "")
    assert f"wrote {toy}/model.pb\n" in done.stdout
    assert (toy / "frozen_model.pb").read_bytes() == before
    done = run("freezemodel_save", "--checkpoint", prefix, "--outputs", "logits")
    assert (done.status, done.stderr) == (1, f"error: {toy}/model.pb exists already; --overwrite replaces it\n")
    assert run("savedmodel_from_frozen", "--frozen-model", toy / "model.pb").status == 0
    assert (toy / "model" / "saved_model.pb").is_file()
    (tmp_path / "house").mkdir()
    (toy / "model").rename(tmp_path / "house" / "1")
    assert run("freezemodel_save", "--saved-model", tmp_path / "house" / "1").status == 0
    assert (toy / "house.pb").is_file()
    assert run("savedmodel_from_checkpoint", "--checkpoint", prefix, "--outputs", "logits").status == 0
    assert (toy / "model" / "saved_model.pb").is_file()


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("--checkpoint", "a", "--saved-model", "b"), "one model at a time; found --checkpoint, --saved-model"),
        (("--saved-model", "b", "--graph", "c"), "--graph goes with --checkpoint"),
        (("--saved-model", "b", "--rename", "c=d"), "--rename goes with --checkpoint"),
        (("--checkpoint", "a", "--tag-set", "c"), "--tag-set goes with --saved-model"),
    ],
)
def test_one_model_is_given_with_its_own_flags(run: Run, words: tuple[str, ...], line: str) -> None:
    done = run("freezemodel_save", *words)
    assert (done.status, done.stderr.partition("; `python")[0]) == (2, f"error: {line}")


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("kind", ["checkpoint", "saved_model", "frozen_model"])
def test_exporters_get_the_frozen_graph_of_any_source(made: Path, tmp_path: Path, kind: str, verify: bool) -> None:
    where = {"checkpoint": "graph.ckpt", "saved_model": "savedmodel_from_checkpoint", "frozen_model": "frozen_model.pb"}
    kinds = ("frozen_model", *freezemodel_save.SOURCES)
    flags = ("checkpoint", *SOURCE_FLAGS, *CONVERSION_FLAGS, *EDIT_FLAGS)
    parser = make_parser("", *flags, frozen_model=made / "no default.pb")
    words = [f"--{kind.replace('_', '-')}", str(made / where[kind]), *([] if verify else ["--no-verify"])]
    args = parser.parse_args(words)
    chosen, _ = choose_model(parser, args, kinds)
    assert chosen == kind
    with freezemodel_save.freeze_for_export(chosen, args, tmp_path / "m") as (ready, origin):
        assert (list_variable_nodes(ready.graph_def), ready.constants) == ([], {})
        (x,), (y,) = ready.signature.inputs, ready.signature.outputs
        assert (origin is not None) == verify
        if origin is None:
            return
        assert [[t.key for t in side] for side in (origin.signature.inputs, origin.signature.outputs)] == [
            [x.key],
            [y.key],
        ]
        with tf1.Graph().as_default() as graph:
            tf1.import_graph_def(ready.graph_def, name="")
        rows = {x.key: np.full((3, 10), 5, "f")}
        again = Predictor(tf1.Session(graph=graph), ready.signature)(rows)
        assert (origin.predict(rows)[y.key].tolist(), again[y.key].tolist()) == ([[True]] * 3,) * 2


@pytest.mark.parametrize(("name", "major"), [("m.keras", 3), ("m.h5", 2)])
def test_a_keras_model_is_frozen_in_one_step(name: str, major: int, run: Run, tmp_path: Path) -> None:
    model = keras_models.save(keras_models.sequential, tmp_path / name, major)
    words = ("--keras", tmp_path / name, "--frozen-model", tmp_path / "m.pb")
    command = [sys.executable, str(PROJECT / "freezemodel_save.py"), *map(str, words)]  # confined
    done = subprocess.run(command, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "proved: scores: the same bits as the source, on 1,003 rows generated for rows" in done.stdout
    rows = np.linspace(-1, 1, 30, dtype="f").reshape(3, 10)
    shown = run("freezemodel_load", "--frozen-model", tmp_path / "m.pb", "--feed", f"rows={rows.tolist()}").stdout
    assert "scores:0 float32 [3, 2]" in shown
    assert str(model.predict(rows, verbose=0)) in shown


def test_words_and_two_outputs_of_a_keras_model_stay(run: Run, tmp_path: Path) -> None:
    keras_models.save(keras_models.lookup, tmp_path / "m.keras")
    for words, outputs in ((), "sentiment, stars"), (("--outputs", "stars"), "stars"), (("--no-verify",), ""):
        frozen = ("--frozen-model", tmp_path / "m.pb", "--overwrite", *words)
        done = run("freezemodel_save", "--keras", tmp_path / "m.keras", *frozen)
        assert (done.status, done.stderr) == (0, "")
        assert (f"proved: {outputs}: the same bits" if outputs else "not verified") in done.stdout


def test_flags_of_keras_go_with_keras_alone(run: Run, tmp_path: Path) -> None:
    done = run("freezemodel_save", "--checkpoint", tmp_path / "c", "--weights", tmp_path / "w")
    assert done.status == 2
    assert done.stderr.startswith("error: --weights goes with --keras")
    done = run("freezemodel_save", "--saved-model", tmp_path / "c", "--keras", tmp_path / "w")
    assert done.stderr.startswith("error: one model at a time; found --saved-model, --keras")
    done = run("freezemodel_save", "--checkpoint", project.RESULTS / "graph.ckpt", "--keras", tmp_path / "w")
    assert done.stderr.startswith("error: one model at a time; found --checkpoint, --keras"), "a default is typed too"
