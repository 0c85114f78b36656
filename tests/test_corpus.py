"""The corpus run, on a small corpus made for it; the real one is run by `make corpus`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import graphs
import pytest
from conftest import PROJECT, environment

from serialization.tensorflow import np, tf, tf1


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "checkpoints" / "classifier").mkdir(parents=True)
    graphs.save(folder / "checkpoints" / "classifier", graphs.classifier)
    for name, recorded in (("right", "1.0\n4.0\n9.0\n"), ("wrong", "1.0\n4.0\n10.0\n")):
        frozen = folder / "frozen" / name
        frozen.mkdir(parents=True)
        with tf1.Graph().as_default() as graph:
            tf.square(tf1.placeholder(tf.float32, [3], name="scope/x"), name="scope/y")
        (frozen / "m.pb").write_bytes(graph.as_graph_def().SerializeToString())
        for file, values in (("scope____x.placeholder", "1.0\n2.0\n3.0\n"), ("scope____y.prediction", recorded)):
            (frozen / f"{file}.csv").write_text(values)
            (frozen / f"{file}.shape").write_text("3\n")
    with tf1.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None], name="x")
        tf1.saved_model.simple_save(session, str(folder / "savedmodels" / "half" / "1"), {"x": x}, {"y": x / 2})
    (folder / "negative" / "empty").mkdir(parents=True)
    (folder / "negative" / "empty" / "model.ckpt.index").write_bytes(b"")
    (folder / "HINTS.tsv").write_text(
        f"name\toutputs\tfeeds_json\tnote\nclassifier\tlogits\t{json.dumps({'x:0': ['f', [2, 4]]})}\t\n"
    )
    return folder


def run(corpus: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(PROJECT / "tests" / "corpus.py"), str(corpus), *words]
    return subprocess.run(command, env=environment(), capture_output=True, text=True)


def outcomes(report: Path) -> dict[str, str]:
    return {row["name"]: row["outcome"] for row in map(json.loads, report.read_text().splitlines())}


def test_each_artefact_gets_its_verdict(corpus: Path, tmp_path: Path) -> None:
    done = run(corpus, "--report", str(tmp_path / "rows"))
    assert outcomes(tmp_path / "rows") == {
        "classifier": "verified",
        "right": "verified",
        "wrong": "FAILED",
        "half": "verified",
        "empty": "refused",
    }, done.stdout + done.stderr
    assert "scope/y:0 differs from the recorded values by 1" in done.stdout
    assert done.returncode == 1, "a wrong answer fails the run"
    assert run(corpus, "--only", "^(right|empty)$").returncode == 0


def test_the_stock_route_is_measured_by_the_same_values(corpus: Path, tmp_path: Path) -> None:
    run(corpus, "--stock", "--report", str(tmp_path / "rows"))
    assert outcomes(tmp_path / "rows") == {
        "classifier": "verified",
        "right": "verified",
        "wrong": "FAILED",
        "half": "verified",
    }


def test_the_real_corpus_has_no_failure(tmp_path: Path) -> None:
    """A part of it, one of each kind; all of it takes minutes."""
    folder = Path(os.environ.get("CORPUS", PROJECT.parent / "shared" / "corpus"))
    if not folder.is_dir():
        pytest.skip("optional: no corpus of real models in CORPUS")
    done = run(folder, "--only", "^(lambda|dl4j__case__cond_1b|tfx_serving|mlnet_mnist_miss)")
    assert done.returncode == 0, done.stdout[-2000:]
    assert np.char.count(done.stdout, "FAILED") == 1, "in the heading of the table"
