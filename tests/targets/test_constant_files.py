"""A frozen model holds the content of the files that its source reads, and reads none."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import PROJECT, Fails, Run, environment

from serialization.errors import UserError
from serialization.formats import messages, protos
from serialization.graph.graph_index import GraphIndex
from serialization.graph.signature import Signature
from serialization.graph.tensors import describe_tensor
from serialization.run.predictor import Predictor, open_session
from serialization.targets import constant_files
from serialization.targets.constant_files import inline_files
from serialization.tensorflow import tf, tf1

WORDS = b"one\ntwo\n\xff\0three"


def export(folder: Path, take: Callable[[Any, Any], Any]) -> Path:
    """A SavedModel of TensorFlow 2 that computes with its input and the path of an asset."""
    (folder / "words.txt").write_bytes(WORDS)
    module = tf.Module()
    module.asset = tf.saved_model.Asset(str(folder / "words.txt"))

    call = tf.function(
        lambda x: {"y": take(x, module.asset.asset_path)},
        input_signature=[tf.TensorSpec([None], tf.int32, name="x")],
    )
    tf.saved_model.save(module, str(folder / "1"), signatures=call)
    (folder / "words.txt").unlink()  # the SavedModel has its own
    return folder / "1"


def in_the_graph(x: Any, path: Any) -> Any:
    return x + tf.strings.length(tf.io.read_file(path))


def in_a_branch(x: Any, path: Any) -> Any:
    return tf.cond(tf.reduce_sum(x) > 3, lambda: x + tf.strings.length(tf.io.read_file(path)), lambda: x - 1)


def as_lines(x: Any, path: Any) -> Any:
    return x + tf.size(tf.strings.split(tf.io.read_file(path), "\n"))


@pytest.mark.parametrize("take", [in_the_graph, in_a_branch, as_lines])
def test_an_asset_that_is_read(tmp_path: Path, run: Run, take: Callable[[Any, Any], Any]) -> None:
    folder = export(tmp_path, take)
    expected = take(tf.constant([1, 2]), _written(tmp_path)).numpy()
    done = run("freezemodel_save", "--saved-model", folder, "--frozen-model", tmp_path / "m.pb")
    assert (done.status, done.stderr) == (0, "")
    assert "inlined the file that " in done.stdout
    assert "proved: y: the same bits as the source" in done.stdout
    shutil.rmtree(folder)
    graph_def = protos.GraphDef.FromString((tmp_path / "m.pb").read_bytes())
    assert "ReadFile" not in {node.op for node in graph_def.node}
    command = [sys.executable, str(PROJECT / "freezemodel_load.py"), "--frozen-model", str(tmp_path / "m.pb")]
    done = subprocess.run([*command, "--feed", "x=[1,2]"], env=environment(), capture_output=True, text=True)  # type: ignore[assignment]
    assert np.array2string(expected) in done.stdout, done.stderr


def _written(folder: Path) -> str:
    (folder / "again").write_bytes(WORDS)
    return str(folder / "again")


def read_constant_path(path: Path) -> GraphIndex:
    with tf1.Graph().as_default() as graph:
        tf.identity(tf.io.read_file(tf.constant(str(path))), name="y")
    return GraphIndex(graph.as_graph_def())


def test_the_content_is_the_same_to_the_last_byte(tmp_path: Path) -> None:
    index = read_constant_path(Path(_written(tmp_path)))
    assert inline_files(index) == [f"inlined the file that ReadFile reads: {len(WORDS)} bytes"]
    with tf1.Graph().as_default() as graph:
        tf1.import_graph_def(index.graph_def, name="")
    wanted = Signature((), (describe_tensor(GraphIndex(index.graph_def).nodes, "y:0"),))
    with Predictor(open_session(graph), wanted) as predict:
        assert next(iter(predict({}).values())).item() == WORDS


def test_a_file_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^ReadFile reads the file .*gone, which is missing; copy it there$"):
        inline_files(read_constant_path(tmp_path / "gone"))


def test_a_file_that_is_too_large_for_a_protobuf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constant_files, "LIMIT", 200)
    assert messages.LIMIT == 2**31 - 1
    (tmp_path / "large").write_bytes(bytes(200))
    with pytest.raises(UserError, match=r"^the model is too large to be frozen; with the file that ReadFile"):
        inline_files(read_constant_path(tmp_path / "large"))


def test_a_file_name_that_is_fed_is_left(tmp_path: Path) -> None:
    with tf1.Graph().as_default() as graph:
        tf.io.read_file(tf1.placeholder("string", []))
    index = GraphIndex(graph.as_graph_def())
    assert inline_files(index) == []
    assert [node.op for node in index.graph_def.node] == ["Placeholder", "ReadFile"]


def test_the_path_of_another_file_is_refused_before_that(tmp_path: Path, error: Fails) -> None:
    with tf1.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder("int32", [], name="x")
        y = x + tf.strings.length(tf.io.read_file(tf.constant("/etc/hostname")))
        tf1.saved_model.simple_save(session, str(tmp_path / "1"), {"x": x}, {"y": y})
    line = error("freezemodel_save", "--saved-model", tmp_path / "1", "--frozen-model", tmp_path / "m.pb")
    assert "is not safe to load; it would read files: ReadFile at ReadFile" in line
