"""Servers of one model on several addresses, a load on them through a proxy, and servers that fail."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from conftest import make_environment
from numbered_load import Load
from onnx import TensorProto, helper
from proxies import Listener
from serving_models import Server, serving, workers_of

HOSTS = ("127.0.0.1", "127.0.0.2")


def write_same(file: Path) -> Path:
    """An ONNX model that answers with its input, float32 [n], so that an answer tells its request."""
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n"]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "same", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    file.write_bytes(model.SerializeToString())
    return file


class Replicas:
    """Servers of a model, without TensorFlow, on one port of several addresses; each may be started anew."""

    def __init__(self, model: Path, port: int) -> None:
        self._python = str(make_environment("serve") / "bin" / "python")
        self._model = model
        self._running: dict[str, ExitStack] = {}
        self.port = port
        self.servers: dict[str, Server] = {}

    def __enter__(self) -> Replicas:
        return self

    def __exit__(self, *_: object) -> None:
        for stack in self._running.values():
            stack.close()

    def start(self, host: str) -> None:
        """Start the server on this address; return when it is ready."""
        stack = self._running[host] = ExitStack()
        flags = ("--onnx", self._model, "--host", host, "--port", self.port)
        self.servers[host] = stack.enter_context(serving(*flags, lines=1, python=self._python))

    def end(self, host: str) -> None:
        """Send SIGTERM, and wait for the end."""
        process = self.servers[host].process
        process.terminate()
        assert process.wait(60) == 0

    def kill(self, host: str) -> None:
        self.signal(host, signal.SIGKILL)

    def signal(self, host: str, number: signal.Signals) -> None:
        """Send a signal to all processes of a server."""
        server = self.servers[host]
        for pid in (*workers_of(server), server.process.pid):
            os.kill(pid, number)


Answer = Callable[[socket.socket], None]


def cut(connection: socket.socket) -> None:
    """Give no answer: as a server does that ends over the request."""


def trickle(connection: socket.socket) -> None:
    """Send a head that never ends."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        connection.sendall(b"x")
        time.sleep(0.05)


class BadServer(Listener):
    """A server that is well by its checks, and answers each prediction badly; `asked` counts these."""

    def __init__(self, address: tuple[str, int], answer: Answer) -> None:
        self._answer = answer
        self.asked = 0
        super().__init__(address)

    def answer(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):  # the proxy has gone
            while head := connection.recv(65536):
                if head.startswith(b"GET /readyz "):
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                    continue
                while b"}" not in head:
                    head += connection.recv(65536)
                self.asked += 1
                self._answer(connection)
                return


@contextmanager
def loaded(address: tuple[str, int], before: int = 2000) -> Iterator[Load]:
    """A load that has had its first answers."""
    with Load(address) as load:
        load.wait_for(before)
        yield load
