"""Small models to serve, each with a feature that the toy model lacks, and functions that ask a server."""

from __future__ import annotations

import http.client
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
from conftest import PROJECT, environment
from flask import Flask
from flask.testing import FlaskClient

import freezemodel_serve
from serialization.files.model_flags import find_newest_model
from serialization.graph.signature import Signature, Tensor, make_signature
from serialization.run.predictor import give_sessions_own_threads, open_session
from serialization.serving.app import load_version, make_predict_route
from serialization.serving.http.version import Version
from serialization.serving.limits import Settings
from serialization.serving.served_models import Source, make_source
from serialization.serving.wire.json_format import choose_lister
from serialization.serving.wire.protocol import Results
from serialization.tensorflow import tf, tf1

ROW = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
PREDICT = "/api/predict"


@dataclass(frozen=True)
class Small:
    """A graph and the tensors to feed and to fetch, as --inputs and --outputs name them."""

    build: Callable[[], None]
    inputs: str
    outputs: str


def _two_in_two_out() -> None:
    a = tf1.placeholder(tf.float32, [None, 3], name="in/a")
    b = tf1.placeholder(tf.int32, [None], name="in/b")
    tf.add(a, tf.cast(b, tf.float32)[:, None], name="sum")
    tf.greater(b, 0, name="positive")


def _text() -> None:
    words = tf1.placeholder(tf.string, [None, 2], name="words")
    tf.strings.join([words[:, 0], words[:, 1]], separator="-", name="joined")


def _image_bytes() -> None:
    data = tf1.placeholder(tf.string, [None], name="data")
    tf.strings.length(data, name="length")
    tf.identity(data, name="same_bytes")


def _picture() -> None:
    data = tf1.placeholder(tf.string, [None], name="data")
    pictures = tf.map_fn(lambda png: tf.io.decode_png(png, channels=1)[:1, :1], data, fn_output_signature=tf.uint8)
    tf.reshape(pictures, [-1], name="corner")


def _particular() -> None:
    x = tf1.placeholder(tf.float32, [None, 2], name="x")
    with tf1.control_dependencies([tf1.assert_greater(tf.reduce_sum(x), 1000.0, message="too small")]):
        tf.identity(x, name="same")


def _centred() -> None:
    x = tf1.placeholder(tf.float32, [None, 2], name="x")
    tf.subtract(x, tf.reduce_mean(x, axis=0), name="y")


def _positive_only() -> None:
    x = tf1.placeholder(tf.float32, [None], name="x")
    tf.boolean_mask(x, x > 0, name="kept")


def _one_row() -> None:
    x = tf1.placeholder(tf.float32, [None], name="x")
    with tf1.control_dependencies([tf1.assert_equal(tf.shape(x)[0], 1)]):
        tf.identity(x, name="same")


def _words() -> None:
    text = tf1.placeholder(tf.string, [None], name="text")
    tf.identity(tf.strings.split(text).to_tensor(), name="words")


def _number() -> None:
    tf.strings.to_number(tf1.placeholder(tf.string, [None], name="text"), name="number")


def _three_rows() -> None:
    """For another number of rows oneDNN's kernel is aborted."""
    x = tf1.placeholder(tf.float32, [None, 4, 4, 5], name="x")
    tf.nn.conv2d_transpose(x, tf.ones([3, 3, 2, 5]), tf.constant([3, 8, 8, 2]), 2, name="y")


def _reversed() -> None:
    tf.reverse(tf1.placeholder(tf.string, [None], name="x"), [0], name="y")


def _mean_up_to_the_longest() -> None:
    x, lengths = tf1.placeholder(tf.float32, [None, 8], name="x"), tf1.placeholder(tf.int32, [None], name="lengths")
    tf.reduce_mean(x[:, : tf.reduce_max(lengths)], axis=1, name="y")


def _small_and_in_order() -> None:
    x = tf1.placeholder(tf.float32, [None, 2], name="x")
    with tf1.control_dependencies([tf1.assert_less_equal(x, 1.0)]):
        tf.multiply(tf.reverse(x, [0]), 1e-6, name="y")


def _particular_bytes() -> None:
    x = tf1.placeholder(tf.uint8, [None, 2], name="x")
    with tf1.control_dependencies([tf1.assert_less_equal(tf.reduce_sum(tf.cast(x, tf.int32), axis=1), 0)]):
        tf.identity(x, name="same")


def _limited_together() -> None:
    x = tf1.placeholder(tf.float32, [None, 2], name="x")
    tf.identity(tf.cond(tf.reduce_any(x > 100), lambda: x * 0, lambda: x), name="y")


def _quotient() -> None:
    a, b = tf1.placeholder(tf.int32, [None], name="a"), tf1.placeholder(tf.int32, [None], name="b")
    tf.truncatediv(a, b, name="quotient")


def _slow_for_large_values() -> None:
    count = tf1.placeholder(tf.int32, [None], name="count")
    tf.reduce_sum(tf.sort(tf.random.stateless_uniform([count[0]], [1, 2])), keepdims=True, name="total")


def _unfinished() -> None:
    x = tf1.placeholder(tf.float32, [None], name="x")
    tf.add(x, tf1.Variable(1.0, use_resource=False), name="more")


def _logarithm() -> None:
    x = tf1.placeholder(tf.float32, [None, 2], name="x")
    tf.math.log(x, name="log")


def _embedding() -> None:
    ids = tf1.placeholder(tf.int64, [None, None], name="ids")
    table = tf.reshape(tf.range(20.0), [10, 2])
    tf.reduce_sum(tf.gather(table, ids), axis=[1, 2], name="total")


def _any_rank() -> None:
    x = tf1.placeholder(tf.float32, None, name="x")
    tf.multiply(x, 2.0, name="twice")


def _scalar() -> None:
    x = tf1.placeholder(tf.float64, [], name="x")
    tf.negative(x, name="minus")


_DTYPES = ("uint8", "int8", "uint64", "int64", "half", "bfloat16", "bool")


def _numbers() -> None:
    for dtype in _DTYPES:
        tf.identity(tf1.placeholder(dtype, [None], name=f"in_{dtype}"), name=f"out_{dtype}")


def _slow() -> None:
    steps = tf1.placeholder(tf.int32, [None], name="steps")
    counted = tf.while_loop(lambda i: i < steps[0], lambda i: [i + 1], [tf.constant(0)])[0]
    tf.fill(tf.shape(steps), counted, name="counted")


def _matrices() -> None:
    x = tf1.placeholder(tf.float32, [None, 8], name="x")
    weights = tf.random.stateless_normal([8, 8], [1, 2])
    tf.matmul(tf.tanh(tf.matmul(x, weights)), weights, name="y")


def _switch() -> None:
    """The control flow of TensorFlow 1, without a loop."""
    x = tf1.placeholder(tf.float32, [None, 2], name="x")
    below, above = tf.raw_ops.Switch(data=x, pred=tf.reduce_sum(x) > 0)
    tf.identity(tf.raw_ops.Merge(inputs=[below - 1, above + 1])[0], name="y")


MODELS = {
    "two": Small(_two_in_two_out, "a=in/a,b=in/b", "sum,positive"),
    "text": Small(_text, "words", "joined"),
    "bytes": Small(_image_bytes, "data", "length,same_bytes"),
    "picture": Small(_picture, "data", "corner"),
    "particular": Small(_particular, "x", "same"),
    "centred": Small(_centred, "x", "y"),
    "positive only": Small(_positive_only, "x", "kept/GatherV2"),
    "one row": Small(_one_row, "x", "same"),
    "words": Small(_words, "text", "words"),
    "number": Small(_number, "text", "number"),
    "three rows": Small(_three_rows, "x", "y"),
    "reversed": Small(_reversed, "x", "y"),
    "mean up to the longest": Small(_mean_up_to_the_longest, "x,lengths", "y"),
    "small and in order": Small(_small_and_in_order, "x", "y"),
    "particular bytes": Small(_particular_bytes, "x", "same"),
    "limited together": Small(_limited_together, "x", "y"),
    "quotient": Small(_quotient, "a,b", "quotient"),
    "slow for large values": Small(_slow_for_large_values, "count", "total"),
    "unfinished": Small(_unfinished, "x", "more"),
    "log": Small(_logarithm, "x", "log"),
    "embedding": Small(_embedding, "ids", "total"),
    "any rank": Small(_any_rank, "x", "twice"),
    "scalar": Small(_scalar, "x", "minus"),
    "numbers": Small(_numbers, ",".join(f"{d}=in_{d}" for d in _DTYPES), ",".join(f"{d}=out_{d}" for d in _DTYPES)),
    "slow": Small(_slow, "steps", "counted"),
    "matrices": Small(_matrices, "x", "y"),
    "switch": Small(_switch, "x", "y"),
}


def open_small(name: str) -> tuple[Any, Signature]:
    """A session on the model and its signature."""
    small = MODELS[name]
    with tf1.Graph().as_default() as graph:
        small.build()
    return open_session(graph), make_signature(graph, small.inputs, small.outputs)


def make_app(name: str, open_model: Callable[[], tuple[Any, Signature]], settings: Settings) -> Flask:
    """The server's application for one model, which people are shown by this name."""

    def load() -> Version:
        give_sessions_own_threads()
        return load_version(name, freezemodel_serve.compile_session(*open_model(), settings.timeout), settings)

    return freezemodel_serve.make_app(lambda: make_predict_route([load], settings))


def make_identity(dtype: str, shape: list[int | None] | None) -> FlaskClient:
    """A client of a server whose model answers with its input."""

    def load() -> tuple[Any, Signature]:
        with tf1.Graph().as_default() as graph:
            tf.identity(tf1.placeholder(dtype, shape, name="x"), name="same")
        return open_session(graph), make_signature(graph, "x", "same")

    return make_app("identity", load, Settings()).test_client()


def make_results(arrays: Mapping[str, Any], outputs: Sequence[Tensor]) -> Results:
    """The results of a run of a model with these outputs, as encoders take them."""
    return Results(arrays, lambda found: {tensor.key: choose_lister(tensor)(found[tensor.key]) for tensor in outputs})


def small_app(name: str, **settings: Any) -> Flask:
    return make_app(name, lambda: open_small(name), Settings(**settings))


def write_small(name: str, folder: Path) -> list[str]:
    """Write the model as a frozen file, and return the flags that serve it."""
    with tf1.Graph().as_default() as graph:
        MODELS[name].build()
    file = folder / f"{name.replace(' ', '_')}.pb"
    file.write_bytes(graph.as_graph_def().SerializeToString())
    return ["--frozen-model", str(file), "--inputs", MODELS[name].inputs, "--outputs", MODELS[name].outputs]


def post(client: FlaskClient, body: bytes | str, content_type: str = "application/json", **headers: str) -> Any:
    """The status and the JSON of the answer, without the request's id."""
    answer = client.post(PREDICT, data=body, content_type=content_type, headers=headers)
    assert answer.content_type == "application/json"
    assert answer.headers["X-Request-Id"]
    value = msgspec.json.decode(answer.data)
    if answer.status_code != 200:
        assert value.pop("request_id") == answer.headers["X-Request-Id"]
        assert list(value) == ["error"]
    return answer.status_code, value


def at_once(*works: Callable[[], object]) -> None:
    """Run each function in its own thread, and wait for all."""
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def find_source(kind: str, path: Path, name: str = "") -> Source:
    """The versions of a model at the path, for ServedModels."""
    return make_source(kind, path, find_newest_model(kind, path), name, versions=True)


def soon(condition: Callable[[], bool]) -> bool:
    """Whether the condition becomes true within 120 seconds, which suffice on a busy machine."""
    until = time.monotonic() + 120
    while not (met := condition()) and time.monotonic() < until:
        time.sleep(0.001)
    return met


@dataclass(frozen=True)
class Server:
    """A server process that is ready, its URL, and the lines that it has printed."""

    process: subprocess.Popen[str]
    url: str
    printed: list[str]

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port

    @property
    def rpc(self) -> str:
        """The address for gRPC."""
        found = re.search(r"; gRPC on (\S+);", self.printed[0])
        assert found is not None, self.printed
        return found[1]

    def request(
        self, method: str, path: str, body: bytes | str | Iterator[bytes] | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers (lower case) and body of one answer."""
        connection = http.client.HTTPConnection(*self.address, timeout=60)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def predict(self, value: Any) -> tuple[int, Any]:
        status, _, body = self.request("POST", PREDICT, msgspec.json.encode(value), Content_Type="application/json")
        return status, msgspec.json.decode(body)


# A program that runs the command which follows it, as in a container whose file system is read-only.
READ_ONLY = """
import os
import sys
from pathlib import Path
from serialization.checks import system_calls as calls

calls.find_landlock_abi = lambda: 2  # files alone, not connections
allowed = [(Path("/"), calls.READ | calls.EXECUTE), (Path("/dev/null"), calls.USE_DEVICE)]
calls.restrict_files(allowed, [], talks=True)
os.execv(sys.argv[1], sys.argv[1:])
"""


@contextmanager
def serving(
    *flags: object,
    lines: int = 2,
    below: Sequence[str] = (),
    python: str = sys.executable,
    project: Path = PROJECT,
    **variables: str,
) -> Iterator[Server]:
    """freezemodel_serve.py as a process on a free port, once it has printed this many lines.

    `below` is a command that runs the one which follows it; `project` is the folder of the script; `variables` are for
    its environment.
    """
    command = [*below, python, str(project / "freezemodel_serve.py"), "--port", "0", *map(str, flags)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment() | variables,
        pipesize=1 << 20,  # bytes; few tests read the log, and the server waits for one that is full
    )
    assert process.stdout is not None
    with process:
        try:
            printed = [process.stdout.readline() for _ in range(lines)]
            if not printed[0]:
                raise AssertionError(process.communicate()[1])
            yield Server(process, printed[0].split(" on ")[1].partition(";")[0], printed)
        finally:
            process.kill()


def whole_answer(connection: socket.socket) -> bytes:
    """One whole answer, or the bytes that arrived before the connection was closed."""
    answer = b""
    while chunk := connection.recv(65536):
        answer += chunk
        head, _, body = answer.partition(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head.lower())
        if length is not None and len(body) >= int(length[1]):
            break
    return answer


def head(length: str) -> bytes:
    """The head of a request for a prediction; `length` is the header of the body's length."""
    return f"POST {PREDICT} HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n{length}\r\n\r\n".encode()


BODY = json.dumps({"x": [ROW]}).encode()


def worker_of(server: Server) -> int:
    """The process id of a worker, a child of the server's process that has spawn_main in its command."""
    return workers_of(server)[0]


def workers_of(server: Server) -> list[int]:
    """The process ids of all workers."""
    children = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
    return [pid for pid in map(int, children) if b"spawn_main" in command_of(pid)]


def command_of(pid: int) -> bytes:
    """The words of a process's command; none once it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
