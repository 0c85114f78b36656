"""savedmodel_edit.py: other keys, tags and methods; both loaders see the same, and nothing else changes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import ODD, PROJECT, Fails, Run, environment

from serialization import project
from serialization.formats import protos
from serialization.tensorflow import np, tf, tf1


def edit(run: Run, source: Path, out: Path, *words: object) -> str:
    done = run("savedmodel_edit", "--saved-model", source, "--out", out, *words)
    assert (done.status, done.stderr) == (0, "")
    return done.stdout


def read(folder: Path) -> Any:
    saved_model = protos.SavedModel.FromString((folder / "saved_model.pb").read_bytes())
    assert len(saved_model.meta_graphs) == 1
    return saved_model.meta_graphs[0]


def call_1(folder: Path, key: str, **values: Any) -> dict[str, Any]:
    """The outputs of a signature as TensorFlow 1 loads it."""
    with tf1.Graph().as_default(), tf1.Session() as session:
        tags = list(read(folder).meta_info_def.tags)
        signature = tf1.saved_model.load(session, tags, str(folder)).signature_def[key]
        feeds = {signature.inputs[name].name: value for name, value in values.items()}
        outputs = {name: info.name for name, info in signature.outputs.items()}
        found: dict[str, Any] = session.run(outputs, feeds)
        return found


def call_2(folder: Path, key: str, **values: Any) -> dict[str, Any]:
    """The outputs of a signature as TensorFlow 2 loads it."""
    loaded = tf.saved_model.load(str(folder))
    return {n: v.numpy() for n, v in loaded.signatures[key](**{n: tf.constant(v) for n, v in values.items()}).items()}


class Module(tf.Module):
    """Variables, a table from an asset, a constant that is bound, two signatures that share a variable."""

    def __init__(self, vocabulary: Path) -> None:
        super().__init__()
        self.kernel = tf.Variable([[1.0, 2.0], [3.0, 4.0]], name="kernel")
        self.scale = tf.Variable([0.5], name="scale", trainable=False)
        fill = tf.lookup.TextFileInitializer(
            str(vocabulary),
            tf.string,
            tf.lookup.TextFileIndex.WHOLE_LINE,
            tf.int64,
            tf.lookup.TextFileIndex.LINE_NUMBER,
        )
        self.table = tf.lookup.StaticHashTable(fill, -1)

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[tf.TensorSpec([None, 2], tf.float32, "x"), tf.TensorSpec([None], tf.string, "word")]
    )
    def embed(self, x: Any, word: Any) -> dict[str, Any]:
        return {"y": x @ self.kernel * self.scale, "number": self.table.lookup(word), "length": tf.strings.length(word)}

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, "x")])  # type: ignore[untyped-decorator]
    def scaled(self, x: Any) -> dict[str, Any]:
        return {"z": x * self.scale}


X, WORDS = np.array([[1, 2], [3, 4], [5, 6]], "f"), ["b", "a", "zz"]


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("module")
    (folder / "words.txt").write_text("a\nb\n")
    made = Module(folder / "words.txt")
    tf.saved_model.save(made, str(folder / "1"), {"serving_default": made.embed, "scaled": made.scaled})
    (folder / "1" / "assets.extra").mkdir()
    (folder / "1" / "assets.extra" / "warmup").write_text("requests")
    return folder / "1"


def test_the_resnet_gets_other_keys(run: Run, results: Path) -> None:
    done = run("savedmodel_edit")
    assert (done.status, done.stderr) == (0, "")
    line = "proved: classes, scores: the same bits as the source, on 35 rows generated for image"
    assert f"\n{line}; by tf.saved_model.load too\n" in done.stdout
    before, after = (read(folder) for folder in (project.PRETRAINED / "1", results / "edited"))
    assert after.graph_def == before.graph_def
    signature = after.signature_def["serving_default"]
    assert {key: info.name for key, info in (*signature.inputs.items(), *signature.outputs.items())} == {
        "image": "input_tensor:0",
        "classes": "ArgMax:0",
        "scores": "softmax_tensor:0",
    }
    shown = done.stdout.splitlines()[-1]
    assert shown.startswith("next: saved_model_cli show --dir ")


def test_a_module_of_tensorflow_2(run: Run, module: Path, tmp_path: Path) -> None:
    """The new keys sort otherwise than the old ones, in inputs and outputs."""
    renames = (
        "--rename-input",
        "x=zz",
        "--rename-input",
        "word=b",
        "--rename-output",
        "y=a",
        "--rename-output",
        "length=n2",
    )
    out = tmp_path / "out"
    printed = edit(
        run, module, out, *renames, "--rename-signature", "serving_default=embed", "--new-tag-set", "mine,cpu"
    )
    assert "proved: a, n2, number: the same bits as the source, on " in printed
    assert printed.count("; by tf.saved_model.load too") == 2
    wanted = call_2(module, "serving_default", x=X, word=WORDS)
    assert wanted["number"].tolist() == [1, 0, -1]
    for call in (call_1, call_2):
        found = call(out, "embed", zz=X, b=WORDS)
        assert found.keys() == {"a", "n2", "number"}
        for new, old in (("a", "y"), ("n2", "length"), ("number", "number")):
            assert np.array_equal(found[new], wanted[old]), (call, new)
        assert (call(out, "scaled", zz=X)["z"] == X / 2).all()
    loaded = tf.saved_model.load(str(out))
    assert set(loaded.signatures) == {"embed", "scaled"}
    assert loaded.kernel.numpy().tolist() == [[1.0, 2.0], [3.0, 4.0]], "the objects are there too"
    assert loaded.embed(tf.constant(X), tf.constant(WORDS))["y"].shape == (3, 2)
    assert loaded.signatures["embed"].structured_input_signature[1].keys() == {"zz", "b"}
    before, after = read(module), read(out)
    assert after.graph_def.node == before.graph_def.node
    assert list(after.meta_info_def.tags) == ["mine", "cpu"]
    assert (out / "assets" / "words.txt").read_text() == "a\nb\n"
    assert (out / "assets.extra" / "warmup").read_text() == "requests"
    # And again: the functions that were added are edited as others are.
    edit(run, out, tmp_path / "again", "--rename-input", "embed:zz=x", "--signature", "embed")
    again = call_2(tmp_path / "again", "embed", x=X, b=WORDS)
    assert np.array_equal(again["a"], wanted["y"])
    with pytest.raises(KeyError):
        tf.saved_model.load(str(tmp_path / "again")).signatures["scaled"]


def test_signatures_without_new_keys_keep_their_functions(run: Run, module: Path, tmp_path: Path) -> None:
    words = ["--signature", "scaled", "--signature", "serving_default", "--rename-signature", "scaled=serving_default"]
    words += ["--rename-signature", "serving_default=other"]
    edit(run, module, tmp_path / "out", *words)
    before, after = read(module), read(tmp_path / "out")
    assert after.graph_def == before.graph_def
    assert (call_2(tmp_path / "out", "serving_default", x=X)["z"] == X / 2).all()
    assert (call_1(tmp_path / "out", "serving_default", x=X)["z"] == X / 2).all()
    assert call_2(tmp_path / "out", "other", x=X, word=WORDS).keys() == {"length", "number", "y"}


def test_the_result_is_loaded_saved_and_converted_by_others(run: Run, module: Path, tmp_path: Path) -> None:
    edit(run, module, tmp_path / "out", "--rename-input", "x=pixels", "--signature", "scaled")
    loaded = tf.saved_model.load(str(tmp_path / "out"))
    tf.saved_model.save(loaded, str(tmp_path / "saved"), loaded.signatures)
    assert (call_2(tmp_path / "saved", "scaled", pixels=X)["z"] == X / 2).all()
    words = ("--saved-model", tmp_path / "out", "--frozen-model", tmp_path / "m.pb")
    done = run("freezemodel_save", *words, "--feed", "pixels=[[1,2]]")
    assert (done.status, done.stderr) == (0, "")
    assert "proved: z: the same bits as the source, on 1 row given for pixels" in done.stdout


def test_other_tensors_are_signed_in_a_module(run: Run, module: Path, tmp_path: Path) -> None:
    """Those of the graph around the functions: here two of the outputs, and one input is fixed by its signature."""
    recorded = read(module).signature_def["serving_default"]
    inputs = "zz=serving_default_x,a=serving_default_word"
    outputs = f"q={recorded.outputs['number'].name},p={recorded.outputs['length'].name}"
    words = ("--inputs", inputs, "--outputs", outputs, "--new-signature", "two", "--signature", "scaled")
    printed = edit(run, module, tmp_path / "out", *words)
    assert "two        new" in printed
    one, two = (call(tmp_path / "out", "two", zz=X, a=WORDS) for call in (call_1, call_2))
    assert one.keys() == two.keys() == {"p", "q"}
    assert all(np.array_equal(one[key], two[key]) for key in one)
    assert set(tf.saved_model.load(str(tmp_path / "out")).signatures) == {"scaled", "two"}


def test_a_link_to_a_file_elsewhere_is_not_copied(error: Fails, made: Path, tmp_path: Path) -> None:
    """It may be any file of the user's, and the result may be published."""
    shutil.copytree(made / "savedmodel_from_source", tmp_path / "1")
    (tmp_path / "secret").touch()
    (tmp_path / "1" / "assets.extra").mkdir()
    (tmp_path / "1" / "assets.extra" / "warmup").symlink_to(tmp_path / "secret")
    line = error("savedmodel_edit", "--saved-model", tmp_path / "1", "--out", tmp_path / "out")
    assert line == "1/assets.extra/warmup is a link to a file elsewhere; put the file itself there"


def test_other_tensors_of_a_graph_of_tensorflow_1(run: Run, made: Path, tmp_path: Path) -> None:
    source = made / "savedmodel_from_source"
    words = ("--outputs", "sum=NN/truediv", "--new-signature", "sum", "--method", "predict")
    printed = edit(run, source, tmp_path / "out", *words)
    assert "proved: output1: the same bits as the source, on 1,003 rows generated for inputs_1; by tf." in printed
    assert "proved: sum: the same bits as the source, on 1,003 rows generated for inputs_1" in printed
    rows = np.ones((2, 10), "f")
    found = call_1(tmp_path / "out", "sum", inputs_1=rows)
    np.testing.assert_allclose(found["sum"], call_2(tmp_path / "out", "sum", inputs_1=rows)["sum"], rtol=1e-5)
    signature = read(tmp_path / "out").signature_def["sum"]
    assert [dim.size for dim in signature.outputs["sum"].tensor_shape.dim] == [-1, 1]


def export_examples(folder: Path, *, scores: tuple[int | None, ...] = (None, 3)) -> Path:
    """A model that parses tf.Examples, without an object graph."""
    with tf1.Graph().as_default(), tf1.Session() as session:
        examples = tf1.placeholder(tf.string, [None], name="examples")
        x = tf1.io.parse_example(examples, {"x": tf1.io.FixedLenFeature([3], tf.float32, [1.0, 2.0, 3.0])})["x"]
        w = tf1.get_variable("w", initializer=tf.ones([3]))
        outputs = {"scores": x * w, "names": tf.as_string(x), "total": tf.reduce_sum(x * w, 1)}
        session.run(tf1.global_variables_initializer())
        tf1.saved_model.simple_save(session, str(folder), {"examples": examples}, outputs)
    return folder


def test_methods_of_tensorflow_serving(run: Run, error: Fails, tmp_path: Path) -> None:
    source = export_examples(tmp_path / "1")
    words = ("savedmodel_edit", "--saved-model", source, "--out", tmp_path / "out")
    line = error(*words, "--method", "classify")
    assert line == (
        "--method classify: the signature serving_default needs one input, called inputs; found examples; "
        "--rename-input gives it that key"
    )
    line = error(*words, "--method", "classify", "--rename-input", "examples=inputs")
    assert "needs an output called classes, one called scores, or both; found names, scores, total" in line
    line = error(*words, "--method", "regress", "--rename-input", "examples=inputs")
    assert "needs one output, called outputs; found names, scores, total; --rename-output gives it that key" in line
    signed = (
        "--signature",
        "serving_default",
        "--rename-signature",
        "serving_default=old",
        "--inputs",
        "inputs=examples",
    )
    line = error(*words, *signed, "--outputs", "outputs=scores", "--method", "predict", "--new-signature", "old")
    assert line.startswith("--inputs and --outputs make the signature old, and the SavedModel has one of that key")


@pytest.mark.parametrize(
    ("method", "outputs", "fits"),
    [
        ("classify", "classes=AsString,scores=mul", ""),
        ("classify", "scores=mul", ""),
        (
            "classify",
            "scores=Sum",
            "needs scores as float32 [None, None], a row of classes for each example; found float32 [None]",
        ),
        ("classify", "classes=mul", "needs classes as string [None, None]"),
        ("regress", "outputs=Sum", ""),
        (
            "regress",
            "outputs=mul",
            "needs one number for each row as its output, float32 [None] or [None, 1]; found float32 [None, 3]",
        ),
        ("regress", "outputs=AsString", "needs one number for each row"),
    ],
)
def test_methods_of_new_signatures(
    run: Run, error: Fails, tmp_path: Path, method: str, outputs: str, fits: str
) -> None:
    source = export_examples(tmp_path / "1")
    edit(run, source, tmp_path / "2", "--inputs", "inputs=examples", "--outputs", outputs, "--new-signature", "new")
    words = ("--saved-model", tmp_path / "2", "--signature", "new", "--method", method)
    if fits:
        assert fits in error("savedmodel_edit", *words, "--out", tmp_path / "3")
        return
    done = run("savedmodel_edit", *words, "--out", tmp_path / "3", "--feed", 'inputs=[""]')
    assert (done.status, done.stderr) == (0, "")
    signature = read(tmp_path / "3").signature_def["new"]
    assert signature.method_name == f"tensorflow/serving/{method}"
    assert tf1.saved_model.is_valid_signature(signature), "TensorFlow's own rules"


def test_one_of_two_meta_graphs(run: Run, tmp_path: Path) -> None:
    with tf1.Graph().as_default(), tf1.Session() as session:
        x = tf1.placeholder(tf.float32, [None], name="x")
        builder = tf1.saved_model.Builder(str(tmp_path / "1"))
        keys = {"double": tf1.saved_model.predict_signature_def({"x": x}, {"y": x * 2})}
        builder.add_meta_graph_and_variables(session, ["train"], keys)
        builder.add_meta_graph(["serve", "gpu"], keys)
        builder.save(as_text=True)
    edit(run, tmp_path / "1", tmp_path / "2", "--tag-set", "gpu,serve", "--new-tag-set", "")
    assert not read(tmp_path / "2").meta_info_def.tags
    assert call_1(tmp_path / "2", "double", x=[3.0])["y"].tolist() == [6.0]


def test_a_model_that_counts(run: Run, tmp_path: Path) -> None:
    """Each call changes a variable, so each loader loads it anew for each run."""

    class Counter(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.count = tf.Variable(0.0)

        @tf.function(input_signature=[tf.TensorSpec([], tf.float32, "x")])  # type: ignore[untyped-decorator]
        def add(self, x: Any) -> dict[str, Any]:
            return {"count": self.count.assign_add(x)}

    tf.saved_model.save(made := Counter(), str(tmp_path / "1"), made.add)
    printed = edit(run, tmp_path / "1", tmp_path / "2", "--rename-input", "x=step", "--rename-output", "count=total")
    assert "proved: total: the same bits as the source" in printed
    assert "by tf.saved_model.load too" in printed
    assert call_2(tmp_path / "2", "serving_default", step=2.0)["total"] == 2.0


BAD = [
    (("--signature", "nine"), "--signature nine: the SavedModel has no such signature; it has scaled, serving_default"),
    (
        ("--signature", "serving"),
        "--signature serving: the SavedModel has no such signature; it has scaled, ",
    ),
    (
        ("--rename-signature", "scale=x"),
        "--rename-signature scale=x: no signature of that key is kept; it has scaled,",
    ),
    (
        ("--rename-input", "wort=x"),
        "--rename-input wort=x: no signature that is kept has an input of that key; it has word",
    ),
    (("--rename-output", "scaled:y=x"), "--rename-output scaled:y=x: no signature that is kept has an output of that"),
    (("--rename-output", "y=number"), "number and y would both be called number, among the outputs of serving_default"),
    (
        ("--rename-signature", "scaled=serving_default"),
        "scaled and serving_default would both be called serving_default",
    ),
    (
        ("--inputs", "x=scaled_x", "--outputs", "y=StatefulPartitionedCall"),
        "--inputs and --outputs make the signature serving_default",
    ),
    (("--outputs", "q=nowhere", "--new-signature", "q"), "no tensor nowhere:0 in the graph"),
    (("--tag-set", "tpu"), "the SavedModel has no tag-set tpu; it has serve; choose with --tag-set"),
    (("--method", "regress"), "--method regress: the signature scaled needs one input, called inputs; found x"),
]


@pytest.mark.parametrize(("words", "line"), BAD)
def test_what_fits_nothing_is_one_line(
    error: Fails, module: Path, tmp_path: Path, words: tuple[str], line: str
) -> None:
    found = error("savedmodel_edit", "--saved-model", module, "--out", tmp_path / "out", *words)
    assert found.startswith(line)


def test_flags_that_are_wrong(run: Run, module: Path) -> None:
    for words, line in (
        (("--rename-input", "x"), "expected OLD=NEW, a key and another one, got 'x'"),
        (("--rename-output", "x="), "expected OLD=NEW, a key and another one, got 'x='"),
        (("--method", "multi"), "invalid choice: 'multi'"),
    ):
        done = run("savedmodel_edit", "--saved-model", module, *words)
        assert (done.status, line in done.stderr) == (2, True), done.stderr


def test_targets(run: Run, error: Fails, module: Path, results: Path, tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine").touch()
    words = ("savedmodel_edit", "--saved-model", module)
    expected = "there is a folder with other files than those of a SavedModel, such as mine; name a new file or folder"
    for overwrite in ((), ("--overwrite",)):
        assert error(*words, "--out", tmp_path / "there", *overwrite) == expected
    done = run(*words, "--out", module, "--overwrite")
    assert (done.status, "--out names the model that --saved-model reads; name another place" in done.stderr) == (
        2,
        True,
    )
    done = run(*words, "--no-verify")
    assert (done.status, done.stderr) == (0, "")
    assert "not verified, as --no-verify asks" in done.stdout
    assert (results / module.parent.name / "saved_model.pb").is_file()


def test_missing_assets_and_odd_names(run: Run, error: Fails, module: Path, tmp_path: Path) -> None:
    odd = tmp_path / f"a{ODD}b"
    edit(run, module, odd)
    edit(run, odd, tmp_path / f"c{ODD}d", "--rename-input", "x=z")
    (odd / "assets" / "words.txt").unlink()
    assert "asset words.txt is missing" in error("savedmodel_edit", "--saved-model", odd, "--out", tmp_path / "e")


def test_a_process_and_a_full_disk(module: Path, tmp_path: Path) -> None:
    """Confined, it reads the model and writes the result; a file may then hold 2 kB, as on a full disk."""
    words = f"--saved-model {module} --rename-input x=z"
    for limit, status in (("", 0), ("ulimit -f 2; ", 1)):
        out = tmp_path / f"out{status}"
        script = f"{limit}exec {sys.executable} {PROJECT}/savedmodel_edit.py {words} --out {out}"
        done = subprocess.run(["bash", "-c", script], env=environment(), capture_output=True, text=True)
        assert done.returncode == status, done.stderr
        assert done.stderr.count("\n") == status
        assert out.exists() == (not status)
    assert done.stderr.startswith("error: ")
    assert [path.name for path in tmp_path.iterdir()] == ["out0"]
