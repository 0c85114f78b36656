"""Servers of one model on several addresses, clients that load them through a proxy, and servers that fail."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from conftest import make_environment
from onnx import TensorProto, helper
from serving_models import PREDICT, Server, serving, soon, workers_of

HOSTS = ("127.0.0.1", "127.0.0.2")
_GIVE_UP = 60.0  # seconds that the last requests may take


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


class Load:
    """Clients in a thread, which each send a number again and again, over one connection, and read it back.

    `failed` has a line for each request without an answer, or with another one than its own number.
    """

    def __init__(self, address: tuple[str, int], connections: int = 64, path: str = PREDICT) -> None:
        self._address = address
        self._connections = connections
        self._head = f"POST {path} HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: "
        self._numbers = itertools.count(1)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._is_over = False
        self.answered = 0
        self.slowest = 0.0
        self.failed: list[str] = []

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over = True
        self._thread.join()

    def wait_for(self, answers: int) -> None:
        """Wait until there are so many more answers, or one has failed."""
        wanted = self.answered + answers
        assert soon(lambda: self.answered >= wanted or bool(self.failed)), "the clients wait in vain"

    async def _run(self) -> None:
        tasks = [asyncio.create_task(self._ask_on()) for _ in range(self._connections)]
        while not self._is_over:
            await asyncio.sleep(0.01)
        _, late = await asyncio.wait(tasks, timeout=_GIVE_UP)
        self.failed += ["no answer"] * len(late)

    async def _ask_on(self) -> None:
        while not self._is_over:
            try:
                reader, writer = await asyncio.open_connection(*self._address)
                is_open = True
                while is_open and not self._is_over:
                    is_open = await self._ask(reader, writer)
                writer.close()
            except (OSError, asyncio.IncompleteReadError) as error:
                self.failed.append(repr(error))

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Ask once; whether the connection stays open (nginx ends each after 1,000 requests)."""
        number = next(self._numbers) % 1_000_000
        body = f'{{"x":[{number}]}}'
        started = time.monotonic()
        writer.write(f"{self._head}{len(body)}\r\n\r\n{body}".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        answer = await reader.readexactly(int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0]))
        if not head.startswith(b"http/1.1 200 ok\r\n") or answer != b'{"y":[%d.0]}' % number:
            self.failed.append(f"{body}: {head!r} {answer!r}"[:300])
        self.answered += 1
        self.slowest = max(self.slowest, time.monotonic() - started)
        return b"connection: close" not in head


Answer = Callable[[socket.socket], None]


def cut(connection: socket.socket) -> None:
    """Give no answer: as a server does that ends over the request."""


def trickle(connection: socket.socket) -> None:
    """Send a head that never ends."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        connection.sendall(b"x")
        time.sleep(0.05)


class BadServer:
    """A server that is well by its checks, and answers each prediction badly; `asked` counts these."""

    def __init__(self, address: tuple[str, int], answer: Answer) -> None:
        self._answer = answer
        self._listener = socket.create_server(address)
        self.asked = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> BadServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # it is closed
            while True:
                threading.Thread(target=self._read, args=[self._listener.accept()[0]], daemon=True).start()

    def _read(self, connection: socket.socket) -> None:
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
