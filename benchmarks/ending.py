"""Count the requests that a server cuts off when it is told to end, under clients that connect for each request.

    python benchmarks/ending.py [--runs 10]

A request counts once its connection is made: it is answered with 200, or it is cut. A connection that is refused is no
request; a balancer then takes another server.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence

from servers import HERE, ONE, PROJECT, free_port

FROZEN = PROJECT / "results" / "frozen_model.pb"
_REQUEST = (
    b"POST /api/predict HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\nConnection: close\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(ONE), ONE)
)
LOADS = [(connections, workers) for workers in (1, 2) for connections in (64, 256)]


def ask_until_refused(
    address: tuple[str, int], connections: int, answers: int, end: Callable[[], None]
) -> tuple[int, list[str]]:
    """Ask over so many connections at once, one for each request, until a connection is refused.

    `end` is called after so many answers. Returns the number of answers, and what became of each request that was cut.
    """
    answered = 0
    cut: list[str] = []

    async def ask() -> None:
        nonlocal answered
        while True:
            try:
                reader, writer = await asyncio.open_connection(*address)
            except OSError:
                return
            try:
                writer.write(_REQUEST)
                answer = await reader.read()
            except OSError as error:
                answer = repr(error).encode()
            writer.close()
            if not answer.startswith(b"HTTP/1.1 200 OK\r\n"):
                cut.append(answer[:100].decode(errors="replace"))
                continue
            answered += 1
            if answered == answers:
                end()

    async def ask_all() -> None:
        await asyncio.gather(*(ask() for _ in range(connections)))

    asyncio.run(ask_all())
    return answered, cut


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10, help="how often a server of each kind is ended")
    runs = parser.parse_args(argv).runs
    for connections, workers in LOADS:
        answered, cut = 0, 0
        for _ in range(runs):
            port = free_port()
            words = [PROJECT / "freezemodel_serve.py", "--frozen-model", FROZEN, "--port", port, "--workers", workers]
            server = subprocess.Popen([sys.executable, *map(str, words)], stdout=subprocess.PIPE, cwd=HERE)
            assert server.stdout is not None
            server.stdout.readline()  # it is ready
            end = lambda server=server: server.send_signal(signal.SIGTERM)  # noqa: E731
            done, lines = ask_until_refused(("127.0.0.1", port), connections, 20 * connections, end)
            server.communicate()
            answered, cut = answered + done, cut + len(lines)
        shown = f"{cut} of {answered + cut:,} requests cut (wanted: 0)"
        print(f"{connections} connections, {workers} workers, {runs} runs: {shown}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
