"""The safety scan refuses harmful ops and allows harmless ones; a refused op has not run."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import harmful_models
import pytest
from conftest import PROJECT, Run, environment
from handmade_graphs import X, Y, graph, ops, scan, set_string
from harmful_models import Effects, Make, require_no_effect

from serialization.checks import harm
from serialization.errors import UserError
from serialization.formats import protos
from serialization.tensorflow import tf, tf1


def test_ops_that_the_import_evaluates_are_found_anywhere() -> None:
    """TensorFlow runs stateless ops of constants while it infers shapes; the next test shows that it does."""
    nodes = [("name", "Const", []), ("read", "ReadFile", ["name"]), ("to", "StringToNumber", ["read"]), X, Y]
    found = scan(graph(*nodes), ["y"])
    assert [str(f) for f in found] == ["ReadFile at read (evaluated while the graph is imported)"]
    stored = graph(("name", "Const", []), ("files", "MatchingFiles", ["name"]), ("v", "Assign", ["v", "files"]), X, Y)
    assert scan(stored, ["y"]) == []
    fed = graph(X, Y, ("read", "ReadFile", ["x"]), ("to", "StringToNumber", ["read"]))
    assert scan(fed, ["y"]) == []


def test_the_import_runs_stateless_ops(tmp_path: Path) -> None:
    """Therefore the scan looks at ops that no output needs."""
    with tf1.Graph().as_default() as built:
        dims = tf.constant([3])
        name = {"device_name": "/job:localhost/replica:0/task:0/cpu:0", "tensor_name": "x:0"}
        tf.fill(tf.raw_ops.DebugIdentity(input=dims, debug_urls=["file:///nowhere"], **name), 1.0)
    graph_def = built.as_graph_def()
    for node in graph_def.node:
        if node.op == "DebugIdentity":
            node.attr["debug_urls"].list.s[0] = f"file://{tmp_path}/written".encode()
    with tf1.Graph().as_default():
        tf1.import_graph_def(graph_def)
    assert list((tmp_path / "written").rglob("x_0_DebugIdentity_*"))


def test_the_import_runs_no_function(tmp_path: Path) -> None:
    """Therefore ops in a function count only if the function is called."""
    (tmp_path / "three").write_text("3")

    def read_three() -> Any:
        return tf.strings.to_number(tf.io.read_file(str(tmp_path / "three")), tf.int32)

    read = tf.function(read_three)
    with tf1.Graph().as_default() as built:
        tf.fill([read()], 1.0, name="filled")
    with tf1.Graph().as_default() as imported:
        tf1.import_graph_def(built.as_graph_def(), name="")
        assert imported.get_tensor_by_name("filled:0").shape.as_list() == [None]


@pytest.mark.parametrize("stream", ["stdout", "stderr", "log(info)", ""])
def test_printing_to_the_terminal_is_allowed(stream: str) -> None:
    graph_def = graph(X, ("print", "PrintV2", ["x"]), ("y", "Identity", ["x", "^print"]))
    assert scan(set_string(graph_def, "print", stream) if stream else graph_def, ["y"]) == []


def test_a_cache_in_memory_is_allowed() -> None:
    nodes = [X, ("name", "Const", []), ("y", "CacheDatasetV2", ["x", "name"])]
    assert scan(set_string(graph(*nodes), "name", ""), ["y"]) == []
    assert [str(f) for f in scan(set_string(graph(*nodes), "name", "/tmp/c"), ["y"])] == [
        "CacheDatasetV2 at y (file /tmp/c)"
    ]


def test_a_table_may_be_filled_from_a_file_beside_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [X, ("file", "Const", []), ("y", "InitializeTableFromTextFileV2", ["x", "file"])]

    def found(path: str) -> list[harm.Finding]:
        return scan(set_string(graph(*nodes), "file", path), ["y"], folder=tmp_path / "model")

    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    assert found(f"{tmp_path}/model/vocab.txt") == []
    assert found("model/vocab.txt") == []
    assert ops(found("vocab.txt")) == ["InitializeTableFromTextFileV2"]
    assert ops(found("/etc/passwd")) == ["InitializeTableFromTextFileV2"]
    assert ops(found(f"{tmp_path}/model/../vocab.txt")) == ["InitializeTableFromTextFileV2"]


def test_the_error_names_effects_ops_and_nodes_without_control_characters(tmp_path: Path) -> None:
    bad = [(f"w{i}", "WriteFile", ["x", "x"]) for i in range(7)]
    graph_def = graph(X, *bad, ("r\x1b[31m\n", "ReadFile", ["x"]), ("p" * 500, "PyFunc", ["x"]))
    with pytest.raises(UserError) as raised:
        harm.require_safe(scan(graph_def), tmp_path / "m.pb")
    assert str(raised.value) == (
        f"{tmp_path}/m.pb is not safe to load; it would write files: WriteFile at w0, WriteFile at w1, "
        "WriteFile at w2, WriteFile at w3, WriteFile at w4 and 2 more and read files: ReadFile at r?[31m? (a file name "
        f"that is computed, carried or renamed) and run code: PyFunc at {'p' * 120}…; "
        "nothing was loaded; --trust-model loads it all the same"
    )
    harm.require_safe(scan(graph_def), tmp_path, trust=True)


# What scripts do with models that would do harm when they are loaded or run.


@pytest.fixture
def written(tmp_path: Path) -> Path:
    return tmp_path / "written"


def frozen(folder: Path, written: Path) -> Path:
    with tf1.Graph().as_default() as built:
        x = tf1.placeholder(tf.float32, [None], name="x")
        write = tf.io.write_file(str(written), "harm", name="hidden")
        with tf.control_dependencies([write]):
            tf.identity(x * 2.0, name="y")
    (folder / "m.pb").write_bytes(built.as_graph_def().SerializeToString())
    return folder / "m.pb"


def checkpoint(folder: Path, written: Path) -> Path:
    with tf1.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None], name="x")
        variable = tf1.get_variable("v", [], initializer=tf1.ones_initializer())
        with tf.control_dependencies([tf.io.write_file(str(written), "harm", name="hidden")]):
            tf.multiply(x, variable, name="y")
        session.run(variable.initializer)
        tf1.train.Saver().save(session, str(folder / "m.ckpt"), write_state=False)
    return folder / "m.ckpt"


def checkpoint_that_writes(folder: Path, effects: Effects) -> Path:
    return checkpoint(folder, effects.written)


# By the flag that names the model: the scripts that load it.
SCRIPTS = {
    "--frozen-model": ("freezemodel_load", "savedmodel_from_frozen"),
    "--checkpoint": ("checkpoint_restore", "freezemodel_save", "savedmodel_from_checkpoint"),
    "--saved-model": ("savedmodel_pretrained", "freezemodel_save", "savedmodel_edit"),
}
HARMFUL: list[tuple[str, Make]] = [
    *(("--frozen-model", make) for make in harmful_models.FROZEN),
    ("--checkpoint", checkpoint_that_writes),
    *(("--saved-model", make) for make in harmful_models.SAVED_MODELS),
]
REFUSALS = re.compile(
    r"error: \S+ (is not safe to load; it would (write files|read files|open connections|run code): .*; "
    r"nothing was loaded; --trust-model loads it all the same|is no plain file; .*)\n|"
    r"error: the SavedModel has no signature; .*\n|"
    r"error: the SavedModel is damaged; of its 2 MetaGraphDefs several have the same tag-set, .*\n|"
    r"error: the checkpoint \S+ is incomplete; its data file \S+ is missing; .*\n|"
    r"error: \S+ is damaged; its constant \S+ has no dtype that TensorFlow knows, .*\n|"
    r"error: \S+ is damaged; it has several functions called f; .*\n"
)


@pytest.mark.parametrize(("flag", "make"), HARMFUL, ids=[make.__name__ for _, make in HARMFUL])
def test_every_script_refuses_each_harmful_model_and_runs_nothing_of_it(
    run: Run, results: Path, tmp_path: Path, effects: Effects, flag: str, make: Make
) -> None:
    (tmp_path / "model").mkdir()
    path = make(tmp_path / "model", effects)
    before = sorted(tmp_path.rglob("*"))
    for script in SCRIPTS[flag]:
        done = run(script, flag, path, *(("--outputs", "y") if flag != "--saved-model" else ()))
        assert (done.status, bool(REFUSALS.fullmatch(done.stderr))) == (1, True), (script, done.stderr)
        require_no_effect(effects, done)
    done = run("model_inspect", path, "--strict")
    assert (done.status, done.stderr.count("\n")) == (1, 1)
    assert [file for file in sorted(tmp_path.rglob("*")) if file.name != "results"] == before


# Their harm shows elsewhere: in the network, in a wait without end, in numbers. Or other checks and the private copy
# take it away even from a model that is trusted.
UNSEEN = re.compile(
    "a_vocabulary_.*|.*_pipe.*|a_constant_that_the_caller_gives|a_directory_that_is_listed|a_file_mapped_as_a_constant|"
    "compiled_code_in_text|a_second_function_of_the_same_name|two_meta_graphs_of_the_same_tags|an_asset_(outside|read|that).*|a_cache_beside_an_asset|"
    ".*_made_from_bytes"
)
SEEN = [(flag, make) for flag, make in HARMFUL if not UNSEEN.fullmatch(make.__name__)]


@pytest.mark.parametrize(("flag", "make"), SEEN, ids=[make.__name__ for _, make in SEEN])
def test_the_harmful_models_do_harm_where_they_are_trusted(
    run: Run, tmp_path: Path, effects: Effects, flag: str, make: Make
) -> None:
    (tmp_path / "model").mkdir()
    words = ("--trust-model", *(("--outputs", "y") if flag != "--saved-model" else ()))
    done = run(SCRIPTS[flag][0], flag, make(tmp_path / "model", effects), *words)
    assert "SECRET" in done.stdout + done.stderr or list(effects.written.parent.glob("written*"))


@pytest.mark.parametrize(
    ("script", "flag", "make", "shown"),
    [
        ("freezemodel_load", "--frozen-model", frozen, "m.pb"),
        ("checkpoint_restore", "--checkpoint", checkpoint, "m.ckpt.meta"),
    ],
)
def test_the_error_of_a_script(
    run: Run, tmp_path: Path, written: Path, script: str, flag: str, make: Callable[[Path, Path], Path], shown: str
) -> None:
    done = run(script, flag, make(tmp_path, written), "--inputs", "x", "--outputs", "y")
    assert done.stderr == (
        f"error: {tmp_path}/{shown} is not safe to load; it would write files: WriteFile at hidden; "
        "nothing was loaded; --trust-model loads it all the same\n"
    )


def test_a_harmful_checkpoint_is_refused_too_where_no_session_is_needed(
    run: Run, tmp_path: Path, written: Path
) -> None:
    words = ("--checkpoint", checkpoint(tmp_path, written), "--inputs", "x", "--outputs", "y", "--no-verify")
    done = run("freezemodel_save", *words, "--frozen-model", tmp_path / "m.pb")
    assert done.status == 1
    assert "is not safe to load; it would write files: WriteFile at hidden" in done.stderr
    assert not (tmp_path / "m.pb").exists()


@pytest.mark.parametrize("script", ["checkpoint_restore", "freezemodel_save", "savedmodel_from_checkpoint"])
@pytest.mark.parametrize("node", ["save/restore_all", "NN/W1/Read/ReadVariableOp", "Accuracy/predictions", "NN/W1"])
def test_an_op_hidden_in_the_toy_checkpoint_does_not_run(
    run: Run, toy: Path, written: Path, script: str, node: str
) -> None:
    with tf1.Graph().as_default() as built:
        tf.io.write_file(str(written), "harm", name="hidden")
    meta_graph = protos.MetaGraphDef.FromString((toy / "graph.ckpt.meta").read_bytes())
    meta_graph.graph_def.node.extend(built.as_graph_def().node)
    for hidden in meta_graph.graph_def.node:
        if hidden.name == node:
            hidden.input.append("^hidden")
    (toy / "graph.ckpt.meta").write_bytes(meta_graph.SerializeToString())
    done = run(script)
    assert not written.exists()
    refused = "is not safe to load; it would write files: WriteFile at hidden; " in done.stderr
    assert (done.status == 1 and refused) or (done.status, done.stderr) == (0, "")
    assert refused or node != "Accuracy/predictions"


def test_the_server_does_not_start_with_a_harmful_model(tmp_path: Path, written: Path) -> None:
    words = ["--frozen-model", str(frozen(tmp_path, written)), "--inputs", "x", "--outputs", "y", "--port", "0"]
    command = [sys.executable, str(PROJECT / "freezemodel_serve.py"), *words]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"error: {tmp_path}/m.pb is not safe to load; it would write files: WriteFile at hidden; nothing was loaded; "
        "--trust-model loads it all the same\n"
    )
    assert not written.exists()


@pytest.mark.parametrize(
    ("script", "flag", "make"),
    [("freezemodel_load", "--frozen-model", frozen), ("checkpoint_restore", "--checkpoint", checkpoint)],
)
def test_trust_model_runs_the_harmful_op(
    run: Run, tmp_path: Path, written: Path, script: str, flag: str, make: Callable[[Path, Path], Path]
) -> None:
    words = ("--inputs", "x", "--outputs", "y", "--feed", "[1.5]", "--trust-model")
    done = run(script, flag, make(tmp_path, written), *words)
    assert (done.status, done.stderr) == (0, "")
    assert written.read_text() == "harm"


def test_models_that_the_scripts_write_are_safe(toy: Path) -> None:
    for file in toy.glob("*/saved_model.pb"):
        (exported,) = protos.SavedModel.FromString(file.read_bytes()).meta_graphs
        assert harm.scan_meta_graph(exported, saved_model=file.parent) == []
    meta_graph = protos.MetaGraphDef.FromString((toy / "graph.ckpt.meta").read_bytes())
    assert harm.scan_meta_graph(meta_graph, ["Accuracy/predictions:0"]) == []
    assert re.search("SaveV2", str(meta_graph.graph_def)), "the saver is there, and was let through"


def test_a_tensorflow_2_module_with_a_table_is_safe_until_it_writes(tmp_path: Path, written: Path) -> None:
    vocabulary = tmp_path / "vocab.txt"
    vocabulary.write_text("a\nb\n")

    class Module(tf.Module):
        def __init__(self, harm: bool) -> None:
            self.v = tf.Variable(2.0)
            self.harm = harm
            whole, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
            source = tf.lookup.TextFileInitializer(str(vocabulary), tf.string, whole, tf.int64, number)
            self.table = tf.lookup.StaticHashTable(source, -1)

        def look_up(self, words: Any) -> Any:
            if self.harm:
                tf.print("harm", output_stream=f"file://{written}")
            return {"y": tf.cast(self.table.lookup(words), tf.float32) * self.v}

    for harmful in (False, True):
        module, folder = Module(harmful), tmp_path / f"{harmful}"
        function = tf.function(module.look_up, input_signature=[tf.TensorSpec([None], tf.string)])
        tf.saved_model.save(module, str(folder), signatures=function)
        (exported,) = protos.SavedModel.FromString((folder / "saved_model.pb").read_bytes()).meta_graphs
        found = harm.scan_meta_graph(exported, saved_model=folder)
        assert [(f.effect, f.op, f.detail) for f in found] == (
            [("write files", "PrintV2", f"output_stream file://{written}")] if harmful else []
        )
