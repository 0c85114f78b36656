"""The command of each `next:` line runs as printed: it carries the flags that the next step needs."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import exported_models
import graphs
import pytest
from conftest import PROJECT, Ran, Run, environment
from serving_models import serving

from serialization.console import shorten_path
from serialization.tensorflow import tf, tf1


def list_next(done: Ran) -> tuple[str, ...]:
    """The script and the words of a successful run's next line."""
    assert (done.status, done.stderr) == (0, "")
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("next: "))
    python, script, *words = shlex.split(line.removeprefix("next: "))
    assert python == "python"
    assert Path(script).resolve().parent == PROJECT, shorten_path(PROJECT / script)
    return Path(script).stem, *words


def follow(run: Run, script: str, *words: object) -> list[tuple[str, ...]]:
    """Run a script, then what its next line says, until that is the server; returns the commands."""
    found = [list_next(run(script, *words))]
    while found[-1][0] != "freezemodel_serve":
        found.append(list_next(run(*found[-1])))
    return found


def switched() -> None:
    """Two outputs, an input, a switch, and a variable that other checkpoints call by another name."""
    x = tf1.placeholder(tf.float32, [None, 2], name="x")
    on = tf1.placeholder(tf.bool, [], name="on")
    y = tf1.matmul(x, tf1.get_variable("new/w", [2, 2]), name="y")
    tf.where(on, tf.nn.relu(y), y, name="z")


def test_a_checkpoint_goes_on_to_the_server(run: Run, results: Path, tmp_path: Path) -> None:
    saved = graphs.save(tmp_path, switched)
    shutil.copy(f"{saved}.meta", tmp_path / "a graph.meta")
    words = ["--checkpoint", saved, "--graph", tmp_path / "a graph.meta", "--outputs=a=z,y", "--inputs", "x,s=on"]
    words += ["--feed", "x=[[1, 2]]", "--feed=s=true", "--trust-model", "--unconfined", "--allow-read", tmp_path]
    restored, saved_next, loaded = follow(run, "checkpoint_restore", *words)
    loading = ("--trust-model", "--allow-read", str(tmp_path), "--unconfined")
    feeds = ("--feed", "x=[[1, 2]]", "--feed=s=true")
    assert restored[:5] == ("freezemodel_save", "--checkpoint", str(saved), "--graph", str(tmp_path / "a graph.meta"))
    assert restored[5:] == ("--inputs", "x,s=on", "--outputs=a=z,y", *loading, *feeds)
    frozen = ("--frozen-model", str(results / "model.pb"))
    assert saved_next == ("freezemodel_load", *frozen, *loading, *feeds)
    assert loaded == ("freezemodel_serve", *frozen, *loading)


def test_renamed_and_partial_checkpoints_go_on(run: Run, results: Path, tmp_path: Path) -> None:
    def old() -> None:
        tf1.get_variable("old/w", [2, 2])

    other = graphs.save(tmp_path, old, name="other")
    graph = graphs.save(tmp_path, switched).with_suffix(".ckpt.meta")
    words = ("--checkpoint", other, "--graph", graph, "--rename", "old=new", "--partial", "--outputs", "y")
    restored, *_ = follow(run, "checkpoint_restore", *words)
    assert restored[-5:] == ("--rename", "old=new", "--partial", "--outputs", "y")


def test_a_checkpoint_without_outputs_is_inspected_next(run: Run, tmp_path: Path) -> None:
    saved = graphs.save(tmp_path, lambda: tf1.get_variable("w", [2]))
    done = run("checkpoint_restore", "--checkpoint", saved)
    script, *words = list_next(done)
    assert (script, words) == ("model_inspect", [str(saved)])
    assert run(script, *words).status == 0


def test_a_saved_model_goes_on_to_the_server(run: Run, results: Path, tmp_path: Path) -> None:
    with tf1.Graph().as_default(), tf1.Session() as session:
        x, y = (tf1.placeholder(tf.float32, [None, 2], name=name) for name in "xy")
        keys = {key: tf1.saved_model.predict_signature_def({"x": x, "y": y}, {key: x + y}) for key in ("sum", "other")}
        builder = tf1.saved_model.Builder(str(tmp_path / "model"))
        builder.add_meta_graph_and_variables(session, [], keys)
        builder.save()
    words = ("--saved-model", tmp_path / "model", "--tag-set", "", "--signature", "sum", "--feed=y=[[1,2]]")
    first, second, third = follow(run, "savedmodel_pretrained", *words, "--feed", "x=[[3,4]]")
    model = ("--saved-model", str(tmp_path / "model"))
    assert first == (
        "freezemodel_save",
        *model,
        "--tag-set",
        "",
        "--signature",
        "sum",
        "--feed=y=[[1,2]]",
        "--feed",
        "x=[[3,4]]",
    )
    assert (second[0], third[0]) == ("freezemodel_load", "freezemodel_serve")


def test_the_toys_next_lines_are_as_short_as_its_commands(run: Run, toy: Path) -> None:
    shutil.rmtree(toy)
    assert follow(run, "checkpoint_save") == [
        ("checkpoint_restore",),
        ("freezemodel_save",),
        ("freezemodel_load",),
        ("freezemodel_serve",),
    ]


@pytest.mark.parametrize(("script", "flag"), [("onnx_from_frozen", "--onnx"), ("tflite_from_frozen", "--tflite")])
def test_an_export_goes_on_to_the_server(toy: Path, script: str, flag: str) -> None:
    target = toy / f"my model{flag.replace('--', '.')}"
    words = [
        sys.executable,
        str(PROJECT / f"{script}.py"),
        "--frozen-model",
        str(toy / "frozen_model.pb"),
        flag,
        str(target),
    ]
    done = subprocess.run(words, env=environment(), capture_output=True, text=True)
    found = list_next(Ran(done.returncode, done.stdout, done.stderr))
    assert found == ("freezemodel_serve", flag, str(target))
    with serving(*found[1:]) as server:
        assert server.predict({"x": [[5] * 10]}) == (200, {"y": [[True]]})


def test_an_export_without_inputs_is_inspected_next(run: Run, tmp_path: Path) -> None:
    frozen = exported_models.write(exported_models.no_inputs, tmp_path / "m.pb")
    script, *words = list_next(run("onnx_from_frozen", "--frozen-model", frozen, "--onnx", tmp_path / "m.onnx"))
    assert (script, words) == ("model_inspect", [str(tmp_path / "m.onnx")])
    assert run(script, *words).status == 0
