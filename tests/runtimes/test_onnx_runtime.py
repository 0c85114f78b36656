"""OnnxRuntime runs a file as the interface of runtimes says."""

from __future__ import annotations

import os
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from serialization.errors import UserError
from serialization.graph.row_facts import RowFacts
from serialization.runtimes.onnx_runtime import OnnxRuntime, load_onnx
from serialization.runtimes.runtime import LateError, UnclearError, ValuesError
from serialization.tensorflow import np


def write(file: Path, op: str, dtype: int, *, domain: str = "", opset: int = 18) -> Path:
    inputs, outputs = ([helper.make_tensor_value_info(name, dtype, [None])] for name in "xy")
    graph = helper.make_graph([helper.make_node(op, ["x"], ["y"], domain=domain)], "m", inputs, outputs)
    opsets = [helper.make_opsetid("", opset), *([helper.make_opsetid(domain, 1)] if domain else [])]
    file.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())
    return file


def write_loop(file: Path) -> Path:
    """N int64 [1] -> y float32 [1], 100: a loop that multiplies matrices n times."""
    value = helper.make_tensor_value_info
    number, matrix = TensorProto.INT64, [100, 100]
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("MatMul", ["m", "m"], ["next"])],
        "body",
        [value("i", number, []), value("go", TensorProto.BOOL, []), value("m", TensorProto.FLOAT, matrix)],
        [value("on", TensorProto.BOOL, []), value("next", TensorProto.FLOAT, matrix)],
    )
    nodes = [
        helper.make_node("Squeeze", ["n", "axis"], ["count"]),
        helper.make_node("Loop", ["count", "", "one"], ["last"], body=body),
        helper.make_node("ReduceSum", ["last", "axes"], ["sum"], keepdims=0),
        helper.make_node("Unsqueeze", ["sum", "axis"], ["y"]),
    ]
    constants = [
        helper.make_tensor("axis", number, [1], [0]),
        helper.make_tensor("axes", number, [2], [0, 1]),
        helper.make_tensor("one", TensorProto.FLOAT, matrix, np.eye(100, dtype="f").ravel()),
    ]
    graph = helper.make_graph(nodes, "m", [value("n", number, [1])], [value("y", TensorProto.FLOAT, [1])], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    file.write_bytes(model.SerializeToString())
    return file


def write_with_constants_beside(folder: Path) -> Path:
    """X float32 [None, 1] -> y [None, 500], x times one; the ones are in another file."""
    names = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, size]) for name, size in (("x", 1), ("y", 500))
    ]
    ones = numpy_helper.from_array(np.ones(500, "f"), "ones")
    graph = helper.make_graph([helper.make_node("Mul", ["x", "ones"], ["y"])], "m", names[:1], names[1:], [ones])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.save(model, folder / "m.onnx", save_as_external_data=True, location="m.data", size_threshold=100)
    return folder / "m.onnx"


def open_model(file: Path, timeout: float | None = None) -> Any:
    return closing(OnnxRuntime(*load_onnx(file), timeout))


def count(number: int) -> dict[str, Any]:
    return {"n": np.array([number], np.int64)}


def test_strings_are_bytes_on_both_sides(tmp_path: Path) -> None:
    with open_model(write(tmp_path / "m", "Identity", TensorProto.STRING)) as run:
        answer = run({"x": np.array([b"a", "ü".encode()], object), "unused": np.zeros(1)})["y"]
        assert (answer.dtype, answer.tolist()) == (np.dtype(object), [b"a", "ü".encode()])
        with pytest.raises(ValuesError, match="UTF-8"):
            run({"x": np.array([b"\xff"], object)})


def test_constants_that_are_written_in_place_do_not_change_the_model_that_runs(tmp_path: Path) -> None:
    with open_model(write_with_constants_beside(tmp_path)) as run:
        (tmp_path / "m.data").write_bytes(np.full(500, 2, "f").tobytes())
        assert set(run({"x": np.ones((1, 1), "f")})["y"].ravel()) == {1}
        os.truncate(tmp_path / "m.data", 0)
        assert set(run({"x": np.ones((1, 1), "f")})["y"].ravel()) == {1}
    with pytest.raises(UserError, match=r"onnxruntime cannot run the model: .*out of bounds"):
        load_onnx(tmp_path / "m.onnx")


def test_wrong_values_have_onnxruntimes_reason_in_one_line(tmp_path: Path) -> None:
    with (
        open_model(write(tmp_path / "m", "Identity", TensorProto.FLOAT)) as run,
        pytest.raises(ValuesError, match=r"^(?!\[ONNX)") as caught,
    ):
        run({"x": np.zeros([2, 2], "i8")})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("timeout", [None, 60])
def test_a_run_that_fails_inside_may_be_the_models_fault(tmp_path: Path, timeout: float | None) -> None:
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT32, [None]) for name in "ab"]
    outputs = [helper.make_tensor_value_info("y", TensorProto.INT32, [None])]
    graph = helper.make_graph([helper.make_node("Div", ["a", "b"], ["y"])], "m", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    (tmp_path / "m").write_bytes(model.SerializeToString())
    seven, zero = np.array([7], "i4"), np.array([0], "i4")
    with open_model(tmp_path / "m", timeout) as run:
        with pytest.raises(UnclearError, match="division by zero"):
            run({"a": seven, "b": zero})
        assert run({"a": seven, "b": seven})["y"].tolist() == [1]


def test_a_run_is_ended_at_the_time_limit_and_the_next_one_runs(tmp_path: Path) -> None:
    with open_model(write_loop(tmp_path / "m"), 0.2) as run:
        assert run(count(3))["y"].tolist() == [100]
        for _ in range(2):
            with pytest.raises(LateError):
                run(count(1 << 40))
            assert run(count(3))["y"].tolist() == [100]
        time.sleep(0.1)
        before = time.process_time()
        time.sleep(0.3)
        assert time.process_time() - before < 0.2, "a run goes on"


def test_each_of_several_late_runs_is_ended(tmp_path: Path) -> None:
    late: list[bool] = []
    with open_model(write_loop(tmp_path / "m"), 0.3) as run:

        def ask() -> None:
            with pytest.raises(LateError):
                run(count(1 << 40))
            late.append(True)

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert late == [True] * 4


def test_all_ways_to_run_give_the_same_answers(tmp_path: Path) -> None:
    x = {"x": np.array([1, 4], "f")}
    with open_model(write(tmp_path / "m", "Sqrt", TensorProto.FLOAT), 60) as run:
        for other in (run, run.open_batched(8, 0), run.open_single(), *run.list_inline()):
            assert other(x)["y"].tolist() == [1, 2]
        assert run.find_row_facts() == RowFacts()
        assert next(run.list_examples())["x"].shape == (1,)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (("Tan", TensorProto.DOUBLE), "it has no implementation of Tan, the op of node , for these dtypes"),
        (("Identity", TensorProto.BFLOAT16), "Python gives it no arrays of bfloat16, the dtype of x; export the model"),
    ],
)
def test_what_onnxruntime_lacks_is_named(tmp_path: Path, made: tuple[str, int], reason: str) -> None:
    with pytest.raises(UserError, match=f"^onnxruntime cannot run the model: {reason}"):
        open_model(write(tmp_path / "m", *made))


@pytest.mark.parametrize(
    ("how", "reason"),
    [({"domain": "my.ops"}, "my.ops:Identity.* is not a registered function/op"), ({"opset": 99}, "its opset 99 is ")],
)
def test_ops_of_others_and_of_the_future_are_named(tmp_path: Path, how: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=f"^onnxruntime cannot run the model: .*{reason}"):
        load_onnx(write(tmp_path / "m", "Identity", TensorProto.FLOAT, **how))


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"\x08\x08\x3a\x05noise")
    with pytest.raises(UserError, match=r"onnxruntime cannot run the model: ") as caught:
        load_onnx(tmp_path / "m")
    assert "\n" not in str(caught.value)


def test_the_thread_of_the_time_limit_ends_with_the_runtime(tmp_path: Path) -> None:
    """A server that watches its model closes a runtime for each version."""
    before = set(threading.enumerate())
    with open_model(write(tmp_path / "m", "Identity", TensorProto.FLOAT), 60):
        started = set(threading.enumerate()) - before
    assert len(started) == 1
    for thread in started:
        thread.join(60)
        assert not thread.is_alive()
