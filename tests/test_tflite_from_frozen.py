"""tflite_from_frozen.py: what LiteRT makes of the file is what TensorFlow makes of the frozen model."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import exported_models
import graphs
import pytest
from ai_edge_litert.interpreter import Interpreter
from conftest import PROJECT, Fails, Run, environment, freeze, inspect

from serialization.tensorflow import np

KINDS = {
    "two_outputs": ("sum", "dot"),
    **dict.fromkeys(("loop", "special_numbers", "images", "double_precision", "lacking_ops", "dynamic_rnn"), ("y",)),
}


def run_litert(file: Path, **feeds: Any) -> dict[str, Any]:
    return dict(Interpreter(model_path=str(file)).get_signature_runner("serving_default")(**feeds))


def test_the_toy_is_exported_by_a_confined_process(toy: Path) -> None:
    words = ["--frozen-model", toy / "frozen_model.pb", "--tflite", toy / "m.tflite"]
    command = [sys.executable, str(PROJECT / "tflite_from_frozen.py"), *map(str, words)]
    done = subprocess.run(command, cwd=toy, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1:] == [
        "proved: output1: the same bits as the source, on 1,003 rows generated for inputs_1",
        f"next: python {PROJECT}/freezemodel_serve.py --tflite m.tflite",
    ]
    rows = np.array([range(10), [5] * 10], "f")
    assert run_litert(toy / "m.tflite", inputs_1=rows)["output1"].tolist() == [[False], [True]]


@pytest.mark.parametrize("kind", KINDS)
def test_models_are_proved(run: Run, tmp_path: Path, kind: str) -> None:
    frozen = exported_models.write(getattr(exported_models, kind), tmp_path / "m.pb", *KINDS[kind])
    done = run("tflite_from_frozen", "--frozen-model", frozen, "--tflite", tmp_path / "m.tflite")
    assert (done.status, done.stderr) == (0, "")
    assert "\nproved: " in done.stdout
    (signature,) = inspect(run, tmp_path / "m.tflite")["exported"]["signatures"]
    assert {tensor["key"] for tensor in signature["outputs"]} == set(KINDS[kind])


def test_float64_goes_in_and_out_and_float32_in_between(run: Run, tmp_path: Path) -> None:
    frozen = exported_models.write(exported_models.double_precision, tmp_path / "m.pb")
    done = run("tflite_from_frozen", "--frozen-model", frozen, "--tflite", tmp_path / "m.tflite")
    assert "computed in float32: LiteRT's ops lack float64, which inputs and outputs keep\n" in done.stdout
    x = np.array([[1, 2, 3]], np.float64)
    (y,) = run_litert(tmp_path / "m.tflite", x=x).values()
    assert y.dtype == np.float64
    np.testing.assert_allclose(y, np.tan(np.sin(x) * [0.5, 0, -0.5]), rtol=1e-6)


def test_an_lstm_takes_a_batch_of_a_fixed_size(error: Fails, run: Run, tmp_path: Path) -> None:
    frozen = exported_models.write_lstm(tmp_path / "m.pb")
    words = ("--frozen-model", frozen, "--outputs", "y=Identity", "--tflite", tmp_path / "m.tflite")
    line = error("tflite_from_frozen", *words)
    assert line.endswith("takes a batch of a fixed size alone: add --batch-size 1; nothing was written")
    for size in (1, 3):
        done = run("tflite_from_frozen", *words, "--batch-size", size, "--overwrite")
        assert (done.status, done.stderr) == (0, "")
        assert "\nproved: y: " in done.stdout
        assert run_litert(tmp_path / "m.tflite", x=np.ones([size, 5, 4], "f"))["y"].shape == (size, 8)


@pytest.mark.parametrize("kind", ["checkpoint", "saved-model"])
def test_other_sources_are_frozen_on_the_way(run: Run, made: Path, tmp_path: Path, kind: str) -> None:
    source = {"checkpoint": "graph.ckpt", "saved-model": "savedmodel_from_checkpoint"}[kind]
    done = run("tflite_from_frozen", f"--{kind}", made / source, "--tflite", tmp_path / "m.tflite")
    assert (done.status, done.stderr) == (0, "")
    assert "proved: " in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["m.tflite"]


def test_an_input_with_a_default_value_is_fixed_unless_it_is_named(run: Run, tmp_path: Path) -> None:
    frozen = exported_models.write(exported_models.with_default, tmp_path / "m.pb")
    words = ("--frozen-model", frozen, "--tflite", tmp_path / "m.tflite", "--overwrite")
    one = np.ones([1, 3], "f")
    assert "\nproved: " in run("tflite_from_frozen", *words).stdout
    assert run_litert(tmp_path / "m.tflite", x=one)["y"].tolist() == [[2] * 3]
    assert "\nproved: " in run("tflite_from_frozen", *words, "--inputs", "x,k").stdout
    assert run_litert(tmp_path / "m.tflite", x=one, k=np.array(5, "f"))["y"].tolist() == [[5] * 3]


@pytest.mark.parametrize(("kind", "ops"), [("decode_sound", "DecodeWav"), ("words_in_a_table", "HashTableV2")])
def test_ops_that_litert_lacks_are_named(error: Fails, run: Run, tmp_path: Path, kind: str, ops: str) -> None:
    if kind == "words_in_a_table":
        prefix = graphs.save(tmp_path, exported_models.words_in_a_table)
        assert freeze(run, prefix, tmp_path, "--outputs", "again").status == 0
    else:
        exported_models.write(getattr(exported_models, kind), tmp_path / "m.pb")
    words = ("--frozen-model", tmp_path / "m.pb", "--tflite", tmp_path / "m.tflite")
    line = error("tflite_from_frozen", *words)
    assert line.startswith("the model cannot be a LiteRT model; LiteRT's built-in ops lack ")
    assert ops in line
    assert line.endswith("; cut the graph with --inputs or --outputs; nothing was written")


@pytest.mark.parametrize("how", ["dynamic", "float16", "int8"])
def test_what_quantizing_loses_is_measured(run: Run, tmp_path: Path, how: str) -> None:
    frozen = exported_models.write(exported_models.images, tmp_path / "m.pb")
    rows = exported_models.rows(20, 8, 8, 3)
    np.save(tmp_path / "rows.npy", rows)
    words = ("--frozen-model", frozen, "--tflite", tmp_path / "m.tflite", "--feed", f"@{tmp_path / 'rows.npy'}")
    given = ("--calibrate", f"x=@{tmp_path / 'rows.npy'}") if how == "int8" else ()
    done = run("tflite_from_frozen", *words, "--quantize", how, *given)
    assert (done.status, done.stderr) == (0, "")
    assert "proved" not in done.stdout
    found = re.search(
        r"^measured: y: at most (\S+) from the source, (\S+) on average, its largest number in the same place in "
        r"(\S+) % of the rows; on 20 rows given for x$",
        done.stdout,
        re.MULTILINE,
    )
    assert found
    assert float(found[2]) <= float(found[1]) <= 1
    assert f"bytes, {how}\n" in done.stdout or f"kB, {how}\n" in done.stdout


@pytest.mark.parametrize("words", [("--quantize", "int8"), ("--calibrate", "[[1]]")])
def test_int8_and_typical_rows_go_together(run: Run, words: tuple[str, ...]) -> None:
    done = run("tflite_from_frozen", *words)
    assert (done.status, done.stdout) == (2, "")
    assert "--quantize int8 and --calibrate go together" in done.stderr


def test_a_full_disk_and_an_existing_file_change_nothing(error: Fails, tmp_path: Path) -> None:
    frozen = exported_models.write(exported_models.images, tmp_path / "m.pb")
    words = ("--frozen-model", frozen, "--tflite", tmp_path / "m.tflite")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, limits[1]))
    try:
        assert "File too large" in error("tflite_from_frozen", *words)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    (tmp_path / "m.tflite").write_bytes(b"mine")
    assert error("tflite_from_frozen", *words).startswith("m.tflite exists")


def test_a_missing_library_names_the_command(error: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serialization.cli.find_spec", lambda name: None)
    line = error("tflite_from_frozen", "--tflite", tmp_path / "m.tflite")
    assert "has no module ai_edge_litert; `pip install -r requirements-export.txt` installs all it needs" in line
