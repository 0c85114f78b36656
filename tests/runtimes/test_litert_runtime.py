"""LiteRTRuntime runs a file as the interface of runtimes says."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from serialization.errors import UserError
from serialization.graph.row_facts import RowFacts
from serialization.runtimes import litert_runtime
from serialization.runtimes.litert_runtime import LiteRTRuntime, load_tflite
from serialization.runtimes.runtime import LateError, UnclearError
from serialization.tensorflow import np, tf


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """X float32 [None, 2] -> y, twice x, by a signature."""
    folder = tmp_path_factory.mktemp("litert")
    double = tf.function(lambda x: {"y": x * 2})
    concrete = double.get_concrete_function(x=tf.TensorSpec([None, 2], tf.float32))
    module = tf.Module()
    module.double = double
    tf.saved_model.save(module, str(folder / "1"), signatures=concrete)
    (folder / "m.tflite").write_bytes(tf.lite.TFLiteConverter.from_saved_model(str(folder / "1")).convert())
    return folder / "m.tflite"


def open_model(file: Path, timeout: float | None = None) -> Any:
    return closing(LiteRTRuntime(load_tflite(file), timeout))


def rows(count: int, value: float = 1) -> dict[str, Any]:
    return {"x": np.full([count, 2], value, "f")}


@pytest.mark.parametrize("timeout", [None, 60])
def test_any_batch_is_run_and_answers_stay(file: Path, timeout: float | None) -> None:
    with open_model(file, timeout) as run:
        first = run({**rows(1), "unused": np.zeros(1)})["y"]
        second = run(rows(3, 5))["y"]
    assert (first.tolist(), second.tolist()) == ([[2, 2]], [[10, 10]] * 3)


@pytest.mark.parametrize("timeout", [None, 60])
def test_a_failed_run_may_be_the_models_fault(file: Path, timeout: float | None) -> None:
    with open_model(file, timeout) as run:
        with pytest.raises(UnclearError):
            run({"x": np.ones([1, 2], "i8")})
        assert run(rows(1))["y"].tolist() == [[2, 2]]


def test_a_file_that_is_written_in_place_does_not_change_the_model_that_runs(file: Path, tmp_path: Path) -> None:
    shutil.copy(file, tmp_path / "m.tflite")
    with open_model(tmp_path / "m.tflite") as run:
        os.truncate(tmp_path / "m.tflite", 0)
        assert run(rows(1, 3))["y"].tolist() == [[6, 6]]


def test_all_ways_to_run_give_the_same_answers(file: Path) -> None:
    with open_model(file, 60) as run:
        for other in (run, run.open_batched(8, 0), run.open_single(), *run.list_inline()):
            assert other(rows(2))["y"].tolist() == [[2, 2]] * 2
        assert run.find_row_facts() == RowFacts()
        assert next(run.list_examples())["x"].shape == (1, 2)


def test_threads_wait_for_each_other(file: Path) -> None:
    answers: list[tuple[int, Any]] = []
    with closing(LiteRTRuntime(load_tflite(file), most=2)) as run:

        def ask(number: int) -> None:
            answers.extend((number, run(rows(number, number))["y"].tolist()) for _ in range(50))

        threads = [threading.Thread(target=ask, args=[number]) for number in range(1, 5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(answers) == 200
    assert all(got == [[2 * number] * 2] * number for number, got in answers)


def test_a_late_run_goes_on_alone(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes behind it waits, up to its own limit, and does not run."""
    goes_on, ran = threading.Event(), []

    def open_slow(*_: object) -> Callable[..., Mapping[str, Any]]:
        def run(x: Any) -> Mapping[str, Any]:
            ran.append(len(x))
            assert goes_on.wait(60)
            return {"y": x * 2}

        return run

    monkeypatch.setattr(litert_runtime, "_open_interpreter", open_slow)
    with open_model(file, 0.05) as run:
        with pytest.raises(LateError, match=r"^it goes on; LiteRT has no way to end it$"):
            run(rows(1))
        with pytest.raises(LateError, match=r"^another run goes on"):
            run(rows(2))
        goes_on.set()
        run._timeout = 60
        assert run(rows(3))["y"].tolist() == [[2, 2]] * 3
    assert ran == [1, 3]


def test_a_file_without_a_signature_is_run_by_the_names_of_its_tensors(tmp_path: Path) -> None:
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [tf.function(lambda a, b: a + b).get_concrete_function(*[tf.TensorSpec([None, 2], tf.float32)] * 2)]
    )
    _, utils = tf_modules()
    parsed = utils.convert_bytearray_to_object(bytearray(converter.convert()))
    parsed.signatureDefs = []
    (tmp_path / "m").write_bytes(utils.convert_object_to_bytearray(parsed))
    with open_model(tmp_path / "m") as run:
        names = [tensor.key for tensor in run.signature.inputs]
        assert [tensor.shape for tensor in run.signature.inputs] == [(None, 2)] * 2
        for count in (1, 3):
            values = {name: np.full([count, 2], i + 1, "f") for i, name in enumerate(names)}
            (answer,) = run(values).values()
            assert answer.tolist() == [[3, 3]] * count


def tf_modules() -> tuple[Any, Any]:
    from tensorflow.lite.python import schema_py_generated
    from tensorflow.lite.tools import flatbuffer_utils

    return schema_py_generated, flatbuffer_utils


def test_an_op_that_litert_lacks_is_one_line(file: Path, tmp_path: Path) -> None:
    schema, utils = tf_modules()
    parsed = utils.read_model(str(file))
    for opcode in parsed.operatorCodes:
        opcode.builtinCode = opcode.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        opcode.customCode = "MyOwn"
    (tmp_path / "m").write_bytes(utils.convert_object_to_bytearray(parsed))
    with pytest.raises(UserError, match=r"^LiteRT cannot run the model: .*MyOwn") as caught:
        open_model(tmp_path / "m")
    assert "\n" not in str(caught.value)


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"\x1c\0\0\0TFL3" + bytes(100))
    with pytest.raises(UserError, match="is damaged; ") as caught:
        load_tflite(tmp_path / "m")
    assert "\n" not in str(caught.value)


def test_the_thread_of_the_time_limit_ends_with_the_runtime(file: Path) -> None:
    """A server that watches its model closes a runtime for each version."""
    before = set(threading.enumerate())
    with open_model(file, 60):
        started = set(threading.enumerate()) - before
    assert len(started) == 1
    for thread in started:
        thread.join(60)
        assert not thread.is_alive()
