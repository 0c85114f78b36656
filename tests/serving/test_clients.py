"""Clients that others wrote call the server, each in an environment of its own: their ranges of protobuf differ."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PROJECT, make_environment
from serving_models import Server, serving

from serialization.tensorflow import tf, tf1

DATATYPES = {
    "bool": "bool",
    **{name: name for name in ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")},
    "fp16": "float16",
    "bf16": "bfloat16",
    "fp32": "float32",
    "fp64": "float64",
    "bytes": "string",
}


@pytest.fixture(scope="module")
def every(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of a model that answers with its inputs, one of each datatype."""
    with tf1.Graph().as_default() as graph:
        for name, dtype in DATATYPES.items():
            tf.identity(tf1.placeholder(dtype, [None, 2], name=name), name=f"{name}_out")
    file = tmp_path_factory.mktemp("clients") / "every.pb"
    file.write_bytes(graph.as_graph_def().SerializeToString())
    outputs = ",".join(f"{name}_out" for name in DATATYPES)
    flags = ["--inputs", ",".join(DATATYPES), "--outputs", outputs, "--grpc-port", 0]
    with serving("--frozen-model", file, *flags) as server:
        yield server


def call(client: str, *words: str) -> str:
    """Run tests/clients/CLIENT_calls.py in the client's environment."""
    return run(client, str(PROJECT / "tests" / "clients" / f"{client}_calls.py"), *words)


def run(client: str, *words: str) -> str:
    """What Python prints in the client's environment."""
    python = str(make_environment(client) / "bin" / "python")
    done = subprocess.run([python, "-B", *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_tritonclient(every: Server) -> None:
    """Health, metadata, all datatypes as JSON and as bytes, several inputs and outputs, errors."""
    assert call("triton", every.url.removeprefix("http://")) == str(9 + 5 * 14 + 2 + 6)


def test_kserve(every: Server) -> None:
    assert call("kserve", every.url) == str(4 + 6 * 13 + 2)


def test_tritonclient_by_grpc(every: Server) -> None:
    """The same, with tensors as raw bytes and as lists."""
    assert call("tritongrpc", every.rpc) == str(9 + 2 * 14 + 1 + 5)


def test_tensorflow_serving_by_grpc(every: Server) -> None:
    """Its stubs: all dtypes, tensor_content and lists, metadata, the model's state, errors."""
    assert call("tfserving", every.rpc) == str(2 * 14 + 2 + 2 + 5 + 8)


def test_the_health_service(every: Server) -> None:
    assert call("grpchealth", every.rpc) == "10"


@pytest.mark.parametrize(("file", "client"), [("README.md", "tfserving"), ("docs/serving.md", "tritongrpc")])
def test_requests_that_the_manuals_show(frozen_model: Path, file: str, client: str) -> None:
    """The block of Python with a call by gRPC prints what the comment on its last line says."""
    blocks = re.findall(r"^```python\n(.*?)^```$", (PROJECT / file).read_text(), re.MULTILINE | re.DOTALL)
    (block,) = [block for block in blocks if "localhost:8500" in block]
    shown = block.rstrip().rpartition("  # ")[2]
    with serving("--frozen-model", frozen_model, "--grpc-port", 0) as server:
        assert run(client, "-c", block.replace("localhost:8500", server.rpc)) == shown


def test_the_environments_are_made_before_the_tests() -> None:
    """CI installs nothing while tests run."""
    makefile = Path(PROJECT / "Makefile").read_text()
    assert "\ntest: $(VENV)/installed client-environments .venv-serve/installed\n" in makefile
