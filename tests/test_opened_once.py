"""A user's file is opened once in a run, by Python: what was read is handed on, not its path."""

from __future__ import annotations

import importlib
import os
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import graphs
import pytest
from conftest import PROJECT
from serving_models import serving

from serialization.cli import call_main
from serialization.sources.frozen_reader import LARGE_FILE
from serialization.tensorflow import tf, tf1

# Run by each process at its start: writes a line for each file that Python opens below a folder.
_LOG = """
import os, sys
folder, log = os.environ["FOLDER"] + "/", os.open(os.environ["LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
def note(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes)):
        name = os.path.abspath(os.fsdecode(arguments[0]))
        if name.startswith(folder):
            os.write(log, f"{os.getpid()} {name}\\n".encode())
sys.addaudithook(note)
"""


class _Opened:
    """Counts the files that Python opens below a folder, while there is one. An audit hook stays for ever."""

    def __init__(self) -> None:
        self.folder = ""
        self.names: Counter[str] = Counter()

    def __call__(self, event: str, arguments: tuple[object, ...]) -> None:
        if self.folder and event == "open" and isinstance(arguments[0], (str, bytes)):
            name = os.path.abspath(os.fsdecode(arguments[0]))
            self.names[name] += name.startswith(f"{self.folder}/")


_OPENED = _Opened()
sys.addaudithook(_OPENED)


def count_opened(folder: Path, script: str, *words: object) -> Counter[str]:
    """How often Python opens each file below the folder when the script runs."""
    _OPENED.names = Counter()
    _OPENED.folder = str(folder.resolve())
    try:
        assert call_main(importlib.import_module(script).main, [str(word) for word in words]) == 0
    finally:
        _OPENED.folder = ""
    return +_OPENED.names


def save_v1(folder: Path) -> Path:
    return graphs.save(folder, graphs.classifier, write_version=tf1.train.SaverDef.V1)


def save_v2(folder: Path) -> Path:
    return graphs.save(folder, graphs.classifier)


def save_sharded(folder: Path) -> Path:
    return graphs.save(folder, graphs.classifier, sharded=True)


CHECKPOINTS = {"V1": save_v1, "V2": save_v2, "sharded": save_sharded}
NAMES = ("--inputs", "x", "--outputs", "logits")


def require_once(opened: Counter[str], *expected: str) -> None:
    """No file twice but data files, in which the values lie; and these were opened, so that the test sees something."""
    often = {name: number for name, number in opened.items() if number > 1 and ".data-" not in name}
    assert not often, "open the file once and hand on what was read"
    assert {Path(name).name for name in opened} >= set(expected)


@pytest.mark.parametrize("save", CHECKPOINTS.values(), ids=CHECKPOINTS)
@pytest.mark.parametrize(
    ("script", "result"),
    [
        ("checkpoint_restore", None),
        ("freezemodel_save", "--frozen-model"),
        ("savedmodel_from_checkpoint", "--export-dir"),
    ],
)
def test_a_checkpoint(tmp_path: Path, save: Callable[[Path], Path], script: str, result: str | None) -> None:
    (tmp_path / "model").mkdir()
    prefix = save(tmp_path / "model")
    words = (result, tmp_path / "result") if result else ()
    opened = count_opened(tmp_path / "model", script, "--checkpoint", prefix, *NAMES, *words)
    require_once(opened, f"{prefix.name}.meta")


def test_one_variable_of_a_checkpoint(tmp_path: Path) -> None:
    prefix = save_v2(tmp_path)
    require_once(count_opened(tmp_path, "checkpoint_restore", "--checkpoint", prefix, "--tensor", "dense/kernel"))


def test_a_checkpoint_with_its_graph_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    prefix = save_v2(folder)
    prefix.with_name(f"{prefix.name}.meta").rename(folder / "graph.meta")
    words = ("--checkpoint", prefix, "--graph", folder / "graph.meta", *NAMES, "--frozen-model", tmp_path / "m.pb")
    opened = count_opened(folder, "freezemodel_save", *words, "--no-verify")
    require_once(opened, "graph.meta", f"{prefix.name}.index")


@pytest.mark.parametrize("form", ["binary", "text"])
@pytest.mark.parametrize("script", ["freezemodel_load", "savedmodel_from_frozen"])
def test_a_frozen_graph(tmp_path: Path, script: str, form: str) -> None:
    frozen = graphs.freeze(graphs.classifier, ["logits"])
    file = tmp_path / "model" / "frozen"
    file.parent.mkdir()
    if form == "text":
        file.write_text(str(frozen))
    else:
        file.write_bytes(frozen.SerializeToString())
    words = ("--export-dir", tmp_path / "1") if script == "savedmodel_from_frozen" else ()
    require_once(count_opened(file.parent, script, "--frozen-model", file, *NAMES, *words), "frozen")


def test_a_large_frozen_graph(tmp_path: Path) -> None:
    """A graph whose constants stay in the file until they are read into their variables."""

    def build() -> None:
        x = tf1.placeholder(tf.float32, [None, 3000], name="x")
        weights = tf1.get_variable("w", [3000, 3000], initializer=tf1.ones_initializer())
        tf.matmul(x, weights, name="logits")

    file = tmp_path / "large.pb"
    file.write_bytes(graphs.freeze(build, ["logits"]).SerializeToString())
    assert file.stat().st_size > LARGE_FILE
    require_once(count_opened(tmp_path, "freezemodel_load", "--frozen-model", file, *NAMES), "large.pb")


@pytest.fixture
def vocabulary_file(tmp_path: Path) -> Path:
    file = tmp_path / "words.txt"
    file.write_text("one\ntwo\n")
    return file


def export(folder: Path, vocabulary: Path, *, text: bool) -> None:
    with tf1.Graph().as_default(), tf1.Session() as session:
        graphs.vocabulary(vocabulary)
        session.run([tf1.global_variables_initializer(), tf1.tables_initializer()])
        tensor = session.graph.get_tensor_by_name
        builder = tf1.saved_model.Builder(str(folder))
        signature = tf1.saved_model.predict_signature_def(
            {"words": tensor("words:0")}, {"numbers": tensor("numbers:0")}
        )
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            {"serving_default": signature},
            assets_collection=tf1.get_collection(tf1.GraphKeys.ASSET_FILEPATHS),
            main_op=tf1.tables_initializer(),
        )
        builder.save(as_text=text)


@pytest.mark.parametrize("script", ["savedmodel_pretrained", "freezemodel_save"])
@pytest.mark.parametrize("form", ["pb", "pbtxt", "folder of versions"])
def test_a_saved_model(tmp_path: Path, vocabulary_file: Path, script: str, form: str) -> None:
    export(tmp_path / "models" / "1", vocabulary_file, text=form == "pbtxt")
    named = tmp_path / "models" if form == "folder of versions" else tmp_path / "models" / "1"
    words = ("--frozen-model", tmp_path / "m.pb") if script == "freezemodel_save" else ()
    opened = count_opened(tmp_path / "models", script, "--saved-model", named, "--feed", 'words=["one"]', *words)
    require_once(opened, "saved_model.pbtxt" if form == "pbtxt" else "saved_model.pb", "variables.index")


def test_a_saved_model_of_keras(tmp_path: Path) -> None:
    """Some of its variables are restored by this project, for its own restore op leaves them out."""
    network = tf.keras.Sequential([tf.keras.layers.Input((4,)), tf.keras.layers.Dense(3)])
    tf.saved_model.save(network, str(tmp_path / "1"))
    words = ("--saved-model", tmp_path / "1", "--frozen-model", tmp_path / "m.pb")
    require_once(count_opened(tmp_path / "1", "freezemodel_save", *words), "saved_model.pb")


def test_pictures(tmp_path: Path) -> None:
    sample = PROJECT / "pretrainedresnet" / "samples" / "bag_0.png"
    require_once(count_opened(PROJECT / "pretrainedresnet", "savedmodel_pretrained", "--image", sample), "bag_0.png")


@pytest.mark.parametrize("name", ["", ".index", ".meta"])
def test_inspecting_a_checkpoint(tmp_path: Path, name: str) -> None:
    prefix = save_v2(tmp_path)
    opened = count_opened(tmp_path, "model_inspect", f"{prefix}{name}")
    require_once(opened, f"{prefix.name}.index", f"{prefix.name}.meta")


@pytest.mark.parametrize("save", CHECKPOINTS.values(), ids=CHECKPOINTS)
def test_inspecting_a_folder(tmp_path: Path, save: Callable[[Path], Path]) -> None:
    save(tmp_path)
    require_once(count_opened(tmp_path, "model_inspect", tmp_path))


def test_inspecting_an_object_checkpoint(tmp_path: Path) -> None:
    tf.train.Checkpoint(v=tf.Variable([1.0, 2.0])).write(str(tmp_path / "ckpt-1"))
    require_once(count_opened(tmp_path, "model_inspect", tmp_path / "ckpt-1"), "ckpt-1.index")


@pytest.mark.parametrize("named", [".", "saved_model.pb"])
def test_inspecting_a_saved_model(tmp_path: Path, vocabulary_file: Path, named: str) -> None:
    export(tmp_path / "1", vocabulary_file, text=False)
    opened = count_opened(tmp_path / "1", "model_inspect", tmp_path / "1" / named)
    require_once(opened, "saved_model.pb", "variables.index")


def test_inspecting_a_frozen_graph(tmp_path: Path) -> None:
    file = tmp_path / "frozen.pb"
    file.write_bytes(graphs.freeze(graphs.classifier, ["logits"]).SerializeToString())
    require_once(count_opened(tmp_path, "model_inspect", file), "frozen.pb")


@pytest.mark.parametrize(
    ("kind", "confinement", "processes"),
    [
        ("checkpoint", ("--unconfined",), 2),
        ("frozen-model", ("--unconfined",), 2),
        ("saved-model", ("--unconfined",), 2),
        ("frozen-model", (), 1),
    ],
)
def test_serving(
    tmp_path: Path,
    vocabulary_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    confinement: tuple[str, ...],
    processes: int,
) -> None:
    """One process finds the model, another one answers: neither opens a file twice. A confined one cannot log it."""
    hook, folder, log = (tmp_path / name for name in ("hook", "model", "log"))
    hook.mkdir()
    folder.mkdir()
    (hook / "sitecustomize.py").write_text(_LOG)
    path, expected = folder / "1", "saved_model.pb"
    if kind == "checkpoint":
        path, expected = save_v2(folder), "model.ckpt.meta"
    elif kind == "frozen-model":
        path, expected = folder / "frozen.pb", "frozen.pb"
        path.write_bytes(graphs.freeze(graphs.classifier, ["logits"]).SerializeToString())
    else:
        export(path, vocabulary_file, text=False)
    for name, value in {"PYTHONPATH": hook, "FOLDER": folder, "LOG": log}.items():
        monkeypatch.setenv(name, str(value))
    with serving(f"--{kind}", path, *confinement, *(() if kind == "saved-model" else NAMES)):
        lines = log.read_text().splitlines()
    opened: dict[str, Counter[str]] = {}
    for line in lines:
        process, _, name = line.partition(" ")
        opened.setdefault(process, Counter())[name] += 1
    assert len(opened) == processes
    for count in opened.values():
        require_once(count)
    assert any(name.endswith(expected) for name in list(opened.values())[-1])
