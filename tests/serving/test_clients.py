"""Clients that others wrote call the server, each in an environment of its own: their ranges of protobuf differ."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PROJECT
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
    with serving("--frozen-model", file, "--inputs", ",".join(DATATYPES), "--outputs", outputs) as server:
        yield server


def call(client: str, *words: str) -> str:
    """Run tests/clients/CLIENT_calls.py in the client's environment, which make has installed, or does so now."""
    folder = f".venv-{client}"
    make = ["make", "--silent", f"PYTHON={sys.executable}", f"{folder}/installed"]
    made = subprocess.run(make, cwd=PROJECT, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    script = PROJECT / "tests" / "clients" / f"{client}_calls.py"
    done = subprocess.run(
        [str(PROJECT / folder / "bin" / "python"), "-B", str(script), *words], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_tritonclient(every: Server) -> None:
    """Health, metadata, all datatypes as JSON and as bytes, several inputs and outputs, errors."""
    assert call("triton", every.url.removeprefix("http://")) == str(9 + 5 * 14 + 2 + 6)


def test_kserve(every: Server) -> None:
    assert call("kserve", every.url) == str(4 + 6 * 13 + 2)


def test_the_environments_are_made_before_the_tests() -> None:
    """CI installs nothing while tests run."""
    makefile = Path(PROJECT / "Makefile").read_text()
    assert "\ntest: $(VENV)/installed client-environments\n" in makefile
