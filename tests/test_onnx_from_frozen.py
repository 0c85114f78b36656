"""onnx_from_frozen.py: what onnxruntime makes of the file is what TensorFlow makes of the frozen model."""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import exported_models
import onnxruntime
import pytest
from conftest import PROJECT, Fails, Run, environment, freeze, inspect
from graphs import save

from serialization.tensorflow import np, tf1

KINDS = {
    "two_outputs": ("sum", "dot"),
    "loop": ("y",),
    "no_inputs": ("y",),
    "special_numbers": ("y",),
    "images": ("y",),
    "with_default": ("y",),
    "double_precision": ("y",),
    "lacking_ops": ("y",),
    "dynamic_rnn": ("y",),
}


def run_onnx(file: Path, **feeds: Any) -> list[Any]:
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    return list(session.run(None, feeds))


def test_the_toy_is_exported_by_a_confined_process(toy: Path) -> None:
    words = ["--frozen-model", toy / "frozen_model.pb", "--onnx", toy / "m.onnx"]
    command = [sys.executable, str(PROJECT / "onnx_from_frozen.py"), *map(str, words)]
    done = subprocess.run(command, cwd=toy, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1:] == [
        "proved: output1: the same bits as the source, on 1,003 rows generated for inputs_1",
        f"next: python {PROJECT}/freezemodel_serve.py --onnx m.onnx",
    ]
    rows = np.array([range(10), [5] * 10], "f")
    np.testing.assert_array_equal(run_onnx(toy / "m.onnx", inputs_1=rows)[0], [[False], [True]])


@pytest.mark.parametrize("kind", KINDS)
def test_models_are_proved(run: Run, tmp_path: Path, kind: str) -> None:
    frozen = exported_models.write(getattr(exported_models, kind), tmp_path / "m.pb", *KINDS[kind])
    done = run("onnx_from_frozen", "--frozen-model", frozen, "--onnx", tmp_path / "m.onnx")
    assert (done.status, done.stderr) == (0, "")
    assert "\nproved: " in done.stdout
    exported = inspect(run, tmp_path / "m.onnx")["exported"]
    assert [tensor["key"] for tensor in exported["signatures"][0]["outputs"]] == list(KINDS[kind])


@pytest.mark.parametrize("kind", ["checkpoint", "saved-model"])
def test_other_sources_are_frozen_on_the_way(run: Run, made: Path, tmp_path: Path, kind: str) -> None:
    source = {"checkpoint": "graph.ckpt", "saved-model": "savedmodel_from_checkpoint"}[kind]
    done = run("onnx_from_frozen", f"--{kind}", made / source, "--onnx", tmp_path / "m.onnx")
    assert (done.status, done.stderr) == (0, "")
    assert "proved: " in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_an_lstm_of_keras_is_proved(run: Run, tmp_path: Path) -> None:
    frozen = exported_models.write_lstm(tmp_path / "m.pb")
    done = run("onnx_from_frozen", "--frozen-model", frozen, "--onnx", tmp_path / "m.onnx", "--outputs", "y=Identity")
    assert (done.status, done.stderr) == (0, "")
    found = re.search(r"proved: y: within (\S+) of the source, (\S+) of its largest number; compared on", done.stdout)
    assert found
    assert float(found[1]) < 1e-5


def test_the_resnet_is_proved(run: Run, tmp_path: Path) -> None:
    saved_model = PROJECT / "pretrainedresnet" / "1"
    assert run("freezemodel_save", "--saved-model", saved_model, "--frozen-model", tmp_path / "m.pb").status == 0
    outputs = ("--outputs", "probabilities,classes", "--inputs", "input")
    done = run("onnx_from_frozen", "--frozen-model", tmp_path / "m.pb", "--onnx", tmp_path / "m.onnx", *outputs)
    assert (done.status, done.stderr) == (0, "")
    assert "proved: classes: the same bits as the source" in done.stdout
    image = np.zeros([3, 28, 28, 1], np.uint8)
    probabilities, classes = run_onnx(tmp_path / "m.onnx", input=image)
    assert (probabilities.shape, classes.shape) == ((3, 10), (3,))


def test_keys_become_names_in_their_order(run: Run, tmp_path: Path) -> None:
    frozen = exported_models.write(exported_models.two_outputs, tmp_path / "m.pb", "sum", "dot")
    words = ("--inputs", "right=b,left=a", "--outputs", "left=dot,total=sum,same=sum")
    done = run("onnx_from_frozen", "--frozen-model", frozen, "--onnx", tmp_path / "m.onnx", *words)
    assert (done.status, done.stderr) == (0, "")
    assert "output left: called left_ in the file, where an input has its key" in done.stdout
    (signature,) = inspect(run, tmp_path / "m.onnx")["exported"]["signatures"]
    assert [(t["key"], t["shape"]) for t in signature["inputs"]] == [("right", [None, 3]), ("left", [None, 3])]
    assert [t["key"] for t in signature["outputs"]] == ["left_", "total", "same"]
    one = np.ones([2, 3], "f")
    dot, total, same = run_onnx(tmp_path / "m.onnx", right=one, left=one * 2)
    assert (dot.tolist(), total.tolist(), same.tolist()) == ([60, 60], [[3] * 3] * 2, [[3] * 3] * 2)


@pytest.mark.parametrize(("script", "flag"), [("onnx_from_frozen", "--onnx"), ("tflite_from_frozen", "--tflite")])
def test_of_two_keys_for_one_input_the_last_is_left(run: Run, tmp_path: Path, script: str, flag: str) -> None:
    frozen = exported_models.write(exported_models.special_numbers, tmp_path / "m.pb")
    words = ("--frozen-model", frozen, flag, tmp_path / "m", "--inputs", "one=x,two=x")
    done = run(script, *words)
    assert (done.status, done.stderr) == (0, "")
    assert "\nproved: " in done.stdout
    (signature,) = inspect(run, tmp_path / "m")["exported"]["signatures"]
    assert [tensor["key"] for tensor in signature["inputs"]] == ["two"]


def test_a_default_is_kept_for_an_input_that_is_named(run: Run, tmp_path: Path) -> None:
    frozen = exported_models.write(exported_models.with_default, tmp_path / "m.pb")
    words = ("--frozen-model", frozen, "--onnx", tmp_path / "m.onnx", "--overwrite")
    assert run("onnx_from_frozen", *words, "--inputs", "x,k").status == 0
    exported = inspect(run, tmp_path / "m.onnx")["exported"]
    assert exported["defaults"] == ["k"]
    one = np.ones([1, 3], "f")
    assert run_onnx(tmp_path / "m.onnx", x=one)[0].tolist() == [[2] * 3]
    assert run_onnx(tmp_path / "m.onnx", x=one, k=np.array(5, "f"))[0].tolist() == [[5] * 3]
    assert run("onnx_from_frozen", *words, "--inputs", "x").status == 0
    assert run_onnx(tmp_path / "m.onnx", x=one)[0].tolist() == [[2] * 3]


@pytest.mark.parametrize("opset", [9, 13, 18])
def test_opsets(run: Run, made: Path, tmp_path: Path, opset: int) -> None:
    words = ("--frozen-model", made / "frozen_model.pb", "--onnx", tmp_path / "m.onnx")
    done = run("onnx_from_frozen", *words, "--opset", opset)
    assert (done.status, done.stderr) == (0, "")
    assert f"opset {opset}\nproved: " in done.stdout
    assert inspect(run, tmp_path / "m.onnx")["exported"]["versions"]["ai.onnx"] == opset


def test_a_wrong_opset_is_refused(run: Run, tmp_path: Path) -> None:
    done = run("onnx_from_frozen", "--opset", 19, "--onnx", tmp_path / "m.onnx")
    assert (done.status, done.stdout) == (2, "")
    assert "expected a whole number from 9 to 18, got '19'" in done.stderr


def test_tables_that_the_frozen_graph_fills_are_exported(run: Run, tmp_path: Path) -> None:
    prefix = save(tmp_path, exported_models.words_in_a_table)
    assert freeze(run, prefix, tmp_path, "--outputs", "ids,again").status == 0
    words = ("--frozen-model", tmp_path / "m.pb", "--onnx", tmp_path / "m.onnx", "--outputs", "ids,again")
    done = run("onnx_from_frozen", *words)
    assert (done.status, done.stderr) == (0, "")
    assert "proved: ids, again: the same bits as the source" in done.stdout
    ids, again = run_onnx(tmp_path / "m.onnx", words=np.array([["b", "text", "new"]], object))
    assert (ids.tolist(), again.tolist()) == ([[2, 3, -1]], [["b", "text", "?"]])


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (
            "decode_sound",
            "the model cannot be an ONNX model; ONNX's opset 18 has no DecodeWav, the op of node DecodeWav; "
            "cut the graph around it with --inputs or --outputs; nothing was written",
        ),
        (
            "short_numbers",
            "onnxruntime cannot run the model: it has no implementation of Max, the op of node y, for these dtypes; "
            "nothing was written",
        ),
    ],
)
def test_what_onnx_or_onnxruntime_lacks_is_named(error: Fails, tmp_path: Path, kind: str, expected: str) -> None:
    frozen = exported_models.write(getattr(exported_models, kind), tmp_path / "m.pb")
    words = ("--frozen-model", frozen, "--onnx", tmp_path / "m.onnx")
    assert error("onnx_from_frozen", *words) == expected
    assert error("onnx_from_frozen", *words, "--no-verify") == expected


def test_random_outputs_are_not_verified(run: Run, tmp_path: Path) -> None:
    frozen = exported_models.write(exported_models.random, tmp_path / "m.pb")
    done = run("onnx_from_frozen", "--frozen-model", frozen, "--onnx", tmp_path / "m.onnx")
    assert (done.status, done.stderr) == (0, "")
    assert "not verified: random: random_uniform/RandomUniform; y: its shape and dtype are the source's" in done.stdout


def test_values_are_given(run: Run, error: Fails, tmp_path: Path) -> None:
    frozen = exported_models.write(exported_models.special_numbers, tmp_path / "m.pb")
    words = ("--frozen-model", frozen, "--onnx", tmp_path / "m.onnx", "--overwrite")
    done = run("onnx_from_frozen", *words, "--feed", "[[0,-1],[1,2]]")
    assert (done.status, done.stderr) == (0, "")
    assert "on 2 rows given for x" in done.stdout
    assert error("onnx_from_frozen", *words, "--feed", "[[0,true]]").startswith("--feed x[0][1]: expected a number")
    done = run("onnx_from_frozen", *words, "--no-verify")
    assert "not verified, as --no-verify asks" in done.stdout


def test_an_existing_file_is_replaced_only_if_asked(error: Fails, run: Run, made: Path, tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"mine")
    words = ("--frozen-model", made / "frozen_model.pb", "--onnx", tmp_path / "m.onnx")
    assert error("onnx_from_frozen", *words).startswith("m.onnx exists")
    assert (tmp_path / "m.onnx").read_bytes() == b"mine"
    assert run("onnx_from_frozen", *words, "--overwrite").status == 0
    assert inspect(run, tmp_path / "m.onnx")["kind"] == "onnx"


def test_a_model_of_ones_own_names_the_result(run: Run, results: Path, tmp_path: Path) -> None:
    frozen = exported_models.write(exported_models.images, tmp_path / "mine.pb")
    assert run("onnx_from_frozen", "--frozen-model", frozen).status == 0
    assert (results / "mine.onnx").is_file()


def test_a_full_disk_leaves_nothing(error: Fails, tmp_path: Path) -> None:
    frozen = exported_models.write(exported_models.images, tmp_path / "m.pb")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, limits[1]))
    try:
        line = error("onnx_from_frozen", "--frozen-model", frozen, "--onnx", tmp_path / "m.onnx")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert line == "cannot write m.onnx; File too large; name another place"


def test_a_missing_library_names_the_command(error: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serialization.cli.find_spec", lambda name: None if name == "onnxruntime" else name)
    line = error("onnx_from_frozen", "--onnx", tmp_path / "m.onnx")
    assert "has no module onnxruntime; `pip install -r requirements-export.txt` installs all it needs" in line


def test_a_large_graph_has_the_same_file_but_for_folded_numbers(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Large constants are cut out of the graph before tf2onnx sees it, and come back transposed as ONNX wants them."""
    frozen = exported_models.write(exported_models.images, tmp_path / "m.pb")
    row = exported_models.rows(3, 8, 8, 3)
    assert run("onnx_from_frozen", "--frozen-model", frozen, "--onnx", tmp_path / "plain.onnx").status == 0
    monkeypatch.setattr("serialization.targets.to_onnx.LARGE_FILE", 0)
    monkeypatch.setattr("serialization.targets.to_onnx._LARGE", 100)
    done = run("onnx_from_frozen", "--frozen-model", frozen, "--onnx", tmp_path / "lean.onnx")
    assert (done.status, done.stderr) == (0, "")
    assert "proved: y: " in done.stdout
    plain, lean = (inspect(run, tmp_path / f"{name}.onnx")["exported"] for name in ("plain", "lean"))
    assert lean["signatures"][0]["inputs"] == plain["signatures"][0]["inputs"]
    assert lean["ops"].get("Transpose", 0) <= plain["ops"].get("Transpose", 0) + 1, (
        "the kernel by depth is reshaped too"
    )
    (expected,), (found,) = (run_onnx(tmp_path / f"{name}.onnx", x=row) for name in ("plain", "lean"))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_constants_that_stay_in_a_large_file_are_read_from_it(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wide() -> None:
        x = tf1.placeholder("float32", [None, 600], name="x")
        w = tf1.get_variable("w", [600, 600], initializer=tf1.random_normal_initializer(seed=1))
        kept = tf1.get_variable("kept", [600, 600], initializer=tf1.random_normal_initializer(seed=1))
        tf1.reduce_sum(kept, name="z")  # its numbers are not cut out
        tf1.matmul(x, w, name="y")

    frozen = exported_models.write(wide, tmp_path / "m.pb", "y", "z")
    for module in ("sources.frozen_reader", "targets.to_onnx"):
        monkeypatch.setattr(f"serialization.{module}.LARGE_FILE", 1000)
    done = run("onnx_from_frozen", "--frozen-model", frozen, "--onnx", tmp_path / "m.onnx", "--outputs", "y,z")
    assert (done.status, done.stderr) == (0, "")
    assert "\nproved: " in done.stdout
    assert inspect(run, tmp_path / "m.onnx")["exported"]["parameters"] >= 600 * 600


def test_the_source_is_not_overwritten_with_the_result(run: Run, tmp_path: Path) -> None:
    source = exported_models.write(exported_models.double_precision, tmp_path / "m.pb")
    before = source.read_bytes()
    (tmp_path / "link.onnx").symlink_to(source)
    for target in (source, tmp_path / "link.onnx"):
        done = run("onnx_from_frozen", "--frozen-model", source, "--onnx", target, "--overwrite")
        assert (done.status, done.stdout) == (2, "")
        assert done.stderr.startswith("error: --onnx names the model that --frozen-model reads; name another place")
    assert source.read_bytes() == before
