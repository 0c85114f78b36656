"""`--op-library`, with a real library that is built against this TensorFlow's C API."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import graphs
import pytest
from conftest import PROJECT, Run, environment

from serialization.tensorflow import tf, tf1

SOURCE = r"""
#include "tensorflow/c/kernels.h"
#include "tensorflow/c/ops.h"

static void Shape(TF_ShapeInferenceContext* context, TF_Status* status) {
  TF_ShapeHandle* handle = TF_NewShapeHandle();
  TF_ShapeInferenceContextGetInput(context, 0, handle, status);
  TF_ShapeInferenceContextSetOutput(context, 0, handle, status);
  TF_DeleteShapeHandle(handle);
}

static void Compute(void*, TF_OpKernelContext* context) {
  TF_Status* status = TF_NewStatus();
  TF_Tensor* x = nullptr;
  TF_GetInput(context, 0, &x, status);
  int64_t shape[8];
  for (int axis = 0; axis < TF_NumDims(x); ++axis) shape[axis] = TF_Dim(x, axis);
  TF_Tensor* y = TF_AllocateOutput(context, 0, TF_FLOAT, shape, TF_NumDims(x), TF_TensorByteSize(x), status);
  for (int64_t i = 0; i < TF_TensorElementCount(x); ++i)
    static_cast<float*>(TF_TensorData(y))[i] = 2 * static_cast<float*>(TF_TensorData(x))[i];
  TF_DeleteTensor(x);
  TF_DeleteTensor(y);
  TF_DeleteStatus(status);
}

static int registered = [] {
  TF_Status* status = TF_NewStatus();
  TF_OpDefinitionBuilder* op = TF_NewOpDefinitionBuilder("HouseTwice");
  TF_OpDefinitionBuilderAddInput(op, "x: float");
  TF_OpDefinitionBuilderAddOutput(op, "y: float");
  TF_OpDefinitionBuilderSetShapeInferenceFunction(op, &Shape);
  TF_RegisterOpDefinition(op, status);
  TF_KernelBuilder* kernel = TF_NewKernelBuilder("HouseTwice", "CPU", nullptr, &Compute, nullptr);
  TF_RegisterKernelBuilder("HouseTwice", kernel, status);
  TF_DeleteStatus(status);
  return 0;
}();
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library, built as https://www.tensorflow.org/guide/create_op says."""
    if shutil.which("g++") is None:
        pytest.skip("optional: g++, which builds the library")
    file = tmp_path_factory.mktemp("library") / "house_twice.so"
    flags = ["-std=c++17", "-shared", "-fPIC", *tf.sysconfig.get_compile_flags()]
    words = ["g++", *flags, "-x", "c++", "-", "-o", str(file), *tf.sysconfig.get_link_flags()]
    subprocess.run(words, input=SOURCE, text=True, check=True)
    return file


@pytest.fixture(scope="module")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of y = HouseTwice(x * w), written without the library: the op takes the place of another."""

    def build() -> None:
        x = tf1.placeholder(tf.float32, [None, 2], name="x")
        tf.nn.relu(x * tf1.get_variable("w", initializer=[1.0, 10.0]), name="y")

    def replace(meta_graph: Any) -> None:
        node = next(node for node in meta_graph.graph_def.node if node.op == "Relu")
        node.op = "HouseTwice"
        del node.attr["T"]

    prefix = graphs.save(tmp_path_factory.mktemp("custom"), build)
    graphs.edit_meta(prefix, replace)
    return prefix


def test_a_checkpoint_with_an_op_of_a_library_is_converted_and_run(
    run: Run, tmp_path: Path, prefix: Path, library: Path
) -> None:
    inspected = json.loads(run("model_inspect", prefix, "--json").stdout)["graphs"][0]
    assert inspected["unknown_ops"] == [{"op": "HouseTwice", "nodes": ["y"], "library": "of an unknown library"}]
    frozen = tmp_path / "m.pb"
    save = ("freezemodel_save", "--checkpoint", prefix, "--frozen-model", frozen)
    assert run(*save).stderr == (
        f"error: {prefix} needs ops that TensorFlow {tf.__version__} does not know: HouseTwice (of an unknown library; "
        "node y); load their library with --op-library FILE.so\n"
    )
    assert not frozen.exists()
    known = ("--op-library", library)
    done = run(*save, *known)
    assert (done.status, done.stderr) == (0, "")
    assert "inferred output y:0 float32 [None, 2]: nothing consumes it\n" in done.stdout
    assert "proved: y: the same bits as the source" in done.stdout
    done = run("freezemodel_load", "--frozen-model", frozen, *known, "--feed", "x=[[1, 2]]")
    assert (done.status, done.stderr) == (0, "")
    assert "prefix/y:0 float32 [1, 2]\n[[ 2. 40.]]\n" in done.stdout
    done = run("savedmodel_from_frozen", "--frozen-model", frozen, "--export-dir", tmp_path / "1", *known)
    assert (done.status, done.stderr) == (0, "")
    assert "proved: y: the same bits as the source" in done.stdout
    done = run("savedmodel_from_checkpoint", "--checkpoint", prefix, "--export-dir", tmp_path / "2", *known)
    assert (done.status, done.stderr) == (0, "")
    for folder in ("1", "2"):
        words = ("--saved-model", tmp_path / folder, *known, "--feed", "x=[[1, 2]]")
        done = run("savedmodel_pretrained", *words)
        assert (done.status, done.stderr) == (0, "")
        assert "[[ 2. 40.]]\n" in done.stdout
    done = run("checkpoint_restore", "--checkpoint", prefix, *known, "--feed", "x=[[1, 2]]")
    assert "[[ 2. 40.]]\n" in done.stdout


def test_the_next_lines_carry_the_library(tmp_path: Path, prefix: Path, library: Path) -> None:
    """As a user runs them: processes that are confined, each with the library; at the end the server answers."""
    shutil.copytree(prefix.parent, tmp_path / "model")
    words = ["checkpoint_restore.py", "--checkpoint", "model/model.ckpt", "--op-library", str(library)]
    words += ["--feed", "[[1, 2]]"]
    for _ in range(3):
        extra = ["--frozen-model", "m.pb"] if "freezemodel_save" in words[0] else []
        command = [sys.executable, str(PROJECT / Path(words[0]).name), *words[1:], *extra]
        done = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
        words = shlex.split(done.stdout.splitlines()[-1].removeprefix("next: python "))
    assert words[1:] == ["--frozen-model", "m.pb", "--op-library", str(library)]
    command = [sys.executable, str(PROJECT / "freezemodel_serve.py"), *words[1:], "--port", "0"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment(), text=True, stdout=-1, stderr=-1) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("serving m.pb on http")
        process.send_signal(signal.SIGINT)
        assert (process.wait(60), process.stderr and process.stderr.read()) == (0, "")
