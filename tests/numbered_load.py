"""Clients that send numbers to a model that answers with its input; it needs no packages."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time

_GIVE_UP = 60.0  # seconds that the last requests may take
_LONGEST_WAIT = 120.0  # seconds, which suffice on a busy machine


class Load:
    """Clients in a thread, which each send a number again and again, over one connection, and read it back.

    A client whose connection ends connects again. `failed` has a line for each request without an answer, or with
    another one than its own number. Where the load `goes_on`, waiting for answers goes on after a failure.
    """

    def __init__(self, address: tuple[str, int], connections: int = 64, *, goes_on: bool = False) -> None:
        self.goes_on = goes_on
        self._address = address
        self._connections = connections
        self._head = "POST /api/predict HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nContent-Length: "
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
        """Wait until there are so many more answers, or one has failed and the load is not to go on."""
        wanted, until = self.answered + answers, time.monotonic() + _LONGEST_WAIT
        while self.answered < wanted and (self.goes_on or not self.failed):
            assert time.monotonic() < until, "the clients wait in vain"
            time.sleep(0.001)

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
