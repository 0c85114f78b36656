"""SavedModels of TensorFlow 1 and 2 and of Keras 3 are frozen: functions and tables are inlined."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import graphs
import pytest
from conftest import Run

from serialization.formats import protos
from serialization.sources.frozen_reader import read_graph_def
from serialization.tensorflow import np, tf, tf1


def freeze(run: Run, folder: Path, out: Path, *words: object) -> Any:
    return run("freezemodel_save", "--saved-model", folder, "--frozen-model", out / "m.pb", *words)


def is_flat(path: Path) -> bool:
    graph_def = read_graph_def(path)
    calls = [node.name for node in graph_def.node if "Call" in node.op or node.op in ("If", "While")]
    held = [node.name for node in graph_def.node if "Var" in node.op]
    return not calls and not held and not graph_def.library.function


@pytest.fixture(scope="module")
def words_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("words") / "words.txt"
    file.write_text("zero\none\ntwo\n")
    return file


@pytest.fixture(scope="module")
def module_folder(tmp_path_factory: pytest.TempPathFactory, words_file: Path) -> Path:
    """A tf.Module with a variable, a table, a loop, a branch, and two signatures."""
    folder = tmp_path_factory.mktemp("module") / "1"

    class Model(tf.Module):
        def __init__(self) -> None:
            self.w = tf.Variable([2.0, 3.0])
            fill = tf.lookup.TextFileInitializer(str(words_file), tf.string, -2, tf.int64, -1)
            self.table = tf.lookup.StaticHashTable(fill, -1)

        def scale(self, x: Any) -> Any:
            i = tf.constant(0)
            while i < 3:
                x = x * self.w
                i += 1
            return {"y": x if tf.reduce_sum(x) > 0 else -x}

        def look_up(self, words: Any) -> Any:
            return {"numbers": self.table.lookup(words)}

    model = Model()
    scale = tf.function(model.scale, input_signature=[tf.TensorSpec([None, 2], tf.float32, "x")])
    look_up = tf.function(model.look_up, input_signature=[tf.TensorSpec([None], tf.string, "words")])
    tf.saved_model.save(model, str(folder), signatures={"serving_default": scale, "look_up": look_up})
    return folder


def test_functions_loops_and_branches_are_inlined(run: Run, module_folder: Path, tmp_path: Path) -> None:
    done = freeze(run, module_folder, tmp_path)
    assert (done.status, done.stderr) == (0, "")
    assert "proved: y: the same bits as the source, on 1,003 rows" in done.stdout
    assert is_flat(tmp_path / "m.pb")
    words = ("--frozen-model", tmp_path / "m.pb", "--feed", "[[1,-2]]")
    assert "[[ -8.  54.]]" in (out := run("freezemodel_load", *words).stdout) or "[[-8. 54.]]" in out


def test_a_frozen_table_needs_no_vocabulary_file(run: Run, module_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "moved"
    shutil.copytree(module_folder, folder)
    done = freeze(run, folder, tmp_path, "--signature", "look_up")
    assert (done.status, done.stderr) == (0, "")
    assert "hash_table" in done.stdout
    assert ": 3 entries" in done.stdout
    shutil.rmtree(folder)
    words = ("--frozen-model", tmp_path / "m.pb", "--feed", '["two","zero","x"]')
    assert "[ 2  0 -1]" in run("freezemodel_load", *words).stdout
    # TensorFlow's plain import runs it too, without an initializer.
    with tf1.Graph().as_default() as graph:
        tf1.import_graph_def(read_graph_def(tmp_path / "m.pb"), name="")
        placeholder = next(op for op in graph.get_operations() if op.type == "Placeholder")
        consumed = {tensor.op.name for op in graph.get_operations() for tensor in op.inputs}
        output = next(op for op in graph.get_operations() if op.outputs and op.name not in consumed)
    with tf1.Session(graph=graph) as session:
        for _ in range(2):
            answer = session.run(output.outputs[0], {placeholder.outputs[0]: [b"one", b"three"]})
            assert answer.tolist() == [1, -1]


@pytest.mark.parametrize("script", ["freezemodel_save", "savedmodel_from_checkpoint"])
def test_tables_of_a_checkpoint_are_converted(run: Run, words_file: Path, tmp_path: Path, script: str) -> None:
    vocabulary = tmp_path / "training" / "words.txt"
    vocabulary.parent.mkdir()
    shutil.copy(words_file, vocabulary)
    prefix = graphs.save(tmp_path, lambda: graphs.vocabulary(vocabulary))
    out = tmp_path / "out"
    flag = "--frozen-model" if script == "freezemodel_save" else "--export-dir"
    words = ("--checkpoint", prefix, "--outputs", "numbers", "--trust-model", "--feed", 'words=["two","one","x"]')
    done = run(script, *words, flag, out)
    assert (done.status, done.stderr) == (0, "")
    assert "proved: numbers: the same bits as the source, on 3 rows" in done.stdout
    shutil.rmtree(vocabulary.parent)
    if script == "freezemodel_save":
        done = run("freezemodel_load", "--frozen-model", out, "--feed", '["two","one","x"]')
        assert "[ 2  1 -1]" in done.stdout
    else:
        assert (out / "assets" / "words.txt").read_text() == "zero\none\ntwo\n"
        shutil.copytree(out, tmp_path / "elsewhere")
        shutil.rmtree(out)
        loaded = tf.saved_model.load(str(tmp_path / "elsewhere")).signatures["serving_default"]
        assert loaded(words=tf.constant(["two", "one", "x"]))["numbers"].numpy().tolist() == [2, 1, -1]


def test_a_missing_vocabulary_is_one_line(run: Run, words_file: Path, tmp_path: Path) -> None:
    vocabulary = tmp_path / "words.txt"
    shutil.copy(words_file, vocabulary)
    prefix = graphs.save(tmp_path, lambda: graphs.vocabulary(vocabulary))
    vocabulary.unlink()
    done = run(
        "freezemodel_save",
        "--checkpoint",
        prefix,
        "--outputs",
        "numbers",
        "--frozen-model",
        tmp_path / "m.pb",
        "--trust-model",
    )
    assert done.status == 1
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("error: the lookup table of ")
    assert "words.txt; No such file or directory" in done.stderr
    assert not list(tmp_path.glob("*.pb"))


def test_a_keras_export_is_frozen(run: Run, tmp_path: Path) -> None:
    keras = tf.keras
    layers = [keras.layers.Dense(4, activation="relu"), keras.layers.BatchNormalization(), keras.layers.Dense(2)]
    model = keras.Sequential([keras.Input((3,)), *layers])
    model.export(tmp_path / "1", verbose=False)
    done = freeze(run, tmp_path / "1", tmp_path)
    assert (done.status, done.stderr) == (0, "")
    assert "proved: output_0: the same bits as the source, on 1,003 rows" in done.stdout
    assert is_flat(tmp_path / "m.pb")


def test_a_tensorflow_1_saved_model_is_frozen(run: Run, toy: Path, tmp_path: Path) -> None:
    done = freeze(run, toy / "savedmodel_from_source", tmp_path, "--outputs", "sum=NN/truediv")
    assert (done.status, done.stderr) == (0, "")
    assert "proved: sum: the same bits as the source, on 1,003 rows" in done.stdout


@pytest.mark.parametrize("late", [False, True])
def test_a_model_with_a_counter_cannot_be_frozen(run: Run, tmp_path: Path, late: bool) -> None:
    """Also if its answers change only later."""

    class Counter(tf.Module):
        def __init__(self) -> None:
            self.count = tf.Variable(0.0)

        def next(self, x: Any) -> Any:
            self.count.assign_add(1.0)
            return {"y": tf.where(self.count > 9, 0.0, x) if late else x + self.count}

    counter = Counter()
    call = tf.function(counter.next, input_signature=[tf.TensorSpec([], tf.float32, "x")])
    tf.saved_model.save(counter, str(tmp_path / "1"), signatures=call)
    done = freeze(run, tmp_path / "1", tmp_path)
    assert done.stderr == (
        "error: the model changes Variable as it runs, and its outputs are computed from that; the result would not "
        "change; keep it as a SavedModel; nothing was written\n"
    )
    assert not list(tmp_path.glob("*.pb"))


def test_two_keys_may_name_one_tensor(run: Run, tmp_path: Path) -> None:
    with tf1.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None], name="x")
        y = tf.negative(x, name="y")
        tf1.saved_model.simple_save(session, str(tmp_path / "1"), {"a": x, "b": x}, {"y": y})
    done = freeze(run, tmp_path / "1", tmp_path)
    assert (done.status, done.stderr) == (0, "")


def test_an_op_that_tensorflow_lacks_is_one_line(run: Run, tmp_path: Path) -> None:
    with tf1.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None], name="x")
        tf1.saved_model.simple_save(session, str(tmp_path / "1"), {"x": x}, {"y": tf.negative(x, name="y")})
    file = tmp_path / "1" / "saved_model.pb"
    file.write_bytes(file.read_bytes().replace(b"\x12\x03Neg", b"\x12\x03Nag"))
    done = freeze(run, tmp_path / "1", tmp_path)
    assert done.stderr == (
        f"error: {tmp_path / '1'} needs ops that TensorFlow {tf.__version__} does not know: Nag "
        "(of an unknown library; node y); load their library with --op-library FILE.so\n"
    )


def test_frozen_values_equal_those_of_tensorflow_2(run: Run, module_folder: Path, tmp_path: Path) -> None:
    assert freeze(run, module_folder, tmp_path, "--no-verify").status == 0
    rows = np.random.default_rng(0).normal(size=(5, 2)).astype("f")
    np.save(tmp_path / "rows.npy", rows)
    expected = tf.saved_model.load(str(module_folder)).signatures["serving_default"](x=tf.constant(rows))["y"].numpy()
    done = run("freezemodel_load", "--frozen-model", tmp_path / "m.pb", "--feed", f"@{tmp_path}/rows.npy")
    assert str(expected) in done.stdout


def test_a_version_and_shapes_that_the_loader_refuses_are_repaired(run: Run, tmp_path: Path, words_file: Path) -> None:
    """As in exports of TensorFlow 0.12. The repaired copy finds the asset too."""
    with tf1.Graph().as_default(), tf1.Session() as session:
        graphs.vocabulary(words_file)
        session.run([tf1.global_variables_initializer(), tf1.tables_initializer()])
        names = {key: session.graph.get_tensor_by_name(f"{key}:0") for key in ("words", "numbers")}
        sides = {"words": names["words"]}, {"numbers": names["numbers"]}
        tf1.saved_model.simple_save(session, str(tmp_path / "sm"), *sides, legacy_init_op=tf1.tables_initializer())
    file = tmp_path / "sm" / "saved_model.pb"
    saved_model = protos.SavedModel.FromString(file.read_bytes())
    meta_graph = saved_model.meta_graphs[0]
    meta_graph.meta_info_def.tensorflow_version = "0.12.head"
    scale = next(node for node in meta_graph.graph_def.node if node.name == "scale")
    scale.attr["_output_shapes"].list.shape.add()
    scale.attr["_output_shapes"].list.shape.add()
    file.write_bytes(saved_model.SerializeToString())
    done = run("savedmodel_pretrained", "--saved-model", tmp_path / "sm", "--feed", 'words=["two", "none"]')
    assert (done.status, done.stderr) == (0, "")
    assert "repaired: removed the version 0.12.head, which import_meta_graph cannot read\n" in done.stdout
    assert done.stdout.count("repaired: removed 1 wrong recorded shape\n") == 1
    assert "\n[ 2 -1]\n" in done.stdout
    assert "proved: numbers: the same bits" in freeze(run, tmp_path / "sm", tmp_path).stdout


def save_function(folder: Path, function: Any, *specs: Any, **tracked: Any) -> Path:
    """Save a SavedModel of one function; `tracked` are the variables that it uses."""
    model = tf.Module()
    for name, value in tracked.items():
        setattr(model, name, value)
    tf.saved_model.save(model, str(folder), signatures=tf.function(function, input_signature=specs))
    return folder


def test_an_embedding_in_a_loop_is_frozen(run: Run, tmp_path: Path) -> None:
    table = tf.Variable([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]])

    def decode(start: Any) -> Any:
        def step(i: Any, ids: Any) -> Any:
            best = tf.argmax(tf.gather(table, ids[:, -1]), -1, output_type=tf.int32)
            return i + 1, tf.concat([ids, best[:, None]], 1)

        sizes = [tf.TensorShape([]), tf.TensorShape([None, None])]
        _, ids = tf.while_loop(lambda i, _: i < 4, step, [tf.constant(0), start[:, None]], shape_invariants=sizes)
        return {"ids": ids}

    folder = save_function(tmp_path / "1", decode, tf.TensorSpec([None], tf.int32, "start"), table=table)
    done = freeze(run, folder, tmp_path)
    assert (done.status, done.stderr) == (0, "")
    assert is_flat(tmp_path / "m.pb")
    words = ("--frozen-model", tmp_path / "m.pb", "--feed", "[1]")
    assert "[[1 2 0 1 2]]" in run("freezemodel_load", *words).stdout


def test_scalar_strings_and_unusual_keys_are_frozen(run: Run, tmp_path: Path) -> None:
    def join(words: Any) -> Any:
        return {"whole": tf.strings.reduce_join(words), "a,b": tf.size(words), "c=d e:0": tf.size(words) + 1}

    done = freeze(run, save_function(tmp_path / "1", join, tf.TensorSpec([None], tf.string, "words")), tmp_path)
    assert (done.status, done.stderr) == (0, "")
    assert "proved: a,b, c=d e:0, whole: the same bits" in done.stdout


def test_output_printed_by_a_model_is_not_an_error(run: Run, tmp_path: Path) -> None:
    def show(x: Any) -> Any:
        tf.print("shape", tf.shape(x))
        return {"y": x + 1.0}

    folder = save_function(tmp_path / "1", show, tf.TensorSpec([None], tf.float32, "x"))
    done = freeze(run, folder, tmp_path)
    assert (done.status, done.stderr) == (0, "")
    done = run("savedmodel_pretrained", "--saved-model", folder)
    assert (done.status, done.stderr) == (0, "")


def test_a_function_that_xla_compiles_is_inlined(run: Run, tmp_path: Path) -> None:
    weights = tf.Variable(tf.random.stateless_normal([64, 8], (1, 2)))
    inner = tf.function(lambda x: tf.nn.softmax(tf.tanh(x @ weights)), jit_compile=True)

    def outer(x: Any) -> Any:
        return {"y": inner(x)}

    folder = save_function(tmp_path / "1", outer, tf.TensorSpec([None, 64], tf.float32, "x"), weights=weights)
    done = freeze(run, folder, tmp_path)
    assert (done.status, done.stderr) == (0, "")
    assert "proved: y: " in done.stdout
    assert is_flat(tmp_path / "m.pb")


def test_a_ragged_input_is_proved(run: Run, tmp_path: Path) -> None:
    model = tf.Module()
    spec = tf.RaggedTensorSpec([None, None], tf.float32)
    model.sums = tf.function(lambda rows: tf.reduce_sum(rows, 1), input_signature=[spec])
    tf.saved_model.save(model, str(tmp_path / "1"))
    done = freeze(run, tmp_path / "1", tmp_path)
    assert "proved: output_0: the same bits" in done.stdout


def test_a_model_without_signatures_is_refused_or_inferred(run: Run, tmp_path: Path) -> None:
    model = tf.Module()
    model.v = tf.Variable(1.0)
    tf.saved_model.save(model, str(tmp_path / "1"))
    assert freeze(run, tmp_path / "1", tmp_path).stderr == (
        "error: the SavedModel has no signature; found no function to call; save it again with one: "
        "tf.saved_model.save(model, folder, signatures=function)\n"
    )

    with tf1.Graph().as_default(), tf1.Session() as session:  # TensorFlow 1: outputs are inferred from the graph
        graphs.classifier()
        session.run(tf1.global_variables_initializer())
        builder = tf1.saved_model.Builder(str(tmp_path / "2"))
        builder.add_meta_graph_and_variables(session, ["serve"])
        builder.save()
    done = freeze(run, tmp_path / "2", tmp_path)
    assert (done.status, done.stderr) == (0, "")
    assert "inferred output logits:0" in done.stdout


def test_variables_that_a_restore_op_leaves_out_are_restored(run: Run, tmp_path: Path) -> None:
    """Its graph restores copies of the variables: see find_left_out_variables in sources/from_saved_model.py."""
    layers = tf.keras.layers
    network = tf.keras.Sequential([layers.Input((4,)), layers.Dense(3, kernel_initializer="ones")])
    tf.saved_model.save(network, str(tmp_path / "1"))
    done = freeze(run, tmp_path / "1", tmp_path)
    assert (done.status, done.stderr) == (0, "")
    assert "repaired: restored 2 variables that the SavedModel's own restore op leaves out" in done.stdout
    words = ("--frozen-model", tmp_path / "m.pb", "--feed", "[[1,2,3,4]]")
    assert "[[10. 10. 10.]]" in run("freezemodel_load", *words).stdout
