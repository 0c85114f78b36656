"""savedmodel_from_keras.py: Keras models of both versions, in each form and with their names; none that does harm."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras_models
import pytest
from conftest import PROJECT, Fails, Run, environment, inspect, needs_landlock
from packaging.version import Version

from serialization.tensorflow import import_quietly, np, tf


def signature_of(folder: Path) -> Any:
    return tf.saved_model.load(str(folder)).signatures["serving_default"]


def process(*words: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the script as a process of its own, where a model is confined."""
    command = [sys.executable, str(PROJECT / "savedmodel_from_keras.py"), *map(str, words)]
    return subprocess.run(command, env=environment() | variables, capture_output=True, text=True)


def predict(model: Any, **feeds: Any) -> dict[str, Any]:
    """What model.predict answers, by the names of the outputs."""
    values = {key: tf.constant(value) for key, value in feeds.items()}
    answers = model.predict(next(iter(values.values())) if len(values) == 1 else values, verbose=0)
    return answers if isinstance(answers, dict) else {"": answers}


FEEDS: dict[str, Any] = {
    "rows": np.linspace(-1, 1, 30).reshape(3, 10),
    "steps": np.linspace(-1, 1, 30).reshape(2, 5, 3),
    "review": ["good film", "film zzz", ""],
    "meta": np.linspace(0, 1, 9).reshape(3, 3),
}
FORMS = [
    (keras_models.sequential, "rows", "m.keras", 3),
    (keras_models.sequential, "rows", "m.h5", 3),
    (keras_models.sequential, "rows", "m.keras", 2),
    (keras_models.sequential, "rows", "m.h5", 2),
    (keras_models.lstm, "steps", "m.keras", 3),
    (keras_models.lstm, "steps", "m.h5", 2),
    (keras_models.lookup, "review meta", "m.keras", 3),
    (keras_models.lookup, "review meta", "m.keras", 2),
]


@pytest.mark.parametrize(("build", "inputs", "name", "major"), FORMS)
def test_each_form_is_told_from_its_bytes_and_proved(
    build: Callable[[Any], Any], inputs: str, name: str, major: int, run: Run, tmp_path: Path
) -> None:
    model = keras_models.save(build, tmp_path / name, major)
    (tmp_path / name).rename(tmp_path / "file")  # a name that tells nothing
    done = run("savedmodel_from_keras", "--keras", tmp_path / "file", "--export-dir", tmp_path / "1")
    assert (done.status, done.stderr) == (0, "")
    in_order = ", ".join(inputs.split())  # of the model
    assert f"the same bits as the source, on 1,003 rows generated for {in_order}" in done.stdout
    called = signature_of(tmp_path / "1")
    assert set(called.structured_input_signature[1]) == set(inputs.split())
    assert all(spec.shape[0] is None for spec in called.structured_input_signature[1].values())
    feeds = {key: np.array(FEEDS[key], "f" if key != "review" else None) for key in inputs.split()}
    wanted = predict(model, **feeds)
    answers = called(**{key: tf.constant(value) for key, value in feeds.items()})
    if "" in wanted:
        assert list(answers) == [model.layers[-1].name]
        wanted = {model.layers[-1].name: wanted[""]}
    assert set(answers) == set(wanted)
    for key, value in wanted.items():
        np.testing.assert_allclose(answers[key].numpy(), value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("major", [3, 2])
def test_outputs_in_lists_have_the_names_of_their_layers(major: int, run: Run, tmp_path: Path) -> None:
    keras_models.save(keras_models.lists, tmp_path / "m.keras", major)
    done = run("savedmodel_from_keras", "--keras", tmp_path / "m.keras", "--export-dir", tmp_path / "1")
    assert (done.status, done.stderr) == (0, "")
    called = signature_of(tmp_path / "1")
    specs = {key: spec.dtype.name for key, spec in called.structured_input_signature[1].items()}
    assert specs == {"one": "float32", "two_2": "int32"}
    assert set(called.structured_outputs) == {"left", "right"}


def test_without_flags_the_toy_is_trained_in_keras_and_goes_on(run: Run, results: Path) -> None:
    done = run("savedmodel_from_keras")
    assert (done.status, done.stderr) == (0, "")
    assert "proved: output1: the same bits as the source, on 1,003 rows generated for inputs_1" in done.stdout
    assert "Saved artifact" not in done.stdout
    report = inspect(run, results / "model.keras")
    assert [one["name"] for one in report["keras"]["inputs"]] == ["inputs_1"]
    assert report["keras"]["outputs"] == ["output1"]
    command = shlex.split(done.stdout.splitlines()[-1].removeprefix("next: "))
    assert Path(command[1]).name == "freezemodel_save.py"
    frozen = run("freezemodel_save", *command[2:])
    assert (frozen.status, frozen.stderr) == (0, "")
    assert "proved: output1: the same bits" in frozen.stdout
    from model import make_rows

    rows, labels = make_rows(10_000)
    answers = signature_of(results / "savedmodel_from_keras")(inputs_1=tf.constant(rows))["output1"].numpy()
    assert (answers == (labels > 0.5)).mean() == 1.0


@pytest.mark.parametrize("major", [3, 2])
def test_vocabularies_work_in_the_frozen_graph_without_their_files(major: int, run: Run, tmp_path: Path) -> None:
    model = keras_models.save(keras_models.preprocessing, tmp_path / "m.keras", major)
    done = run("savedmodel_from_keras", "--keras", tmp_path / "m.keras", "--export-dir", tmp_path / "1")
    assert (done.status, done.stderr) == (0, "")
    frozen = run("freezemodel_save", "--saved-model", tmp_path / "1", "--frozen-model", tmp_path / "m.pb")
    assert (frozen.status, frozen.stderr) == (0, "")
    assert "proved: features: the same bits" in frozen.stdout
    shutil.rmtree(tmp_path / "1")
    (tmp_path / "m.keras").unlink()
    feeds = {"word": [["b"], ["zzz"]], "number": [[11], [4]], "value": [[3.0], [1.0]]}
    words = [word for key, value in feeds.items() for word in ("--feed", f"{key}={json.dumps(value)}")]
    command: list[str | Path] = [
        sys.executable,
        PROJECT / "freezemodel_load.py",
        "--frozen-model",
        tmp_path / "m.pb",
        *words,
    ]
    shown = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True).stdout
    typed = [np.array(feeds["word"], object), np.array(feeds["number"]), np.array(feeds["value"], "f")]
    wanted = model.predict([tf.constant(value) for value in typed], verbose=0)
    assert str(wanted) in shown


FOLDERS = [(3, "weights.weights.h5"), (2, "weights.weights.h5"), (2, "weights.h5"), (2, "weights")]


@pytest.mark.parametrize(("major", "weights"), FOLDERS)
def test_layers_and_weights_are_found_beside_each_other(major: int, weights: str, run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    model = keras_models.save(keras_models.sequential, folder / "config.json", major)
    with keras_models.as_keras(major):
        model.save_weights(folder / weights)
    for words in (("--keras", folder), ("--keras", folder / "config.json", "--weights", folder / weights)):
        done = run("savedmodel_from_keras", *words, "--export-dir", tmp_path / "1", "--overwrite")
        assert (done.status, done.stderr) == (0, "")
        assert "proved: scores: the same bits" in done.stdout
    rows = np.array(FEEDS["rows"], "f")
    answers = signature_of(tmp_path / "1")(rows=tf.constant(rows))["scores"].numpy()
    np.testing.assert_allclose(answers, model.predict(rows, verbose=0), rtol=1e-5, atol=1e-6)


def test_a_keras_file_that_was_unpacked(run: Run, tmp_path: Path) -> None:
    keras_models.save(keras_models.lookup, tmp_path / "m.keras")
    with zipfile.ZipFile(tmp_path / "m.keras") as archive:
        archive.extractall(tmp_path / "m")
    done = run("savedmodel_from_keras", "--keras", tmp_path / "m", "--export-dir", tmp_path / "1")
    assert (done.status, done.stderr) == (0, "")
    assert "proved: sentiment, stars: the same bits" in done.stdout


@pytest.mark.parametrize("name", ["m.keras", "m.h5"])
@pytest.mark.parametrize("major", [3, 2])
def test_a_lambda_is_refused_and_named(major: int, name: str, run: Run, error: Fails, tmp_path: Path) -> None:
    keras_models.save(keras_models.with_lambda, tmp_path / name, major)
    words = ("--keras", tmp_path / name, "--export-dir", tmp_path / "1")
    assert error("savedmodel_from_keras", *words) == (
        f"{name} is refused; the layer double holds Python code (Lambda); if you trust its maker, add --trust-model "
        "(docs/safety.md)"
    )
    done = run("savedmodel_from_keras", *words, "--trust-model")
    assert (done.status, done.stderr) == (0, "")
    assert "proved: double: the same bits" in done.stdout


def test_custom_classes_come_from_the_users_own_file(run: Run, error: Fails, tmp_path: Path) -> None:
    custom = keras_models.write_custom(tmp_path)
    sys.path.insert(0, str(tmp_path))
    import layers_of_mine  # type: ignore[import-not-found]

    with keras_models.as_keras(3) as keras:
        keras.Sequential([keras.Input((4,), name="x"), layers_of_mine.Twice(name="twice")]).save(tmp_path / "m.keras")
        pair = layers_of_mine.Pair()
        pair({"one": np.ones((2, 4), "f"), "two": np.ones((2, 3), "f")})
        pair.save(tmp_path / "pair.keras")
    sys.path.remove(str(tmp_path))
    keras.saving.get_custom_objects().clear()
    for module in ("layers_of_mine", "numbers_of_mine"):
        del sys.modules[module]
    shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
    script = ("savedmodel_from_keras", "--keras", tmp_path / "m.keras", "--export-dir", tmp_path / "1")
    assert error(*script) == (
        "m.keras needs layers_of_mine.Twice, which Keras does not have; name the Python file that defines it: "
        "--custom-objects FILE.py"
    )
    assert "no Python file at" in error(*script, "--custom-objects", tmp_path / "none.py")
    (tmp_path / "wrong.py").write_text("import no_such_module\n")
    assert "wrong.py failed: ModuleNotFoundError: No module named 'no_such_module'" in error(
        *script, "--custom-objects", tmp_path / "wrong.py"
    )
    # As processes: what a confined one may read shows there.
    for name, outputs in (("m.keras", "twice"), ("pair.keras", "sum, two")):
        words = ("--keras", tmp_path / name, "--custom-objects", custom, "--export-dir", tmp_path / f"of {name}")
        done = process(*words)
        assert (done.returncode, done.stderr) == (0, "")
        assert f"proved: {outputs}: the same bits" in done.stdout


@needs_landlock
def test_code_in_a_trusted_model_is_confined(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("SECRET-7531")
    secret = tmp_path / "secret"

    def spying(keras: Any) -> Any:
        x = keras.Input((4,), name="x")
        code = compile(f"lambda x: x + len(open({str(secret)!r}).read())", "spy", "eval")
        return keras.Model(x, keras.layers.Lambda(eval(code), output_shape=(4,))(x))

    (tmp_path / "model").mkdir()
    keras_models.save(spying, tmp_path / "model" / "m.keras")
    done = process("--keras", tmp_path / "model" / "m.keras", "--export-dir", tmp_path / "1", "--trust-model")
    assert done.returncode == 1
    assert "Permission denied" in done.stderr
    assert "--allow-read" in done.stderr
    assert not (tmp_path / "1").exists()


@pytest.mark.parametrize("words", [(), ("--unconfined",)])
def test_the_users_settings_of_keras_change_nothing(words: tuple[str, ...], tmp_path: Path) -> None:
    keras_models.save(keras_models.sequential, tmp_path / "m.keras")
    (tmp_path / ".keras").mkdir()
    settings = {"backend": "jax", "floatx": "float64", "image_data_format": "channels_first"}
    (tmp_path / ".keras" / "keras.json").write_text(json.dumps(settings))
    variables = {"HOME": str(tmp_path), "KERAS_BACKEND": "jax", "KERAS_HOME": str(tmp_path / ".keras")}
    done = process("--keras", tmp_path / "m.keras", "--export-dir", tmp_path / "1", *words, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    assert "proved: scores: the same bits" in done.stdout
    assert [file.name for file in (tmp_path / ".keras").iterdir()] == ["keras.json"]


def test_a_gru_of_keras_2_0_that_does_not_say_reset_after_is_read_as_it_was(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "m.h5"

    def build(keras: Any) -> Any:
        return keras.Sequential([keras.layers.Input((5, 3)), keras.layers.GRU(4, reset_after=False, name="gru")])

    model = keras_models.save(build, path, 2)
    with import_quietly("h5py").File(path, "r+") as file:
        file.attrs["model_config"] = str(file.attrs["model_config"]).replace(', "reset_after": false', "")
    done = run("savedmodel_from_keras", "--keras", path, "--export-dir", tmp_path / "1")
    assert "proved: gru: the same bits" in done.stdout
    steps = tf.constant(FEEDS["steps"], tf.float32)
    answer = signature_of(tmp_path / "1")(**{model.input_names[0]: steps})["gru"]
    np.testing.assert_allclose(answer, model.predict(steps, verbose=0), rtol=1e-5)


def test_without_tf_keras_its_package_is_named(error: Fails, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keras_models.save(keras_models.sequential, tmp_path / "m.keras", 2)
    monkeypatch.setitem(sys.modules, "tf_keras", None)
    assert error("savedmodel_from_keras", "--keras", tmp_path / "m.keras", "--export-dir", tmp_path / "1") == (
        "the model was saved by Keras 2, and the package tf-keras, which reads it, is not installed; "
        "`pip install 'tf-keras>=2.21,<2.22'` installs it"
    )


def test_a_feed_of_ones_own_and_no_proof(run: Run, error: Fails, results: Path, tmp_path: Path) -> None:
    keras_models.save(keras_models.sequential, tmp_path / "m.keras")
    words = ("savedmodel_from_keras", "--keras", tmp_path / "m.keras", "--export-dir", tmp_path / "1")
    assert "rows" in error(*words, "--feed", "rows=[[1, 2]]")
    done = run(*words, "--feed", f"rows={[[1] * 10]}")
    assert "proved: scores: the same bits as the source, on 1 row given for rows" in done.stdout
    assert "--overwrite replaces it" in run(*words).stderr
    done = run(*words, "--overwrite", "--no-verify")
    assert (done.status, done.stderr) == (0, "")
    assert "not verified, as --no-verify asks" in done.stdout
    done = run(*words[:3], "--allow-read", tmp_path)
    assert done.status == 0
    assert (results / "m" / "saved_model.pb").is_file()  # after the model's own name


def test_the_vocabulary_that_an_h5_file_lacks(error: Fails, tmp_path: Path) -> None:
    keras_models.save(keras_models.lookup, tmp_path / "m.h5")
    line = error("savedmodel_from_keras", "--keras", tmp_path / "m.h5", "--export-dir", tmp_path / "1")
    assert line.startswith("a layer of the model looks words up, and the file does not hold its vocabulary")


def change_dense(new: str) -> Callable[[Path, Path], None]:
    return lambda source, target: keras_models.replace_in_config(
        source, target, '"activation": "relu"', f'"activation": {new}'
    )


def function(module: str, name: str) -> str:
    named = {"module": module, "class_name": "function", "config": name, "registered_name": name}
    return json.dumps(named)


HARMFUL: dict[str, tuple[Callable[[Path, Path], None], str]] = {
    "os.system": (change_dense(function("os", "system")), "needs os.system, which Keras does not have"),
    "get_file": (change_dense(function("keras.utils", "get_file")), "the layer hidden names keras.utils.get_file"),
    "load_model": (
        change_dense(function("keras.models", "load_model")),
        "the layer hidden names keras.models.load_model",
    ),
    "bomb": (
        lambda source, target: keras_models.change_archive(source, target, **{"assets/x": bytes(200 << 20)}),
        "bytes would become",
    ),
    "slip": (
        lambda source, target: keras_models.change_archive(source, target, **{"../x": b""}),
        "its entry '../x' would be unpacked elsewhere",
    ),
    "deep": (
        lambda source, target: keras_models.change_archive(source, target, **{"config.json": b"[" * 100_000}),
        "config.json is no JSON",
    ),
    "cut off": (lambda source, target: target.write_bytes(source.read_bytes()[:9000]), "is damaged"),  # type: ignore
    "no weights": (
        lambda source, target: keras_models.change_archive(
            source, target, **{"model.weights.h5": b"\x89HDF\r\n\x1a\n"}
        ),
        "is damaged; its weights cannot be read",
    ),
    "unknown layer": (
        lambda source, target: keras_models.replace_in_config(source, target, '"Dropout"', '"Dropin"'),
        "Dropin",
    ),
}


@pytest.mark.parametrize("case", HARMFUL)
@pytest.mark.parametrize("major", [3, 2])
def test_a_harmful_or_damaged_archive_is_refused_in_a_line(major: int, case: str, error: Fails, tmp_path: Path) -> None:
    keras_models.save(keras_models.sequential, tmp_path / "good.keras", major)
    change, wanted = HARMFUL[case]
    change(tmp_path / "good.keras", tmp_path / "m.keras")
    line = error("savedmodel_from_keras", "--keras", tmp_path / "m.keras", "--export-dir", tmp_path / "1")
    assert line.startswith("m.keras ")
    assert wanted in line


def test_the_weights_of_another_model(error: Fails, tmp_path: Path) -> None:
    with keras_models.as_keras(3):
        keras_models.save(keras_models.lstm, tmp_path / "m.keras").save_weights(tmp_path / "w.weights.h5")
    keras_models.save(keras_models.sequential, tmp_path / "m.json")
    words = ("--keras", tmp_path / "m.json", "--weights", tmp_path / "w.weights.h5", "--export-dir", tmp_path / "1")
    line = error("savedmodel_from_keras", *words)
    assert line.startswith("m.json of Keras 3 cannot be loaded; w.weights.h5: ")
    assert line.endswith(
        "; the weights may be those of other layers; name the file that was saved with this JSON with --weights"
    )


def test_a_model_that_keeps_a_state(run: Run, tmp_path: Path) -> None:
    def stateful(keras: Any) -> Any:
        x = keras.Input((5, 3), batch_size=2, name="x")
        return keras.Model(x, keras.layers.LSTM(4, stateful=True, name="last")(x))

    for major in (3, 2):
        keras_models.save(stateful, tmp_path / "m.keras", major)
        words = ("--keras", tmp_path / "m.keras", "--overwrite")
        done = run("savedmodel_from_keras", *words, "--export-dir", tmp_path / "1")
        assert (done.status, done.stderr) == (0, "")
        assert "proved: last: the same bits as the source, on 2 rows generated for x" in done.stdout
        frozen = run("freezemodel_save", *words, "--frozen-model", tmp_path / "m.pb")
        assert "as it runs, and its outputs are computed from that" in frozen.stderr


def test_an_operation_that_an_h5_file_cannot_hold(run: Run, error: Fails, tmp_path: Path) -> None:
    def masked(keras: Any) -> Any:
        x = keras.Input((4,), name="x")
        return keras.Model(x, {"known": keras.ops.not_equal(x, 0.0)})

    for name in ("m.keras", "m.h5"):
        keras_models.save(masked, tmp_path / name)
    words = ("savedmodel_from_keras", "--export-dir", tmp_path / "1", "--keras")
    assert error(*words, tmp_path / "m.h5") == (
        "m.h5 needs NotEqual, which Keras does not have; name the Python file that defines it: "
        "--custom-objects FILE.py; if it is an operation of Keras, save the model as .keras"
    )
    assert "proved: known: the same bits" in run(*words, tmp_path / "m.keras").stdout


def test_what_keras_exports_wrongly_is_not_published(run: Run, error: Fails, tmp_path: Path) -> None:
    """TimeDistributed of Keras 3 loses the steps in a graph where their number is free."""

    def distributed(keras: Any) -> Any:
        x = keras.Input((None, 3), name="x")
        return keras.Model(x, keras.layers.TimeDistributed(keras.layers.Dense(2), name="tags")(x))

    keras_models.save(distributed, tmp_path / "m.keras")
    words = ("savedmodel_from_keras", "--keras", tmp_path / "m.keras", "--export-dir", tmp_path / "1")
    if Version(version("keras")) < Version("3.13"):  # the newest for Python 3.10, which rounds otherwise in a graph
        assert "proved: tags: " in run(*words).stdout
        return
    assert (
        error(*words)
        == "the result differs from its source: tags is float32[1, 1, 2], not float32[1, 4, 2]; nothing was written"
    )


def test_inputs_and_outputs_keep_the_order_of_the_model(run: Run, tmp_path: Path) -> None:
    """A SignatureDef has no order. The export records it, and each later step goes by it."""

    def build(keras: Any) -> Any:
        z, a = keras.Input((3,), name="zebra"), keras.Input((2,), name="ant")
        y = keras.layers.Dense(2, name="yak")(keras.layers.Concatenate()([z, a]))
        return keras.Model([z, a], [y, keras.layers.Dense(1, name="bee")(y)])

    keras_models.save(build, tmp_path / "m.keras")
    done = run("savedmodel_from_keras", "--keras", tmp_path / "m.keras", "--export-dir", tmp_path / "1")
    assert (done.status, done.stderr) == (0, "")
    assert {"saved_model.pb", "fingerprint.pb"} <= {file.name for file in (tmp_path / "1").iterdir()}
    checksum = tf.saved_model.experimental.read_fingerprint(str(tmp_path / "1")).saved_model_checksum
    import_quietly("tensorflow.python.saved_model.fingerprinting_utils").write_fingerprint(str(tmp_path / "1"))
    assert tf.saved_model.experimental.read_fingerprint(str(tmp_path / "1")).saved_model_checksum == checksum
    keys = {}
    for name, *words in (("a", "--keras", tmp_path / "m.keras"), ("b", "--saved-model", tmp_path / "1")):
        file = tmp_path / f"{name}.pb"
        assert run("freezemodel_save", *words, "--frozen-model", file).status == 0
        (graph,) = inspect(run, file)["graphs"]
        recorded = graph["signatures"]["recorded"]
        keys[name] = [[tensor["key"] for tensor in recorded[side]] for side in ("inputs", "outputs")]
    assert keys == {name: [["zebra", "ant"], ["yak", "bee"]] for name in "ab"}
    loaded = tf.saved_model.load(str(tmp_path / "1")).signatures["serving_default"]
    assert sorted(loaded(zebra=tf.zeros([1, 3]), ant=tf.zeros([1, 2]))) == ["bee", "yak"]
