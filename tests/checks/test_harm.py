"""The safety scan refuses harmful ops and allows harmless ones; a refused op has not run."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import PROJECT, Run, environment
from handmade_graphs import X, Y, graph, ops, scan, set_string

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


def test_xla_modules_are_refused_only_with_custom_calls() -> None:
    graph_def = graph(X, ("y", "XlaCallModule", ["x"]))
    graph_def.node[1].attr["module"].s = b"ML\xefR stablehlo add_v1"
    assert scan(graph_def, ["y"]) == []
    graph_def.node[1].attr["module"].s += b" custom_call_v1"
    assert ops(scan(graph_def, ["y"])) == ["XlaCallModule"]


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
        "WriteFile at w2, WriteFile at w3, WriteFile at w4 and 2 more and read files: ReadFile at r?[31m? and "
        f"run code: PyFunc at {'p' * 120}…; nothing was loaded; --trust-model loads it all the same"
    )
    harm.require_safe(scan(graph_def), tmp_path, trust=True)


# What scripts do with models that would write a file when they are loaded or run.


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


def saved_model(folder: Path, written: Path) -> Path:
    with tf1.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        write = tf.io.write_file(str(written), "harm", name="hidden")
        builder = tf1.saved_model.Builder(str(folder / "sm"))
        info = tf1.saved_model.build_tensor_info
        signature = tf1.saved_model.build_signature_def({"x": info(x)}, {"y": info(x * 2.0)}, "predict")
        builder.add_meta_graph_and_variables(session, ["serve"], {"serving_default": signature}, main_op=write)
        builder.save()
    return folder / "sm"


def saved_model_without_signature(folder: Path, written: Path) -> Path:
    """Its output is inferred, and only that runs the op."""
    with tf1.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        with tf.control_dependencies([tf.io.write_file(str(written), "harm", name="hidden")]):
            tf.multiply(x, 2.0, name="y")
        builder = tf1.saved_model.Builder(str(folder / "sm"))
        builder.add_meta_graph_and_variables(session, ["serve"])
        builder.save()
    return folder / "sm"


HARMFUL: list[tuple[str, str, Callable[[Path, Path], Path], str]] = [
    ("freezemodel_load", "--frozen-model", frozen, "m.pb"),
    ("savedmodel_from_frozen", "--frozen-model", frozen, "m.pb"),
    ("checkpoint_restore", "--checkpoint", checkpoint, "m.ckpt.meta"),
    ("freezemodel_save", "--checkpoint", checkpoint, "m.ckpt.meta"),
    ("savedmodel_from_checkpoint", "--checkpoint", checkpoint, "m.ckpt.meta"),
    ("savedmodel_pretrained", "--saved-model", saved_model, "sm"),
    ("savedmodel_pretrained", "--saved-model", saved_model_without_signature, "sm"),
    ("freezemodel_save", "--saved-model", saved_model_without_signature, "sm"),
]


@pytest.mark.parametrize(("script", "flag", "make", "shown"), HARMFUL)
def test_every_script_refuses_a_harmful_op_and_does_not_run_it(
    run: Run,
    results: Path,
    tmp_path: Path,
    written: Path,
    script: str,
    flag: str,
    make: Callable[[Path, Path], Path],
    shown: str,
) -> None:
    path = make(tmp_path, written)
    before = sorted(tmp_path.rglob("*"))
    words = ("--inputs", "x", "--outputs", "y") if flag != "--saved-model" else ()
    done = run(script, flag, path, *words)
    assert done.status == 1
    assert done.stderr == (
        f"error: {tmp_path}/{shown} is not safe to load; it would write files: WriteFile at hidden; "
        "nothing was loaded; --trust-model loads it all the same\n"
    )
    assert not written.exists()
    assert [p for p in sorted(tmp_path.rglob("*")) if p.name != "results"] == before


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
            [("write files", "PrintV2", f"to file://{written}")] if harmful else []
        )
