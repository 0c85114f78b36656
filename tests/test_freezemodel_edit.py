"""freezemodel_edit.py, and the same flags elsewhere: edits are proved against the source, and the signature stays."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import edited_models
import exported_models
import graphs
import pytest
from conftest import PROJECT, Fails, Run, environment, inspect
from edited_models import DROPOUT, FREED, build, dropout, two_outputs, write

from serialization.formats import protos
from serialization.tensorflow import np, tf, tf1

RESNET = PROJECT / "pretrainedresnet" / "1"


def edit(run: Run, file: Path, *words: object, script: str = "freezemodel_edit") -> str:
    """Edit a frozen model to out.pb beside it; what the script prints."""
    done = run(script, "--frozen-model", file, "--out", file.with_name("out.pb"), *words)
    assert (done.status, done.stderr) == (0, "")
    assert "\nproved: " in done.stdout
    assert "not verified" not in done.stdout
    printed: str = done.stdout
    return printed


def list_signature(run: Run, file: Path) -> dict[str, dict[str, Any]]:
    """The keys of the recorded inputs and outputs, with their shapes."""
    (signature,) = inspect(run, file)["graphs"][0]["signatures"].values()
    return {side: {t["key"]: t["shape"] for t in signature[side]} for side in ("inputs", "outputs")}


def test_the_toy_is_edited_by_a_confined_process(toy: Path) -> None:
    command = [sys.executable, str(PROJECT / "freezemodel_edit.py"), "--batch-size", "2", "--out", "new.pb"]
    command += ["--frozen-model", "frozen_model.pb"]
    done = subprocess.run(command, cwd=toy, env=environment(), capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-3:] == [
        "wrote new.pb",
        "proved: output1: the same bits as the source, on 2 rows generated for inputs_1",
        f"next: python {PROJECT}/freezemodel_load.py --frozen-model new.pb",
    ]


def test_without_a_flag_it_is_pruned(run: Run, toy: Path) -> None:
    done = run("freezemodel_edit")
    assert (done.status, done.stderr) == (0, "")
    assert "\nproved: output1: the same bits as the source, on 1,003 rows" in done.stdout
    assert "nothing is changed, as no flag asks for it; what no output needs is left out\n" in done.stdout
    assert (toy / "edited_model.pb").is_file()
    assert "nothing is changed" not in run("freezemodel_edit", "--outputs", "NN/truediv").stdout


@pytest.mark.parametrize("make", FREED, ids=lambda make: make.__name__)
def test_a_fixed_batch_is_freed(run: Run, tmp_path: Path, make: Callable[[int], None]) -> None:
    outputs = "y,mean" if make is two_outputs else "y"
    printed = edit(run, write(build(lambda: make(4)), tmp_path / "m.pb"), "--outputs", outputs, "--batch-size", "any")
    assert re.search(rf"proved: {outputs.replace(',', ', ')}: the same bits as the source, on 4 rows", printed)
    assert re.search(r"proved in batches of 1 and 2, against the source's rows in batches of 4: y: ", printed)


@pytest.mark.parametrize("size", [1, 3, 6])
def test_a_fixed_batch_becomes_another(run: Run, tmp_path: Path, size: int) -> None:
    file = write(build(lambda: edited_models.attention(4)), tmp_path / "m.pb")
    printed = edit(run, file, "--outputs", "y", "--batch-size", size)
    assert f"input x: [4, 6, 8] is now [{size}, 6, 8]" in printed
    assert f"on {size} row" in printed
    assert list_signature(run, tmp_path / "out.pb")["inputs"] == {"x": [size, 6, 8]}


def test_a_free_batch_is_fixed_and_freed_again(run: Run, tmp_path: Path) -> None:
    assert run("freezemodel_save", "--saved-model", RESNET, "--frozen-model", tmp_path / "m.pb").status == 0
    edit(run, tmp_path / "m.pb", "--batch-size", 2)
    fixed = list_signature(run, tmp_path / "out.pb")
    assert fixed["inputs"] == {"input": [2, 28, 28, 1]}
    again = run(
        "freezemodel_edit", "--frozen-model", tmp_path / "out.pb", "--out", tmp_path / "2.pb", "--batch-size=any"
    )
    assert "proved in batches of 1 and 3, against the source's rows in batches of 2: classes: " in again.stdout
    assert list_signature(run, tmp_path / "2.pb")["inputs"] == {"input": [None, 28, 28, 1]}
    assert list(list_signature(run, tmp_path / "2.pb")["outputs"]) == ["classes", "probabilities"]


def test_an_input_gets_a_shape(run: Run, tmp_path: Path) -> None:
    def make() -> None:
        x = tf1.placeholder(tf.float32, [1, 8, 8, 3], name="x")
        tf.reduce_mean(tf.nn.conv2d(x, edited_models.weights(3, 3, 3, 4), 1, "SAME"), [1, 2], name="y")

    file = write(build(make), tmp_path / "m.pb")
    printed = edit(run, file, "--outputs", "y", "--input-shape", "x=[None,None,None,3]")
    assert "proved in batches of 2 and 3, against the source's rows in batches of 1: y: " in printed
    assert list_signature(run, tmp_path / "out.pb")["inputs"] == {"x": [None, None, None, 3]}


@pytest.mark.parametrize("size", [4, 1])
def test_a_batch_behind_the_steps_is_freed_and_fixed(run: Run, tmp_path: Path, size: int) -> None:
    file = write(build(lambda: edited_models.steps_first(size)), tmp_path / "m.pb")
    words = ("--outputs", "y", "--input-shape")
    printed = edit(run, file, *words, "x=[5,None,4]", "--input-shape", "state=[None,4]")
    assert f", against the source's rows in batches of {size}: y: " in printed
    assert "proved in batches of 2 and 3" in printed or size == 4
    graph_def = tf1.GraphDef.FromString((tmp_path / "out.pb").read_bytes())
    feeds = {"x": np.ones([5, 3, 4], "f"), "state": np.ones([3, 4], "f")}
    wanted = edited_models.run(build(lambda: edited_models.steps_first(3)), feeds, "y")
    np.testing.assert_allclose(edited_models.run(graph_def, feeds, "y")[0], wanted[0], rtol=1e-5)
    done = run(
        *("freezemodel_edit", "--frozen-model", file, "--out", tmp_path / "two.pb"),
        *(*words, "x=[5,2,4]", "--input-shape", "state=[2,4]"),
    )
    assert "proved: y: " in done.stdout


def test_an_lstm_of_keras_takes_any_batch(run: Run, tmp_path: Path) -> None:
    frozen = exported_models.write_lstm(tmp_path / "m.pb")
    edit(run, frozen, "--outputs", "y=Identity", "--batch-size", 2)
    again = run(
        "freezemodel_edit", "--frozen-model", tmp_path / "out.pb", "--out", tmp_path / "2.pb", "--batch-size", "any"
    )
    assert (again.status, again.stderr) == (0, "")
    # Whether a matmul of 1 row rounds as one of 2 does depends on the processor.
    proof = r"proved in batches of 1 and 3, against the source's rows in batches of 2: y: (within|the same bits)"
    assert re.search(proof, again.stdout)


@pytest.mark.parametrize(
    ("make", "words", "said"),
    [
        (edited_models.one_by_one, ["any"], r"unstack \(Unpack\) holds the size 4: Dimension must be 4"),
        (edited_models.pairs_of_rows, ["2"], r"y \(Reshape\) holds the size 4: it makes \[2, 12\] of \[4, 6\]"),
        (edited_models.centred, ["any"], r"of 1 row the model gives another y than .*: its rows depend on each other"),
        (
            edited_models.own_rows,
            ["any"],
            r"y \(AddV2\) holds the size 4: Dimensions must be equal, but are any size and 4",
        ),
        (
            edited_models.summed,
            ["any"],
            r"of 1 row the model gives another y than of a batch of 4 that repeats",
        ),
        (edited_models.centred, ["3"], r"y is off by up to .*: its rows depend on each other, or on their number"),
        (edited_models.mean_of_all, ["2"], r"y has no rows, so it cannot be compared with a source of 4 rows"),
        (edited_models.slices, ["any", "--input-shape", "x=[None,5]"], r"the source takes 6 where x has 5 now|shapes"),
    ],
)
def test_what_the_graph_does_not_allow_is_one_line(
    error: Fails, tmp_path: Path, make: Callable[[int], None], words: list[str], said: str
) -> None:
    file = write(build(lambda: make(4)), tmp_path / "m.pb")
    out = ("--out", tmp_path / "out.pb", "--outputs", "y")
    line = error("freezemodel_edit", "--frozen-model", file, *out, "--batch-size", *words)
    assert re.search(said, line)


def test_an_output_without_rows_is_compared_on_repeated_rows(run: Run, tmp_path: Path) -> None:
    file = write(build(lambda: edited_models.mean_of_all(4)), tmp_path / "m.pb")
    printed = edit(run, file, "--outputs", "y", "--batch-size", "any")
    assert "\nproved in batches of 1 and 2, against the source's batches of 4, which repeat these rows: y: " in printed


@pytest.mark.parametrize("form", [form for form, (_, count) in DROPOUT.items() if count])
def test_dropout_is_switched_off(run: Run, tmp_path: Path, form: str) -> None:
    make, count = DROPOUT[form]
    printed = edit(run, write(dropout(make), tmp_path / "m.pb"), "--outputs", "y", "--no-dropout")
    assert f"dropout off in {count} layer" in printed
    assert "\nproved: y: the same bits as the source, on 1,003 rows generated for x" in printed


def test_both_values_of_a_switch_that_stays_are_fed(run: Run, tmp_path: Path) -> None:
    """A layer in the branch for training is proved where it runs."""

    def make(x: Any) -> Any:
        on = edited_models.training()
        return tf1.cond(on, lambda: tf.nn.dropout(x + 1, 0.5), lambda: x)

    printed = edit(run, write(dropout(make), tmp_path / "m.pb"), "--outputs", "y", "--no-dropout")
    assert "\nproved: y: the same bits as the source, on 1,004 rows generated for x, training" in printed


def test_dropout_in_a_function_of_a_checkpoint(run: Run, tmp_path: Path) -> None:
    """The frozen model has the layer's nodes, the source the functions of a condition."""

    def build_condition() -> None:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        training = tf1.placeholder_with_default(True, [], name="training")
        h = x @ tf1.get_variable("w", [4, 3])
        tf.identity(tf.cond(training, lambda: tf.nn.dropout(h, rate=0.5), lambda: h), name="y")

    prefix = graphs.save(tmp_path, build_condition)
    words = ("--checkpoint", prefix, "--outputs", "y", "--no-dropout", "--frozen-model", tmp_path / "m.pb")
    done = run("freezemodel_save", *words)
    assert (done.status, done.stderr) == (0, "")
    assert "inlined 2 functions" in done.stdout
    assert "proved: y: the same bits as the source" in done.stdout


def test_noise_beside_dropout_is_named_and_not_proved(run: Run, tmp_path: Path) -> None:
    file = write(dropout(edited_models.beside_noise), tmp_path / "m.pb")
    words = ("--outputs", "y", "--no-dropout")
    done = run("freezemodel_edit", "--frozen-model", file, "--out", tmp_path / "out.pb", *words)
    assert (done.status, done.stderr) == (0, "")
    assert "\nrandom, and no dropout: noise/RandomStandardNormal (RandomStandardNormal)\n" in done.stdout
    assert "\nnot verified: random: noise/RandomStandardNormal; y: its shape and dtype are the source's" in done.stdout


def test_a_pinned_input_is_gone_and_folded(run: Run, tmp_path: Path) -> None:
    file = write(dropout(DROPOUT["of a share that is fed"][0]), tmp_path / "m.pb")
    printed = edit(run, file, "--outputs", "y", "--inputs", "x,share=keep", "--pin", "share=1.0")
    assert "pinned share: the result is compared with the source that is fed the same" in printed
    assert list_signature(run, tmp_path / "out.pb")["inputs"] == {"x": [None, 4]}
    assert not [op for op in inspect(run, tmp_path / "out.pb")["graphs"][0]["ops"] if "Random" in str(op)]


@pytest.mark.parametrize("script", ["freezemodel_edit", "freezemodel_save"])
def test_an_input_with_a_default_is_pinned_without_naming_inputs(run: Run, tmp_path: Path, script: str) -> None:
    def make() -> tuple[Any, Any]:
        x = tf1.placeholder(tf.float32, [None, 4], name="x")
        return x, tf.multiply(x, tf1.placeholder_with_default(0.5, [], name="keep"), name="y")

    if script == "freezemodel_save":
        with tf1.Graph().as_default(), tf1.Session() as session:
            x, y = make()
            tf1.saved_model.simple_save(session, str(tmp_path / "1"), {"x": x}, {"y": y})
        words = ["--saved-model", tmp_path / "1", "--frozen-model", tmp_path / "out.pb"]
    else:
        words = ["--frozen-model", write(build(make), tmp_path / "m.pb"), "--out", tmp_path / "out.pb"]
    done = run(script, *words, "--pin", "keep=0.25")
    assert (done.status, done.stderr) == (0, "")
    assert "\nproved: y: the same bits as the source, on 1,003 rows generated for x" in done.stdout
    (value,) = edited_models.run(
        protos.GraphDef.FromString((tmp_path / "out.pb").read_bytes()), {"x": np.ones([1, 4], "f")}, "y"
    )
    assert value.tolist() == [[0.25] * 4]
    assert list_signature(run, tmp_path / "out.pb")["inputs"] == {"x": [None, 4]}


def test_a_pin_and_dropout_together(run: Run, tmp_path: Path) -> None:
    file = write(dropout(lambda x: DROPOUT["of a rate that is fed"][0](x) * tf.constant(2.0)), tmp_path / "m.pb")
    printed = edit(run, file, "--outputs", "y", "--pin", "rate=0.5", "--no-dropout")
    assert "left out the input rate, which the dropout alone took" in printed


def test_a_pin_that_no_generated_value_goes_with_is_refused(error: Fails, run: Run, tmp_path: Path) -> None:
    def make() -> None:
        x, index = tf1.placeholder(tf.float32, [None, None], name="x"), tf1.placeholder(tf.int32, [], name="index")
        tf.gather(x, index, axis=1, name="y")

    file = write(build(make), tmp_path / "m.pb")
    words = ("--outputs", "y", "--pin", "index=20000", "--out", tmp_path / "out.pb")
    assert error("freezemodel_edit", "--frozen-model", file, *words) == (
        "the model does not run with the value of --pin index: indices = 20000 is not in [0, 4); it runs with others; "
        "give another value, or --feed x=VALUE (float32 [None, None]) on which it runs; nothing was written"
    )
    np.save(tmp_path / "x.npy", np.ones([1, 20001], "f"))
    edit(run, file, *words[:4], "--feed", f"x=@{tmp_path / 'x.npy'}")


def test_a_text_and_an_array_are_pinned(run: Run, tmp_path: Path) -> None:
    def make() -> None:
        x = tf1.placeholder(tf.string, [None], name="x")
        end, weight = tf1.placeholder(tf.string, [], name="end"), tf1.placeholder(tf.float32, [2], name="weight")
        tf.strings.join([x, end], name="joined")
        tf.reduce_sum(weight * 2, name="y")

    np.save(tmp_path / "w.npy", np.array([1, 2], "f"))
    file = write(build(make), tmp_path / "m.pb")
    words = ("--pin", 'end="!"', "--pin", f"weight=@{tmp_path / 'w.npy'}")
    edit(run, file, "--outputs", "joined,y", *words)
    assert list_signature(run, tmp_path / "out.pb")["inputs"] == {"x": [None]}


def test_a_large_model_keeps_its_constants_in_the_file(run: Run, tmp_path: Path) -> None:
    def make() -> None:
        x = tf1.placeholder(tf.float32, [4, 3000], name="x")
        kernel = tf.constant(np.random.default_rng(0).normal(size=[3000, 3000]).astype("f"))
        keep = tf1.placeholder(tf.float32, [], name="keep")
        tf.reshape(tf1.nn.dropout(x @ kernel, keep_prob=keep), [4, 30, 100], name="y")

    file = write(build(make), tmp_path / "m.pb")
    printed = edit(run, file, "--outputs", "y", "--no-dropout", "--batch-size", "any")
    assert "proved in batches of 1 and 2" in printed
    assert 36_000_000 < (tmp_path / "out.pb").stat().st_size < 36_010_000


@pytest.mark.parametrize("resource", [True, False])
def test_a_checkpoint_is_edited_as_it_is_frozen(run: Run, tmp_path: Path, resource: bool) -> None:
    """Variables of both kinds, one of them the rate; the proof runs the checkpoint's own variables."""

    def make() -> None:
        x = tf1.placeholder(tf.float32, [4, 6], name="x")
        keep = tf1.placeholder(tf.float32, [], name="keep_prob")
        with tf1.variable_scope("layer", use_resource=resource):
            kernel = tf1.get_variable("kernel", [6, 8], initializer=tf1.random_normal_initializer(seed=1))
            rate = tf1.get_variable("rate", [], initializer=tf1.constant_initializer(0.4), trainable=False)
        hidden = tf1.nn.dropout(tf.matmul(x, kernel), keep_prob=keep)
        tf.reshape(tf.nn.dropout(hidden, rate=tf.identity(rate)), [4, 2, 4], name="y")

    words = ("--checkpoint", graphs.save(tmp_path, make), "--frozen-model", tmp_path / "m.pb", "--outputs", "y")
    done = run("freezemodel_save", *words, "--pin", "keep_prob=1.0", "--no-dropout", "--batch-size", "any")
    assert (done.status, done.stderr) == (0, "")
    assert "dropout off in 2 layers" in done.stdout
    assert "\nproved: y: the same bits as the source, on 4 rows generated for x\n" in done.stdout
    assert "\nproved in batches of 1 and 2, " in done.stdout
    assert list_signature(run, tmp_path / "m.pb") == {"inputs": {"x": [None, 6]}, "outputs": {"y": None}}


def test_a_saved_model_with_functions_is_edited_as_it_is_frozen(run: Run, tmp_path: Path) -> None:
    class Module(tf.Module):
        def __init__(self) -> None:
            self.kernel = tf.Variable(tf.ones([6, 8]))

        @tf.function(input_signature=[tf.TensorSpec([4, 6], tf.float32, name="x")])  # type: ignore[untyped-decorator]
        def call(self, x: Any) -> Any:
            dropped = tf.function(lambda value: tf.nn.dropout(value, 0.25))(x @ self.kernel)
            dropped = tf.nn.experimental.stateless_dropout(dropped, 0.2, seed=[1, 2])
            return {"y": tf.reshape(dropped, [4, 2, 4])}

    module = Module()
    tf.saved_model.save(module, str(tmp_path / "1"), signatures=module.call)
    words = ("--saved-model", tmp_path / "1", "--frozen-model", tmp_path / "m.pb")
    done = run("freezemodel_save", *words, "--no-dropout", "--batch-size", "any")
    assert (done.status, done.stderr) == (0, "")
    assert "dropout off in 2 layers" in done.stdout
    assert "\nproved: y: the same bits as the source, on 4 rows generated for x\n" in done.stdout
    assert "\nproved in batches of 1 and 2, " in done.stdout


@pytest.mark.parametrize(("script", "flag"), [("onnx_from_frozen", "--onnx"), ("tflite_from_frozen", "--tflite")])
def test_exporters_take_the_same_flags(run: Run, tmp_path: Path, script: str, flag: str) -> None:
    def make() -> None:
        x = tf1.placeholder(tf.float32, [4, 6], name="x")
        k = tf1.placeholder(tf.float32, [], name="k")
        tf.reshape(tf.nn.dropout(x * k, 0.5), [4, 2, 3], name="y")

    words = ("--frozen-model", write(build(make), tmp_path / "m.pb"), "--outputs", "y", flag, tmp_path / "exported")
    edits = ("--pin", "k=2", "--no-dropout")
    for more, proof in (
        (("--batch-size", "any"), "\nproved in batches of 1 and 2, against the source's rows in batches of 4: y: "),
        (("--input-shape", "x=[2,6]"), "on 2 rows generated for x"),
    ):
        done = run(script, *words, *edits, *more, "--overwrite")
        assert (done.status, done.stderr) == (0, "")
        assert "\nproved: y: " in done.stdout
        assert proof in done.stdout


def test_without_a_proof_it_is_said(run: Run, tmp_path: Path) -> None:
    file = write(build(lambda: two_outputs(4)), tmp_path / "m.pb")
    words = ("--out", tmp_path / "out.pb", "--outputs", "y,mean", "--batch-size", "any", "--no-verify")
    done = run("freezemodel_edit", "--frozen-model", file, *words)
    assert (done.status, done.stderr) == (0, "")
    assert "not verified, as --no-verify asks" in done.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--pin", "3"], "argument --pin: expected NAME=VALUE, got '3'"),
        (["--batch-size", "none"], "argument --batch-size: expected a whole number from 1 to "),
        (
            ["--input-shape", "x=[3,4]", "--batch-size", "5"],
            r"--input-shape x=\[3, 4\] and --batch-size 5 disagree; leave",
        ),
        (
            ["--input-shape", "x=[3,4]", "--batch-size", "any"],
            r"--input-shape .* and --batch-size any disagree",
        ),
        (["--input-shape", "x=[3]", "--input-shape", "x=[3]"], "--input-shape x is given twice"),
        (["--input-shape", "x=2"], r"argument --input-shape: expected NAME=\[SIZE, ...\]"),
    ],
)
def test_wrong_words_are_status_2(run: Run, words: list[str], said: str) -> None:
    done = run("freezemodel_edit", *words)
    assert (done.status, done.stdout) == (2, "")
    assert re.match(f"error: {said}", done.stderr)


def test_nothing_is_overwritten(error: Fails, toy: Path, tmp_path: Path) -> None:
    (tmp_path / "out.pb").write_bytes(b"mine")
    line = error("freezemodel_edit", "--out", tmp_path / "out.pb")
    assert line == "out.pb exists already; --overwrite replaces it"
    assert (tmp_path / "out.pb").read_bytes() == b"mine"


def test_what_was_changed_is_said_after_the_deed(run: Run, tmp_path: Path) -> None:
    file = write(build(lambda: edited_models.centred(4)), tmp_path / "m.pb")
    done = run("freezemodel_edit", "--frozen-model", file, "--outputs", "y", "--batch-size", "any")
    assert done.status == 1
    assert "is now" not in done.stdout
