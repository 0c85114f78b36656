"""`--save` keeps predictions whole: what is read again has the bits of what the model answered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import graphs
import pytest
from conftest import Fails, Run

from serialization.errors import UserError
from serialization.graph.signature import Signature, Tensor
from serialization.run.given_feeds import parse_feed, read_feeds
from serialization.run.saved_predictions import save_predictions
from serialization.tensorflow import np, tf, tf1


def signature(**dtypes: str) -> Signature:
    tensors = tuple(Tensor(key, f"{key}:0", dtype, None) for key, dtype in dtypes.items())
    return Signature(tensors, tensors)


RESULTS: dict[str, tuple[str, Any]] = {
    "file": ("float32", np.array([[0.1, -0.0], [1e-45, 3e38]], "f")),
    "in/a scope: é": ("float64", np.arange(3000.0)),
    "whole": ("int64", np.array([2**62, -1])),
    "unsigned": ("uint64", np.array(2**64 - 1, "u8")),
    "bits": ("bool", np.array([[True], [False]])),
    "texts": ("string", np.array([b"a", "é".encode(), b""], object)),
    "text": ("string", np.array(b"one", object)),
    "short": ("bfloat16", np.array([1.5, -2.0], tf.bfloat16.as_numpy_dtype)),
    "none": ("float32", np.zeros((0, 3), "f")),
}
WANTED = signature(**{key: dtype for key, (dtype, _) in RESULTS.items()})


@pytest.mark.parametrize("form", ["npz", "json"])
def test_feed_reads_what_was_saved(tmp_path: Path, form: str) -> None:
    results = {key: value for key, (_, value) in RESULTS.items()}
    save_predictions(tmp_path / f"p.{form}", WANTED, results)
    again = read_feeds(WANTED, [parse_feed(f"@{tmp_path / f'p.{form}'}")])
    assert again.keys() == results.keys()
    for key, value in results.items():
        assert again[key].dtype == value.dtype
        assert again[key].tolist() == value.tolist()
        if value.size:  # JSON tells no shape of nothing
            assert again[key].shape == value.shape
    if form == "npz":
        with np.load(tmp_path / "p.npz") as saved:
            assert set(saved.files) == set(results)
            assert saved["file"].tobytes() == results["file"].tobytes()
            assert saved["short"].tolist() == [1.5, -2.0]  # numpy has no bfloat16


def test_json_has_words_for_what_is_no_number_and_no_text(tmp_path: Path) -> None:
    values = {"x": np.array([np.nan, np.inf, -np.inf, 0.5], "f"), "b": np.array([b"\xff\0", b"NaN"], object)}
    save_predictions(tmp_path / "p.json", signature(x="float32", b="string"), values)
    saved = json.loads((tmp_path / "p.json").read_text("utf-8"), parse_constant=pytest.fail)
    assert saved == {"x": ["NaN", "Infinity", "-Infinity", 0.5], "b": [{"b64": "/wA="}, "NaN"]}


@pytest.mark.parametrize(
    ("name", "dtype", "value", "line"),
    [
        ("p.json", "complex64", np.zeros(2, "c8"), "a: JSON has no values of complex64; --save a .npz file"),
        (
            "p.npz",
            "string",
            np.array([b"a\0"], object),
            "a has texts that end with NUL, which numpy drops",
        ),
        (
            "p.npy",
            "string",
            np.array(b"\0", object),
            "a has texts that end with NUL, which numpy drops",
        ),
    ],
)
def test_what_a_form_does_not_hold_is_refused(tmp_path: Path, name: str, dtype: str, value: Any, line: str) -> None:
    with pytest.raises(UserError, match=f"^{line}"):
        save_predictions(tmp_path / name, signature(a=dtype), {"a": value})


def two_outputs() -> None:
    x = tf1.placeholder(tf.float32, [None, 2], name="x")
    tf.matmul(x, tf1.get_variable("w", initializer=tf.ones([2, 600])), name="y")
    tf.add(x, 1.0, name="z")


def test_all_three_scripts_save_what_they_print(run: Run, tmp_path: Path) -> None:
    prefix = graphs.save(tmp_path, two_outputs)
    feed = ("--feed", "x=[[1, 2], [3, 4]]")
    expected = np.array([[3.0] * 600, [7.0] * 600])
    frozen, export = tmp_path / "m.pb", tmp_path / "export"
    assert run("freezemodel_save", "--checkpoint", prefix, "--outputs", "y,z", "--frozen-model", frozen).status == 0
    assert run("savedmodel_from_frozen", "--frozen-model", frozen, "--export-dir", export).status == 0
    for script, *words in (
        ("checkpoint_restore", "--checkpoint", prefix, "--outputs", "y,z"),
        ("freezemodel_load", "--frozen-model", frozen),
        ("savedmodel_pretrained", "--saved-model", export),
    ):
        for form in ("npz", "json"):
            file = tmp_path / script / f"p.{form}"
            done = run(script, *words, *feed, "--save", file)
            assert (done.status, done.stderr) == (0, "")
            assert f"\nwrote {file}\n" in done.stdout
            saved = dict(np.load(file)) if form == "npz" else json.loads(file.read_text())
            assert {key: np.asarray(value).tolist() for key, value in saved.items()} == {
                "y": expected.tolist(),
                "z": [[2, 3], [4, 5]],
            }
            before = file.read_bytes()
            done = run(script, *words, "--feed", "x=[[0, 0]]", "--save", file)
            assert (done.status, done.stderr) == (1, f"error: {file} exists already; --overwrite replaces it\n")
            assert file.read_bytes() == before
            assert run(script, *words, "--feed", "x=[[0, 0]]", "--save", file, "--overwrite").status == 0
            assert file.read_bytes() != before
        assert sorted(path.name for path in (tmp_path / script).iterdir()) == ["p.json", "p.npz"]
        done = run(script, *words, "--overwrite")
        assert (done.status, done.stderr.startswith("error: --overwrite goes with --save")) == (2, True)


def test_nothing_is_saved_where_a_run_fails(run: Run, error: Fails, tmp_path: Path) -> None:
    prefix = graphs.save(tmp_path, two_outputs)
    words = ("--checkpoint", prefix, "--outputs", "y,z", "--save", tmp_path / "p.npy")
    line = error("checkpoint_restore", *words, "--feed", "x=[[1, 2]]")
    assert line == "a .npy file holds one array; found y, z; --save a .npz file"
    assert error("checkpoint_restore", *words, "--feed", "x=[1]").startswith("--feed x: ")
    done = run("checkpoint_restore", "--save", tmp_path / "p.txt")
    line = f"error: argument --save: expected a file called .npz, .npy or .json, got '{tmp_path}/p.txt'"
    assert (done.status, done.stderr.startswith(line)) == (2, True)


def test_the_toys_and_the_images_predictions_are_saved(run: Run, toy: Path, tmp_path: Path) -> None:
    assert run("freezemodel_load", "--save", tmp_path / "toy.npy").status == 0
    assert np.load(tmp_path / "toy.npy").tolist() == [[False], [True]]
    done = run("checkpoint_restore", "--save", tmp_path / "restored.npy")
    assert (done.status, done.stderr) == (0, "")
    assert np.load(tmp_path / "restored.npy").dtype == bool
    done = run("savedmodel_pretrained", "--save", tmp_path / "images.npz")
    assert (done.status, done.stderr) == (0, "")
    saved = np.load(tmp_path / "images.npz")
    assert {key: saved[key].shape for key in saved} == {"classes": (20,), "probabilities": (20, 10)}
    assert (saved["probabilities"].argmax(axis=1) == saved["classes"]).all()
